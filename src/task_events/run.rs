//! Which turn of its flow run a task belongs to.

use super::event::TaskEvent;
use super::task_owner::LaunchedBy;
use crate::model::run::{ClaimedBy, Generation, Run};
use std::time::Duration;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// Clocks of AWS and of a Prefect server differ by less than this. A new turn of a run comes at least 45 s after it was
/// given back, so that a task this much older than its claim belongs to an earlier one.
const SKEW: Duration = Duration::from_secs(15);

impl Generation {
    /// Name that the container of a flow usually has.
    pub(super) fn usual_container(self) -> &'static str {
        match self {
            Self::One => "flow",
            Self::TwoOrThree => "prefect",
        }
    }
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
    pub fn is_of_earlier_turn(&self, event: &TaskEvent, launched: LaunchedBy) -> bool {
        let times = event.task.created_at.zip(self.claimed_at);
        if times.is_some_and(|(created, claimed)| created < claimed - SKEW) {
            return launched == LaunchedBy::ByWorker || !self.has_adopted(event);
        }
        let created_since = times.is_some_and(|(created, claimed)| created >= claimed);
        if launched == LaunchedBy::Here && created_since {
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
