//! Claims of ours without a task: a process died between claim and launch, or ECS never answered. They are finished with
//! the same token, or their task is adopted.

use super::context::Context;
use super::launch::{Launched, launch};
use super::prepare::{
    Intent, Prepared, in_preparing_time, live, prepare_launch, render, why_not_prepared, within_room,
};
use super::report::RunOutcome;
use super::tell::{is_deployed, tell, write_down, write_log};
use crate::clock::Clock;
use crate::model::{ErrorKind, RunRefusal};
use crate::orchestrator::{ClaimedRun, Orchestrator, RenderError};
use crate::platform::{AfterLaunch, LaunchOutcome, LiveDeployment, Place, Platform, TransientCause};
use futures_util::future::join_all;
use time::OffsetDateTime;

/// What the deployments of a claimed run mean for it. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClaimDeployments {
    /// One that runs the flow, or will.
    Lives(String),
    /// They are about to stop: what follows is known once they have.
    Ending(String),
    /// None.
    Nothing,
}

/// Looks at the deployments of a claimed run.
pub(crate) fn found(live: &[LiveDeployment]) -> ClaimDeployments {
    match (live.iter().find(|one| !one.is_stopping), live.first()) {
        (Some(one), _) => ClaimDeployments::Lives(one.id.clone()),
        (None, Some(one)) => ClaimDeployments::Ending(one.id.clone()),
        (None, None) => ClaimDeployments::Nothing,
    }
}

/// Finishes claims that have waited for their task too long.
pub(super) async fn recover<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    orphans: Vec<ClaimedRun<O::Detail>>,
) {
    if !orphans.is_empty() {
        recover_all(cx, &orphans).await;
    }
}

/// Whether a claim has waited so long that its launch will not be answered any more, however often it is replayed.
fn is_hopeless<O: Orchestrator, P: Platform, C: Clock>(cx: &Context<'_, O, P, C>, since: OffsetDateTime) -> bool {
    let patience = cx.rules.orphan_after * (cx.rules.max_launch_attempts + 1);
    cx.clock.now() - since >= patience
}

async fn recover_all<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    orphans: &[ClaimedRun<O::Detail>],
) {
    let runs: Vec<_> = orphans.iter().map(|orphan| &orphan.run).collect();
    let rendered = render(cx, &runs).await;
    let ways = orphans.iter().zip(rendered).map(|(orphan, launch)| async move {
        match launch {
            Ok(launch) => {
                // The launch goes where the claim said, whatever is configured by now.
                let launch = cx.platform.in_place(launch, &orphan.mark.place);
                in_preparing_time(cx, &orphan.run, orphan_candidate(cx, orphan, launch)).await
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

/// What is to be done about a claim, after a look at its deployments.
async fn orphan_candidate<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    orphan: &'r ClaimedRun<O::Detail>,
    launch: P::Launch,
) -> Option<Prepared<'r, O::Detail, P>> {
    let place = cx.platform.place(&launch);
    let live = match live(cx, &orphan.run, &place).await {
        Ok(live) => live,
        Err(LaunchOutcome::Permanent(message)) => return Some(candidate(orphan, Intent::Fail { message })),
        Err(outcome) => {
            let reason = why_not_prepared(cx, outcome);
            let reason = format!("claimed, and it cannot be told whether it has a {}: {reason}", P::NOUN);
            cx.outcome(&orphan.run, RunOutcome::Deferred(reason));
            return None;
        }
    };
    match found(&live) {
        ClaimDeployments::Lives(id) => {
            adopt_orphan(cx, orphan, &place, id).await;
            None
        }
        ClaimDeployments::Ending(id) => {
            let reason = format!("claimed, and its {} {id} is about to stop", P::NOUN);
            cx.outcome(&orphan.run, RunOutcome::Deferred(reason));
            None
        }
        ClaimDeployments::Nothing => match prepare_launch(cx, &launch, &cx.identity(&orphan.run)).await {
            Ok(prepared) => Some(Prepared { place, ..candidate(orphan, Intent::Launch(Box::new((launch, prepared)))) }),
            Err(LaunchOutcome::Permanent(message)) => Some(candidate(orphan, Intent::Fail { message })),
            Err(outcome) => {
                let reason = why_not_prepared(cx, outcome);
                cx.outcome(&orphan.run, RunOutcome::Deferred(format!("claimed, and not launched yet: {reason}")));
                None
            }
        },
    }
}

/// The claim has its deployment. That is worth telling only where nobody knew: neither Prefect nor this process.
async fn adopt_orphan<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    orphan: &ClaimedRun<O::Detail>,
    place: &P::Place,
    id: String,
) {
    if orphan.pid.as_ref().is_some_and(|pid| P::Place::of_pid(pid).1 == id) {
        return;
    }
    let pid = place.pid(&id);
    if cx.seen.contains(&orphan.run.token) {
        // Told already; what was not written down then may be now.
        return write_down(cx, &orphan.run, &pid).await;
    }
    let (agent, flow_run_id) = (cx.rules.agent.as_str(), orphan.run.flow_run_id.as_str());
    tracing::info!(agent, flow_run_id, task_arn = id, "the task of a claimed flow run was found");
    cx.outcome(&orphan.run, RunOutcome::Recovered { task_arn: id });
    is_deployed(cx, &orphan.run, pid).await;
}

async fn launch_orphans<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    prepared: Vec<Prepared<'r, O::Detail, P>>,
    orphans: &[ClaimedRun<O::Detail>],
) -> Vec<Launched<'r, O::Detail, P::Place>> {
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
                let outcome = LaunchOutcome::Transient { reason, cause: TransientCause::Server };
                AfterLaunch::of(outcome, launched.mark.attempt, cx.rules.max_launch_attempts)
            }
            after => after,
        };
        Launched { after, is_orphan: true, ..launched }
    });
    join_all(launches).await
}

/// What is done with an orphan under its own mark.
fn candidate<D, P: Platform>(orphan: &ClaimedRun<D>, intent: Intent<P>) -> Prepared<'_, D, P> {
    let place = P::Place::default().named(&orphan.mark.place);
    Prepared { run: &orphan.run, mark: orphan.mark.clone(), place, intent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Progress;

    fn one(progress: Progress, is_stopping: bool) -> LiveDeployment {
        LiveDeployment { id: format!("arn:{progress:?}"), progress, is_stopping }
    }

    #[test]
    fn one_that_is_to_run_is_adopted_however_far_it_is() {
        for progress in [Progress::Unknown, Progress::Waiting, Progress::Begun] {
            let expected = ClaimDeployments::Lives(format!("arn:{progress:?}"));
            assert_eq!(found(&[one(progress, false)]), expected);
        }
    }

    #[test]
    fn one_that_is_to_stop_is_waited_for_unless_another_lives() {
        let ending = one(Progress::Begun, true);
        assert_eq!(found(std::slice::from_ref(&ending)), ClaimDeployments::Ending("arn:Begun".into()));
        assert_eq!(found(&[ending, one(Progress::Waiting, false)]), ClaimDeployments::Lives("arn:Waiting".into()));
        assert_eq!(found(&[]), ClaimDeployments::Nothing);
    }
}
