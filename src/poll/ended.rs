//! Deployments that have ended and of which Prefect may not know: where the platform keeps count itself, and no event tells.

use super::report::ReportBuilder;
use crate::clock::Clock;
use crate::model::ApiError;
use crate::model::{ClaimedBy, Generation, Phase, Run};
use crate::orchestrator::{Ending, LogLevel, RunLog, TaskWatch, Watched};
use crate::platform::{EndedDeployment, Place, Platform};
use std::time::Duration;
use time::OffsetDateTime;

/// A process writes its run's final state before it ends; what takes longer than this does not come any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What is to be done about an ended deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum EndedDecision {
    /// Prefect knows, or it is none of its business any more.
    Forget,
    /// It is too early to tell.
    Wait,
    /// Failed (Prefect 1) or Crashed (2 and 3).
    End(String),
    /// As a user wanted it.
    Cancel(String),
}

/// Decides. Pure. `is_current`: it is the deployment of the run's current turn.
fn decide(
    ended: &EndedDeployment,
    run: &Run,
    is_current: bool,
    (generation, noun, now): (Generation, &str, OffsetDateTime),
) -> EndedDecision {
    let id = &ended.id;
    match (run.phase, &ended.failure) {
        (Phase::Ended | Phase::Waiting, _) => EndedDecision::Forget,
        _ if !is_current || run.claimed_by == ClaimedBy::AnotherAgent => EndedDecision::Forget,
        (Phase::Cancelling, _) => EndedDecision::Cancel(format!("Cancelled, and its {noun} {id} has stopped.")),
        (Phase::Claimed | Phase::Running, Some(failure)) => {
            EndedDecision::End(format!("The flow run has not ended, but {failure}.{}", named(noun, id)))
        }
        // Its task runs are taken up later, by another deployment.
        (_, None) if generation == Generation::One && run.waits_for_task_runs => EndedDecision::Forget,
        (_, None) if now - ended.at < LAST_WORDS => EndedDecision::Wait,
        (_, None) => EndedDecision::End(format!("The flow run has not ended, but its {noun} has.{}", named(noun, id))),
    }
}

/// The deployment, for whoever looks for it; one that never was has no name.
fn named(noun: &str, id: &str) -> String {
    if id.is_empty() { String::new() } else { format!(" ({noun} {id})") }
}

/// Tells Prefect of the deployments that have ended. What cannot be told now is told by a later poll.
pub(super) async fn tell_ended<O: TaskWatch, P: Platform, C: Clock>(
    agent: &str,
    generation: Generation,
    (orchestrator, platform, clock): (&O, &P, &C),
    report: &ReportBuilder,
) {
    for ended in platform.ended().await {
        let flow_run_id = ended.identity.flow_run_id.as_str();
        match tell(generation, (orchestrator, platform, clock), &ended).await {
            Ok(Some(done)) => {
                tracing::info!(agent, flow_run_id, id = ended.id, done, "the end of a deployment was told");
                platform.forget(&ended);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(agent, flow_run_id, id = ended.id, %error, "the end of a deployment is not told yet");
                report.warn(&format!("that a {} has ended cannot be told to Prefect: {error}", P::NOUN));
            }
        }
    }
}

/// What was done; `None` = nothing yet.
async fn tell<O: TaskWatch, P: Platform, C: Clock>(
    generation: Generation,
    (orchestrator, platform, clock): (&O, &P, &C),
    ended: &EndedDeployment,
) -> Result<Option<&'static str>, ApiError> {
    let Some(watched) = orchestrator.watch(&ended.identity.flow_run_id).await? else { return Ok(Some("nothing")) };
    let Some(is_current) = is_current(&watched, platform, ended).await else { return Ok(None) };
    let (told, level, message) = match decide(ended, &watched.now, is_current, (generation, P::NOUN, clock.now())) {
        EndedDecision::Forget => return Ok(Some("nothing")),
        EndedDecision::Wait => return Ok(None),
        EndedDecision::End(message) => (orchestrator.end_dead(&watched.run, &message).await, LogLevel::Error, message),
        EndedDecision::Cancel(message) => {
            let ending = Ending { run: &watched.run, message: message.clone() };
            (orchestrator.cancelled(&[ending]).await.pop().unwrap_or(Ok(())), LogLevel::Info, message)
        }
    };
    match told {
        Ok(()) => {
            let line = RunLog { flow_run_id: watched.run.flow_run_id, level, message };
            if let Err(error) = orchestrator.log(&[line]).await {
                tracing::warn!(%error, "run logs were not written");
            }
            Ok(Some("its run was ended"))
        }
        // It moved on meanwhile.
        Err(ApiError::NotOurs(_)) => Ok(Some("nothing")),
        Err(error) => Err(error),
    }
}

