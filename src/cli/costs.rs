//! `prefect-serverless-agent costs`: what the runs of a deployment cost, added up from the log of its function `task-events`.

use super::output::{self, Palette};
use super::setting::{clients, deployed_stack, resource_of, root_of};
use super::{CliError, note, say};
use crate::aws::AwsError;
use crate::aws::services::{Logs, QueryRow, QueryState};
use crate::check::stack::Stack;
use crate::clock::{Clock, SystemClock};
use crate::config::Environment;
use crate::costs::query::{By, MOST_ROWS, costs as read, query};
use crate::poll::Source;
use crate::redaction::Redaction;
use clap::Args;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use time::OffsetDateTime;

/// Arguments of `prefect-serverless-agent costs`.
#[allow(clippy::doc_markdown, reason = "documentation is the help's text")]
#[derive(Debug, Clone, Args)]
pub struct CostsArgs {
    /// The root of the deployment's parameters [env: `PARAMETER_ROOT`]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
    /// What to add up by; tasks of Prefect 1 have neither deployment nor pool
    #[arg(long, value_enum, default_value_t = By::Deployment)]
    pub by: By,
    /// How far back: minutes, hours, days or weeks, such as 90m, 24h, 7d, 4w
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub since: time::Duration,
    /// Seconds that all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=900))]
    pub timeout: u64,
}

/// The longest that logs are kept: ten years.
const LONGEST_SPAN: time::Duration = time::Duration::days(3653);

fn span(text: &str) -> Result<time::Duration, String> {
    let units = [("m", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<i64>().ok().filter(|_| is_number)?.checked_mul(*seconds)
    });
    let span = seconds.map(time::Duration::seconds).filter(|span| span.is_positive() && *span <= LONGEST_SPAN);
    span.ok_or_else(|| "allowed: a whole number with m, h, d or w, such as 24h or 7d, ten years at most".to_owned())
}

/// The log in which the costs stand.
const LOG_GROUP: &str = "TaskEventsLogGroup";
/// The shortest pause between two questions for the result, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Asks, and shows what it comes to.
pub(super) async fn costs(
    args: &CostsArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let root = root_of(args.root.as_deref(), &environment)?;
    let aws = clients(&Source::Parameters(root.clone()), &environment).await?;
    let stack = deployed_stack(&aws, &root).await?;
    let group = resource_of(&stack, LOG_GROUP, "log group of task events")?;
    let until = SystemClock.now();
    let since = until.checked_sub(args.since).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if let Some(kept) = kept_for(&stack).filter(|kept| args.since > *kept) {
        let message = format!("the log is kept for {} days only", kept.whole_days());
        note(&CliError::new(message, "LogRetentionDays of the stack"), redaction);
    }
    let times = (since.unix_timestamp(), until.unix_timestamp());
    let logs = &aws.for_agent(None, None).await.logs;
    let rows = asked(logs, (group, &query(args.by)), times, Duration::from_secs(args.timeout)).await?;
    let costs = read(args.by, &rows).map_err(|error| trouble(group, &error))?;
    if costs.len() >= MOST_ROWS {
        let message = format!("only the {MOST_ROWS} that cost most are shown");
        note(&CliError::new(message, "add up by something coarser: --by flow, --by pool"), redaction);
    }
    let shown = if json {
        format!("{}\n", output::costs::as_json(args.by, &costs, (since, until)))
    } else {
        let palette = Palette::for_terminal(std::io::stdout().is_terminal(), &environment);
        output::costs::as_text(args.by, &costs, palette)
    };
    say(&mut std::io::stdout(), &redaction.text(shown));
    Ok(ExitCode::SUCCESS)
}

/// How long the log's lines are kept, as far as the stack's parameters tell.
fn kept_for(stack: &Stack) -> Option<time::Duration> {
    stack.parameter("LogRetentionDays").parse().ok().map(time::Duration::days)
}

/// The rows of a query, waited for up to `patience`.
async fn asked(
    logs: &Logs,
    (group, query): (&str, &str),
    times: (i64, i64),
    patience: Duration,
) -> Result<Vec<QueryRow>, CliError> {
    let id = logs.start_query(group, query, times).await.map_err(|error| trouble(group, &error))?;
    let wait = async {
        let (mut pause, longest) = PAUSES;
        loop {
            tokio::time::sleep(pause).await;
            match logs.query_results(&id).await? {
                QueryState::Running => pause = (pause * 2).min(longest),
                ended => return Ok(ended),
            }
        }
    };
    match tokio::time::timeout(patience, wait).await {
        Ok(Ok(QueryState::Complete(rows))) => Ok(rows),
        Ok(Ok(QueryState::Ended(status))) => {
            let message = format!("{group}: the query ended as {status}");
            Err(CliError::new(message, "ask for less at once (--since 1d), or again"))
        }
        Ok(Ok(QueryState::Running)) | Err(_) => {
            // Otherwise it would run to its end, and be paid for. Whether it is stopped changes nothing here.
            if let Err(error) = logs.stop_query(&id).await {
                tracing::debug!(%error, "the query was not stopped");
            }
            let message = format!("{group}: the query had no result after {} s", patience.as_secs());
            Err(CliError::new(message, "give it more time (--timeout), or ask for less at once (--since 1d)"))
        }
        Ok(Err(error)) => Err(trouble(group, &error)),
    }
}

fn trouble(group: &str, error: &AwsError) -> CliError {
    let advice = match error.code() {
        Some("LimitExceededException") => "too many queries run in this account: ask again in a minute",
        Some("MalformedQueryException") => "ask for less (--since 1d): the log may be younger than that",
        Some("ResourceNotFoundException") => "the stack's log group is gone: deploy it anew",
        _ if error.is_denied() => {
            "allow logs:StartQuery on the log group, logs:GetQueryResults and logs:StopQuery to whoever asks"
        }
        _ => output::ADVICE_ON_AWS,
    };
    CliError::new(format!("{group}: {error}"), advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds) in
            [("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("4w", 2_419_200), ("3653d", 315_619_200)]
        {
            assert_eq!(span(text), Ok(time::Duration::seconds(seconds)), "{text}");
        }
        for text in ["", "7", "d", "0d", "-7d", "+7d", "1.5h", "7 d", "7D", "3654d", "9223372036854775807w", "7y"] {
            assert!(span(text).unwrap_err().contains("such as 24h or 7d"), "{text}");
        }
    }
}
