//! The states that an agent sets. The server adds what is left out (`_result`, `cached_inputs`, `__version__`).

use super::epoch::MARK_KEY;
use crate::orchestrator::Mark;
use crate::times;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// Characters of a message at most: one state may have a megabyte, no person reads that much.
const MAX_MESSAGE_CHARS: usize = 10_000;

/// Submitted, around the state as it was received, with our mark.
pub(super) fn submitted_flow_run(mark: &Mark, received: &Value) -> Value {
    submitted("Submitted for execution", mark, received)
}

/// As of a flow run; Prefect's message for task runs has a full stop.
pub(super) fn submitted_task_run(mark: &Mark, received: &Value) -> Value {
    submitted("Submitted for execution.", mark, received)
}

fn submitted(message: &str, mark: &Mark, received: &Value) -> Value {
    json!({ "type": "Submitted", "message": message, "context": { MARK_KEY: mark }, "state": received })
}

/// The state as it was received (Scheduled, Retrying, …) with a later start, the reason, and what was tried so far.
pub(super) fn given_back(received: &Value, start_time: OffsetDateTime, reason: &str, mark: &Mark) -> Value {
    let mut state = rescheduled(received, reason);
    state.insert("start_time".into(), json!(times::iso(start_time)));
    let mut context = received.get("context").and_then(Value::as_object).cloned().unwrap_or_default();
    context.insert(MARK_KEY.into(), json!(mark));
    state.insert("context".into(), Value::Object(context));
    Value::Object(state)
}

/// The state as it was received, due as before, with a message.
pub(super) fn put_back(received: &Value, reason: &str) -> Value {
    Value::Object(rescheduled(received, reason))
}

fn rescheduled(received: &Value, reason: &str) -> Map<String, Value> {
    let mut state = received.as_object().cloned().unwrap_or_default();
    state.entry("type").or_insert_with(|| json!("Scheduled"));
    state.insert("message".into(), json!(bounded(reason)));
    state
}

/// Failed, for good.
pub(super) fn failed(message: &str) -> Value {
    json!({ "type": "Failed", "message": bounded(message), "context": {} })
}

/// Cancelled, for good.
pub(super) fn cancelled(message: &str) -> Value {
    json!({ "type": "Cancelled", "message": bounded(message), "context": {} })
}

/// A text of bounded length.
pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}… (cut)", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
