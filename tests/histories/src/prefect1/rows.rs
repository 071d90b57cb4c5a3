//! Rows → due runs, runs as they are now, claims: as the agent reads them.

use super::server::{FlowRun, Kind, State, TaskRun};
use crate::run::RunId;
use prefect_serverless_agent::launch::token::client_token;
use prefect_serverless_agent::orchestrator::{DueRun, Mark, RunNow};
use time::OffsetDateTime;

/// What Prefect 1 says about a due run.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The run.
    pub run: RunId,
    /// Its state as it was received.
    pub received: State,
    /// The due task runs of a Running run.
    pub task_runs: Vec<TaskRun>,
}

/// What was seen of a task retry: task runs due up to then, and the epoch that they make.
pub(super) type Observed = (OffsetDateTime, String);

/// The epoch of a Running run: its due task runs and their versions.
fn epoch_of_task_runs<'a>(task_runs: impl Iterator<Item = &'a TaskRun>) -> String {
    let mut pairs: Vec<String> = task_runs.map(|task_run| format!("{}:{}", task_run.id, task_run.version)).collect();
    pairs.sort_unstable();
    let mut epoch = client_token("task runs", &pairs.join("\n"));
    epoch.truncate(20);
    epoch
}

fn is_due(task_run: &TaskRun, before: Option<OffsetDateTime>) -> bool {
    let waits = matches!(task_run.state.kind, Kind::Scheduled | Kind::Retrying | Kind::Paused | Kind::Queued);
    waits && task_run.state.start_time.zip(before).is_none_or(|(start, before)| start <= before)
}

/// The due run that a row is, if it is one.
pub(super) fn due_run(
    run: RunId,
    row: &FlowRun,
    (now, before, retry_before): (OffsetDateTime, OffsetDateTime, OffsetDateTime),
) -> Option<DueRun<Detail>> {
    let detail = |task_runs| Detail { run, received: row.state.clone(), task_runs };
    match row.state.kind {
        Kind::Scheduled => {
            let start_time = row.state.start_time.unwrap_or(now);
            let is_due = start_time <= before;
            let (mark, epoch) = (row.state.mark.as_ref(), row.version.to_string());
            is_due.then(|| due(run, row, start_time, epoch, mark, detail(Vec::new()), false))
        }
        Kind::Running => {
            let task_runs: Vec<TaskRun> =
                row.task_runs.iter().filter(|task_run| is_due(task_run, Some(retry_before))).cloned().collect();
            let epoch = epoch_of_task_runs(task_runs.iter());
            let mark = task_runs.iter().filter_map(|task_run| task_run.state.mark.as_ref()).max_by_key(|m| m.attempt);
            let mark = mark.cloned();
            (!task_runs.is_empty()).then(|| due(run, row, now, epoch, mark.as_ref(), detail(task_runs), true))
        }
        _ => None,
    }
}

fn due(
    run: RunId,
    row: &FlowRun,
    start_time: OffsetDateTime,
    epoch: String,
    given_back: Option<&Mark>,
    detail: Detail,
    is_task_retry: bool,
) -> DueRun<Detail> {
    let id = run.to_string();
    DueRun {
        name: id.clone(),
        start_time,
        token: client_token(&id, &epoch),
        epoch,
        has_history: row.version > 1,
        is_task_retry,
        attempts: given_back.map_or(0, |mark| mark.attempt),
        capacity_refusals: given_back.map_or(0, |mark| mark.capacity_refusals),
        flow_run_id: id,
        detail,
    }
}

/// A run as it is now, in the terms of what was observed.
pub(super) fn run_now(row: &FlowRun, observed: Option<&Observed>) -> RunNow {
    let state = row.state.kind.text();
    if row.state.kind != Kind::Running {
        let mark = row.state.mark.clone().filter(|_| row.state.kind == Kind::Submitted);
        return RunNow { epoch: row.version.to_string(), state, mark };
    }
    let due = row.task_runs.iter().filter(|task_run| is_due(task_run, observed.map(|(before, _)| *before)));
    let claimed = row.task_runs.iter().filter(|task_run| task_run.state.kind == Kind::Submitted);
    let wanted = |mark: &Mark| observed.is_some_and(|(_, epoch)| *epoch == mark.epoch);
    let mark = claimed.filter_map(|task_run| task_run.state.mark.clone()).max_by_key(|m| (wanted(m), m.attempt));
    RunNow { epoch: epoch_of_task_runs(due), state, mark }
}

/// The claim of this agent that a row is: its run, mark and time.
pub(super) fn claim(run: RunId, row: &FlowRun, agent: &str) -> Option<(DueRun<Detail>, Mark, OffsetDateTime)> {
    let is_ours = |state: &State| state.mark.as_ref().is_some_and(|mark| mark.agent == agent);
    let received = |state: &State| state.inner.as_deref().cloned().unwrap_or_else(|| State::plain(Kind::Scheduled));
    match row.state.kind {
        Kind::Submitted if is_ours(&row.state) => {
            let mark = row.state.mark.clone()?;
            let detail = Detail { run, received: received(&row.state), task_runs: Vec::new() };
            Some((claimed(run, row, row.since, &mark, detail, false), mark, row.since))
        }
        Kind::Running => {
            let ours = |task_run: &&TaskRun| task_run.state.kind == Kind::Submitted && is_ours(&task_run.state);
            let marks = row.task_runs.iter().filter(ours).filter_map(|task_run| task_run.state.mark.clone());
            let mark = marks.max_by_key(|mark| mark.attempt)?;
            let of_it =
                row.task_runs.iter().filter(ours).filter(|task_run| mark.is_claim_of(task_run.state.mark.as_ref()));
            let of_it: Vec<TaskRun> = of_it.cloned().collect();
            let since = of_it.iter().map(|task_run| task_run.since).max()?;
            let task_runs = of_it.into_iter().map(|task| TaskRun { state: received(&task.state), ..task }).collect();
            let detail = Detail { run, received: row.state.clone(), task_runs };
            Some((claimed(run, row, since, &mark, detail, true), mark, since))
        }
        _ => None,
    }
}

/// A claim as the run it is for.
pub(super) fn claimed(
    run: RunId,
    row: &FlowRun,
    since: OffsetDateTime,
    mark: &Mark,
    detail: Detail,
    is_task_retry: bool,
) -> DueRun<Detail> {
    DueRun {
        token: mark.token.clone(),
        has_history: true,
        attempts: mark.attempt.saturating_sub(1),
        capacity_refusals: mark.capacity_refusals,
        ..due(run, row, since, mark.epoch.clone(), None, detail, is_task_retry)
    }
}
