//! Runs that start together: prepare, claim, launch, settle.

use super::ledger::Fate;
use super::turn::Turn;
use crate::clock::Clock;
use crate::launch::RunOutcome;
use crate::launch::{
    LaunchIdentity, LaunchOutcome, LaunchSpec, Launcher, Place, PreparedLaunch, TransientCause, token,
};
use crate::model::ErrorKind;
use crate::orchestrator::{DueRun, Mark, Orchestrator, RunLog};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A launch says by itself that its time is over; this much later it is given up.
const GRACE: Duration = Duration::from_millis(500);

/// The work on one batch.
pub(super) struct Job<'t, 'a, O: Orchestrator, L, C> {
    pub(super) turn: &'t Turn<'a, O, L, C>,
}

/// A run on its way to a task.
pub(super) struct Candidate<'r, D> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) place: Place,
    pub(super) intent: Intent,
}

/// A claimed run and what became of its launch.
pub(super) struct Launched<'r, D> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) place: Place,
    pub(super) settlement: RunOutcome,
    /// Its claim is an earlier poll's.
    pub(super) is_orphan: bool,
}

impl<D> Candidate<'_, D> {
    /// Whether it takes room of the launch rate.
    pub(super) fn is_launch(&self) -> bool {
        matches!(self.intent, Intent::Launch(_))
    }
}

/// What is to be done with a run once it is claimed.
pub(super) enum Intent {
    /// Start a task.
    Launch(Box<(LaunchSpec, PreparedLaunch)>),
    /// An earlier turn's task has not begun yet: it will run the flow.
    Adopt { task_arn: String },
    /// It can never be launched as it stands.
    Fail { message: String },
}

impl<O: Orchestrator, L: Launcher, C: Clock> Job<'_, '_, O, L, C> {
    /// Brings every run to a fate. `look_again`: so much time has passed that they may have changed.
    pub(super) async fn perform(&self, runs: Vec<&DueRun<O::Detail>>, look_again: bool) {
        if let Some(reason) = self.turn.why_not_claim() {
            for run in runs {
                self.fate(run, Fate::Deferred(reason.to_owned()));
            }
            return;
        }
        let runs = if look_again { self.still_due(runs).await } else { runs };
        let candidates = self.candidates(runs).await;
        let candidates = self.within_room(candidates);
        let batching = self.turn.orchestrator.batching();
        let lines = Mutex::new(Vec::new());
        stream::iter(in_chunks(candidates, batching.claims))
            .for_each_concurrent(batching.at_once.max(1), |chunk| self.claim_and_launch(chunk, &lines))
            .await;
        self.write_log(lines.into_inner().unwrap_or_else(PoisonError::into_inner)).await;
    }

    /// Runs that are claimed by one request. Their log lines go to `lines`.
    async fn claim_and_launch(&self, chunk: Vec<Candidate<'_, O::Detail>>, lines: &Mutex<Vec<RunLog>>) {
        let promised = chunk.iter().filter(|candidate| candidate.is_launch()).count();
        let ours = self.claim(chunk).await;
        // From here on the launcher itself knows of them: each takes its slot first of all.
        self.turn.promised.fetch_sub(promised, Ordering::Relaxed);
        let said = self.launch_all(ours).await;
        lines.lock().unwrap_or_else(PoisonError::into_inner).extend(said);
    }

    /// Launches claimed runs and tells Prefect what became of them; the lines for their logs come back.
    pub(super) async fn launch_all(&self, ours: Vec<Candidate<'_, O::Detail>>) -> Vec<RunLog> {
        let launched = join_all(ours.into_iter().map(|candidate| self.launch(candidate))).await;
        self.settle(launched).await
    }

