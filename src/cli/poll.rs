//! `prefect-serverless-agent poll`: one iteration.

use super::args::PollArgs;
use super::output::{self, Palette};
use super::setting::{Setting, setting};
use super::{CliError, complain, note, say};
use crate::clock::SystemClock;
use crate::config::Environment;
use crate::model::ErrorKind;
use crate::platform::ecs::AgentEcs;
use crate::poll::dry_run::Record;
use crate::poll::{AgentReport, Report, Selection};
use crate::redaction::Redaction;
use crate::state::polls::advice_when_stopped;
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing::Instrument;

/// Polls, and shows the report. Success only if every agent's own poll worked.
pub(super) async fn poll(
    args: PollArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let palette = Palette::for_terminal(std::io::stdout().is_terminal(), &environment);
    let setting = setting::<AgentEcs<SystemClock>>(args.setting, environment, redaction).await;
    if let Some(trouble) = setting.as_ref().err().filter(|trouble| json && trouble.is_configuration) {
        say(&mut std::io::stdout(), &format!("{}\n", json!(of_wrong_file(trouble))));
    }
    let Setting { deployment, selection, invocations } = setting?;
    let record = args.dry_run.then(Record::default);
    let root = deployment.root().map(str::to_owned);
    let invocation = invocations.next();
    let polled = match &record {
        Some(record) => {
            let deployment = deployment.dry_run::<AgentEcs<_>>(record.clone());
            deployment.poll(&selection, &invocation).instrument(tracing::info_span!("dry run")).await
        }
        None => deployment.poll(&selection, &invocation).await,
    };
    let report = polled.map_err(|error| CliError::from(&error))?;
    let shown = match (&record, json) {
        (None, true) => format!("{}\n", json!(report)),
        (None, false) => table(&report, palette),
        (Some(record), true) => format!("{}\n", output::plan_as_json(&report, &record.take())),
        (Some(record), false) => format!("{}\n{}", output::plan_as_text(&record.take()), table(&report, palette)),
    };
    say(&mut std::io::stdout(), &shown);
    say_troubles(&report, &selection, root.as_deref(), redaction);
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report as a table; nothing where no agent has a configuration: a table of zeros tells nobody anything.
fn table(report: &Report, palette: Palette) -> String {
    let is_wrong = |agent: &AgentReport| agent.error_kind == Some(ErrorKind::Configuration) && agent.ready == 0;
    if report.agents.values().all(is_wrong) { String::new() } else { output::report_as_table(report, palette) }
}

/// The report of the one agent of a file that is wrong.
fn of_wrong_file(trouble: &CliError) -> Report {
    let (error, error_kind) = (Some(trouble.message.clone()), Some(ErrorKind::Configuration));
    Report { agents: [("agent".to_owned(), AgentReport { error, error_kind, ..AgentReport::default() })].into() }
}

/// On standard error: what is wrong with the agents themselves, and what may need a person.
fn say_troubles(report: &Report, selection: &Selection, root: Option<&str>, redaction: &Redaction) {
    for (name, agent) in &report.agents {
        for warning in &agent.warnings {
            say(&mut std::io::stderr(), &format!("warning: agent {name}: {warning}\n"));
        }
        if let Some(error) = &agent.error {
            let trouble = CliError::new(format!("agent {name}: {error}"), output::advice_on_kind(agent.error_kind));
            if agent.failed_itself() { complain(&trouble, redaction) } else { note(&trouble, redaction) }
        }
        if agent.stopped {
            let advice = advice_when_stopped(root, name);
            say(&mut std::io::stderr(), &format!("note: agent {name} has had its max_polls: {advice}\n"));
        }
    }
    if report.agents.values().all(|agent| agent.disabled) && *selection == Selection::All {
        say(&mut std::io::stderr(), "note: every agent has `enabled: false`\n");
    }
}
