//! SQS without queues: what a Prefect worker meets whose owner has set none up for its observer of ECS events.

use crate::answer::{ServiceError, service_error};
use axum::{http::HeaderValue, response::Response};

/// Answers every request: there is no such queue.
pub fn handle() -> Response {
    let error = ServiceError::new("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.");
    let mut response = service_error("sqs", error);
    // The code of the older query protocol, which clients still go by.
    let code = HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
    response.headers_mut().insert("x-amzn-query-error", code);
    response
}
