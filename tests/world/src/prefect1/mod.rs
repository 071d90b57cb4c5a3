//! Prefect 1's GraphQL API.

use crate::World;
use axum::{body::Bytes, http::HeaderMap, response::Response};

/// What the fake of Prefect 1 knows.
#[derive(Default)]
pub struct Prefect1 {}

/// Answers one GraphQL request.
pub async fn handle(world: World, headers: HeaderMap, body: Bytes) -> Response {
    let _ = (world, headers, body);
    crate::answer::json(501, &serde_json::json!({"errors": [{"message": "not served"}]}))
}

/// Performs one command of the control API.
pub fn control(state: &mut crate::State, command: &str, body: serde_json::Value) -> Result<serde_json::Value, String> {
    let _ = (state, body);
    Err(format!("no such command: {command}"))
}
