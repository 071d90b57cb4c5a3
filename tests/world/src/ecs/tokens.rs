//! Client tokens: a token seen before in a cluster gives the first answer again.

use super::Task;
use crate::answer::ServiceError;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use time::OffsetDateTime;

/// A token lives no longer than this after its request.
const DAY: Duration = Duration::from_hours(24);
/// A token lives no longer than this after its last task stopped.
const AFTER_TASK: Duration = Duration::from_hours(1);

/// The tokens seen, by cluster ARN and token.
#[derive(Default)]
pub(super) struct Tokens(HashMap<(String, String), Remembered>);

/// What a token stands for.
struct Remembered {
    /// The request without its token.
    parameters: Value,
    answer: Result<Value, ServiceError>,
    task_arns: Vec<String>,
    at: OffsetDateTime,
}

/// A request without its token: what must be the same when the token comes again.
fn parameters(input: &Value) -> Value {
    let mut parameters = input.clone();
    if let Some(fields) = parameters.as_object_mut() {
        fields.remove("clientToken");
        fields.retain(|_, value| !value.is_null());
    }
    parameters
}

impl Tokens {
    /// The first answer to this token in this cluster, or `ConflictException` when it came with other parameters;
    /// none when the token is new or has expired.
    pub(super) fn replay(
        &mut self,
        cluster: &str,
        token: &str,
        input: &Value,
        tasks: &[Task],
        now: OffsetDateTime,
    ) -> Result<Option<Value>, ServiceError> {
        let key = (cluster.to_owned(), token.to_owned());
        let Some(known) = self.0.get(&key) else { return Ok(None) };
        if known.expired(tasks, now) {
            self.0.remove(&key);
            return Ok(None);
        }
        if known.parameters == parameters(input) {
            return known.answer.clone().map(Some);
        }
        let message = "The client token was already used with different request parameters.";
        Err(ServiceError::new("ConflictException", message).with("resourceIds", json!(known.task_arns)))
    }

    /// Remembers an answer.
    pub(super) fn remember(
        &mut self,
        cluster: &str,
        token: &str,
        input: &Value,
        answer: Result<Value, ServiceError>,
        now: OffsetDateTime,
    ) {
        let arns = answer
            .iter()
            .filter_map(|answer| answer["tasks"].as_array())
            .flatten()
            .filter_map(|task| task["taskArn"].as_str().map(str::to_owned));
        let task_arns = arns.collect();
        let remembered = Remembered { parameters: parameters(input), answer, task_arns, at: now };
        self.0.insert((cluster.to_owned(), token.to_owned()), remembered);
    }
}

impl Tokens {
    /// The remembered answers tell of a task that was created then, in seconds since 1970.
    pub(super) fn set_created_at(&mut self, task_arn: &str, seconds: f64) {
        for known in self.0.values_mut() {
            for task in known.answer.iter_mut().filter_map(|answer| answer["tasks"].as_array_mut()).flatten() {
                if task["taskArn"] == task_arn {
                    task["createdAt"] = json!(seconds);
                }
            }
        }
    }
}

impl Tokens {
    /// All requests came that much earlier, and the remembered answers say so.
    pub(super) fn grow_older(&mut self, by: time::Duration) {
        for known in self.0.values_mut() {
            known.at -= by;
            for task in known.answer.iter_mut().filter_map(|answer| answer["tasks"].as_array_mut()).flatten() {
                if let Some(created) = task["createdAt"].as_f64() {
                    task["createdAt"] = json!(created - by.as_seconds_f64());
                }
            }
        }
    }
}

impl Remembered {
    /// The earlier of a day, and an hour after the last of its tasks stopped.
    fn expired(&self, tasks: &[Task], now: OffsetDateTime) -> bool {
        if now >= self.at + DAY {
            return true;
        }
        let mut last = self.at;
        for arn in &self.task_arns {
            match tasks.iter().find(|task| task.arn == *arn).and_then(|task| task.stopped_at) {
                Some(stopped) => last = last.max(stopped),
                None => return false,
            }
        }
        !self.task_arns.is_empty() && now >= last + AFTER_TASK
    }
}
