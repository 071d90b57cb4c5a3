//! The last step: Prefect is told what became of each claimed run. Its log, given back, failed.

use super::context::Context;
use super::launch::Launched;
use super::report::{RunOutcome, between};
use crate::clock::{Clock, after};
use crate::model::ApiError;
use crate::orchestrator::{DueRun, Ending, GiveBack, LogLevel, Mark, Orchestrator, RunLog};
use crate::platform::launch::{AfterLaunch, give_back_delay};
use crate::platform::{Place, Platform};
use futures_util::future::join_all;
use std::time::Duration;

/// What is not written down in time is found by what it was started by.
const RECORDING: Duration = Duration::from_secs(4);

/// Log lines are not waited for longer: launches wait behind them.
const LOGGING: Duration = Duration::from_secs(3);

/// Tells Prefect what became of claimed runs. The lines for the runs' logs come back: they are written together, and
/// change nothing of what becomes of a run.
pub(super) async fn tell<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    launched: Vec<Launched<'_, O::Detail, P::Place>>,
) -> Vec<RunLog> {
    let lines = launched.iter().filter_map(|launched| log_line(cx.platform, launched.run, &launched.after)).collect();
    let (changes, rest): (Vec<_>, Vec<_>) = launched
        .into_iter()
        .partition(|launched| matches!(launched.after, AfterLaunch::GiveBack { .. } | AfterLaunch::Fail(_)));
    let quiet = join_all(rest.into_iter().map(|launched| tell_launched(cx, launched)));
    tokio::join!(quiet, change_states(cx, changes));
    lines
}

/// Writes lines to the runs' logs. Best effort.
pub(super) async fn write_log<O: Orchestrator, P: Platform, C: Clock>(cx: &Context<'_, O, P, C>, lines: Vec<RunLog>) {
    if lines.is_empty() {
        return;
    }
    let error = match tokio::time::timeout(LOGGING, cx.orchestrator.log(&lines)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(agent = cx.rules.agent, error, lines = lines.len(), "run logs were not written");
}

async fn tell_launched<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    launched: Launched<'_, O::Detail, P::Place>,
) {
    let Launched { run, mark, place, after, is_orphan, at } = launched;
    let agent = cx.rules.agent.as_str();
    let (flow_run_id, epoch) = (run.flow_run_id.as_str(), mark.epoch.as_str());
    match after {
        AfterLaunch::Launched { id, adopted } => {
            let late_ms = run.scheduled_for.map(|due| between(due, at));
            tracing::info!(agent, flow_run_id, epoch, task_arn = id, adopted, late_ms, "flow run launched");
            let pid = place.pid(&id);
            let to = id;
            let outcome = if is_orphan {
                RunOutcome::Recovered { task_arn: to }
            } else {
                RunOutcome::Launched { task_arn: to, adopted, at }
            };
            cx.outcome(run, outcome);
            is_deployed(cx, run, pid).await;
        }
        AfterLaunch::Leave(reason) => {
            tracing::warn!(agent, flow_run_id, epoch, reason, "flow run left claimed");
            cx.outcome(run, RunOutcome::Deferred(reason));
        }
        AfterLaunch::GiveBack { .. } | AfterLaunch::Fail(_) => {}
    }
}

/// A run is deployed: written down where Prefect has a place for it, and told to others at the end of the iteration.
pub(super) async fn is_deployed<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    pid: String,
) {
    cx.seen.insert(&run.token);
    write_down(cx, run, &pid).await;
    cx.to_announce(run.clone(), pid);
}

/// Writes the pid of a run down where Prefect has a place for it.
pub(super) async fn write_down<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    run: &DueRun<O::Detail>,
    pid: &str,
) {
    if tokio::time::timeout(RECORDING, cx.orchestrator.record_pid(run, pid)).await.is_err() {
        let (agent, flow_run_id) = (cx.rules.agent.as_str(), run.flow_run_id.as_str());
        tracing::debug!(agent, flow_run_id, "the flow run's task was not written down in time");
    }
}

