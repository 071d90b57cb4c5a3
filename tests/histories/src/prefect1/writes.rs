//! What the agent writes: claims, runs given back, failed, ended as Cancelled. What may change is read first.

use super::client::{Client, of_flow_run};
use super::rows::Detail;
use super::server::{FlowRun, Kind, SetState, State, Status};
use crate::answers;
use crate::audit::{Write, Wrote};
use crate::call::Call;
use crate::fault::Fault;
use crate::port::Arrival;
use crate::run::{End, Flavour, RunId};
use prefect_serverless_agent::orchestrator::{ApiError, Claim, Claimed, DueRun, Ending, GiveBack, Mark};
use time::OffsetDateTime;

/// What became of one state: the server's word, or nothing where the request did not come so far.
type Written = Option<Result<Status, String>>;

/// A state and what it is for the audit; `owner`: the place of its run in the request.
pub(super) struct Change {
    pub(super) owner: usize,
    pub(super) set: SetState,
    pub(super) write: Write,
}

impl Client {
    /// Sets states by one request, in order. What the server said, and what went wrong with the request.
    async fn set(&self, call: Call, changes: Vec<Change>) -> (Vec<(usize, Written)>, Option<Fault>) {
        let owners: Vec<usize> = changes.iter().map(|change| change.owner).collect();
        let set = |arrival: &mut Arrival<'_>| {
            let reached = arrival.of(changes.len());
            changes.into_iter().take(reached).map(|change| arrival.set(change)).collect::<Vec<_>>()
        };
        let (written, fault) = match self.port.call(call, set).await {
            Ok(written) => (written, None),
            Err((fault, written)) => (written.unwrap_or_default(), Some(fault)),
        };
        let mut written = written.into_iter().map(Some).collect::<Vec<_>>();
        written.resize_with(owners.len(), || None);
        (owners.into_iter().zip(written).collect(), fault)
    }

    pub(super) async fn claim_runs(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        let changes = claims.iter().enumerate().flat_map(|(owner, claim)| claimed_states(owner, claim)).collect();
        let (written, fault) = self.set(Call::Claim, changes).await;
        if let Some(fault) = fault {
            return claims.iter().map(|_| answers::claimed(fault)).collect();
        }
        self.put_back_queued(claims, &written).await;
        let mut best: Vec<Option<Claimed>> = vec![None; claims.len()];
        for (owner, written) in written {
            let claimed = match written {
                Some(Ok(Status::Success)) => Claimed::Ours,
                Some(Ok(Status::Queued)) => Claimed::Refused("queued by a concurrency limit".into()),
                Some(Err(refusal)) => Claimed::Refused(refusal),
                None => Claimed::Unknown("missing".into()),
            };
            // One task run that is ours is enough.
            if best[owner].is_none() || claimed == Claimed::Ours {
                best[owner] = Some(claimed);
            }
        }
        best.into_iter()
            .map(|best| best.unwrap_or_else(|| Claimed::Refused("no task run is due any more".into())))
            .collect()
    }

    async fn put_back_queued(&self, claims: &[Claim<'_, Detail>], written: &[(usize, Written)]) {
        let queued = written.iter().filter(|(_, written)| matches!(written, Some(Ok(Status::Queued))));
        let back: Vec<SetState> = queued
            .filter_map(|(owner, _)| claims.get(*owner))
            .map(|claim| of_flow_run(claim.run.detail.run, None, claim.run.detail.received.clone()))
            .collect();
        if back.is_empty() {
            return;
        }
        let put = |arrival: &mut Arrival<'_>| {
            for set in back {
                let _ = arrival.world.one.set(&set, arrival.now);
            }
        };
        let _ = self.port.call(Call::PutBack, put).await;
    }

    pub(super) async fn give_runs_back(
        &self,
        runs: &[GiveBack<'_, Detail>],
        now: OffsetDateTime,
    ) -> Vec<Result<(), ApiError>> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.run.detail.run).collect();
        let looks = match self.look(Call::LookToGiveBack, &ids, FlowRun::clone).await {
            Ok(looks) => looks,
            Err(error) => return runs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for (owner, (run, look)) in runs.iter().zip(looks).enumerate() {
            results.push(to_give_back(owner, run, look.as_ref(), now).map(|states| changes.extend(states)));
        }
        self.set_all(Call::GiveBack, changes, results).await
    }

    pub(super) async fn fail_runs(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.run.detail.run).collect();
        let looks = match self.look(Call::LookToFail, &ids, FlowRun::clone).await {
            Ok(looks) => looks,
            Err(error) => return runs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for (owner, (run, look)) in runs.iter().zip(looks).enumerate() {
            let flavour = self.port.world().flavour(run.run.detail.run);
            let write = Write::Fail { token: run.run.token.clone(), message: run.message.clone(), flavour };
            let set = of_flow_run(run.run.detail.run, None, State::plain(Kind::Failed));
            results.push(may_fail(run.run, look.as_ref()).map(|()| changes.push(Change { owner, set, write })));
        }
        self.set_all(Call::Fail, changes, results).await
    }

    pub(super) async fn end_cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.run.detail.run).collect();
        let looks = match self.look(Call::LookToCancel, &ids, |row| row.state.kind).await {
            Ok(looks) => looks,
            Err(error) => return runs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for (owner, (run, look)) in runs.iter().zip(looks).enumerate() {
            let set = of_flow_run(run.run.detail.run, None, State::plain(Kind::Cancelled));
            results.push(match look {
                Some(Kind::Cancelling) => {
                    changes.push(Change { owner, set, write: Write::Cancelled(Flavour::Good) });
                    Ok(())
                }
                other => Err(ApiError::NotOurs(format!("the run is {other:?} now"))),
            });
        }
        self.set_all(Call::Cancelled, changes, results).await
    }

    pub(super) async fn set_all(
        &self,
        call: Call,
        changes: Vec<Change>,
        mut results: Vec<Result<(), ApiError>>,
    ) -> Vec<Result<(), ApiError>> {
        if changes.is_empty() {
            return results;
        }
        let (written, fault) = self.set(call, changes).await;
        for (owner, written) in written {
            if results[owner].is_ok() {
                results[owner] = match (fault, written) {
                    (Some(fault), _) => Err(answers::error(fault)),
                    (None, Some(Ok(_))) => Ok(()),
                    (None, Some(Err(refusal))) => Err(answers::refused(&refusal)),
                    (None, None) => Err(ApiError::Malformed("missing".into())),
                };
            }
        }
        results
    }
}

