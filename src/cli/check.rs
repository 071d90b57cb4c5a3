//! `prefect-serverless-agent check`: how what [`crate::check`] found is shown.

use super::args::CheckArgs;
use super::output::Palette;
use super::setting::{clients, deployed_stack, source};
use super::{CliError, say};
use crate::aws::AwsClients;
use crate::check::deployment::{Selected, check as look};
use crate::check::{Finding, Group, Looked, Severity};
use crate::config::{Environment, Root};
use crate::poll::Source;
use crate::redaction::Redaction;
use crate::transport::shape::text_at;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The check function's name in the template.
const FUNCTION: &str = "CheckerFunction";
/// Exit code where something does not work.
const FAILURES: u8 = 3;
/// Exit code where somebody should look.
const WARNINGS: u8 = 4;
/// Exit code where the arguments are wrong.
pub(super) const BAD_INPUT: u8 = 2;

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
    let looked = match &source {
        Source::Parameters(root) if args.remote => remote(&args, root, &aws).await?,
        _ => {
            let end = Instant::now() + Duration::from_secs(args.timeout);
            let selected = Selected { agents: &args.agents, pre: args.pre, pokes: !args.no_poke, end };
            let looked = Box::pin(look(&source, selected, &aws, &environment, redaction)).await;
            looked?
        }
    };
    let shown = if json { format!("{}\n", looked.as_json()) } else { as_text(&looked, palette) };
    say(&mut std::io::stdout(), &redaction.text(shown));
    Ok(exit_code(&looked))
}

/// What the stack's own function finds, whose network and account are the real ones.
async fn remote(args: &CheckArgs, root: &Root, aws: &AwsClients) -> Result<Looked, CliError> {
    let stack = deployed_stack(aws, root).await?;
    let function = stack.resource(FUNCTION).ok_or_else(|| {
        let advice = format!("sam deploy --stack-name {} --parameter-overrides CheckFunction=ENABLED", stack.name);
        CliError::new(format!("the stack {} has no check function", stack.name), advice)
    })?;
    let agents = (!args.agents.is_empty()).then(|| ("agents".to_owned(), json!(args.agents)));
    let poke = args.no_poke.then(|| ("poke".to_owned(), json!(false)));
    let event = Value::Object(agents.into_iter().chain(poke).collect());
    let answer = aws.lambda.ask(function, event.to_string().into(), Duration::from_secs(args.timeout)).await;
    let answer = answer.map_err(|error| {
        CliError::new(format!("{function} does not answer: {error}"), "allow lambda:InvokeFunction of it; see its log")
    })?;
    let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if let Some(message) = text_at(&said, &["errorMessage"]) {
        return Err(CliError::new(
            format!("{function}: {message}"),
            "name configured agents with --agent; see its log",
        ));
    }
    Looked::read(&said).ok_or_else(|| {
        let advice = "deploy the stack from the version of this command, or the other way round";
        CliError::new(format!("{function} answers as another version does"), advice)
    })
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
    use crate::check::codes::{OTHER_WORKER, POOL_PAUSED, PREFECT_UNKNOWN, QUEUE_PAUSED};

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
        let shown = found.as_json();
        assert_eq!(shown["findings"][0]["code"], "PSA223");
        assert_eq!((&shown["findings"][0]["severity"], &shown["ok"]), (&json!("failure"), &json!(false)));
        assert_eq!((&shown["counts"]["failures"], &shown["well"][0]["group"]), (&json!(1), &json!("configuration")));
    }
}
