//! The step after the claim: the platform is asked for the task.

use super::context::Context;
use super::prepare::{Intent, Prepared};
use crate::clock::Clock;
use crate::launch::{AfterLaunch, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, PreparedLaunch, TransientCause};
use crate::orchestrator::{DueRun, Mark, Orchestrator};
use std::time::Duration;

/// A launch says by itself that its time is over; this much later it is given up.
const GRACE: Duration = Duration::from_millis(500);

/// A claimed run and what became of its launch.
pub(super) struct Launched<'r, D> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) target: LaunchTarget,
    pub(super) after: AfterLaunch,
    /// Its claim is an earlier poll's.
    pub(super) is_orphan: bool,
}

/// Launches a claimed run, within the invocation's time.
pub(super) async fn launch<'r, O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    claimed: Prepared<'r, O::Detail>,
) -> Launched<'r, O::Detail> {
    let Prepared { run, mark, target, intent } = claimed;
    let outcome = match intent {
        Intent::Adopt { task_arn } => LaunchOutcome::Adopted { task_arn },
        Intent::Fail { message } => LaunchOutcome::Permanent(message),
        Intent::Launch(launch) => {
            let launched = cx.in_time(GRACE, launch_prepared(cx, run, &launch.0, &launch.1)).await;
            launched.unwrap_or_else(|| LaunchOutcome::Unknown("the launch did not end in time".to_owned()))
        }
    };
    match &outcome {
        LaunchOutcome::AgentTrouble(reason) => cx.agent_trouble(reason),
        LaunchOutcome::Transient { cause, .. } => cx.count_throttle(*cause),
        _ => {}
    }
    let after = AfterLaunch::of(outcome, mark.attempt, cx.rules.max_launch_attempts);
    Launched { run, mark, target, after, is_orphan: false }
}

async fn launch_prepared<O: Orchestrator, L: Launcher, C: Clock>(
    cx: &Context<'_, O, L, C>,
    run: &DueRun<O::Detail>,
    spec: &LaunchSpec,
    prepared: &PreparedLaunch,
) -> LaunchOutcome {
    let deadline = cx.rules.limits.deadline;
    let outcome = cx.launcher.launch(prepared, deadline).await;
    if outcome != LaunchOutcome::InactiveDefinition {
        return outcome;
    }
    // Somebody deregistered it since it was remembered: found or registered again, once.
    let identity = cx.identity(run);
    let prepare = cx.launcher.prepare(&run.flow_run_id, spec, &identity);
    match cx.in_time(Duration::ZERO, prepare).await {
        Some(Ok(prepared)) => cx.launcher.launch(&prepared, deadline).await,
        Some(Err(outcome)) => outcome,
        None => LaunchOutcome::Transient {
            reason: "No time was left to find or register an active task definition".to_owned(),
            cause: TransientCause::NoTime,
        },
    }
}
