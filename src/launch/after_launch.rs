//! What follows for a run from the outcome of its launch, and when it is launched again. Pure.

use super::{LaunchOutcome, TransientCause};
use std::time::Duration;

/// Prefect Server refuses a second claim of a run for 30 s: what is given back is due again only after that.
const FIRST_DELAY: Duration = Duration::from_secs(45);

/// Runs that are given back again and again wait at most this long.
const LONGEST_DELAY: Duration = Duration::from_mins(10);

/// What follows from a launch's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterLaunch {
    /// It has a task.
    Launched {
        /// ARN of the task.
        task_arn: String,
        /// The task existed already.
        adopted: bool,
    },
    /// It is scheduled again.
    GiveBack {
        /// For people.
        reason: String,
        /// Refused for want of capacity.
        for_capacity: bool,
        /// The attempt counts; trouble of the agent itself, and what was never tried, is no attempt of the run.
        counted: bool,
    },
    /// It fails.
    Fail(String),
    /// The claim stays as it is: nobody knows whether there is a task.
    Leave(String),
}

impl AfterLaunch {
    /// Pure: what follows from the outcome of launch number `attempt`.
    pub fn of(outcome: LaunchOutcome, attempt: u32, max_attempts: u32) -> Self {
        let give_back = |reason: String, for_capacity| {
            if attempt >= max_attempts {
                return Self::Fail(format!("Not launched after {attempt} attempts. The last one: {reason}"));
            }
            Self::GiveBack { reason, for_capacity, counted: true }
        };
        match outcome {
            LaunchOutcome::Started { task_arn } => Self::Launched { task_arn, adopted: false },
            LaunchOutcome::Adopted { task_arn } => Self::Launched { task_arn, adopted: true },
            LaunchOutcome::Dead { task_arn, reason } => {
                give_back(format!("Task {task_arn} stopped before the flow run began: {reason}"), false)
            }
            LaunchOutcome::Transient { reason, cause: TransientCause::NoTime } => {
                Self::GiveBack { reason, for_capacity: false, counted: false }
            }
            LaunchOutcome::Transient { reason, cause } => give_back(reason, cause == TransientCause::Capacity),
            LaunchOutcome::InactiveDefinition => {
                give_back("The task definition was deregistered while it was used".to_owned(), false)
            }
            LaunchOutcome::AgentTrouble(reason) => Self::GiveBack { reason, for_capacity: false, counted: false },
            LaunchOutcome::Permanent(reason) => Self::Fail(reason),
            LaunchOutcome::Unknown(reason) => {
                Self::Leave(format!("claimed, but it is unknown whether its task was started: {reason}"))
            }
        }
    }
}

/// How long a run waits after launch number `attempt` was given back.
pub fn give_back_delay(attempt: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(8));
    (FIRST_DELAY * doubled).min(LONGEST_DELAY)
}
