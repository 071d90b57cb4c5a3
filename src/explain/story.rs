//! Pure: what happened to a run, in the order of its time.

use super::facts::{Facts, TaskFacts};
use super::words;
use crate::costs::estimate;
use crate::costs::prices::Prices;
use crate::orchestrator::Mark;
use crate::orchestrator::run_facts::{RunFacts, StateFacts};
use crate::task_events::event::Container;
use serde::Serialize;
use time::OffsetDateTime;

/// Characters of a quoted message at most; the whole of it is in Prefect.
const QUOTED: usize = 400;
/// Characters of a claim's token that are shown: enough to find it by.
const TOKEN_SHOWN: usize = 12;

/// Who tells of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorySource {
    /// The run's states.
    Prefect,
    /// A task.
    Ecs,
    /// Where a container's log is.
    Log,
}

impl StorySource {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefect => "Prefect",
            Self::Ecs => "ECS",
            Self::Log => "log",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When; `None` = it is not told.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// Who tells of it.
    pub source: StorySource,
    /// What happened.
    pub what: String,
}

/// All events, in their order.
pub fn events(facts: &Facts) -> Vec<Event> {
    let states = facts.run.iter().flat_map(|run| run.states.iter().map(|state| of_state(facts, run, state)));
    let prices = facts.agent.config.prices.as_ref();
    let tasks = facts.tasks.found.iter().flat_map(|task| of_task(task, prices));
    let mut events: Vec<Event> = states.chain(tasks).collect();
    // What happened at once keeps its order: a state before the task that follows from it.
    events.sort_by_key(|event| event.at);
    events
}

fn of_state(facts: &Facts, run: &RunFacts, state: &StateFacts) -> Event {
    let time = state.scheduled_for.map(|at| format!(" for {}", words::clock(at, facts.now))).unwrap_or_default();
    let claim = match (&state.mark, &run.worker) {
        (Some(mark), _) => marked(facts, state, mark),
        (None, Some(worker)) if state.is_claim => {
            format!(": claimed without a mark of ours, the run is labelled with worker {worker}")
        }
        (None, _) if state.is_claim => ": claimed without a mark of ours".to_owned(),
        _ => String::new(),
    };
    let message = state.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(" – {}", quoted(message))).unwrap_or_default();
    let what = format!("{}{time}{claim}{message}", state.name);
    Event { at: state.at, source: StorySource::Prefect, what }
}

/// What the mark in a state tells.
fn marked(facts: &Facts, state: &StateFacts, mark: &Mark) -> String {
    let whose = if state.is_ours { "this agent".to_owned() } else { format!("another agent, {}", mark.agent) };
    let start = |name: &str| name.chars().take(TOKEN_SHOWN).collect::<String>();
    let (token, epoch) = (start(&mark.token), start(&mark.epoch));
    let attempt = format!("attempt {} of {}", mark.attempt, facts.agent.config.max_launch_attempts);
    let place = if mark.place.is_empty() { String::new() } else { format!(", cluster {}", mark.place) };
    if state.is_claim {
        format!(": claimed by {whose} ({attempt}, epoch {epoch}, token {token}…{place})")
    } else if state.scheduled_for.is_some() {
        format!(": given back by {whose} after {attempt}")
    } else {
        format!(": told by {whose}")
    }
}

fn of_task(task: &TaskFacts, prices: Option<&Prices>) -> Vec<Event> {
    let TaskFacts { task: event, pull_stopped_at, log } = task;
    let (arn, id) = (&event.task_arn, event.task_id());
    let ecs = |at: Option<OffsetDateTime>, what: String| Event { at, source: StorySource::Ecs, what };
    let mut events = vec![ecs(event.task.created_at, format!("task {arn} was created"))];
    let dated = |at: &Option<OffsetDateTime>, what: &str| at.map(|at| ecs(Some(at), format!("task {id} {what}")));
    events.extend(dated(&event.task.pull_started_at, "pulls its images"));
    events.extend(dated(pull_stopped_at, "has its images"));
    events.extend(dated(&event.task.started_at, "started"));
    if event.is_stopped() {
        let cost = estimate(event, prices).map(|cost| format!("; {cost}")).unwrap_or_default();
        events.push(ecs(event.task.stopped_at, format!("task {id} stopped: {}{cost}", end_of(task))));
    }
    if let Some(log) = log {
        let region = log.region.as_deref().map(|region| format!(" --region {region}")).unwrap_or_default();
        let what = format!("aws logs tail '{}' --log-stream-names '{}'{region}", log.group, log.stream);
        let at = event.task.started_at.or(event.task.created_at);
        events.push(Event { at, source: StorySource::Log, what });
    }
    events
}

