//! Lambda: `Invoke` is written down, not performed; a test hands the events to a [`crate::process::LambdaProcess`].

use crate::{
    World,
    answer::{ServiceError, answer, json, service_error},
    s3::percent_decode,
};
use axum::{body::Bytes, http::request::Parts, response::Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The invocations so far.
#[derive(Default)]
pub struct Lambda {
    /// Oldest first.
    pub invocations: Vec<Invoked>,
    /// The functions that exist; empty: every name does.
    pub functions: Vec<String>,
    /// What functions answer, by name; the others answer `null`.
    pub answers: BTreeMap<String, Value>,
    /// Invocations at once that nobody has reserved.
    pub unreserved: Option<u64>,
    /// What functions have reserved, by name.
    pub reserved: BTreeMap<String, u64>,
    /// What hands messages of queues to functions: its state by its id.
    pub mappings: BTreeMap<String, String>,
    /// Function URLs and their `AuthType`, by the function's name.
    pub urls: BTreeMap<String, (String, String)>,
}

/// Answers `GetAccountSettings`, `GetFunctionConcurrency`, `GetEventSourceMapping` and `GetFunctionUrlConfig`.
pub fn settings(world: &World, parts: &Parts, operation: &str) -> Response {
    let state = world.lock();
    if operation == "GetAccountSettings" {
        let unreserved = state.lambda.unreserved.unwrap_or(1000);
        let limit = json!({"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": unreserved});
        return json(200, &json!({"AccountLimit": limit, "AccountUsage": {"FunctionCount": 3, "TotalCodeSize": 1}}));
    }
    let name = percent_decode(parts.uri.path().split('/').nth(3).unwrap_or_default());
    if operation == "GetEventSourceMapping" {
        let Some(mapping) = state.lambda.mappings.get(&name) else {
            let message = "The resource you requested does not exist.";
            return service_error("lambda", ServiceError::new("ResourceNotFoundException", message).status(404));
        };
        return json(200, &json!({"UUID": name, "State": mapping, "BatchSize": 10}));
    }
    if operation == "GetFunctionUrlConfig" {
        let Some((url, auth)) = state.lambda.urls.get(&name) else {
            let message = "The resource you requested does not exist.";
            return service_error("lambda", ServiceError::new("ResourceNotFoundException", message).status(404));
        };
        let arn = state.sts.scope(&parts.headers).arn("lambda", &format!("function:{name}"));
        return json(200, &json!({"FunctionUrl": url, "FunctionArn": arn, "AuthType": auth, "InvokeMode": "BUFFERED"}));
    }
    match state.lambda.reserved.get(&name) {
        Some(reserved) => json(200, &json!({"ReservedConcurrentExecutions": reserved})),
        None => json(200, &json!({})),
    }
}

/// One `Invoke`.
#[derive(Clone, Debug, Serialize)]
pub struct Invoked {
    /// The function's name as it stood in the path.
    pub function: String,
    /// `RequestResponse`, `Event` or `DryRun`.
    pub invocation_type: String,
    /// The event.
    pub payload: Value,
}

/// Answers `POST /2015-03-31/functions/{name}/invocations`: 202 for `Event`, 204 for `DryRun`, else 200 and what the function answers.
pub fn handle(world: &World, parts: &Parts, body: &Bytes) -> Response {
    let name = percent_decode(parts.uri.path().split('/').nth(3).unwrap_or_default());
    let header = parts.headers.get("x-amz-invocation-type").and_then(|value| value.to_str().ok());
    let invocation_type = header.unwrap_or("RequestResponse").to_owned();
    let mut state = world.lock();
    if !state.lambda.functions.is_empty() && !state.lambda.functions.contains(&name) {
        let message = format!(
            "Function not found: {}",
            state.sts.scope(&parts.headers).arn("lambda", &format!("function:{name}"))
        );
        return service_error("lambda", ServiceError::new("ResourceNotFoundException", message).status(404));
    }
    let payload = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let Ok(payload) = payload else {
        return service_error(
            "lambda",
            ServiceError::new("InvalidRequestContentException", "Could not parse request body into json"),
        );
    };
    let answered = state.lambda.answers.get(&name).cloned().unwrap_or_default();
    state.lambda.invocations.push(Invoked { function: name, invocation_type: invocation_type.clone(), payload });
    match invocation_type.as_str() {
        "Event" => answer(202, "application/json", ""),
        "DryRun" => answer(204, "application/json", ""),
        _ => json(200, &answered),
    }
}
