//! Runs that a user cancelled: their tasks are stopped, at once when they have not begun, else when the flow had time to
//! end by itself.

use super::context::Context;
use super::prepare::{check_unchanged, live, rendered, why_not_prepared};
use super::report::RunOutcome;
use crate::clock::Clock;
use crate::model::{ApiError, ErrorKind};
use crate::orchestrator::{CancellingRun, Ending, Orchestrator, RenderError};
use crate::platform::{LiveDeployment, Place, Platform, Progress};
use futures_util::future::join_all;
use std::time::Duration;
use time::OffsetDateTime;

/// Why a deployment is stopped, as the platform shows it.
const STOP_REASON: &str = "The flow run was cancelled";

/// What is to be done about a cancelled run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CancelDecision {
    /// Deployments to stop.
    pub(crate) stop: Vec<String>,
    /// Nothing is left that could end the run by itself: it is written down as Cancelled.
    pub(crate) ends: bool,
}

/// Decides, by the run's deployments. Pure. `patient`: the flow has begun, and has not had its time to end by itself.
pub(crate) fn decide(live: &[LiveDeployment], patient: bool) -> CancelDecision {
    let may_go_on = |one: &&LiveDeployment| patient && one.progress == Progress::Begun;
    let stop = live.iter().filter(|one| !one.is_stopping && !may_go_on(one));
    // A flow that has begun and shows no deployment may run where this agent cannot see it.
    let unseen = patient && live.is_empty();
    CancelDecision {
        stop: stop.map(|one| one.id.clone()).collect(),
        ends: !unseen && !live.iter().any(|one| may_go_on(&one)),
    }
}

/// Whether a flow may be ending by itself: it has begun at some time, and has not had its grace since it was cancelled.
pub(crate) fn is_patient(
    has_started: bool,
    cancelled: OffsetDateTime,
    now: OffsetDateTime,
    cancel_grace: Duration,
) -> bool {
    has_started && now - cancelled < cancel_grace
}

/// Stops the tasks of cancelled runs and ends the runs.
pub(super) async fn cancel<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    cancelling: Vec<CancellingRun<O::Detail>>,
    now: OffsetDateTime,
) {
    if !cancelling.is_empty() {
        cancel_all(cx, &cancelling, now).await;
    }
}

