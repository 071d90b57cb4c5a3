//! Requests → what they ask of AWS, each with who asks for it. Pure.

use super::place::LaunchPlace;
use super::{RenderedLaunch, SurveyedDefinition, Undescribed};
use crate::config::{AgentConfig, Document, GenerationConfig};
use crate::documents::{DocumentPlace, LocalFiles, document_place};
use crate::model::Generation;
use crate::task_events::perform::{LogStream, log_stream};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for, and by whom.
pub type Asked = BTreeMap<String, BTreeSet<String>>;

/// What the runs of an agent ask of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// By where the tasks run and with whose credentials they are started there.
    pub places: BTreeMap<LaunchPlace, PlaceNeeds>,
    /// Objects that configurations name by `s3://`, as `bucket/key`.
    pub s3_objects: Asked,
    /// Parameters that configurations name by `ssm://`: names or ARNs.
    pub parameters: Asked,
}

/// What runs ask of one account and region.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaceNeeds {
    /// ARNs; the name alone where the account is not known.
    pub clusters: Asked,
    /// ARNs of task roles.
    pub task_roles: Asked,
    /// ARNs of execution roles.
    pub execution_roles: Asked,
    /// ARNs of the log groups that containers write to, without a stream.
    pub log_groups: Asked,
    /// Those among them that containers create themselves.
    pub created_log_groups: Asked,
    /// Those among them whose last lines are read when a flow's container dies.
    pub read_log_groups: Asked,
    /// Images of all containers.
    pub images: Asked,
    /// `valueFrom` of container secrets, and registries' credentials.
    pub secrets: Asked,
    /// Task definitions that exist already, as they are named.
    pub task_definitions: Asked,
    /// Those among them of which nothing is known: their roles are not among the others.
    pub unknown_definitions: BTreeMap<String, Undescribed>,
    /// Subnets that are named.
    pub subnets: Asked,
    /// Security groups that are named.
    pub security_groups: Asked,
    /// VPCs whose subnets are looked up; `default` = the region's default VPC.
    pub vpcs: Asked,
    /// Capacity providers.
    pub capacity_providers: Asked,
    /// Launch types.
    pub launch_types: Asked,
    /// Sizes of tasks, `cpu/memory`.
    pub sizes: Asked,
    /// Families of definitions that are to be deregistered when their tasks have stopped.
    pub deregistered: Asked,
}

impl Needs {
    /// What the configuration itself refers to.
    pub fn of_configuration(config: &AgentConfig) -> Self {
        let mut needs = Self::default();
        needs.refers(config.ca_bundle.as_deref(), "ca_bundle");
        if let GenerationConfig::One(one) = &config.generation {
            let path = |document: &Option<Document>| match document {
                Some(Document::Path(path)) => Some(path.clone()),
                _ => None,
            };
            needs.refers(path(&one.task_definition).as_deref(), "task_definition_path");
            needs.refers(path(&one.run_task_kwargs).as_deref(), "run_task_kwargs_path");
        }
        needs
    }

    /// Takes a document's path down, if the functions read it from AWS.
    pub fn refers(&mut self, path: Option<&str>, asker: &str) {
        match document_place(path.map(str::trim).unwrap_or_default(), LocalFiles::Allowed) {
            Ok(DocumentPlace::S3 { bucket, key }) => ask(&mut self.s3_objects, &format!("{bucket}/{key}"), asker),
            Ok(DocumentPlace::Ssm(name)) => ask(&mut self.parameters, &name, asker),
            Ok(DocumentPlace::Http | DocumentPlace::Local(_)) | Err(_) => {}
        }
    }

    /// Takes down what a launch asks for.
    pub fn add(&mut self, asker: &str, launch: &RenderedLaunch) {
        self.places.entry(launch.place.clone()).or_default().merge(of_launch(asker, launch));
    }

    /// Takes down what the runs of another agent ask for too.
    pub fn merge(&mut self, other: Self) {
        for (place, needs) in other.places {
            self.places.entry(place).or_default().merge(needs);
        }
        merge(&mut self.s3_objects, other.s3_objects);
        merge(&mut self.parameters, other.parameters);
    }

