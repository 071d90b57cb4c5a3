//! The body of `RunTask`: a pure function of what names the launch, so that a replay sends the same bytes.

use super::LaunchIdentity;
use serde_json::{Map, Value, json};

/// What was looked up for a launch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settled {
    /// ARN, family or `family:revision`.
    pub definition: String,
    /// Roles of the described definition that replace those of `overrides`, by override key.
    pub roles: Vec<(&'static str, String)>,
    /// The inferred `networkConfiguration`; used only where none is configured.
    pub network: Option<Value>,
    /// A further tag, key and value.
    pub tag: Option<(String, String)>,
}

/// The complete request: `taskDefinition`, what the run asks for, `clientToken`, `startedBy`. Token and `startedBy` of a
/// user's own would break both "once" and "found again", so ours replace them.
pub fn run_task_body(
    run_task: &Map<String, Value>,
    settled: &Settled,
    identity: &LaunchIdentity,
) -> Map<String, Value> {
    let mut body = Map::with_capacity(run_task.len() + 4);
    body.insert("taskDefinition".into(), json!(settled.definition));
    for (key, value) in run_task {
        body.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if let Some(network) = &settled.network {
        body.entry("networkConfiguration").or_insert_with(|| network.clone());
    }
    if !settled.roles.is_empty() {
        let overrides = body.entry("overrides").or_insert_with(|| json!({}));
        for (key, role) in &settled.roles {
            if let Some(overrides) = overrides.as_object_mut() {
                overrides.insert((*key).into(), json!(role));
            }
        }
    }
    if let Some((key, value)) = &settled.tag
        && let Some(tags) = body.entry("tags").or_insert_with(|| json!([])).as_array_mut()
    {
        tags.push(json!({"key": key, "value": value}));
    }
    body.insert("clientToken".into(), json!(identity.token));
    body.insert("startedBy".into(), json!(identity.started_by));
    body
}

#[cfg(test)]
mod tests;
