//! Runs that start together: render, look for earlier tasks, prepare, claim, launch, settle.

use super::history::{Earlier, decide};
use super::ledger::Fate;
use super::settle::Settlement;
use super::turn::Turn;
use crate::clock::Clock;
use crate::launch::{LaunchIdentity, LaunchOutcome, LaunchSpec, Launcher, PreparedLaunch, TransientCause, spot, token};
use crate::orchestrator::{DueRun, Mark, Orchestrator, RenderError};
use crate::state::ErrorKind;
use futures_util::future::join_all;
use serde_json::Value;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Preparing one run takes at most this long: the other runs of its batch wait for it.
const PREPARING: Duration = Duration::from_secs(15);

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
            runs.iter().for_each(|run| self.fate(run, Fate::Deferred(reason.to_owned())));
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

    /// Whatever can be checked before claiming is checked here.
    async fn candidates<'r>(&self, runs: Vec<&'r DueRun<O::Detail>>) -> Vec<Candidate<'r, O::Detail>> {
        if runs.is_empty() {
            return Vec::new();
        }
        let rendered = self.turn.orchestrator.render(&runs).await;
        let ways = runs.into_iter().zip(rendered).map(|(run, rendered)| async move {
            let mut spec = match rendered {
                Ok(rendered) => {
                    rendered.warning.iter().for_each(|warning| self.turn.ledger.warn(warning));
                    rendered.spec
                }
                Err(RenderError::Refused(refusal)) => return Some(self.failing(run, refusal.0)),
                Err(RenderError::NotNow(reason)) => {
                    self.fate(run, Fate::Deferred(reason));
                    return None;
                }
            };
            let fallback_after = self.turn.rules.spot_fallback_after;
            if let Some((run_task, reason)) = spot::on_demand(&spec.run_task, run.capacity_refusals, fallback_after) {
                tracing::info!(agent = self.turn.rules.agent, flow_run_id = run.flow_run_id, reason, "spot fallback");
                spec.run_task = run_task;
            }
            self.prepare_in_time(run, spec).await
        });
        join_all(ways).await.into_iter().flatten().collect()
    }

    async fn prepare_in_time<'r>(
        &self,
        run: &'r DueRun<O::Detail>,
        spec: LaunchSpec,
    ) -> Option<Candidate<'r, O::Detail>> {
        let prepared = tokio::time::timeout(PREPARING, self.prepare(run, spec)).await;
        prepared.unwrap_or_else(|_| {
            let reason = format!("its launch could not be prepared within {} seconds", PREPARING.as_secs());
            self.fate(run, Fate::Deferred(reason));
            None
        })
    }

    async fn prepare<'r>(&self, run: &'r DueRun<O::Detail>, spec: LaunchSpec) -> Option<Candidate<'r, O::Detail>> {
        let mark = self.mark(run, &spec);
        if run.has_history {
            match self.earlier_task(run, &mark.cluster).await {
                Earlier::None => {}
                Earlier::Adopt(task_arn) => return Some(Candidate { run, mark, intent: Intent::Adopt { task_arn } }),
                Earlier::Wait(reason) => {
                    self.fate(run, Fate::Deferred(reason));
                    return None;
                }
            }
        }
        match self.turn.launcher.prepare(&run.flow_run_id, &spec, &self.identity(run)).await {
            Ok(prepared) => Some(Candidate { run, mark, intent: Intent::Launch(Box::new((spec, prepared))) }),
            Err(LaunchOutcome::Permanent(message)) => Some(Candidate { run, mark, intent: Intent::Fail { message } }),
            // Nothing is claimed yet, so there is nothing to give back: the run simply stays due.
            Err(outcome) => {
                self.fate(run, Fate::Deferred(self.why_not_prepared(outcome)));
                None
            }
        }
    }

    fn why_not_prepared(&self, outcome: LaunchOutcome) -> String {
        match outcome {
            LaunchOutcome::AgentTrouble(reason) => {
                // Whether it hits the others too shows when they are prepared: it costs them no claim.
                self.turn.ledger.trouble(ErrorKind::Aws, &reason);
                reason
            }
            LaunchOutcome::Transient { reason, cause } => {
                self.count_throttle(cause);
                reason
            }
            LaunchOutcome::Unknown(reason) | LaunchOutcome::Permanent(reason) => reason,
            LaunchOutcome::InactiveDefinition => "the task definition is inactive".to_owned(),
            LaunchOutcome::Started { task_arn }
            | LaunchOutcome::Adopted { task_arn }
            | LaunchOutcome::Dead { task_arn, .. } => format!("there is a task already: {task_arn}"),
        }
    }

    async fn earlier_task(&self, run: &DueRun<O::Detail>, cluster: &str) -> Earlier {
        let started_by = self.identity(run).started_by;
        let tasks = match self.turn.launcher.live_tasks(cluster, &started_by).await {
            Ok(tasks) => tasks,
            Err(outcome) => {
                let reason = self.why_not_prepared(outcome);
                return Earlier::Wait(format!("cannot tell whether an earlier task lives: {reason}"));
            }
        };
        let decision = decide(&tasks, run.is_task_retry);
        if !decision.stop.is_empty()
            && let Err(reason) = self.check_unchanged(run).await
        {
            return Earlier::Wait(reason);
        }
        for task_arn in &decision.stop {
            let reason = "Flow run was started again";
            if let Err(outcome) = self.turn.launcher.stop(cluster, task_arn, reason).await {
                let reason = self.why_not_prepared(outcome);
                return Earlier::Wait(format!("earlier task {task_arn} cannot be stopped: {reason}"));
            }
        }
        decision.earlier
    }

    /// A run that was claimed meanwhile has a new task, which must not be taken for an earlier one.
    async fn check_unchanged(&self, run: &DueRun<O::Detail>) -> Result<(), String> {
        let now = self.turn.orchestrator.reread(std::slice::from_ref(&run.flow_run_id)).await;
        match now.map(|mut runs| runs.pop().flatten()) {
            Ok(Some(now)) if now.epoch == run.epoch => Ok(()),
            Ok(Some(now)) => Err(format!("changed before its launch: it is {}", now.state)),
            Ok(None) => Err("was deleted before its launch".to_owned()),
            Err(error) => Err(format!("could not be read again before an earlier task is stopped: {error}")),
        }
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

    fn failing<'r>(&self, run: &'r DueRun<O::Detail>, message: String) -> Candidate<'r, O::Detail> {
        Candidate { run, mark: self.mark_for(run, String::new()), intent: Intent::Fail { message } }
    }

    fn mark(&self, run: &DueRun<O::Detail>, spec: &LaunchSpec) -> Mark {
        let cluster = spec.run_task.get("cluster").and_then(Value::as_str).unwrap_or_default();
        self.mark_for(run, cluster.to_owned())
    }

    fn mark_for(&self, run: &DueRun<O::Detail>, cluster: String) -> Mark {
        Mark {
            agent: self.turn.rules.marked_as.clone(),
            epoch: run.epoch.clone(),
            attempt: run.attempts + 1,
            capacity_refusals: run.capacity_refusals,
            token: token::client_token(&run.flow_run_id, &run.epoch),
            cluster,
        }
    }

    fn identity(&self, run: &DueRun<O::Detail>) -> LaunchIdentity {
        LaunchIdentity {
            token: token::client_token(&run.flow_run_id, &run.epoch),
            started_by: token::started_by(&self.turn.rules.agent, &run.flow_run_id),
        }
    }

    fn agent_trouble(&self, reason: &str) {
        self.turn.halt();
        self.turn.ledger.trouble(ErrorKind::Aws, reason);
    }

    fn count_throttle(&self, cause: TransientCause) {
        if cause == TransientCause::Throttled {
            self.turn.ledger.throttled();
        }
    }
}
