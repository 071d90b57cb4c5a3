//! Simple Queue Service without a queue: what a worker of Prefect 3 meets that nobody gave one. It then goes on without.

use crate::answer::{ServiceError, aws_json};
use axum::{http::HeaderValue, response::Response};

/// Answers any operation.
pub fn handle() -> Response {
    let message = "The specified queue does not exist.";
    let mut response = aws_json(Err(ServiceError::new("com.amazonaws.sqs#QueueDoesNotExist", message)));
    let query_error = HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
    response.headers_mut().insert("x-amzn-query-error", query_error);
    response
}
