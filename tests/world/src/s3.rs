//! S3.
use crate::{World, answer};
use axum::{http::Uri, response::Response};
/// State.
#[derive(Default)]
pub struct S3 {}
/// Answers.
pub fn handle(world: &World, uri: &Uri) -> Response {
    let _ = (world, uri);
    answer::service_error("s3", answer::ServiceError::new("NoSuchKey", "").status(404))
}
