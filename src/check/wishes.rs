//! What the runs of the agents want of ECS and of the network, launch by launch. Pure.

use super::permissions::ConditionContext;
use super::stack::Stack;
use crate::config::AgentConfig;
use crate::image::{EcrImage, is_of_docker_hub};
use crate::survey::needs::{execution_role, of_launch, task_role};
use crate::survey::place::{LaunchPlace, dns_suffix, partition};
use crate::survey::{Asked, DEFAULTS, PlaceNeeds, Reach, RenderedLaunch, Survey, Undescribed};
use crate::transport::shape::text_at;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Whose runs, by name.
pub type Askers = BTreeSet<String>;

/// An image, and the processor that it is to run on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// As it is written.
    pub name: String,
    /// As containers' platforms call it: `amd64`, `arm64`; `None`: the task runs on whatever instance has room.
    pub architecture: Option<&'static str>,
}

/// A task on Fargate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FargateTask {
    /// Its region.
    pub region: String,
    /// It may run on spare capacity, which has a quota of its own.
    pub is_spot: bool,
    /// As it is written; empty = not at all.
    pub cpu: String,
    /// As it is written; empty = not at all.
    pub memory: String,
}

/// What an execution role has to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleRequest {
    /// E.g. `ssm:GetParameters`.
    pub action: &'static str,
    /// ARN, or `*` where there is none.
    pub resource: String,
    /// What comes with it.
    pub context: ConditionContext,
}

/// The agents' own secrets, which tasks may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnSecrets<'a> {
    /// Where they are in Parameter Store; empty = nowhere.
    pub path: &'a str,
    /// ARN of the customer's key that they are encrypted with; empty = the account's own, which needs no permission.
    pub key: &'a str,
}

/// A network that tasks, or the functions, are put into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedNetwork {
    /// Its region.
    pub region: String,
    /// Which subnets.
    pub subnets: Subnets,
    /// Security groups; none = the VPC's default one.
    pub security_groups: Vec<String>,
    /// What is put there.
    pub occupant: Occupant,
    /// What has to be reached from there, as endpoints name it: `ecr.api`, `ssm`, …
    pub services: BTreeSet<&'static str>,
    /// An image that only Docker Hub has, which no endpoint leads to.
    pub docker_hub_image: Option<String>,
}

/// What is put into a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupant {
    /// Tasks, with public addresses or without.
    Tasks {
        /// `assignPublicIp`
        is_public: bool,
    },
    /// The stack's functions, which never get public addresses.
    Functions,
}

/// The network that a stack puts its functions into, if it names one.
pub fn of_functions(stack: &Stack, region: &str) -> Option<(WantedNetwork, Askers)> {
    let ids = |parameter| -> Vec<String> {
        stack.parameter(parameter).split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
    };
    let subnets = Some(ids("VpcSubnetIds")).filter(|subnets| !subnets.is_empty())?;
    let network = WantedNetwork {
        region: region.to_owned(),
        subnets: Subnets::Named(subnets),
        security_groups: ids("VpcSecurityGroupIds"),
        occupant: Occupant::Functions,
        services: ["ecs", "sqs", "ssm"].into(),
        docker_hub_image: None,
    };
    Some((network, [format!("the functions of stack {}", stack.name)].into()))
}

/// Subnets that are named, or looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subnets {
    /// These.
    Named(Vec<String>),
    /// All of this VPC.
    OfVpc(String),
    /// All of the region's default VPC.
    OfDefaultVpc,
}

/// All that is wanted in the functions' own account.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// ARNs of clusters, with the capacity providers that runs want there.
    pub providers: BTreeMap<String, BTreeSet<String>>,
    /// Tasks on Fargate.
    pub fargate: BTreeMap<FargateTask, Askers>,
    /// ARNs of task and execution roles, and the regions that they are wanted in.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// What execution roles have to do.
    pub execution: BTreeMap<String, BTreeSet<RoleRequest>>,
    /// Images.
    pub images: BTreeMap<Image, Askers>,
    /// ARNs of log groups that nobody creates.
    pub log_groups: BTreeSet<String>,
    /// Networks.
    pub networks: BTreeMap<WantedNetwork, Askers>,
    /// Task definitions of which nothing is known, and why.
    pub unknown_definitions: BTreeMap<String, Undescribed>,
    /// Runs that go to other accounts: where to.
    pub elsewhere: BTreeMap<String, Askers>,
}

