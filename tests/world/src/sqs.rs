//! Simple Queue Service: how many messages wait. Without a queue it is what a worker of Prefect 3 meets that nobody gave
//! one, which then goes on without.

use crate::{
    World,
    answer::{ServiceError, aws_json},
};
use axum::{body::Bytes, http::HeaderValue, response::Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The queues.
#[derive(Default)]
pub struct Sqs {
    /// Waiting messages, by URL.
    pub queues: BTreeMap<String, u64>,
}

/// Answers any operation.
pub fn handle(world: &World, operation: &str, body: &Bytes) -> Response {
    let input: Value = serde_json::from_slice(body).unwrap_or_default();
    let waiting = world.lock().sqs.queues.get(input["QueueUrl"].as_str().unwrap_or_default()).copied();
    if let (Some(waiting), "GetQueueAttributes") = (waiting, operation) {
        return aws_json(Ok(json!({"Attributes": {"ApproximateNumberOfMessages": waiting.to_string()}})));
    }
    let message = "The specified queue does not exist.";
    let mut response = aws_json(Err(ServiceError::new("com.amazonaws.sqs#QueueDoesNotExist", message)));
    let query_error = HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
    response.headers_mut().insert("x-amzn-query-error", query_error);
    response
}
