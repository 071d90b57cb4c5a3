//! The task definition of a launch that does not name one, and whether one that is named fits.

use super::configuration::{
    API_KEY, AUTH_STRING, Configuration, DEFAULT_CONTAINER, containers, filled, flow_container_name, is_empty,
};
use crate::ecs_model::{Operation, Shape, Structure, structure};
use crate::flow_run::prefect3::{FlowRunContext, WorkerSettings};
use crate::model::{Object, RunRefusal};
use crate::python_text::replace_runs;
use crate::python_text::{is_true, text, text_repr};
use serde_json::{Map, Value, json};

const DEFAULT_CPU: u64 = 1024;
/// MiB.
const DEFAULT_MEMORY: u64 = 2048;
/// Longest family that ECS takes.
const LONGEST_FAMILY: usize = 255;

/// The body of `RegisterTaskDefinition`.
pub(super) fn task_definition(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    configuration: &Configuration,
) -> Result<Object, RunRefusal> {
    let mut definition = configuration.task_definition.clone();
    let place = flow_container(&mut definition, configuration)?;
    let owner =
        format!("{}_{}", run.work_pool.name, run.flow_run.deployment_id.as_ref().unwrap_or(&run.flow_run.flow_id));
    with_container(&mut definition, place, |container| {
        container.entry("image").or_insert_with(|| json!(worker.default_image));
        remove_nulls(container);
        if configuration.configure_cloudwatch_logs == Some(true) {
            let region = configuration.aws_credentials.region_name.as_ref().unwrap_or(&worker.region);
            container.insert("logConfiguration".into(), logs(configuration, region, &owner));
        }
        Ok(())
    })?;
    let family = match filled(definition.get("family")) {
        None => json!(allowed_family(&format!("prefect_{owner}"))),
        Some(Value::Object(_) | Value::Array(_)) => definition.get("family").cloned().unwrap_or_default(),
        Some(given) => json!(allowed_family(&text(given))),
    };
    definition.insert("family".into(), family);
    size(&mut definition, configuration, place)?;
    drop_empty(&mut definition, Some(Operation::RegisterTaskDefinition.input()));
    with_container(&mut definition, place, |container| {
        add_secrets(container, configuration);
        Ok(())
    })?;
    Ok(definition)
}

/// Index of the container that runs the flow. It is named, or added, where the definition leaves it open. `None` = the
/// definition has something else than containers, which stays as it is written, and is refused as such.
fn flow_container(definition: &mut Object, configuration: &Configuration) -> Result<Option<usize>, RunRefusal> {
    if definition.get("containerDefinitions").is_some_and(|given| is_true(given) && !given.is_array()) {
        return Ok(None);
    }
    let mut list: Vec<Value> = containers(definition).iter().filter(|container| is_true(container)).cloned().collect();
    definition.insert("containerDefinitions".into(), Value::Array(list.clone()));
    let name = flow_container_name(configuration, definition);
    let named = |container: &Value| container.get("name").and_then(Value::as_str) == Some(&name);
    let place = match list.iter().position(named) {
        Some(place) => place,
        None if name != DEFAULT_CONTAINER => {
            let name = text_repr(&name);
            return Err(RunRefusal(format!("ValueError: Container {name} not found in task definition.")));
        }
        None => {
            let nameless = list.iter_mut().position(|container| match container {
                Value::Object(container) if !container.contains_key("name") => {
                    container.insert("name".into(), json!(name));
                    true
                }
                _ => false,
            });
            nameless.unwrap_or_else(|| {
                list.push(json!({"name": name}));
                list.len() - 1
            })
        }
    };
    definition.insert("containerDefinitions".into(), Value::Array(list));
    Ok(Some(place))
}

fn with_container(
    definition: &mut Object,
    place: Option<usize>,
    change: impl FnOnce(&mut Object) -> Result<(), RunRefusal>,
) -> Result<(), RunRefusal> {
    let containers = definition.get_mut("containerDefinitions");
    let container = place.and_then(|place| containers?.get_mut(place));
    container.and_then(Value::as_object_mut).map_or(Ok(()), change)
}

/// Variables whose value is null. The job's own environment never becomes part of the definition.
fn remove_nulls(container: &mut Object) {
    if let Some(Value::Array(environment)) = container.get_mut("environment") {
        environment.retain(|entry| entry.get("value") != Some(&Value::Null));
    }
}

