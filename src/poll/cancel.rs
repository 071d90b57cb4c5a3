//! Runs that a user cancelled: their tasks are stopped, at once when they have not begun, else when the flow had time to
//! end by itself.

use super::context::Context;
use super::prepare::{check_unchanged, live_tasks, why_not_prepared};
use super::report_builder::RunOutcome;
use crate::clock::Clock;
use crate::launch::{LaunchTarget, Launcher, LiveTask};
use crate::model::ApiError;
use crate::model::ErrorKind;
use crate::orchestrator::{CancellingRun, Ending, Orchestrator, RenderError};
use futures_util::future::join_all;
use time::OffsetDateTime;

/// Why a task is stopped, as ECS shows it.
const STOP_REASON: &str = "The flow run was cancelled";

/// What is to be done about a cancelled run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CancelDecision {
    /// Tasks to stop.
    pub(super) stop: Vec<String>,
    /// Nothing is left that could end the run by itself: it is written down as Cancelled.
    pub(super) ends: bool,
}

/// Decides, by the run's tasks. Pure. `patient`: the flow has begun, and has not had its time to end by itself.
pub(super) fn decide(tasks: &[LiveTask], patient: bool) -> CancelDecision {
    let live = || tasks.iter().filter(|task| task.last_status != "STOPPED");
    let may_go_on = |task: &&LiveTask| patient && has_begun(task);
    let stop = live().filter(|task| task.desired_status != "STOPPED" && !may_go_on(task));
    // A flow that has begun and shows no task may run where this agent cannot see it.
    let unseen = patient && live().next().is_none();
    CancelDecision {
        stop: stop.map(|task| task.task_arn.clone()).collect(),
        ends: !unseen && !live().any(|task| may_go_on(&task)),
    }
}

/// Whether the flow may run by now. What cannot be described yet was started a moment ago.
fn has_begun(task: &LiveTask) -> bool {
    !matches!(task.last_status.as_str(), "PROVISIONING" | "PENDING" | "ACTIVATING" | "UNKNOWN")
}

/// Stops the tasks of cancelled runs and ends the runs.
pub(super) async fn cancel<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    cancelling: Vec<CancellingRun<O::Detail>>,
    now: OffsetDateTime,
) {
    if !cancelling.is_empty() {
        cancel_all(cx, &cancelling, now).await;
    }
}

async fn cancel_all<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    cancelling: &[CancellingRun<O::Detail>],
    now: OffsetDateTime,
) {
    let runs: Vec<_> = cancelling.iter().map(|cancelling| &cancelling.run).collect();
    let rendered = cx.orchestrator.render(&runs).await;
    let places = rendered.into_iter().zip(cancelling).map(|(rendered, cancelling)| {
        if let Err(RenderError::NotUnderstood(reason)) = &rendered {
            cx.report.trouble(ErrorKind::ApiError, reason);
        }
        match (rendered, &cancelling.task) {
            (Ok(rendered), Some(task)) => {
                Ok(LaunchTarget { cluster: task.target.cluster.clone(), ..rendered.spec.target() })
            }
            (Ok(rendered), None) => Ok(in_cluster(rendered.spec.target(), cancelling)),
            (Err(_), Some(task)) => Ok(task.target.clone()),
            (Err(RenderError::Refused(_) | RenderError::Gone(_)), None) => {
                Ok(in_cluster(LaunchTarget::default(), cancelling))
            }
            (Err(RenderError::NotNow(reason) | RenderError::NotUnderstood(reason)), None) => Err(reason),
        }
    });
    let stopped = cancelling.iter().zip(places).map(|(cancelling, target)| async move {
        match target {
            Ok(target) => stop_tasks(cx, cancelling, &target, now).await,
            Err(reason) => Err(reason),
        }
    });
    let mut ending = Vec::new();
    for (cancelling, stopped) in cancelling.iter().zip(join_all(stopped).await) {
        match stopped {
            // The server has written it down already; that a task was stopped is still to be told.
            Ok(Some(message)) if cancelling.is_over => cx.outcome(&cancelling.run, RunOutcome::Cancelled(message)),
            Ok(Some(message)) => ending.push(Ending { run: &cancelling.run, message }),
            Ok(None) => {}
            Err(reason) => {
                let (agent, flow_run_id) = (cx.rules.agent.as_str(), cancelling.run.flow_run_id.as_str());
                tracing::warn!(agent, flow_run_id, reason, "a cancelled flow run's task was not stopped");
            }
        }
    }
    end(cx, ending).await;
}

