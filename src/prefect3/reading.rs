//! Runs read again: as they are now, whose claim they are in, and what of them may be overwritten; also those whose
//! task has changed.

#[cfg(test)]
mod tests;

use super::claims::{ClaimOwner, newest_claim};
use super::queue::understood;
use super::requests::{self, PAGE_ROWS};
use super::states::{Row, State};
use super::{Detail, Prefect3, states};
use crate::model::ApiError;
use crate::model::{ClaimedBy, Phase, Run};
use crate::orchestrator::{DueRun, Mark, RunNow, Watched};
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::HashMap;
use time::OffsetDateTime;

impl Prefect3 {
    /// Runs as they are now, in the terms of what was observed of them.
    pub(super) async fn reread(&self, runs: &[&DueRun<Detail>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let ids: Vec<String> = runs.iter().map(|run| run.flow_run_id.clone()).collect();
        let looks = self.looks(&ids).await?.into_iter().map(Option::transpose).collect::<Result<Vec<_>, _>>()?;
        Ok(runs.iter().zip(&looks).map(|(run, look)| Some(self.run_now(run, look.as_ref()?))).collect())
    }

    fn run_now(&self, seen: &DueRun<Detail>, look: &RunReading) -> RunNow {
        // Another invocation of this agent may have made the claim that we tried to make: then it launches.
        let by_another = look.session.as_ref().is_some_and(|session| *session != self.session);
        let claim = look.claim.as_ref().filter(|_| !by_another);
        let mark = claim.map(|claim| {
            let known = look.run.state.as_ref().and_then(|state| state.mark.as_ref());
            let (attempt, refusals) = known.map_or((1, 0), |mark| (mark.attempt, mark.capacity_refusals));
            self.claimant().mark(claim, attempt, refusals)
        });
        let is_same_turn = look.run.is_same_turn(&seen.detail.seen);
        let epoch = if is_same_turn { seen.epoch.clone() } else { look.run.epoch(&self.names) };
        RunNow { epoch, state: look.run.kind().to_owned(), mark }
    }

    /// Reads runs; one entry per id, in order, `None` for what is not there. A run in a sub-state of PENDING whose history
    /// cannot be read has an error of its own.
    pub(super) async fn looks(&self, ids: &[String]) -> Result<Vec<Option<Result<RunReading, ApiError>>>, ApiError> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let chunks = ids
            .chunks(PAGE_ROWS)
            .map(|ids| async move { self.transport.read(&requests::flow_runs(ids)).await?.list() });
        let mut runs: HashMap<String, Row> = HashMap::new();
        for rows in join_all(chunks).await {
            runs.extend(understood(rows?).into_iter().map(|run| (run.id().to_owned(), run)));
        }
        let looks = ids.iter().map(|id| runs.get(*id).cloned()).map(|run| async {
            match run {
                Some(run) => Some(self.look(run).await),
                None => None,
            }
        });
        Ok(join_all(looks).await)
    }

    /// One run; `None` = the API says that there is none. That a list lacks it proves nothing.
    pub(super) async fn row_of(&self, flow_run_id: &str) -> Result<Option<Row>, ApiError> {
        let rows = self.transport.read(&requests::flow_runs(&[flow_run_id])).await?.list()?;
        if let Some(run) = understood(rows).into_iter().find(|run| run.id() == flow_run_id) {
            return Ok(Some(run));
        }
        let sent = self.transport.repeatable(&requests::flow_run(flow_run_id)).await;
        if sent.is_absent {
            return Ok(None);
        }
        let answer = sent.answer?;
        Row::read(answer.json()?).map(Some).map_err(|(_, why)| answer.odd(&why))
    }

    async fn look(&self, run: Row) -> Result<RunReading, ApiError> {
        let states = if RunReading::needs_history(&run) { self.history(run.id()).await? } else { Vec::new() };
        Ok(RunReading::of(run, &states))
    }

    /// All states of a run.
    pub(super) async fn history(&self, flow_run_id: &str) -> Result<Vec<State>, ApiError> {
        let rows = self.transport.read(&requests::history(flow_run_id)).await?.list()?;
        Ok(rows.iter().filter_map(State::read).collect())
    }
}

// What may be overwritten: only what is still our claim. A run that ended, is paused or is being cancelled never is.
// Pure.

/// A flow run as it is now.
#[derive(Debug, Clone)]
pub(super) struct RunReading {
    /// The run.
    pub run: Row,
    /// `transition_id` of the claim that it is in, if it is in one.
    pub claim: Option<String>,
    /// The process that made the claim, where it says so.
    pub session: Option<String>,
}

impl RunReading {
    /// Whether only its history tells which claim a run is in: a sub-state of PENDING has come since.
    fn needs_history(run: &Row) -> bool {
        run.state.as_ref().is_some_and(|state| state.kind == "PENDING" && !state.is_claim())
    }

