//! Rows of `flow_run` → due runs, the epochs that name their turns, and runs as they are now. One unreadable row never
//! disturbs another.
//!
//! And the states that an agent sets, and what they may overwrite. The server adds what is left out (`_result`,
//! `cached_inputs`, `__version__`).

use super::queries::{SetState, Target, Times};
use super::{Detail, SCHEDULED_LIKE};
use crate::flow_run::prefect1::{FlowRun, TaskRun};
use crate::model::ApiError;
use crate::orchestrator::{DueRun, GiveBack, Mark, RunNow};
use crate::platform::client_token;
use crate::python_text;
use crate::transport::shape::{self, FieldKind, RowField, at, described, text_at};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use time::OffsetDateTime;

/// A row that cannot be understood: the run's id as far as known, and why.
pub(super) type Unreadable = (String, String);

/// Characters of what is no time.
const MAX_TIME_CHARS: usize = 40;

/// What is read of a run, besides what it cannot be without.
const FLOW_RUN: &[RowField] =
    &[RowField::optional("state", FieldKind::Text), RowField::optional("name", FieldKind::Text)];
const FLOW: &[RowField] = &[
    RowField::required("id", FieldKind::Text),
    RowField::required("name", FieldKind::Text),
    RowField::optional("core_version", FieldKind::Text),
];
const TASK_RUN: &[RowField] =
    &[RowField::required("id", FieldKind::Text), RowField::optional("task_id", FieldKind::Text)];

/// A run as it is now.
#[derive(Debug, Clone)]
pub(super) struct RunSnapshot {
    /// Id of the flow run.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// Its state type.
    pub state: String,
    /// The mark in the flow run's state.
    pub mark: Option<Mark>,
    /// Its task runs that wait or are claimed.
    pub task_runs: Vec<TaskRun>,
}

/// A due run; `None` when the row is not due after all (a Running run whose task runs moved on meanwhile).
pub(super) fn due_run(row: &Value, times: &Times) -> Result<Option<DueRun<Detail>>, Unreadable> {
    let id = id_of(row);
    let unreadable = |why: String| (id.clone().unwrap_or_else(|| "?".into()), why);
    let flow_run = flow_run_of(row)?;
    match state_type(&flow_run) {
        Some("Scheduled") => scheduled(flow_run, times).map(Some).map_err(&unreadable),
        Some("Running") => Ok(task_retry(flow_run, times)),
        Some(_) => Ok(None),
        None => Err(unreadable("the run has no state".into())),
    }
}

/// A row as the launch rules know it.
pub(super) fn flow_run_of(row: &Value) -> Result<FlowRun, Unreadable> {
    flow_run(row).map_err(|why| (id_of(row).unwrap_or_else(|| "?".into()), why))
}

fn scheduled(flow_run: FlowRun, times: &Times) -> Result<DueRun<Detail>, String> {
    let scheduled_for = start_time(&flow_run.serialized_state)?;
    let mark = mark_of(&flow_run.serialized_state);
    let epoch = flow_run.version.to_string();
    let run = due(flow_run, scheduled_for.unwrap_or(times.now), epoch, false, mark.as_ref());
    Ok(DueRun { scheduled_for, ..run })
}

fn task_retry(mut flow_run: FlowRun, times: &Times) -> Option<DueRun<Detail>> {
    flow_run.task_runs.retain(|task_run| is_due(task_run, Some(times.retry_before)));
    if flow_run.task_runs.is_empty() {
        return None;
    }
    let epoch = epoch_of_task_runs(&flow_run.task_runs);
    let mark = flow_run.task_runs.iter().filter_map(|task| mark_of(&task.serialized_state)).max_by_key(|m| m.attempt);
    Some(due(flow_run, times.now, epoch, true, mark.as_ref()))
}

fn due(
    flow_run: FlowRun,
    start_time: OffsetDateTime,
    epoch: String,
    is_task_retry: bool,
    given_back: Option<&Mark>,
) -> DueRun<Detail> {
    DueRun {
        flow_run_id: flow_run.id.clone(),
        name: flow_run.name.clone().unwrap_or_default(),
        start_time,
        scheduled_for: None,
        token: client_token(&flow_run.id, &epoch),
        epoch,
        has_history: flow_run.version > 1,
        is_task_retry,
        attempts: given_back.map_or(0, |mark| mark.attempt),
        capacity_refusals: given_back.map_or(0, |mark| mark.capacity_refusals),
        detail: Detail { flow_run: Arc::new(flow_run) },
    }
}

