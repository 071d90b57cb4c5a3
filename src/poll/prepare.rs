//! The step before the claim: render, look for earlier tasks, prepare. Whatever can go wrong here costs no claim.

use super::context::Context;
use super::report::RunOutcome;
use crate::clock::Clock;
use crate::model::{ApiError, ErrorKind, RenderError};
use crate::orchestrator::{DueRun, Ending, Mark, Orchestrator};
use crate::platform::{LaunchIdentity, LaunchOutcome, LiveDeployment, Platform, Progress, RunDescription, WithWarning};
use futures_util::future::join_all;
use std::future::Future;
use std::time::Duration;

/// Preparing one run takes at most this long: the other runs of its batch wait for it.
const PREPARING: Duration = Duration::from_secs(15);

/// A run on its way to a task.
pub(super) struct Prepared<'r, D, P: Platform> {
    pub(super) run: &'r DueRun<D>,
    pub(super) mark: Mark,
    pub(super) place: P::Place,
    pub(super) intent: Intent<P>,
}

impl<D, P: Platform> Prepared<'_, D, P> {
    /// Whether it takes room of the launch rate.
    pub(super) fn is_launch(&self) -> bool {
        matches!(self.intent, Intent::Launch(_))
    }
}

/// What is to be done with a run once it is claimed.
pub(super) enum Intent<P: Platform> {
    /// Deploy it, as rendered and as prepared.
    Launch(Box<(P::Launch, P::Prepared)>),
    /// An earlier turn's deployment has not begun yet: it will run the flow.
    Adopt { id: String },
    /// It can never be launched as it stands.
    Fail { message: String },
}

/// Whatever can be checked before claiming is checked here.
pub(super) async fn prepare<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: Vec<&'r DueRun<O::Detail>>,
) -> Vec<Prepared<'r, O::Detail, P>> {
    if runs.is_empty() {
        return Vec::new();
    }
    let rendered = render(cx, &runs).await;
    let ways = runs.into_iter().zip(rendered).map(|(run, rendered)| async move {
        match rendered {
            Ok(rendered) => in_preparing_time(cx, run, prepare_run(cx, run, rendered)).await,
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

/// The launches of runs, as they are sent: after refusals for want of capacity perhaps in another way. One entry per run.
pub(super) async fn render<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: &[&DueRun<O::Detail>],
) -> Vec<Result<P::Launch, RenderError>> {
    let as_sent = |run: &DueRun<O::Detail>, rendered: WithWarning<P::Launch>| {
        let WithWarning { launch, warning } = rendered;
        if let Some(warning) = warning {
            cx.report.warn(&warning);
        }
        let (launch, difference) = cx.platform.after_refusals(launch, run.capacity_refusals);
        if let Some(reason) = difference {
            tracing::info!(agent = cx.rules.agent, flow_run_id = run.flow_run_id, reason, "spot fallback");
        }
        launch
    };
    let rendered = rendered(cx, runs).await;
    runs.iter().zip(rendered).map(|(run, rendered)| rendered.map(|rendered| as_sent(run, rendered))).collect()
}

/// The launches of runs, as Prefect describes them. One entry per run.
pub(super) async fn rendered<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: &[&DueRun<O::Detail>],
) -> Vec<Result<WithWarning<P::Launch>, RenderError>> {
    let described = cx.orchestrator.describe(runs).await;
    let render = |described: Result<RunDescription, RenderError>| async move { cx.platform.render(described?).await };
    join_all(described.into_iter().map(render)).await
}

/// What the run belonged to is gone: nobody can launch it any more.
async fn end_gone<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
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
pub(super) async fn in_preparing_time<T, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    work: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::time::timeout(PREPARING, work).await.unwrap_or_else(|_| {
        let reason = format!("its launch could not be prepared within {} seconds", PREPARING.as_secs());
        cx.outcome(run, RunOutcome::Deferred(reason));
        None
    })
}

