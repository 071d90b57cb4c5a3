//! How a flow run gets its API key, and what else opens its way to Prefect: as container secrets where that is possible,
//! else in its environment.

use super::target::AwsCredentials;
use super::{Definition, LaunchSpec};
use crate::config::{AgentConfig, AgentSecrets, ApiKeyDelivery};
use crate::model::RunRefusal;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::sync::Arc;

/// The container that runs the flow, where the launch does not say.
const FLOW: &str = "flow";

/// The variables of all generations that hold a key.
const KEY_VARIABLES: [&str; 5] = [
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT__CLOUD__API_KEY",
    "PREFECT__CLOUD__AUTH_TOKEN",
];

/// What one agent's deliveries depend on.
#[derive(Debug)]
pub struct Delivery {
    mode: ApiKeyDelivery,
    secrets: AgentSecrets,
    /// The role that the agent launches with, if it is not its own.
    assume_role_arn: Option<String>,
    /// Of the deployment's parameters.
    root: String,
    agent: String,
}

/// A delivery that waits for the task definition, which exists, to be described. Equal only to its own clones.
#[derive(Debug, Clone)]
pub struct Pending(Arc<Delivery>);

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A launch whose key is delivered one way or the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The launch.
    pub spec: LaunchSpec,
    /// What a person should know or change; the same text for the same reason.
    pub warning: Option<String>,
}

impl Delivery {
    /// `marked_as`: `<root>/<agent>`.
    pub fn new<G>(config: &AgentConfig<G>, secrets: AgentSecrets, marked_as: &str) -> Self {
        let root = marked_as.strip_suffix(&config.agent).unwrap_or(marked_as).trim_end_matches('/');
        Self {
            mode: config.api_key_delivery,
            secrets,
            assume_role_arn: config.assume_role_arn.clone(),
            root: root.to_owned(),
            agent: config.agent.clone(),
        }
    }

    /// The variables that hold a key, with the ARN of each secret that may be delivered in them.
    pub(super) fn own_secrets(&self) -> Vec<(&'static str, String)> {
        let arns = || self.secrets.iter().filter_map(|secret| secret.arn.clone());
        KEY_VARIABLES.into_iter().flat_map(|name| arns().map(move |arn| (name, arn))).collect()
    }

    /// Where the secret lies whose value this is.
    fn arn_of(&self, value: &str) -> Option<&str> {
        self.secrets.iter().find(|secret| secret.value.expose_secret() == value)?.arn.as_deref()
    }
}

/// Applies `api_key_delivery` to a launch. What a definition that exists says is not known yet: such a launch is
/// delivered by [`Pending::deliver`], once it is.
///
/// A secret needs a definition of ours with an execution role, and a key that is stored in the tasks' own account. Under
/// `auto` the role must be this very deployment's own. Refused only under [`ApiKeyDelivery::Secret`].
pub fn deliver(spec: LaunchSpec, delivery: &Arc<Delivery>) -> Result<Delivered, RunRefusal> {
    match &spec.definition {
        Definition::Existing { .. } => {
            let pending = Some(Pending(Arc::clone(delivery)));
            Ok(Delivered { spec: LaunchSpec { pending_delivery: pending, ..spec }, warning: None })
        }
        Definition::Own(definition) => {
            let users = secrets_of(definition, flow_of(&spec));
            settle(without(spec, &users), delivery)
        }
    }
}

impl Pending {
    /// As [`deliver`], for a launch whose definition exists. `described`: what it says, if that could be told.
    pub fn deliver(&self, spec: LaunchSpec, described: Option<&Map<String, Value>>) -> Result<Delivered, RunRefusal> {
        let users = described.map(|definition| secrets_of(definition, flow_of(&spec)));
        settle(without(spec, &users.unwrap_or_default()), &self.0)
    }
}

fn flow_of(spec: &LaunchSpec) -> &str {
    spec.worker.flow_container.as_deref().unwrap_or(FLOW)
}

