//! The launcher for ECS: one flow run becomes exactly one task.

mod replay;
mod tasks;
mod worker;

use super::definition_cache::{DefinitionCache, Keyed};
use super::delivery::Delivered;
use super::network::{default_network, no_default_network};
use super::outcome::{Origin, refusal};
use super::rate::LaunchRate;
use super::request::{Settled, run_task_body};
use super::single_flight::SingleFlight;
use super::{
    Definition, LaunchIdentity, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveDeployment, LiveDeployments,
    PreparedLaunch, WithWarning, Words,
};
use crate::aws::ecs::Ecs;
use crate::aws::services::Ec2;
use crate::clock::Clock;
use crate::model::RunRefusal;
use serde_json::{Map, Value};
use std::sync::Arc;
use time::OffsetDateTime;

/// Launches flow runs as ECS tasks, for one region and one set of credentials. Kept for the life of the process: it
/// remembers task definitions and the default network.
#[derive(Debug)]
pub struct EcsLauncher<C> {
    ecs: Ecs,
    ec2: Ec2,
    clock: C,
    rate: Arc<LaunchRate>,
    definitions: DefinitionCache,
    /// Definitions that exist, by name.
    described: Keyed<SingleFlight<Map<String, Value>>>,
    default_network: SingleFlight<Value>,
    /// Subnets of VPCs that Prefect 2 and 3 ask for.
    vpcs: Keyed<SingleFlight<Vec<String>>>,
}

/// Roles of a described definition, by key.
type Roles = Vec<(String, String)>;

impl<C: Clock> EcsLauncher<C> {
    /// `rate`: calls of `RunTask` per second, which launchers may share.
    pub fn new(ecs: Ecs, ec2: Ec2, clock: C, rate: Arc<LaunchRate>) -> Self {
        Self {
            ecs,
            ec2,
            clock,
            rate,
            definitions: DefinitionCache::default(),
            described: Keyed::default(),
            default_network: SingleFlight::default(),
            vpcs: Keyed::default(),
        }
    }

    async fn definition(
        &self,
        spec: &LaunchSpec,
        described: Option<&Map<String, Value>>,
        origin: &Origin<'_>,
    ) -> Result<Settled, LaunchOutcome> {
        match &spec.definition {
            Definition::Own(body) => {
                let (definition, is_new) = self.definitions.settle(&self.ecs, &self.clock, body, origin).await?;
                let tag = spec.worker.tag_if_registered.clone().filter(|_| is_new);
                Ok(Settled { definition, tag, ..Settled::default() })
            }
            Definition::Existing { name, definition_roles } => {
                let roles = described.map(roles_of).unwrap_or_default();
                let wanted = |key: &str| roles.iter().find(|(k, _)| k == key).map(|(_, role)| role.clone());
                let roles = definition_roles.iter().filter_map(|key| Some((*key, wanted(key)?))).collect();
                Ok(Settled { definition: name.clone(), roles, ..Settled::default() })
            }
        }
    }

    /// What the definition says, where it exists and that matters. Whoever may not look launches all the same, where only
    /// the definition's own secrets were of interest.
    async fn existing_definition(
        &self,
        spec: &LaunchSpec,
        origin: &Origin<'_>,
    ) -> Result<Option<Map<String, Value>>, LaunchOutcome> {
        let Definition::Existing { name, definition_roles } = &spec.definition else { return Ok(None) };
        let is_needed = spec.worker.completion.is_some() || !definition_roles.is_empty();
        if !is_needed && spec.pending_delivery.is_none() {
            return Ok(None);
        }
        match self.described(name, origin).await {
            Err(LaunchOutcome::AgentTrouble(reason)) if !is_needed => {
                tracing::debug!(name, reason, "whether the definition has secrets of its own is not known");
                Ok(None)
            }
            described => described.map(Some),
        }
    }

    /// A definition that exists. A revision never changes; what a bare family means does.
    async fn described(&self, name: &str, origin: &Origin<'_>) -> Result<Map<String, Value>, LaunchOutcome> {
        let flight = self.described.get(name);
        let describe = async {
            match self.ecs.describe_task_definition(name).await {
                Ok(described) => Ok(described.definition),
                Err(error) => match refusal("DescribeTaskDefinition", error, origin) {
                    LaunchOutcome::Outdated(_) => Err(no_such_definition(name, origin.words)),
                    other => Err(other),
                },
            }
        };
        let is_revision = name.rsplit_once(':').is_some_and(|(_, revision)| revision.parse::<u64>().is_ok());
        if is_revision { flight.get(describe).await } else { flight.share(describe).await }
    }

