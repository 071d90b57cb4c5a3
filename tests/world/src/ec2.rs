//! EC2.
use crate::{World, answer};
use axum::{body::Bytes, response::Response};
/// State.
#[derive(Default)]
pub struct Ec2 {}
/// Answers.
pub fn handle(world: &World, region: &str, operation: &str, body: &Bytes) -> Response {
    let _ = (world, region, body);
    answer::service_error("ec2", answer::ServiceError::new("InvalidAction", operation))
}