/// `stopCode`, `stoppedReason` and what the containers ended with.
fn end_of(task: &TaskFacts) -> String {
    let stopped = &task.task.task;
    let container = |container: &Container| {
        let name = container.name.as_deref().unwrap_or("?");
        let code = container.exit_code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        let reason = container.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("container {name}: {code}{reason}")
    };
    let said = [stopped.stop_code.clone(), stopped.stopped_reason.as_deref().map(quoted)].into_iter().flatten();
    let said: Vec<String> = said.chain(stopped.containers.iter().map(container)).collect();
    if said.is_empty() { "nothing is said about why".to_owned() } else { said.join("; ") }
}

/// On one line, and bounded.
pub(super) fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}… (cut)", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::explain::testing::{before, claimed, facts, mark, state, task};
    use crate::task_events::perform::LogStream;
    use serde_json::json;

    #[test]
    fn events_of_prefect_and_ecs_are_told_in_the_order_of_time() {
        let more = json!({
            "startedAt": before(20).unix_timestamp(), "stoppedAt": before(5).unix_timestamp(),
            "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container\nin task exited",
            "containers": [{"name": "prefect", "exitCode": 137, "reason": "OutOfMemoryError"}, {"name": "otel"}],
        });
        let mut task = task("STOPPED", 38, &more);
        (task.task.task.pull_started_at, task.pull_stopped_at) = (Some(before(30)), Some(before(22)));
        task.log = Some(LogStream { group: "/prefect/x".into(), stream: "p/prefect/0123".into(), region: None });
        let mut run = claimed(40);
        run.states[0].scheduled_for = Some(before(45));
        run.states.push(StateFacts { message: Some("it\n died".into()), ..state("Crashed", 3) });
        let told = events(&facts(run, vec![task]));
        let lines: Vec<String> =
            told.iter().map(|event| format!("{} {}", words::clock(event.at.unwrap(), before(0)), event.what)).collect();
        let arn = "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123";
        assert_eq!(
            lines,
            [
                "14:01:10 Scheduled for 14:01:25".to_owned(),
                "14:01:30 Pending: claimed by this agent (attempt 1 of 5, epoch epoch, token 0123456789ab…, cluster etl)".into(),
                format!("14:01:32 task {arn} was created"),
                "14:01:40 task 0123 pulls its images".into(),
                "14:01:48 task 0123 has its images".into(),
                "14:01:50 task 0123 started".into(),
                "14:01:50 aws logs tail '/prefect/x' --log-stream-names 'p/prefect/0123'".into(),
                "14:02:05 task 0123 stopped: EssentialContainerExited; Essential container in task exited; container \
                 prefect: exit code 137 (OutOfMemoryError); container otel: no exit code"
                    .into(),
                "14:02:07 Crashed – it died".into(),
            ]
        );
    }

    #[test]
    fn a_claim_of_others_and_one_that_was_given_back_are_told_apart() {
        let mut run = claimed(40);
        run.states[1].is_ours = false;
        let back = StateFacts {
            scheduled_for: Some(before(-10)),
            mark: Some(mark(2, "etl")),
            is_ours: true,
            message: Some("x".repeat(1000)),
            ..state("AwaitingRetry", 20)
        };
        run.states.push(back);
        let told = events(&facts(run, Vec::new()));
        assert!(told[1].what.starts_with("Pending: claimed by another agent, /psa/prod/etl (attempt 1"), "{told:?}");
        let back = &told[2].what;
        assert!(back.starts_with("AwaitingRetry for 14:02:20: given back by this agent after attempt 2 of 5 – xxx"));
        assert!(back.ends_with("… (cut)") && back.len() < 600, "{back}");
    }
}
