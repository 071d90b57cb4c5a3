//! `prefect-serverless-agent check`: everything that [`crate::check`] looks at, side by side, and how it is shown.

use super::args::CheckArgs;
use super::output::{ADVICE_ON_AWS, Palette};
use super::setting::source;
use super::{CliError, say};
use crate::aws::AwsClients;
use crate::aws::reads::{Budget, Reads};
use crate::check::codes::{
    Code, ECS_UNKNOWN, EVENTS_UNKNOWN, NETWORK_UNKNOWN, PERMISSIONS_UNKNOWN, PREFECT_UNKNOWN, QUOTAS_UNKNOWN,
};
use crate::check::configuration::{Parameters, judge_agents, judge_parameters, judge_schedule};
use crate::check::prefect::Seen;
use crate::check::stack::{Deployed, Stack};
use crate::check::wishes::{self, Wishes};
use crate::check::{self, Finding, Group, Looked, Severity, events, network, permissions, prefect, quotas, stack};
use crate::clock::{Clock, SystemClock};
use crate::config::{AgentConfig, Environment, Loaded, Root, from_file, load};
use crate::poll::Source;
use crate::redaction::Redaction;
use crate::survey::{Home, Survey};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Exit code where something does not work.
const FAILURES: u8 = 3;
/// Exit code where somebody should look.
const WARNINGS: u8 = 4;
/// Exit code where the arguments are wrong.
pub(super) const BAD_INPUT: u8 = 2;

/// Requests to AWS in all.
const REQUESTS: usize = 400;
/// Networks that are looked at.
const MOST_NETWORKS: usize = 20;

/// What is looked at, and with what.
struct Subject<'a> {
    root: Option<&'a Root>,
    aws: &'a Arc<AwsClients>,
    reads: Reads,
    home: Home,
    redaction: &'a Redaction,
    loaded: Loaded,
    /// Only before the stack is deployed, or for a file.
    pre: bool,
    /// Nothing is waited for beyond this.
    end: Instant,
}

/// Looks, and shows what was found.
pub(super) async fn check(
    args: CheckArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let palette = Palette::for_terminal(std::io::stdout().is_terminal(), &environment);
    let source = source(args.root.as_deref(), args.config.as_deref(), &environment)?;
    let aws = Arc::new(clients(&source, &environment).await?);
    let looked = Box::pin(look(&args, &source, &aws, &environment, redaction)).await?;
    let shown = if json { format!("{}\n", as_json(&looked)) } else { as_text(&looked, palette) };
    say(&mut std::io::stdout(), &redaction.text(shown));
    Ok(exit_code(&looked))
}

/// A file may be looked at where AWS is not set up: what needs AWS then says so.
async fn clients(source: &Source, environment: &Environment) -> Result<AwsClients, CliError> {
    let found = AwsClients::from_default_chain(environment).await;
    let found = match (source, found) {
        (Source::File { .. }, Err(_)) => AwsClients::as_far_as_configured(environment),
        (_, found) => found,
    };
    found.map_err(|error| CliError::new(error, ADVICE_ON_AWS))
}

