//! How a flow run gets its API key: as a container secret where that is possible, else in its environment.

use super::place::AwsCredentials;
use super::{Definition, LaunchSpec};
use crate::config::{AgentSecrets, ApiKeyDelivery};
use crate::orchestrator::RunRefusal;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

/// The container that runs the flow, where the launch does not say.
const FLOW: &str = "flow";

/// A launch whose key is delivered one way or the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The launch.
    pub spec: LaunchSpec,
    /// Why the key went into the environment although it should not; the same text for the same reason.
    pub warning: Option<String>,
}

/// Applies `api_key_delivery` to a launch.
///
/// A secret needs a definition of ours with an execution role, and a key that is stored in the tasks' own account.
/// `assume_role_arn` is the role that the agent launches with, if it is not its own; credentials that the run brings
/// along count before it. Refused only under [`ApiKeyDelivery::Secret`].
pub fn deliver(
    spec: LaunchSpec,
    mode: ApiKeyDelivery,
    secrets: &AgentSecrets,
    assume_role_arn: Option<&str>,
) -> Result<Delivered, RunRefusal> {
    if mode == ApiKeyDelivery::Environment || spec.key_variables.is_empty() {
        return Ok(Delivered { spec, warning: None });
    }
    match (as_secret(&spec, secrets, assume_role_arn), mode) {
        (Ok(spec), _) => Ok(Delivered { spec, warning: None }),
        (Err(why), ApiKeyDelivery::Secret) => Err(RunRefusal(format!(
            "The API key cannot be delivered as a container secret (api_key_delivery: secret): {why}. {}, \
             or set api_key_delivery to auto or environment.",
            why.remedy()
        ))),
        (Err(why), _) => {
            let warning = format!(
                "The API key is delivered in the environment of the task, where whoever may describe tasks can read it: {why}. {}.",
                why.remedy()
            );
            Ok(Delivered { spec, warning: Some(warning) })
        }
    }
}

/// Why the key cannot be a container secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Obstacle {
    #[error("the run uses a task definition that exists, which is not ours to change")]
    NotOurs,
    #[error("the task definition has no execution role")]
    NoExecutionRole,
    #[error("the key was not read from Parameter Store")]
    NotStored,
    #[error("the key lies in account {key}, the task runs in account {task}")]
    OtherAccount { key: String, task: String },
    #[error("the run brings its own AWS keys, and nothing tells whose account they belong to")]
    UnknownAccount,
}

impl Obstacle {
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotOurs => "Give the run an image or a task_definition instead of a task_definition_arn",
            Self::NoExecutionRole => "Set execution_role_arn to a role that may read the key's parameter",
            Self::NotStored => "Store the key as a SecureString under {root}/secrets/{agent}/",
            Self::UnknownAccount => "Write the execution role, or the cluster, as a full ARN",
            Self::OtherAccount { .. } => "Store a copy of the key in the account of the tasks",
        }
    }
}

fn as_secret(spec: &LaunchSpec, secrets: &AgentSecrets, assume_role_arn: Option<&str>) -> Result<LaunchSpec, Obstacle> {
    let Definition::Own(definition) = &spec.definition else { return Err(Obstacle::NotOurs) };
    let role = execution_role(definition, &spec.run_task).ok_or(Obstacle::NoExecutionRole)?;
    let written = account(role).or_else(|| account(text(&spec.run_task, "cluster")?));
    let task_account = match written {
        Some(account) => Some(account),
        None => account_of(&spec.worker.credentials, assume_role_arn)?,
    };

    let flow = spec.worker.flow_container.as_deref().unwrap_or(FLOW);
    let mut entries = Vec::with_capacity(spec.key_variables.len());
    for name in &spec.key_variables {
        let arn = arn_of_value(&spec.run_task, flow, name, secrets)?;
        match (account(arn), task_account) {
            (Some(key), Some(task)) if key != task => {
                return Err(Obstacle::OtherAccount { key: key.into(), task: task.into() });
            }
            _ => entries.push((name.as_str(), arn)),
        }
    }

    let mut definition = definition.clone();
    // A definition with secrets is refused unless it names the role itself.
    definition.insert("executionRoleArn".into(), json!(role));
    add_secrets(&mut definition, flow, &entries);
    let names: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    let mut run_task = spec.run_task.clone();
    remove_from_overrides(&mut run_task, flow, &names, secrets);
    Ok(LaunchSpec { definition: Definition::Own(definition), run_task, ..spec.clone() })
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

fn execution_role<'a>(definition: &'a Map<String, Value>, run_task: &'a Map<String, Value>) -> Option<&'a str> {
    let overridden = run_task.get("overrides").and_then(Value::as_object);
    text(definition, "executionRoleArn").or_else(|| text(overridden?, "executionRoleArn"))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The account that an ARN names.
fn account(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    (parts.next() == Some("arn")).then(|| parts.nth(3)).flatten().filter(|account| !account.is_empty())
}

/// Where the secret lies whose value this variable of the flow container has.
fn arn_of_value<'a>(
    run_task: &Map<String, Value>,
    flow: &str,
    name: &str,
    secrets: &'a AgentSecrets,
) -> Result<&'a str, Obstacle> {
    let value = overrides(run_task)
        .filter(|container| container.get("name").and_then(Value::as_str) == Some(flow))
        .find_map(|container| variable(container, name))
        .ok_or(Obstacle::NotStored)?;
    secrets
        .iter()
        .find(|secret| secret.value.expose_secret() == value)
        .and_then(|secret| secret.arn.as_deref())
        .ok_or(Obstacle::NotStored)
}

fn overrides(run_task: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let containers = run_task.get("overrides").and_then(|all| all.get("containerOverrides")).and_then(Value::as_array);
    containers.into_iter().flatten()
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let entries = container.get("environment")?.as_array()?;
    entries.iter().find(|entry| is_named(entry, name))?.get("value")?.as_str()
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

/// Secrets of the first container with the name of the flow's; a variable and a secret of one name exclude each other.
fn add_secrets(definition: &mut Map<String, Value>, flow: &str, entries: &[(&str, &str)]) {
    let containers = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let flow = containers.into_iter().flatten().find(|container| is_named(container, flow));
    let Some(flow) = flow.and_then(Value::as_object_mut) else { return };
    let ours = |entry: &Value| entries.iter().any(|(name, _)| is_named(entry, name));
    if let Some(environment) = flow.get_mut("environment").and_then(Value::as_array_mut) {
        environment.retain(|entry| !ours(entry));
    }
    let mut secrets = flow.get("secrets").and_then(Value::as_array).cloned().unwrap_or_default();
    secrets.retain(|entry| !ours(entry));
    secrets.extend(entries.iter().map(|(name, arn)| json!({"name": name, "valueFrom": arn})));
    flow.insert("secrets".into(), Value::Array(secrets));
}

/// The flow container loses the variables, which its secrets replace; every other one loses those that hold a key.
fn remove_from_overrides(run_task: &mut Map<String, Value>, flow: &str, names: &[&str], secrets: &AgentSecrets) {
    let containers = run_task.get_mut("overrides").and_then(|all| all.get_mut("containerOverrides"));
    for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
        let is_flow = is_named(container, flow);
        let Some(environment) = container.get_mut("environment").and_then(Value::as_array_mut) else { continue };
        environment.retain(|entry| {
            let is_key = names.iter().any(|name| is_named(entry, name));
            let value = entry.get("value").and_then(Value::as_str);
            let holds_key = secrets.iter().any(|secret| value == Some(secret.value.expose_secret()));
            !(is_key && (is_flow || holds_key))
        });
    }
}

#[cfg(test)]
mod tests;
