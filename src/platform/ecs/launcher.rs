//! The launcher for ECS: one flow run becomes exactly one task, as fast as the account allows.

mod rate;
mod replay;

pub use rate::LaunchRate;

use super::NetworkLookup;
use super::definitions::{DefinitionCache, Keyed, SingleFlight};
use super::delivery::Delivered;
use super::guarded::Guard;
use super::listing::listed_tasks;
use super::outcome::{Origin, is_about_cluster, refusal, refused_about_tasks};
use super::request::{Settled, as_looked_up, default_network, no_default_network, run_task_body};
use super::{
    Definition, LaunchIdentity, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveDeployment, LiveDeployments,
    PreparedLaunch, WithWarning, Words,
};
use crate::aws::AwsError;
use crate::aws::ecs::{Ecs, Task};
use crate::aws::services::Ec2;
use crate::clock::Clock;
use crate::model::RunRefusal;
use crate::platform::Progress;
use futures_util::future::try_join_all;
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
            Definition::Existing { name, definition_roles } => Ok(existing(name, definition_roles, described)),
        }
    }

    /// Definition and network of a launch that is guarded, and what a person should know. Nothing is registered before all
    /// of its request was judged.
    async fn guarded(
        &self,
        guard: &Guard,
        (spec, identity): (&LaunchSpec, &LaunchIdentity),
        described: Option<&Map<String, Value>>,
        origin: &Origin<'_>,
    ) -> Result<(Settled, Option<String>), LaunchOutcome> {
        let network = self.inferred_network(spec, origin).await?.map(|network| guard.adapted(network));
        let known = match &spec.definition {
            Definition::Existing { name, definition_roles } => existing(name, definition_roles, described),
            Definition::Own(_) => Settled::default(),
        };
        let judged = Settled { network: network.clone(), ..known };
        let told = guard.check(spec, described, &run_task_body(&spec.run_task, &judged, identity), identity)?;
        let mut settled = Settled { network, ..self.definition(spec, described, origin).await? };
        let revision = described.and_then(|described| described.get("taskDefinitionArn")?.as_str());
        if let Some(revision) = revision.filter(|_| guard.enforces()) {
            // What a family means may change before the task is started: what was judged is what is started.
            revision.clone_into(&mut settled.definition);
        }
        Ok((settled, told))
    }

    /// What the definition says, where it exists and that matters. Whoever may not look launches all the same, where only
    /// the definition's own secrets were of interest.
    async fn existing_definition(
        &self,
        spec: &LaunchSpec,
        origin: &Origin<'_>,
    ) -> Result<Option<Map<String, Value>>, LaunchOutcome> {
        let Definition::Existing { name, definition_roles } = &spec.definition else { return Ok(None) };
        let is_guarded = spec.guard.as_ref().is_some_and(|guard| guard.enforces());
        let is_needed = spec.worker.completion.is_some() || !definition_roles.is_empty() || is_guarded;
        if !is_needed && spec.pending_delivery.is_none() && spec.guard.is_none() {
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
                let used = launch.run_task.get("networkConfiguration").cloned().map(as_looked_up);
                self.default_network.forget_if(|network| Some(network) == used.as_ref()).await;
                self.forget_vpc(used.as_ref()).await;
                outcome
            }
            other => other,
        }
    }
}

/// The launch with nothing left to complete, and its key delivered.
pub(crate) fn complete(spec: &LaunchSpec, described: Option<&Map<String, Value>>) -> Result<Delivered, RunRefusal> {
    let mut complete = match (&spec.worker.completion, described) {
        (Some(completion), Some(described)) => {
            let mut complete = completion.0.complete(described)?;
            complete.worker.decided.clone_from(&spec.worker.decided);
            spec.worker.decided.apply(&mut complete.run_task);
            complete.guard.clone_from(&spec.guard);
            complete
        }
        _ => spec.clone(),
    };
    complete.pending_delivery = None;
    match &spec.pending_delivery {
        Some(pending) => pending.deliver(complete, described),
        None => Ok(Delivered { spec: complete, warning: None }),
    }
}

