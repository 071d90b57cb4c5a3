#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The fake, asked as agents ask it.

mod containers;
mod controls;
mod errors;
mod filters;
mod queues;
mod registration;
mod replay;
mod state_updates;
mod transport;

use super::{API_KEY, Backend, FlowRunSpec, Switches, TENANT, handle};
use crate::World;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

pub(super) const QUEUE: &str =
    "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }";
pub(super) const SET: &str = "mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id status message } } }";

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

/// Sends a body with headers.
pub(super) async fn send(world: &World, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let response = handle(world, &map, &body.to_owned().into());
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, content_type, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// Sends a document with the key of the tenant that is there from the start.
pub(super) async fn ask(world: &World, query: &str, variables: Value) -> Answer {
    ask_as(world, None, query, variables).await
}

/// The same with an agent's header.
pub(super) async fn ask_as(world: &World, agent: Option<&str>, query: &str, variables: Value) -> Answer {
    let authorization = format!("Bearer {API_KEY}");
    let mut headers = vec![("content-type", "application/json"), ("authorization", authorization.as_str())];
    headers.extend(agent.map(|id| ("x-prefect-agent-id", id)));
    send(world, &headers, &json!({"query": query, "variables": variables}).to_string()).await
}

pub(super) fn server() -> World {
    let world = World::new();
    world.prefect1(|prefect1| prefect1.switches.backend = Backend::Server);
    world
}

pub(super) fn switch(world: &World, change: impl FnOnce(&mut Switches)) {
    world.prefect1(|prefect1| change(&mut prefect1.switches));
}

/// Creates a flow run from JSON.
pub(super) fn seed(world: &World, spec: Value) -> String {
    let spec: FlowRunSpec = serde_json::from_value(spec).unwrap();
    world.create_flow_run(spec)
}

pub(super) fn submitted() -> Value {
    json!({"type": "Submitted", "message": "Submitted for execution", "state": {"type": "Scheduled"}})
}

/// The input of one state.
pub(super) fn one_state(id: &str, state: impl Into<Value>) -> Value {
    let state = state.into();
    json!({"input": {"states": [{"flow_run_id": id, "state": state}]}})
}

/// The queue of an agent with these labels, due within ten seconds.
pub(super) async fn queue(world: &World, labels: &[&str]) -> Vec<String> {
    let before = super::times::format(world.lock().now() + time::Duration::seconds(10));
    let input = json!({"input": {"before": before, "labels": labels, "tenant_id": TENANT}});
    let answer = ask(world, QUEUE, input).await.json();
    serde_json::from_value(answer["data"]["get_runs_in_queue"]["flow_run_ids"].clone())
        .unwrap_or_else(|_| panic!("no queue: {answer}"))
}
