//! A run that is read again, in the terms of the epoch that was observed. Pure.

use super::epoch::of_task_runs;
use super::queries::Times;
use super::rows::{RunSnapshot, is_due, is_submitted, mark_of};
use crate::orchestrator::{Mark, RunNow};
use crate::prefect1::flow_run::TaskRun;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// What was seen of a task retry when it was due: how its epoch was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    /// Task runs that started up to here counted as due.
    pub retry_before: OffsetDateTime,
    /// The epoch.
    pub epoch: String,
}

impl Observed {
    /// What to remember of a task retry.
    pub(super) fn new(times: &Times, epoch: &str) -> Self {
        Self { retry_before: times.retry_before, epoch: epoch.to_owned() }
    }
}

/// A run as it is now, in the terms of the epoch that was observed.
///
/// A Running run keeps its epoch as long as exactly the observed task runs wait in the observed versions: task runs
/// that became due since do not count (`observed` says up to when to count; unknown = all that wait count). Its mark is
/// that of its claimed task runs: a claim that succeeded for only some of them, or whose answer was lost, shows as the
/// mark of the observed epoch, which stays the epoch of the launch. A claim changes `epoch` but never the mark's.
pub(super) fn run_now(look: &RunSnapshot, observed: Option<&Observed>) -> RunNow {
    if look.state != "Running" {
        return RunNow { epoch: look.version.to_string(), state: look.state.clone(), mark: claim_mark(look) };
    }
    let retry_before = observed.map(|observed| observed.retry_before);
    let due: Vec<TaskRun> = look.task_runs.iter().filter(|task_run| is_due(task_run, retry_before)).cloned().collect();
    let mark = task_mark(&look.task_runs, observed.map(|observed| observed.epoch.as_str()));
    RunNow { epoch: of_task_runs(&due), state: look.state.clone(), mark }
}

/// The mark in a flow run's claim; a mark in another state tells of an earlier claim that was given back.
fn claim_mark(look: &RunSnapshot) -> Option<Mark> {
    look.mark.clone().filter(|_| look.state == "Submitted")
}

/// The mark on claimed task runs: of the wanted epoch if there is one, else the one of the latest attempt.
fn task_mark(task_runs: &[TaskRun], epoch: Option<&str>) -> Option<Mark> {
    let claimed = task_runs.iter().filter(|task_run| is_submitted(&task_run.serialized_state));
    claimed
        .filter_map(|task_run| mark_of(&task_run.serialized_state))
        .max_by_key(|mark| (Some(mark.epoch.as_str()) == epoch, mark.attempt))
}
