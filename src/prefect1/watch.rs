//! A run whose task has changed: as it is now, and its end.
//!
//! And what a run's story is told from: the run, all its states, and why polls do not find it. Reads only.

use super::queries::{self, Scope, SetState, Target};
use super::queue::{as_received, claimed, claims, has_started, newest_claim, timestamp};
use super::states::{self, flow_run_of, is_submitted, type_of};
use super::{Detail, Prefect1};
use crate::flow_run::prefect1::{FlowRun, TaskRun};
use crate::model::{ApiError, ClaimedBy, Phase, Run, RunEnd, is_waiting_task_run};
use crate::orchestrator::run_facts::{BlockReason, RunFacts, StateFacts, WaitReason};
use crate::orchestrator::{DueRun, Mark, Watched};
use crate::platform::client_token;
use crate::python_text;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;
use time::OffsetDateTime;

impl Prefect1 {
    /// The run as it is now.
    pub(super) async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::watched(flow_run_id)).await?;
        let Some(row) = answer.list("flow_run")?.first() else { return Ok(None) };
        self.watched(row).map(Some)
    }

    /// The run as it is now, by its row.
    pub(super) fn watched(&self, row: &Value) -> Result<Watched<Detail>, ApiError> {
        watched(row, &self.marked_as).map_err(|(id, why)| ApiError::Malformed(format!("run {id}: {why}")))
    }

    /// Failed, for good. Sent without a version, since nobody knows it better than the server.
    pub(super) async fn end_dead(&self, flow_run_id: &str, message: &str) -> Result<(), ApiError> {
        let (id, state) = (flow_run_id.to_owned(), states::failed(message));
        let set = [SetState { owner: 0, target: Target::FlowRun, id, version: None, state }];
        self.set_all(&set, vec![Ok(())]).await.pop().unwrap_or(Ok(()))
    }
}

fn watched(row: &Value, marked_as: &str) -> Result<Watched<Detail>, states::Unreadable> {
    let mut flow_run = flow_run_of(row)?;
    let state = states::state_type(&flow_run).unwrap_or_default().to_owned();
    let is_ours = |mark: &Mark| mark.agent == marked_as;
    let claimed_task = |task_run: &TaskRun| {
        let state = &task_run.serialized_state;
        states::mark_of(state).filter(|mark| is_submitted(state) && is_ours(mark))
    };
    let task_mark = flow_run.task_runs.iter().filter_map(claimed_task).max_by_key(|mark| mark.attempt);
    let phase = Phase::of_prefect_1(&state, task_mark.is_some());
    let is_task_retry = state == "Running";
    let waits = |task_run: &TaskRun| type_of(&task_run.serialized_state).is_some_and(is_waiting_task_run);
    let now = Run {
        phase,
        claimed_at: claimed_at(row),
        infrastructure_pid: None,
        attempt: None,
        claimed_by: ClaimedBy::Unknown,
        has_run: has_started(row),
        waits_for_task_runs: flow_run.task_runs.iter().any(waits),
    };
    let newest = newest_claim(row);
    let mark = match phase {
        Phase::Claimed if is_task_retry => task_mark,
        Phase::Claimed => states::mark_of(&flow_run.serialized_state).filter(is_ours),
        _ => None,
    };
    unwrap_claims(&mut flow_run, mark.as_ref(), is_task_retry);
    let since = timestamp(row).or(now.claimed_at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let claimed_by = ClaimedBy::of_mark(mark.as_ref().or(newest.as_ref()).map(is_ours));
    let now = Run { attempt: mark.as_ref().map(|mark| mark.attempt), claimed_by, ..now };
    let named = mark.clone().unwrap_or_else(|| unmarked(&flow_run));
    let claimed_place = mark.as_ref().or(newest.as_ref()).map(|mark| mark.place.clone());
    let claimed_place = claimed_place.filter(|place| !place.is_empty());
    let run = DueRun { scheduled_for: due_before_claim(row), ..claimed(flow_run, is_task_retry, &named, since) };
    Ok(Watched { run, mark, claimed_place, now })
}

/// The states as they were before the claim, to which it is given back.
fn unwrap_claims(flow_run: &mut FlowRun, mark: Option<&Mark>, is_task_retry: bool) {
    let Some(mark) = mark else { return };
    if !is_task_retry {
        flow_run.serialized_state = as_received(&flow_run.serialized_state);
        return;
    }
    flow_run.task_runs.retain(|task_run| {
        let state = &task_run.serialized_state;
        is_submitted(state) && mark.is_claim_of(states::mark_of(state).as_ref())
    });
    for task_run in &mut flow_run.task_runs {
        task_run.serialized_state = as_received(&task_run.serialized_state);
    }
}

/// The newest Submitted, of the run or of a task run.
fn claimed_at(row: &Value) -> Option<OffsetDateTime> {
    let tasks = items_at(row, &["task_runs"]).iter();
    let of_tasks =
        tasks.filter(|task_run| task_run.get("serialized_state").is_some_and(is_submitted)).filter_map(timestamp);
    claims(row).map(|(timestamp, _)| timestamp).chain(of_tasks).max()
}

/// When the run was due that its newest claim took: the claim keeps the state that it took.
fn due_before_claim(row: &Value) -> Option<OffsetDateTime> {
    let (_, state) = claims(row).max_by_key(|(timestamp, _)| *timestamp)?;
    states::start_time(&as_received(state.get("serialized_state")?)).ok()?
}

/// What names the turn of a run without a claim of ours.
fn unmarked(flow_run: &FlowRun) -> Mark {
    let epoch = flow_run.version.to_string();
    let token = client_token(&flow_run.id, &epoch);
    Mark { agent: String::new(), epoch, attempt: 1, capacity_refusals: 0, token, place: String::new() }
}

impl Prefect1 {
    /// The facts about a run; `None` = the API does not know it. To be called after `connect`, which tells labels and
    /// tenant.
    pub async fn explained(&self, flow_run_id: &str) -> Result<Option<RunFacts>, ApiError> {
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::explained(flow_run_id)).await?;
        let Some(row) = answer.list("flow_run")?.first() else { return Ok(None) };
        Ok(Some(facts(self.watched(row)?, row, &session.scope(), &self.marked_as)))
    }
}