/// A container's own secret stays as its user wrote it: the agent's variable of that name is not sent as well, which ECS
/// would refuse. One that is empty is the agent's too.
fn without(mut spec: LaunchSpec, users: &[String]) -> LaunchSpec {
    let users: Vec<_> = users.iter().filter(|name| KEY_VARIABLES.contains(&name.as_str())).collect();
    if users.is_empty() {
        return spec;
    }
    let flow = flow_of(&spec).to_owned();
    let ours = std::mem::take(&mut spec.key_variables);
    let is_ours = |name: &str, value: Option<&str>| ours.iter().any(|known| known == name) || value == Some("");
    remove_variables(&mut spec.run_task, &flow, |is_flow, name, value| {
        is_flow && users.iter().any(|known| *known == name) && is_ours(name, value)
    });
    spec.key_variables = ours.into_iter().filter(|name| !users.contains(&name)).collect();
    spec
}

fn settle(spec: LaunchSpec, delivery: &Delivery) -> Result<Delivered, RunRefusal> {
    if delivery.mode == ApiKeyDelivery::Environment || spec.key_variables.is_empty() {
        return Ok(Delivered { spec, warning: None });
    }
    let found = as_secrets(&spec, delivery);
    if delivery.mode == ApiKeyDelivery::Secret {
        let refusal = |why: &Obstacle| {
            RunRefusal(format!(
                "The API key cannot be delivered as a container secret (api_key_delivery: secret): {why}. {}, or set \
                 api_key_delivery to auto or environment.",
                why.remedy(&delivery.agent)
            ))
        };
        return match found {
            Ok(Secrets { missing: Some(why), .. }) | Err(why) => Err(refusal(&why)),
            Ok(Secrets { spec, .. }) => Ok(Delivered { spec, warning: None }),
        };
    }
    Ok(match found {
        Ok(secrets) => match owner_of_role(&secrets.role, &delivery.root, &delivery.agent) {
            RoleOwner::Own => {
                let warning = secrets.missing.map(|why| in_environment(&why, why.remedy(&delivery.agent)));
                Delivered { spec: secrets.spec, warning }
            }
            RoleOwner::Shared => {
                Delivered { warning: Some(move_from(&secrets.role, &delivery.root)), spec: secrets.spec }
            }
            RoleOwner::Others => {
                let why = Obstacle::OthersRole(secrets.role);
                Delivered { spec, warning: Some(in_environment(&why, both_halves(&secrets.arns))) }
            }
        },
        Err(why) => Delivered { spec, warning: Some(in_environment(&why, why.remedy(&delivery.agent))) },
    })
}

/// A launch with secrets in place of variables.
struct Secrets {
    spec: LaunchSpec,
    role: String,
    /// The parameters that the role must be allowed to read.
    arns: Vec<String>,
    /// Why some variable stays one.
    missing: Option<Obstacle>,
}

