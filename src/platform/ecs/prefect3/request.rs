//! The body of `RunTask`, once the task definition is known, and its tags.

use super::configuration::{Configuration, filled, flow_container_name};
use super::task_definition::requires_ec2;
use crate::flow_run::prefect3;
use crate::model::{Object, RunRefusal};
use crate::platform::ecs::NetworkLookup;
use crate::python_text::tag_slug;
use crate::python_text::{is_true, text};
use serde_json::{Map, Value, json};

/// A request, and what is to be looked up for it.
#[derive(Debug)]
pub(super) struct RunTaskRequest {
    /// Without `taskDefinition`.
    pub(super) body: Object,
    pub(super) network: Option<NetworkLookup>,
}

/// The request for a configuration that is prepared for its run. `definition` is ours or described.
pub(super) fn request(configuration: &Configuration, definition: &Object) -> Result<RunTaskRequest, RunRefusal> {
    let mut body = configuration.task_run_request.clone();
    body.shift_remove("taskDefinition");
    set_cluster(&mut body, configuration);
    settle_launch_type(&mut body, definition);
    let network = network(&mut body, configuration, definition);
    let container_name = flow_container_name(configuration, definition);
    if let Some(Value::Object(overrides)) = body.get_mut("overrides") {
        settle_overrides(overrides, configuration, &container_name)?;
    }
    let tags = tags(body.get("tags"), &configuration.labels);
    if is_true(&tags) {
        body.insert("tags".into(), tags);
    }
    Ok(RunTaskRequest { body, network })
}

/// The configured cluster, where the request names none itself.
pub(super) fn set_cluster(body: &mut Object, configuration: &Configuration) {
    if let Some(cluster) = configuration.cluster.as_ref().filter(|cluster| !cluster.is_empty())
        && filled(body.get("cluster")).is_none()
    {
        body.insert("cluster".into(), json!(cluster));
    }
}

/// A launch type and a capacity provider strategy exclude each other, and `FARGATE_SPOT` is a strategy in truth. A
/// definition for EC2 without a launch type is left to the cluster's default strategy.
fn settle_launch_type(body: &mut Object, definition: &Object) {
    if filled(body.get("launchType")).is_none() {
        if requires_ec2(definition) {
            body.shift_remove("launchType");
        } else {
            body.insert("launchType".into(), json!("FARGATE"));
        }
    }
    if filled(body.get("capacityProviderStrategy")).is_some() {
        body.shift_remove("launchType");
    } else if body.get("launchType").and_then(Value::as_str) == Some("FARGATE_SPOT") {
        body.shift_remove("launchType");
        let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
        body.insert("capacityProviderStrategy".into(), spot);
    }
}

/// Only `awsvpc` has a network of its own. A `network_configuration` goes before one in the template.
fn network(body: &mut Object, configuration: &Configuration, definition: &Object) -> Option<NetworkLookup> {
    if definition.get("networkMode").and_then(Value::as_str) != Some("awsvpc") {
        return None;
    }
    let vpc_id = configuration.vpc_id.clone().filter(|vpc_id| !vpc_id.is_empty());
    let custom = &configuration.network_configuration;
    match vpc_id {
        Some(vpc_id) if !custom.is_empty() => {
            body.insert("networkConfiguration".into(), json!({"awsvpcConfiguration": custom}));
            let subnets = custom.get("subnets").cloned().unwrap_or_else(|| json!([]));
            Some(NetworkLookup::Check { vpc_id, subnets })
        }
        vpc_id if filled(body.get("networkConfiguration")).is_none() => {
            // One that is empty is as good as none, and is replaced.
            body.shift_remove("networkConfiguration");
            Some(vpc_id.map_or(NetworkLookup::DefaultVpc, NetworkLookup::Vpc))
        }
        _ => None,
    }
}

