//! `prefect-serverless-agent status`: how the agents of a deployment are, from what their polls wrote down.

use super::args::StatusArgs;
use super::output::{self, Palette};
use super::setting::{clients, read_below, root_of};
use super::start::StopSignal;
use super::{CliError, complain, page, say};
use crate::aws::ssm::Ssm;
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Root, UnknownAgent};
use crate::functions::health;
use crate::health::status::Overall;
use crate::health::{AgentFacts, Health};
use crate::poll::{PollError, Source};
use crate::redaction::Redaction;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use time::OffsetDateTime;

/// The exit code when an agent is failing.
const FAILING: u8 = 3;

/// What a terminal takes for: from the top, with nothing left of what was there.
const REDRAW: &str = "\x1b[1;1H\x1b[2J";

/// Shows the agents, once or again and again.
pub(super) async fn status(
    args: StatusArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let root = root_of(args.root.as_deref(), &environment)?;
    let aws = clients(&Source::Parameters(root.clone()), &environment).await?;
    let is_terminal = std::io::stdout().is_terminal();
    let shown = Shown { palette: Palette::for_terminal(is_terminal, &environment), json };
    let look = || look(&root, &aws.ssm, &args.agents);
    if let Some(address) = &args.serve {
        return page::serve(address, root, aws.ssm, args.agents.clone(), redaction).await;
    }
    if let Some(file) = &args.html {
        let facts = look().await?;
        page::write(file, &root, &facts, redaction)?;
        return Ok(shown.of(&facts, SystemClock.now()).1);
    }
    if !args.watch {
        let facts = look().await?;
        let (text, code) = shown.of(&facts, SystemClock.now());
        say(&mut std::io::stdout(), &redaction.text(text));
        return Ok(code);
    }
    let mut ending = StopSignal::listen().map_err(|error| CliError::new(format!("no signals: {error}"), ""))?;
    let redraw = if is_terminal && !json { REDRAW } else { "" };
    let mut code = ExitCode::SUCCESS;
    loop {
        let looked = tokio::select! {
            looked = look() => looked,
            () = ending.asked_for() => return Ok(code),
        };
        match looked {
            Ok(facts) => {
                let (text, now) = shown.of(&facts, SystemClock.now());
                code = now;
                let more = if json || is_terminal { "" } else { "\n" };
                say(&mut std::io::stdout(), &redaction.text(format!("{redraw}{text}{more}")));
            }
            // What passes does not end the watch; a name that is wrong does.
            Err(trouble) if trouble.is_configuration => return Err(trouble),
            Err(trouble) => {
                code = ExitCode::FAILURE;
                complain(&trouble, redaction);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = ending.asked_for() => return Ok(code),
        }
    }
}

/// How the agents are shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    palette: Palette,
    json: bool,
}

impl Shown {
    /// The text, and the exit code.
    fn of(self, facts: &BTreeMap<String, AgentFacts>, now: OffsetDateTime) -> (String, ExitCode) {
        let health = Health::of(facts, now);
        let code = if health.status == Overall::Ok { ExitCode::SUCCESS } else { ExitCode::from(FAILING) };
        let text = if self.json {
            format!("{}\n", output::status::as_json(&health, facts, now))
        } else {
            output::status::as_table(&health, facts, now, self.palette)
        };
        (text, code)
    }
}

/// What is known of the agents that were asked for.
pub(super) async fn look(root: &Root, ssm: &Ssm, names: &[String]) -> Result<BTreeMap<String, AgentFacts>, CliError> {
    // As the functions see it: nothing of this shell stands in for what a configuration does not say.
    let environment = Environment::default();
    let mut facts = read_below(root, health::facts(root, ssm, &environment)).await?;
    if facts.is_empty() {
        return Err(CliError::from(&PollError::NoAgents(root.as_str().to_owned())));
    }
    UnknownAgent::among(names, facts.keys())?;
    facts.retain(|name, _| names.is_empty() || names.contains(name));
    Ok(facts)
}