fn as_secrets(spec: &LaunchSpec, delivery: &Delivery) -> Result<Secrets, Obstacle> {
    let Definition::Own(definition) = &spec.definition else { return Err(Obstacle::NotOurs) };
    let (in_definition, role) = execution_roles(definition, &spec.run_task).ok_or(Obstacle::NoExecutionRole)?;
    let written = account(role).or_else(|| account(text(&spec.run_task, "cluster")?));
    let task_account = match written {
        Some(account) => Some(account),
        None => account_of(&spec.worker.credentials, delivery.assume_role_arn.as_deref())?,
    };

    let flow = flow_of(spec);
    let (mut entries, mut missing) = (Vec::with_capacity(spec.key_variables.len()), None);
    for name in &spec.key_variables {
        let arn = value_of(&spec.run_task, flow, name).and_then(|value| delivery.arn_of(value));
        match (arn, arn.and_then(account), task_account) {
            (None, ..) => missing = missing.or_else(|| Some(Obstacle::NotStored(name.clone()))),
            (_, Some(key), Some(task)) if key != task => {
                return Err(Obstacle::OtherAccount { key: key.into(), task: task.into() });
            }
            (Some(arn), ..) => entries.push((name.as_str(), arn)),
        }
    }
    if let (true, Some(missing)) = (entries.is_empty(), &missing) {
        return Err(missing.clone());
    }

    let mut definition = definition.clone();
    // A definition with secrets is refused unless it names the role itself.
    definition.insert("executionRoleArn".into(), json!(in_definition));
    add_secrets(&mut definition, flow, &entries);
    let mut run_task = spec.run_task.clone();
    // The flow container loses the variables, which its secrets replace; every other one loses those that hold a key.
    remove_variables(&mut run_task, flow, |is_flow, name, value| {
        let holds_key = || delivery.secrets.iter().any(|secret| value == Some(secret.value.expose_secret()));
        entries.iter().any(|(known, _)| *known == name) && (is_flow || holds_key())
    });
    let mut arns: Vec<_> = entries.iter().map(|(_, arn)| (*arn).to_owned()).collect();
    arns.dedup();
    let spec = LaunchSpec { definition: Definition::Own(definition), run_task, ..spec.clone() };
    Ok(Secrets { spec, role: role.to_owned(), arns, missing })
}

/// The account that a launch's credentials lead to; `None` = nothing says that it is not the agent's own.
fn account_of<'a>(
    credentials: &'a AwsCredentials,
    assume_role_arn: Option<&'a str>,
) -> Result<Option<&'a str>, Obstacle> {
    match &credentials.assume_role_arn {
        Some(role) => Ok(account(role)),
        None if credentials.access_key_id.is_some() => Err(Obstacle::UnknownAccount),
        None => Ok(assume_role_arn.and_then(account)),
    }
}

/// The role that the definition names, and the one that the task is started with; each stands in for the other.
fn execution_roles<'a>(
    definition: &'a Map<String, Value>,
    run_task: &'a Map<String, Value>,
) -> Option<(&'a str, &'a str)> {
    let overridden = run_task.get("overrides").and_then(Value::as_object);
    let overridden = overridden.and_then(|overrides| text(overrides, "executionRoleArn"));
    let written = text(definition, "executionRoleArn");
    Some((written.or(overridden)?, overridden.or(written)?))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The account that an ARN names.
fn account(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    (parts.next() == Some("arn")).then(|| parts.nth(3)).flatten().filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests;

// Variables and secrets of the container that runs the flow, in a task definition and in the overrides of `RunTask`.

/// Names of the secrets that the definition gives the container, as its user wrote them.
fn secrets_of(definition: &Map<String, Value>, flow: &str) -> Vec<String> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    let flow = containers.into_iter().flatten().find(|container| is_named(container, flow));
    let secrets = flow.and_then(|flow| flow.get("secrets")?.as_array());
    let name = |secret: &Value| secret.get("name")?.as_str().map(str::to_owned);
    secrets.into_iter().flatten().filter_map(name).collect()
}

/// The value that the overrides give this variable of the container.
fn value_of<'a>(run_task: &'a Map<String, Value>, flow: &str, name: &str) -> Option<&'a str> {
    let containers = run_task.get("overrides").and_then(|all| all.get("containerOverrides")).and_then(Value::as_array);
    let mut flows = containers.into_iter().flatten().filter(|container| is_named(container, flow));
    let variable = |container: &'a Value| {
        let entries = container.get("environment")?.as_array()?;
        entries.iter().find(|entry| is_named(entry, name))?.get("value")?.as_str()
    };
    flows.find_map(variable)
}

/// Adds secrets (name, ARN) to the first container of this name; a variable and a secret of one name exclude each other.
fn add_secrets(definition: &mut Map<String, Value>, flow: &str, entries: &[(&str, &str)]) {
    let containers = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let flow = containers.into_iter().flatten().find(|container| is_named(container, flow));
    let Some(flow) = flow.and_then(Value::as_object_mut) else { return };
    if let Some(environment) = flow.get_mut("environment").and_then(Value::as_array_mut) {
        environment.retain(|entry| !entries.iter().any(|(name, _)| is_named(entry, name)));
    }
    let mut secrets = flow.get("secrets").and_then(Value::as_array).cloned().unwrap_or_default();
    secrets.extend(entries.iter().map(|(name, arn)| json!({"name": name, "valueFrom": arn})));
    flow.insert("secrets".into(), Value::Array(secrets));
}

