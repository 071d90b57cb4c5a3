//! The states that are proposed, and what became of a proposal. Pure.

use super::runs::{Author, State};
use crate::model::ApiError;
use crate::orchestrator::Mark;
use crate::python_text;
use crate::transport::shape::text_at;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// Characters of a message at most: no person reads more.
const MAX_MESSAGE_CHARS: usize = 10_000;
/// Characters of a status that nobody knows.
const MAX_STATUS_CHARS: usize = 40;

/// A claim.
pub(super) fn pending(mark: &Mark, author: Author<'_>) -> Value {
    json!({
        "type": "PENDING", "name": "Pending", "message": null, "data": author.data(mark),
        "state_details": { "transition_id": mark.token },
    })
}

/// A claim that is given back: due again later, with the reason and what was tried so far. Under this name the server
/// leaves the state as it is, where a late `Scheduled` would be replaced and its `data` be lost.
pub(super) fn awaiting_retry(
    mark: &Mark,
    author: Author<'_>,
    (at, reason, transition_id): (OffsetDateTime, &str, &str),
) -> Value {
    json!({
        "type": "SCHEDULED", "name": "AwaitingRetry", "message": bounded(reason), "data": author.data(mark),
        "state_details": { "scheduled_time": python_text::iso_time(at), "transition_id": transition_id },
    })
}

/// Never launched, in the words of Prefect's worker.
pub(super) fn crashed(message: &str, transition_id: &str) -> Value {
    let message = bounded(&format!("Failed to submit flow run to infrastructure: {message}"));
    json!({
        "type": "CRASHED", "name": "Crashed", "message": message, "state_details": { "transition_id": transition_id },
    })
}

/// The task of a run that was launched is dead.
pub(super) fn dead(message: &str, transition_id: &str) -> Value {
    json!({
        "type": "CRASHED", "name": "Crashed", "message": bounded(message),
        "state_details": { "transition_id": transition_id },
    })
}

/// The task waits for its start. `data`: the mark of its claim, if that is ours.
pub(super) fn infrastructure_pending(message: &str, data: Option<Value>) -> Value {
    let mut state = Map::new();
    state.insert("type".into(), json!("PENDING"));
    state.insert("name".into(), json!("InfrastructurePending"));
    state.insert("message".into(), json!(bounded(message)));
    state.extend(data.map(|data| ("data".to_owned(), data)));
    Value::Object(state)
}

/// Cancelled, for good.
pub(super) fn cancelled(message: &str, transition_id: &str) -> Value {
    json!({
        "type": "CANCELLED", "name": "Cancelled", "message": bounded(message),
        "state_details": { "transition_id": transition_id },
    })
}

/// A text of bounded length.
pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}… (cut)", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What the server said to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The run is in the proposed state, by this proposal.
    Done,
    /// It is in the proposed state, by the same proposal sent before.
    Already(By),
    /// It is not, and why.
    No(String),
}

/// Who sent a proposal before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// This process.
    Us,
    /// Another process of this agent: an invocation at the same time.
    Another,
    /// One or the other: the server keeps no `data` that would tell.
    Somebody,
}

/// Reads the answer to a proposal of a state of this type.
pub(super) fn said(answer: &Value, proposed: &Value) -> Result<Said, ApiError> {
    let status = text_at(answer, &["status"]);
    let status = status.ok_or_else(|| ApiError::Malformed("the answer to a new state has no `status`".into()))?;
    let state = answer.get("state").unwrap_or(&Value::Null);
    let kind = text_at(state, &["type"]).unwrap_or_default();
    if kind == text_at(proposed, &["type"]).unwrap_or_default() {
        if status == "ACCEPT" {
            return Ok(Said::Done);
        }
        if let Some(by) = sent_before(state, proposed) {
            return Ok(Said::Already(by));
        }
    }
    if !matches!(status, "ACCEPT" | "REJECT" | "ABORT" | "WAIT") {
        let status: String = status.chars().take(MAX_STATUS_CHARS).collect();
        return Err(ApiError::Malformed(format!("the answer to a new state has the status {status}")));
    }
    let reason = text_at(answer, &["details", "reason"]).or_else(|| text_at(state, &["message"])).map(bounded);
    let name = text_at(state, &["name"]).unwrap_or(kind);
    let now = if name.is_empty() { String::new() } else { format!(" (it is {name})") };
    Ok(Said::No(format!("Prefect said {status}: {}{now}", reason.as_deref().unwrap_or("no reason was given"))))
}

/// Why a claim was refused that will be refused again until somebody changes something: the run is due as before. What
/// waits for a slot has another time, and what another worker has claimed is not due.
pub(super) fn lasting_refusal(answer: &Value) -> Option<&str> {
    let kind = answer.get("state").and_then(|state| state.get("type")).and_then(Value::as_str);
    let status = answer.get("status").and_then(Value::as_str);
    let is_lasting = (status, kind) == (Some("ABORT"), Some("SCHEDULED"));
    answer.get("details")?.get("reason")?.as_str().filter(|_| is_lasting)
}

/// Who has sent this very proposal before, if the state stems from it.
fn sent_before(state: &Value, proposed: &Value) -> Option<By> {
    let (state, proposed) = (State::read(state)?, State::read(proposed)?);
    let same = match &state.transition_id {
        // A server that keeps no such ids: a mark is that of one launch, and its state has a type of its own.
        None => state.mark.is_some() && state.mark == proposed.mark,
        id => *id == proposed.transition_id,
    };
    if !same {
        return None;
    }
    Some(match state.session {
        None => By::Somebody,
        session if session == proposed.session => By::Us,
        _ => By::Another,
    })
}

#[cfg(test)]
mod tests;
