//! What the API knows.

use super::{API_KEY, Switches, TENANT, TOKEN};
use serde_json::Value;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// All that the fake of Prefect 1 knows.
pub struct Prefect1 {
    /// How it behaves.
    pub switches: Switches,
    /// The tenants; a new world has one.
    pub tenants: Vec<Tenant>,
    /// API keys and the tenants they are good for; the first is the key's default.
    pub api_keys: BTreeMap<String, Vec<String>>,
    /// Legacy tokens.
    pub tokens: BTreeMap<String, Token>,
    /// Agents, oldest first.
    pub agents: Vec<Agent>,
    /// Agent configurations.
    pub agent_configs: Vec<AgentConfig>,
    /// Flow runs, oldest first.
    pub flow_runs: Vec<FlowRun>,
    /// Logs, oldest first.
    pub logs: Vec<Log>,
    /// Until when a flow run refuses another Submitted.
    pub(super) submitted_until: BTreeMap<String, OffsetDateTime>,
}

impl Default for Prefect1 {
    fn default() -> Self {
        super::document::warm();
        let tenant = Tenant { id: TENANT.to_owned(), name: "Default".to_owned(), slug: "default".to_owned() };
        Self {
            switches: Switches::default(),
            tenants: vec![tenant],
            api_keys: BTreeMap::from([(API_KEY.to_owned(), vec![TENANT.to_owned()])]),
            tokens: BTreeMap::from([(
                TOKEN.to_owned(),
                Token { tenant_id: TENANT.to_owned(), scope: "RUNNER".to_owned() },
            )]),
            agents: Vec::new(),
            agent_configs: Vec::new(),
            flow_runs: Vec::new(),
            logs: Vec::new(),
            submitted_until: BTreeMap::new(),
        }
    }
}

impl Prefect1 {
    /// A flow run.
    pub fn flow_run(&self, id: &str) -> Option<&FlowRun> {
        self.flow_runs.iter().find(|run| run.id.eq_ignore_ascii_case(id))
    }

    pub(super) fn flow_run_mut(&mut self, id: &str) -> Option<&mut FlowRun> {
        self.flow_runs.iter_mut().find(|run| run.id.eq_ignore_ascii_case(id))
    }

    /// The logs of a flow run, oldest first.
    pub fn flow_run_logs(&self, id: &str) -> impl Iterator<Item = &Log> {
        let id = id.to_ascii_lowercase();
        self.logs.iter().filter(move |log| log.flow_run_id.as_deref() == Some(id.as_str()))
    }
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its name in URLs.
    pub slug: String,
}

/// A legacy token of Prefect Cloud.
#[derive(Clone, Debug)]
pub struct Token {
    /// The tenant it is good for.
    pub tenant_id: String,
    /// `RUNNER`, `TENANT` or `USER`.
    pub scope: String,
}

/// A registered agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// UUID.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The linked agent configuration; stored by the first registration only.
    pub agent_config_id: Option<String>,
    /// The class name, e.g. `ECSAgent`.
    pub kind: String,
    /// The name.
    pub name: Option<String>,
    /// The labels, sorted.
    pub labels: Vec<String>,
    /// `X-PREFECT-CORE-VERSION` of the registration.
    pub core_version: Option<String>,
    /// When it registered first.
    pub created: OffsetDateTime,
    /// When it last asked for its queue.
    pub last_queried: Option<OffsetDateTime>,
}

/// An agent configuration of the UI.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// UUID.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The name.
    pub name: Option<String>,
    /// A JSON object.
    pub settings: Value,
}

/// A flow, as far as an agent reads it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// UUID.
    pub id: String,
    /// The name.
    pub name: String,
    /// The version; counts registrations of the flow.
    pub version: Option<i64>,
    /// The Prefect version that registered it.
    pub core_version: Option<String>,
    /// The legacy environment, serialised.
    pub environment: Value,
    /// The storage, serialised.
    pub storage: Value,
    /// The run configuration, serialised, or null; its runs have their own.
    pub run_config: Value,
    /// Whether states must come with the current version of their run.
    pub version_locking: bool,
}

