//! Pure: what people read: a report as a table, what a dry run found, what to do about an error.

pub(super) mod costs;
pub(super) mod explain;
pub(super) mod status;

use crate::config::Environment;
use crate::model::ErrorKind;
use crate::poll::dry_run::PlannedRequest;
use crate::poll::{AgentReport, PollError, Report};
use serde_json::{Value, json};
use std::fmt::Write;
use time::format_description::well_known::Rfc3339;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    /// ANSI escapes.
    Colours,
    /// None.
    Plain,
}

impl Palette {
    /// Colours on a terminal, unless `NO_COLOR` is set to anything or the terminal is a dumb one.
    pub(super) fn for_terminal(is_terminal: bool, environment: &Environment) -> Self {
        let unwanted = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty())
            || environment.get("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !unwanted { Self::Colours } else { Self::Plain }
    }
}

/// How good the news in a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Heading,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    fn escape(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Doubtful => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A text in a table.
struct Cell(String, Tone);

fn plain(text: impl std::fmt::Display) -> Cell {
    Cell(text.to_string(), Tone::Plain)
}

/// The agents, then the runs, if there are any.
pub(super) fn report_as_table(report: &Report, palette: Palette) -> String {
    let mut text = table(
        &["AGENT", "POLL", "READY", "LAUNCHED", "DEFERRED", "SKIPPED", "FAILED", "TIME", "STATUS"],
        report.agents.iter().map(|(name, agent)| agent_row(name, agent)).collect(),
        palette,
    );
    let runs: Vec<_> = report.agents.iter().flat_map(|(name, agent)| run_rows(name, agent)).collect();
    if !runs.is_empty() {
        text.push('\n');
        text.push_str(&table(&["FLOW RUN", "AGENT", "OUTCOME", "DETAIL"], runs, palette));
    }
    text
}

fn agent_row(name: &str, agent: &AgentReport) -> Vec<Cell> {
    let counts = [
        agent.ready,
        agent.launched.len() + agent.recovered.len(),
        agent.deferred.len(),
        agent.skipped.len(),
        agent.failed.len(),
    ];
    let mut row = vec![plain(name), plain(agent.poll)];
    row.extend(counts.map(plain));
    row.push(plain(format_args!("{} ms", agent.duration_ms)));
    row.push(status(agent));
    row
}

fn status(agent: &AgentReport) -> Cell {
    if agent.disabled {
        return Cell("disabled".to_owned(), Tone::Doubtful);
    }
    if agent.stopped {
        return Cell("stopped".to_owned(), Tone::Doubtful);
    }
    if agent.ok {
        return Cell("ok".to_owned(), Tone::Good);
    }
    // As health shows it.
    let kind = agent.error_kind.map_or("failed", ErrorKind::name);
    let tone = if agent.failed_itself() { Tone::Bad } else { Tone::Doubtful };
    Cell(kind.to_owned(), tone)
}

fn run_rows(name: &str, agent: &AgentReport) -> Vec<Vec<Cell>> {
    let row = |flow_run_id: &str, outcome: &str, tone, detail: &str| {
        vec![plain(flow_run_id), plain(name), Cell(outcome.to_owned(), tone), plain(detail)]
    };
    let launched = agent.launched.iter().map(|run| {
        let outcome = if run.adopted { "adopted" } else { "launched" };
        row(&run.flow_run_id, outcome, Tone::Good, &run.task_arn)
    });
    let recovered = agent.recovered.iter().map(|run| row(&run.flow_run_id, "recovered", Tone::Good, &run.task_arn));
    let others = [
        (&agent.deferred, "deferred", Tone::Doubtful),
        (&agent.skipped, "skipped", Tone::Doubtful),
        (&agent.failed, "failed", Tone::Bad),
        (&agent.died, "died", Tone::Bad),
    ];
    let others = others.into_iter().flat_map(|(runs, outcome, tone)| {
        runs.iter().map(move |run| row(&run.flow_run_id, outcome, tone, &run.reason))
    });
    launched.chain(recovered).chain(others).collect()
}

/// Columns as wide as their widest cell, two spaces between; the last one is not filled up.
fn table(headings: &[&str], rows: Vec<Vec<Cell>>, palette: Palette) -> String {
    let heading = headings.iter().map(|heading| Cell((*heading).to_owned(), Tone::Heading)).collect();
    let rows: Vec<Vec<Cell>> = std::iter::once(heading)
        .chain(rows)
        .map(|row: Vec<Cell>| row.into_iter().map(|Cell(text, tone)| Cell(printable(&text), tone)).collect())
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, Cell(cell, tone)) in row.iter().enumerate() {
            let is_last = column + 1 == row.len();
            let padding = if is_last { 0 } else { widths[column] - cell.chars().count() + 2 };
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{:padding$}", coloured(cell, *tone, palette), "");
        }
        text.push('\n');
    }
    text
}

fn coloured(text: &str, tone: Tone, palette: Palette) -> String {
    match (palette, tone.escape()) {
        (Palette::Plain, _) | (_, "") => text.to_owned(),
        (Palette::Colours, escape) => format!("{escape}{text}\x1b[0m"),
    }
}

/// On one line, and without what a terminal would take for commands: reasons quote servers and flow runs.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same line by line.
pub(super) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// `a, b and 3 more`: so many of them are named.
pub(super) fn some_of<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

// Pure: what a dry run found, as text and as JSON.