async fn change_states<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    changes: Vec<Launched<'_, O::Detail, P::Place>>,
) {
    let (mut given_back, mut failed) = (Vec::new(), Vec::new());
    for Launched { run, mark, after, .. } in changes {
        match after {
            AfterLaunch::GiveBack { reason, for_capacity, counted } => {
                // An attempt that does not count leaves the number as it was before.
                let attempt = if counted { mark.attempt } else { run.attempts };
                given_back.push((run, Mark { attempt, ..mark }, reason, for_capacity));
            }
            AfterLaunch::Fail(message) => failed.push((run, mark, message)),
            AfterLaunch::Launched { .. } | AfterLaunch::Leave(_) => {}
        }
    }
    tokio::join!(give_back(cx, given_back), fail(cx, failed));
}

async fn give_back<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: Vec<(&DueRun<O::Detail>, Mark, String, bool)>,
) {
    if runs.is_empty() {
        return;
    }
    let requests: Vec<_> = runs
        .iter()
        .map(|(run, mark, reason, for_capacity)| GiveBack {
            run,
            mark,
            reason: reason.clone(),
            for_capacity: *for_capacity,
            delay: give_back_delay(mark.attempt),
        })
        .collect();
    let now = cx.clock.now();
    let answers = cx.orchestrator.give_back(&requests, now).await;
    for ((run, mark, reason, _), answer) in runs.into_iter().zip(answers) {
        tracing::warn!(agent = cx.rules.agent, flow_run_id = run.flow_run_id, reason, "flow run given back");
        let outcome = match answer {
            Ok(()) => {
                cx.report.given_back(&run.flow_run_id, after(now, give_back_delay(mark.attempt)));
                RunOutcome::Deferred(reason)
            }
            Err(error) => not_written(cx, &format!("{reason} (the claim could not be given back)"), &error),
        };
        cx.outcome(run, outcome);
    }
}

async fn fail<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: Vec<(&DueRun<O::Detail>, Mark, String)>,
) {
    if runs.is_empty() {
        return;
    }
    let endings: Vec<_> = runs.iter().map(|(run, _, message)| Ending { run, message: message.clone() }).collect();
    let answers = cx.orchestrator.fail(&endings).await;
    for ((run, _, message), answer) in runs.into_iter().zip(answers) {
        // Named as in the line of what is given back. (`message` is what the line itself is called.)
        tracing::warn!(agent = cx.rules.agent, flow_run_id = run.flow_run_id, reason = message, "flow run failed");
        let outcome = match answer {
            Ok(()) => RunOutcome::Failed(message),
            Err(error) => not_written(cx, &format!("{message} (Failed could not be written)"), &error),
        };
        cx.outcome(run, outcome);
    }
}

/// What becomes of a run whose state could not be changed.
fn not_written<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    reason: &str,
    error: &ApiError,
) -> RunOutcome {
    if let ApiError::NotOurs(now) = error {
        return RunOutcome::Skipped(now.clone());
    }
    cx.api_trouble(error);
    RunOutcome::Deferred(format!("{reason}: {error}"))
}

/// The line in the run's own log, as its owner will read it in Prefect.
fn log_line<D, P: Platform>(platform: &P, run: &DueRun<D>, after: &AfterLaunch) -> Option<RunLog> {
    let (level, message) = match after {
        AfterLaunch::Launched { id, adopted: false } => {
            (LogLevel::Info, format!("Submitted for execution: {}", platform.shown(id)))
        }
        AfterLaunch::Launched { id, adopted: true } => {
            (LogLevel::Info, format!("Submitted for execution: {} (it existed already)", platform.shown(id)))
        }
        AfterLaunch::GiveBack { reason, .. } => (LogLevel::Warning, format!("Not launched yet, tried again: {reason}")),
        AfterLaunch::Fail(message) => (LogLevel::Error, message.clone()),
        AfterLaunch::Leave(_) => return None,
    };
    Some(RunLog { flow_run_id: run.flow_run_id.clone(), level, message })
}
