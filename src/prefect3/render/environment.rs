//! The environment of a flow run.

use super::configuration::{Configuration, is_empty};
use super::{FlowRunContext, Generation, WorkerSettings};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// Variable that holds the API key.
pub(super) const API_KEY: &str = "PREFECT_API_KEY";
/// Variable that holds the basic-auth string.
pub(super) const AUTH_STRING: &str = "PREFECT_API_AUTH_STRING";
/// Variable that holds further headers of every request.
const CLIENT_HEADERS: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";

/// The agent's settings, what names the run, then what the configuration says; null removes a variable. A variable that
/// is replaced keeps its place. Keys that come from a secret of the user's own are left out.
pub(super) fn environment(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    configuration: &Configuration,
) -> Map<String, Value> {
    let mut env = Map::new();
    for (name, value) in &worker.base_environment {
        env.insert(name.clone(), value.expose_secret().into());
    }
    for (name, value) in attribution(worker, run) {
        env.insert(name.into(), value.into());
    }
    env.extend(configuration.env.clone());
    env.retain(|_, value| !value.is_null());
    let secrets = [
        (API_KEY, &configuration.prefect_api_key_secret_arn),
        (AUTH_STRING, &configuration.prefect_api_auth_string_secret_arn),
    ];
    for (name, arn) in secrets {
        if !is_empty(arn.as_ref()) {
            env.shift_remove(name);
        }
    }
    env
}

/// What names the flow run, and since Prefect 3 who runs what.
fn attribution<'a>(worker: &'a WorkerSettings, run: &FlowRunContext<'a>) -> Vec<(&'static str, &'a str)> {
    let mut env = vec![("PREFECT__FLOW_RUN_ID", run.flow_run.id.as_str())];
    if worker.generation == Generation::Two {
        return env;
    }
    let deployment_name = run.deployment.map(|deployment| deployment.name.as_str());
    let known = [
        ("PREFECT__WORKER_ID", worker.worker_id.as_deref()),
        ("PREFECT__WORKER_NAME", Some(worker.worker_name.as_str())),
        ("PREFECT__FLOW_ID", Some(run.flow_run.flow_id.as_str())),
        ("PREFECT__FLOW_NAME", Some(run.flow.name.as_str()).filter(|name| !name.is_empty())),
        ("PREFECT__DEPLOYMENT_ID", run.flow_run.deployment_id.as_deref()),
        ("PREFECT__DEPLOYMENT_NAME", deployment_name.filter(|name| !name.is_empty())),
    ];
    env.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
    env
}

/// Names of the variables that hold a key of the agent's own, and so may be delivered as secrets.
pub(super) fn key_variables(worker: &WorkerSettings, env: &Map<String, Value>) -> Vec<String> {
    let is_ours = |name: &str| {
        let ours = worker.base_environment.iter().find(|(known, _)| known == name);
        ours.is_some_and(|(_, value)| env.get(name).and_then(Value::as_str) == Some(value.expose_secret()))
    };
    [API_KEY, AUTH_STRING, CLIENT_HEADERS].into_iter().filter(|name| is_ours(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
