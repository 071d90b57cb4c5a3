//! Messages of the queue: each is told by itself; what could not be told waits in the queue, longer each time.

use super::{Attempt, TaskEventsFunction};
use crate::aws::AwsError;
use crate::clock::Clock;
use crate::task_events::event::{NotAnEvent, TaskEvent, events_in_body};
use crate::task_events::queue::{BatchAnswer, QueueMessage, is_news, wait_after};
use futures_util::future::join_all;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// A message is told within this time: one whose Prefect does not answer keeps the others of its batch waiting, and they all
/// wait for the next batches.
const MESSAGE: Duration = Duration::from_secs(25);
/// What the queue may take to answer; it is asked twice at most, after the messages were told.
const PATIENCE: Duration = Duration::from_secs(5);

impl<C: Clock + Clone> TaskEventsFunction<C> {
    /// Tells what is in the messages. No message's trouble is another's.
    pub(super) async fn tell_messages(&self, messages: &[QueueMessage<'_>], end: OffsetDateTime) -> BatchAnswer {
        let now = self.clock.now();
        let end = end.min(now + MESSAGE);
        let in_each: Vec<_> = messages.iter().map(|message| to_be_told(message, now)).collect();
        let counts: Vec<usize> = in_each.iter().map(Vec::len).collect();
        let mut attempts = self.tell_each(in_each.into_iter().flatten().collect(), end).await.into_iter();
        let settled = messages.iter().zip(counts).map(|(message, count)| {
            let of_message = attempts.by_ref().take(count).collect::<Vec<_>>();
            async move { self.settle(message, of_message).await.then(|| message.id.to_owned()) }
        });
        let settled: Vec<_> = settled.collect();
        BatchAnswer::staying(join_all(settled).await.into_iter().flatten())
    }

    /// Whether the message stays in the queue.
    async fn settle(&self, message: &QueueMessage<'_>, attempts: Vec<Attempt>) -> bool {
        let Some(error) = attempts.iter().find_map(|attempt| attempt.told.as_ref().err()) else { return false };
        let wait = wait_after(message.receives);
        let (message_id, receives, wait_seconds) = (message.id, message.receives, wait.as_secs());
        tracing::warn!(message_id, receives, wait_seconds, %error, "a task event could not be told yet");
        if let [Attempt { with_tags: Some(event), .. }] = attempts.as_slice() {
            match within(self.send_again(message, event)).await {
                Ok(()) => return false,
                Err(error) => tracing::warn!(message_id, %error, "the event was not sent again with its task's tags"),
            }
        }
        // Else it waits as long as the queue hides what was received.
        if let Err(error) = within(self.hide(message, wait)).await {
            tracing::warn!(message_id, %error, "how long the event waits was not changed");
        }
        true
    }

    async fn send_again(&self, message: &QueueMessage<'_>, event: &Value) -> Result<(), AwsError> {
        let url = self.aws.sqs.url_of(message.queue_arn)?;
        self.aws.sqs.send(&url, &event.to_string(), wait_after(1)).await
    }

    async fn hide(&self, message: &QueueMessage<'_>, wait: Duration) -> Result<(), AwsError> {
        let url = self.aws.sqs.url_of(message.queue_arn)?;
        self.aws.sqs.hide(&url, message.receipt_handle, wait).await
    }
}

async fn within(asked: impl Future<Output = Result<(), AwsError>>) -> Result<(), AwsError> {
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.unwrap_or_else(|_| Err(AwsError::NoAnswer("the queue took too long".into())))
}

/// The events in a message, without those that are no news any more. What cannot be read is not judged here.
fn to_be_told(message: &QueueMessage<'_>, now: OffsetDateTime) -> Vec<Result<Value, NotAnEvent>> {
    let is_told = |event: &Result<Value, NotAnEvent>| {
        let read = event.as_ref().ok().and_then(|event| TaskEvent::read(event).ok());
        read.is_none_or(|read| is_news(&read, message.receives, now))
    };
    events_in_body(message.body).into_iter().filter(is_told).collect()
}