async fn look(
    args: &CheckArgs,
    source: &Source,
    aws: &Arc<AwsClients>,
    environment: &Environment,
    redaction: &Redaction,
) -> Result<Looked, CliError> {
    let reads = aws.reads(&Budget::of(REQUESTS));
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let (mut looked, root, loaded, state, secrets_known) = match source {
        Source::File { path, text } => {
            let agents = vec![from_file(text, path, environment)];
            redaction.know_agents(&agents);
            (Looked::default(), None, Loaded { agents, ..Loaded::default() }, Vec::new(), true)
        }
        Source::Parameters(root) => {
            let parameters = tokio::time::timeout_at(end, Parameters::read(aws, root)).await;
            let parameters = parameters.unwrap_or_else(|_| Parameters::unread());
            let looked = judge_parameters(root, &parameters);
            let Ok(mut all) = parameters.config else { return Ok(looked) };
            let secrets_known = parameters.secrets.is_ok();
            all.extend(parameters.secrets.unwrap_or(parameters.locked));
            redaction.know_parameters(root, &all);
            // The functions do not have this shell's environment.
            let loaded = load(root, &all, &Environment::default());
            redaction.know_agents(&loaded.agents);
            (looked, Some(root), loaded, parameters.state.unwrap_or_default(), secrets_known)
        }
    };
    looked.join(judge_agents(root, &loaded, &state, secrets_known));
    let loaded = selected(args, loaded)?;
    let account = aws.account().await.map_err(|error| check::why(&error));
    let home = Home::new(account, &aws.region);
    let subject = Subject { root, aws, reads, home, redaction, loaded, pre: args.pre || root.is_none(), end };
    let prefects = async {
        if secrets_known {
            return subject.within(PREFECT_UNKNOWN, all_prefects(&subject)).await;
        }
        let sentence = "without the agents' credentials their APIs cannot be asked";
        (of(PREFECT_UNKNOWN.found("Prefect", sentence, "allow what PSA199 or PSA106 names")), Vec::new())
    };
    let (deployed, (of_prefect, surveys)) = tokio::join!(deployed(&subject), prefects);
    looked.join(of_prefect);
    let stack = match &deployed {
        Some(Deployed::Found(stack)) => Some(&**stack),
        _ => None,
    };
    let surveys: Vec<_> = surveys.iter().map(|(config, survey)| (*config, survey)).collect();
    let secrets_key = stack.map(|stack| stack.parameter("SecretsKeyArn")).unwrap_or_default();
    let of_stack = subject.within(EVENTS_UNKNOWN, schedule_and_events(&subject, deployed.as_ref()));
    if let Err(why) = &subject.home.account {
        looked.join(of_stack.await);
        let sentence = format!("AWS does not say whose credentials these are, so nothing there is looked at: {why}");
        looked.found(ECS_UNKNOWN.found("AWS", sentence, ADVICE_ON_AWS));
        return Ok(looked);
    }
    let wishes = wishes::of(&surveys, secrets_key);
    let (of_stack, of_permissions, of_ecs, of_network, of_quotas) = tokio::join!(
        of_stack,
        subject.within(PERMISSIONS_UNKNOWN, all_permissions(&subject, stack, &surveys)),
        subject.within(ECS_UNKNOWN, all_of_ecs(&subject, &wishes)),
        subject.within(NETWORK_UNKNOWN, all_networks(&subject, &wishes)),
        subject.within(QUOTAS_UNKNOWN, all_quotas(&subject, stack, &wishes)),
    );
    for more in [of_stack, of_permissions, of_ecs, of_network, of_quotas] {
        looked.join(more);
    }
    Ok(looked)
}

fn of(finding: Finding) -> Looked {
    Looked { well: Vec::new(), findings: vec![finding] }
}

/// What is known where there was no time.
trait Unfinished {
    fn unfinished(finding: Finding) -> Self;
}

impl Unfinished for Looked {
    fn unfinished(finding: Finding) -> Self {
        of(finding)
    }
}

impl<T> Unfinished for (Looked, Vec<T>) {
    fn unfinished(finding: Finding) -> Self {
        (of(finding), Vec::new())
    }
}

impl Subject<'_> {
    /// A group that is not done in time is unknown; the others are shown.
    async fn within<T: Unfinished>(&self, unknown: Code, group: impl Future<Output = T>) -> T {
        tokio::time::timeout_at(self.end, group).await.unwrap_or_else(|_| {
            let mend = "give it more time with --timeout";
            T::unfinished(unknown.found(unknown.group.title(), "there was no time left to look at all of it", mend))
        })
    }
}

/// The agents that were named.
fn selected(args: &CheckArgs, mut loaded: Loaded) -> Result<Loaded, CliError> {
    if let Some(unknown) = args.agents.iter().find(|name| !loaded.agents.iter().any(|agent| agent.agent == **name)) {
        let known = loaded.agents.iter().map(|agent| agent.agent.as_str()).collect::<Vec<_>>().join(", ");
        return Err(CliError::new(
            format!("no agent {unknown} is configured: known are {known}"),
            "name one of these with --agent",
        ));
    }
    loaded.agents.retain(|agent| args.agents.is_empty() || args.agents.contains(&agent.agent));
    Ok(loaded)
}

/// The stack of the root.
async fn deployed(subject: &Subject<'_>) -> Option<Deployed> {
    let root = subject.root.filter(|_| !subject.pre)?;
    let found = tokio::time::timeout_at(subject.end, Deployed::find(&subject.reads, root)).await;
    Some(found.unwrap_or_else(|_| Deployed::Unknown("there was no time left".into())))
}

/// The stack's schedule and its rules.
async fn schedule_and_events(subject: &Subject<'_>, deployed: Option<&Deployed>) -> Looked {
    let (Some(root), Some(deployed)) = (subject.root, deployed) else { return Looked::default() };
    let Deployed::Found(stack) = deployed else { return judge_schedule(root, deployed, None, &[]) };
    let (schedule, observed) =
        tokio::join!(stack::schedule(&subject.reads, stack), events::observe(&subject.reads, stack));
    let mut looked = judge_schedule(root, deployed, Some(&schedule), &subject.loaded.agents);
    looked.join(events::judge(stack, &observed, &subject.loaded.agents));
    looked
}

