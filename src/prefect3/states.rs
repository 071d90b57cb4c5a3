//! Rows of the API → flow runs, their states and turns. Pure; a row that is odd is said to be so, and harms no other.
//!
//! And the states that are proposed, and what became of a proposal.

use super::Detail;
use super::names::Names;
use crate::flow_run::prefect3::FlowRun;
use crate::model::ApiError;
use crate::orchestrator::{DueRun, Mark};
use crate::python_text;
use crate::transport::shape::{self, FieldKind, RowField, text_at};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use time::OffsetDateTime;

/// A row that cannot be understood: the run's id (as far as known) and why.
pub(super) type Unreadable = (String, String);

/// The field of a mark that names the process.
const SESSION: &str = "session";

/// What is read of a flow run.
const FLOW_RUN: &[RowField] = &[
    RowField::required("id", FieldKind::Text),
    RowField::required("name", FieldKind::Text),
    RowField::required("flow_id", FieldKind::Text),
    RowField::optional("deployment_id", FieldKind::Text),
    RowField::optional("job_variables", FieldKind::Object),
];

/// A flow run as the API shows it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What rendering needs, and everything else in `others`.
    pub flow_run: Arc<FlowRun>,
    /// Id of its current state.
    pub state_id: String,
    /// Its current state; the rows of a poll have none.
    pub state: Option<State>,
}

/// A state of a flow run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// Id.
    pub id: String,
    /// Type, e.g. `PENDING`.
    pub kind: String,
    /// Name, e.g. `Submitting`.
    pub name: String,
    /// When the run got into it.
    pub timestamp: Option<OffsetDateTime>,
    /// `state_details.transition_id`.
    pub transition_id: Option<String>,
    /// Our mark in its `data`, with the identity of the agent as it was written.
    pub mark: Option<Mark>,
    /// Which process left the mark.
    pub session: Option<String>,
}

impl State {
    /// Reads a state; `None` when it has no type.
    pub(super) fn read(state: &Value) -> Option<Self> {
        let text = |path: &[&str]| text_at(state, path).map(str::to_owned);
        Some(Self {
            id: text(&["id"]).unwrap_or_default(),
            kind: text(&["type"])?,
            name: text(&["name"]).unwrap_or_default(),
            timestamp: text_at(state, &["timestamp"]).and_then(python_text::parse_time),
            transition_id: text(&["state_details", "transition_id"]),
            mark: state.get("data").and_then(mark_in),
            session: text(&["data", Mark::KEY, SESSION]),
        })
    }

    /// What names the transition that made it: its `transition_id`, or our mark. Servers before Prefect 2.14.17 keep no
    /// `transition_id`, but the mark.
    pub(super) fn made_by(&self) -> Option<&str> {
        let marked = || self.mark.as_ref().map(|mark| mark.token.as_str());
        self.transition_id.as_deref().or_else(marked)
    }

    /// PENDING as a claim writes it; workers and observers put other names over it.
    pub(super) fn is_claim(&self) -> bool {
        self.kind == "PENDING" && self.name == "Pending"
    }
}

/// Who leaves a mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Author<'a> {
    /// The agent and its deployment.
    pub identity: &'a str,
    /// The process: of two invocations at once, only one has made a claim that both tried to make.
    pub session: &'a str,
}

impl Author<'_> {
    /// `data` of a state with a mark.
    pub(super) fn data(self, mark: &Mark) -> Value {
        let signed =
            SignedState { mark: Mark { agent: self.identity.to_owned(), ..mark.clone() }, session: self.session };
        Value::Object(Map::from_iter([(Mark::KEY.to_owned(), serde_json::json!(signed))]))
    }
}

/// A mark as it is written.
#[derive(Serialize)]
struct SignedState<'a> {
    #[serde(flatten)]
    mark: Mark,
    session: &'a str,
}

fn mark_in(data: &Value) -> Option<Mark> {
    serde_json::from_value(data.get(Mark::KEY)?.clone()).ok()
}

impl Row {
    /// What is seen of it.
    pub(super) fn seen(&self) -> SeenState {
        let turn = self.time("next_scheduled_start_time").filter(|_| self.kind() == "SCHEDULED").map(|scheduled| {
            let run_count = self.flow_run.others.get("run_count").and_then(Value::as_u64).unwrap_or_default();
            ScheduledTurn { scheduled, run_count, pid: self.pid().map(str::to_owned) }
        });
        SeenState::new(&self.state_id, turn)
    }

    /// Whether it is still in the turn in which it was seen.
    pub(super) fn is_same_turn(&self, seen: &SeenState) -> bool {
        let is_given_back = self.state.as_ref().is_some_and(|state| state.mark.is_some());
        seen.is_same_turn(&self.seen(), is_given_back)
    }

