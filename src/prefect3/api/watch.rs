//! A run whose task has changed: as it is now, its end, and what others are told of its task.

use super::claims::{ClaimOwner, newest_claim};
use super::guard::RunReading;
use super::runs::Row;
use super::{Detail, Prefect3, requests, states};
use crate::model::ApiError;
use crate::model::run::{ClaimedBy, Phase, Run};
use crate::orchestrator::{DueRun, Mark, Watched};
use serde_json::Value;
use time::OffsetDateTime;

impl Prefect3 {
    /// The run as it is now.
    pub(super) async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        let Some(RunReading { run, claim, .. }) = self.look_at_one(flow_run_id).await? else { return Ok(None) };
        let phase = Phase::of_prefect_3(run.kind());
        let lives = matches!(phase, Phase::Claimed | Phase::Running | Phase::Cancelling);
        let states = if lives { self.history(flow_run_id).await? } else { Vec::new() };
        let newest = newest_claim(&states);
        let mark = match (phase, self.claimant().by_state(&run)) {
            (Phase::Claimed, ClaimOwner::Ours(mark, _)) => Some(mark),
            (Phase::Claimed, ClaimOwner::Untold) => match self.claimant().by_history(flow_run_id, &states) {
                ClaimOwner::Ours(mark, _) => Some(mark),
                ClaimOwner::Foreign | ClaimOwner::Untold => None,
            },
            _ => None,
        };
        let claimed_by = match (&mark, newest.and_then(|claim| claim.mark.as_ref())) {
            (Some(_), _) => ClaimedBy::Us,
            (None, marked) => ClaimedBy::of_mark(marked.map(|mark| mark.agent == self.names.identity())),
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
        Ok(Some(Watched { run: turn(&run, token, earlier), mark, claimed_place, now }))
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