    async fn inferred_network(&self, spec: &LaunchSpec, origin: &Origin<'_>) -> Result<Option<Value>, LaunchOutcome> {
        if let Some(lookup) = &spec.worker.network {
            return self.looked_up_network(lookup, origin).await;
        }
        if !spec.infer_network || spec.run_task.contains_key("networkConfiguration") {
            return Ok(None);
        }
        // The run has no say in this: what goes wrong is the agent's trouble.
        let origin = Origin { run_sets: &[], ..*origin };
        let look_up = async {
            let vpcs = self.ec2.default_vpcs().await.map_err(|error| refusal("DescribeVpcs", error, &origin))?;
            let Some(vpc) = vpcs.into_iter().next() else {
                return Err(no_default_network("the region has no default VPC"));
            };
            let subnets = self.ec2.subnets(&vpc).await.map_err(|error| refusal("DescribeSubnets", error, &origin))?;
            if subnets.is_empty() {
                return Err(no_default_network(&format!("the default VPC {vpc} has no subnets")));
            }
            Ok(default_network(&subnets))
        };
        self.default_network.get(look_up).await.map(Some)
    }

    /// What was remembered and led to this outcome is forgotten. Says whose definition is inactive.
    async fn learn(&self, launch: &PreparedLaunch, outcome: LaunchOutcome) -> LaunchOutcome {
        match outcome {
            LaunchOutcome::Outdated(_) => {
                let name = launch.run_task.get("taskDefinition").and_then(Value::as_str).unwrap_or_default();
                if self.definitions.forget(name).await { outcome } else { no_such_definition(name, launch.words) }
            }
            LaunchOutcome::AgentTrouble(_) => {
                let used = launch.run_task.get("networkConfiguration");
                self.default_network.forget_if(|network| Some(network) == used).await;
                self.forget_vpc(used).await;
                outcome
            }
            other => other,
        }
    }
}

/// The launch with nothing left to complete, and its key delivered.
fn complete(spec: &LaunchSpec, described: Option<&Map<String, Value>>) -> Result<Delivered, RunRefusal> {
    let mut complete = match (&spec.worker.completion, described) {
        (Some(completion), Some(described)) => completion.0.complete(described)?,
        _ => spec.clone(),
    };
    complete.pending_delivery = None;
    match &spec.pending_delivery {
        Some(pending) => pending.deliver(complete, described),
        None => Ok(Delivered { spec: complete, warning: None }),
    }
}

fn roles_of(definition: &Map<String, Value>) -> Roles {
    let role = |key: &str| {
        let role = definition.get(key)?.as_str().filter(|role| !role.is_empty())?;
        Some((key.to_owned(), role.to_owned()))
    };
    ["taskRoleArn", "executionRoleArn"].into_iter().filter_map(role).collect()
}

fn no_such_definition(name: &str, words: Words) -> LaunchOutcome {
    let target = match words {
        Words::Agent => "of the run configuration",
        Words::Worker => "of the job variables or the work pool",
    };
    LaunchOutcome::Permanent(format!(
        "The task definition {name} does not exist or is inactive. Name an active one in `task_definition_arn` {target}, \
         then run the flow again."
    ))
}

impl<C: Clock> Launcher for EcsLauncher<C> {
    async fn prepare(
        &self,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        let flow_run_id = identity.flow_run_id.as_str();
        let words = spec.worker.words;
        let origin = Origin { flow_run_id, run_sets: &spec.run_sets, run_task: &spec.run_task, words };
        let described = self.existing_definition(spec, &origin).await?;
        let described = described.as_ref();
        let Delivered { spec, warning } = &complete(spec, described).map_err(|why| LaunchOutcome::Permanent(why.0))?;
        let origin = Origin { run_task: &spec.run_task, ..origin };
        let (definition, network) =
            futures_util::join!(self.definition(spec, described, &origin), self.inferred_network(spec, &origin));
        let settled = Settled { network: network?, ..definition? };
        let launch = PreparedLaunch {
            flow_run_id: flow_run_id.to_owned(),
            run_task: run_task_body(&spec.run_task, &settled, identity),
            run_sets: spec.run_sets.clone(),
            target: spec.target(),
            words,
        };
        Ok(WithWarning { launch, warning: warning.clone() })
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        let outcome = self.run_task_once(launch, deadline).await;
        self.learn(launch, outcome).await
    }

    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.rate.free_until(self.clock.now(), deadline)
    }

    async fn live_tasks(&self, target: &LaunchTarget, started_by: &str) -> Result<LiveDeployments, LaunchOutcome> {
        self.find_live_tasks(target, started_by).await
    }

    async fn live_task(&self, target: &LaunchTarget, task_arn: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        self.find_live_task(target, task_arn).await
    }

    async fn stop(&self, target: &LaunchTarget, task_arn: &str, reason: &str) -> Result<(), LaunchOutcome> {
        self.stop_task(target, task_arn, reason).await
    }
}

#[cfg(test)]
mod tests;