    /// Those of the runs that the launch rate still has room for: what is claimed must also be launched. Batches that
    /// start side by side share the room; each launch gives its promise back once the launcher itself knows of it.
    pub(super) fn within_room<'r>(
        &self,
        mut candidates: Vec<Candidate<'r, O::Detail>>,
    ) -> Vec<Candidate<'r, O::Detail>> {
        let room = self.turn.launcher.room(self.turn.rules.limits.deadline);
        let mut left = room.map_or(usize::MAX, |room| room.saturating_sub(self.turn.promised.load(Ordering::Relaxed)));
        candidates.retain(|candidate| {
            if !candidate.is_launch() {
                return true;
            }
            let has_room = left > 0;
            if has_room {
                left -= 1;
            } else {
                let reason = "no room is left in this invocation at the launch rate".to_owned();
                self.fate(candidate.run, Fate::Deferred(reason));
            }
            has_room
        });
        let promised = candidates.iter().filter(|candidate| candidate.is_launch()).count();
        // One future polls all batches, so nothing comes between reading the counter and writing it.
        self.turn.promised.fetch_add(promised, Ordering::Relaxed);
        candidates
    }

    pub(super) fn fate(&self, run: &DueRun<O::Detail>, fate: Fate) {
        self.turn.ledger.settle(&run.flow_run_id, fate);
    }

    /// Those of the runs that are in the turn still in which they were seen.
    async fn still_due<'r>(&self, runs: Vec<&'r DueRun<O::Detail>>) -> Vec<&'r DueRun<O::Detail>> {
        let now = match self.turn.orchestrator.reread(&runs).await {
            Ok(now) => now,
            Err(error) => {
                self.turn.ledger.api_trouble(&error, self.turn.clock.now());
                for run in runs {
                    self.fate(run, Fate::Deferred(format!("could not be read again before its claim: {error}")));
                }
                return Vec::new();
            }
        };
        let mut still_due = Vec::new();
        for (run, now) in runs.into_iter().zip(now) {
            match now {
                Some(now) if now.epoch == run.epoch => still_due.push(run),
                Some(now) => self.fate(run, Fate::Skipped(format!("changed before its launch: it is {}", now.state))),
                None => self.fate(run, Fate::Skipped("was deleted before its launch".to_owned())),
            }
        }
        still_due
    }

    pub(super) async fn launch<'r>(&self, candidate: Candidate<'r, O::Detail>) -> Launched<'r, O::Detail> {
        let Candidate { run, mark, place, intent } = candidate;
        let outcome = match intent {
            Intent::Adopt { task_arn } => LaunchOutcome::Adopted { task_arn },
            Intent::Fail { message } => LaunchOutcome::Permanent(message),
            Intent::Launch(launch) => {
                let launched = self.in_time(GRACE, self.launch_prepared(run, &launch.0, &launch.1)).await;
                launched.unwrap_or_else(|| LaunchOutcome::Unknown("the launch did not end in time".to_owned()))
            }
        };
        match &outcome {
            LaunchOutcome::AgentTrouble(reason) => self.agent_trouble(reason),
            LaunchOutcome::Transient { cause, .. } => self.count_throttle(*cause),
            _ => {}
        }
        let settlement = RunOutcome::of(outcome, mark.attempt, self.turn.rules.max_launch_attempts);
        Launched { run, mark, place, settlement, is_orphan: false }
    }

    async fn launch_prepared(
        &self,
        run: &DueRun<O::Detail>,
        spec: &LaunchSpec,
        prepared: &PreparedLaunch,
    ) -> LaunchOutcome {
        let deadline = self.turn.rules.limits.deadline;
        let outcome = self.turn.launcher.launch(prepared, deadline).await;
        if outcome != LaunchOutcome::InactiveDefinition {
            return outcome;
        }
        // Somebody deregistered it since it was remembered: found or registered again, once.
        let identity = self.identity(run);
        let prepare = self.turn.launcher.prepare(&run.flow_run_id, spec, &identity);
        match self.in_time(Duration::ZERO, prepare).await {
            Some(Ok(prepared)) => self.turn.launcher.launch(&prepared, deadline).await,
            Some(Err(outcome)) => outcome,
            None => LaunchOutcome::Transient {
                reason: "No time was left to find or register an active task definition".to_owned(),
                cause: TransientCause::NoTime,
            },
        }
    }

    /// What ends before the launches' deadline, or so much later: a claim must still be settled after it.
    async fn in_time<T>(&self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let left = Duration::try_from(self.turn.rules.limits.deadline - self.turn.clock.now()).unwrap_or_default();
        tokio::time::timeout(left + grace, work).await.ok()
    }

    /// The launcher itself knows of a launch that room was promised to.
    pub(super) fn promise_kept(&self) {
        self.turn.promised.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn mark(&self, run: &DueRun<O::Detail>, place: &Place) -> Mark {
        Mark {
            agent: self.turn.rules.marked_as.clone(),
            epoch: run.epoch.clone(),
            attempt: run.attempts + 1,
            capacity_refusals: run.capacity_refusals,
            token: run.token.clone(),
            cluster: named(&place.cluster),
        }
    }

    pub(super) fn identity(&self, run: &DueRun<O::Detail>) -> LaunchIdentity {
        let started_by = token::started_by(&self.turn.rules.agent, &run.flow_run_id);
        LaunchIdentity { token: run.token.clone(), started_by }
    }

    fn agent_trouble(&self, reason: &str) {
        self.turn.halt();
        self.turn.ledger.trouble(ErrorKind::Aws, reason);
    }

    pub(super) fn count_throttle(&self, cause: TransientCause) {
        if cause == TransientCause::Throttled {
            self.turn.ledger.throttled();
        }
    }
}

/// A cluster by its name, also when a request would leave it out.
pub(super) fn named(cluster: &str) -> String {
    if cluster.is_empty() { Mark::DEFAULT_CLUSTER.to_owned() } else { cluster.to_owned() }
}

/// The candidates in chunks of at most `size`, in order.
fn in_chunks<T>(candidates: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    let mut rest = candidates.into_iter().peekable();
    while rest.peek().is_some() {
        chunks.push(rest.by_ref().take(size.max(1)).collect());
    }
    chunks
}
