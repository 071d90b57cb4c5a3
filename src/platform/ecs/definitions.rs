//! When two task definitions are the same: so that one is registered per content, not per flow run.

use crate::aws::ecs::DescribedDefinition;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Key of the tag that says what content a definition was registered for.
pub const HASH_TAG: &str = "prefect-serverless-agent:definition";

/// ECS's limit for the tags of a definition.
const TAGS_MAX: usize = 50;

/// Tags that say for whom a definition was registered first; they do not make it another one.
const INFORMATIVE_TAGS: [&str; 2] = ["prefect:", "prefect-serverless-agent:"];

/// What AWS says of a definition beyond what was registered.
const ADDED_BY_AWS: [&str; 9] = [
    "compatibilities",
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "tags",
];

/// Hash of what a definition says (64 hexadecimal digits), whatever the order of its keys, variables and secrets.
pub fn definition_hash(body: &Map<String, Value>) -> String {
    let content = json!({"definition": normalised(body), "tags": significant_tags(body)});
    hex::encode(Sha256::digest(canonical(&content).as_bytes()))
}

/// The body to register: with our tag, unless that would be one tag too many.
pub fn tagged(body: &Map<String, Value>, hash: &str) -> Map<String, Value> {
    let mut body = body.clone();
    let mut tags = body.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    if tags.len() < TAGS_MAX {
        tags.push(json!({"key": HASH_TAG, "value": hash}));
        body.insert("tags".into(), Value::Array(tags));
    }
    body
}

/// Whether a described definition can serve as ours.
///
/// It is active and has our tags, and either says exactly the same, or carries our hash and contains all that ours says
/// (AWS writes defaults into what it describes).
pub fn same_definition(ours: &Map<String, Value>, described: &DescribedDefinition) -> bool {
    let is_active = described.definition.get("status").and_then(Value::as_str).is_none_or(|status| status == "ACTIVE");
    let has_tag = |key: &str, value: &str| described.tags.iter().any(|(k, v)| k == key && v == value);
    let has_our_tags = significant_tags(ours).iter().all(|(key, value)| has_tag(key, value));
    if !is_active || !has_our_tags {
        return false;
    }
    let (mine, theirs) = (normalised(ours), normalised(&described.definition));
    mine == theirs || (has_tag(HASH_TAG, &definition_hash(ours)) && contains("", &theirs, &mine))
}

/// Tags of a body that make it another definition, sorted.
fn significant_tags(body: &Map<String, Value>) -> Vec<(String, String)> {
    let tags = body.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |tag: &Value, key: &str| tag.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut tags: Vec<_> = tags
        .map(|tag| (text(tag, "key"), text(tag, "value")))
        .filter(|(key, _)| !INFORMATIVE_TAGS.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    tags.sort();
    tags
}

/// A definition without what AWS adds, without empty values, with defaults written out and lists that are sets sorted.
fn normalised(definition: &Map<String, Value>) -> Value {
    let mut definition = definition.clone();
    for key in ADDED_BY_AWS {
        definition.remove(key);
    }
    if is_empty(definition.get("networkMode").unwrap_or(&Value::Null)) {
        definition.insert("networkMode".into(), json!("bridge"));
    }
    for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        if let Some(size) = definition.get(key).and_then(|value| size(value, unit)) {
            definition.insert(key.into(), json!(size));
        }
    }
    let containers = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        container.entry("essential").or_insert(Value::Bool(true));
        // AWS says it of every container.
        if container.get("cpu").and_then(Value::as_i64) == Some(0) {
            container.shift_remove("cpu");
        }
        sort_by(container, "environment", "name");
        sort_by(container, "secrets", "name");
        sort_by(container, "environmentFiles", "value");
    }
    without_empty(&Value::Object(definition))
}

/// `1 vCPU` → `1024`, `2 GB` → `2048`, as AWS describes them; numbers as text.
fn size(value: &Value, unit: &str) -> Option<String> {
    if value.is_number() {
        return Some(value.to_string());
    }
    let text = value.as_str()?.trim().to_ascii_lowercase();
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    Some(format!("{}", number * 1024.0))
}

fn sort_by(container: &mut Map<String, Value>, list: &str, key: &str) {
    if let Some(list) = container.get_mut(list).and_then(Value::as_array_mut) {
        let text = |entry: &Value| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        list.sort_by_key(text);
    }
}

/// Empty: null, `""`, `[]`, `{}`. `false` and 0 say something (`maxSwap: 0`, a `softLimit` of 0).
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Without empty values of objects, from the inside out. Items of lists stay: their place and number mean something.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let full = map.iter().map(|(key, value)| (key.clone(), without_empty(value)));
            Value::Object(full.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_empty).collect()),
        other => other.clone(),
    }
}

/// Whether `whole` says all that `part` says; `key` is where both were found.
fn contains(key: &str, whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| match whole.get(key) {
                Some(other) => contains(key, other, value),
                // What is 0 by default need not be described.
                None => value.as_i64() == Some(0),
            })
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && part
                    .iter()
                    .enumerate()
                    .all(|(target, item)| partner(whole, target, item).is_some_and(|other| contains("", other, item)))
        }
        // A role may be given by its name; AWS describes its ARN.
        (Value::String(arn), Value::String(name)) if key.ends_with("RoleArn") && !name.starts_with("arn:") => {
            arn == name || arn.ends_with(&format!("/{name}"))
        }
        (whole, part) => whole == part,
    }
}

/// The item of a list that answers to `item`: of the same name where items have one, else at the same place.
fn partner<'a>(whole: &'a [Value], target: usize, item: &Value) -> Option<&'a Value> {
    match item.get("name") {
        Some(name) => whole.iter().find(|other| other.get("name") == Some(name)),
        None => whole.get(target),
    }
}

/// JSON text with sorted keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> =
                keys.iter().map(|key| format!("{}:{}", json!(key), canonical(&map[key.as_str()]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
