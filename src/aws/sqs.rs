//! Simple Queue Service: the queue of what happened to tasks, and those of what could not be told.

use super::AwsError;
use super::answers::answer_error;
use super::signed::{Call, Service, Signed};
use crate::transport::shape::{described, text_at};
use serde_json::{Value, json};
use std::time::Duration;

/// Messages that one request may receive.
const AT_ONCE: u32 = 10;

/// A client for one set of credentials.
#[derive(Debug, Clone)]
pub struct Sqs {
    signed: Signed,
}

/// A message that was received, and is hidden from others for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names this receipt: it is deleted or hidden by it.
    pub receipt_handle: String,
    /// What was sent.
    pub body: String,
}

impl Sqs {
    /// Calls SQS with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// The URL of a queue of this region and partition, by its ARN.
    pub fn url_of(&self, arn: &str) -> Result<String, AwsError> {
        let no_queue = || AwsError::NotSent(format!("{arn:?} is no queue's ARN"));
        let mut parts = arn.splitn(6, ':').skip(2);
        let (service, region, account, name) = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some("sqs"), Some(region), Some(account), Some(name)) = (service, region, account, name) else {
            return Err(no_queue());
        };
        if account.is_empty() || name.is_empty() {
            return Err(no_queue());
        }
        Ok(format!("{}/{account}/{name}", self.signed.in_region(region).endpoint(Service::Sqs)?))
    }

    /// `ReceiveMessage`: up to ten, hidden for this long. An empty answer does not prove that the queue is empty.
    pub async fn receive(&self, queue_url: &str, hidden: Duration) -> Result<Vec<Message>, AwsError> {
        let body = json!({
            "QueueUrl": queue_url, "MaxNumberOfMessages": AT_ONCE, "VisibilityTimeout": hidden.as_secs(), "WaitTimeSeconds": 1,
        });
        let answer = self.call("ReceiveMessage", &body).await?;
        let messages = match answer.get("Messages") {
            // None is left out of the answer, which is an object all the same.
            None if answer.is_object() => return Ok(Vec::new()),
            Some(Value::Array(messages)) => messages,
            other => {
                return Err(AwsError::Malformed(format!("`Messages` must be a list, but is {}", described(other))));
            }
        };
        let message = |message: &Value| {
            let text = |key: &str| text_at(message, &[key]).map(str::to_owned);
            let message = text("ReceiptHandle").zip(text("Body"));
            let message = message.map(|(receipt_handle, body)| Message { receipt_handle, body });
            message.ok_or_else(|| AwsError::Malformed("a message without its receipt or its body".into()))
        };
        messages.iter().map(message).collect()
    }

    /// `SendMessage`. It may be received from `delay` on (15 minutes at most).
    pub async fn send(&self, queue_url: &str, body: &str, delay: Duration) -> Result<(), AwsError> {
        let body = json!({"QueueUrl": queue_url, "MessageBody": body, "DelaySeconds": delay.as_secs()});
        self.call("SendMessage", &body).await.map(|_| ())
    }

    /// `DeleteMessage`.
    pub async fn delete(&self, queue_url: &str, receipt_handle: &str) -> Result<(), AwsError> {
        let body = json!({"QueueUrl": queue_url, "ReceiptHandle": receipt_handle});
        self.call("DeleteMessage", &body).await.map(|_| ())
    }

    /// `ChangeMessageVisibility`: a received message is received again after this long from now (12 hours at most).
    pub async fn hide(&self, queue_url: &str, receipt_handle: &str, hidden: Duration) -> Result<(), AwsError> {
        let body =
            json!({"QueueUrl": queue_url, "ReceiptHandle": receipt_handle, "VisibilityTimeout": hidden.as_secs()});
        self.call("ChangeMessageVisibility", &body).await.map(|_| ())
    }

    /// All of these may be repeated: what is sent twice is an event that is told twice, which changes nothing.
    async fn call(&self, operation: &str, body: &Value) -> Result<Value, AwsError> {
        let call = Call::json(&self.signed, Service::Sqs, &format!("AmazonSQS.{operation}"), body)?;
        let answer = self.signed.read(&call).await?;
        if answer.status != 200 {
            return Err(answer_error(&answer));
        }
        // What has nothing to say answers nothing.
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|error| AwsError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