/// Takes variables out of the overrides: those for which `goes` says so, told whether the container runs the flow, and
/// the variable's name and value.
fn remove_variables(run_task: &mut Map<String, Value>, flow: &str, goes: impl Fn(bool, &str, Option<&str>) -> bool) {
    let containers = run_task.get_mut("overrides").and_then(|all| all.get_mut("containerOverrides"));
    for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
        let is_flow = is_named(container, flow);
        let Some(environment) = container.get_mut("environment").and_then(Value::as_array_mut) else { continue };
        environment.retain(|entry| {
            let name = entry.get("name").and_then(Value::as_str);
            !name.is_some_and(|name| goes(is_flow, name, entry.get("value").and_then(Value::as_str)))
        });
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

// Whose an execution role is, by its IAM path. `infra/cluster.yaml` creates roles that may read an agent's secrets in
// paths of their own; what a role anywhere else may read, nobody here knows.

/// Path of the roles that `infra/cluster.yaml` creates, of all deployments.
const SHARED: &str = "/prefect-serverless-agent/";

/// Whose an execution role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoleOwner {
    /// This deployment's, or this agent's: it may read the agent's secrets.
    Own,
    /// Of a time when all deployments' roles had one path.
    Shared,
    /// Anybody's.
    Others,
}

/// `root`: of the deployment's parameters. Only exact paths count: `/a` and `/a/b` are two deployments.
fn owner_of_role(role: &str, root: &str, agent: &str) -> RoleOwner {
    match path(role) {
        Some(SHARED) => RoleOwner::Shared,
        Some(path) if path == own_path(root) || path == format!("{}agent/{agent}/", own_path(root)) => RoleOwner::Own,
        _ => RoleOwner::Others,
    }
}

/// The path of the deployment's own roles.
fn own_path(root: &str) -> String {
    format!("/prefect-serverless-agent{root}/")
}

/// The path that a role's ARN names: `/` or `/…/`. `None` = this is no ARN of a role.
fn path(role: &str) -> Option<&str> {
    let mut parts = role.splitn(6, ':');
    if parts.next() != Some("arn") || parts.nth(1) != Some("iam") {
        return None;
    }
    let resource = parts.nth(2)?.strip_prefix("role")?;
    resource.get(..=resource.rfind('/')?)
}

/// The IAM statement with which a role may read these parameters.
fn policy_statement(arns: &[String]) -> String {
    json!({"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": arns}).to_string()
}

// What people are told about a delivery.

/// Why the key cannot be a container secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Obstacle {
    #[error("the run uses a task definition that exists, which is not ours to change")]
    NotOurs,
    #[error("the task definition has no execution role")]
    NoExecutionRole,
    #[error("the execution role {0} is not this deployment's own, and may not be allowed to read the key")]
    OthersRole(String),
    #[error("the value of {0} was not read from Parameter Store")]
    NotStored(String),
    #[error("the key lies in account {key}, the task runs in account {task}")]
    OtherAccount { key: String, task: String },
    #[error("the run brings its own AWS keys, and nothing tells whose account they belong to")]
    UnknownAccount,
}

impl Obstacle {
    /// What to do about it. `agent`: the name of the agent.
    fn remedy(&self, agent: &str) -> String {
        match self {
            Self::NotOurs => {
                "Give the run an image or a task_definition instead of a task_definition_arn, or the definition a secret \
                 of that name"
            }
            Self::NoExecutionRole | Self::OthersRole(_) => {
                "Set execution_role_arn to the role that infra/cluster.yaml creates for this deployment"
            }
            Self::NotStored(_) => {
                return format!("Store it as a SecureString below the deployment's root, under …/secrets/{agent}/");
            }
            Self::UnknownAccount => "Write the execution role, or the cluster, as a full ARN",
            Self::OtherAccount { .. } => "Store a copy of the key in the account of the tasks",
        }
        .to_owned()
    }
}