    /// `states`: all that the run has had, where they are needed.
    pub(super) fn of(run: Row, states: &[State]) -> Self {
        let claim = match &run.state {
            Some(state) if state.is_claim() => Some(state),
            Some(state) if state.kind == "PENDING" => newest_claim(states),
            _ => None,
        };
        let session = claim.and_then(|claim| claim.session.clone());
        let claim = claim.and_then(|claim| claim.made_by().map(str::to_owned));
        Self { run, claim, session }
    }
}

/// Whether the claim may be given back, or the run be ended as never launched.
pub(super) fn may_end_claim<D>(run: &DueRun<D>, look: Option<&RunReading>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run no longer exists"))?;
    match (look.run.kind(), &look.claim) {
        ("PENDING", Some(claim)) if *claim == run.token => Ok(()),
        ("PENDING", _) => Err(left("the run is claimed by another worker")),
        _ => Err(left(&format!("the run is {} now", look.run.state_name()))),
    }
}

/// Whether the run may be ended as Cancelled: it is being cancelled, or is due as it was (its deployment is gone).
pub(super) fn may_cancel(run: &DueRun<Detail>, look: Option<&RunReading>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run no longer exists"))?;
    match look.run.kind() {
        "CANCELLING" => Ok(()),
        "SCHEDULED" if look.run.is_same_turn(&run.detail.seen) => Ok(()),
        _ => Err(left(&format!("the run is {} now", look.run.state_name()))),
    }
}

fn left(why: &str) -> ApiError {
    ApiError::NotOurs(why.to_owned())
}

// A run whose task has changed: as it is now, its end, and what others are told of its task.

impl Prefect3 {
    /// The run as it is now.
    pub(super) async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        let Some(run) = self.row_of(flow_run_id).await? else { return Ok(None) };
        let phase = Phase::of_prefect_3(run.kind());
        let lives = matches!(phase, Phase::Claimed | Phase::Running | Phase::Cancelling);
        let states = if lives { self.history(flow_run_id).await? } else { Vec::new() };
        Ok(Some(self.watched(RunReading::of(run, &states), &states)))
    }

    /// The run as it is now, by all its states.
    pub(super) fn watched(&self, reading: RunReading, states: &[State]) -> Watched<Detail> {
        let RunReading { run, claim, .. } = reading;
        let phase = Phase::of_prefect_3(run.kind());
        let newest = newest_claim(states);
        let mark = match (phase, self.claimant().by_state(&run)) {
            (Phase::Claimed, ClaimOwner::Ours(mark, _)) => Some(mark),
            (Phase::Claimed, ClaimOwner::Untold) => match self.claimant().by_history(run.id(), states) {
                ClaimOwner::Ours(mark, _) => Some(mark),
                ClaimOwner::Foreign | ClaimOwner::Untold => None,
            },
            _ => None,
        };
        let claimed_by = match &mark {
            Some(_) => ClaimedBy::Us,
            None => self.claimant().claimed_by(run.id(), states),
        };
        let now = Run {
            phase,
            claimed_by,
            claimed_at: newest.and_then(|claim| claim.timestamp),
            infrastructure_pid: run.pid().map(str::to_owned),
            attempt: mark.as_ref().map(|mark| mark.attempt),
            has_run: run.has_started(),
            waits_for_task_runs: false,
        };
        let token = claim.or_else(|| newest.and_then(|claim| claim.made_by().map(str::to_owned))).unwrap_or_default();
        let earlier = mark.as_ref().map_or((0, 0), |mark| (mark.attempt.saturating_sub(1), mark.capacity_refusals));
        let claimed = mark.as_ref().or_else(|| newest.and_then(|claim| claim.mark.as_ref()));
        let claimed_place = claimed.map(|mark| mark.place.clone()).filter(|place| !place.is_empty());
        Watched { run: turn(&run, token, earlier), mark, claimed_place, now }
    }

    /// CRASHED, for good. The server protects runs that ended or are being cancelled.
    pub(super) async fn end_dead(&self, run: &DueRun<Detail>, message: &str) -> Result<(), ApiError> {
        let id = self.names.end_of_claim(&run.flow_run_id, &run.token, "Dead");
        self.propose(run, &states::dead(message, &id)).await
    }

    /// PENDING, named `InfrastructurePending`. Servers older than this state refuse it.
    pub(super) async fn propose_pending(
        &self,
        run: &DueRun<Detail>,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<(), ApiError> {
        let data = mark.map(|mark| self.author().data(mark));
        let request = requests::set_state(&run.flow_run_id, &states::infrastructure_pending(message, data), false);
        self.transport.write(&request).await.map(drop)
    }

    /// Posts one event.
    pub(super) async fn post_event(&self, event: &Value) -> Result<(), ApiError> {
        self.transport.write(&requests::events(vec![event.clone()])).await.map(drop)
    }
}

fn turn(run: &Row, token: String, earlier: (u32, u32)) -> DueRun<Detail> {
    let since = run.state.as_ref().and_then(|state| state.timestamp).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    run.turn(token, since, earlier)
}
