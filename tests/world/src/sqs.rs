//! Simple Queue Service: queues whose messages hide after they are received; and Lambda's event source, which reads them in
//! batches. A queue that is not there is what a worker of Prefect 3 meets that nobody gave one, which then goes on without.

use crate::{
    World,
    answer::{ServiceError, aws_json},
    ids,
};
use axum::{body::Bytes, http::HeaderValue, response::Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// The queues.
#[derive(Default)]
pub struct Sqs {
    /// By URL.
    pub queues: BTreeMap<String, Queue>,
}

/// A queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Its messages, in the order in which they were sent.
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// How often it was received.
    pub receives: u32,
    /// When it may be received.
    pub visible_at: OffsetDateTime,
    /// The last receipt.
    pub receipt_handle: String,
}

impl Queue {
    /// So many messages that say nothing.
    pub fn of(count: usize) -> Self {
        let mut queue = Self::default();
        (0..count).for_each(|_| queue.send("{}", OffsetDateTime::UNIX_EPOCH));
        queue
    }

    /// Takes a message that may be received from then on.
    pub fn send(&mut self, body: &str, visible_at: OffsetDateTime) {
        let (id, receipt_handle) = (ids::uuid().to_string(), String::new());
        self.messages.push(Message { id, body: body.to_owned(), receives: 0, visible_at, receipt_handle });
    }

    /// Gives out messages and hides them for a while.
    pub fn receive(&mut self, most: usize, hidden: Duration, now: OffsetDateTime) -> Vec<Message> {
        let ready = self.messages.iter_mut().filter(|message| message.visible_at <= now).take(most);
        ready
            .map(|message| {
                message.receives += 1;
                message.visible_at = now + hidden;
                message.receipt_handle = ids::uuid().to_string();
                message.clone()
            })
            .collect()
    }

    /// When the next message may be received.
    pub fn next_at(&self) -> Option<OffsetDateTime> {
        self.messages.iter().map(|message| message.visible_at).min()
    }

    fn receipt(&mut self, receipt_handle: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.receipt_handle == receipt_handle)
    }
}

impl Sqs {
    /// A queue by its URL, whatever its host is called.
    pub fn queue(&mut self, url: &str) -> Option<&mut Queue> {
        let wanted = path(url);
        self.queues.iter_mut().find(|(url, _)| path(url) == wanted).map(|(_, queue)| queue)
    }

    /// A batch as Lambda's event source hands it to a function: up to ten messages, hidden for this long; `None` = there is
    /// none to be received.
    pub fn batch(&mut self, url: &str, hidden: Duration, now: OffsetDateTime) -> Option<Value> {
        let (account, name) = path(url);
        let (account, name) = (account.to_owned(), name.to_owned());
        let messages = self.queue(url)?.receive(10, hidden, now);
        let record = |message: &Message| {
            json!({
                "messageId": message.id, "receiptHandle": message.receipt_handle, "body": message.body,
                "attributes": {"ApproximateReceiveCount": message.receives.to_string()}, "messageAttributes": {},
                "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:us-east-1:{account}:{name}"),
                "awsRegion": "us-east-1",
            })
        };
        (!messages.is_empty()).then(|| json!({"Records": messages.iter().map(record).collect::<Vec<_>>()}))
    }

    /// What Lambda does with a function's answer to a batch: what was not named as failed is deleted. A function that
    /// failed as a whole (`None`) leaves all of it.
    pub fn settle(&mut self, url: &str, batch: &Value, answer: Option<&Value>) {
        let Some(answer) = answer else { return };
        let stays = |id: &str| {
            answer["batchItemFailures"].as_array().into_iter().flatten().any(|failed| failed["itemIdentifier"] == id)
        };
        let records = batch["Records"].as_array().into_iter().flatten();
        let done: Vec<&str> =
            records.filter_map(|record| record["messageId"].as_str()).filter(|id| !stays(id)).collect();
        if let Some(queue) = self.queue(url) {
            queue.messages.retain(|message| !done.contains(&message.id.as_str()));
        }
    }

    fn handle(&mut self, operation: &str, input: &Value, now: OffsetDateTime) -> Result<Value, ServiceError> {
        let text = |key: &str| input[key].as_str().unwrap_or_default();
        let seconds = |key: &str| Duration::seconds(input[key].as_i64().unwrap_or_default());
        let queue = self.queue(text("QueueUrl")).ok_or_else(no_queue)?;
        match operation {
            "GetQueueAttributes" => {
                let waiting = queue.messages.iter().filter(|message| message.visible_at <= now).count();
                Ok(json!({"Attributes": {"ApproximateNumberOfMessages": waiting.to_string()}}))
            }
            "SendMessage" => {
                queue.send(text("MessageBody"), now + seconds("DelaySeconds"));
                Ok(json!({"MessageId": queue.messages.last().map(|message| &message.id)}))
            }
            "ReceiveMessage" => {
                let most =
                    input["MaxNumberOfMessages"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(1);
                let messages = queue.receive(most, seconds("VisibilityTimeout"), now);
                if messages.is_empty() {
                    return Ok(json!({}));
                }
                let message = |message: Message| json!({"MessageId": message.id, "ReceiptHandle": message.receipt_handle, "Body": message.body});
                Ok(json!({"Messages": messages.into_iter().map(message).collect::<Vec<_>>()}))
            }
            "DeleteMessage" => {
                queue.messages.retain(|message| message.receipt_handle != text("ReceiptHandle"));
                Ok(json!({}))
            }
            "ChangeMessageVisibility" => {
                let invalid =
                    || ServiceError::new("com.amazonaws.sqs#ReceiptHandleIsInvalid", "The receipt handle is no one's.");
                queue.receipt(text("ReceiptHandle")).ok_or_else(invalid)?.visible_at =
                    now + seconds("VisibilityTimeout");
                Ok(json!({}))
            }
            _ => Err(ServiceError::new("UnknownOperationException", "")),
        }
    }
}

/// Account and name: a URL names a queue by them, however its host is called.
fn path(url: &str) -> (&str, &str) {
    let mut parts = url.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), name)
}

fn no_queue() -> ServiceError {
    ServiceError::new("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
}

/// Answers any operation.
pub fn handle(world: &World, operation: &str, body: &Bytes) -> Response {
    let input: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut state = world.lock();
    let now = state.now();
    let result = state.sqs.handle(operation, &input, now);
    drop(state);
    let is_missing = result.as_ref().is_err_and(|error| error.code.ends_with("QueueDoesNotExist"));
    let mut response = aws_json(result);
    if is_missing {
        let query_error = HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
        response.headers_mut().insert("x-amzn-query-error", query_error);
    }
    response
}
