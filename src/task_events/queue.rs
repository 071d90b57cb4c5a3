//! The queue that events come from: a batch as Lambda reads it, how long a message that could not be told waits, and what
//! Lambda is answered. Pure.
//!
//! What is answered as failed stays in the queue and is received again once its wait is over; the rest is deleted by Lambda.

use super::event::TaskEvent;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// What a task that goes on is in is news for so long. Its end is news for ever.
const NEWS: Duration = Duration::from_mins(2);

/// How long a message waits after each of its first receipts; the last one is the longest that it ever waits.
const WAITS: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(4),
    Duration::from_mins(8),
    Duration::from_mins(15),
];

/// A message of a queue, as Lambda's event source hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage<'a> {
    /// Names the message.
    pub id: &'a str,
    /// Names this receipt of it.
    pub receipt_handle: &'a str,
    /// ARN of its queue.
    pub queue_arn: &'a str,
    /// How often it was received, this time included.
    pub receives: u32,
    /// What was sent.
    pub body: &'a str,
}

/// The messages of a batch; `None` = what was given is none, or lacks what it takes to answer for each message by itself.
pub fn messages(given: &Value) -> Option<Vec<QueueMessage<'_>>> {
    let records = given.get("Records")?.as_array().filter(|records| !records.is_empty())?;
    records.iter().map(message).collect()
}

fn message(record: &Value) -> Option<QueueMessage<'_>> {
    let text = |key: &str| record.get(key)?.as_str().filter(|text| !text.is_empty());
    text("eventSource").filter(|source| *source == "aws:sqs")?;
    let receives = record.get("attributes").and_then(|attributes| attributes.get("ApproximateReceiveCount"));
    Some(QueueMessage {
        id: text("messageId")?,
        receipt_handle: text("receiptHandle")?,
        queue_arn: text("eventSourceARN")?,
        receives: receives.and_then(Value::as_str).and_then(|count| count.parse().ok()).unwrap_or(1),
        body: record.get("body")?.as_str()?,
    })
}

/// How long a message waits that was received so often and could not be told.
pub fn wait_after(receives: u32) -> Duration {
    let number = usize::try_from(receives.saturating_sub(1)).unwrap_or(usize::MAX);
    let longest = WAITS.last().copied().unwrap_or_default();
    WAITS.get(number).copied().unwrap_or(longest)
}

/// Whether an event that was received so often is still to be told. That a task waits or runs is worth one try, soon: told
/// late, beside the task's end, it could put a run back that has ended.
pub fn is_news(event: &TaskEvent, receives: u32, now: OffsetDateTime) -> bool {
    let is_fresh = event.time.is_none_or(|time| now - time < NEWS);
    event.is_stopped() || (receives <= 1 && is_fresh)
}

/// What Lambda is answered: which messages are to be received again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// Those that stay in the queue.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A message that stays in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Id of the message.
    pub item_identifier: String,
}

impl BatchAnswer {
    /// These stay.
    pub fn staying(ids: impl IntoIterator<Item = String>) -> Self {
        Self {
            batch_item_failures: ids.into_iter().map(|item_identifier| BatchItemFailure { item_identifier }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    fn record(extra: &Value) -> Value {
        let mut record = json!({
            "messageId": "m", "receiptHandle": "r", "body": "{}", "attributes": {"ApproximateReceiveCount": "3"},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:q", "awsRegion": "eu-west-1",
        });
        record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        record
    }

    #[test]
    fn a_batch_is_what_can_be_answered_message_by_message() {
        let batch = json!({"Records": [record(&json!({})), record(&json!({"messageId": "n", "attributes": {}}))]});
        let found = messages(&batch).unwrap();
        assert_eq!((found[0].id, found[0].receipt_handle, found[0].receives), ("m", "r", 3));
        assert_eq!((found[1].id, found[1].receives), ("n", 1));
        for key in ["messageId", "receiptHandle", "eventSource", "eventSourceARN", "body"] {
            let mut lacking = record(&json!({}));
            lacking.as_object_mut().unwrap().remove(key);
            assert_eq!(messages(&json!({"Records": [record(&json!({})), lacking]})), None, "{key}");
        }
        for none in [json!({}), json!({"Records": []}), json!([]), json!({"Records": [7]}), json!({"Messages": []})] {
            assert_eq!(messages(&none), None, "{none}");
        }
        assert_eq!(messages(&json!({"Records": [record(&json!({"eventSource": "aws:kinesis"}))]})), None);
    }

    #[test]
    fn the_wait_grows_and_half_a_day_fits_into_sixty_receipts() {
        let minutes = |receives: u32| wait_after(receives).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 6, 60].map(minutes), [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!((minutes(0), minutes(u32::MAX)), (1, 15));
        let all: u64 = (1..60).map(minutes).sum();
        assert!(all >= 12 * 60, "{all} minutes");
    }

    #[test]
    fn only_the_end_of_a_task_is_told_late() {
        let event = |status: &str, time: &str| {
            let detail = json!({"taskArn": "arn:task", "lastStatus": status});
            let event =
                json!({"source": "aws.ecs", "detail-type": "ECS Task State Change", "time": time, "detail": detail});
            TaskEvent::read(&event).unwrap()
        };
        let now = time::macros::datetime!(2026-11-30 12:00 UTC);
        for (status, time, receives, expected) in [
            ("STOPPED", "2026-11-29T12:00:00Z", 60, true),
            ("PENDING", "2026-11-30T11:59:00Z", 1, true),
            ("PENDING", "", 1, true),
            ("PENDING", "2026-11-30T11:59:00Z", 2, false),
            ("PROVISIONING", "2026-11-30T11:58:00Z", 1, false),
            ("RUNNING", "2026-11-30T11:00:00Z", 1, false),
        ] {
            assert_eq!(is_news(&event(status, time), receives, now), expected, "{status} {time:?} {receives}");
        }
    }

    #[test]
    fn lambda_is_told_which_stay() {
        assert_eq!(json!(BatchAnswer::default()), json!({"batchItemFailures": []}));
        let two = BatchAnswer::staying(["m".to_owned(), "n".to_owned()]);
        assert_eq!(json!(two), json!({"batchItemFailures": [{"itemIdentifier": "m"}, {"itemIdentifier": "n"}]}));
    }
}
