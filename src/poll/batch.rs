//! Runs that start together: prepare, claim, launch, settle.

use super::ledger::Fate;
use super::settle::Settlement;
use super::turn::Turn;
use crate::clock::Clock;
use crate::launch::{LaunchIdentity, LaunchOutcome, LaunchSpec, Launcher, PreparedLaunch, TransientCause, token};
use crate::orchestrator::{DueRun, Mark, Orchestrator};
use crate::state::ErrorKind;
use futures_util::future::join_all;
use serde_json::Value;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A launch says by itself that its time is over; this much later it is given up.
const GRACE: Duration = Duration::from_millis(500);

/// The work on one batch.
pub(super) struct Job<'t, 'a, O, L, C> {
    pub(super) turn: &'t Turn<'a, O, L, C>,
}

/// A run on its way to a task.
pub(super) struct Candidate<'r, D> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) intent: Intent,
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
        let (candidates, promised) = self.within_room(candidates);
        let ours = self.claim(candidates).await;
        // From here on the launcher itself knows of them: each takes its slot first of all.
        self.turn.promised.fetch_sub(promised, Ordering::Relaxed);
        let settlements = join_all(ours.into_iter().map(|candidate| self.launch(candidate))).await;
        self.settle(settlements).await;
    }

    /// Those of the runs that the launch rate still has room for, and how many launches that are: what is claimed must
    /// also be launched. Batches that start side by side share the room.
    fn within_room<'r>(&self, mut candidates: Vec<Candidate<'r, O::Detail>>) -> (Vec<Candidate<'r, O::Detail>>, usize) {
        let Some(room) = self.turn.launcher.room(self.turn.rules.limits.deadline) else { return (candidates, 0) };
        let mut left = room.saturating_sub(self.turn.promised.load(Ordering::Relaxed));
        let before = left;
        candidates.retain(|candidate| {
            if !matches!(candidate.intent, Intent::Launch(_)) {
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
        // One future polls all batches, so nothing comes between reading the counter and writing it.
        self.turn.promised.fetch_add(before - left, Ordering::Relaxed);
        (candidates, before - left)
    }

    pub(super) fn fate(&self, run: &DueRun<O::Detail>, fate: Fate) {
        self.turn.ledger.settle(&run.flow_run_id, fate);
    }

    /// Those of the runs that nothing happened to since they were seen.
    async fn still_due<'r>(&self, runs: Vec<&'r DueRun<O::Detail>>) -> Vec<&'r DueRun<O::Detail>> {
        let ids: Vec<_> = runs.iter().map(|run| run.flow_run_id.clone()).collect();
        let now = match self.turn.orchestrator.reread(&ids).await {
            Ok(now) => now,
            Err(error) => {
                self.turn.ledger.trouble(error.kind(), &error.to_string());
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

    async fn launch<'r>(&self, candidate: Candidate<'r, O::Detail>) -> (&'r DueRun<O::Detail>, Mark, Settlement) {
        let Candidate { run, mark, intent } = candidate;
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
        let settlement = Settlement::of(outcome, mark.attempt, self.turn.rules.max_launch_attempts);
        (run, mark, settlement)
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

    pub(super) fn mark(&self, run: &DueRun<O::Detail>, spec: &LaunchSpec) -> Mark {
        let cluster = spec.run_task.get("cluster").and_then(Value::as_str).unwrap_or_default();
        self.mark_for(run, cluster.to_owned())
    }

    pub(super) fn mark_for(&self, run: &DueRun<O::Detail>, cluster: String) -> Mark {
        Mark {
            agent: self.turn.rules.marked_as.clone(),
            epoch: run.epoch.clone(),
            attempt: run.attempts + 1,
            capacity_refusals: run.capacity_refusals,
            token: token::client_token(&run.flow_run_id, &run.epoch),
            cluster,
        }
    }

    pub(super) fn identity(&self, run: &DueRun<O::Detail>) -> LaunchIdentity {
        LaunchIdentity {
            token: token::client_token(&run.flow_run_id, &run.epoch),
            started_by: token::started_by(&self.turn.rules.agent, &run.flow_run_id),
        }
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