/// What these agents' runs want.
pub fn of(surveys: &[(&AgentConfig, &Survey)], secrets: OwnSecrets<'_>) -> Wishes {
    let mut wishes = Wishes::default();
    for (config, survey) in surveys {
        for launch in survey.counted_launches() {
            let asker = match &survey.pool {
                _ if launch.asker != DEFAULTS => launch.asker.clone(),
                Some(pool) => format!("{DEFAULTS} of work pool {}", pool.pool.name),
                None => format!("agent {}", config.agent),
            };
            let Ok(rendered) = &launch.rendered else { continue };
            if rendered.place.reach == Reach::Own {
                wishes.add(&asker, rendered, secrets);
            } else {
                let account = rendered.place.account.as_deref().unwrap_or("an account that is not known");
                wishes.elsewhere.entry(account.to_owned()).or_default().insert(asker);
            }
        }
    }
    wishes
}

impl Wishes {
    fn add(&mut self, asker: &str, launch: &RenderedLaunch, secrets: OwnSecrets<'_>) {
        let (place, needs) = (&launch.place, of_launch(asker, launch));
        for cluster in needs.clusters.keys() {
            self.providers.entry(cluster.clone()).or_default().extend(needs.capacity_providers.keys().cloned());
        }
        let definition = launch.definition.said();
        let fargate = fargate(launch, &needs);
        // What a definition says that is not known may be anything.
        let size = needs.sizes.keys().next().and_then(|size| size.split_once('/'));
        if let Some((cpu, memory)) = size.or(definition.and(Some(("", "")))) {
            for is_spot in &fargate {
                let (region, is_spot) = (place.region.clone(), *is_spot);
                let task = FargateTask { region, is_spot, cpu: cpu.to_owned(), memory: memory.to_owned() };
                self.fargate.entry(task).or_default().insert(asker.to_owned());
            }
        }
        let execution_role = execution_role(launch);
        for role in task_role(launch).into_iter().chain(execution_role.clone()) {
            self.roles.entry(role).or_default().insert(place.region.clone());
        }
        let architecture = architecture(definition, !fargate.is_empty());
        for name in needs.images.keys() {
            let image = Image { name: name.clone(), architecture };
            self.images.entry(image).or_default().insert(asker.to_owned());
        }
        let nobody_creates = |group: &&String| !needs.created_log_groups.contains_key(*group);
        self.log_groups.extend(needs.log_groups.keys().filter(nobody_creates).cloned());
        if let Some(role) = execution_role {
            self.execution.entry(role).or_default().extend(requests(place, &needs, secrets));
        }
        if let Some(network) = network(launch, &needs) {
            self.networks.entry(network).or_default().insert(asker.to_owned());
        }
        self.unknown_definitions.extend(needs.unknown_definitions);
    }
}

/// The kinds of Fargate's capacity that a launch may be given, of which spare one is `true`. None where it runs on instances,
/// or on what the cluster does by default.
fn fargate(launch: &RenderedLaunch, needs: &PlaceNeeds) -> BTreeSet<bool> {
    if launch.is_on_fargate() != Some(true) {
        return BTreeSet::new();
    }
    // The launch type knows no spare capacity.
    let of_type = needs.capacity_providers.is_empty().then_some(false);
    needs.capacity_providers.keys().map(|provider| provider == "FARGATE_SPOT").chain(of_type).collect()
}

/// Fargate runs on X86 where nothing else is said; on instances that decides nothing.
fn architecture(definition: Option<&Map<String, Value>>, on_fargate: bool) -> Option<&'static str> {
    let platform = definition?.get("runtimePlatform");
    match platform.and_then(|platform| text_at(platform, &["cpuArchitecture"])) {
        Some("ARM64") => Some("arm64"),
        Some("X86_64") => Some("amd64"),
        None if on_fargate => Some("amd64"),
        Some(_) | None => None,
    }
}