/// Whether a task run waits for its time and the time has come. `None` = whatever the time.
fn is_due(task_run: &TaskRun, retry_before: Option<OffsetDateTime>) -> bool {
    let waits = type_of(&task_run.serialized_state).is_some_and(|state| SCHEDULED_LIKE.contains(&state));
    // A start time that cannot be read does not take the task out: the server chose the row by its own column.
    let start_time = start_time(&task_run.serialized_state).ok().flatten();
    waits && start_time.zip(retry_before).is_none_or(|(start, before)| start <= before)
}

/// The row as the launch rules know it. Absent and null are the same; versions must be there, epochs are made of them.
fn flow_run(row: &Value) -> Result<FlowRun, String> {
    let mut row = row.as_object().ok_or("the row is no object")?.clone();
    if id_in(&row).is_none() {
        return Err("the run has no id".into());
    }
    check_version(&row, "the run")?;
    if !row.get("serialized_state").is_some_and(Value::is_object) {
        return Err("the run has no `serialized_state`".into());
    }
    let flow = row.get("flow").and_then(Value::as_object).ok_or("the run has no flow")?;
    shape::check(flow, FLOW).map_err(|why| format!("its flow: {why}"))?;
    row.insert("task_runs".into(), Value::Array(task_rows(&row)?));
    shape::row(Value::Object(row), FLOW_RUN)
}

fn task_rows(row: &Map<String, Value>) -> Result<Vec<Value>, String> {
    let rows = match row.get("task_runs") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rows)) => rows,
        Some(_) => return Err("`task_runs` is no list".into()),
    };
    let checked = rows.iter().map(|row| {
        let task_run = row.as_object().ok_or("a task run is no object")?;
        let id = id_in(task_run).ok_or("a task run has no id")?;
        check_version(task_run, &format!("task run {id}"))?;
        shape::check(task_run, TASK_RUN).map_err(|why| format!("task run {id}: {why}"))?;
        Ok(row.clone())
    });
    checked.collect()
}

fn check_version(row: &Map<String, Value>, what: &str) -> Result<(), String> {
    let version = row.get("version").and_then(Value::as_i64);
    version.map(|_| ()).ok_or_else(|| format!("{what} has no version"))
}

/// A run read again. What is missing in it makes it unreadable only where the answer would be wrong.
pub(super) fn look(row: &Value) -> Result<RunSnapshot, Unreadable> {
    let id = id_of(row).ok_or_else(|| ("?".to_owned(), "the run has no id".to_owned()))?;
    let unreadable = |why: String| (id.clone(), why);
    let object = row.as_object().ok_or_else(|| unreadable("the row is no object".into()))?;
    check_version(object, "the run").map_err(&unreadable)?;
    let serialized_state = object.get("serialized_state").unwrap_or(&Value::Null);
    let state = object.get("state").and_then(Value::as_str).or_else(|| type_of(serialized_state));
    let task_runs = task_rows(object).map_err(&unreadable)?;
    let task_runs = task_runs.into_iter().map(|row| shape::row(row, TASK_RUN)).collect::<Result<Vec<_>, _>>();
    Ok(RunSnapshot {
        version: object.get("version").and_then(Value::as_i64).unwrap_or_default(),
        state: state.ok_or_else(|| unreadable("the run has no state".into()))?.to_owned(),
        mark: mark_of(serialized_state),
        task_runs: task_runs.map_err(|why| unreadable(format!("a task run: {why}")))?,
        id,
    })
}

fn id_of(row: &Value) -> Option<String> {
    row.as_object().and_then(id_in).map(str::to_owned)
}

fn id_in(row: &Map<String, Value>) -> Option<&str> {
    row.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
}

pub(super) fn state_type(flow_run: &FlowRun) -> Option<&str> {
    flow_run.state.as_deref().or_else(|| type_of(&flow_run.serialized_state))
}

/// Type of a state.
pub(super) fn type_of(state: &Value) -> Option<&str> {
    text_at(state, &["type"])
}

