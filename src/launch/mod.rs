//! The launch of one flow run: what is asked of a platform and what became of it.
//!
//! | part | what it does |
//! |---|---|
//! | [`token`] | names a launch: `clientToken` and `startedBy` (pure) |
//! | [`target`] | where a task runs, and whose credentials reach it |
//! | [`worker`] | what the rules of a Prefect 2 or 3 worker add to a launch (pure) |
//! | [`spot`] | from Fargate Spot to on-demand after too many refusals (pure) |
//! | [`delivery`] | the API key as a container secret where that is possible (pure) |
//! | [`definitions`] | when two task definitions are the same (pure) |
//! | [`definition_cache`] | finds or registers a task definition, once |
//! | [`network`] | the network of the default VPC (pure) |
//! | [`request`] | the one body of `RunTask` (pure) |
//! | [`request_check`] | what ECS would refuse in a launch because of its shape (pure) |
//! | [`outcome`] | what an answer of ECS means (pure) |
//! | [`after_launch`] | what follows for the run from that (pure) |
//! | [`listing`] | what it means that ECS will not list tasks (pure) |
//! | [`rate`] | how fast tasks are started |
//! | [`ecs`] | [`Launcher`] for ECS: all of it together, for one account and region |
//! | [`accounts`] | [`Launcher`] of an agent: its own account, and those of runs with credentials of their own |

pub mod accounts;
pub mod after_launch;
pub mod definition_cache;
pub mod definitions;
pub mod delivery;
pub mod ecs;
pub mod listing;
pub mod network;
pub mod outcome;
pub mod rate;
pub mod request;
pub mod request_check;
mod single_flight;
pub mod spot;
pub mod target;
#[cfg(test)]
mod testing;
pub mod token;
pub mod worker;

pub use after_launch::AfterLaunch;
pub use target::LaunchTarget;
pub use worker::Words;

use serde_json::{Map, Value};
use std::future::Future;
use time::OffsetDateTime;

/// A launch before anything is looked up: a pure function of the run and its agent's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchSpec {
    /// The task definition to use.
    pub definition: Definition,
    /// The body of `RunTask` in the API's own spelling, without `taskDefinition`, `clientToken` and `startedBy`.
    pub run_task: Map<String, Value>,
    /// The network is to be inferred from the default VPC.
    pub infer_network: bool,
    /// Names of environment variables in `run_task` that hold the API key, and so may be delivered as secrets.
    pub key_variables: Vec<String>,
    /// What the run's own configuration decided, as opposed to its agent's: top-level keys of `RunTask` (`cluster`,
    /// `networkConfiguration`, `capacityProviderStrategy`, `tags`, …), `overrides.taskRoleArn` and
    /// `overrides.executionRoleArn` (also for a role that went into the task definition), and `taskDefinition` when the
    /// run names or brings its own. A refusal on account of one of them is the run's fault, not the agent's.
    pub run_sets: Vec<String>,
    /// What the rules of a Prefect 2 or 3 worker add.
    pub worker: worker::WorkerPart,
    /// The key is delivered once the task definition, which exists, is described.
    pub pending_delivery: Option<delivery::Pending>,
}

impl LaunchSpec {
    /// Where it goes.
    pub fn target(&self) -> LaunchTarget {
        let cluster = self.run_task.get("cluster").and_then(Value::as_str).unwrap_or_default();
        LaunchTarget { cluster: cluster.to_owned(), credentials: self.worker.credentials.clone() }
    }
}

/// The task definition of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    /// One that exists: ARN, family or `family:revision`.
    Existing {
        /// As written by the user.
        name: String,
        /// Override keys (`taskRoleArn`, `executionRoleArn`) for which a role of the described definition replaces
        /// what `run_task.overrides` says (Prefect 1.4 overrides them explicitly); empty = no need to describe it.
        definition_roles: Vec<&'static str>,
    },
    /// Ours: found or registered. The body of `RegisterTaskDefinition` in the API's own spelling.
    Own(Map<String, Value>),
}

/// What becomes of one `RunTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// A new task.
    Started {
        /// ARN of the task.
        task_arn: String,
    },
    /// A task of the same token or turn that lives.
    Adopted {
        /// ARN of the task.
        task_arn: String,
    },
    /// The token's task has already stopped.
    Dead {
        /// ARN of the task.
        task_arn: String,
        /// Why it stopped, as ECS says.
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
    /// The task definition is inactive: find or register it again.
    InactiveDefinition,
}

impl LaunchOutcome {
    /// What it says, for people.
    pub fn text(&self) -> &str {
        match self {
            Self::Started { task_arn } | Self::Adopted { task_arn } => task_arn,
            Self::Dead { reason, .. } | Self::Transient { reason, .. } => reason,
            Self::Unknown(text) | Self::AgentTrouble(text) | Self::Permanent(text) => text,
            Self::InactiveDefinition => "the task definition is inactive",
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
    /// AWS had trouble.
    Server,
    /// Nothing was asked of AWS: the time was up.
    NoTime,
}

/// A launch that is ready: every byte of `RunTask` is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedLaunch {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// The complete body of `RunTask`.
    pub run_task: Map<String, Value>,
    /// As [`LaunchSpec::run_sets`].
    pub run_sets: Vec<String>,
    /// Where it goes.
    pub target: LaunchTarget,
    /// Whose words its users know.
    pub words: Words,
    /// What a person should know about it; the same words for the same cause.
    pub warning: Option<String>,
}

/// The one hook that a platform implements: deploy a flow run.
///
/// To write a second platform, implement this: `prepare` may read and register whatever does not start anything,
/// `launch` must be idempotent by the request's `clientToken`.
pub trait Launcher: Send + Sync {
    /// Settles task definition and network of a launch. May register a definition, never starts anything.
    fn prepare(
        &self,
        flow_run_id: &str,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> impl Future<Output = Result<PreparedLaunch, LaunchOutcome>> + Send;

    /// Starts the task, once: a replay of the same token does not start another. Ends by `deadline`; what is not
    /// known by then is [`LaunchOutcome::Unknown`].
    fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> impl Future<Output = LaunchOutcome> + Send;

    /// How many launches can still start until `deadline`; `None` = any number.
    fn room(&self, deadline: OffsetDateTime) -> Option<usize>;

    /// The tasks of a flow run that have not stopped.
    fn live_tasks(
        &self,
        target: &LaunchTarget,
        started_by: &str,
    ) -> impl Future<Output = Result<LiveTasks, LaunchOutcome>> + Send;

    /// One task by its ARN; `None` = it has stopped, or ECS does not know it.
    fn live_task(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
    ) -> impl Future<Output = Result<Option<LiveTask>, LaunchOutcome>> + Send;

    /// Asks a task to stop.
    fn stop(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), LaunchOutcome>> + Send;
}

/// What names a launch at the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchIdentity {
    /// `clientToken`: run and epoch.
    pub token: String,
    /// `startedBy`: `prefect/<agent>/<flow run id>`.
    pub started_by: String,
}

/// The tasks of a flow run that have not stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveTasks {
    /// Those that are known.
    pub tasks: Vec<LiveTask>,
    /// What could not be looked at, for people: the platform does not tell everything.
    pub warning: Option<String>,
}

/// A task that has not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTask {
    /// ARN of the task.
    pub task_arn: String,
    /// `lastStatus`, e.g. `PENDING`, `RUNNING`.
    pub last_status: String,
    /// `desiredStatus`.
    pub desired_status: String,
}
