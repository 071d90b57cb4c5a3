//! A flow run of Prefect 1, and what follows from it on any platform: its environment, its command, its storage. Pure.

mod core_version;
mod environment;
mod run_config;
pub(crate) mod schema;
pub(crate) mod storage;

pub(crate) use core_version::flow_run_command;
pub(crate) use environment::{flow_run_environment, key_variables};
pub(crate) use run_config::{RunConfig, run_config};

use crate::config::{Backend, LaunchType, Rules};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The part of an agent's configuration that its launches depend on; documents are loaded, the tenant is known.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Whose rules hold.
    pub rules: Rules,
    /// Prefect Cloud or Prefect Server.
    pub backend: Backend,
    /// Base URL of the API.
    pub api: String,
    /// API key.
    pub api_key: Option<SecretString>,
    /// Legacy token (Prefect 0.15 only).
    pub auth_token: Option<SecretString>,
    /// Tenant.
    pub tenant_id: Option<String>,
    /// Labels.
    pub labels: Vec<String>,
    /// Environment of every flow run.
    pub env_vars: Vec<(String, String)>,
    /// Flow runs do not send their logs to the API.
    pub no_cloud_logs: bool,
    /// `PREFECT__LOGGING__LEVEL` of the flow runs.
    pub logging_level: String,
    /// Cluster.
    pub cluster: Option<String>,
    /// `None` = not written.
    pub launch_type: Option<LaunchType>,
    /// Task role.
    pub task_role_arn: Option<String>,
    /// Execution role.
    pub execution_role_arn: Option<String>,
    /// The agent's template, loaded; `None` = the built-in one.
    pub task_definition: Option<Map<String, Value>>,
    /// `RunTask` keyword arguments, loaded.
    pub run_task_kwargs: Map<String, Value>,
}

/// A flow run as the API describes it (the selection of the metadata query).
#[derive(Debug, Clone, Deserialize)]
pub struct FlowRun {
    /// Id.
    pub id: String,
    /// Counts the states the run had.
    #[serde(default)]
    pub version: i64,
    /// State type.
    pub state: Option<String>,
    /// The whole state.
    #[serde(default)]
    pub serialized_state: Value,
    /// Run configuration; `null` for legacy flows.
    #[serde(default)]
    pub run_config: Value,
    /// Name.
    pub name: Option<String>,
    /// The flow.
    pub flow: Flow,
    /// Task runs that are due.
    #[serde(default)]
    pub task_runs: Vec<TaskRun>,
}

/// A flow as the API describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Flow {
    /// Id.
    pub id: String,
    /// Version; `null` is possible.
    #[serde(default)]
    pub version: Value,
    /// Name.
    pub name: String,
    /// Legacy environment.
    #[serde(default)]
    pub environment: Value,
    /// Storage.
    #[serde(default)]
    pub storage: Value,
    /// Version of Prefect that registered the flow.
    #[serde(default)]
    pub core_version: Option<String>,
}

/// A due task run of a Running flow run.
#[derive(Debug, Clone, Deserialize)]
pub struct TaskRun {
    /// Id.
    pub id: String,
    /// Counts the states the task run had.
    #[serde(default)]
    pub version: i64,
    /// Id of the task.
    #[serde(default)]
    pub task_id: Option<String>,
    /// The whole state.
    #[serde(default)]
    pub serialized_state: Value,
}
