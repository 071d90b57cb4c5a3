//! Claims of ours without a task: a process died between claim and launch, or ECS never answered. They are finished with
//! the same token, or their task is adopted.

use super::context::{Context, named};
use super::launch::{Launched, launch};
use super::prepare::{
    Intent, Prepared, in_preparing_time, lasting, live_tasks, spec, warn_of, why_not_prepared, within_room,
};
use super::report_builder::RunOutcome;
use super::tell::{has_task, tell, write_down, write_log};
use crate::clock::Clock;
use crate::launch::{AfterLaunch, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveTask};
use crate::model::{ErrorKind, RunRefusal};
use crate::orchestrator::{ClaimedRun, Mark, Orchestrator, RenderError, TaskOfRun};
use futures_util::future::join_all;
use serde_json::json;
use time::OffsetDateTime;

/// What the tasks of a claimed run mean for it. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClaimTasks {
    /// A task that runs the flow, or will.
    Lives(String),
    /// Its tasks are about to stop: what follows is known once they have.
    Ending(String),
    /// None.
    Nothing,
}

/// Looks at the tasks of a claimed run.
pub(super) fn found(tasks: &[LiveTask]) -> ClaimTasks {
    let live = || tasks.iter().filter(|task| task.last_status != "STOPPED");
    match (live().find(|task| task.desired_status != "STOPPED"), live().next()) {
        (Some(task), _) => ClaimTasks::Lives(task.task_arn.clone()),
        (None, Some(task)) => ClaimTasks::Ending(task.task_arn.clone()),
        (None, None) => ClaimTasks::Nothing,
    }
}

/// Finishes the claims that have waited for their task too long.
pub(super) async fn recover<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    claimed: Vec<ClaimedRun<O::Detail>>,
    now: OffsetDateTime,
) {
    let orphans: Vec<_> = claimed.into_iter().filter(|claimed| now - claimed.since >= cx.rules.orphan_after).collect();
    if orphans.is_empty() {
        return;
    }
    recover_all(cx, &orphans).await;
}

/// Whether a claim has waited so long that its launch will not be answered any more, however often it is replayed.
fn is_hopeless<O: Orchestrator, L: Launcher, C: Clock>(cx: &Context<'_, O, L, C>, since: OffsetDateTime) -> bool {
    let patience = cx.rules.orphan_after * (cx.rules.max_launch_attempts + 1);
    cx.clock.now() - since >= patience
}

async fn recover_all<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    orphans: &[ClaimedRun<O::Detail>],
) {
    let runs: Vec<_> = orphans.iter().map(|orphan| &orphan.run).collect();
    let rendered = cx.orchestrator.render(&runs).await;
    let ways = orphans.iter().zip(rendered).map(|(orphan, rendered)| async move {
        match rendered {
            Ok(rendered) => {
                let spec = in_claimed_cluster(spec(cx, &orphan.run, rendered), orphan);
                in_preparing_time(cx, &orphan.run, orphan_candidate(cx, orphan, spec)).await
            }
            Err(RenderError::Refused(RunRefusal(message)) | RenderError::Gone(message)) => {
                Some(candidate(orphan, Intent::Fail { message }))
            }
            Err(RenderError::NotNow(reason)) => {
                cx.outcome(&orphan.run, RunOutcome::Deferred(reason));
                None
            }
            Err(RenderError::NotUnderstood(reason)) => {
                cx.report.trouble(ErrorKind::ApiError, &reason);
                cx.outcome(&orphan.run, RunOutcome::Deferred(reason));
                None
            }
        }
    });
    let prepared = join_all(ways).await.into_iter().flatten().collect();
    let prepared = within_room(cx, prepared);
    let launched = launch_orphans(cx, prepared, orphans).await;
    let lines = tell(cx, launched).await;
    write_log(cx, lines).await;
}

/// What is to be done about a claim, after a look at its tasks.
async fn orphan_candidate<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    orphan: &'r ClaimedRun<O::Detail>,
    spec: LaunchSpec,
) -> Option<Prepared<'r, O::Detail>> {
    let target = spec.target();
    let identity = cx.identity(&orphan.run);
    let tasks = match live_tasks(cx, &target, &identity.started_by).await {
        Ok(tasks) => tasks,
        Err(outcome) => {
            let outcome = match lasting(outcome, &target) {
                Ok(outcome) => outcome,
                Err(message) => return Some(candidate(orphan, Intent::Fail { message })),
            };
            let reason = why_not_prepared(cx, outcome);
            let reason = format!("claimed, and it cannot be told whether it has a task: {reason}");
            cx.outcome(&orphan.run, RunOutcome::Deferred(reason));
            return None;
        }
    };
    match found(&tasks) {
        ClaimTasks::Lives(task_arn) => {
            adopt_orphan(cx, orphan, TaskOfRun { target, task_arn }).await;
            None
        }
        ClaimTasks::Ending(task_arn) => {
            cx.outcome(&orphan.run, RunOutcome::Deferred(format!("claimed, and its task {task_arn} is about to stop")));
            None
        }
        ClaimTasks::Nothing => match cx.launcher.prepare(&orphan.run.flow_run_id, &spec, &identity).await {
            Ok(prepared) => {
                warn_of(cx, &prepared);
                Some(Prepared { target, ..candidate(orphan, Intent::Launch(Box::new((spec, prepared)))) })
            }
            Err(LaunchOutcome::Permanent(message)) => Some(candidate(orphan, Intent::Fail { message })),
            Err(outcome) => {
                let reason = why_not_prepared(cx, outcome);
                cx.outcome(&orphan.run, RunOutcome::Deferred(format!("claimed, and not launched yet: {reason}")));
                None
            }
        },
    }
}

