//! What the runs of the agents want of ECS and of the network, launch by launch. Pure.

use crate::config::AgentConfig;
use crate::survey::{DEFAULTS, Reach, RenderedLaunch, Survey, Undescribed};
use crate::transport::shape::{at, items_at, text_at};
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
    /// As containers' platforms call it: `amd64`, `arm64`.
    pub architecture: &'static str,
}

/// A network that tasks are put into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedNetwork {
    /// Its region.
    pub region: String,
    /// Which subnets.
    pub subnets: Subnets,
    /// Security groups; none = the VPC's default one.
    pub security_groups: Vec<String>,
    /// Tasks get public addresses.
    pub is_public: bool,
    /// They read secrets before they start: of Parameter Store, of Secrets Manager.
    pub secrets: (bool, bool),
    /// Their images come from ECR, their logs go to `CloudWatch`.
    pub uses: (bool, bool),
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
    /// CPU and memory of tasks on Fargate, as they are written.
    pub fargate_sizes: BTreeMap<(String, String), Askers>,
    /// ARNs of task and execution roles.
    pub roles: BTreeSet<String>,
    /// What execution roles have to do: action and resource.
    pub execution: BTreeMap<String, BTreeSet<(String, String)>>,
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

/// What these agents' runs want. `secrets_key`: the key of the customer that guards secrets, if there is one.
pub fn of(surveys: &[(&AgentConfig, &Survey)], secrets_key: &str) -> Wishes {
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
                wishes.add(&asker, rendered, secrets_key);
            } else {
                let account = rendered.place.account.as_deref().unwrap_or("an account that is not known");
                wishes.elsewhere.entry(account.to_owned()).or_default().insert(asker);
            }
        }
        for needs in survey.needs.own().map(|(_, needs)| needs) {
            wishes.unknown_definitions.extend(needs.unknown_definitions.clone());
        }
    }
    wishes
}

impl Wishes {
    fn add(&mut self, asker: &str, launch: &RenderedLaunch, secrets_key: &str) {
        let (place, run_task) = (&launch.place, &launch.run_task);
        let arn = |service: &str, region: &str, kind: &str, name: &str| {
            if name.starts_with("arn:") {
                name.to_owned()
            } else {
                place.arn(service, region, &format!("{kind}{name}"))
            }
        };
        let text = |map: &Map<String, Value>, key: &str| {
            map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let cluster = text(run_task, "cluster").unwrap_or_else(|| "default".into());
        let providers = self.providers.entry(arn("ecs", &place.region, "cluster/", &cluster)).or_default();
        let strategy = run_task.get("capacityProviderStrategy").and_then(Value::as_array).into_iter().flatten();
        providers.extend(strategy.filter_map(|entry| text_at(entry, &["capacityProvider"])).map(str::to_owned));
        let is_fargate_provider = |provider: &String| provider.starts_with("FARGATE");
        let on_fargate =
            text(run_task, "launchType").as_deref() == Some("FARGATE") || providers.iter().any(is_fargate_provider);

        let empty = Map::new();
        let definition = launch.definition.said().unwrap_or(&empty);
        let overrides = run_task.get("overrides").and_then(Value::as_object).unwrap_or(&empty);
        let either = |key: &str| text(overrides, key).or_else(|| text(definition, key));
        let size = either("cpu").zip(either("memory")).filter(|_| on_fargate);
        if let Some(size) = size {
            self.fargate_sizes.entry(size).or_default().insert(asker.to_owned());
        }
        let role = |key: &str| either(key).map(|role| arn("iam", "", "role/", &role));
        let execution_role = role("executionRoleArn");
        self.roles.extend(role("taskRoleArn").into_iter().chain(execution_role.clone()));
        let said = Value::Object(definition.clone());
        let containers =
            Containers::of(&said, &place.region, &|region, group| arn("logs", region, "log-group:", group));
        let architecture = match text_at(&said, &["runtimePlatform", "cpuArchitecture"]) {
            Some("ARM64") => "arm64",
            _ => "amd64",
        };
        for name in &containers.images {
            let image = Image { name: name.clone(), architecture };
            self.images.entry(image).or_default().insert(asker.to_owned());
        }
        self.log_groups
            .extend(containers.log_groups.iter().filter(|(_, created)| !**created).map(|(arn, _)| arn.clone()));
        if let Some(role) = execution_role {
            let parameter = |name: &str| arn("ssm", &place.region, "parameter/", name.trim_start_matches('/'));
            let has = containers.tasks_of(&parameter, secrets_key);
            self.execution.entry(role).or_default().extend(has);
        }
        if let Some(network) = network(launch, &place.region, &containers) {
            self.networks.entry(network).or_default().insert(asker.to_owned());
        }
    }
}

fn network(launch: &RenderedLaunch, region: &str, containers: &Containers) -> Option<WantedNetwork> {
    let run_task = Value::Object(launch.run_task.clone());
    let configured = at(&run_task, &["networkConfiguration", "awsvpcConfiguration"]);
    let texts = |key: &str| -> Vec<String> {
        let items = configured.map(|configured| items_at(configured, &[key])).unwrap_or_default();
        let mut texts: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        texts.sort();
        texts
    };
    let named = texts("subnets");
    let is_public = configured.is_none_or(|configured| text_at(configured, &["assignPublicIp"]) == Some("ENABLED"));
    let subnets = match (&launch.network, named.is_empty()) {
        (_, false) => Subnets::Named(named),
        (Some(lookup), true) => lookup.vpc_id().map_or(Subnets::OfDefaultVpc, |id| Subnets::OfVpc(id.to_owned())),
        (None, true) => return None,
    };
    let has = |service: &str| containers.secrets.iter().any(|secret| secret.contains(service));
    let of_parameters = containers.secrets.iter().any(|secret| !secret.contains(":secretsmanager:"));
    Some(WantedNetwork {
        region: region.to_owned(),
        subnets,
        security_groups: texts("securityGroups"),
        is_public,
        secrets: (of_parameters, has(":secretsmanager:")),
        uses: (containers.images.iter().any(|image| Registry::of(image).is_some()), !containers.log_groups.is_empty()),
    })
}

/// What a task definition's containers have.
#[derive(Debug, Default)]
struct Containers {
    images: BTreeSet<String>,
    /// ARNs of log groups, and whether the container creates them.
    log_groups: BTreeMap<String, bool>,
    secrets: BTreeSet<String>,
}

impl Containers {
    fn of(definition: &Value, region: &str, group_arn: &dyn Fn(&str, &str) -> String) -> Self {
        let mut all = Self::default();
        for container in items_at(definition, &["containerDefinitions"]) {
            all.images.extend(text_at(container, &["image"]).map(str::to_owned));
            let option = |name: &str| text_at(container, &["logConfiguration", "options", name]);
            if text_at(container, &["logConfiguration", "logDriver"]) == Some("awslogs")
                && let Some(group) = option("awslogs-group")
            {
                let created = option("awslogs-create-group").is_some_and(|text| text.eq_ignore_ascii_case("true"));
                let known =
                    all.log_groups.entry(group_arn(option("awslogs-region").unwrap_or(region), group)).or_default();
                *known |= created;
            }
            let secrets = items_at(container, &["secrets"]);
            let of_log = items_at(container, &["logConfiguration", "secretOptions"]);
            let values = secrets.iter().chain(of_log).filter_map(|secret| text_at(secret, &["valueFrom"]));
            all.secrets.extend(values.map(str::to_owned));
            all.secrets
                .extend(text_at(container, &["repositoryCredentials", "credentialsParameter"]).map(str::to_owned));
        }
        all
    }