fn logs(configuration: &Configuration, region: &str, owner: &str) -> Value {
    let own_prefix = configuration.cloudwatch_logs_prefix.clone().filter(|prefix| !prefix.is_empty());
    let prefix = own_prefix.unwrap_or_else(|| format!("prefect-logs_{owner}"));
    let mut options = Object::new();
    let defaults = [
        ("awslogs-create-group", "true"),
        ("awslogs-group", "prefect"),
        ("awslogs-region", region),
        ("awslogs-stream-prefix", &prefix),
    ];
    options.extend(defaults.map(|(key, value)| (key.to_owned(), json!(value))));
    options.extend(configuration.cloudwatch_logs_options.clone());
    json!({"logDriver": "awslogs", "options": options})
}

/// The family as it is, unless ECS would refuse it: then with a dash for each run of characters that it does not allow.
fn allowed_family(family: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut family = replace_runs(family, |c| !is_allowed(c), "-");
    family.truncate(LONGEST_FAMILY);
    family
}

/// Fargate wants cpu and memory of the task, everything else those of the container.
fn size(definition: &mut Object, configuration: &Configuration, place: Option<usize>) -> Result<(), RunRefusal> {
    let cpu = filled(definition.get("cpu")).cloned().unwrap_or_else(|| json!(DEFAULT_CPU));
    let memory = filled(definition.get("memory")).cloned().unwrap_or_else(|| json!(DEFAULT_MEMORY));
    let launch_type = configuration.task_run_request.get("launchType").and_then(Value::as_str);
    if matches!(launch_type, Some("FARGATE" | "FARGATE_SPOT")) {
        definition.insert("cpu".into(), cpu);
        definition.insert("memory".into(), memory);
        let compatibilities = definition.entry("requiresCompatibilities").or_insert_with(|| json!([]));
        if compatibilities.is_null() {
            *compatibilities = json!([]);
        }
        if let Value::Array(list) = compatibilities
            && !list.iter().any(|entry| entry == "FARGATE")
        {
            list.push(json!("FARGATE"));
        }
        definition.entry("networkMode").or_insert_with(|| json!("awsvpc"));
    } else {
        let (cpu, memory) = (whole_number(&cpu)?, whole_number(&memory)?);
        with_container(definition, place, |container| {
            container.entry("cpu").or_insert(cpu);
            container.entry("memory").or_insert(memory);
            Ok(())
        })?;
    }
    for key in ["cpu", "memory"] {
        if let Some(value) = definition.get_mut(key).filter(|value| value.is_number() && is_true(value)) {
            *value = json!(text(value));
        }
    }
    Ok(())
}

/// `int(value)`.
fn whole_number(value: &Value) -> Result<Value, RunRefusal> {
    let number = match value {
        Value::Number(number) => number.as_i64().or_else(|| format!("{:.0}", number.as_f64()?.trunc()).parse().ok()),
        Value::String(digits) => digits.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    };
    number.map(Value::from).ok_or_else(|| {
        let written = text_repr(&text(value));
        RunRefusal(format!("ValueError: invalid literal for int() with base 10: {written}"))
    })
}

/// Drops keys with empty values (null, `""`, 0, `[]`, `{}`) at every depth; `false` says something, and so does whatever
/// a structure must have (a `softLimit` of 0). What becomes empty by that stays, and so do items of lists.
fn drop_empty(map: &mut Object, known: Option<&Structure>) {
    let member = |name: &str| known.and_then(|known| known.member(name));
    let is_required = |name: &str| member(name).is_some_and(|member| member.is_required);
    map.retain(|name, value| is_true(value) || value.is_boolean() || (is_required(name) && !value.is_null()));
    for (name, value) in map {
        let shape = member(name).map(|member| &member.shape);
        match value {
            Value::Object(inner) => drop_empty(inner, shape.and_then(known_structure)),
            Value::Array(items) => {
                let of = shape.and_then(|shape| match shape {
                    Shape::List { of, .. } => known_structure(of),
                    _ => None,
                });
                items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| drop_empty(item, of));
            }
            _ => {}
        }
    }
}

fn known_structure(shape: &Shape) -> Option<&'static Structure> {
    match shape {
        Shape::Structure(name) => Some(structure(name)),
        _ => None,
    }
}

