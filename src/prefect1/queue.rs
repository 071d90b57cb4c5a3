//! What is due: our own look beside the queue's sign of life, and the Python agent's way where the server refuses ours.
//!
//! And what stands beside the queue: claims of this agent, claims of others, runs that were cancelled after this agent had
//! claimed them. One document, three aliased fields.

use super::queries::{self, OutstandingQuery as Query, PAGE_ROWS, QUEUE_IDS, SetState, Target, Times};
use super::states::{self, MARK_KEY, Observed, Unreadable};
use super::writes::is_version_lock;
use super::{Detail, Prefect1, lock};
use crate::flow_run::prefect1::{FlowRun, TaskRun};
use crate::model::ApiError;
use crate::orchestrator::{
    CANCELLED_MEMORY, CancellingRun, ClaimedRun, DuePage, DueRun, Ending, Mark, OutstandingClaims, Window,
};
use crate::platform::client_token;
use crate::python_text;
use crate::transport::shape::{at, described, items_at, text_at};
use futures_util::future::{Either, select};
use serde_json::{Map, Value, json};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// How long a server that refused our own query is not asked for it again.
const REFUSAL_MEMORY: time::Duration = time::Duration::minutes(10);
/// How long the runs that are known wait for the queue's answer, which says nothing new.
const QUEUE_GRACE: Duration = Duration::from_secs(3);
/// Runs of earlier pages that a query leaves out at most: some 80 KB of ids.
const MAX_SHOWN: usize = 2000;
/// What was seen of task retries is forgotten after this long.
const OBSERVED_MEMORY: time::Duration = time::Duration::hours(1);

impl Prefect1 {
    /// One page of due runs.
    pub(super) async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        let times = Times::from(window);
        let page = if self.is_refused(times.now) {
            let ids = self.queue_ids(&times).await?;
            self.page_of_ids(&ids, &times).await?
        } else if self.read_only {
            match self.own_page(&times).await {
                Ok(page) => page,
                Err(own) => {
                    let queue = self.queue_ids(&times).await;
                    self.fallback(own, queue, &times).await?
                }
            }
        } else {
            match self.own_page_beside_queue(&times).await {
                (Ok(page), queue) => DuePage { queue_error: queue.err(), ..page },
                (Err(own), queue) => self.fallback(own, queue, &times).await?,
            }
        };
        self.observe(&page.runs, &times);
        Ok(page)
    }

    /// Both at once. A queue that is slower than our own look holds the runs up for 3 s at most.
    async fn own_page_beside_queue(
        &self,
        times: &Times,
    ) -> (Result<DuePage<Detail>, ApiError>, Result<Vec<String>, ApiError>) {
        let (own, queue) = (pin!(self.own_page(times)), pin!(self.queue_ids(times)));
        match select(own, queue).await {
            Either::Left((Err(error), queue)) => (Err(error), queue.await),
            Either::Left((Ok(page), queue)) => {
                let late = || ApiError::NoAnswer("get_runs_in_queue took too long".into());
                let ids = tokio::time::timeout(QUEUE_GRACE, queue).await.unwrap_or_else(|_| Err(late()));
                (Ok(page), ids)
            }
            Either::Right((ids, own)) => (own.await, ids),
        }
    }

    /// The runs of the queue, where our own look failed. A server that refused it is remembered.
    async fn fallback(
        &self,
        own: ApiError,
        queue: Result<Vec<String>, ApiError>,
        times: &Times,
    ) -> Result<DuePage<Detail>, ApiError> {
        let ids = match queue {
            Ok(ids) if !asks_to_wait(&own) => ids,
            Err(queue) if more_telling(&queue) && !more_telling(&own) => return Err(queue),
            _ => return Err(own),
        };
        if is_refusal(&own) {
            tracing::warn!(error = %own, "the server refuses the flow_run query of this agent: reading the queue instead");
            *lock(&self.refused_until) = Some(times.now + REFUSAL_MEMORY);
        }
        self.page_of_ids(&ids, times).await
    }

    async fn own_page(&self, times: &Times) -> Result<DuePage<Detail>, ApiError> {
        let session = self.session();
        let shown = lock(&self.shown).clone();
        let document = queries::due_runs(&session.scope(), times, &shown);
        let answer = self.transport.read(self.sender(&session), &document).await?;
        let rows = answer.list("flow_run")?;
        let full = rows.len() >= PAGE_ROWS;
        self.show(rows, full);
        Ok(page(rows, times, full))
    }

    /// After a full page the next one begins where it ended; any other one is the last.
    fn show(&self, rows: &[Value], full: bool) {
        let mut shown = lock(&self.shown);
        if full {
            shown.extend(rows.iter().filter_map(|row| text_at(row, &["id"])).map(str::to_owned));
            // Most of the earlier ones were launched meanwhile, and so left the queue by themselves.
            let too_many = shown.len().saturating_sub(MAX_SHOWN);
            shown.drain(..too_many);
        } else {
            shown.clear();
        }
    }

    async fn queue_ids(&self, times: &Times) -> Result<Vec<String>, ApiError> {
        let session = self.session();
        let document = queries::runs_in_queue(&session.scope(), times);
        // Asking again changes nothing but the agent's time of life.
        let answer = self.transport.read_within(self.sender(&session), &document, Some(QUEUE_GRACE)).await?;
        let ids = at(answer.field("get_runs_in_queue")?, &["flow_run_ids"]);
        let odd = || ApiError::Malformed(format!("`flow_run_ids`: a list was expected, but it is {}", described(ids)));
        let ids = ids.and_then(Value::as_array).ok_or_else(odd)?;
        Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    async fn page_of_ids(&self, ids: &[String], times: &Times) -> Result<DuePage<Detail>, ApiError> {
        if ids.is_empty() {
            return Ok(page(&[], times, false));
        }
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::metadata(ids, times)).await?;
        Ok(page(answer.list("flow_run")?, times, ids.len() >= QUEUE_IDS))
    }

    fn is_refused(&self, now: OffsetDateTime) -> bool {
        lock(&self.refused_until).is_some_and(|until| now < until)
    }

    /// Remembers how the epochs of task retries were made, so that reading them again compares like with like.
    fn observe(&self, runs: &[DueRun<Detail>], times: &Times) {
        let mut observed = lock(&self.observed);
        observed.retain(|_, seen| times.retry_before - seen.retry_before < OBSERVED_MEMORY);
        for run in runs.iter().filter(|run| run.is_task_retry) {
            observed.insert(run.flow_run_id.clone(), Observed::new(times, &run.epoch));
        }
    }
}