/// The claim has its task. That is worth telling only where nobody knew: neither Prefect nor this process.
async fn adopt_orphan<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    orphan: &ClaimedRun<O::Detail>,
    task: TaskOfRun,
) {
    if orphan.recorded_task.as_deref() == Some(task.task_arn.as_str()) {
        return;
    }
    if cx.seen.contains(&orphan.run.token) {
        // Told already; what was not written down then may be now.
        return write_down(cx, &orphan.run, &task).await;
    }
    let (agent, flow_run_id) = (cx.rules.agent.as_str(), orphan.run.flow_run_id.as_str());
    tracing::info!(agent, flow_run_id, task_arn = task.task_arn, "the task of a claimed flow run was found");
    cx.outcome(&orphan.run, RunOutcome::Recovered { task_arn: task.task_arn.clone() });
    has_task(cx, &orphan.run, task).await;
}

async fn launch_orphans<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    prepared: Vec<Prepared<'r, O::Detail>>,
    orphans: &[ClaimedRun<O::Detail>],
) -> Vec<Launched<'r, O::Detail>> {
    let launches = prepared.into_iter().map(|candidate| async move {
        let is_launch = candidate.is_launch();
        let launched = launch(cx, candidate);
        if is_launch {
            cx.promises_kept(1);
        }
        let launched = launched.await;
        let since = orphans.iter().find(|orphan| orphan.run.token == launched.run.token).map(|orphan| orphan.since);
        let after = match launched.after {
            AfterLaunch::Leave(reason) if since.is_some_and(|since| is_hopeless(cx, since)) => {
                // ECS knows of no task, minutes after the request: a new turn looks once more before it launches.
                let outcome = LaunchOutcome::Transient { reason, cause: crate::launch::TransientCause::Server };
                AfterLaunch::of(outcome, launched.mark.attempt, cx.rules.max_launch_attempts)
            }
            after => after,
        };
        Launched { after, is_orphan: true, ..launched }
    });
    join_all(launches).await
}

/// What is done with an orphan under its own mark.
fn candidate<D>(orphan: &ClaimedRun<D>, intent: Intent) -> Prepared<'_, D> {
    let target = LaunchTarget { cluster: orphan.mark.cluster.clone(), ..LaunchTarget::default() };
    Prepared { run: &orphan.run, mark: orphan.mark.clone(), target, intent }
}

/// A token is good for one cluster: the launch goes where the claim said, whatever is configured by now.
fn in_claimed_cluster<D>(mut spec: LaunchSpec, orphan: &ClaimedRun<D>) -> LaunchSpec {
    let claimed = orphan.mark.cluster.as_str();
    let is_there = claimed.is_empty() || claimed == named(&spec.target().cluster);
    match claimed {
        _ if is_there => {}
        // As the claim's own request was, byte for byte.
        Mark::DEFAULT_CLUSTER => drop(spec.run_task.remove("cluster")),
        claimed => drop(spec.run_task.insert("cluster".into(), json!(claimed))),
    }
    spec
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

    #[test]
    fn a_task_that_is_to_run_is_adopted_whatever_its_status() {
        for status in ["PROVISIONING", "PENDING", "RUNNING", "UNKNOWN"] {
            assert_eq!(found(&[task(status, "RUNNING")]), ClaimTasks::Lives(format!("arn:{status}")));
        }
    }

    #[test]
    fn a_task_that_is_to_stop_is_waited_for_unless_another_lives() {
        let ending = task("DEPROVISIONING", "STOPPED");
        assert_eq!(found(std::slice::from_ref(&ending)), ClaimTasks::Ending("arn:DEPROVISIONING".into()));
        assert_eq!(found(&[ending, task("PENDING", "RUNNING")]), ClaimTasks::Lives("arn:PENDING".into()));
    }

    #[test]
    fn a_stopped_task_is_no_task() {
        assert_eq!(found(&[]), ClaimTasks::Nothing);
        assert_eq!(found(&[task("STOPPED", "STOPPED")]), ClaimTasks::Nothing);
    }
}
