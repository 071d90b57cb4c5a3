//! A flow run as Prefect has it now: the same for all generations of Prefect.

use time::OffsetDateTime;

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Prefect 0.15 and 1: a dead run is Failed.
    One,
    /// Prefect 2 and 3: a dead run is CRASHED; events and sub-states tell of its task.
    TwoOrThree,
}

/// A flow run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How far it is.
    pub phase: Phase,
    /// When its current turn was claimed. Prefect 1: time of the newest Submitted among the states of the flow run and,
    /// for a task retry, of its task runs. Prefect 2 and 3: time of the newest state *named* Pending, also when a
    /// sub-state or RUNNING has come since. `None` = unknown.
    pub claimed_at: Option<OffsetDateTime>,
    /// Prefect 2 and 3: as its platform wrote it down (ECS: `<cluster>::<task ARN>`); may be that of an earlier turn.
    pub infrastructure_pid: Option<String>,
    /// Number of the launch attempt in the mark of its claim, from 1; `None` = it is in no claim of ours.
    pub attempt: Option<u32>,
    /// Whose its newest claim is, also when its flow has begun since.
    pub claimed_by: ClaimedBy,
    /// Whether its flow ever ran, also in an earlier turn.
    pub has_run: bool,
    /// Prefect 1: a task run waits (see [`is_waiting_task_run`]), so that the flow's process may end although the run
    /// goes on.
    pub waits_for_task_runs: bool,
}

/// Whose a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimedBy {
    /// The agent's that was asked.
    Us,
    /// Another agent's of this program: its mark says so.
    AnotherAgent,
    /// Not known: a Python agent's, or there is none.
    Unknown,
}

impl ClaimedBy {
    /// By whether the agent in a claim's mark is the one that was asked; `None` = there is no mark.
    pub fn of_mark(is_ours: Option<bool>) -> Self {
        match is_ours {
            Some(true) => Self::Us,
            Some(false) => Self::AnotherAgent,
            None => Self::Unknown,
        }
    }
}

/// How far a flow run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody's now: scheduled, to be retried, queued, paused. Also every state that is not known here.
    Waiting,
    /// Claimed for launch; its flow has not begun in this turn.
    Claimed,
    /// Its flow runs.
    Running,
    /// A user cancelled it; that is not finished.
    Cancelling,
    /// It has a final state.
    Ended,
}

impl Phase {
    /// Of a flow run of Prefect 1. `has_claimed_task_runs`: a task run of it is Submitted with our mark, which is how a
    /// retry of tasks is claimed while the flow run stays Running.
    pub fn of_prefect_1(state: &str, has_claimed_task_runs: bool) -> Self {
        match state {
            "Submitted" => Self::Claimed,
            "Running" if has_claimed_task_runs => Self::Claimed,
            "Running" => Self::Running,
            "Cancelling" => Self::Cancelling,
            "Cancelled" | "Success" | "Failed" | "TimedOut" | "Finished" | "Skipped" | "Cached" | "Mapped"
            | "Looped" | "TriggerFailed" | "ValidationFailed" => Self::Ended,
            _ => Self::Waiting,
        }
    }

    /// Of a flow run of Prefect 2 or 3, by its `state_type`.
    pub fn of_prefect_3(state_type: &str) -> Self {
        match state_type {
            "PENDING" => Self::Claimed,
            "RUNNING" => Self::Running,
            "CANCELLING" => Self::Cancelling,
            "COMPLETED" | "FAILED" | "CRASHED" | "CANCELLED" => Self::Ended,
            _ => Self::Waiting,
        }
    }
}

/// Prefect 1: whether a task run in this state is taken up later by another process than the one that just ended.
pub fn is_waiting_task_run(state: &str) -> bool {
    matches!(state, "Scheduled" | "Retrying" | "Paused" | "Resume" | "Queued" | "Submitted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_prefect_1() {
        let phase = |state| Phase::of_prefect_1(state, false);
        assert_eq!(phase("Submitted"), Phase::Claimed);
        assert_eq!(phase("Running"), Phase::Running);
        assert_eq!(Phase::of_prefect_1("Running", true), Phase::Claimed);
        assert_eq!(phase("Cancelling"), Phase::Cancelling);
        for state in ["Success", "Failed", "Cancelled", "TimedOut", "Skipped", "TriggerFailed", "ValidationFailed"] {
            assert_eq!(Phase::of_prefect_1(state, true), Phase::Ended, "{state}");
        }
        for state in ["Scheduled", "Queued", "Paused", "Resume", "Retrying", "Pending", "", "New in 1.5"] {
            assert_eq!(Phase::of_prefect_1(state, true), Phase::Waiting, "{state}");
        }
    }

    #[test]
    fn phases_of_prefect_3() {
        assert_eq!(Phase::of_prefect_3("PENDING"), Phase::Claimed);
        assert_eq!(Phase::of_prefect_3("RUNNING"), Phase::Running);
        assert_eq!(Phase::of_prefect_3("CANCELLING"), Phase::Cancelling);
        for state in ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"] {
            assert_eq!(Phase::of_prefect_3(state), Phase::Ended, "{state}");
        }
        for state in ["SCHEDULED", "PAUSED", "", "NEW"] {
            assert_eq!(Phase::of_prefect_3(state), Phase::Waiting, "{state}");
        }
    }

    #[test]
    fn task_runs_wait_for_another_process_or_they_do_not() {
        for state in ["Scheduled", "Retrying", "Paused", "Resume", "Queued", "Submitted"] {
            assert!(is_waiting_task_run(state), "{state}");
        }
        for state in ["Pending", "Running", "Success", "Failed", "Mapped", "Cached", ""] {
            assert!(!is_waiting_task_run(state), "{state}");
        }
    }
}
