//! What an event that was told says in figures and in the log: how late the run was, and what its task cost.

use crate::config::{AgentConfig, GenerationConfig};
use crate::costs::{Estimate, Names, NoEstimate, estimate};
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::{Known, Told};
use crate::telemetry::metrics::Metric;
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
