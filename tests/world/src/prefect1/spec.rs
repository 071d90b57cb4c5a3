//! Flow runs to be created.

use super::{Flow, FlowRun, NOT_MAPPED, Prefect1, StateRecord, TENANT, TaskRun, state_schema, times};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// A flow run to be created. Everything has a default: an unlabelled run of `My Flow`, Scheduled for now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowRunSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// Default the first tenant.
    pub tenant_id: Option<String>,
    /// Default `pretend-parrot`.
    pub name: Option<String>,
    /// The labels.
    pub labels: Vec<String>,
    /// ISO 8601; default now plus `start_in_seconds`.
    pub start_time: Option<String>,
    /// May be negative.
    pub start_in_seconds: f64,
    /// The serialised state; default Scheduled with the start time. A text is the type of a state without more.
    pub state: Value,
    /// Default 1.
    pub version: Option<i64>,
    /// The serialised run configuration; default the flow's.
    pub run_config: Value,
    /// Default `{}`.
    pub parameters: Value,
    /// Default `{}`.
    pub context: Value,
    /// The flow.
    pub flow: FlowSpec,
    /// The task runs.
    pub task_runs: Vec<TaskRunSpec>,
    /// Seconds since the last sign of life; for states like Submitted and Running.
    pub heartbeat_seconds_ago: Option<f64>,
}

/// A flow.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// The name.
    pub name: String,
    /// The version; may be null.
    pub version: Option<i64>,
    /// The Prefect version that registered it; may be null.
    pub core_version: Option<String>,
    /// The serialised legacy environment, or null.
    pub environment: Value,
    /// The serialised storage.
    pub storage: Value,
    /// The serialised run configuration, or null.
    pub run_config: Value,
    /// Whether states must come with the current version of their run.
    pub version_locking: bool,
}

impl Default for FlowSpec {
    fn default() -> Self {
        Self {
            id: None,
            name: "My Flow".to_owned(),
            version: Some(3),
            core_version: Some("0.15.0".to_owned()),
            environment: Value::Null,
            storage: json!({
                "type": "Local", "path": "/opt/prefect/flow.py", "stored_as_script": true, "directory": "/opt",
                "flows": {}, "secrets": [], "__version__": "0.15.0",
            }),
            run_config: Value::Null,
            version_locking: false,
        }
    }
}

/// A task run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskRunSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// UUID; default a new one.
    pub task_id: Option<String>,
    /// Default `task`.
    pub name: Option<String>,
    /// The task's name within its flow, by which its own process knows it; default the name with `-1`.
    pub slug: Option<String>,
    /// Default 1.
    pub version: Option<i64>,
    /// The serialised state; default Retrying, since the flow run's start time. A text is the type of a state.
    pub state: Value,
}

fn new_or(id: Option<String>) -> Result<String, String> {
    id.map_or_else(|| Ok(times::new_id()), |id| times::uuid(&id).ok_or_else(|| format!("no UUID: {id}")))
}

fn object(given: Value) -> Value {
    if given.is_null() { json!({}) } else { given }
}

fn record(given: Value, default: Value, version: i64, now: OffsetDateTime) -> Result<StateRecord, String> {
    let state = match given {
        Value::Null => default,
        Value::String(kind) => json!({"type": kind}),
        state => state,
    };
    let serialized = state_schema::load(&state, now).map_err(|failure| failure.message)?;
    Ok(StateRecord { id: times::new_id(), version, timestamp: now, agent_id: None, serialized })
}

impl TaskRunSpec {
    pub(super) fn build(self, start: &str, now: OffsetDateTime) -> Result<TaskRun, String> {
        let version = self.version.unwrap_or(1);
        let default = json!({"type": "Retrying", "message": "Retrying.", "start_time": start, "run_count": 1});
        let name = self.name.unwrap_or_else(|| "task".to_owned());
        Ok(TaskRun {
            id: new_or(self.id)?,
            task_id: new_or(self.task_id)?,
            slug: self.slug.unwrap_or_else(|| format!("{name}-1")),
            map_index: NOT_MAPPED,
            heartbeat: None,
            name,
            version,
            states: vec![record(self.state, default, version, now)?],
        })
    }
}

impl FlowSpec {
    fn build(self) -> Result<Flow, String> {
        Ok(Flow {
            id: new_or(self.id)?,
            name: self.name,
            version: self.version,
            core_version: self.core_version,
            environment: self.environment,
            storage: self.storage,
            run_config: self.run_config,
            version_locking: self.version_locking,
        })
    }
}

impl FlowRunSpec {
    fn build(self, now: OffsetDateTime) -> Result<FlowRun, String> {
        let start = match &self.start_time {
            Some(text) => times::parse(text).ok_or_else(|| format!("no time: {text}"))?,
            None => now + Duration::seconds_f64(self.start_in_seconds),
        };
        let shown = times::format(start);
        let scheduled = json!({"type": "Scheduled", "message": "Flow run scheduled.", "start_time": shown});
        let version = self.version.unwrap_or(1);
        let flow = self.flow.build()?;
        Ok(FlowRun {
            id: new_or(self.id)?,
            tenant_id: self.tenant_id.unwrap_or_else(|| TENANT.to_owned()),
            name: self.name.unwrap_or_else(|| "pretend-parrot".to_owned()),
            version,
            labels: self.labels,
            parameters: object(self.parameters),
            context: object(self.context),
            run_config: if self.run_config.is_null() { flow.run_config.clone() } else { self.run_config },
            flow,
            scheduled_start_time: start,
            created: now,
            start_time: None,
            end_time: None,
            heartbeat: self.heartbeat_seconds_ago.map(|seconds| now - Duration::seconds_f64(seconds)),
            agent_id: None,
            times_resurrected: 0,
            states: vec![record(self.state, scheduled, version, now)?],
            task_runs: self
                .task_runs
                .into_iter()
                .map(|task_run| task_run.build(&shown, now))
                .collect::<Result<_, _>>()?,
            starts: 0,
        })
    }
}

impl Prefect1 {
    /// Creates a flow run and returns its id.
    pub fn create_flow_run(&mut self, spec: FlowRunSpec, now: OffsetDateTime) -> Result<String, String> {
        let run = spec.build(now)?;
        if self.flow_run(&run.id).is_some() {
            return Err(format!("there is a flow run {} already", run.id));
        }
        self.flow_runs.push(run);
        Ok(self.flow_runs.last().map(|run| run.id.clone()).unwrap_or_default())
    }
}