/// Whether it is the deployment of the run's current turn: of the claim, by its token; of a flow that runs, by its pid
/// where Prefect knows one, and as long as no other one lives. `None` = that cannot be told now.
async fn is_current<D, P: Platform>(watched: &Watched<D>, platform: &P, ended: &EndedDeployment) -> Option<bool> {
    if watched.now.phase == Phase::Claimed {
        return Some(watched.run.token == ended.identity.token);
    }
    let names_another = |pid: &String| P::Place::of_pid(pid).1 != ended.id;
    if watched.now.infrastructure_pid.as_ref().is_some_and(names_another) {
        return Some(false);
    }
    let live = platform.live(&P::Place::default(), &ended.identity).await;
    live.ok().map(|live| live.deployments.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::LaunchIdentity;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);

    fn ended(failure: Option<&str>, seconds_ago: i64) -> EndedDeployment {
        let identity = LaunchIdentity { flow_run_id: "1".into(), token: "t".into(), started_by: "s".into() };
        let at = NOW - time::Duration::seconds(seconds_ago);
        EndedDeployment { id: "4711".into(), identity, at, failure: failure.map(str::to_owned) }
    }

    fn run(phase: Phase) -> Run {
        Run {
            phase,
            claimed_at: None,
            infrastructure_pid: None,
            attempt: None,
            claimed_by: ClaimedBy::Us,
            has_run: false,
            waits_for_task_runs: false,
        }
    }

    fn decided(ended: &EndedDeployment, run: &Run) -> EndedDecision {
        decide(ended, run, true, (Generation::One, "process", NOW))
    }

    #[test]
    fn a_run_that_goes_on_without_its_process_is_ended_with_the_reason() {
        for phase in [Phase::Claimed, Phase::Running] {
            let EndedDecision::End(message) = decided(&ended(Some("it exited with code 3"), 0), &run(phase)) else {
                unreachable!("{phase:?}")
            };
            assert_eq!(message, "The flow run has not ended, but it exited with code 3. (process 4711)");
        }
    }

    #[test]
    fn a_process_that_ended_well_is_given_time_for_its_last_words() {
        assert_eq!(decided(&ended(None, 9), &run(Phase::Running)), EndedDecision::Wait);
        assert!(matches!(decided(&ended(None, 10), &run(Phase::Running)), EndedDecision::End(_)));
        let waits = Run { waits_for_task_runs: true, ..run(Phase::Running) };
        assert_eq!(decided(&ended(None, 10), &waits), EndedDecision::Forget, "its task runs are taken up later");
    }

    #[test]
    fn a_cancelled_run_is_cancelled_and_one_that_is_over_or_anothers_is_left() {
        let failed = ended(Some("it was ended by signal 15"), 0);
        assert!(matches!(decided(&failed, &run(Phase::Cancelling)), EndedDecision::Cancel(_)));
        for phase in [Phase::Ended, Phase::Waiting] {
            assert_eq!(decided(&failed, &run(phase)), EndedDecision::Forget);
        }
        let anothers = Run { claimed_by: ClaimedBy::AnotherAgent, ..run(Phase::Running) };
        assert_eq!(decided(&failed, &anothers), EndedDecision::Forget);
        let earlier = decide(&failed, &run(Phase::Running), false, (Generation::One, "process", NOW));
        assert_eq!(earlier, EndedDecision::Forget);
    }
}