    /// Reads a row of a filter or of a poll.
    pub(super) fn read(row: Value) -> Result<Self, Unreadable> {
        let id = text_at(&row, &["id"]).unwrap_or("?").to_owned();
        let unreadable = |why: String| (id.clone(), why);
        let row = Value::Object(shape::object(row).map_err(unreadable)?);
        if id == "?" {
            return Err(unreadable("the run has no id".into()));
        }
        let state = row.get("state").and_then(State::read);
        let state_id = text_at(&row, &["state_id"]).map(str::to_owned).or_else(|| state.as_ref().map(|s| s.id.clone()));
        let state_id = state_id.filter(|id| !id.is_empty());
        let state_id = state_id.ok_or_else(|| unreadable("the run has no `state_id`".into()))?;
        let mut flow_run: FlowRun = shape::row(row, FLOW_RUN).map_err(unreadable)?;
        flow_run.others.shift_remove("state");
        Ok(Self { flow_run: Arc::new(flow_run), state_id, state })
    }

    /// Id of the run.
    pub(super) fn id(&self) -> &str {
        &self.flow_run.id
    }

    /// Type of its state.
    pub(super) fn kind(&self) -> &str {
        self.state.as_ref().map(|state| state.kind.as_str()).or_else(|| self.text("state_type")).unwrap_or_default()
    }

    /// Name of its state.
    pub(super) fn state_name(&self) -> &str {
        self.state.as_ref().map(|state| state.name.as_str()).or_else(|| self.text("state_name")).unwrap_or_default()
    }

    /// `infrastructure_pid`: a task of this run, or of an earlier turn of it.
    pub(super) fn pid(&self) -> Option<&str> {
        self.text("infrastructure_pid")
    }

    /// A field that is a text and not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.flow_run.others.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A field that is a time.
    pub(super) fn time(&self, key: &str) -> Option<OffsetDateTime> {
        python_text::parse_time(self.text(key)?)
    }

    /// When it is to start, or was.
    pub(super) fn scheduled_for(&self) -> Option<OffsetDateTime> {
        self.time("next_scheduled_start_time").or_else(|| self.time("expected_start_time"))
    }

    /// Whether the flow has begun at some time. A run that ended before it began shows its end as its start.
    pub(super) fn has_started(&self) -> bool {
        self.text("start_time").is_some_and(|start| self.text("end_time") != Some(start))
    }

    /// Whether an earlier turn may have a task: it ran, it has a pid, or it was scheduled anew since it was made.
    pub(super) fn has_history(&self) -> bool {
        let run_count = self.flow_run.others.get("run_count").and_then(Value::as_u64).unwrap_or_default();
        // The server itself moves what waits for a concurrency slot. That was refused; but what was launched before and
        // given back after an unclear answer may wait for a slot as well, and its state does not tell.
        let moved = self.text("next_scheduled_start_time") != self.text("expected_start_time");
        run_count > 0 || self.pid().is_some() || self.state_name() == "AwaitingRetry" || moved
    }

    /// The run as the planner knows it. `attempts` are the launches and refusals before this turn.
    pub(super) fn turn(
        &self,
        epoch: String,
        start_time: OffsetDateTime,
        (attempts, capacity_refusals): (u32, u32),
    ) -> DueRun<Detail> {
        DueRun {
            flow_run_id: self.flow_run.id.clone(),
            name: self.flow_run.name.clone(),
            start_time,
            scheduled_for: self.scheduled_for(),
            token: epoch.clone(),
            epoch,
            has_history: self.has_history(),
            is_task_retry: false,
            attempts,
            capacity_refusals,
            detail: Detail { flow_run: Arc::clone(&self.flow_run), seen: self.seen() },
        }
    }

    /// The epoch that the current state begins, if it is a SCHEDULED one; of any other state no run is due.
    pub(super) fn epoch(&self, names: &Names) -> String {
        names.claim(&self.flow_run.id, &self.state_id)
    }
}

// Whether a SCHEDULED run is still in the turn in which it was seen. Pure.
//
// A turn is one scheduled time of one SCHEDULED spell. States that say the same again have ids of their own: the server's
// Late service writes one at any moment, also between two requests of a poll. A claim is named by the state that the run
// was seen in, whichever of its turn's states that was, so two invocations that saw different ones name their claims
// differently: the server lets only the first of them pass, and the second finds a claim that is not its own.

/// The state that a run was seen in, and its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenState {
    state_id: String,
    turn: Option<ScheduledTurn>,
}

/// What a state that says the same again leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScheduledTurn {
    pub(super) scheduled: OffsetDateTime,
    /// A flow that has begun since was another spell.
    pub(super) run_count: u64,
    /// So was one that was given a task.
    pub(super) pid: Option<String>,
}

impl SeenState {
    /// What is seen of a run.
    pub(super) fn new(state_id: &str, turn: Option<ScheduledTurn>) -> Self {
        Self { state_id: state_id.to_owned(), turn }
    }

    /// Whether what is seen `now` is the same turn, or, of a run that is not due, the very same state. `is_given_back`: its
    /// state holds a mark, which only a claim that is over leaves in a SCHEDULED state: another spell, also if the time
    /// were the same.
    pub(super) fn is_same_turn(&self, now: &Self, is_given_back: bool) -> bool {
        now.state_id == self.state_id || (self.turn.is_some() && self.turn == now.turn && !is_given_back)
    }
}

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
mod states_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turns_tests;