/// The API of every agent that is configured well and enabled; what is known of their runs.
async fn all_prefects<'a>(subject: &'a Subject<'_>) -> (Looked, Vec<(&'a AgentConfig, Survey)>) {
    let setting =
        prefect::Setting { root: subject.root, aws: subject.aws, home: &subject.home, redaction: subject.redaction };
    let agents = subject.loaded.agents.iter().filter_map(|agent| {
        let (config, secrets) = agent.result.as_ref().ok()?;
        config.enabled.then_some((agent, config, secrets))
    });
    let looking = agents.map(|(agent, config, secrets)| async move {
        let observed = prefect::look(setting, agent, (config, secrets)).await;
        let looked = prefect::judge(subject.root, agent, (config, secrets), &observed, SystemClock.now());
        let survey = match observed.seen {
            Seen::Surveyed(survey) => Some((config, *survey)),
            Seen::NoWay(_) | Seen::Trouble(_) => None,
        };
        (looked, survey)
    });
    let (mut looked, mut surveys) = (Looked::default(), Vec::new());
    for (more, survey) in join_all(looking).await {
        looked.join(more);
        surveys.extend(survey);
    }
    (looked, surveys)
}

async fn all_permissions(subject: &Subject<'_>, stack: Option<&Stack>, surveys: &[(&AgentConfig, &Survey)]) -> Looked {
    let (Some(root), Some(stack)) = (subject.root, stack) else { return Looked::default() };
    let surveys: Vec<_> = surveys.iter().map(|(_, survey)| *survey).collect();
    let wanted = permissions::wanted(root, &subject.home, stack, &surveys);
    let decisions = permissions::observe(&subject.reads, &subject.home, stack, &wanted).await;
    permissions::judge(stack, &wanted, &decisions)
}

async fn all_of_ecs(subject: &Subject<'_>, wishes: &Wishes) -> Looked {
    let observed = check::observe_ecs(&subject.reads, wishes).await;
    check::ecs::judge(wishes, &observed)
}

async fn all_networks(subject: &Subject<'_>, wishes: &Wishes) -> Looked {
    let mut looked = Looked::default();
    let looking = wishes.networks.iter().take(MOST_NETWORKS).map(|(network, askers)| async move {
        network::judge(network, askers, &network::observe(&subject.reads, network).await)
    });
    join_all(looking).await.into_iter().for_each(|more| looked.join(more));
    looked
}

async fn all_quotas(subject: &Subject<'_>, stack: Option<&Stack>, wishes: &Wishes) -> Looked {
    let observed = quotas::observe(&subject.reads, stack, wishes).await;
    quotas::judge(stack, &subject.loaded.agents, wishes, &observed)
}

fn exit_code(looked: &Looked) -> ExitCode {
    if looked.count(Severity::Failure) > 0 {
        ExitCode::from(FAILURES)
    } else if looked.count(Severity::Warning) > 0 {
        ExitCode::from(WARNINGS)
    } else {
        ExitCode::SUCCESS
    }
}

// Pure: what was found, as lines and as JSON.

fn as_json(looked: &Looked) -> Value {
    let well: Vec<_> = looked.well.iter().map(|(group, said)| json!({"group": group, "sentence": said})).collect();
    json!({
        "ok": looked.count(Severity::Failure) == 0,
        "findings": looked.findings,
        "well": well,
        "counts": {
            "failures": looked.count(Severity::Failure),
            "warnings": looked.count(Severity::Warning),
            "information": looked.count(Severity::Information),
            "unknown": looked.count(Severity::Unknown),
        },
    })
}

/// A sign, and the escape of its colour.
fn sign(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Failure => ("✘", "\x1b[31m"),
        Severity::Warning => ("!", "\x1b[33m"),
        Severity::Information => ("i", "\x1b[36m"),
        Severity::Unknown => ("?", "\x1b[33m"),
    }
}

