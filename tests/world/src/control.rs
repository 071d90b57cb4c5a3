//! The control API under `/_world/…`, for scripts and the demo.

use crate::{World, answer};
use axum::{body::Bytes, http::request::Parts, response::Response};
use serde_json::json;

/// Answers one control request.
pub async fn handle(world: &World, parts: &Parts, body: &Bytes) -> Response {
    let _ = (world, body);
    answer::json(404, &json!({"error": format!("no such control path: {}", parts.uri.path())}))
}
