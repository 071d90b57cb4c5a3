//! STS.
use crate::{World, answer};
use axum::{body::Bytes, http::HeaderMap, response::Response};
/// State.
#[derive(Default)]
pub struct Sts {}
/// Answers.
pub fn handle(world: &World, headers: &HeaderMap, operation: &str, body: &Bytes) -> Response {
    let _ = (world, headers, body);
    answer::service_error("sts", answer::ServiceError::new("InvalidAction", operation))
}
