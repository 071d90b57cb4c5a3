//! Before the claim: render, look for earlier tasks, prepare. Whatever can go wrong here costs no claim.

use super::batch::{Candidate, Intent, Job};
use super::history::{Earlier, decide};
use super::ledger::Fate;
use crate::clock::Clock;
use crate::launch::{LaunchOutcome, LaunchSpec, Launcher, LiveTask, Place, PreparedLaunch, spot};
use crate::model::ApiError;
use crate::model::ErrorKind;
use crate::orchestrator::{DueRun, Ending, Orchestrator, RenderError, Rendered};
use futures_util::future::join_all;
use std::future::Future;
use std::time::Duration;

/// Preparing one run takes at most this long: the other runs of its batch wait for it.
const PREPARING: Duration = Duration::from_secs(15);

impl<O: Orchestrator, L: Launcher, C: Clock> Job<'_, '_, O, L, C> {
    /// Whatever can be checked before claiming is checked here.
    pub(super) async fn candidates<'r>(&self, runs: Vec<&'r DueRun<O::Detail>>) -> Vec<Candidate<'r, O::Detail>> {
        if runs.is_empty() {
            return Vec::new();
        }
        let rendered = self.turn.orchestrator.render(&runs).await;
        let ways = runs.into_iter().zip(rendered).map(|(run, rendered)| async move {
            match rendered {
                Ok(rendered) => self.in_preparing_time(run, self.prepare(run, self.spec(run, rendered))).await,
                Err(RenderError::Refused(refusal)) => Some(self.failing(run, refusal.0)),
                Err(RenderError::Gone(message)) => {
                    self.end_gone(run, message).await;
                    None
                }
                Err(RenderError::NotNow(reason)) => {
                    self.fate(run, Fate::Deferred(reason));
                    None
                }
                Err(RenderError::NotUnderstood(reason)) => {
                    self.turn.ledger.trouble(ErrorKind::ApiError, &reason);
                    self.fate(run, Fate::Deferred(reason));
                    None
                }
            }
        });
        join_all(ways).await.into_iter().flatten().collect()
    }

    /// The launch as it is sent: on-demand where Spot was refused too often.
    pub(super) fn spec(&self, run: &DueRun<O::Detail>, rendered: Rendered) -> LaunchSpec {
        let Rendered { mut spec, warning } = rendered;
        if let Some(warning) = warning {
            self.turn.ledger.warn(&warning);
        }
        let fallback_after = self.turn.rules.spot_fallback_after;
        if let Some((run_task, reason)) = spot::on_demand(&spec.run_task, run.capacity_refusals, fallback_after) {
            tracing::info!(agent = self.turn.rules.agent, flow_run_id = run.flow_run_id, reason, "spot fallback");
            spec.run_task = run_task;
        }
        spec
    }

    /// What the run belonged to is gone: nobody can launch it any more.
    async fn end_gone(&self, run: &DueRun<O::Detail>, message: String) {
        let ending = Ending { run, message: message.clone() };
        let answer = self.turn.orchestrator.cancelled(std::slice::from_ref(&ending)).await.pop();
        let fate = match answer {
            Some(Ok(())) => Fate::Cancelled(message),
            Some(Err(ApiError::NotOurs(now))) => Fate::Skipped(now),
            Some(Err(error)) => {
                self.turn.ledger.api_trouble(&error, self.turn.clock.now());
                Fate::Deferred(format!("{message} (that could not be written: {error})"))
            }
            None => Fate::Deferred(message),
        };
        self.fate(run, fate);
    }

    /// What takes too long leaves the run for a later poll.
    pub(super) async fn in_preparing_time<T>(
        &self,
        run: &DueRun<O::Detail>,
        work: impl Future<Output = Option<T>>,
    ) -> Option<T> {
        tokio::time::timeout(PREPARING, work).await.unwrap_or_else(|_| {
            let reason = format!("its launch could not be prepared within {} seconds", PREPARING.as_secs());
            self.fate(run, Fate::Deferred(reason));
            None
        })
    }

    async fn prepare<'r>(&self, run: &'r DueRun<O::Detail>, spec: LaunchSpec) -> Option<Candidate<'r, O::Detail>> {
        let place = spec.place();
        let mark = self.mark(run, &place);
        if run.has_history {
            match self.earlier_task(run, &place).await {
                Ok(Earlier::None) => {}
                Ok(Earlier::Adopt(task_arn)) => {
                    return Some(Candidate { run, mark, place, intent: Intent::Adopt { task_arn } });
                }
                Ok(Earlier::Wait(reason)) => {
                    self.fate(run, Fate::Deferred(reason));
                    return None;
                }
                Err(message) => return Some(Candidate { run, mark, place, intent: Intent::Fail { message } }),
            }
        }
        match self.turn.launcher.prepare(&run.flow_run_id, &spec, &self.identity(run)).await {
            Ok(prepared) => {
                self.warn_of(&prepared);
                Some(Candidate { run, mark, place, intent: Intent::Launch(Box::new((spec, prepared))) })
            }
            Err(LaunchOutcome::Permanent(message)) => {
                Some(Candidate { run, mark, place, intent: Intent::Fail { message } })
            }
            // Nothing is claimed yet, so there is nothing to give back: the run simply stays due.
            Err(outcome) => {
                self.fate(run, Fate::Deferred(self.why_not_prepared(outcome)));
                None
            }
        }
    }

    pub(super) fn warn_of(&self, prepared: &PreparedLaunch) {
        prepared.warning.iter().for_each(|warning| self.turn.ledger.warn(warning));
    }

    pub(super) fn why_not_prepared(&self, outcome: LaunchOutcome) -> String {
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

    /// The tasks of a run that have not stopped, as far as the platform tells.
    pub(super) async fn live_tasks(&self, place: &Place, started_by: &str) -> Result<Vec<LiveTask>, LaunchOutcome> {
        let found = self.turn.launcher.live_tasks(place, started_by).await?;
        if let Some(warning) = found.warning {
            self.turn.ledger.warn(&warning);
        }
        Ok(found.tasks)
    }

    /// What an earlier task means; an error = the run can never be launched as it stands.
    async fn earlier_task(&self, run: &DueRun<O::Detail>, place: &Place) -> Result<Earlier, String> {
        let started_by = self.identity(run).started_by;
        let tasks = match self.live_tasks(place, &started_by).await {
            Ok(tasks) => tasks,
            Err(outcome) => {
                let outcome = lasting(outcome, place)?;
                let reason = self.why_not_prepared(outcome);
                return Ok(Earlier::Wait(format!("cannot tell whether an earlier task lives: {reason}")));
            }
        };
        let decision = decide(&tasks, run.is_task_retry);
        if !decision.stop.is_empty()
            && let Err(reason) = self.check_unchanged(run).await
        {
            return Ok(Earlier::Wait(reason));
        }
        for task_arn in &decision.stop {
            let reason = "Flow run was started again";
            if let Err(outcome) = self.turn.launcher.stop(place, task_arn, reason).await {
                let reason = self.why_not_prepared(outcome);
                return Ok(Earlier::Wait(format!("earlier task {task_arn} cannot be stopped: {reason}")));
            }
        }
        Ok(decision.earlier)
    }

    /// A run that was claimed meanwhile has a new task, which must not be taken for an earlier one.
    pub(super) async fn check_unchanged(&self, run: &DueRun<O::Detail>) -> Result<(), String> {
        let now = self.turn.orchestrator.reread(&[run]).await;
        match now.map(|mut runs| runs.pop().flatten()) {
            Ok(Some(now)) if now.epoch == run.epoch => Ok(()),
            Ok(Some(now)) => Err(format!("changed meanwhile: it is {}", now.state)),
            Ok(None) => Err("was deleted meanwhile".to_owned()),
            Err(error) => Err(format!("could not be read again before its task is stopped: {error}")),
        }
    }

    fn failing<'r>(&self, run: &'r DueRun<O::Detail>, message: String) -> Candidate<'r, O::Detail> {
        let place = Place::default();
        Candidate { run, mark: self.mark(run, &place), place, intent: Intent::Fail { message } }
    }
}

/// Why a run's tasks will never be seen, as an error: credentials that it brings along do not reach them, and so would
/// not reach a new one either.
pub(super) fn lasting(outcome: LaunchOutcome, place: &Place) -> Result<LaunchOutcome, String> {
    match outcome {
        LaunchOutcome::Permanent(message) if !place.credentials.are_the_agents_own() => Err(message),
        outcome => Ok(outcome),
    }
}
