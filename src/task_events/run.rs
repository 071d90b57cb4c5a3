//! A flow run as Prefect has it now, in the terms of the decision: the same for all generations of Prefect.

use super::event::TaskEvent;
use super::whose::Launched;
use std::time::Duration;
use time::OffsetDateTime;

/// Clocks of AWS and of a Prefect server differ by less than this. A new turn of a run comes at least 45 s after it was
/// given back, so that a task this much older than its claim belongs to an earlier one.
const SKEW: Duration = Duration::from_secs(15);

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Prefect 0.15 and 1: a dead run is Failed.
    One,
    /// Prefect 2 and 3: a dead run is CRASHED; events and sub-states tell of its task.
    TwoOrThree,
}

impl Generation {
    /// Name that the container of a flow usually has.
    pub(super) fn usual_container(self) -> &'static str {
        match self {
            Self::One => "flow",
            Self::TwoOrThree => "prefect",
        }
    }
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
    /// Prefect 2 and 3: `<cluster>::<task ARN>` as its launcher wrote it down; may be that of an earlier turn.
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

impl Run {
    /// Whether the task is of an earlier turn of the run, so that its end says nothing about the run now.
    ///
    /// ECS does not tell a task's `clientToken`, which names the turn, so it is told by what both sides wrote down:
    /// - **Time.** A turn's task is created after its claim. This is right also where the pid is not: before the pid of
    ///   the new task is written down, the run still has the old one. The exception is an earlier task that a claim of
    ///   ours adopted, see [`Run::has_adopted`].
    /// - **The pid.** Where the times do not decide (one is unknown, or they are too close for clocks to be compared),
    ///   a pid that names another task does. For a worker's task it always does: a worker that repeats `RunTask`
    ///   after a lost answer starts a second task, and only one of them is the run's. Our own repetitions start none.
    ///
    /// An event that lacks the times, for a run without a pid, is taken for one of the current turn.
    pub fn is_of_earlier_turn(&self, event: &TaskEvent, launched: Launched) -> bool {
        let times = event.task.created_at.zip(self.claimed_at);
        if times.is_some_and(|(created, claimed)| created < claimed - SKEW) {
            return launched == Launched::ByWorker || !self.has_adopted(event);
        }
        let created_since = times.is_some_and(|(created, claimed)| created >= claimed);
        if launched == Launched::Here && created_since {
            return false;
        }
        self.pid_task().is_some_and(|task_arn| task_arn != event.task_arn)
    }

    /// Whether a task that is older than the claim was adopted by it. We claim a run only when no task of it lives, or one
    /// that has not begun: so a task that had not begun at the claim and ended after it was adopted.
    fn has_adopted(&self, event: &TaskEvent) -> bool {
        let Some(claimed) = self.claimed_at.filter(|_| self.claimed_by == ClaimedBy::Us) else { return false };
        let after_claim = |time: OffsetDateTime| time > claimed;
        event.task.stopped_at.is_some_and(after_claim) && event.task.started_at.is_none_or(after_claim)
    }

    /// ARN of the task in the pid. What is no pid of an ECS task says nothing.
    fn pid_task(&self) -> Option<&str> {
        let (_, task) = self.infrastructure_pid.as_deref()?.split_once("::")?;
        task.starts_with("arn:").then_some(task)
    }
}

#[cfg(test)]
mod tests;
