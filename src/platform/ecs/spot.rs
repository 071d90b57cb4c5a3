//! Fargate Spot gives way to on-demand when it was refused for want of capacity too often.

use serde_json::{Map, Value, json};

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

#[cfg(test)]
mod tests;