fn settle_overrides(
    overrides: &mut Object,
    configuration: &Configuration,
    container_name: &str,
) -> Result<(), RunRefusal> {
    for key in ["cpu", "memory"] {
        if let Some(value) = overrides.get_mut(key).filter(|value| value.is_number() && is_true(value)) {
            *value = json!(text(value));
        }
    }
    let given = overrides.get("containerOverrides");
    let mut containers = match given {
        Some(Value::Array(containers)) => containers.clone(),
        // No place for anything: it stays as it is written, and is refused as such.
        Some(other) if is_true(other) => return Ok(()),
        _ => Vec::new(),
    };
    if let Some(Value::Object(first)) = containers.first_mut()
        && filled(first.get("name")).is_none()
    {
        first.insert("name".into(), json!(container_name));
    }
    let is_flow = |container: &Value| container.get("name").and_then(Value::as_str) == Some(container_name);
    let flow = containers.iter().position(is_flow);
    for (place, container) in containers.iter_mut().enumerate() {
        let Value::Object(container) = container else { continue };
        if let (true, Some(command)) = (Some(place) == flow, &configuration.command) {
            container.insert("command".into(), json!(command));
        }
        settle_container(container)?;
        if Some(place) == flow {
            add_environment(container, &configuration.env);
        }
    }
    overrides.insert("containerOverrides".into(), Value::Array(containers));
    Ok(())
}

/// A command as a list, the environment as a list without nulls, numbers as numbers. What is neither this nor that
/// stays as it is written, and is refused as such.
fn settle_container(container: &mut Object) -> Result<(), RunRefusal> {
    if let Some(Value::String(command)) = container.get("command") {
        let words = prefect3::split_command(command)?;
        container.insert("command".into(), json!(words));
    }
    let entry = |(name, value): (&String, &Value)| json!({"name": name, "value": value});
    let environment = match container.get("environment") {
        Some(Value::Object(map)) => Some(map.iter().map(entry).collect()),
        Some(Value::Array(items)) => Some(items.clone()),
        Some(other) if is_true(other) => None,
        _ => Some(Vec::new()),
    };
    if let Some(mut environment) = environment {
        environment.retain(|entry| entry.get("value") != Some(&Value::Null));
        container.insert("environment".into(), Value::Array(environment));
    }
    for key in ["cpu", "memory", "memoryReservation"] {
        if let Some(number) =
            container.get(key).and_then(Value::as_str).and_then(|digits| digits.trim().parse::<i64>().ok())
        {
            container.insert(key.into(), json!(number));
        }
    }
    Ok(())
}

/// What the template says comes first, unless the run's environment says it too.
fn add_environment(container: &mut Object, env: &Object) {
    let Some(Value::Array(environment)) = container.get_mut("environment") else { return };
    environment.retain(|entry| !entry.get("name").and_then(Value::as_str).is_some_and(|name| env.contains_key(name)));
    environment.extend(env.iter().map(|(name, value)| json!({"name": name, "value": value})));
}

#[cfg(test)]
mod tags_tests;
#[cfg(test)]
mod tests;

// Tags of a task: the labels of its run, spelled as ECS allows.

/// `tags` of the request: those of the template that no label replaces, then the labels, spelled as ECS allows. What is
/// no tag stays as it is written, and is refused as such.
fn tags(configured: Option<&Value>, labels: &Map<String, Value>) -> Value {
    let tag = |(key, value): (&String, &Value)| json!({"key": key, "value": value});
    let configured: Vec<Value> = match configured {
        Some(Value::Object(map)) => map.iter().map(tag).collect(),
        Some(Value::Array(items)) => items.clone(),
        Some(other) if is_true(other) => return other.clone(),
        _ => Vec::new(),
    };
    let is_replaced = |tag: &Value| tag.get("key").is_some_and(|key| labels.contains_key(&text(key)));
    let kept = configured.into_iter().filter(|tag| !is_replaced(tag));
    let labels = labels.iter().filter(|(_, value)| !value.is_null()).map(tag);
    Value::Array(kept.chain(labels).map(spelled).collect())
}

/// A tag whose key and value are texts that ECS takes; it need not have a value.
fn spelled(mut tag: Value) -> Value {
    for name in ["key", "value"] {
        if let Some(part) = tag.get_mut(name).filter(|part| part.is_string() || part.is_number() || part.is_boolean()) {
            *part = json!(tag_slug(&text(part)));
        }
    }
    tag
}
