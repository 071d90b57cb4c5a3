//! What becomes of a launch, and what follows for the run from that. Pure.
//!
//! And the names of a launch: the token, which makes it happen once, and what the deployments of a run are found by. They are
//! ECS's `clientToken` and `startedBy`, whose limits hold on every platform.

use sha2::{Digest, Sha256};
use std::time::Duration;

/// Prefect Server refuses a second claim of a run for 30 s: what is given back is due again only after that.
const FIRST_DELAY: Duration = Duration::from_secs(45);

/// Runs that are given back again and again wait at most this long.
const LONGEST_DELAY: Duration = Duration::from_mins(10);

/// What becomes of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// A new deployment.
    Started {
        /// Names the deployment.
        id: String,
    },
    /// A deployment of the same token or turn that lives.
    Adopted {
        /// Names the deployment.
        id: String,
    },
    /// The token's deployment has already ended.
    Dead {
        /// Names the deployment.
        id: String,
        /// Why, as the platform says.
        reason: String,
    },
    /// No answer after sending, also not on replay.
    Unknown(String),
    /// Known not started; trying again later can help.
    Transient {
        /// For people.
        reason: String,
        /// What was refused.
        cause: TransientCause,
    },
    /// Known not started, and it would hit every run: the agent's own trouble.
    AgentTrouble(String),
    /// Known not started, because of what this run's configuration says.
    Permanent(String),
    /// What was prepared is out of date, and why: to be prepared again.
    Outdated(&'static str),
}

impl LaunchOutcome {
    /// What it says, for people.
    pub fn text(&self) -> &str {
        match self {
            Self::Started { id } | Self::Adopted { id } => id,
            Self::Dead { reason, .. } | Self::Transient { reason, .. } => reason,
            Self::Unknown(text) | Self::AgentTrouble(text) | Self::Permanent(text) => text,
            Self::Outdated(reason) => reason,
        }
    }
}

/// Why a launch was refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransientCause {
    /// Throttled, in any of its disguises.
    Throttled,
    /// No capacity.
    Capacity,
    /// The platform had trouble.
    Server,
    /// Nothing was asked: the time was up.
    NoTime,
}

/// What follows from a launch's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterLaunch {
    /// It is deployed.
    Launched {
        /// Names the deployment.
        id: String,
        /// The deployment existed already.
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
            LaunchOutcome::Started { id } => Self::Launched { id, adopted: false },
            LaunchOutcome::Adopted { id } => Self::Launched { id, adopted: true },
            LaunchOutcome::Dead { reason, .. } => give_back(reason, false),
            LaunchOutcome::Transient { reason, cause: TransientCause::NoTime } => {
                Self::GiveBack { reason, for_capacity: false, counted: false }
            }
            LaunchOutcome::Transient { reason, cause } => give_back(reason, cause == TransientCause::Capacity),
            LaunchOutcome::Outdated(reason) => give_back(reason.to_owned(), false),
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

#[cfg(test)]
mod launch_identity_tests;

/// What names a launch at the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchIdentity {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// Run and epoch: of two launches by one token, the second starts nothing.
    pub token: String,
    /// `prefect/<agent>/<flow run id>`: what deployments of the run are found by.
    pub started_by: String,
}

/// ECS's limit for `startedBy`, characters.
const STARTED_BY_MAX: usize = 128;

/// `clientToken` of a flow run's turn: 64 hexadecimal digits, the longest token ECS takes.
///
/// The agent is not part of it: two agents that race for one run past Prefect's weak lock share one task.
pub fn client_token(flow_run_id: &str, epoch: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(flow_run_id.as_bytes());
    // Keeps (“ab”, “c”) and (“a”, “bc”) apart.
    hash.update([0]);
    hash.update(epoch.as_bytes());
    hex::encode(hash.finalize())
}

/// `startedBy` of a flow run's task: `prefect/<agent>/<flow run id>`, at most 128 letters, digits, `-`, `_` and `/`.
pub fn started_by(agent: &str, flow_run_id: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let part = |text: &str| text.chars().map(allowed).collect::<String>();
    let mut text = format!("prefect/{}/{}", part(agent), part(flow_run_id));
    text.truncate(STARTED_BY_MAX);
    text
}