/// The requests in their order, each body on a line of its own, exactly as it would be sent.
pub(super) fn plan_as_text(requests: &[PlannedRequest]) -> String {
    if requests.is_empty() {
        return "Dry run: nothing was written, and nothing would be sent next.\n".to_owned();
    }
    let mut text = format!("Dry run: nothing was written. Next, {} would be sent:\n", counted(requests.len()));
    for (index, request) in requests.iter().enumerate() {
        let PlannedRequest { agent, service, operation, not_before, body } = request;
        let held = not_before.and_then(|until| until.format(&Rfc3339).ok());
        let held = held.map(|until| format!(", not before {until}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}. {agent}: {service} {operation}{held}\n{body}\n", index + 1);
    }
    text
}

fn counted(count: usize) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

/// The report, and the requests beside it.
pub(super) fn plan_as_json(report: &Report, requests: &[PlannedRequest]) -> Value {
    json!({"dry_run": true, "agents": report.agents, "requests": requests})
}

// Pure: what to do about an error.

/// The AWS clients do not work.
pub(super) const ADVICE_ON_AWS: &str =
    "check AWS_REGION and the AWS credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, …) of this shell";

/// What to do about an agent's own trouble.
pub(super) fn advice_on_kind(kind: Option<ErrorKind>) -> &'static str {
    match kind {
        Some(ErrorKind::Configuration) => "correct it where the message says; the README lists every key",
        Some(ErrorKind::ApiUnreachable) => {
            "check `api` (and `ca_bundle`, for a private certificate authority), and that this machine reaches it"
        }
        Some(ErrorKind::Unauthorised) => "then poll again; a function that runs notices a replaced secret by itself",
        Some(ErrorKind::Throttled) => "wait a minute, then poll again; poll less often if that happens again",
        Some(ErrorKind::Maintenance) => "wait: due runs are launched by the first poll after it; nothing is lost",
        Some(ErrorKind::Aws) => {
            "check this shell's AWS credentials and permissions, and cluster, network and region of the configuration"
        }
        Some(ErrorKind::Platform) => {
            "see what the message names on this machine: its space, its permissions, its limits"
        }
        Some(ErrorKind::ParameterStore) => {
            "check that the credentials may read and write the parameters below the root"
        }
        Some(ErrorKind::Deadline) => "poll again: nothing is lost; give a poll more time with --timeout",
        Some(ErrorKind::Internal) => "report it, with this message; the other agents poll on",
        Some(ErrorKind::ApiError) | None => {
            "poll again; if it stays, ask whoever runs the Prefect API about the message"
        }
    }
}

/// What to do when nothing could be polled.
pub(super) fn advice_on_poll_error(error: &PollError) -> &'static str {
    match error {
        PollError::Parameters { .. } => ADVICE_ON_AWS,
        PollError::NoAgents(_) => {
            "or check --root: the parameters are looked for below it, in the region of this shell"
        }
        PollError::UnknownAgent(_) => "name one of these with --agent",
        PollError::Deadline(_) => "try again, or give it more time with --timeout",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::ErrorKind;
    use crate::poll::report::{LaunchedRun, WithReason};

    fn example() -> Report {
        let launched = vec![LaunchedRun {
            flow_run_id: "run-1".into(),
            task_arn: "arn:task".into(),
            adopted: false,
            late_ms: None,
        }];
        let failed =
            vec![WithReason { flow_run_id: "run-22".into(), reason: "no\nsuch \x1b[31mimage".into(), late_ms: None }];
        let etl =
            AgentReport { ok: true, poll: 12, ready: 2, launched, failed, duration_ms: 84, ..AgentReport::default() };
        let bad = AgentReport { error_kind: Some(ErrorKind::ApiUnreachable), ..AgentReport::default() };
        Report { agents: [("etl".to_owned(), etl), ("reporting".to_owned(), bad)].into() }
    }

    #[test]
    fn a_report_is_two_tables() {
        insta::assert_snapshot!(report_as_table(&example(), Palette::Plain));
    }

    #[test]
    fn a_report_keeps_its_field_names() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&example()).unwrap());
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let coloured = report_as_table(&example(), Palette::Colours);
        assert!(coloured.contains("\x1b[32mok\x1b[0m") && coloured.contains("\x1b[31mapi-unreachable\x1b[0m"));
        let mut without = coloured;
        for escape in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            without = without.replace(escape, "");
        }
        assert_eq!(without, report_as_table(&example(), Palette::Plain));
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let environment = |pairs: &[(&str, &str)]| -> Environment {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(Palette::for_terminal(true, &environment(&[("NO_COLOR", "")])), Palette::Colours);
        for pairs in [&[("NO_COLOR", "1")], &[("TERM", "dumb")]] {
            assert_eq!(Palette::for_terminal(true, &environment(pairs)), Palette::Plain);
        }
        assert_eq!(Palette::for_terminal(false, &environment(&[])), Palette::Plain);
    }
}

#[cfg(test)]
mod planned_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn every_request_is_shown_with_its_body_on_one_line() {
        let request = |operation, not_before| PlannedRequest {
            agent: "etl".into(),
            service: "ecs",
            operation: String::from(operation),
            not_before,
            body: json!({"b": 1, "a": "x\ny"}),
        };
        let requests = [request("RunTask", None), request("StopTask", Some(datetime!(2026-11-24 12:00:10 UTC)))];
        insta::assert_snapshot!(plan_as_text(&requests));
        insta::assert_snapshot!(serde_json::to_string_pretty(&plan_as_json(&Report::default(), &requests)).unwrap());
        assert!(plan_as_text(&[]).contains("nothing would be sent"));
    }
}