fn network(launch: &RenderedLaunch, needs: &PlaceNeeds) -> Option<WantedNetwork> {
    let configured = launch.run_task.get("networkConfiguration").and_then(|network| network.get("awsvpcConfiguration"));
    let is_public = configured.is_none_or(|configured| text_at(configured, &["assignPublicIp"]) == Some("ENABLED"));
    let ids = |asked: &Asked| -> Vec<String> { asked.keys().cloned().collect() };
    let subnets = match &launch.network {
        _ if !needs.subnets.is_empty() => Subnets::Named(ids(&needs.subnets)),
        Some(lookup) => lookup.vpc_id().map_or(Subnets::OfDefaultVpc, |id| Subnets::OfVpc(id.to_owned())),
        None => return None,
    };
    let of_manager = |secret: &String| secret.contains(":secretsmanager:");
    let images: &[_] = if needs.images.keys().any(|image| EcrImage::of(image).is_some()) {
        &["ecr.api", "ecr.dkr", "s3"]
    } else {
        &[]
    };
    let others = [
        ("logs", !needs.log_groups.is_empty()),
        ("ssm", needs.secrets.keys().any(|secret| !of_manager(secret))),
        ("secretsmanager", needs.secrets.keys().any(of_manager)),
    ];
    let others = others.into_iter().filter(|(_, is_used)| *is_used).map(|(service, _)| service);
    Some(WantedNetwork {
        region: launch.place.region.clone(),
        subnets,
        security_groups: ids(&needs.security_groups),
        occupant: Occupant::Tasks { is_public },
        services: images.iter().copied().chain(others).collect(),
        docker_hub_image: needs.images.keys().find(|image| is_of_docker_hub(image)).cloned(),
    })
}

/// What an execution role has to do before the containers run.
fn requests(place: &LaunchPlace, needs: &PlaceNeeds, own: OwnSecrets<'_>) -> BTreeSet<RoleRequest> {
    let mut all = BTreeSet::new();
    let mut has = |action, resource: String, context| {
        all.insert(RoleRequest { action, resource, context });
    };
    for image in needs.images.keys().filter_map(|image| EcrImage::of(image)) {
        let EcrImage { account, region, repository, .. } = image;
        let repository = format!("arn:{}:ecr:{region}:{account}:repository/{repository}", partition(&region));
        has("ecr:GetAuthorizationToken", "*".to_owned(), None);
        for action in ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] {
            has(action, repository.clone(), None);
        }
    }
    for group in needs.log_groups.keys() {
        for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
            has(action, format!("{group}:log-stream:prefect/flow/0123456789abcdef"), None);
        }
        if needs.created_log_groups.contains_key(group) {
            has("logs:CreateLogGroup", group.clone(), None);
        }
    }
    for secret in needs.secrets.keys() {
        if secret.contains(":secretsmanager:") {
            let arn = secret.split(':').take(7).collect::<Vec<_>>().join(":");
            has("secretsmanager:GetSecretValue", arn, None);
            continue;
        }
        let parameter = if secret.starts_with("arn:") {
            secret.clone()
        } else {
            place.arn("ssm", &place.region, &format!("parameter/{}", secret.trim_start_matches('/')))
        };
        if let Some(region) = own.guarded(&parameter) {
            // Keys of other parameters are not known, and this one is used by Parameter Store alone.
            let via = format!("ssm.{region}.{}", dns_suffix(region));
            has("kms:Decrypt", own.key.to_owned(), Some(("kms:ViaService", via)));
        }
        has("ssm:GetParameters", parameter, None);
    }
    all
}

impl OwnSecrets<'_> {
    /// The region of a parameter that the customer's key guards.
    fn guarded<'p>(&self, parameter: &'p str) -> Option<&'p str> {
        let (_, name) = parameter.split_once(":parameter")?;
        let below = name.strip_prefix(self.path).filter(|rest| !self.path.is_empty() && rest.starts_with('/'));
        let region = region_of(parameter);
        (below.is_some() && !self.key.is_empty() && region_of(self.key) == region).then_some(region)
    }
}

/// The region of an ARN.
pub(super) fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}
