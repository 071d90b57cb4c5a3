//! A flow run of Prefect 1, and what follows from it on any platform: its environment, its command, its storage. Pure.
//!
//! What Prefect serialised is checked by its schema, with the messages of the library (marshmallow) that Prefect loads them with.

mod core_version;
pub(crate) mod storage;

pub(crate) use core_version::flow_run_command;

use crate::config::{Backend, LaunchType, Rules};
use crate::model::RunRefusal;
use crate::python_text::{list_text, repr, text, text_repr};
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

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldType {
    /// Text.
    Text,
    /// A boolean, also as the usual words and 0 or 1.
    Flag,
    /// A whole number, also as text.
    Integer,
    /// A list of texts.
    TextList,
    /// An object with any values.
    Mapping,
    /// An object whose values are texts.
    TextMapping,
    /// An object whose values are not null.
    ValueMapping,
    /// Anything.
    Json,
}

/// A field of a serialised object; it may always be left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaField {
    /// Key.
    pub(crate) name: &'static str,
    /// Allowed values.
    pub(crate) kind: FieldType,
    /// `null` is allowed.
    pub(crate) nullable: bool,
}

/// A field that must not be null.
pub(crate) const fn required(name: &'static str, kind: FieldType) -> SchemaField {
    SchemaField { name, kind, nullable: false }
}

/// A field that may be null.
pub(crate) const fn optional(name: &'static str, kind: FieldType) -> SchemaField {
    SchemaField { name, kind, nullable: true }
}

/// The fields that run configs of every type have.
pub(crate) const COMMON: [SchemaField; 2] =
    [optional("env", FieldType::Mapping), required("labels", FieldType::TextList)];

/// The object and its `type`, which tells which fields it has.
pub(crate) fn typed_object(value: &Value) -> Result<(&Map<String, Value>, &str), RunRefusal> {
    let Value::Object(map) = value else {
        let message = format!("Invalid data type: {}", text(value));
        return Err(RunRefusal(format!("{{'_schema': {}}}", text_repr(&message))));
    };
    match map.get("type") {
        None | Some(Value::Null) => Err(type_error("Missing data for required field.")),
        Some(Value::String(name)) => Ok((map, name)),
        Some(unhashable @ (Value::Array(_) | Value::Object(_))) => {
            Err(type_error(&format!("Invalid value: {}", repr(unhashable))))
        }
        Some(other) => Err(unsupported_type(&repr(other))),
    }
}

/// The refusal of a `type` that this Prefect does not know.
pub(crate) fn unsupported_type(name: &str) -> RunRefusal {
    type_error(&format!("Unsupported value: {name}"))
}

fn type_error(message: &str) -> RunRefusal {
    RunRefusal(format!("{{'type': [{}]}}", text_repr(message)))
}

/// Checks every field that is present; unknown keys are ignored. The refusal names all wrong fields.
pub(crate) fn check(object: &Map<String, Value>, fields: &[SchemaField]) -> Result<(), RunRefusal> {
    let errors: Vec<String> = fields
        .iter()
        .filter_map(|field| Some(format!("'{}': {}", field.name, error(object.get(field.name)?, *field)?)))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(RunRefusal(format!("{{{}}}", errors.join(", ")))) }
}

fn error(value: &Value, field: SchemaField) -> Option<String> {
    let wrong = |message: &str| Some(format!("['{message}']"));
    match (field.kind, value) {
        (_, Value::Null) => {
            if field.nullable {
                None
            } else {
                wrong("Field may not be null.")
            }
        }
        (FieldType::Json, _) | (FieldType::Text, Value::String(_)) | (FieldType::Mapping, Value::Object(_)) => None,
        (FieldType::Text, _) => wrong("Not a valid string."),
        (FieldType::Flag, flag) => {
            if is_flag(flag) {
                None
            } else {
                wrong("Not a valid boolean.")
            }
        }
        (FieldType::Integer, number) => {
            if is_integer(number) {
                None
            } else {
                wrong("Not a valid integer.")
            }
        }
        (FieldType::TextList, Value::Array(items)) => {
            let item = |(index, item)| Some(format!("{index}: {}", error(item, required("", FieldType::Text))?));
            nested(items.iter().enumerate().filter_map(item))
        }
        (FieldType::TextList, _) => wrong("Not a valid list."),
        (FieldType::TextMapping, Value::Object(map)) => entries(map, FieldType::Text),
        (FieldType::ValueMapping, Value::Object(map)) => entries(map, FieldType::Json),
        (FieldType::Mapping | FieldType::TextMapping | FieldType::ValueMapping, _) => {
            wrong("Not a valid mapping type.")
        }
    }
}

fn entries(map: &Map<String, Value>, kind: FieldType) -> Option<String> {
    nested(map.iter().filter_map(|(key, value)| {
        Some(format!("{}: {{'value': {}}}", text_repr(key), error(value, required("", kind))?))
    }))
}

fn nested(errors: impl Iterator<Item = String>) -> Option<String> {
    let errors: Vec<_> = errors.collect();
    if errors.is_empty() { None } else { Some(format!("{{{}}}", errors.join(", "))) }
}

fn is_flag(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => ["0", "1", "0.0", "1.0"].contains(&&*number.to_string()),
        Value::String(word) => {
            let lower = word.to_ascii_lowercase();
            let is_known = ["t", "true", "on", "y", "yes", "1", "f", "false", "off", "n", "no", "0"].contains(&&*lower);
            // Only all small, all capital and capitalised words are known.
            is_known
                && word.chars().skip(1).all(|c| c.is_ascii_uppercase() == ends_upper(word))
                && !(ends_upper(word) && word.starts_with(|c: char| c.is_ascii_lowercase()))
        }
        _ => false,
    }
}

fn ends_upper(word: &str) -> bool {
    word.ends_with(|c: char| c.is_ascii_uppercase())
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(digits) => digits.trim().parse::<i64>().is_ok(),
        _ => false,
    }
}
