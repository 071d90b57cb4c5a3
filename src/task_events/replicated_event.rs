//! `prefect.ecs.task.<status>`: a task's change as an event of Prefect 2 and 3, for its timelines and automations. The
//! body is that of a worker's observer.

use super::event::TaskEvent;
use super::task_owner::Tags;
use crate::slug::slug;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

/// An entry of `POST /events`; `None` = the event has no usable id, without which Prefect would count repetitions.
///
/// `flow_run_id` stands even where the task's `tags` cannot be read any more. `now` is for an event without a time.
pub fn replicated(
    event: &TaskEvent,
    flow_run_id: &str,
    tags: &Tags,
    prefect_version: &str,
    now: OffsetDateTime,
) -> Option<Value> {
    let id = Uuid::try_parse(event.id.as_deref()?).ok()?;
    Some(json!({
        "occurred": spelled(event.time.unwrap_or(now)),
        "event": format!("prefect.ecs.task.{}", event.last_status.to_lowercase()),
        "resource": resource(event),
        "related": related(flow_run_id, tags, prefect_version),
        "payload": {},
        "id": id.hyphenated().to_string(),
        "follows": null,
    }))
}

fn resource(event: &TaskEvent) -> Map<String, Value> {
    let mut resource = Map::new();
    let mut add = |label: &str, value: &str| resource.insert(label.to_owned(), value.into());
    add("prefect.resource.id", &format!("prefect.ecs.task.{}", event.task_id()));
    add("ecs.taskArn", &event.task_arn);
    if let Some(cluster_arn) = &event.task.cluster_arn {
        add("ecs.clusterArn", cluster_arn);
    }
    if let Some(definition_arn) = &event.task.task_definition_arn {
        add("ecs.taskDefinitionArn", definition_arn);
    }
    resource
}

/// What the tags know of the run. Tags have the spelling that ECS allows, and so have these names.
fn related(flow_run_id: &str, tags: &Tags, prefect_version: &str) -> Vec<Map<String, Value>> {
    let tag = |name: &str| tags.get(&format!("prefect.io/{name}")).filter(|value| !value.is_empty());
    let mut related = vec![named("flow-run", flow_run_id, tag("flow-run-name"))];
    for role in ["deployment", "flow", "work-pool"] {
        related.extend(tag(&format!("{role}-id")).map(|id| named(role, id, tag(&format!("{role}-name")))));
    }
    related.extend(tag("worker-name").map(|name| {
        let mut worker = named("worker", &format!("ecs.{}", slug(name, usize::MAX)), Some(name));
        worker.insert("prefect.worker-type".into(), "ecs".into());
        worker.insert("prefect.version".into(), prefect_version.into());
        worker
    }));
    related
}

fn named(role: &str, id: &str, name: Option<&String>) -> Map<String, Value> {
    let mut resource = Map::new();
    resource.insert("prefect.resource.id".into(), format!("prefect.{role}.{id}").into());
    resource.insert("prefect.resource.role".into(), role.into());
    if let Some(name) = name {
        resource.insert("prefect.resource.name".into(), name.as_str().into());
    }
    resource
}

/// As Prefect's own models write a time: UTC, six digits of a fraction or none.
fn spelled(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    // Formatting fails for years beyond 9999 only.
    let text = whole.format(&Rfc3339).unwrap_or_default();
    match time.microsecond() {
        0 => text,
        fraction => format!("{}.{fraction:06}Z", text.trim_end_matches('Z')),
    }
}

#[cfg(test)]
mod tests;
