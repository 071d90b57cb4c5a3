//! The step before the claim: render, look for earlier tasks, prepare. Whatever can go wrong here costs no claim.

use super::context::Context;
use super::history::{Earlier, decide};
use super::report_builder::RunOutcome;
use crate::clock::Clock;
use crate::launch::{LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveTask, PreparedLaunch, spot};
use crate::model::{ApiError, ErrorKind};
use crate::orchestrator::{DueRun, Ending, Mark, Orchestrator, RenderError, Rendered};
use futures_util::future::join_all;
use std::future::Future;
use std::time::Duration;

/// Preparing one run takes at most this long: the other runs of its batch wait for it.
const PREPARING: Duration = Duration::from_secs(15);

/// A run on its way to a task.
pub(super) struct Prepared<'r, D> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) target: LaunchTarget,
    pub(super) intent: Intent,
}

impl<D> Prepared<'_, D> {
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

/// Whatever can be checked before claiming is checked here.
pub(super) async fn prepare<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    runs: Vec<&'r DueRun<O::Detail>>,
) -> Vec<Prepared<'r, O::Detail>> {
    if runs.is_empty() {
        return Vec::new();
    }
    let rendered = cx.orchestrator.render(&runs).await;
    let ways = runs.into_iter().zip(rendered).map(|(run, rendered)| async move {
        match rendered {
            Ok(rendered) => in_preparing_time(cx, run, prepare_run(cx, run, spec(cx, run, rendered))).await,
            Err(RenderError::Refused(refusal)) => Some(failing(cx, run, refusal.0)),
            Err(RenderError::Gone(message)) => {
                end_gone(cx, run, message).await;
                None
            }
            Err(RenderError::NotNow(reason)) => {
                cx.outcome(run, RunOutcome::Deferred(reason));
                None
            }
            Err(RenderError::NotUnderstood(reason)) => {
                cx.report.trouble(ErrorKind::ApiError, &reason);
                cx.outcome(run, RunOutcome::Deferred(reason));
                None
            }
        }
    });
    join_all(ways).await.into_iter().flatten().collect()
}

/// The launch as it is sent: on-demand where Spot was refused too often.
pub(super) fn spec<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
    rendered: Rendered,
) -> LaunchSpec {
    let Rendered { mut spec, warning } = rendered;
    if let Some(warning) = warning {
        cx.report.warn(&warning);
    }
    let fallback_after = cx.rules.spot_fallback_after;
    if let Some((run_task, reason)) = spot::on_demand(&spec.run_task, run.capacity_refusals, fallback_after) {
        tracing::info!(agent = cx.rules.agent, flow_run_id = run.flow_run_id, reason, "spot fallback");
        spec.run_task = run_task;
    }
    spec
}

/// What the run belonged to is gone: nobody can launch it any more.
async fn end_gone<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
    message: String,
) {
    let ending = Ending { run, message: message.clone() };
    let answer = cx.orchestrator.cancelled(std::slice::from_ref(&ending)).await.pop();
    let outcome = match answer {
        Some(Ok(())) => RunOutcome::Cancelled(message),
        Some(Err(ApiError::NotOurs(now))) => RunOutcome::Skipped(now),
        Some(Err(error)) => {
            cx.report.api_trouble(&error, cx.clock.now());
            RunOutcome::Deferred(format!("{message} (that could not be written: {error})"))
        }
        None => RunOutcome::Deferred(message),
    };
    cx.outcome(run, outcome);
}

/// What takes too long leaves the run for a later poll.
pub(super) async fn in_preparing_time<T, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
    work: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::time::timeout(PREPARING, work).await.unwrap_or_else(|_| {
        let reason = format!("its launch could not be prepared within {} seconds", PREPARING.as_secs());
        cx.outcome(run, RunOutcome::Deferred(reason));
        None
    })
}

async fn prepare_run<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &'r DueRun<O::Detail>,
    spec: LaunchSpec,
) -> Option<Prepared<'r, O::Detail>> {
    let target = spec.target();
    let mark = cx.mark(run, &target);
    if run.has_history {
        match earlier_task(cx, run, &target).await {
            Ok(Earlier::None) => {}
            Ok(Earlier::Adopt(task_arn)) => {
                return Some(Prepared { run, mark, target, intent: Intent::Adopt { task_arn } });
            }
            Ok(Earlier::Wait(reason)) => {
                cx.outcome(run, RunOutcome::Deferred(reason));
                return None;
            }
            Err(message) => return Some(Prepared { run, mark, target, intent: Intent::Fail { message } }),
        }
    }
    match cx.launcher.prepare(&run.flow_run_id, &spec, &cx.identity(run)).await {
        Ok(prepared) => {
            warn_of(cx, &prepared);
            Some(Prepared { run, mark, target, intent: Intent::Launch(Box::new((spec, prepared))) })
        }
        Err(LaunchOutcome::Permanent(message)) => {
            Some(Prepared { run, mark, target, intent: Intent::Fail { message } })
        }
        // Nothing is claimed yet, so there is nothing to give back: the run simply stays due.
        Err(outcome) => {
            cx.outcome(run, RunOutcome::Deferred(why_not_prepared(cx, outcome)));
            None
        }
    }
}