fn as_text(looked: &Looked, palette: Palette) -> String {
    let coloured = |text: &str, escape: &str| match palette {
        Palette::Colours => format!("{escape}{text}\x1b[0m"),
        Palette::Plain => text.to_owned(),
    };
    let mut text = String::new();
    for group in Group::ALL {
        let well: Vec<_> = looked.well.iter().filter(|(of, _)| *of == group).collect();
        let mut findings: Vec<&Finding> = looked.findings.iter().filter(|finding| finding.group == group).collect();
        findings.sort_by_key(|finding| finding.severity);
        if well.is_empty() && findings.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", coloured(group.title(), "\x1b[1m"));
        for (_, said) in well {
            let _ = writeln!(text, "  {} {}", coloured("✔", "\x1b[32m"), on_one_line(said));
        }
        for finding in findings {
            let Finding { code, severity, subject, sentence, mend, .. } = finding;
            let (sign, escape) = sign(*severity);
            let _ = writeln!(
                text,
                "  {} {code} {}: {}",
                coloured(sign, escape),
                on_one_line(subject),
                on_one_line(sentence)
            );
            if !mend.is_empty() {
                let _ = writeln!(text, "      next: {}", on_one_line(mend));
            }
        }
    }
    let _ = writeln!(text, "\n{}", summary(looked));
    text
}

fn summary(looked: &Looked) -> String {
    let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let unknown = match looked.count(Severity::Unknown) {
        0 => String::new(),
        count => format!("; {count} could not be asked"),
    };
    let (failures, warnings) = (looked.count(Severity::Failure), looked.count(Severity::Warning));
    let explained = if looked.findings.is_empty() { "" } else { ". TROUBLESHOOTING.md explains each code" };
    if failures + warnings == 0 {
        let all = if unknown.is_empty() { "all is well" } else { "all that could be asked is well" };
        return format!("{all}: {}{unknown}{explained}", counted(looked.well.len(), "check", "checks"));
    }
    let (failures, warnings) = (counted(failures, "failure", "failures"), counted(warnings, "warning", "warnings"));
    format!("{failures}, {warnings}{unknown}{explained}")
}

/// Servers are quoted: nothing of theirs commands a terminal.
fn on_one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ").replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::codes::{OTHER_WORKER, POOL_PAUSED, QUEUE_PAUSED};

    fn looked(findings: Vec<Finding>) -> Looked {
        Looked { well: vec![(Group::Configuration, "agent etl: its configuration is valid".into())], findings }
    }

    #[test]
    fn lines_are_grouped_and_counted() {
        let findings = vec![
            QUEUE_PAUSED.found("work queue b", "it is paused", ""),
            POOL_PAUSED.found("work pool a", "it is\npaused\x1b[0m", "prefect work-pool resume \"a\""),
            PREFECT_UNKNOWN.found("work pool a", "no answer", ""),
        ];
        let expected = "configuration\n  ✔ agent etl: its configuration is valid\nPrefect\n  \
            ✘ PSA223 work pool a: it is paused [0m\n      next: prefect work-pool resume \"a\"\n  \
            ! PSA225 work queue b: it is paused\n  ? PSA299 work pool a: no answer\n\n\
            1 failure, 1 warning; 1 could not be asked. TROUBLESHOOTING.md explains each code\n";
        assert_eq!(as_text(&looked(findings), Palette::Plain), expected);
        let none = as_text(&looked(Vec::new()), Palette::Plain);
        assert!(none.ends_with("\n\nall is well: 1 check\n"), "{none}");
    }

    #[test]
    fn the_exit_code_tells_failures_from_warnings_and_from_neither() {
        let code = |findings| format!("{:?}", exit_code(&looked(findings)));
        let exit = |code: u8| format!("{:?}", ExitCode::from(code));
        let (failure, warning) = (POOL_PAUSED.found("a", "", ""), QUEUE_PAUSED.found("a", "", ""));
        let (information, unknown) = (OTHER_WORKER.found("a", "", ""), PREFECT_UNKNOWN.found("a", "", ""));
        assert_eq!(code(vec![failure, warning.clone()]), exit(3));
        assert_eq!(code(vec![warning, unknown.clone()]), exit(4));
        assert_eq!(code(vec![information, unknown]), exit(0));
        assert_eq!(code(Vec::new()), exit(0));
    }

    #[test]
    fn json_has_all_of_it() {
        let found = looked(vec![POOL_PAUSED.found("work pool a", "it is paused", "resume")]);
        let shown = as_json(&found);
        assert_eq!(shown["findings"][0]["code"], "PSA223");
        assert_eq!((&shown["findings"][0]["severity"], &shown["ok"]), (&json!("failure"), &json!(false)));
        assert_eq!((&shown["counts"]["failures"], &shown["well"][0]["group"]), (&json!(1), &json!("configuration")));
    }
}