/// The page of some rows, in the order of the runs' start.
fn page(rows: &[Value], times: &Times, full: bool) -> DuePage<Detail> {
    let mut runs: Vec<DueRun<Detail>> = Vec::new();
    let mut unreadable: Vec<Unreadable> = Vec::new();
    for row in rows {
        match states::due_run(row, times) {
            Ok(run) => runs.extend(run),
            Err(why) => unreadable.push(why),
        }
    }
    runs.sort_by_key(|run| run.start_time);
    DuePage { runs, unreadable, full, queue_error: None }
}

/// Whether an error says that the server does not take our query, as opposed to trouble that passes.
fn is_refusal(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { errors, .. } => !errors.to_string().contains("\"API_ERROR\""),
        ApiError::Malformed(_) | ApiError::Unauthorised(_) => true,
        ApiError::Status { status, .. } => (400..500).contains(status),
        _ => false,
    }
}

/// Whether an API wants to be left alone for a while.
fn asks_to_wait(error: &ApiError) -> bool {
    matches!(error, ApiError::Throttled { .. } | ApiError::Maintenance { .. })
}

/// Of two errors, the one about credentials, rates or maintenance tells more.
fn more_telling(error: &ApiError) -> bool {
    matches!(error, ApiError::Unauthorised(_)) || asks_to_wait(error)
}

impl Prefect1 {
    /// Claims and cancelled runs.
    pub(super) async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<Detail>, ApiError> {
        let session = self.session();
        let scope = session.scope();
        let query =
            Query { marked_as: &self.marked_as, before: now - orphan_after, cancelled_since: now - CANCELLED_MEMORY };
        let answer = self.transport.read(self.sender(&session), &queries::outstanding(&scope, &query)).await?;
        let (claimed, foreign) = (answer.list("claimed")?, answer.list("foreign")?);
        let cancelling = answer.list("cancelling")?;
        Ok(OutstandingClaims {
            claimed: claimed.iter().filter_map(|row| readable(claimed_run(row, &self.marked_as))).flatten().collect(),
            foreign: foreign.iter().filter(|row| is_for(row, &scope.labels)).count(),
            cancelling: cancelling.iter().filter_map(|row| readable(cancelling_run(row))).collect(),
        })
    }

