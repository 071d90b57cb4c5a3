//! Variables and secrets of the container that runs the flow, in a task definition and in the overrides of `RunTask`.

use serde_json::{Map, Value, json};

/// Names of the secrets that the definition gives the container, as its user wrote them.
pub(super) fn secrets_of(definition: &Map<String, Value>, flow: &str) -> Vec<String> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    let flow = containers.into_iter().flatten().find(|container| is_named(container, flow));
    let secrets = flow.and_then(|flow| flow.get("secrets")?.as_array());
    let name = |secret: &Value| secret.get("name")?.as_str().map(str::to_owned);
    secrets.into_iter().flatten().filter_map(name).collect()
}

/// The value that the overrides give this variable of the container.
pub(super) fn value_of<'a>(run_task: &'a Map<String, Value>, flow: &str, name: &str) -> Option<&'a str> {
    let containers = run_task.get("overrides").and_then(|all| all.get("containerOverrides")).and_then(Value::as_array);
    let mut flows = containers.into_iter().flatten().filter(|container| is_named(container, flow));
    let variable = |container: &'a Value| {
        let entries = container.get("environment")?.as_array()?;
        entries.iter().find(|entry| is_named(entry, name))?.get("value")?.as_str()
    };
    flows.find_map(variable)
}

/// Adds secrets (name, ARN) to the first container of this name; a variable and a secret of one name exclude each other.
pub(super) fn add_secrets(definition: &mut Map<String, Value>, flow: &str, entries: &[(&str, &str)]) {
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
pub(super) fn remove_variables(
    run_task: &mut Map<String, Value>,
    flow: &str,
    goes: impl Fn(bool, &str, Option<&str>) -> bool,
) {
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
