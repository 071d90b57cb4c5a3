//! `RegisterTaskDefinition`: the checks, and the defaults that a description shows.

use super::{Definition, Registering, RegisteringFamily, fargate, validate};
use crate::{World, answer::ServiceError, route::Scope, world::epoch_seconds};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// Registers a definition. The guard is to be kept until the answer is sent.
pub(super) async fn register(
    world: &World,
    scope: &Scope,
    input: &Value,
) -> (Result<Value, ServiceError>, Registering) {
    let key = scope.arn("ecs", input["family"].as_str().unwrap_or_default());
    let (alone, registration_ms) = {
        let mut state = world.lock();
        let refuse = state.ecs.options.refuse_concurrent_registrations;
        let count = state.ecs.registering.entry(key.clone()).or_default();
        *count += 1;
        (*count == 1 || !refuse, state.ecs.options.registration_ms)
    };
    let guard = Registering(Arc::new(RegisteringFamily { world: world.clone(), key }));
    if registration_ms > 0 {
        tokio::time::sleep(Duration::from_millis(registration_ms)).await;
    }
    if !alone {
        let message = "Too many concurrent attempts to create a new revision of the specified family.";
        return (Err(ServiceError::new("ClientException", message)), guard);
    }
    (store(world, scope, input), guard)
}

pub(super) fn store(world: &World, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let mut state = world.lock();
    let now = state.now();
    let rate = state.ecs.options.register_rate;
    state.ecs.throttle("register", rate, 20.0, now)?;
    validate::definition(input)?;
    let family = input["family"].as_str().unwrap_or_default().to_owned();
    let last = state.ecs.revisions.entry(scope.arn("ecs", &family)).or_default();
    *last += 1;
    let revision = *last;
    let arn = scope.arn("ecs", &format!("task-definition/{family}:{revision}"));
    let mut description = describe(input);
    description.insert("taskDefinitionArn".to_owned(), json!(arn));
    description.insert("revision".to_owned(), json!(revision));
    description.insert("status".to_owned(), json!("ACTIVE"));
    description.insert("registeredAt".to_owned(), json!(epoch_seconds(now)));
    description.insert("registeredBy".to_owned(), json!(format!("arn:aws:iam::{}:user/world", scope.account)));
    let description = Value::Object(description);
    let tags = input["tags"].as_array().cloned().unwrap_or_default();
    let answer = json!({"taskDefinition": description, "tags": tags});
    state.ecs.definitions.push(Definition {
        family,
        revision,
        arn,
        active: true,
        description,
        tags,
        scope: scope.clone(),
    });
    Ok(answer)
}

/// The description of a registered definition, without what the registration itself adds.
fn describe(input: &Value) -> Map<String, Value> {
    let mut description = Map::new();
    for (key, value) in input.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "tags" => continue,
            "containerDefinitions" => {
                json!(value.as_array().into_iter().flatten().map(|one| container(one, input)).collect::<Vec<_>>())
            }
            "cpu" => size(value, fargate::cpu_units),
            "memory" => size(value, fargate::memory_mib),
            _ if value.is_null() => continue,
            _ => value.clone(),
        };
        description.insert(key.clone(), value);
    }
    for list in ["volumes", "placementConstraints"] {
        description.entry(list).or_insert_with(|| json!([]));
    }
    description.insert("compatibilities".to_owned(), json!(compatibilities(input)));
    description.insert("requiresAttributes".to_owned(), json!(requires_attributes(input)));
    description
}

fn size(value: &Value, units: fn(&str) -> Option<u32>) -> Value {
    value.as_str().and_then(units).map_or_else(|| value.clone(), |units| json!(units.to_string()))
}

fn container(given: &Value, definition: &Value) -> Value {
    let mut container = given.as_object().cloned().unwrap_or_default();
    container.retain(|_, value| !value.is_null());
    container.entry("cpu").or_insert_with(|| json!(0));
    container.entry("essential").or_insert_with(|| json!(true));
    for list in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
        container.entry(list).or_insert_with(|| json!([]));
    }
    let awsvpc = definition["networkMode"] == "awsvpc";
    for mapping in container["portMappings"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let port = if awsvpc { mapping.get("containerPort").cloned().unwrap_or_default() } else { json!(0) };
        mapping.entry("hostPort").or_insert(port);
        mapping.entry("protocol").or_insert_with(|| json!("tcp"));
    }
    if let Some(log) = container.get_mut("logConfiguration").and_then(Value::as_object_mut) {
        log.entry("options").or_insert_with(|| json!({}));
        log.entry("secretOptions").or_insert_with(|| json!([]));
    }
    Value::Object(container)
}

/// What the definition can run on.
fn compatibilities(input: &Value) -> Vec<&'static str> {
    let awsvpc = input["networkMode"] == "awsvpc";
    let cpu = input["cpu"].as_str().and_then(fargate::cpu_units);
    let memory = input["memory"].as_str().and_then(fargate::memory_mib);
    let fits = matches!((cpu, memory), (Some(cpu), Some(memory)) if fargate::exists(cpu, memory));
    if awsvpc && fits {
        vec!["EC2", "FARGATE"]
    } else if awsvpc {
        vec!["EC2"]
    } else {
        vec!["EXTERNAL", "EC2"]
    }
}

fn requires_attributes(input: &Value) -> Vec<Value> {
    let mut names = vec!["com.amazonaws.ecs.capability.docker-remote-api.1.18"];
    if input["networkMode"] == "awsvpc" {
        names.push("ecs.capability.task-eni");
    }
    if input["taskRoleArn"].is_string() {
        names.push("com.amazonaws.ecs.capability.task-iam-role");
    }
    let containers = input["containerDefinitions"].as_array().into_iter().flatten();
    if containers.clone().any(|container| container["logConfiguration"]["logDriver"] == "awslogs") {
        names.push("com.amazonaws.ecs.capability.logging-driver.awslogs");
        names.push("ecs.capability.execution-role-awslogs");
    }
    if containers.clone().any(|container| container["secrets"].as_array().is_some_and(|secrets| !secrets.is_empty())) {
        names.push("ecs.capability.secrets.ssm.environment-variables");
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}