pub(super) fn warn_of<O: Orchestrator, L: Launcher, C: Clock>(cx: &Context<'_, O, L, C>, prepared: &PreparedLaunch) {
    prepared.warning.iter().for_each(|warning| cx.report.warn(warning));
}

pub(super) fn why_not_prepared<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    outcome: LaunchOutcome,
) -> String {
    match outcome {
        LaunchOutcome::AgentTrouble(reason) => {
            // Whether it hits the others too shows when they are prepared: it costs them no claim.
            cx.report.trouble(ErrorKind::Aws, &reason);
            reason
        }
        LaunchOutcome::Transient { reason, cause } => {
            cx.count_throttle(cause);
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
pub(super) async fn live_tasks<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    target: &LaunchTarget,
    started_by: &str,
) -> Result<Vec<LiveTask>, LaunchOutcome> {
    let found = cx.launcher.live_tasks(target, started_by).await?;
    if let Some(warning) = found.warning {
        cx.report.warn(&warning);
    }
    Ok(found.tasks)
}

/// What an earlier task means; an error = the run can never be launched as it stands.
async fn earlier_task<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
    target: &LaunchTarget,
) -> Result<Earlier, String> {
    let started_by = cx.identity(run).started_by;
    let tasks = match live_tasks(cx, target, &started_by).await {
        Ok(tasks) => tasks,
        Err(outcome) => {
            let outcome = lasting(outcome, target)?;
            let reason = why_not_prepared(cx, outcome);
            return Ok(Earlier::Wait(format!("cannot tell whether an earlier task lives: {reason}")));
        }
    };
    let decision = decide(&tasks, run.is_task_retry);
    if !decision.stop.is_empty()
        && let Err(reason) = check_unchanged(cx, run).await
    {
        return Ok(Earlier::Wait(reason));
    }
    for task_arn in &decision.stop {
        let reason = "Flow run was started again";
        if let Err(outcome) = cx.launcher.stop(target, task_arn, reason).await {
            let reason = why_not_prepared(cx, outcome);
            return Ok(Earlier::Wait(format!("earlier task {task_arn} cannot be stopped: {reason}")));
        }
    }
    Ok(decision.earlier)
}

/// A run that was claimed meanwhile has a new task, which must not be taken for an earlier one.
pub(super) async fn check_unchanged<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
) -> Result<(), String> {
    let now = cx.orchestrator.reread(&[run]).await;
    match now.map(|mut runs| runs.pop().flatten()) {
        Ok(Some(now)) if now.epoch == run.epoch => Ok(()),
        Ok(Some(now)) => Err(format!("changed meanwhile: it is {}", now.state)),
        Ok(None) => Err("was deleted meanwhile".to_owned()),
        Err(error) => Err(format!("could not be read again before its task is stopped: {error}")),
    }
}

fn failing<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &'r DueRun<O::Detail>,
    message: String,
) -> Prepared<'r, O::Detail> {
    let target = LaunchTarget::default();
    Prepared { run, mark: cx.mark(run, &target), target, intent: Intent::Fail { message } }
}

/// Those of the runs that the launch rate still has room for: what is claimed must also be launched. Batches that
/// start side by side share the room; each launch gives its promise back once the launcher itself knows of it.
pub(super) fn within_room<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    mut prepared: Vec<Prepared<'r, O::Detail>>,
) -> Vec<Prepared<'r, O::Detail>> {
    let room = cx.launcher.room(cx.rules.limits.deadline);
    let mut left = room.map_or(usize::MAX, |room| room.saturating_sub(cx.promised()));
    prepared.retain(|candidate| {
        if !candidate.is_launch() {
            return true;
        }
        let has_room = left > 0;
        if has_room {
            left -= 1;
        } else {
            let reason = "no room is left in this invocation at the launch rate".to_owned();
            cx.outcome(candidate.run, RunOutcome::Deferred(reason));
        }
        has_room
    });
    let promised = prepared.iter().filter(|candidate| candidate.is_launch()).count();
    cx.promise(promised);
    prepared
}

/// Why a run's tasks will never be seen, as an error: credentials that it brings along do not reach them, and so would
/// not reach a new one either.
pub(super) fn lasting(outcome: LaunchOutcome, target: &LaunchTarget) -> Result<LaunchOutcome, String> {
    match outcome {
        LaunchOutcome::Permanent(message) if !target.credentials.are_the_agents_own() => Err(message),
        outcome => Ok(outcome),
    }
}
