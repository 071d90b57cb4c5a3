//! ECS: one flow run becomes exactly one task.
//!
//! | part | what it does |
//! |---|---|
//! | [`platform`] | the hook, for ECS: all of the parts below together |
//! | [`prefect1`], [`prefect3`] | from a flow run to its launch, by the rules of Prefect's agent and worker (pure) |
//! | [`target`] | where a task runs, whose credentials reach it, and how Prefect writes that down |
//! | [`worker`] | what the rules of a Prefect 2 or 3 worker add to a launch (pure) |
//! | [`delivery`] | the API key as a container secret where that is possible (pure) |
//! | [`guarded`] | the guardrails of the agent, at a launch (pure but for the audit line) |
//! | [`definitions`] | when two task definitions are the same (pure); finds or registers one, once |
//! | [`request`] | the one body of `RunTask`, its default network, its step from Spot to on-demand, and what ECS would refuse in it because of its shape (pure) |
//! | [`outcome`] | what an answer of ECS means, also one about the tasks of a run (pure) |
//! | [`listing`] | which tasks of a run a cluster lists |
//! | [`launcher`] | [`Launcher`] for one account and region, and how fast it starts tasks |
//! | [`accounts`] | [`Launcher`] of an agent: its own account, and those of runs with credentials of their own |

pub mod accounts;
pub mod definitions;
pub mod delivery;
pub mod guarded;
pub mod launcher;
pub mod listing;
pub mod outcome;
pub mod platform;
pub mod prefect1;
pub mod prefect3;
pub mod request;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod worker;

pub use platform::{AgentEcs, EcsPlatform};
pub use target::LaunchTarget;
pub use worker::Words;

use super::{LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, WithWarning};

use serde_json::{Map, Value};
use std::future::Future;
use std::sync::Arc;
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
    /// What it may ask for; `None` = whatever it likes.
    pub guard: Option<Arc<guarded::Guard>>,
}

impl LaunchSpec {
    /// Where it goes.
    pub fn target(&self) -> LaunchTarget {
        let cluster = self.run_task.get("cluster").and_then(Value::as_str).unwrap_or_default();
        LaunchTarget {
            cluster: cluster.to_owned(),
            written: self.worker.cluster.clone(),
            credentials: self.worker.credentials.clone(),
        }
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
}

/// Launches in one account and region, or in several.
pub trait Launcher: Send + Sync {
    /// As [`Platform::prepare`](super::Platform::prepare): settles task definition and network of a launch. May register a
    /// definition, never starts anything.
    fn prepare(
        &self,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> impl Future<Output = Result<WithWarning<PreparedLaunch>, LaunchOutcome>> + Send;

    /// As [`Platform::launch`](super::Platform::launch): once by the request's `clientToken`.
    fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> impl Future<Output = LaunchOutcome> + Send;

    /// How many launches can still start until `deadline`; `None` = any number.
    fn room(&self, deadline: OffsetDateTime) -> Option<usize>;

    /// The tasks of a flow run that have not stopped.
    fn live_tasks(
        &self,
        target: &LaunchTarget,
        started_by: &str,
    ) -> impl Future<Output = Result<LiveDeployments, LaunchOutcome>> + Send;

    /// One task by its ARN; `None` = it has stopped, or ECS does not know it.
    fn live_task(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
    ) -> impl Future<Output = Result<Option<LiveDeployment>, LaunchOutcome>> + Send;

    /// Asks a task to stop.
    fn stop(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), LaunchOutcome>> + Send;
}