async fn prepare_run<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &'r DueRun<O::Detail>,
    launch: P::Launch,
) -> Option<Prepared<'r, O::Detail, P>> {
    let place = cx.platform.place(&launch);
    let mark = cx.mark(run, &place);
    if run.has_history {
        match earlier_deployment(cx, run, &place).await {
            Ok(Earlier::None) => {}
            Ok(Earlier::Adopt(id)) => return Some(Prepared { run, mark, place, intent: Intent::Adopt { id } }),
            Ok(Earlier::Wait(reason)) => {
                cx.outcome(run, RunOutcome::Deferred(reason));
                return None;
            }
            Err(message) => return Some(Prepared { run, mark, place, intent: Intent::Fail { message } }),
        }
    }
    match prepare_launch(cx, &launch, &cx.identity(run)).await {
        Ok(prepared) => Some(Prepared { run, mark, place, intent: Intent::Launch(Box::new((launch, prepared))) }),
        Err(LaunchOutcome::Permanent(message)) => Some(Prepared { run, mark, place, intent: Intent::Fail { message } }),
        // Nothing is claimed yet, so there is nothing to give back: the run simply stays due.
        Err(outcome) => {
            cx.outcome(run, RunOutcome::Deferred(why_not_prepared(cx, outcome)));
            None
        }
    }
}

/// Prepares a launch; what a person should know about it is in the report.
pub(super) async fn prepare_launch<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    launch: &P::Launch,
    identity: &LaunchIdentity,
) -> Result<P::Prepared, LaunchOutcome> {
    let WithWarning { launch, warning } = cx.platform.prepare(launch, identity).await?;
    if let Some(warning) = warning {
        cx.report.warn(&warning);
    }
    Ok(launch)
}

pub(super) fn why_not_prepared<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    outcome: LaunchOutcome,
) -> String {
    match outcome {
        LaunchOutcome::AgentTrouble(reason) => {
            // Whether it hits the others too shows when they are prepared: it costs them no claim.
            cx.report.trouble(P::TROUBLE, &reason);
            reason
        }
        LaunchOutcome::Transient { reason, cause } => {
            cx.count_throttle(cause);
            reason
        }
        LaunchOutcome::Unknown(reason) | LaunchOutcome::Permanent(reason) => reason,
        LaunchOutcome::Outdated(reason) => reason.to_owned(),
        LaunchOutcome::Started { id } | LaunchOutcome::Adopted { id } | LaunchOutcome::Dead { id, .. } => {
            format!("there is a {} already: {id}", P::NOUN)
        }
    }
}

/// The deployments of a run that have not ended, as far as the platform tells.
pub(super) async fn live<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    place: &P::Place,
) -> Result<Vec<LiveDeployment>, LaunchOutcome> {
    let found = cx.platform.live(place, &cx.identity(run)).await?;
    if let Some(warning) = found.warning {
        cx.report.warn(&warning);
    }
    Ok(found.deployments)
}

/// What an earlier deployment means; an error = the run can never be launched as it stands.
async fn earlier_deployment<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    place: &P::Place,
) -> Result<Earlier, String> {
    let live = match live(cx, run, place).await {
        Ok(live) => live,
        Err(LaunchOutcome::Permanent(message)) => return Err(message),
        Err(outcome) => {
            let reason = why_not_prepared(cx, outcome);
            return Ok(Earlier::Wait(format!("cannot tell whether an earlier {} lives: {reason}", P::NOUN)));
        }
    };
    let decision = decide_on_earlier(&live, run.is_task_retry, P::NOUN);
    if !decision.stop.is_empty()
        && let Err(reason) = check_unchanged(cx, run).await
    {
        return Ok(Earlier::Wait(reason));
    }
    for id in &decision.stop {
        let reason = "Flow run was started again";
        if let Err(outcome) = cx.platform.stop(place, id, reason).await {
            let reason = why_not_prepared(cx, outcome);
            return Ok(Earlier::Wait(format!("earlier {} {id} cannot be stopped: {reason}", P::NOUN)));
        }
    }
    Ok(decision.earlier)
}

/// A run that was claimed meanwhile has a new task, which must not be taken for an earlier one.
pub(super) async fn check_unchanged<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
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

fn failing<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &'r DueRun<O::Detail>,
    message: String,
) -> Prepared<'r, O::Detail, P> {
    let place = P::Place::default();
    Prepared { run, mark: cx.mark(run, &place), place, intent: Intent::Fail { message } }
}

/// Those of the runs that the launch rate still has room for: what is claimed must also be launched. Batches that
/// start side by side share the room; each launch gives its promise back once the launcher itself knows of it.
pub(super) fn within_room<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    mut prepared: Vec<Prepared<'r, O::Detail, P>>,
) -> Vec<Prepared<'r, O::Detail, P>> {
    let room = cx.platform.room(cx.rules.limits.deadline);
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

