//! `status --html` and `status --serve`: the page, for those whose URL wants signatures that no browser makes.

use super::args::AgentAddress;
use super::server::{Asked, Site, serve as serve_site};
use super::start::StopSignal;
use super::status::look;
use super::{CliError, complain, say};
use crate::aws::ssm::Ssm;
use crate::clock::{Clock, SystemClock};
use crate::config::Root;
use crate::health::{AgentFacts, Health, HealthAnswer};
use crate::held::{ANSWER, Held};
use crate::page::Page;
use crate::page::html::{self, Around};
use crate::redaction::Redaction;
use hyper::Method;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Writes the page to a file; `-` is standard output.
pub(super) fn write(
    file: &Path,
    root: &Root,
    facts: &BTreeMap<String, AgentFacts>,
    redaction: &Redaction,
) -> Result<(), CliError> {
    let page = Page::of(root.as_str(), facts, SystemClock.now()).without(redaction);
    let document = redaction.text(html::page(&page, Around::default()));
    if file == Path::new("-") {
        say(&mut std::io::stdout(), &document);
        return Ok(());
    }
    std::fs::write(file, document).map_err(|error| {
        let advice = "name a file in a folder that exists and that may be written to with --html";
        CliError::new(format!("{} cannot be written: {error}", file.display()), advice)
    })
}

/// Serves the page until ctrl-c.
pub(super) async fn serve(
    address: &AgentAddress,
    root: Root,
    ssm: Ssm,
    agents: Vec<String>,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let mut ending = StopSignal::listen().map_err(|error| CliError::new(format!("no signals: {error}"), ""))?;
    // A wrong root or name, or what may not be read, is said here and now.
    look(&root, &ssm, &agents).await?;
    let held = Held::new(SystemClock, ANSWER);
    let redaction = redaction.clone();
    let site = Served { root, ssm, agents, held, redaction, hosts: Hosts::Any };
    let bound = serve_site(address, "--serve", Arc::new(site.for_hosts(&address.host))).await?;
    say(&mut std::io::stdout(), &format!("serving http://{bound}/ until ctrl-c\n"));
    if !bound.ip().is_loopback() {
        say(&mut std::io::stderr(), &format!("whoever reaches {bound} sees the page\n"));
    }
    ending.asked_for().await;
    Ok(ExitCode::SUCCESS)
}

/// The page of a deployment, read anew at most every ten seconds.
struct Served {
    root: Root,
    ssm: Ssm,
    agents: Vec<String>,
    held: Held<Arc<BTreeMap<String, AgentFacts>>, CliError, SystemClock>,
    redaction: Redaction,
    hosts: Hosts,
}

/// By which names the page may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    /// It is open to a network, by whatever name.
    Any,
    /// It is this machine's own: a page of somebody else that has its name resolve to this machine must not read it.
    OfThisMachine,
}

impl Served {
    fn for_hosts(self, address: &str) -> Self {
        let hosts = if is_loopback(address) { Hosts::OfThisMachine } else { Hosts::Any };
        Self { hosts, ..self }
    }

    async fn facts(&self) -> Result<Arc<BTreeMap<String, AgentFacts>>, CliError> {
        self.held.get(async || look(&self.root, &self.ssm, &self.agents).await.map(Arc::new)).await
    }
}

impl Site for Served {
    async fn answer(&self, asked: Asked) -> HealthAnswer {
        if self.hosts == Hosts::OfThisMachine && !asked.host.as_deref().is_some_and(is_loopback) {
            return HealthAnswer::forbidden();
        }
        if !matches!(asked.path.as_str(), "/" | "/api/health") {
            return HealthAnswer::not_found();
        }
        if asked.method != Method::GET {
            return HealthAnswer::method_not_allowed();
        }
        let facts = self.facts().await;
        if let Err(trouble) = &facts {
            complain(trouble, &self.redaction);
        }
        let now = SystemClock.now();
        match (facts, asked.path.as_str()) {
            (Ok(facts), "/") => {
                let page = Page::of(self.root.as_str(), &facts, now).without(&self.redaction);
                let document = html::page(&page, Around { refreshes: true, sign_out: false });
                HealthAnswer::document(200, self.redaction.text(document))
            }
            (Ok(facts), _) => HealthAnswer::health(&Health::of(&facts, now)),
            (Err(_), "/") => HealthAnswer::document(503, html::trouble()),
            (Err(_), _) => HealthAnswer::health_unknown(),
        }
    }
}

/// `localhost`, `127.0.0.1:8080`, `[::1]`: names that lead nowhere but to this machine.
fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None if host.parse::<IpAddr>().is_ok() => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for own in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "127.8.8.8:1", "::1", "[::1]", "[::1]:8080"]
        {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["", "example.com", "localhost.example.com:8080", "127.0.0.1.example.com", "10.0.0.1:80", "[2001:db8::1]"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
