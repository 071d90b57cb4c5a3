#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The fake, asked as workers ask it.

mod containers;
mod controls;
mod filters;
mod generation2;
mod records;
mod replay;
mod scheduled;
mod services;
mod slots;
mod transitions;
mod transport;

use super::{DeploymentSpec, RunSpec, Switches, handle};
use crate::World;
use serde_json::{Value, json};
use std::time::Duration;

/// What Prefect's own clients call themselves.
pub(super) const PREFECT: &str = "prefect/3.8.8 (API 0.8.4)";

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: axum::http::HeaderMap,
    /// Null for an empty body.
    pub(super) body: Value,
}

/// Sends a request to a path under `/prefect3/api`.
pub(super) async fn send(world: &World, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = axum::http::Request::builder().method(method).uri(format!("/prefect3/api{path}"));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let response = handle(world.clone(), &parts, body.to_owned().into()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status, headers, body }
}

/// Sends a request as Prefect's own clients do; null is no body.
pub(super) async fn ask(world: &World, request: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(world, request, &[("user-agent", PREFECT)], &body).await
}

/// The same; only the answer's body, and the status must be one of success.
pub(super) async fn get(world: &World, request: &str, body: Value) -> Value {
    let answer = ask(world, request, body).await;
    assert!(answer.status < 300, "{request}: {answer:?}");
    answer.body
}

/// Proposes a state; `ACCEPT` and the like, with the HTTP status and the name of the state that the run has now.
pub(super) async fn propose(world: &World, run: &str, state: Value) -> (u16, String, String) {
    let answer = ask(world, &format!("POST /flow_runs/{run}/set_state"), json!({"state": state})).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    (answer.status, text(&answer.body["status"]), text(&answer.body["state"]["name"]))
}

/// The same with a type alone; `201 ACCEPT Pending`.
pub(super) async fn go(world: &World, run: &str, kind: &str) -> String {
    let (status, decision, name) = propose(world, run, json!({"type": kind})).await;
    format!("{status} {decision} {name}")
}

pub(super) fn switch(world: &World, change: impl FnOnce(&mut Switches)) {
    world.prefect3(|prefect3| change(&mut prefect3.switches));
}

/// Makes a deployment from JSON.
pub(super) fn deployment(world: &World, spec: Value) -> String {
    let spec: DeploymentSpec = serde_json::from_value(spec).unwrap();
    world.prefect3_deployment(spec)
}

/// Makes a flow run from JSON.
pub(super) fn run(world: &World, spec: Value) -> String {
    let spec: RunSpec = serde_json::from_value(spec).unwrap();
    world.prefect3_run(spec)
}

pub(super) fn history(world: &World, run: &str) -> Vec<String> {
    world.prefect3_flow_run(run).unwrap().history().into_iter().map(str::to_owned).collect()
}

pub(super) fn advance(world: &World, seconds: u64) {
    world.advance(Duration::from_secs(seconds));
}
