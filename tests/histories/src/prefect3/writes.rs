//! What the agent writes: claims, runs given back, crashed, ended as Cancelled. What may change is read first.

use super::claims::{Detail, claim_of};
use super::client::Client;
use super::server::{FlowRun, Kind, Proposal, Verdict};
use crate::answers;
use crate::audit::{Write, Wrote};
use crate::call::Call;
use crate::port::Arrival;
use crate::run::{End, RunId};
use futures_util::future::join_all;
use prefect_serverless_agent::orchestrator::{ApiError, Claim, Claimed, DueRun, Ending, GiveBack, Mark};
use time::OffsetDateTime;

impl Client {
    /// Reads runs as they are.
    pub(super) async fn looks(&self, call: Call, ids: &[RunId]) -> Result<Vec<Option<FlowRun>>, ApiError> {
        let read = |arrival: &mut Arrival<'_>| {
            arrival.looks_at(call, ids);
            ids.iter().map(|id| arrival.world.three.runs.get(id).cloned()).collect()
        };
        self.port.call(call, read).await.map_err(answers::api_error)
    }

    pub(super) async fn claim_run(&self, claim: &Claim<'_, Detail>) -> Claimed {
        let run = claim.run.detail.run;
        let proposal = Proposal {
            transition_id: Some(claim.mark.token.clone()),
            mark: Some(claim.mark.clone()),
            author: Some(self.port.actor),
            ..Proposal::plain(Kind::Pending, "Pending")
        };
        let write = Write::Claim { mark: claim.mark.clone(), due: claim.run.start_time };
        match self.port.call(Call::Claim, |arrival| arrival.propose(run, proposal, write)).await {
            Ok(Some(Verdict::Accept)) => Claimed::Ours,
            Ok(Some(Verdict::Replayed(author))) if author == Some(self.port.actor) => Claimed::Ours,
            Ok(verdict) => Claimed::Refused(format!("Prefect said {verdict:?}")),
            Err((fault, _)) => answers::claimed(fault),
        }
    }

    pub(super) async fn give_runs_back(
        &self,
        runs: &[GiveBack<'_, Detail>],
        now: OffsetDateTime,
    ) -> Vec<Result<(), ApiError>> {
        let given = runs.iter().map(|given| async move {
            let run = given.run.detail.run;
            let look = self.looks(Call::LookToGiveBack, &[run]).await?;
            let look = look.first().and_then(Option::as_ref);
            may_end_claim(given.run, look)?;
            if look.is_some_and(|look| look.pid.is_some()) {
                self.record(run, None).await;
            }
            let refusals = given.mark.capacity_refusals + u32::from(given.for_capacity);
            let proposal = Proposal {
                scheduled: Some(now + given.delay),
                transition_id: Some(format!("back-{}", given.run.token)),
                mark: Some(Mark { capacity_refusals: refusals, ..given.mark.clone() }),
                ..Proposal::plain(Kind::Scheduled, "AwaitingRetry")
            };
            self.write(Call::GiveBack, run, proposal, Write::GiveBack(given.mark.clone())).await
        });
        join_all(given).await
    }

    pub(super) async fn crash_runs(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let crashed = runs.iter().map(|ending| async move {
            let run = ending.run.detail.run;
            let look = self.looks(Call::LookToFail, &[run]).await?;
            may_end_claim(ending.run, look.first().and_then(Option::as_ref))?;
            let flavour = self.port.world().flavour(run);
            let write = Write::Fail { token: ending.run.token.clone(), message: ending.message.clone(), flavour };
            self.write(Call::Fail, run, Proposal::plain(Kind::Crashed, "Crashed"), write).await
        });
        join_all(crashed).await
    }

    pub(super) async fn end_cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let ended = runs.iter().map(|ending| async move {
            let run = ending.run.detail.run;
            let look = self.looks(Call::LookToCancel, &[run]).await?;
            let look = look.into_iter().next().flatten().ok_or_else(|| left("the run no longer exists"))?;
            match look.kind() {
                Kind::Cancelling => {}
                Kind::Scheduled if ending.run.detail.seen.is_same_turn(&look) => {}
                kind => return Err(left(&format!("the run is {kind:?} now"))),
            }
            let write = Write::Cancelled(self.port.world().flavour(run));
            self.write(Call::Cancelled, run, Proposal::plain(Kind::Cancelled, "Cancelled"), write).await
        });
        join_all(ended).await
    }

    pub(super) async fn write(&self, call: Call, run: RunId, proposal: Proposal, write: Write) -> Result<(), ApiError> {
        match self.port.call(call, |arrival| arrival.propose(run, proposal, write)).await {
            Ok(Some(Verdict::Accept | Verdict::Replayed(_))) => Ok(()),
            Ok(verdict) => Err(left(&format!("Prefect said {verdict:?}"))),
            Err((fault, _)) => Err(answers::error(fault)),
        }
    }
}

impl Arrival<'_> {
    fn propose(&mut self, run: RunId, proposal: Proposal, write: Write) -> Option<Verdict> {
        let (before, version) = (self.world.phase(run)?, self.world.version(run));
        let kind = proposal.kind;
        let verdict = self.world.three.propose(run, proposal, self.now)?;
        if verdict == Verdict::Accept {
            if kind == Kind::Crashed {
                self.world.three.ended(run, End::FailedByUs);
            }
            let (actor, now) = (self.actor, self.now);
            self.world.audit.wrote(Wrote { actor, run, before, version, now, write });
        }
        Some(verdict)
    }
}

fn may_end_claim(run: &DueRun<Detail>, look: Option<&FlowRun>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run no longer exists"))?;
    match (look.kind(), claim_of(look)) {
        (Kind::Pending, Some(claim)) if claim == run.token => Ok(()),
        (Kind::Pending, _) => Err(left("the run is claimed by another worker")),
        (kind, _) => Err(left(&format!("the run is {kind:?} now"))),
    }
}

pub(super) fn left(why: &str) -> ApiError {
    ApiError::NotOurs(why.to_owned())
}