/// Stops what is to be stopped; the message with which the run is to be ended, or was stopped although it was over.
async fn stop_tasks<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    cancelling: &CancellingRun<O::Detail>,
    target: &LaunchTarget,
    now: OffsetDateTime,
) -> Result<Option<String>, String> {
    let trouble = |outcome| why_not_prepared(cx, outcome);
    let started_by = cx.identity(&cancelling.run).started_by;
    let mut tasks = live_tasks(cx, target, &started_by).await.map_err(trouble)?;
    let known = cancelling.task.as_ref().map(|task| task.task_arn.as_str());
    // A Python worker's task is not found by `startedBy`.
    if let Some(known) = known.filter(|known| tasks.iter().all(|task| task.task_arn != *known)) {
        tasks.extend(cx.launcher.live_task(target, known).await.map_err(trouble)?);
    }
    let patient = cancelling.has_started && now - cancelling.since < cx.rules.cancel_grace;
    let decision = decide(&tasks, patient);
    if !decision.stop.is_empty() {
        // A run that was started again meanwhile has a new task, which must not be taken for the cancelled one.
        check_unchanged(cx, &cancelling.run).await?;
    }
    for task_arn in &decision.stop {
        cx.launcher.stop(target, task_arn, STOP_REASON).await.map_err(trouble)?;
        let (agent, flow_run_id) = (cx.rules.agent.as_str(), cancelling.run.flow_run_id.as_str());
        tracing::info!(agent, flow_run_id, task_arn, "the task of a cancelled flow run was stopped");
    }
    let is_told = if cancelling.is_over { !decision.stop.is_empty() } else { decision.ends };
    Ok(is_told.then(|| match decision.stop.first() {
        Some(task_arn) => format!("Cancelled: task {task_arn} was stopped."),
        None => "Cancelled: no task was running.".to_owned(),
    }))
}

async fn end<O: Orchestrator, L: Launcher, C: Clock>(cx: &Context<'_, O, L, C>, ending: Vec<Ending<'_, O::Detail>>) {
    if ending.is_empty() {
        return;
    }
    let answers = cx.orchestrator.cancelled(&ending).await;
    for (Ending { run, message }, answer) in ending.into_iter().zip(answers) {
        match answer {
            Ok(()) => cx.outcome(run, RunOutcome::Cancelled(message)),
            Err(ApiError::NotOurs(_)) => {}
            Err(error) => {
                cx.report.api_trouble(&error, cx.clock.now());
                let (agent, flow_run_id) = (cx.rules.agent.as_str(), run.flow_run_id.as_str());
                tracing::warn!(agent, flow_run_id, %error, "a cancelled flow run was not ended");
            }
        }
    }
}

/// A place, but in the cluster of the run's claim where that is known.
fn in_cluster<D>(target: LaunchTarget, cancelling: &CancellingRun<D>) -> LaunchTarget {
    match &cancelling.cluster {
        Some(cluster) => LaunchTarget { cluster: cluster.clone(), ..target },
        None => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(last_status: &str, desired_status: &str) -> LiveTask {
        LiveTask {
            task_arn: format!("arn:{last_status}"),
            last_status: last_status.to_owned(),
            desired_status: desired_status.to_owned(),
        }
    }

    fn decided(tasks: &[LiveTask], patient: bool) -> (Vec<String>, bool) {
        let CancelDecision { stop, ends } = decide(tasks, patient);
        (stop, ends)
    }

    #[test]
    fn a_task_that_has_not_begun_is_stopped_at_once() {
        for status in ["PROVISIONING", "PENDING", "ACTIVATING", "UNKNOWN"] {
            for patient in [true, false] {
                let stopped = (vec![format!("arn:{status}")], true);
                assert_eq!(decided(&[task(status, "RUNNING")], patient), stopped, "{status}, {patient}");
            }
        }
    }

    #[test]
    fn a_flow_that_runs_gets_its_grace_then_it_is_stopped() {
        assert_eq!(decided(&[task("RUNNING", "RUNNING")], true), (vec![], false));
        assert_eq!(decided(&[task("RUNNING", "RUNNING")], false), (vec!["arn:RUNNING".into()], true));
    }

    #[test]
    fn a_task_that_was_told_to_stop_is_not_told_again() {
        assert_eq!(decided(&[task("PENDING", "STOPPED")], true), (vec![], true));
        assert_eq!(decided(&[task("RUNNING", "STOPPED")], true), (vec![], false), "it may still say how it ended");
        assert_eq!(decided(&[task("RUNNING", "STOPPED")], false), (vec![], true));
    }

    #[test]
    fn a_run_without_a_task_ends_at_once_unless_its_flow_has_begun() {
        assert_eq!(decided(&[], false), (vec![], true));
        assert_eq!(decided(&[], true), (vec![], false));
    }
}
