//! ECS: one flow run becomes exactly one task.
//!
//! | part | what it does |
//! |---|---|
//! | [`platform`] | the hook, for ECS: all of the parts below together |
//! | [`prefect1`], [`prefect3`] | from a flow run to its launch, by the rules of Prefect's agent and worker (pure) |
//! | [`target`] | where a task runs, whose credentials reach it, and how Prefect writes that down |
//! | [`delivery`] | the API key as a container secret where that is possible (pure) |
//! | [`guarded`] | the guardrails of the agent, at a launch (pure but for the audit line) |
//! | [`definitions`] | when two task definitions are the same (pure); finds or registers one, once |
//! | [`request`] | the one body of `RunTask`, its default network, its step from Spot to on-demand, and what ECS would refuse in it because of its shape (pure) |
//! | [`outcome`] | what an answer of ECS means, also one about the tasks of a run (pure) |
//! | [`listing`] | which tasks of a run a cluster lists |
//! | [`launcher`] | [`Launcher`] for one account and region, and how fast it starts tasks |
//! | [`accounts`] | [`Launcher`] of an agent: its own account, and those of runs with credentials of their own |
//!
//! Here is the launch itself, and what the rules of a Prefect 2 or 3 worker leave open in it: questions that only AWS can
//! answer ([`WorkerPart`]).

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

pub use platform::{AgentEcs, EcsPlatform};
pub use target::LaunchTarget;

use super::{LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, Place, WithWarning};
use crate::model::RunRefusal;
use crate::python_text::repr;
use request::on_demand;
use serde_json::{Map, Value, json};
use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;
use target::AwsCredentials;
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
    pub worker: WorkerPart,
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

/// What is still open in a [`LaunchSpec`] by a worker's rules; nothing under those of Prefect 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkerPart {
    /// The network to look up, or to check.
    pub network: Option<NetworkLookup>,
    /// A tag (key, value) for the task, if its definition is registered for this launch and not found.
    pub tag_if_registered: Option<(String, String)>,
    /// Name of the container that runs the flow; `None` = `flow`, as under the rules of Prefect 1.
    pub flow_container: Option<String>,
    /// Only once the definition, which exists, is described, the request is known.
    pub completion: Option<Completion>,
    /// What was decided about the launch since it was rendered: a completion renders it anew.
    pub decided: Decided,
    /// The cluster as the job configuration has it.
    pub cluster: Option<String>,
    /// Credentials of the run's own; empty = the agent's.
    pub credentials: AwsCredentials,
    /// Whose words the launch's users know.
    pub words: Words,
}

/// What is decided about a launch once it is rendered, by what its run has been through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided {
    /// The cluster of the claim that it finishes.
    pub claimed_cluster: Option<String>,
    /// Refusals for want of capacity, and after how many of them Spot gives way to on-demand.
    pub refusals: Option<(u32, u32)>,
}

impl Decided {
    /// Puts it into the body of `RunTask`; why it is on-demand now, if it was Spot.
    pub fn apply(&self, run_task: &mut Map<String, Value>) -> Option<String> {
        if let Some(claimed) = &self.claimed_cluster {
            // As the claim's own request was, byte for byte.
            if *claimed == LaunchTarget::default().name() {
                run_task.remove("cluster");
            } else {
                run_task.insert("cluster".into(), json!(claimed));
            }
        }
        let (refusals, fallback_after) = self.refusals?;
        let (on_demand, reason) = on_demand(run_task, refusals, Some(fallback_after))?;
        *run_task = on_demand;
        Some(reason)
    }
}

/// In whose words users are told what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Words {
    /// Those of Prefect 1's agent: run configurations, `run_task_kwargs`.
    #[default]
    Agent,
    /// Those of Prefect 2's and 3's worker: job variables, the work pool's base job template.
    Worker,
}

/// A network that a launch needs. Asks for the VPC (`DescribeVpcs`), then for its subnets (`DescribeSubnets`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkLookup {
    /// All subnets of the region's default VPC.
    DefaultVpc,
    /// All subnets of this VPC.
    Vpc(String),
    /// `run_task` has a network already; its subnets must lie in this VPC.
    Check {
        /// The VPC.
        vpc_id: String,
        /// The subnets, as they are written in the configuration.
        subnets: Value,
    },
}

impl NetworkLookup {
    /// The VPC to ask for; `None` = the default one.
    pub fn vpc_id(&self) -> Option<&str> {
        match self {
            Self::DefaultVpc => None,
            Self::Vpc(vpc_id) | Self::Check { vpc_id, .. } => Some(vpc_id),
        }
    }

    /// The VPC is not there.
    pub fn no_vpc(&self) -> RunRefusal {
        let help = match self {
            Self::DefaultVpc => "Pass an explicit `vpc_id` or configure a default VPC.",
            Self::Vpc(_) => "Check that the VPC exists in the current region.",
            Self::Check { .. } => "Pass an explicit `vpc_id`.",
        };
        let vpc = self.vpc();
        RunRefusal(format!("ValueError: Failed to find {vpc}. Network configuration cannot be inferred. {help}"))
    }

    /// What becomes of the request's `networkConfiguration` with the VPC's subnets, in the order of the answer; `None`
    /// = what is there stands.
    pub fn network(&self, subnets: &[String]) -> Result<Option<Value>, RunRefusal> {
        let vpc = self.vpc();
        if subnets.is_empty() {
            return Err(RunRefusal(format!(
                "ValueError: Failed to find subnets for {vpc}. Network configuration cannot be inferred."
            )));
        }
        let Self::Check { subnets: configured, .. } = self else {
            let network = json!({"subnets": subnets, "assignPublicIp": "ENABLED", "securityGroups": []});
            return Ok(Some(json!({"awsvpcConfiguration": network})));
        };
        let is_there = |subnet: &Value| subnet.as_str().is_some_and(|id| subnets.iter().any(|known| known == id));
        if configured.as_array().into_iter().flatten().all(is_there) {
            Ok(None)
        } else {
            let configured = repr(configured);
            Err(RunRefusal(format!(
                "ValueError: Subnets {configured} not found within {vpc}.Please check that VPC is associated with \
                 supplied subnets."
            )))
        }
    }

    fn vpc(&self) -> String {
        self.vpc_id().map_or_else(|| "the default VPC".into(), |vpc_id| format!("VPC with ID {vpc_id}"))
    }
}

/// Completes a launch whose definition exists.
pub trait Complete: Debug + Send + Sync {
    /// The launch with the definition as AWS describes it: with nothing left to complete.
    fn complete(&self, described: &Map<String, Value>) -> Result<LaunchSpec, RunRefusal>;
}

/// A [`Complete`] that can be cloned; equal only to its own clones.
#[derive(Clone)]
pub struct Completion(pub Arc<dyn Complete>);

impl PartialEq for Completion {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod worker_tests;