/// Whether it is a claim.
pub(super) fn is_submitted(state: &Value) -> bool {
    type_of(state) == Some("Submitted")
}

/// `start_time` of a state; missing or null is `None`, anything else that is no time is an error.
pub(super) fn start_time(state: &Value) -> Result<Option<OffsetDateTime>, String> {
    match state.get("start_time") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match python_text::parse_time(text) {
            Some(time) => Ok(Some(time)),
            None => Err(format!("`start_time` is no time: {}", text.chars().take(MAX_TIME_CHARS).collect::<String>())),
        },
        other => Err(format!("`start_time` must be a time, but is {}", described(other))),
    }
}

/// The mark in a state's context.
pub(super) fn mark_of(state: &Value) -> Option<Mark> {
    serde_json::from_value(at(state, &["context", MARK_KEY])?.clone()).ok()
}

// Epochs: what names one turn of a run, and where a claim leaves its mark.

/// Key of our mark in a state's `context`.
pub(super) const MARK_KEY: &str = Mark::KEY;
/// Hexadecimal digits of a task-retry epoch.
const EPOCH_DIGITS: usize = 20;

/// The epoch of a Running run: its due task runs and their versions, in no particular order.
///
/// The epoch of a Scheduled run is its version in text.
fn epoch_of_task_runs(task_runs: &[TaskRun]) -> String {
    let mut pairs: Vec<(&str, i64)> =
        task_runs.iter().map(|task_run| (task_run.id.as_str(), task_run.version)).collect();
    pairs.sort_unstable();
    let mut hash = Sha256::new();
    for (id, version) in pairs {
        hash.update(format!("{id}:{version}\n"));
    }
    let mut digits = hex::encode(hash.finalize());
    digits.truncate(EPOCH_DIGITS);
    digits
}

// A run that is read again, in the terms of the epoch that was observed. Pure.

/// What was seen of a task retry when it was due: how its epoch was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    /// Task runs that started up to here counted as due.
    pub retry_before: OffsetDateTime,
    /// The epoch.
    pub epoch: String,
}

impl Observed {
    /// What to remember of a task retry.
    pub(super) fn new(times: &Times, epoch: &str) -> Self {
        Self { retry_before: times.retry_before, epoch: epoch.to_owned() }
    }
}

/// A run as it is now, in the terms of the epoch that was observed.
///
/// A Running run keeps its epoch as long as exactly the observed task runs wait in the observed versions: task runs
/// that became due since do not count (`observed` says up to when to count; unknown = all that wait count). Its mark is
/// that of its claimed task runs: a claim that succeeded for only some of them, or whose answer was lost, shows as the
/// mark of the observed epoch, which stays the epoch of the launch. A claim changes `epoch` but never the mark's.
pub(super) fn run_now(look: &RunSnapshot, observed: Option<&Observed>) -> RunNow {
    if look.state != "Running" {
        return RunNow { epoch: look.version.to_string(), state: look.state.clone(), mark: claim_mark(look) };
    }
    let retry_before = observed.map(|observed| observed.retry_before);
    let due: Vec<TaskRun> = look.task_runs.iter().filter(|task_run| is_due(task_run, retry_before)).cloned().collect();
    let mark = task_mark(&look.task_runs, observed.map(|observed| observed.epoch.as_str()));
    RunNow { epoch: epoch_of_task_runs(&due), state: look.state.clone(), mark }
}

/// The mark in a flow run's claim; a mark in another state tells of an earlier claim that was given back.
fn claim_mark(look: &RunSnapshot) -> Option<Mark> {
    look.mark.clone().filter(|_| look.state == "Submitted")
}

/// The mark on claimed task runs: of the wanted epoch if there is one, else the one of the latest attempt.
fn task_mark(task_runs: &[TaskRun], epoch: Option<&str>) -> Option<Mark> {
    let claimed = task_runs.iter().filter(|task_run| is_submitted(&task_run.serialized_state));
    claimed
        .filter_map(|task_run| mark_of(&task_run.serialized_state))
        .max_by_key(|mark| (Some(mark.epoch.as_str()) == epoch, mark.attempt))
}

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

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod reread_tests;
#[cfg(test)]
mod states_tests;
#[cfg(test)]
mod tests;
