//! Labels of a flow run's infrastructure, and the tags that ECS gets of them.

use super::{Deployment, FlowRunContext, Generation, WorkerSettings};
use crate::python_text::text;
use crate::slug::tag_slug;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// What names the run, then the configuration's own labels; those win.
pub(super) fn labels(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    own: &Map<String, Value>,
) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| {
        labels.insert(format!("prefect.io/{name}"), value.into());
    };
    add("flow-run-id", &run.flow_run.id);
    add("flow-run-name", &run.flow_run.name);
    add("version", &worker.prefect_version);
    match worker.generation {
        Generation::Two => {
            add_deployment(&mut add, run, |time| format!("{}Z", date_time(time)));
            add_flow(&mut add, run);
        }
        Generation::Three => {
            add("work-pool-name", &run.work_pool.name);
            add("work-pool-id", &run.work_pool.id);
            add("worker-name", &worker.worker_name);
            add_flow(&mut add, run);
            add_deployment(&mut add, run, |time| format!("{}+00:00", date_time(time)));
        }
    }
    labels.extend(own.clone());
    labels
}

fn add_flow(add: &mut impl FnMut(&str, &str), run: &FlowRunContext<'_>) {
    add("flow-id", &run.flow.id);
    add("flow-name", &run.flow.name);
}

fn add_deployment(
    add: &mut impl FnMut(&str, &str),
    run: &FlowRunContext<'_>,
    spell: impl Fn(OffsetDateTime) -> String,
) {
    let Some(deployment) = run.deployment else { return };
    add("deployment-id", &deployment.id);
    add("deployment-name", &deployment.name);
    if let Some(updated) = updated(deployment) {
        add("deployment-updated", &spell(updated));
    }
}

fn updated(deployment: &Deployment) -> Option<OffsetDateTime> {
    let updated = OffsetDateTime::parse(deployment.updated.as_deref()?, &Rfc3339).ok()?;
    Some(updated.to_offset(UtcOffset::UTC))
}

/// `2026-01-02T03:04:05.678901`; no fraction where there is none.
fn date_time(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    let whole = format!("{}T{hour:02}:{minute:02}:{second:02}", time.date());
    match time.microsecond() {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

/// `tags` of the request: those of the template that no label replaces, then the labels, spelled as ECS allows.
pub(super) fn tags(configured: Option<&Value>, labels: &Map<String, Value>) -> Vec<Value> {
    let configured: Vec<(String, String)> = match configured {
        Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let kept = configured.into_iter().filter(|(key, _)| !labels.contains_key(key));
    let labels = labels.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), text(value)));
    kept.chain(labels).map(|(key, value)| json!({"key": tag_slug(&key), "value": tag_slug(&value)})).collect()
}

fn pair(tag: &Value) -> Option<(String, String)> {
    Some((text(tag.get("key")?), text(tag.get("value")?)))
}

#[cfg(test)]
mod tests;
