//! A flow run of Prefect 1, and what follows from it on any platform: its environment, its command, its storage. Pure.

mod core_version;
pub(crate) mod schema;
pub(crate) mod storage;

pub(crate) use core_version::flow_run_command;

use crate::config::{Backend, LaunchType, Rules};
use crate::model::RunRefusal;
use crate::python_text::list_text;
use schema::{typed_object, unsupported_type};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

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

impl FlowRun {
    /// A run of a flow that says nothing of how it is to be run: whatever its launch asks for, its agent asks for.
    pub fn imagined() -> Self {
        let id = || "00000000-0000-0000-0000-000000000000".to_owned();
        let flow = Flow {
            id: id(),
            version: Value::Null,
            name: "flow".into(),
            environment: Value::Null,
            storage: json!({"type": "Module", "module": "flow", "flows": {}}),
            core_version: None,
        };
        Self {
            id: id(),
            version: 0,
            state: Some("Scheduled".into()),
            serialized_state: Value::Null,
            run_config: Value::Null,
            name: Some("survey".into()),
            flow,
            task_runs: Vec::new(),
        }
    }
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

// The run config of a flow run, of whichever type.

/// A run config that an agent can run, not checked yet.
pub(crate) enum RunConfig<'a> {
    /// There is none: the agent's defaults.
    Default,
    /// A `UniversalRun`, for any agent.
    Universal(&'a Map<String, Value>),
    /// Of the agent's own type.
    Own(&'a Map<String, Value>),
}

/// The run config of `run`, for an agent whose own type is `own`.
pub(crate) fn run_config<'a>(rules: Rules, run: &'a FlowRun, own: &str) -> Result<RunConfig<'a>, RunRefusal> {
    if run.run_config.is_null() {
        return match rules {
            Rules::V0_15 if !run.flow.environment.is_null() => Err(RunRefusal(
                "This flow was registered with an `environment` and without a `run_config`, which this agent cannot run: \
                 register it again with Prefect 0.14 or newer"
                    .into(),
            )),
            _ => Ok(RunConfig::Default),
        };
    }
    let (object, kind) = typed_object(&run.run_config)?;
    match kind {
        kind if kind == own => Ok(RunConfig::Own(object)),
        "UniversalRun" => Ok(RunConfig::Universal(object)),
        "ECSRun" | "DockerRun" | "KubernetesRun" | "LocalRun" => Err(wrong_type(run, kind, own)),
        "VertexRun" if rules == Rules::V1 => Err(wrong_type(run, kind, own)),
        unknown => Err(unsupported_type(unknown)),
    }
}

fn wrong_type(run: &FlowRun, kind: &str, own: &str) -> RunRefusal {
    RunRefusal(format!("Flow run {} has a `run_config` of type `{kind}`, only `{own}` is supported", run.id))
}

// The environment of a flow run's container.

const SEND_LOGS: &str = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS";
const API_KEY: &str = "PREFECT__CLOUD__API_KEY";
const AUTH_TOKEN: &str = "PREFECT__CLOUD__AUTH_TOKEN";

/// Every variable in order: the logging level, the agent's, the run config's, then those a flow run depends on.
///
/// A later value of a name replaces the earlier one in its place.
pub(crate) fn flow_run_environment(
    agent: &AgentSettings,
    run: &FlowRun,
    run_env: &Map<String, Value>,
) -> Map<String, Value> {
    let mut env = Map::new();
    set(&mut env, "PREFECT__LOGGING__LEVEL", &agent.logging_level);
    for (name, value) in &agent.env_vars {
        set(&mut env, name, value);
    }
    for (name, value) in run_env {
        env.insert(name.clone(), value.clone());
    }
    let sends_logs = if agent.no_cloud_logs { "false" } else { "true" };
    // Since 1.4 a flow run may turn its logs off, but not on.
    if agent.rules == Rules::V1 && (agent.no_cloud_logs || !env.contains_key(SEND_LOGS)) {
        set(&mut env, SEND_LOGS, sends_logs);
    }
    set_fixed(&mut env, agent, run, sends_logs);
    env
}

fn set_fixed(env: &mut Map<String, Value>, agent: &AgentSettings, run: &FlowRun, sends_logs: &str) {
    let api_key = agent.api_key.as_ref().map_or("", ExposeSecret::expose_secret);
    let token = match agent.rules {
        Rules::V0_15 => agent.auth_token.as_ref().map_or("", ExposeSecret::expose_secret),
        Rules::V1 => "",
    };
    let auth_token = if token.is_empty() { api_key } else { token };
    // A tenant is only needed with a key: a token knows its own.
    let tenant = if api_key.is_empty() { "" } else { agent.tenant_id.as_deref().unwrap_or_default() };

    set(env, "PREFECT__CLOUD__USE_LOCAL_SECRETS", "false");
    set(env, "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS", "prefect.engine.cloud.CloudFlowRunner");
    if agent.rules == Rules::V0_15 {
        set(env, "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS", "prefect.engine.cloud.CloudTaskRunner");
    }
    set(env, "PREFECT__BACKEND", agent.backend.as_str());
    set(env, "PREFECT__CLOUD__API", &agent.api);
    set(env, "PREFECT__CONTEXT__FLOW_RUN_ID", &run.id);
    set(env, "PREFECT__CONTEXT__FLOW_ID", &run.flow.id);
    if agent.rules == Rules::V0_15 {
        set(env, SEND_LOGS, sends_logs);
        set(env, AUTH_TOKEN, auth_token);
    }
    set(env, API_KEY, api_key);
    set(env, "PREFECT__CLOUD__TENANT_ID", tenant);
    set(env, "PREFECT__CLOUD__AGENT__LABELS", &list_text(&agent.labels));
    // For containers older than 0.15.
    set(env, "PREFECT__LOGGING__LOG_TO_CLOUD", sends_logs);
    if agent.rules == Rules::V1 {
        set(env, AUTH_TOKEN, auth_token);
    }
}

/// The variables of `env` that hold a credential.
pub(crate) fn key_variables(env: &Map<String, Value>) -> Vec<String> {
    let holds_one = |name: &&str| env.get(*name).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
    [AUTH_TOKEN, API_KEY].into_iter().filter(holds_one).map(str::to_owned).collect()
}

fn set(env: &mut Map<String, Value>, name: &str, value: &str) {
    env.insert(name.to_owned(), Value::String(value.to_owned()));
}