    /// Ends runs that are still being cancelled, with the version they have: of two that read a run and then write, a
    /// server that checks versions takes one.
    pub(super) async fn cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let ids: Vec<String> = runs.iter().map(|run| run.run.flow_run_id.clone()).collect();
        let looks = match self.look(&ids).await {
            Ok(looks) => looks,
            Err(error) => return vec![Err(error); runs.len()],
        };
        let mut set = Vec::new();
        let mut results = Vec::with_capacity(runs.len());
        for (owner, (run, look)) in runs.iter().zip(&looks).enumerate() {
            results.push(match look.as_ref().map(|look| look.state.as_str()) {
                Some("Cancelling") => {
                    let version = look.as_ref().map(|look| look.version);
                    set.push(SetState { version, ..cancelled_state(owner, run) });
                    Ok(())
                }
                Some(state) => Err(ApiError::NotOurs(format!("the run is {state} now"))),
                None => Err(ApiError::NotOurs("the run cannot be read".into())),
            });
        }
        // Where the server checks versions, somebody else (`task-events`, another poll) has ended it meanwhile.
        let not_ours = |result: Result<(), ApiError>| match result {
            Err(error) if is_version_lock(&error) => Err(ApiError::NotOurs("the run has changed meanwhile".into())),
            result => result,
        };
        self.set_all(&set, results).await.into_iter().map(not_ours).collect()
    }
}

/// Whether a run is for an agent with these labels.
fn is_for(row: &Value, labels: &[String]) -> bool {
    let of_run: Vec<&str> = items_at(row, &["labels"]).iter().filter_map(Value::as_str).collect();
    queries::takes(labels, &of_run)
}

/// The state that ends a cancelled run.
fn cancelled_state(owner: usize, run: &Ending<'_, Detail>) -> SetState {
    let (id, state) = (run.run.flow_run_id.clone(), states::cancelled(&run.message));
    SetState { owner, target: Target::FlowRun, id, version: None, state }
}

/// A row that cannot be understood waits for a person, and holds up nobody.
fn readable<T>(row: Result<T, Unreadable>) -> Option<T> {
    row.inspect_err(|(flow_run_id, reason)| tracing::warn!(flow_run_id, reason, "a run cannot be understood")).ok()
}

/// A claim of ours; `None` when the row is none after all.
fn claimed_run(row: &Value, marked_as: &str) -> Result<Option<ClaimedRun<Detail>>, Unreadable> {
    let mut flow_run = states::flow_run_of(row)?;
    let is_ours = |mark: &Mark| mark.agent == marked_as;
    let is_task_retry = states::state_type(&flow_run) == Some("Running");
    let (mark, since) = if is_task_retry {
        let ours = |task_run: &TaskRun| {
            let state = &task_run.serialized_state;
            states::mark_of(state).filter(|mark| states::is_submitted(state) && is_ours(mark))
        };
        // One turn's claim: that of the latest attempt.
        let Some(mark) = flow_run.task_runs.iter().filter_map(ours).max_by_key(|mark| mark.attempt) else {
            return Ok(None);
        };
        flow_run.task_runs.retain(|task_run| mark.is_claim_of(ours(task_run).as_ref()));
        for task_run in &mut flow_run.task_runs {
            task_run.serialized_state = as_received(&task_run.serialized_state);
        }
        let claimed_task =
            |task: &&Value| flow_run.task_runs.iter().any(|known| text_at(task, &["id"]) == Some(known.id.as_str()));
        let since = items_at(row, &["task_runs"]).iter().filter(claimed_task).filter_map(timestamp).max();
        (mark, since)
    } else {
        let Some(mark) = states::mark_of(&flow_run.serialized_state).filter(is_ours) else { return Ok(None) };
        flow_run.serialized_state = as_received(&flow_run.serialized_state);
        (mark, timestamp(row))
    };
    let Some(since) = since else { return Err((flow_run.id, "its claim has no `state_timestamp`".into())) };
    Ok(Some(ClaimedRun { run: claimed(flow_run, is_task_retry, &mark, since), mark, since, pid: None }))
}

pub(super) fn claimed(flow_run: FlowRun, is_task_retry: bool, mark: &Mark, since: OffsetDateTime) -> DueRun<Detail> {
    DueRun {
        flow_run_id: flow_run.id.clone(),
        name: flow_run.name.clone().unwrap_or_default(),
        start_time: since,
        scheduled_for: None,
        epoch: mark.epoch.clone(),
        token: mark.token.clone(),
        has_history: true,
        is_task_retry,
        attempts: mark.attempt.saturating_sub(1),
        capacity_refusals: mark.capacity_refusals,
        detail: Detail { flow_run: Arc::new(flow_run) },
    }
}

