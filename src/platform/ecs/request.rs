//! The body of `RunTask`: a pure function of what names the launch, so that a replay sends the same bytes. Beside it
//! what becomes of it: its default network, its step from Spot to on-demand, its check before anything is sent.

use super::{Definition, LaunchIdentity, LaunchOutcome, LaunchSpec};
use crate::ecs_model::{Operation, Problems, UnknownMembers, check};
use serde_json::{Map, Value, json};
use std::iter;

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
mod network_tests;
#[cfg(test)]
mod spot_tests;
#[cfg(test)]
mod tests;

// What ECS would refuse in a launch's requests because of its shape: found before anything is registered or started.

/// What is wrong with the definition that a launch would register.
pub fn definition_problems(spec: &LaunchSpec, unknown: UnknownMembers) -> Problems<'_> {
    match &spec.definition {
        Definition::Own(body) => check(Operation::RegisterTaskDefinition, body, &[], unknown),
        Definition::Existing { .. } => Problems::default(),
    }
}

/// What is wrong with the request that would start its task.
pub fn run_task_problems(spec: &LaunchSpec, unknown: UnknownMembers) -> Problems<'_> {
    check(Operation::RunTask, &spec.run_task, &["taskDefinition"], unknown)
}

/// What ECS would refuse in the requests of `spec`, one sentence each in the words of botocore (`Invalid type for
/// parameter overrides.cpu, value: 5, type: <class 'int'>, valid types: <class 'str'>`); empty if nothing is wrong.
pub fn request_problems(spec: &LaunchSpec) -> Vec<String> {
    let unknown = UnknownMembers::Refuse;
    let both = [definition_problems(spec, unknown), run_task_problems(spec, unknown)];
    both.iter().flat_map(Problems::sentences).collect()
}

/// The text of botocore's `ParamValidationError`, and what to do about members that are not known; `None` if nothing is
/// wrong. `may_show`: whether people may read this value, which is of the wrong type.
pub fn shape_refusal(problems: &[Problems<'_>], may_show: &dyn Fn(&Value) -> bool) -> Option<String> {
    if problems.iter().all(Problems::is_empty) {
        return None;
    }
    let mut advice: Vec<String> = problems.iter().filter_map(Problems::advice).collect();
    advice.dedup();
    let lines = problems.iter().flat_map(|problems| problems.sentences_showing(may_show)).chain(advice);
    let lines: Vec<String> = iter::once("Parameter validation failed:".to_owned()).chain(lines).collect();
    Some(lines.join("\n"))
}

// The network of tasks for which nobody configured one: all subnets of the default VPC.

/// ECS takes at most this many subnets.
const SUBNETS_MAX: usize = 16;

/// `networkConfiguration` with these subnets, in their order, and a public address: without one a task in a public
/// subnet could not pull its image.
pub fn default_network(subnets: &[String]) -> Value {
    let subnets: Vec<&String> = subnets.iter().take(SUBNETS_MAX).collect();
    json!({"awsvpcConfiguration": {"subnets": subnets, "assignPublicIp": "ENABLED"}})
}

/// The same network without public addresses.
pub(super) fn private(network: Value) -> Value {
    with_address(network, "DISABLED")
}

/// The network as it was looked up, before anybody made it private.
pub(super) fn as_looked_up(network: Value) -> Value {
    with_address(network, "ENABLED")
}

fn with_address(mut network: Value, address: &str) -> Value {
    if let Some(network) = network.get_mut("awsvpcConfiguration") {
        set(network, "assignPublicIp", json!(address));
    }
    network
}

/// There is no default VPC, or it has no subnets (`missing` says which): it would hit every run of the agent.
pub fn no_default_network(missing: &str) -> LaunchOutcome {
    LaunchOutcome::AgentTrouble(format!(
        "Failed to infer default networkConfiguration, please explicitly configure using `--run-task-kwargs` ({missing}). \
         Set `networkConfiguration` in `run_task_kwargs` of the agent's configuration, e.g. \
         run_task_kwargs: {{networkConfiguration: {{awsvpcConfiguration: {{subnets: [subnet-…], assignPublicIp: ENABLED}}}}}}"
    ))
}

// Fargate Spot gives way to on-demand when it was refused for want of capacity too often.

/// The largest weight of a capacity provider.
const WEIGHT_MAX: u64 = 1000;

/// The same launch on on-demand capacity, and why, when the run was refused often enough: every `FARGATE_SPOT` of its
/// `capacityProviderStrategy` becomes `FARGATE`. `None` = stay as it is (also when no Spot is asked for).
pub fn on_demand(
    run_task: &Map<String, Value>,
    capacity_refusals: u32,
    fallback_after: Option<u32>,
) -> Option<(Map<String, Value>, String)> {
    if capacity_refusals < fallback_after? {
        return None;
    }
    let strategy = run_task.get("capacityProviderStrategy")?.as_array()?;
    if !strategy.iter().any(|entry| provider(entry) == Some("FARGATE_SPOT")) {
        return None;
    }
    let mut changed = run_task.clone();
    changed.insert("capacityProviderStrategy".into(), Value::Array(without_spot(strategy)));
    let reason = format!(
        "on-demand Fargate instead of Fargate Spot: capacity was refused {capacity_refusals} times (spot_fallback_after)"
    );
    Some((changed, reason))
}

fn provider(entry: &Value) -> Option<&str> {
    entry.get("capacityProvider")?.as_str()
}

/// One provider may be named only once, so entries that become `FARGATE` are merged into one.
fn without_spot(strategy: &[Value]) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::with_capacity(strategy.len());
    for entry in strategy {
        let is_fargate = matches!(provider(entry), Some("FARGATE_SPOT" | "FARGATE"));
        let first = entries.iter_mut().find(|other| provider(other) == Some("FARGATE"));
        match (is_fargate, first) {
            (true, Some(first)) => merge(first, entry),
            (true, None) => {
                let mut entry = entry.clone();
                if let Value::Object(entry) = &mut entry {
                    entry.insert("capacityProvider".into(), json!("FARGATE"));
                }
                entries.push(entry);
            }
            (false, _) => entries.push(entry.clone()),
        }
    }
    entries
}

/// Sets a field of an object; anything else stays as it is.
fn set(entry: &mut Value, key: &str, to: Value) {
    if let Some(fields) = entry.as_object_mut() {
        fields.insert(key.to_owned(), to);
    }
}

/// Shares add up; of two bases the larger counts.
fn merge(into: &mut Value, entry: &Value) {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let weights = [number(into, "weight"), number(entry, "weight")];
    if weights.iter().any(Option::is_some) {
        set(into, "weight", json!(weights.iter().flatten().sum::<u64>().min(WEIGHT_MAX)));
    }
    if let Some(base) = number(into, "base").max(number(entry, "base")) {
        set(into, "base", json!(base));
    }
}
