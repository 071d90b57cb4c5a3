//! How a flow run gets its API key, and what else opens its way to Prefect: as container secrets where that is possible,
//! else in its environment.

mod containers;
mod role;
mod words;

use super::target::AwsCredentials;
use super::{Definition, LaunchSpec};
use crate::config::{AgentConfig, AgentSecrets, ApiKeyDelivery};
use crate::model::RunRefusal;
use role::RoleOwner;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use words::{Obstacle, both_halves, in_environment, move_from};

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
            let users = containers::secrets_of(definition, flow_of(&spec));
            settle(without(spec, &users), delivery)
        }
    }
}

impl Pending {
    /// As [`deliver`], for a launch whose definition exists. `described`: what it says, if that could be told.
    pub fn deliver(&self, spec: LaunchSpec, described: Option<&Map<String, Value>>) -> Result<Delivered, RunRefusal> {
        let users = described.map(|definition| containers::secrets_of(definition, flow_of(&spec)));
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
    containers::remove_variables(&mut spec.run_task, &flow, |is_flow, name, value| {
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
        Ok(secrets) => match role::whose(&secrets.role, &delivery.root, &delivery.agent) {
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
        let arn = containers::value_of(&spec.run_task, flow, name).and_then(|value| delivery.arn_of(value));
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
    containers::add_secrets(&mut definition, flow, &entries);
    let mut run_task = spec.run_task.clone();
    // The flow container loses the variables, which its secrets replace; every other one loses those that hold a key.
    containers::remove_variables(&mut run_task, flow, |is_flow, name, value| {
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