/// A flow run.
#[derive(Clone, Debug)]
pub struct FlowRun {
    /// UUID.
    pub id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The flow.
    pub flow: Flow,
    /// The name.
    pub name: String,
    /// Counts the states, from 1.
    pub version: i64,
    /// What agents must have to get it; fixed when the run is created.
    pub labels: Vec<String>,
    /// The parameters.
    pub parameters: Value,
    /// The context.
    pub context: Value,
    /// The run configuration, serialised, or null.
    pub run_config: Value,
    /// When it was to start when it was created.
    pub scheduled_start_time: OffsetDateTime,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it went Running first.
    pub start_time: Option<OffsetDateTime>,
    /// When it ended.
    pub end_time: Option<OffsetDateTime>,
    /// The last sign of life: Submitted, Running, or a state of its own.
    pub heartbeat: Option<OffsetDateTime>,
    /// The agent that sent the last Submitted.
    pub agent_id: Option<String>,
    /// How often Lazarus brought it back.
    pub times_resurrected: i64,
    /// Its states, oldest first; the last one holds.
    pub states: Vec<StateRecord>,
    /// Its task runs.
    pub task_runs: Vec<TaskRun>,
    /// How often a container began to run it.
    pub starts: u32,
}

/// A task run.
#[derive(Clone, Debug)]
pub struct TaskRun {
    /// UUID.
    pub id: String,
    /// The task.
    pub task_id: String,
    /// The task's name within its flow, e.g. `load-1`.
    pub slug: String,
    /// Which child of a mapped task it is; -1: none.
    pub map_index: i64,
    /// Its process's last sign of life; 0.15's gives one for each task run.
    pub heartbeat: Option<OffsetDateTime>,
    /// The name.
    pub name: String,
    /// Counts the states, from 1.
    pub version: i64,
    /// Its states, oldest first; the last one holds.
    pub states: Vec<StateRecord>,
}

/// One state of a flow run or task run.
#[derive(Clone, Debug)]
pub struct StateRecord {
    /// UUID.
    pub id: String,
    /// The run's version with this state.
    pub version: i64,
    /// When it was set.
    pub timestamp: OffsetDateTime,
    /// `X-PREFECT-AGENT-ID` of the request; none for seeds and Lazarus.
    pub agent_id: Option<String>,
    /// The state as the server wrote it.
    pub serialized: Value,
}

impl StateRecord {
    /// The type, e.g. `Submitted`.
    pub fn kind(&self) -> &str {
        self.serialized["type"].as_str().unwrap_or_default()
    }

    /// The message.
    pub fn message(&self) -> Option<&str> {
        self.serialized["message"].as_str()
    }

    /// The context, a JSON object.
    pub fn context(&self) -> &Value {
        &self.serialized["context"]
    }

    /// When the run is to start; states like Scheduled have it.
    pub fn start_time(&self) -> Option<OffsetDateTime> {
        super::times::parse(self.serialized["start_time"].as_str()?)
    }
}

fn last(states: &[StateRecord]) -> &str {
    states.last().map_or("", StateRecord::kind)
}

impl FlowRun {
    /// The type of its state, e.g. `Submitted`.
    pub fn state(&self) -> &str {
        last(&self.states)
    }

    /// Its state.
    pub fn current(&self) -> Option<&StateRecord> {
        self.states.last()
    }

    /// The types of all its states, oldest first.
    pub fn history(&self) -> Vec<&str> {
        self.states.iter().map(StateRecord::kind).collect()
    }
}

impl TaskRun {
    /// The type of its state, e.g. `Retrying`.
    pub fn state(&self) -> &str {
        last(&self.states)
    }

    /// Its state.
    pub fn current(&self) -> Option<&StateRecord> {
        self.states.last()
    }
}

/// A line of a run's log.
#[derive(Clone, Debug)]
pub struct Log {
    /// The flow run.
    pub flow_run_id: Option<String>,
    /// The task run.
    pub task_run_id: Option<String>,
    /// When it was written.
    pub timestamp: OffsetDateTime,
    /// The logger.
    pub name: Option<String>,
    /// `CRITICAL`, `ERROR`, `WARNING`, `INFO` or `DEBUG`.
    pub level: String,
    /// The text.
    pub message: Option<String>,
    /// More, as JSON.
    pub info: Value,
}
