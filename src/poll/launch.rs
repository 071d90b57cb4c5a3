//! The step after the claim: the platform is asked for the task.

use super::context::Context;
use super::prepare::{Intent, Prepared};
use crate::clock::Clock;
use crate::orchestrator::{DueRun, Mark, Orchestrator};
use crate::platform::{AfterLaunch, LaunchOutcome, Platform, TransientCause};
use std::time::Duration;
use time::OffsetDateTime;

/// A launch says by itself that its time is over; this much later it is given up.
const GRACE: Duration = Duration::from_millis(500);

/// A claimed run and what became of its launch.
pub(super) struct Launched<'r, D, L> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) place: L,
    pub(super) after: AfterLaunch,
    /// Its claim is an earlier poll's.
    pub(super) is_orphan: bool,
    /// When the platform had answered.
    pub(super) at: OffsetDateTime,
}

/// Launches a claimed run, within the invocation's time.
pub(super) async fn launch<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    claimed: Prepared<'r, O::Detail, P>,
) -> Launched<'r, O::Detail, P::Place> {
    let Prepared { run, mark, place, intent } = claimed;
    let outcome = match intent {
        Intent::Adopt { id } => LaunchOutcome::Adopted { id },
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
    Launched { run, mark, place, after, is_orphan: false, at: cx.clock.now() }
}

async fn launch_prepared<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    rendered: &P::Launch,
    prepared: &P::Prepared,
) -> LaunchOutcome {
    let deadline = cx.rules.limits.deadline;
    let outcome = cx.platform.launch(prepared, deadline).await;
    if !matches!(outcome, LaunchOutcome::Outdated(_)) {
        return outcome;
    }
    // Prepared once more, and no oftener. Boxed, since few come to it and each launch would hold room for it.
    let identity = cx.identity(run);
    match Box::pin(cx.in_time(Duration::ZERO, cx.platform.prepare(rendered, &identity))).await {
        Some(Ok(prepared)) => Box::pin(cx.platform.launch(&prepared.launch, deadline)).await,
        Some(Err(outcome)) => outcome,
        None => LaunchOutcome::Transient {
            reason: "No time was left to find or register an active task definition".to_owned(),
            cause: TransientCause::NoTime,
        },
    }
}