    /// The needs of launches that are made with the functions' own roles: in their own account.
    pub fn own(&self) -> impl Iterator<Item = (&LaunchPlace, &PlaceNeeds)> {
        self.places.iter().filter(|(place, _)| place.reach == super::Reach::Own)
    }

    /// Roles that the functions assume, and who asks for it.
    pub fn assumed_roles(&self) -> Asked {
        self.by_place(|place| place.reach.assumed())
    }

    /// What follows from where tasks run, with all whose tasks those are.
    fn by_place(&self, of: impl Fn(&LaunchPlace) -> Option<&str>) -> Asked {
        let mut asked = Asked::new();
        for (place, needs) in &self.places {
            let Some(what) = of(place) else { continue };
            for asker in needs.clusters.values().flatten() {
                ask(&mut asked, what, asker);
            }
        }
        asked
    }

    /// The accounts that tasks run in, as far as they are known, and whose tasks.
    pub fn accounts(&self) -> Asked {
        self.by_place(|place| place.account.as_deref())
    }
}

/// What a launch asks for where it goes.
pub fn of_launch(asker: &str, launch: &RenderedLaunch) -> PlaceNeeds {
    let (place, mut needs) = (&launch.place, PlaceNeeds::default());
    let cluster = text(&launch.run_task, "cluster").unwrap_or("default");
    ask(&mut needs.clusters, &arn(cluster, |name| place.arn("ecs", &place.region, &format!("cluster/{name}"))), asker);
    for (key, asked) in [(TASK_ROLE, &mut needs.task_roles), (EXECUTION_ROLE, &mut needs.execution_roles)] {
        for role in roles(launch, key) {
            ask(asked, &role, asker);
        }
    }
    if let SurveyedDefinition::Named { name, described } = &launch.definition {
        ask(&mut needs.task_definitions, name, asker);
        if let Err(why) = described {
            needs.unknown_definitions.insert(name.clone(), why.clone());
        }
    }
    needs.network(asker, launch);
    let definition = launch.definition.said();
    if let Some(family) = definition.filter(|_| launch.deregisters).and_then(|said| text(said, "family")) {
        ask(&mut needs.deregistered, family, asker);
    }
    if let Some(definition) = definition {
        needs.containers(asker, definition, place);
        let read = log_stream(definition, Some(&launch.flow_container), "", Generation::TwoOrThree);
        if let Some(LogStream { group, region, .. }) = read {
            let region = region.as_deref().unwrap_or(&place.region);
            ask(&mut needs.read_log_groups, &place.arn("logs", region, &format!("log-group:{group}")), asker);
        }
    }
    let overrides = launch.run_task.get("overrides").and_then(Value::as_object);
    needs.capacity(asker, &launch.run_task, definition, overrides);
    needs
}

/// Key of a task's own role, in definitions and overrides.
const TASK_ROLE: &str = "taskRoleArn";
/// Key of the role that ECS starts a task with.
const EXECUTION_ROLE: &str = "executionRoleArn";

/// ARN of the role that the tasks of a launch have.
pub fn task_role(launch: &RenderedLaunch) -> Option<String> {
    roles(launch, TASK_ROLE).pop()
}

/// ARN of the role that ECS starts the tasks of a launch with.
pub fn execution_role(launch: &RenderedLaunch) -> Option<String> {
    roles(launch, EXECUTION_ROLE).pop()
}

/// ARNs of the roles that a launch names, that of the tasks last: an override comes after what it overrides.
fn roles(launch: &RenderedLaunch, key: &str) -> Vec<String> {
    let overrides = launch.run_task.get("overrides").and_then(Value::as_object);
    let said = [launch.definition.said(), overrides].into_iter().flatten().filter_map(|said| text(said, key));
    said.map(|role| arn(role, |name| launch.place.arn("iam", "", &format!("role/{name}")))).collect()
}

/// An ARN as it is, or that of a name.
fn arn(written: &str, of_name: impl Fn(&str) -> String) -> String {
    if written.starts_with("arn:") { written.to_owned() } else { of_name(written) }
}

