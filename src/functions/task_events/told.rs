//! What an event that was told says in figures and in the log: how late the run was, and what its task cost.
//! And what the page is told of tasks that died: after an invocation's events, beside Prefect, and never in their way.

use super::TaskEventsFunction;
use crate::clock::{Clock, after};
use crate::config::{AgentConfig, GenerationConfig};
use crate::costs::{Estimate, Names, NoEstimate, estimate};
use crate::panics::lock;
use crate::state::recent::{self, Death};
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::{Known, Told};
use crate::telemetry::metrics::Metric;
use futures_util::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use time::OffsetDateTime;

/// A value of a metric that an event told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The agent whose run it was.
    pub agent: Option<String>,
    /// What was measured.
    pub metric: Metric,
    /// The value, in the metric's unit.
    pub value: f64,
    /// When it was so.
    pub at: OffsetDateTime,
}

/// What a task of an agent cost that has stopped.
pub(super) type TaskCost = Option<Result<Estimate, NoEstimate>>;

/// What the task cost, if it has stopped.
pub(super) fn cost_of(event: &TaskEvent, config: Option<&AgentConfig>) -> TaskCost {
    config.filter(|_| event.is_stopped()).map(|config| estimate(event, config.prices.as_ref()))
}

/// What the event says in figures.
pub(super) fn measured(event: &TaskEvent, told: &Told, cost: &TaskCost) -> impl Iterator<Item = Measured> + use<> {
    let agent = told.agent.clone();
    let due_to_running = event.task.started_at.zip(told.due_to_running_ms).map(|(started_at, milliseconds)| {
        (Metric::DueToRunning, Duration::from_millis(milliseconds).as_secs_f64(), started_at)
    });
    let cost = event.task.stopped_at.zip(cost.as_ref().and_then(|cost| cost.as_ref().ok()));
    let cost = cost.map(|(stopped_at, cost)| (Metric::EstimatedCost, cost.usd(), stopped_at));
    let both = [due_to_running, cost].into_iter().flatten();
    both.map(move |(metric, value, at)| Measured { agent: agent.clone(), metric, value, at })
}

/// The line of the log that says what came of an event. Where the task has stopped it says what the task cost, with the names
/// by which that is added up (see [`crate::costs::query`]).
pub(super) fn log(event: &TaskEvent, known: &Known, told: &Told, config: Option<&AgentConfig>, cost: &TaskCost) {
    let (cost, no_estimate) = match cost {
        Some(Ok(cost)) => (Some(cost), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let usage = cost.map(|cost| &cost.usage);
    let names = config.map(|config| match &config.generation {
        GenerationConfig::One(_) => Names::of(event, &known.tags, None),
        GenerationConfig::Three(three) => Names::of(event, &known.tags, Some(&three.work_pool)),
    });
    let names = names.unwrap_or_default();
    tracing::info!(
        task_arn = event.task_arn,
        status = event.last_status,
        told = %serde_json::json!(told),
        agent = told.agent,
        flow_run_id = told.flow_run_id,
        // For queries; what was done is one of few words.
        done = if told.done.is_empty() { "nothing".to_owned() } else { told.done.join(", ") },
        due_to_running_ms = told.due_to_running_ms,
        flow = names.flow,
        deployment = names.deployment,
        work_pool = names.work_pool,
        estimated_cost = cost.map(Estimate::usd),
        no_estimate = no_estimate.map(ToString::to_string),
        billed_seconds = usage.map(|usage| usage.billed_seconds),
        cpu_units = usage.map(|usage| usage.cpu_units),
        memory_mib = usage.map(|usage| usage.memory_mib),
        platform = usage.map(|usage| usage.platform.name()),
        capacity = usage.map(|usage| usage.capacity.name()),
        "task event"
    );
}

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
        // The room is short, and the run's log says which task it was.
        let reason = reason.strip_suffix(&format!(" Task: {}", event.task_arn)).unwrap_or(reason);
        let reason = reason.strip_prefix(&format!("Task {} ", event.task_arn)).unwrap_or(reason).to_owned();
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
            let written = recent::remember_deaths(&self.aws.ssm, self.root.as_str(), &agent, deaths);
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
