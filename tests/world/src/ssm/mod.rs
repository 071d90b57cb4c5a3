//! Ssm.
use crate::{World, answer};
use axum::{body::Bytes, response::Response};
/// State.
#[derive(Default)]
pub struct Ssm {}
/// Answers.
pub fn handle(world: &World, region: &str, operation: &str, body: &Bytes) -> Response {
    let _ = (world, region, body);
    answer::aws_json(Err(answer::ServiceError::new("UnknownOperationException", operation)))
}
