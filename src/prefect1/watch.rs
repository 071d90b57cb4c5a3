//! A run whose task has changed: as it is now, and its end.

use super::outstanding::{as_received, claimed, claims, has_started, newest_claim, timestamp};
use super::queries::{self, SetState, Target};
use super::rows::{self, flow_run_of, is_submitted, type_of};
use super::{Detail, Prefect1, states};
use crate::flow_run::prefect1::{FlowRun, TaskRun};
use crate::model::ApiError;
use crate::model::{ClaimedBy, Phase, Run, is_waiting_task_run};
use crate::orchestrator::{DueRun, Mark, Watched};
use crate::platform::client_token;
use crate::transport::shape::items_at;
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

fn watched(row: &Value, marked_as: &str) -> Result<Watched<Detail>, rows::Unreadable> {
    let mut flow_run = flow_run_of(row)?;
    let state = rows::state_type(&flow_run).unwrap_or_default().to_owned();
    let is_ours = |mark: &Mark| mark.agent == marked_as;
    let claimed_task = |task_run: &TaskRun| {
        let state = &task_run.serialized_state;
        rows::mark_of(state).filter(|mark| is_submitted(state) && is_ours(mark))
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
        Phase::Claimed => rows::mark_of(&flow_run.serialized_state).filter(is_ours),
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
        is_submitted(state) && mark.is_claim_of(rows::mark_of(state).as_ref())
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
    rows::start_time(&as_received(state.get("serialized_state")?)).ok()?
}

/// What names the turn of a run without a claim of ours.
fn unmarked(flow_run: &FlowRun) -> Mark {
    let epoch = flow_run.version.to_string();
    let token = client_token(&flow_run.id, &epoch);
    Mark { agent: String::new(), epoch, attempt: 1, capacity_refusals: 0, token, place: String::new() }
}

#[cfg(test)]
mod tests;
