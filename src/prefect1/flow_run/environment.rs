//! The environment of a flow run's container.

use super::{AgentSettings, FlowRun};
use crate::config::Rules;
use crate::python_text::list_text;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

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
