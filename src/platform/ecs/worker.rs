//! What the rules of a Prefect 2 or 3 worker add to a launch: questions that only AWS can answer.

use super::request::on_demand;
use super::target::AwsCredentials;
use super::{LaunchSpec, LaunchTarget};
use crate::model::RunRefusal;
use crate::platform::Place;
use crate::python_text::repr;
use serde_json::{Map, Value, json};
use std::fmt::{self, Debug};
use std::sync::Arc;

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
mod tests;