    /// What the execution role has to do before the containers run.
    fn tasks_of(&self, parameter_arn: &dyn Fn(&str) -> String, secrets_key: &str) -> BTreeSet<(String, String)> {
        let mut all = BTreeSet::new();
        let mut has = |action: &str, resource: String| {
            all.insert((action.to_owned(), resource));
        };
        for registry in self.images.iter().filter_map(|image| Registry::of(image)) {
            has("ecr:GetAuthorizationToken", "*".to_owned());
            for action in ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"] {
                has(action, registry.repository_arn());
            }
        }
        for (group, created) in &self.log_groups {
            for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
                has(action, format!("{group}:log-stream:prefect/flow/0123456789abcdef"));
            }
            if *created {
                has("logs:CreateLogGroup", group.clone());
            }
        }
        for secret in &self.secrets {
            if secret.contains(":secretsmanager:") {
                has("secretsmanager:GetSecretValue", secret.split(':').take(7).collect::<Vec<_>>().join(":"));
                continue;
            }
            has("ssm:GetParameters", if secret.starts_with("arn:") { secret.clone() } else { parameter_arn(secret) });
            if !secrets_key.is_empty() {
                has("kms:Decrypt", secrets_key.to_owned());
            }
        }
        all
    }
}

/// An image of ECR, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Whose registry.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Name of the repository.
    pub repository: String,
    /// Tag, unless there is a digest.
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl Registry {
    /// `None`: the image is of another registry.
    pub fn of(image: &str) -> Option<Self> {
        let (host, rest) = image.split_once('/')?;
        let mut parts = host.split('.');
        let account = parts.next().filter(|part| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        let is_ecr = parts.next() == Some("dkr") && parts.next().is_some_and(|part| part.starts_with("ecr"));
        let region = parts.next().filter(|_| is_ecr)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        let tag = if digest.is_some() { None } else { Some(tag.unwrap_or_else(|| "latest".into())) };
        let (account, region, repository) = (account.to_owned(), region.to_owned(), repository.to_owned());
        Some(Self { account, region, repository, tag, digest })
    }

    fn repository_arn(&self) -> String {
        let partition = crate::survey::place::partition(&self.region);
        format!("arn:{partition}:ecr:{}:{}:repository/{}", self.region, self.account, self.repository)
    }
}