/// The secrets of the configuration replace variables and secrets of their names.
fn add_secrets(container: &mut Object, configuration: &Configuration) {
    let arns = [
        (API_KEY, &configuration.prefect_api_key_secret_arn),
        (AUTH_STRING, &configuration.prefect_api_auth_string_secret_arn),
    ];
    let mut ours: Vec<(&str, &String)> = arns
        .into_iter()
        .filter(|(_, arn)| !is_empty(arn.as_ref()))
        .filter_map(|(name, arn)| Some((name, arn.as_ref()?)))
        .collect();
    if ours.is_empty() {
        return;
    }
    let name_of = |entry: &Value| entry.get("name").and_then(Value::as_str).map(str::to_owned);
    if let Some(Value::Array(environment)) = container.get_mut("environment") {
        environment.retain(|entry| !ours.iter().any(|(name, _)| name_of(entry).as_deref() == Some(name)));
    }
    let mut secrets = match container.get("secrets") {
        Some(Value::Array(secrets)) => secrets.clone(),
        // No place for ours: it stays as it is written, and is refused as such.
        Some(other) if is_true(other) => return,
        _ => Vec::new(),
    };
    for secret in &mut secrets {
        let name = name_of(secret);
        if let Some(at) = ours.iter().position(|(ours, _)| name.as_deref() == Some(ours))
            && let Value::Object(secret) = secret
        {
            let (_, arn) = ours.remove(at);
            secret.insert("valueFrom".into(), json!(arn));
        }
    }
    secrets.extend(ours.into_iter().map(|(name, arn)| json!({"name": name, "valueFrom": arn})));
    container.insert("secrets".into(), Value::Array(secrets));
}

#[cfg(test)]
mod definition_check_tests;
#[cfg(test)]
mod tests;

// Whether a task definition fits the launch.

/// Whether the definition requires EC2.
pub(super) fn requires_ec2(definition: &Map<String, Value>) -> bool {
    requires(definition, "EC2") == Some(true)
}

/// Whether a compatibility is required; `None` = the definition requires none.
fn requires(definition: &Map<String, Value>, compatibility: &str) -> Option<bool> {
    let list = definition.get("requiresCompatibilities")?.as_array()?;
    Some(list.iter().any(|entry| entry == compatibility))
}

/// Refuses a definition, ours or one that exists, that the launch's configuration cannot use.
pub(super) fn check_definition(
    configuration: &Configuration,
    definition: &Map<String, Value>,
) -> Result<(), RunRefusal> {
    let logs = configuration.configure_cloudwatch_logs == Some(true);
    if logs && filled(definition.get("executionRoleArn")).is_none() {
        return Err(RunRefusal(
            "ValueError: An execution role arn must be set on the task definition to use `configure_cloudwatch_logs` or \
             `stream_logs` but no execution role was found on the task definition."
                .into(),
        ));
    }
    let request = &configuration.task_run_request;
    let given = filled(request.get("launchType")).and_then(Value::as_str);
    let has_strategy = filled(request.get("capacityProviderStrategy")).is_some();
    let launch_type = match given {
        None if has_strategy || requires_ec2(definition) => return Ok(()),
        Some(launch_type) if has_strategy && launch_type != "FARGATE_SPOT" => return Ok(()),
        given => given.unwrap_or("FARGATE"),
    };
    if launch_type != "EC2" && requires(definition, "FARGATE") == Some(false) {
        let launch_type = text_repr(launch_type);
        return Err(RunRefusal(format!(
            "ValueError: Task definition does not have 'FARGATE' in 'requiresCompatibilities' and cannot be used with \
             launch type {launch_type}"
        )));
    }
    let network_mode = definition.get("networkMode").and_then(Value::as_str).unwrap_or("awsvpc");
    if matches!(launch_type, "FARGATE" | "FARGATE_SPOT") && network_mode != "awsvpc" {
        let (mode, launch_type) = (text_repr(network_mode), text_repr(launch_type));
        return Err(RunRefusal(format!(
            "ValueError: Found network mode {mode} which is not compatible with launch type {launch_type}. Use either \
             the 'EC2' launch type or the 'awsvpc' network mode."
        )));
    }
    Ok(())
}
