//! The environment of a flow run's container.

use super::configuration::{Configuration, is_empty};
use crate::prefect3::job_configuration::{self, FlowRunContext, WorkerSettings};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// Variable that holds the API key.
pub(super) const API_KEY: &str = "PREFECT_API_KEY";
/// Variable that holds the basic-auth string.
pub(super) const AUTH_STRING: &str = "PREFECT_API_AUTH_STRING";
/// Variable that holds further headers of every request.
const CLIENT_HEADERS: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";

/// Every variable but the keys that come from a secret of the user's own.
pub(super) fn environment(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    configuration: &Configuration,
) -> Map<String, Value> {
    let mut env = job_configuration::environment(worker, run, &configuration.env);
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