/// The run as `task-events` sees it, and beside that what only people need.
fn facts(watched: Watched<Detail>, row: &Value, scope: &Scope, marked_as: &str) -> RunFacts {
    let Watched { run, mark, now, .. } = watched;
    let text = |path: &[&str]| text_at(row, path).map(str::to_owned);
    let state = text(&["state"]).unwrap_or_default();
    let is_ours = |mark: &Mark| mark.agent == marked_as;
    let serialized = row.get("serialized_state").unwrap_or(&Value::Null);
    let given_back = states::mark_of(serialized).filter(is_ours);
    let of_task_runs =
        run.detail.flow_run.task_runs.iter().filter_map(|task_run| start_time(&task_run.serialized_state));
    let due_at = match now.phase {
        Phase::Waiting => start_time(serialized),
        Phase::Running if now.waits_for_task_runs => of_task_runs.min(),
        _ => None,
    };
    let mut states: Vec<StateFacts> =
        items_at(row, &["story"]).iter().map(|state| state_facts(state, &is_ours)).collect();
    states.sort_by_key(|state| state.at);
    let task_marks = items_at(row, &["task_runs"]).iter().filter_map(|task_run| task_run.get("serialized_state"));
    let was_ours = task_marks.filter_map(states::mark_of).any(|mark| is_ours(&mark))
        || mark.is_some()
        || given_back.is_some()
        || states.iter().any(|state| state.is_ours);
    RunFacts {
        id: run.flow_run_id.clone(),
        name: run.name.clone(),
        waits: match state.as_str() {
            "Scheduled" => WaitReason::Scheduled,
            "Queued" => WaitReason::Slot,
            "Paused" => WaitReason::Paused,
            _ => WaitReason::Other,
        },
        end: (now.phase == Phase::Ended).then(|| RunEnd::of_prefect_1(&state)),
        message: text_at(serialized, &["message"]).map(str::to_owned),
        since: timestamp(row),
        mark: mark.or(given_back),
        state,
        was_ours,
        worker: None,
        due_at,
        has_own_credentials: false,
        states,
        block_reasons: block_reasons(row, scope),
        unknown: Vec::new(),
        run: now,
    }
}

/// Why polls of this agent do not find the run: the queue's rule about labels and tenants.
fn block_reasons(row: &Value, scope: &Scope) -> Vec<BlockReason> {
    let of_run: Vec<&str> = items_at(row, &["labels"]).iter().filter_map(Value::as_str).collect();
    let tenants = scope.tenant_id.as_deref().zip(text_at(row, &["tenant_id"]));
    let mut reasons = Vec::new();
    if tenants.is_some_and(|(ours, of_run)| ours != of_run) {
        reasons.push(BlockReason::OtherTenant);
    }
    if !queries::takes(&scope.labels, &of_run) {
        let run = of_run.into_iter().map(str::to_owned).collect();
        reasons.push(BlockReason::Labels { run, agent: scope.labels.clone() });
    }
    reasons
}

fn state_facts(row: &Value, is_ours: &impl Fn(&Mark) -> bool) -> StateFacts {
    let serialized = row.get("serialized_state").unwrap_or(&Value::Null);
    let mark = states::mark_of(serialized);
    let name = text_at(row, &["state"]).or_else(|| states::type_of(serialized)).unwrap_or("?").to_owned();
    StateFacts {
        at: text_at(row, &["timestamp"]).and_then(python_text::parse_time),
        message: text_at(serialized, &["message"]).or_else(|| text_at(row, &["message"])).map(str::to_owned),
        scheduled_for: start_time(serialized),
        is_claim: states::is_submitted(serialized),
        is_ours: mark.as_ref().is_some_and(is_ours),
        name,
        mark,
    }
}

fn start_time(serialized: &Value) -> Option<OffsetDateTime> {
    python_text::parse_time(text_at(serialized, &["start_time"])?)
}

#[cfg(test)]
mod explaining_tests;
#[cfg(test)]
mod tests;
