//! Flow runs.

use super::{Generation, Prefect3, RunState, StateType};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

/// A flow run.
#[derive(Clone, Debug)]
pub struct FlowRun {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it was last changed.
    pub updated: OffsetDateTime,
    /// Its name.
    pub name: String,
    /// The flow.
    pub flow_id: String,
    /// The deployment, which may be gone.
    pub deployment_id: Option<String>,
    /// The deployment's version.
    pub deployment_version: Option<String>,
    /// The queue that hands it out.
    pub work_queue_id: Option<String>,
    /// The queue's name, where it was asked for by name.
    pub work_queue_name: Option<String>,
    /// The flow's version, which the process that runs it tells.
    pub flow_version: Option<String>,
    /// The parameters.
    pub parameters: Map<String, Value>,
    /// A run with the same flow and key is not created again.
    pub idempotency_key: Option<String>,
    /// The context.
    pub context: Map<String, Value>,
    /// How it is retried and paused.
    pub policy: Policy,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: Map<String, Value>,
    /// How often it went Running.
    pub run_count: i64,
    /// When it was to start first.
    pub expected_start_time: Option<OffsetDateTime>,
    /// When it is to start, while it is Scheduled.
    pub next_scheduled_start_time: Option<OffsetDateTime>,
    /// When it went Running first, or ended without.
    pub start_time: Option<OffsetDateTime>,
    /// When it ended.
    pub end_time: Option<OffsetDateTime>,
    /// How long it was Running.
    pub total_run_time: Duration,
    /// What a worker said it launched.
    pub infrastructure_pid: Option<String>,
    /// The job variables.
    pub job_variables: Option<Map<String, Value>>,
    /// Its states, oldest first; the last one holds.
    pub states: Vec<RunState>,
    /// How often a container began to run it.
    pub starts: u32,
}

/// How a run is retried and paused: `empirical_policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// So many retries.
    pub retries: Option<i64>,
    /// Seconds between them.
    pub retry_delay: Option<i64>,
    /// The pauses that it went through.
    pub pause_keys: Vec<String>,
    /// Whether it is resuming from a pause.
    pub resuming: bool,
    /// `in_process` or `reschedule`.
    pub retry_type: Option<String>,
}

impl Policy {
    pub(super) fn row(&self) -> Value {
        json!({
            "max_retries": 0, "retry_delay_seconds": 0.0, "retries": self.retries, "retry_delay": self.retry_delay,
            "pause_keys": self.pause_keys, "resuming": self.resuming, "retry_type": self.retry_type,
        })
    }

    /// From its row; members of other types count as absent.
    pub(super) fn read(row: &Value) -> Self {
        let texts = row["pause_keys"].as_array().into_iter().flatten();
        Self {
            retries: row["retries"].as_i64(),
            retry_delay: row["retry_delay"].as_i64(),
            pause_keys: texts.filter_map(Value::as_str).map(str::to_owned).collect(),
            resuming: row["resuming"].as_bool().unwrap_or_default(),
            retry_type: row["retry_type"].as_str().map(str::to_owned),
        }
    }
}

impl FlowRun {
    /// Its state.
    pub fn state(&self) -> Option<&RunState> {
        self.states.last()
    }

    /// The type of its state.
    pub fn state_type(&self) -> Option<StateType> {
        self.state().map(|state| state.kind)
    }

    /// The name of its state, e.g. `Late`.
    pub fn state_name(&self) -> &str {
        self.state().map_or("", |state| state.name.as_str())
    }

    /// The names of all its states, oldest first.
    pub fn history(&self) -> Vec<&str> {
        self.states.iter().map(|state| state.name.as_str()).collect()
    }

    /// Whether it holds a place under the limits of its pool and queue.
    pub(super) fn takes_a_slot(&self) -> bool {
        matches!(self.state_type(), Some(StateType::Pending | StateType::Running))
    }

    fn estimated_run_time(&self, now: OffsetDateTime) -> Duration {
        match self.state() {
            Some(state) if state.kind == StateType::Running => self.total_run_time + (now - state.timestamp),
            _ => self.total_run_time,
        }
    }

    fn lateness(&self, now: OffsetDateTime) -> Duration {
        let ended = self.state_type().is_some_and(StateType::is_final);
        match (self.expected_start_time, self.start_time) {
            (Some(expected), Some(start)) if start > expected => start - expected,
            (Some(expected), None) if expected < now && !ended => now - expected,
            _ => Duration::ZERO,
        }
    }
}

/// What Prefect 2 does not have of a flow run's row.
const LATER: [&str; 1] = ["labels"];

impl Prefect3 {
    /// A flow run's row, with its state.
    pub(super) fn flow_run_row(&self, run: &FlowRun, now: OffsetDateTime) -> Value {
        let generation = self.switches.generation;
        let at = |time| self.show_some(time);
        let place = self.queue_and_pool(run.work_queue_id.as_deref());
        let queue_name = place.map_or(run.work_queue_name.as_deref(), |(queue, _)| Some(queue.name.as_str()));
        let row = json!({
            "id": run.id,
            "created": self.show(run.created),
            "updated": self.show(run.updated),
            "name": run.name,
            "flow_id": run.flow_id,
            "state_id": run.state().map(|state| state.id.as_str()),
            "deployment_id": run.deployment_id,
            "deployment_version": run.deployment_version,
            "work_queue_id": run.work_queue_id,
            "work_queue_name": queue_name,
            "flow_version": run.flow_version,
            "parameters": run.parameters,
            "idempotency_key": run.idempotency_key,
            "context": run.context,
            "empirical_policy": run.policy.row(),
            "tags": run.tags,
            "labels": run.labels,
            "parent_task_run_id": null,
            "state_type": run.state_type(),
            "state_name": run.state().map(|state| state.name.as_str()),
            "run_count": run.run_count,
            "expected_start_time": at(run.expected_start_time),
            "next_scheduled_start_time": at(run.next_scheduled_start_time),
            "start_time": at(run.start_time),
            "end_time": at(run.end_time),
            "total_run_time": run.total_run_time.as_seconds_f64(),
            "estimated_run_time": run.estimated_run_time(now).as_seconds_f64(),
            "estimated_start_time_delta": run.lateness(now).as_seconds_f64(),
            "auto_scheduled": false,
            "infrastructure_document_id": null,
            "infrastructure_pid": run.infrastructure_pid,
            "created_by": null,
            "work_pool_id": place.map(|(_, pool)| pool.id.as_str()),
            "work_pool_name": place.map(|(_, pool)| pool.name.as_str()),
            "state": run.state().map(|state| state.row(generation)),
            "job_variables": run.job_variables,
        });
        let mut row = self.aged(row, &LATER);
        if generation == Generation::TwoTen
            && let Some(row) = row.as_object_mut()
        {
            row.shift_remove("job_variables");
        }
        row
    }

    /// A flow run as the queue hands it out: without its state, and without the names that a join would give.
    pub(super) fn scheduled_row(&self, run: &FlowRun, now: OffsetDateTime) -> Value {
        let mut row = self.flow_run_row(run, now);
        row["work_queue_name"] = json!(run.work_queue_name);
        row["state"] = Value::Null;
        if let Some(row) = row.as_object_mut() {
            row.retain(|key, _| key != "work_pool_id" && key != "work_pool_name");
        }
        row
    }
}