/// Why a key is in the environment under `auto`.
fn in_environment(why: &Obstacle, remedy: impl Display) -> String {
    format!(
        "The API key is delivered in the environment of the task, where whoever may describe tasks can read it: {why}. \
         {remedy}; `api_key_delivery: environment` silences this."
    )
}

/// What to do about a role that all deployments share.
fn move_from(role: &str, root: &str) -> String {
    format!(
        "The execution role {role} lies in a path that all deployments share. Update the stack of infra/cluster.yaml, \
         and name its output ExecutionRoleArn, a role in {}, wherever this one is named.",
        own_path(root)
    )
}

/// The two halves of making a secret of a key whose role is not our own: the role may read it, and we may rely on that.
fn both_halves(arns: &[String]) -> String {
    format!(
        "Add this statement to the role, {} (and kms:Decrypt on the key, if a customer key encrypts the parameter), and \
         then set api_key_delivery to secret",
        policy_statement(arns)
    )
}

#[cfg(test)]
mod role_tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str) -> RoleOwner {
        owner_of_role(&format!("arn:aws:iam::111111111111:role{path}exec"), "/a/prod", "etl")
    }

    #[test]
    fn only_exact_paths_are_our_own() {
        for (path, expected) in [
            ("/prefect-serverless-agent/a/prod/", RoleOwner::Own),
            ("/prefect-serverless-agent/a/prod/agent/etl/", RoleOwner::Own),
            ("/prefect-serverless-agent/", RoleOwner::Shared),
            ("/prefect-serverless-agent/a/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/b/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod2/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/etl2/", RoleOwner::Others),
            ("/prefect-serverless-agent/a/prod/agent/other/", RoleOwner::Others),
            ("/prefect-serverless-agent/A/prod/", RoleOwner::Others),
            ("/x/prefect-serverless-agent/a/prod/", RoleOwner::Others),
            ("/a/prod/", RoleOwner::Others),
            ("/", RoleOwner::Others),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn whatever_is_no_arn_of_a_role_is_nobodys() {
        let path = "/prefect-serverless-agent/a/prod/";
        for role in [
            "ecsTaskExecutionRole".to_owned(),
            String::new(),
            format!("{path}exec"),
            format!("arn:aws:sts::111111111111:role{path}exec"),
            format!("arn:aws:iam::111111111111:user{path}exec"),
            "arn:aws:iam::111111111111:role".to_owned(),
            "arn:aws:iam".to_owned(),
        ] {
            assert_eq!(owner_of_role(&role, "/a/prod", "etl"), RoleOwner::Others, "{role}");
        }
        assert_eq!(owner_of_role(&format!("arn:aws-cn:iam::1:role{path}exec"), "/a/prod", "etl"), RoleOwner::Own);
    }

    proptest! {
        #[test]
        fn the_role_of_one_deployment_is_not_anothers(
            one in "(/[a-z]{1,2}){1,3}", other in "(/[a-z]{1,2}){1,3}", agent in "[a-z]{1,2}",
        ) {
            prop_assume!(one != other && one != format!("{other}/agent/{agent}"));
            let role = format!("arn:aws:iam::111111111111:role{}exec", own_path(&one));
            prop_assert_eq!(owner_of_role(&role, &one, &agent), RoleOwner::Own);
            prop_assert_eq!(owner_of_role(&role, &other, &agent), RoleOwner::Others);
        }

        #[test]
        fn no_text_makes_it_panic(role in any::<String>(), root in any::<String>()) {
            owner_of_role(&role, &root, "etl");
            owner_of_role(&format!("arn:aws:iam:::role{role}"), &root, "etl");
        }
    }
}