/// A definition that exists, with the roles of what AWS says of it.
fn existing(name: &str, definition_roles: &[&'static str], described: Option<&Map<String, Value>>) -> Settled {
    let roles = described.map(roles_of).unwrap_or_default();
    let wanted = |key: &str| roles.iter().find(|(k, _)| k == key).map(|(_, role)| role.clone());
    let roles = definition_roles.iter().filter_map(|key| Some((*key, wanted(key)?))).collect();
    Settled { definition: name.to_owned(), roles, ..Settled::default() }
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
        let complete = complete(spec, described).map_err(|why| LaunchOutcome::Permanent(why.0))?;
        let Delivered { mut spec, warning } = complete;
        if let Some(guard) = &spec.guard {
            guard.adapt(&mut spec.run_task);
        }
        let spec = &spec;
        let origin = Origin { run_task: &spec.run_task, ..origin };
        let (settled, told) = if let Some(guard) = &spec.guard {
            self.guarded(guard, (spec, identity), described, &origin).await?
        } else {
            let (definition, network) =
                futures_util::join!(self.definition(spec, described, &origin), self.inferred_network(spec, &origin));
            (Settled { network: network?, ..definition? }, None)
        };
        let launch = PreparedLaunch {
            flow_run_id: flow_run_id.to_owned(),
            run_task: run_task_body(&spec.run_task, &settled, identity),
            run_sets: spec.run_sets.clone(),
            target: spec.target(),
            words,
        };
        let warnings: Vec<String> = [warning, told].into_iter().flatten().collect();
        Ok(WithWarning { launch, warning: (!warnings.is_empty()).then(|| warnings.join(" ")) })
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

// Earlier tasks of a flow run: finding and stopping them.

/// ECS describes at most this many tasks per call.
const DESCRIBE_MAX: usize = 100;

impl<C: Clock> EcsLauncher<C> {
    /// Tasks of `started_by` that have not stopped; none where there is no such cluster.
    async fn find_live_tasks(&self, target: &LaunchTarget, started_by: &str) -> Result<LiveDeployments, LaunchOutcome> {
        let cluster = named(target);
        let listed = listed_tasks(&self.ecs, cluster, started_by).await;
        let listed = listed.map_err(|error| refused_about_tasks("ListTasks", error, target))?;
        // The launch itself will say so, to whoever named the cluster.
        let Some(listed) = listed else { return Ok(LiveDeployments::default()) };
        let arns: Vec<String> = listed.arns().cloned().collect();
        let pages = arns.chunks(DESCRIBE_MAX).map(|page| self.ecs.describe_tasks(cluster, page));
        let described =
            try_join_all(pages).await.map_err(|error| refused_about_tasks("DescribeTasks", error, target))?;
        let described: Vec<_> = described.into_iter().flatten().collect();
        let as_listed = |arn: String| match described.iter().find(|task| task.task_arn == arn) {
            Some(task) => live(task),
            // Listed as to be running, but too new to be described.
            None if listed.running.contains(&arn) => {
                Some(LiveDeployment { id: arn, progress: Progress::Unknown, is_stopping: false })
            }
            // Listed as to be stopped, and forgotten: it has stopped.
            None => None,
        };
        let deployments = arns.into_iter().filter_map(as_listed).collect();
        Ok(LiveDeployments { deployments, warning: listed.warning })
    }

    /// One task that has not stopped; `None` where ECS knows of none.
    async fn find_live_task(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
    ) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        match self.ecs.describe_tasks(named(target), &[task_arn.to_owned()]).await {
            Ok(tasks) => Ok(tasks.first().and_then(live)),
            Err(error) if is_about_cluster(&error) => Ok(None),
            Err(error) => Err(refused_about_tasks("DescribeTasks", error, target)),
        }
    }

    /// Asks a task to stop; one that ECS does not know has stopped.
    async fn stop_task(&self, target: &LaunchTarget, task_arn: &str, reason: &str) -> Result<(), LaunchOutcome> {
        match self.ecs.stop_task(named(target), task_arn, reason).await {
            Err(AwsError::Answer { message, .. }) if message.to_lowercase().contains("task was not found") => Ok(()),
            Err(error) => Err(refused_about_tasks("StopTask", error, target)),
            Ok(()) => Ok(()),
        }
    }
}

fn live(task: &Task) -> Option<LiveDeployment> {
    (task.last_status != "STOPPED").then(|| LiveDeployment {
        id: task.task_arn.clone(),
        progress: progress(&task.last_status),
        is_stopping: task.desired_status == "STOPPED",
    })
}

pub(crate) fn progress(last_status: &str) -> Progress {
    match last_status {
        "PROVISIONING" | "PENDING" | "ACTIVATING" => Progress::Waiting,
        _ => Progress::Begun,
    }
}

fn named(target: &LaunchTarget) -> Option<&str> {
    (!target.cluster.is_empty()).then_some(target.cluster.as_str())
}

// What a Prefect 2 or 3 launch needs beyond one of Prefect 1: its definition described, its VPC looked up.

impl<C: Clock> EcsLauncher<C> {
    /// The network that the launch asks for; `None` = what its request has stands.
    async fn looked_up_network(
        &self,
        lookup: &NetworkLookup,
        origin: &Origin<'_>,
    ) -> Result<Option<Value>, LaunchOutcome> {
        // Those who share an answer share its fault too.
        let key = format!("{} {}", chooses_network(origin), lookup.vpc_id().unwrap_or_default());
        let subnets = self.vpcs.get(&key).get(self.subnets(lookup, origin)).await?;
        lookup.network(&subnets).map_err(|refusal| network_fault(refusal, origin))
    }

    async fn subnets(&self, lookup: &NetworkLookup, origin: &Origin<'_>) -> Result<Vec<String>, LaunchOutcome> {
        let vpcs_refused = |error| refusal("DescribeVpcs", error, origin);
        let vpc = if let Some(vpc_id) = lookup.vpc_id() {
            vpc_id.to_owned()
        } else {
            let vpcs = self.ec2.default_vpcs().await.map_err(vpcs_refused)?;
            vpcs.into_iter().next().ok_or_else(|| network_fault(lookup.no_vpc(), origin))?
        };
        let subnets = self.ec2.subnets(&vpc).await;
        let subnets = subnets.map_err(|error| refusal("DescribeSubnets", error, origin))?;
        if !subnets.is_empty() {
            return Ok(subnets);
        }
        // Only now it matters whether the VPC is there. Nothing of this is remembered: somebody will mend it.
        let is_there = lookup.vpc_id().is_none() || self.ec2.vpc_exists(&vpc).await.map_err(vpcs_refused)?;
        let refusal = if is_there { lookup.network(&[]).err() } else { Some(lookup.no_vpc()) };
        Err(network_fault(refusal.unwrap_or_else(|| lookup.no_vpc()), origin))
    }

    /// Forgets the subnets that led to this `networkConfiguration`.
    async fn forget_vpc(&self, used: Option<&Value>) {
        for flight in self.vpcs.all() {
            let led_to_it = |subnets: &Vec<String>| {
                used.is_some()
                    && NetworkLookup::DefaultVpc.network(subnets).is_ok_and(|network| network.as_ref() == used)
            };
            flight.forget_if(led_to_it).await;
        }
    }
}

fn chooses_network(origin: &Origin<'_>) -> bool {
    origin.sets("networkConfiguration")
}

/// A network that is not as it should be is the run's fault where the run chose it.
fn network_fault(refusal: RunRefusal, origin: &Origin<'_>) -> LaunchOutcome {
    if chooses_network(origin) { LaunchOutcome::Permanent(refusal.0) } else { LaunchOutcome::AgentTrouble(refusal.0) }
}
