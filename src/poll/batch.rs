//! Runs that start together: render, look for earlier tasks, prepare, claim, launch, settle.

use super::history::{Earlier, decide};
use super::ledger::Fate;
use super::settle::Settlement;
use super::turn::Turn;
use crate::clock::Clock;
use crate::launch::{LaunchIdentity, LaunchOutcome, LaunchSpec, Launcher, PreparedLaunch, spot, token};
use crate::orchestrator::{DueRun, Mark, Orchestrator, RenderError};
use futures_util::future::join_all;
use serde_json::Value;

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
    /// Brings every run to a fate.
    pub(super) async fn perform(&self, runs: Vec<&DueRun<O::Detail>>, held: bool) {
        let runs = if held { self.still_due(runs).await } else { runs };
        let candidates = self.candidates(runs).await;
        let ours = self.claim(candidates).await;
        let settlements = join_all(ours.into_iter().map(|candidate| self.launch(candidate))).await;
        self.settle(settlements).await;
    }

    pub(super) fn fate(&self, run: &DueRun<O::Detail>, fate: Fate) {
        self.turn.ledger.settle(&run.flow_run_id, fate);
    }

    /// Those of the held runs that nothing happened to.
    async fn still_due<'r>(&self, runs: Vec<&'r DueRun<O::Detail>>) -> Vec<&'r DueRun<O::Detail>> {
        let ids: Vec<_> = runs.iter().map(|run| run.flow_run_id.clone()).collect();
        let now = match self.turn.orchestrator.reread(&ids).await {
            Ok(now) => now,
            Err(error) => {
                self.turn.ledger.trouble(error.kind(), &error.to_string());
                for run in runs {
                    self.fate(run, Fate::Deferred(format!("could not be read again after the hold: {error}")));
                }
                return Vec::new();
            }
        };
        let mut still_due = Vec::new();
        for (run, now) in runs.into_iter().zip(now) {
            match now {
                Some(now) if now.epoch == run.epoch => still_due.push(run),
                Some(now) => self.fate(run, Fate::Skipped(format!("changed while it was held: it is {}", now.state))),
                None => self.fate(run, Fate::Skipped("was deleted while it was held".to_owned())),
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
            self.prepare(run, spec).await
        });
        join_all(ways).await.into_iter().flatten().collect()
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
                self.agent_trouble(&reason);
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
        for task_arn in &decision.stop {
            let reason = "Flow run was started again";
            if let Err(outcome) = self.turn.launcher.stop(cluster, task_arn, reason).await {
                let reason = self.why_not_prepared(outcome);
                return Earlier::Wait(format!("earlier task {task_arn} cannot be stopped: {reason}"));
            }
        }
        decision.earlier
    }

    async fn launch<'r>(&self, candidate: Candidate<'r, O::Detail>) -> (&'r DueRun<O::Detail>, Mark, Settlement) {
        let Candidate { run, mark, intent } = candidate;
        let outcome = match intent {
            Intent::Adopt { task_arn } => LaunchOutcome::Adopted { task_arn },
            Intent::Fail { message } => LaunchOutcome::Permanent(message),
            Intent::Launch(launch) => self.launch_prepared(run, &launch.0, &launch.1).await,
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
        match self.turn.launcher.prepare(&run.flow_run_id, spec, &self.identity(run)).await {
            Ok(prepared) => self.turn.launcher.launch(&prepared, deadline).await,
            Err(outcome) => outcome,
        }
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
        self.turn.ledger.trouble(crate::state::ErrorKind::Aws, reason);
    }

    fn count_throttle(&self, cause: crate::launch::TransientCause) {
        if cause == crate::launch::TransientCause::Throttled {
            self.turn.ledger.throttled();
        }
    }
}