// Pure: what an earlier turn's deployments mean for a run that is due again.

/// What to do about the run itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// No earlier deployment lives: launch.
    None,
    /// This one has not begun to run: it will run the flow, adopt it.
    Adopt(String),
    /// Not in this poll, and why.
    Wait(String),
}

/// What to do about an earlier turn's deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EarlierDeployments {
    /// Those to stop.
    pub(crate) stop: Vec<String>,
    /// What to do about the run.
    pub(crate) earlier: Earlier,
}

/// Decides. A task retry (Prefect 1: the flow run is Running) leaves a running deployment alone, since that one may be
/// about to retry the task itself; any other run that is due again was given up by Prefect, so its deployment is stopped.
pub(crate) fn decide_on_earlier(live: &[LiveDeployment], is_task_retry: bool, noun: &str) -> EarlierDeployments {
    let running: Vec<_> = live.iter().filter(|one| has_begun(one)).collect();
    let earlier = match (running.first(), live.first()) {
        (Some(one), _) if is_task_retry => {
            Earlier::Wait(format!("its {noun} {} still runs: it may retry by itself", one.id))
        }
        (Some(one), _) if one.progress == Progress::Unknown => {
            Earlier::Wait(format!("its {noun} {} was started a moment ago and cannot be described yet", one.id))
        }
        (Some(one), _) => {
            Earlier::Wait(format!("an earlier {noun} {} is being stopped; launched once it has stopped", one.id))
        }
        (None, Some(one)) => Earlier::Adopt(one.id.clone()),
        (None, None) => Earlier::None,
    };
    // What cannot be described yet was started a moment ago: it is waited for, never stopped.
    let to_stop = |one: &&&LiveDeployment| !is_task_retry && !one.is_stopping && one.progress != Progress::Unknown;
    let stop = running.iter().filter(to_stop).map(|one| one.id.clone()).collect();
    EarlierDeployments { stop, earlier }
}

/// Whether the flow runs or ran: such a deployment cannot stand for a new turn.
fn has_begun(one: &LiveDeployment) -> bool {
    one.progress != Progress::Waiting || one.is_stopping
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(progress: Progress, is_stopping: bool) -> LiveDeployment {
        LiveDeployment { id: format!("arn:{progress:?}"), progress, is_stopping }
    }

    fn decided(live: &[LiveDeployment], is_task_retry: bool) -> EarlierDeployments {
        decide_on_earlier(live, is_task_retry, "task")
    }

    #[test]
    fn without_a_live_deployment_the_run_is_launched() {
        assert_eq!(decided(&[], false), EarlierDeployments { stop: vec![], earlier: Earlier::None });
    }

    #[test]
    fn one_that_has_not_begun_is_adopted_also_for_a_task_retry() {
        for is_task_retry in [false, true] {
            let expected = EarlierDeployments { stop: vec![], earlier: Earlier::Adopt("arn:Waiting".into()) };
            assert_eq!(decided(&[one(Progress::Waiting, false)], is_task_retry), expected);
        }
    }

    #[test]
    fn one_that_runs_is_stopped_and_the_run_waits_for_that() {
        let decision = decided(&[one(Progress::Begun, false)], false);
        assert_eq!(decision.stop, ["arn:Begun"]);
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("being stopped")));
    }

    #[test]
    fn one_that_is_stopping_is_waited_for_and_not_stopped_again() {
        for progress in [Progress::Begun, Progress::Waiting, Progress::Unknown] {
            let decision = decided(&[one(progress, true)], false);
            assert!(decision.stop.is_empty());
            assert!(matches!(decision.earlier, Earlier::Wait(_)));
        }
    }

    #[test]
    fn a_task_retry_leaves_a_running_one_alone() {
        let decision = decided(&[one(Progress::Begun, false)], true);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("retry by itself")));
    }

    #[test]
    fn one_too_new_to_be_described_is_waited_for_and_not_stopped() {
        let decision = decided(&[one(Progress::Unknown, false)], false);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }

    #[test]
    fn a_running_one_among_waiting_ones_decides() {
        let decision = decided(&[one(Progress::Waiting, false), one(Progress::Begun, false)], false);
        assert_eq!(decision.stop, ["arn:Begun"]);
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }
}