async fn cancel_all<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    cancelling: &[CancellingRun<O::Detail>],
    now: OffsetDateTime,
) {
    let runs: Vec<_> = cancelling.iter().map(|cancelling| &cancelling.run).collect();
    let places = rendered(cx, &runs).await.into_iter().zip(cancelling).map(|(rendered, cancelling)| {
        if let Err(RenderError::NotUnderstood(reason)) = &rendered {
            cx.report.trouble(ErrorKind::ApiError, reason);
        }
        let recorded = cancelling.pid.as_ref().map(|pid| P::Place::of_pid(pid).0);
        match (rendered, recorded) {
            (Ok(rendered), Some(recorded)) => Ok(cx.platform.place(&rendered.launch).named(&recorded.name())),
            (Ok(rendered), None) => Ok(where_claimed(cx.platform.place(&rendered.launch), cancelling)),
            (Err(_), Some(recorded)) => Ok(recorded),
            (Err(RenderError::Refused(_) | RenderError::Gone(_)), None) => {
                Ok(where_claimed(P::Place::default(), cancelling))
            }
            (Err(RenderError::NotNow(reason) | RenderError::NotUnderstood(reason)), None) => Err(reason),
        }
    });
    let stopped = cancelling.iter().zip(places).map(|(cancelling, place)| async move {
        match place {
            Ok(place) => stop_deployments(cx, cancelling, &place, now).await,
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
async fn stop_deployments<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    cancelling: &CancellingRun<O::Detail>,
    place: &P::Place,
    now: OffsetDateTime,
) -> Result<Option<String>, String> {
    let trouble = |outcome| why_not_prepared(cx, outcome);
    let mut found = live(cx, &cancelling.run, place).await.map_err(trouble)?;
    // What a Python worker started is not found by what it was started by.
    if let Some(known) = cancelling.pid.as_ref().map(|pid| P::Place::of_pid(pid).1)
        && found.iter().all(|one| one.id != known)
    {
        found.extend(cx.platform.find(place, &known).await.map_err(trouble)?);
    }
    let patient = is_patient(cancelling.has_started, cancelling.since, now, cx.rules.cancel_grace);
    let decision = decide(&found, patient);
    if !decision.stop.is_empty() {
        // A run that was started again meanwhile has a new deployment, which must not be taken for the cancelled one.
        check_unchanged(cx, &cancelling.run).await?;
    }
    for task_arn in &decision.stop {
        cx.platform.stop(place, task_arn, STOP_REASON).await.map_err(trouble)?;
        let (agent, flow_run_id) = (cx.rules.agent.as_str(), cancelling.run.flow_run_id.as_str());
        tracing::info!(agent, flow_run_id, task_arn, "the task of a cancelled flow run was stopped");
    }
    let is_told = if cancelling.is_over { !decision.stop.is_empty() } else { decision.ends };
    Ok(is_told.then(|| match decision.stop.first() {
        Some(id) => format!("Cancelled: {} {id} was stopped.", P::NOUN),
        None => format!("Cancelled: no {} was running.", P::NOUN),
    }))
}

async fn end<O: Orchestrator, P: Platform, C: Clock>(cx: &Context<'_, O, P, C>, ending: Vec<Ending<'_, O::Detail>>) {
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

/// A place, but by the name that the run's claim remembers where that is known.
fn where_claimed<L: Place, D>(place: L, cancelling: &CancellingRun<D>) -> L {
    match &cancelling.place {
        Some(name) => place.named(name),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(progress: Progress, is_stopping: bool) -> LiveDeployment {
        LiveDeployment { id: format!("arn:{progress:?}"), progress, is_stopping }
    }

    fn decided(live: &[LiveDeployment], patient: bool) -> (Vec<String>, bool) {
        let CancelDecision { stop, ends } = decide(live, patient);
        (stop, ends)
    }

    #[test]
    fn a_flow_that_has_begun_has_its_grace_and_no_moment_more() {
        let now = time::macros::datetime!(2026-11-24 12:00 UTC);
        let patient = |has_started, seconds| {
            is_patient(has_started, now - time::Duration::seconds(seconds), now, Duration::from_secs(90))
        };
        assert!(patient(true, 89) && !patient(true, 90) && !patient(false, 0));
    }

    #[test]
    fn one_that_has_not_begun_is_stopped_at_once() {
        for progress in [Progress::Waiting, Progress::Unknown] {
            for patient in [true, false] {
                let stopped = (vec![format!("arn:{progress:?}")], true);
                assert_eq!(decided(&[one(progress, false)], patient), stopped, "{progress:?}, {patient}");
            }
        }
    }

    #[test]
    fn a_flow_that_runs_gets_its_grace_then_it_is_stopped() {
        assert_eq!(decided(&[one(Progress::Begun, false)], true), (vec![], false));
        assert_eq!(decided(&[one(Progress::Begun, false)], false), (vec!["arn:Begun".into()], true));
    }

    #[test]
    fn one_that_was_told_to_stop_is_not_told_again() {
        assert_eq!(decided(&[one(Progress::Waiting, true)], true), (vec![], true));
        assert_eq!(decided(&[one(Progress::Begun, true)], true), (vec![], false), "it may still say how it ended");
        assert_eq!(decided(&[one(Progress::Begun, true)], false), (vec![], true));
    }

    #[test]
    fn a_run_without_one_ends_at_once_unless_its_flow_has_begun() {
        assert_eq!(decided(&[], false), (vec![], true));
        assert_eq!(decided(&[], true), (vec![], false));
    }
}