impl PlaceNeeds {
    fn merge(&mut self, other: Self) {
        let Self {
            clusters,
            task_roles,
            execution_roles,
            log_groups,
            created_log_groups,
            read_log_groups,
            images,
            secrets,
            task_definitions,
            unknown_definitions,
            subnets,
            security_groups,
            vpcs,
            capacity_providers,
            launch_types,
            sizes,
            deregistered,
        } = other;
        self.unknown_definitions.extend(unknown_definitions);
        let all = [
            (&mut self.clusters, clusters),
            (&mut self.task_roles, task_roles),
            (&mut self.execution_roles, execution_roles),
            (&mut self.log_groups, log_groups),
            (&mut self.created_log_groups, created_log_groups),
            (&mut self.read_log_groups, read_log_groups),
            (&mut self.images, images),
            (&mut self.secrets, secrets),
            (&mut self.task_definitions, task_definitions),
            (&mut self.subnets, subnets),
            (&mut self.security_groups, security_groups),
            (&mut self.vpcs, vpcs),
            (&mut self.capacity_providers, capacity_providers),
            (&mut self.launch_types, launch_types),
            (&mut self.sizes, sizes),
            (&mut self.deregistered, deregistered),
        ];
        for (asked, more) in all {
            merge(asked, more);
        }
    }

    fn network(&mut self, asker: &str, launch: &RenderedLaunch) {
        if let Some(lookup) = &launch.network {
            ask(&mut self.vpcs, lookup.vpc_id().unwrap_or("default"), asker);
        }
        let configured =
            launch.run_task.get("networkConfiguration").and_then(|network| network.get("awsvpcConfiguration"));
        let Some(configured) = configured else { return };
        for (key, asked) in [("subnets", &mut self.subnets), ("securityGroups", &mut self.security_groups)] {
            for id in items(configured.get(key)).filter_map(Value::as_str) {
                ask(asked, id, asker);
            }
        }
    }

    fn containers(&mut self, asker: &str, definition: &Map<String, Value>, place: &LaunchPlace) {
        for container in items(definition.get("containerDefinitions")) {
            let at = |path: &[&str]| path.iter().try_fold(container, |value, key| value.get(*key));
            let text_at = |path: &[&str]| at(path).and_then(Value::as_str).filter(|text| !text.is_empty());
            if let Some(image) = text_at(&["image"]) {
                ask(&mut self.images, image, asker);
            }
            if text_at(&["logConfiguration", "logDriver"]) == Some("awslogs")
                && let Some(group) = text_at(&["logConfiguration", "options", "awslogs-group"])
            {
                let region = text_at(&["logConfiguration", "options", "awslogs-region"]).unwrap_or(&place.region);
                let group = place.arn("logs", region, &format!("log-group:{group}"));
                ask(&mut self.log_groups, &group, asker);
                let created = text_at(&["logConfiguration", "options", "awslogs-create-group"]);
                if created.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
                    ask(&mut self.created_log_groups, &group, asker);
                }
            }
            let secrets = items(at(&["secrets"])).chain(items(at(&["logConfiguration", "secretOptions"])));
            let values = secrets.filter_map(|secret| secret.get("valueFrom").and_then(Value::as_str));
            for value in values.chain(text_at(&["repositoryCredentials", "credentialsParameter"])) {
                ask(&mut self.secrets, value, asker);
            }
        }
    }

    fn capacity(
        &mut self,
        asker: &str,
        run_task: &Map<String, Value>,
        definition: Option<&Map<String, Value>>,
        overrides: Option<&Map<String, Value>>,
    ) {
        for entry in items(run_task.get("capacityProviderStrategy")) {
            if let Some(provider) = entry.get("capacityProvider").and_then(Value::as_str) {
                ask(&mut self.capacity_providers, provider, asker);
            }
        }
        if let Some(launch_type) = text(run_task, "launchType") {
            ask(&mut self.launch_types, launch_type, asker);
        }
        let size = |key: &str| {
            let of = |said: Option<&Map<String, Value>>| match said?.get(key)? {
                Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            of(overrides).or_else(|| of(definition))
        };
        if let (Some(cpu), Some(memory)) = (size("cpu"), size("memory")) {
            ask(&mut self.sizes, &format!("{cpu}/{memory}"), asker);
        }
    }
}

fn ask(by: &mut Asked, what: &str, asker: &str) {
    by.entry(what.to_owned()).or_default().insert(asker.to_owned());
}

fn merge(asked: &mut Asked, more: Asked) {
    for (what, askers) in more {
        asked.entry(what).or_default().extend(askers);
    }
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
