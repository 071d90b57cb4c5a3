//! Tags of a task: the labels of its run, spelled as ECS allows.

use crate::python_text::{is_true, text};
use crate::slug::tag_slug;
use serde_json::{Map, Value, json};

/// `tags` of the request: those of the template that no label replaces, then the labels, spelled as ECS allows. What is
/// no tag stays as it is written, and is refused as such.
pub(super) fn tags(configured: Option<&Value>, labels: &Map<String, Value>) -> Value {
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

#[cfg(test)]
mod tests;
