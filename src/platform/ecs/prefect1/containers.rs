//! What task definitions and overrides have in common: a list of named containers with environments.

use crate::model::RunRefusal;
use crate::python_text::{accident, repr, type_name};
use serde_json::{Map, Value, json};

/// Name of the container that runs the flow.
pub(super) const FLOW: &str = "flow";

/// The first container named `flow` of `parent[key]`, and whether it was there; it and the list are made where they
/// are missing.
pub(super) fn flow_container<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> Result<(&'a mut Map<String, Value>, bool), RunRefusal> {
    let list = parent.entry(key).or_insert_with(|| json!([]));
    let Value::Array(containers) = list else {
        let python = format!("'{}' object is not iterable", type_name(list));
        return Err(accident(format!("`{key}` must be a list, not {}", repr(list)), python));
    };
    let mut found = None;
    for (index, container) in containers.iter().enumerate() {
        let name = object(container, &format!("{key}[{index}]"), "get")?.get("name");
        if name.and_then(Value::as_str) == Some(FLOW) {
            found = Some(index);
            break;
        }
    }
    let index = found.unwrap_or(containers.len());
    if found.is_none() {
        containers.push(json!({ "name": FLOW }));
    }
    match containers.get_mut(index) {
        Some(Value::Object(container)) => Ok((container, found.is_some())),
        _ => Err(RunRefusal(format!("`{key}` has no container `{FLOW}`"))),
    }
}

/// Makes the environment of `container`: all of `variables`, then its own entries of other names.
pub(super) fn set_environment(
    container: &mut Map<String, Value>,
    variables: &Map<String, Value>,
) -> Result<(), RunRefusal> {
    let mut entries: Vec<Value> =
        variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    for entry in own_entries(container.get("environment"))? {
        let Value::Object(fields) = entry else {
            let python = format!("'{}' object is not subscriptable", type_name(entry));
            return Err(accident(format!("An entry of `environment` must be an object, not {}", repr(entry)), python));
        };
        let Some(name) = fields.get("name") else {
            return Err(accident(format!("An entry of `environment` has no name ({})", repr(entry)), "'name'"));
        };
        if name.as_str().is_none_or(|name| !variables.contains_key(name)) {
            entries.push(entry.clone());
        }
    }
    container.insert("environment".into(), Value::Array(entries));
    Ok(())
}

fn own_entries(environment: Option<&Value>) -> Result<&[Value], RunRefusal> {
    match environment {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(Value::Object(map)) if map.is_empty() => Ok(&[]),
        Some(Value::String(text)) if text.is_empty() => Ok(&[]),
        Some(other) => {
            let python = format!("'{}' object is not iterable", type_name(other));
            Err(accident(format!("`environment` must be a list, not {}", repr(other)), python))
        }
    }
}

/// `value` as an object; `place` says where it is, `attribute` what Python would have asked it for.
pub(super) fn object<'a>(value: &'a Value, place: &str, attribute: &str) -> Result<&'a Map<String, Value>, RunRefusal> {
    value.as_object().ok_or_else(|| no_object(value, place, attribute))
}

/// As [`object`], to be changed.
pub(super) fn object_mut<'a>(
    value: &'a mut Value,
    place: &str,
    attribute: &str,
) -> Result<&'a mut Map<String, Value>, RunRefusal> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(no_object(other, place, attribute)),
    }
}

fn no_object(value: &Value, place: &str, attribute: &str) -> RunRefusal {
    let python = format!("'{}' object has no attribute '{attribute}'", type_name(value));
    accident(format!("`{place}` must be an object, not {}", repr(value)), python)
}
