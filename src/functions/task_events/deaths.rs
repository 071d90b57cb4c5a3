//! What the page is told of tasks that died: after an invocation's events, beside Prefect, and never in their way.

use super::TaskEventsFunction;
use crate::clock::{Clock, after};
use crate::panics::lock;
use crate::state::deaths::{self, Death};
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::Told;
use futures_util::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use time::OffsetDateTime;

/// A process writes so often in this time at most: Parameter Store takes three writes a second in an account, and polls write
/// there as well. What is left is written after the next events.
const WRITES: (usize, Duration) = (5, Duration::from_secs(10));
/// Longer nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are kept of an agent until they are written.
const KEPT: usize = 10;

/// Tasks that died and are not written down yet.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    by_agent: BTreeMap<String, Vec<Death>>,
    /// When its last writes were, the newest first.
    written_at: VecDeque<OffsetDateTime>,
}

impl Deaths {
    /// Keeps what Prefect was told of a task's death, if it was.
    pub(super) fn note(&mut self, event: &TaskEvent, told: &Told, now: OffsetDateTime) {
        let (Some(agent), Some(run), Some(reason)) = (&told.agent, &told.flow_run_id, &told.death) else { return };
        // The room is short, and the run's log has it.
        let reason = reason.strip_suffix(&format!(" Task: {}", event.task_arn)).unwrap_or(reason).to_owned();
        let at = event.task.stopped_at.unwrap_or(now);
        let again = told.done.contains(&"given back");
        let of_agent = self.by_agent.entry(agent.clone()).or_default();
        of_agent.insert(0, Death { run: run.clone(), at, reason, again });
        of_agent.truncate(KEPT);
    }

    /// What is to be written now.
    fn take(&mut self, now: OffsetDateTime) -> BTreeMap<String, Vec<Death>> {
        let (most, within) = WRITES;
        // A clock that was put back says nothing about age.
        self.written_at.retain(|written_at| *written_at <= now && now < after(*written_at, within));
        if self.by_agent.is_empty() || self.written_at.len() >= most {
            return BTreeMap::new();
        }
        self.written_at.push_front(now);
        std::mem::take(&mut self.by_agent)
    }
}

impl<C: Clock + Clone> TaskEventsFunction<C> {
    /// Writes down which tasks have died. Best effort: who looks for all of them finds them in the log.
    pub(super) async fn write_deaths(&self, end: OffsetDateTime) {
        let now = self.clock.now();
        let left = Duration::try_from(end - now).unwrap_or_default().min(PATIENCE);
        let by_agent = lock(&self.deaths).take(now);
        let written = by_agent.into_iter().map(|(agent, mut deaths)| async move {
            for death in &mut deaths {
                death.reason = self.redaction.text(std::mem::take(&mut death.reason));
            }
            let written = deaths::remember(&self.aws.ssm, self.root.as_str(), &agent, deaths);
            match tokio::time::timeout(left, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(agent, %error, "which tasks have died was not written down for the page");
                }
                Err(_) => tracing::warn!(agent, "no time was left to write down for the page which tasks have died"),
            }
        });
        join_all(written).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);

    fn stopped() -> TaskEvent {
        let detail = json!({
            "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/etl/1", "lastStatus": "STOPPED",
            "stoppedAt": "2026-11-30T21:59:00Z",
        });
        let event = json!({"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail});
        TaskEvent::read(&event).unwrap()
    }

    fn told(run: &str, death: Option<&str>, done: &'static str) -> Told {
        let (agent, flow_run_id) = (Some("etl".to_owned()), Some(run.to_owned()));
        Told { agent, flow_run_id, done: vec![done], death: death.map(str::to_owned), ..Told::default() }
    }

    #[test]
    fn only_what_prefect_was_told_is_a_death_and_it_is_of_the_moment_the_task_stopped() {
        let mut deaths = Deaths::default();
        deaths.note(&stopped(), &told("a", None, "event posted"), NOW);
        assert_eq!(deaths.take(NOW), BTreeMap::new());
        deaths.note(&stopped(), &told("a", Some("exit code 1"), "ended"), NOW);
        deaths.note(&stopped(), &told("b", Some("no capacity"), "given back"), NOW);
        let taken = &deaths.take(NOW)["etl"];
        let death = |run: &str, reason: &str, again| Death {
            run: run.to_owned(),
            at: NOW - time::Duration::minutes(1),
            reason: reason.to_owned(),
            again,
        };
        assert_eq!(*taken, [death("b", "no capacity", true), death("a", "exit code 1", false)]);
    }

    #[test]
    fn a_thousand_deaths_are_some_writes_and_the_newest_are_kept() {
        let (mut deaths, mut writes) = (Deaths::default(), 0);
        for number in 0..1000_u32 {
            let now = NOW + Duration::from_millis(100) * number;
            deaths.note(&stopped(), &told(&number.to_string(), Some("exit code 1"), "ended"), now);
            let taken = deaths.take(now);
            if let Some(taken) = taken.get("etl") {
                writes += 1;
                assert!(taken.len() <= KEPT && taken[0].run == number.to_string(), "{taken:?}");
            }
        }
        assert_eq!(writes, 50, "five in each of ten times ten seconds");
    }
}
