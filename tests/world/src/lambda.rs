//! Lambda.
use crate::{World, answer};
use axum::{body::Bytes, http::request::Parts, response::Response};
/// State.
#[derive(Default)]
pub struct Lambda {}
/// Answers.
pub fn handle(world: &World, parts: &Parts, body: &Bytes) -> Response {
    let _ = (world, parts, body);
    answer::service_error("lambda", answer::ServiceError::new("ResourceNotFoundException", "").status(404))
}
