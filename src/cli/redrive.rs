//! `prefect-serverless-agent redrive`: events that could not be told are given to `task-events` once more.

use super::args::RedriveArgs;
use super::output::{ADVICE_ON_AWS, printable};
use super::setting::{clients, deployed_stack, resource_of, root_of};
use super::{CliError, say};
use crate::aws::AwsError;
use crate::aws::sqs::{Message, Sqs};
use crate::check::events::{DEAD_LETTERS, FAILURES, QUEUE};
use crate::config::Environment;
use crate::poll::Source;
use crate::redaction::Redaction;
use crate::task_events::event::{NotAnEvent, events_in_body};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The queues in which events wait for this.
const WAITING_IN: [&str; 2] = [DEAD_LETTERS, FAILURES];
/// What was received is hidden for so long: nothing is received twice here.
const HIDDEN: Duration = Duration::from_mins(15);
/// Batches of ten at most that are taken from one queue.
const MOST_BATCHES: usize = 1000;
/// One empty answer does not prove that a queue is empty.
const EMPTY_ANSWERS: usize = 3;
/// Exit code where something stays.
const STAYS: u8 = 3;

/// What was done about one queue.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Redriven {
    /// Its URL.
    queue: String,
    /// Events that were sent again.
    events: usize,
    /// Why messages stay in it.
    kept: Vec<String>,
}

/// Sends all of them again, and says how many there were.
pub(super) async fn redrive(
    args: &RedriveArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let root = root_of(args.root.as_deref(), &environment)?;
    let aws = clients(&Source::Parameters(root.clone()), &environment).await?;
    let stack = deployed_stack(&aws, &root).await?;
    let queue = resource_of(&stack, QUEUE, "queue of task events")?;
    let mut all = Vec::new();
    for waiting in WAITING_IN.iter().filter_map(|id| stack.resource(id)) {
        let mut redriven = Redriven { queue: waiting.to_owned(), ..Redriven::default() };
        let emptied = empty(&aws.sqs, waiting, queue, &mut redriven).await;
        all.push(redriven);
        if let Err(error) = emptied {
            // What was sent before that is worth knowing.
            say(&mut std::io::stderr(), &redaction.text(as_text(&all)));
            return Err(CliError::new(format!("{waiting}: {error}"), ADVICE_ON_AWS));
        }
    }
    let shown = if json { format!("{}\n", json!({"queues": all})) } else { as_text(&all) };
    say(&mut std::io::stdout(), &redaction.text(shown));
    let stays = all.iter().any(|redriven| !redriven.kept.is_empty());
    Ok(if stays { ExitCode::from(STAYS) } else { ExitCode::SUCCESS })
}

/// Moves what waits in one queue to the other. What stays may be received by others at once, whatever happens.
async fn empty(sqs: &Sqs, from: &str, to: &str, redriven: &mut Redriven) -> Result<(), AwsError> {
    let mut stays = Vec::new();
    let emptied = empty_but(sqs, (from, to), redriven, &mut stays).await;
    let shown = stays.iter().map(|message: &Message| sqs.hide(from, &message.receipt_handle, Duration::ZERO));
    for error in join_all(shown).await.into_iter().filter_map(Result::err) {
        tracing::warn!(queue = from, %error, "what stays is hidden for a quarter of an hour");
    }
    emptied
}

async fn empty_but(
    sqs: &Sqs,
    (from, to): (&str, &str),
    redriven: &mut Redriven,
    stays: &mut Vec<Message>,
) -> Result<(), AwsError> {
    let mut answers_left = EMPTY_ANSWERS;
    for _ in 0..MOST_BATCHES {
        let messages = sqs.receive(from, HIDDEN).await?;
        if messages.is_empty() {
            answers_left -= 1;
            if answers_left == 0 {
                return Ok(());
            }
            continue;
        }
        let moved = join_all(messages.iter().map(|message| moved(sqs, message, (from, to)))).await;
        let mut trouble = None;
        for (message, one) in messages.into_iter().zip(moved) {
            match one {
                Ok(Ok(events)) => redriven.events += events,
                Ok(Err(no_event)) => {
                    redriven.kept.push(no_event.to_string());
                    stays.push(message);
                }
                Err(error) => {
                    stays.push(message);
                    trouble = Some(error);
                }
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
    }
    redriven.kept.push(format!("there is more than {MOST_BATCHES} requests receive: run it again"));
    Ok(())
}

/// Sends the events in a message, and deletes it only then: they may come twice, and are never lost.
async fn moved(sqs: &Sqs, message: &Message, (from, to): (&str, &str)) -> Result<Result<usize, NotAnEvent>, AwsError> {
    let events: Result<Vec<Value>, NotAnEvent> = events_in_body(&message.body).into_iter().collect();
    let events = match events {
        Ok(events) => events,
        Err(no_event) => return Ok(Err(no_event)),
    };
    for event in &events {
        sqs.send(to, &event.to_string(), Duration::ZERO).await?;
    }
    sqs.delete(from, &message.receipt_handle).await?;
    Ok(Ok(events.len()))
}

/// Pure: what was done, for people.
fn as_text(all: &[Redriven]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    for Redriven { queue, events, kept } in all {
        let name = queue.rsplit('/').next().unwrap_or(queue);
        line(match events {
            0 if kept.is_empty() => format!("{name}: nothing waits there"),
            1 => format!("{name}: 1 event sent again"),
            events => format!("{name}: {events} events sent again"),
        });
        for why in kept {
            line(format!("  stays: {}", printable(why)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_was_sent_and_what_stays() {
        let of = |queue: &str, events, kept: &[&str]| Redriven {
            queue: format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{queue}"),
            events,
            kept: kept.iter().map(ToString::to_string).collect(),
        };
        let all = [of("dead", 0, &[]), of("old", 1, &[]), of("odd", 12, &["this is the text \"x\"\u{1b}[31m"])];
        let text = as_text(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["dead: nothing waits there", "old: 1 event sent again", "odd: 12 events sent again"]);
        assert!(lines[3].starts_with("  stays: this is") && !text.contains('\u{1b}'), "{text}");
    }
}