impl Arrival<'_> {
    fn set(&mut self, Change { set, write, .. }: Change) -> Result<Status, String> {
        let run = set.run;
        let before = self.world.phase(run);
        let version = self.world.version(run);
        let status = self.world.one.set(&set, self.now)?;
        if let (Kind::Failed, Some(row)) = (set.state.kind, self.world.one.runs.get_mut(&run)) {
            row.end = Some(End::FailedByUs);
        }
        if let (Status::Success, Some(before)) = (status, before) {
            let (actor, now) = (self.actor, self.now);
            self.world.audit.wrote(Wrote { actor, run, before, version, now, write });
        }
        Ok(status)
    }
}

fn claimed_states(owner: usize, claim: &Claim<'_, Detail>) -> Vec<Change> {
    let detail = &claim.run.detail;
    let mark = || Some(claim.mark.clone());
    // A retry is due when its task runs are; when the claiming process looked, by a clock of its own, tells nothing.
    let starts = detail.task_runs.iter().map(|task_run| task_run.state.start_time);
    let due = starts.max().flatten().unwrap_or(claim.run.start_time);
    let write = || Write::Claim { mark: claim.mark.clone(), due };
    if claim.run.is_task_retry {
        let of_task = |task_run: &super::TaskRun| SetState {
            run: detail.run,
            task_run: Some(task_run.id.clone()),
            version: Some(task_run.version),
            state: State::submitted(&task_run.state, mark()),
        };
        return detail.task_runs.iter().map(|task| Change { owner, set: of_task(task), write: write() }).collect();
    }
    let version = claim.run.epoch.parse().ok();
    let set = of_flow_run(detail.run, version, State::submitted(&detail.received, mark()));
    vec![Change { owner, set, write: write() }]
}

/// The states that give a claim back, or why it is left as it is.
fn to_give_back(
    owner: usize,
    run: &GiveBack<'_, Detail>,
    look: Option<&FlowRun>,
    now: OffsetDateTime,
) -> Result<Vec<Change>, ApiError> {
    let look = look.ok_or_else(|| left("the run cannot be read"))?;
    let refusals = run.mark.capacity_refusals + u32::from(run.for_capacity);
    let mark = Mark { capacity_refusals: refusals, ..run.mark.clone() };
    let later =
        |received: &State| State { start_time: Some(now + run.delay), mark: Some(mark.clone()), ..received.clone() };
    let write = || Write::GiveBack(run.mark.clone());
    let detail = &run.run.detail;
    if run.run.is_task_retry {
        if look.state.kind != Kind::Running {
            return Err(left(&format!("the run is {} now", look.state.kind.text())));
        }
        let is_ours = |id: &str| {
            look.task_runs.iter().any(|task| {
                task.id == id && task.state.kind == Kind::Submitted && run.mark.is_claim_of(task.state.mark.as_ref())
            })
        };
        let ours = detail.task_runs.iter().filter(|task| is_ours(&task.id));
        let set = |task: &super::TaskRun| SetState {
            run: detail.run,
            task_run: Some(task.id.clone()),
            version: None,
            state: later(&task.state),
        };
        let changes: Vec<Change> = ours.map(|task| Change { owner, set: set(task), write: write() }).collect();
        let none = || left("its task runs are no longer claimed by this agent");
        return if changes.is_empty() { Err(none()) } else { Ok(changes) };
    }
    if look.state.kind != Kind::Submitted {
        return Err(left(&format!("the run is {} now", look.state.kind.text())));
    }
    if !run.mark.is_claim_of(look.state.mark.as_ref()) {
        return Err(left("the run is claimed by another agent"));
    }
    let set = of_flow_run(detail.run, None, later(&detail.received));
    Ok(vec![Change { owner, set, write: write() }])
}

/// Whether a run may be failed.
fn may_fail(run: &DueRun<Detail>, look: Option<&FlowRun>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run cannot be read"))?;
    let is_claim = |state: &State| state.mark.as_ref().is_some_and(|mark| mark.token == run.token);
    let claims_task_run = |task: &super::TaskRun| task.state.kind == Kind::Submitted && is_claim(&task.state);
    match look.state.kind {
        Kind::Submitted if is_claim(&look.state) => Ok(()),
        Kind::Running if run.is_task_retry && look.task_runs.iter().any(claims_task_run) => Ok(()),
        kind => Err(left(&format!("the run is {} now", kind.text()))),
    }
}

fn left(why: &str) -> ApiError {
    ApiError::NotOurs(why.to_owned())
}