/// The state within a claim: as it was when the run was due.
pub(super) fn as_received(submitted: &Value) -> Value {
    let inner = submitted.get("state").filter(|inner| inner.is_object());
    inner.cloned().unwrap_or_else(|| json!({"type": "Scheduled", "message": "Flow run scheduled."}))
}

fn cancelling_run(row: &Value) -> Result<CancellingRun<Detail>, Unreadable> {
    let flow_run = states::flow_run_of(row)?;
    let Some(since) = timestamp(row) else { return Err((flow_run.id, "it has no `state_timestamp`".into())) };
    let epoch = flow_run.version.to_string();
    let is_over = states::state_type(&flow_run) == Some("Cancelled");
    let mark = Mark {
        agent: String::new(),
        token: client_token(&flow_run.id, &epoch),
        epoch,
        attempt: 1,
        capacity_refusals: 0,
        place: String::new(),
    };
    let has_started = has_started(row);
    // Where its launch went, whatever is configured by now.
    let place = newest_claim(row).map(|mark| mark.place).filter(|place| !place.is_empty());
    let run = claimed(flow_run, false, &mark, since);
    Ok(CancellingRun { run, since, pid: None, place, is_over, has_started })
}

/// The mark of the newest claim of a run or of its task runs, if that has one.
pub(super) fn newest_claim(row: &Value) -> Option<Mark> {
    let (_, newest) = claims(row).max_by_key(|(timestamp, _)| *timestamp)?;
    states::mark_of(newest.get("serialized_state")?)
}

/// The Submitted states of a run, and of its task runs where they were asked for, with their times.
pub(super) fn claims(row: &Value) -> impl Iterator<Item = (OffsetDateTime, &Value)> {
    let of_run = items_at(row, &["states"]).iter();
    let of_tasks = items_at(row, &["once_claimed"]).iter().flat_map(|task_run| items_at(task_run, &["states"]));
    of_run.chain(of_tasks).filter_map(|state| Some((python_text::parse_time(text_at(state, &["timestamp"])?)?, state)))
}

/// Whether the flow has begun at some time.
pub(super) fn has_started(row: &Value) -> bool {
    row.get("start_time").is_some_and(|start| !start.is_null())
}

pub(super) fn timestamp(row: &Value) -> Option<OffsetDateTime> {
    python_text::parse_time(text_at(row, &["state_timestamp"])?)
}

impl Query<'_> {
    /// What a state of ours contains.
    fn mark(&self) -> Value {
        json!({ "context": { MARK_KEY: { "agent": self.marked_as } } })
    }

    /// Runs that this agent has claimed, and Running ones of which it has claimed task runs.
    pub(super) fn claimed(&self) -> Map<String, Value> {
        let before = json!({ "_lte": python_text::iso_time(self.before) });
        let ours = json!({ "_contains": self.mark() });
        let submitted = json!({ "state": { "_eq": "Submitted" }, "state_timestamp": before, "serialized_state": ours });
        let task_retry = json!({ "state": { "_eq": "Running" }, "task_runs": submitted.clone() });
        fields([("_or", json!([submitted, task_retry]))])
    }

    /// Submitted runs without our mark.
    pub(super) fn foreign(&self) -> Map<String, Value> {
        let ours = json!({ "serialized_state": { "_contains": self.mark() } });
        fields([("state", json!({ "_eq": "Submitted" })), ("_not", ours)])
    }

    /// Runs that this agent had claimed once, or task runs of which it had claimed, and that were cancelled.
    pub(super) fn cancelling(&self) -> Map<String, Value> {
        let since = python_text::iso_time(self.cancelled_since);
        let ours = json!({ "serialized_state": { "_contains": self.mark() } });
        let cancelled = json!([
            { "state": { "_eq": "Cancelling" } },
            { "state": { "_eq": "Cancelled" }, "state_timestamp": { "_gte": since } },
        ]);
        let once_ours = json!([{ "_or": [{ "states": ours.clone() }, { "task_runs": { "states": ours } }] }]);
        fields([("_and", once_ours), ("_or", cancelled)])
    }
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod outstanding_tests;
#[cfg(test)]
mod tests;
