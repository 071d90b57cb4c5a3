//! The states that an agent sets, and what they may overwrite. The server adds what is left out (`_result`,
//! `cached_inputs`, `__version__`).

use super::Detail;
use super::queries::{SetState, Target};
use super::rows::{MARK_KEY, RunSnapshot, is_submitted, mark_of};
use crate::flow_run::prefect1::TaskRun;
use crate::model::ApiError;
use crate::orchestrator::{DueRun, GiveBack, Mark};
use crate::python_text;
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
    state.insert("start_time".into(), json!(python_text::iso_time(start_time)));
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
mod guard_tests;
#[cfg(test)]
mod tests;

// What may be overwritten: only what is still our claim. A run that ended, is paused or is being cancelled never is.

/// The states that give a claimed run back, or why it is left as it is.
pub(super) fn to_give_back(
    owner: usize,
    run: &GiveBack<'_, Detail>,
    look: Option<&RunSnapshot>,
    now: OffsetDateTime,
) -> Result<Vec<SetState>, ApiError> {
    let look = look.ok_or_else(|| left("the run cannot be read"))?;
    let start_time = now + run.delay;
    let mark = Mark { capacity_refusals: run.mark.capacity_refusals + u32::from(run.for_capacity), ..run.mark.clone() };
    let state = |received: &Value| given_back(received, start_time, &run.reason, &mark);
    if run.run.is_task_retry {
        if look.state != "Running" {
            return Err(left(&format!("the run is {} now", look.state)));
        }
        let ours = claimed_by_us(run, &look.task_runs);
        if ours.is_empty() {
            return Err(left("its task runs are no longer claimed by this agent"));
        }
        let set = |task_run: &TaskRun| SetState {
            owner,
            target: Target::TaskRun,
            id: task_run.id.clone(),
            version: None,
            state: state(&task_run.serialized_state),
        };
        return Ok(ours.into_iter().map(set).collect());
    }
    if look.state != "Submitted" {
        return Err(left(&format!("the run is {} now", look.state)));
    }
    if !run.mark.is_claim_of(look.mark.as_ref()) {
        return Err(left("the run is claimed by another agent"));
    }
    Ok(vec![SetState {
        owner,
        target: Target::FlowRun,
        id: look.id.clone(),
        version: None,
        state: state(&run.run.detail.flow_run.serialized_state),
    }])
}

/// The observed task runs (in the states they were received in) that still carry our claim.
fn claimed_by_us<'a>(run: &GiveBack<'a, Detail>, task_runs: &[TaskRun]) -> Vec<&'a TaskRun> {
    let claimed = |id: &str| {
        task_runs.iter().any(|now| {
            let state = &now.serialized_state;
            now.id == id && is_submitted(state) && run.mark.is_claim_of(mark_of(state).as_ref())
        })
    };
    run.run.detail.flow_run.task_runs.iter().filter(|task_run| claimed(&task_run.id)).collect()
}

/// Whether a run may be failed: it is in this turn's claim. What somebody scheduled anew since is another turn.
pub(super) fn may_fail(run: &DueRun<Detail>, look: Option<&RunSnapshot>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run cannot be read"))?;
    let is_claim = |mark: Option<&Mark>| mark.is_some_and(|mark| mark.token == run.token);
    let claims_task_run = |task_run: &TaskRun| {
        let state = &task_run.serialized_state;
        is_submitted(state) && is_claim(mark_of(state).as_ref())
    };
    match look.state.as_str() {
        "Submitted" if is_claim(look.mark.as_ref()) => Ok(()),
        "Submitted" => Err(left("the run is claimed by another agent or for another turn")),
        "Running" if run.is_task_retry && look.task_runs.iter().any(claims_task_run) => Ok(()),
        "Running" if run.is_task_retry => Err(left("its task runs are no longer claimed by this agent")),
        state => Err(left(&format!("the run is {state} now"))),
    }
}

fn left(why: &str) -> ApiError {
    ApiError::NotOurs(why.to_owned())
}
