//! The words and events of a Prefect worker's own observer, which the people and automations of a work pool know: the
//! message of a Crashed state, the line in the run's log, `prefect.ecs.task.<status>`. They follow its rules to the
//! letter, also where ours would say more.

use super::event::{Container, TaskEvent};
use super::task_owner::Tags;
use crate::orchestrator::LogLevel;
use crate::python_text::slug;
use crate::python_text::{repr, text_repr};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

const PULL_HINT: &str = "Verify that the container image exists and the URI is correct. If the image is in a private registry, \
     ensure the task execution role has permissions to pull from it and that a repository authentication configuration is \
     attached to the container definition.";
const START_HINT: &str = "Check the stopped reason for specifics. Common causes include resource limits, missing IAM \
     permissions, or networking misconfigurations. Review the ECS task and execution role policies.";
const ESSENTIAL_HINT: &str = "An essential container in the task exited, causing the task to stop. Check the container logs for \
     errors. If the exit was due to an application error, fix the underlying issue. If the container was killed by the \
     infrastructure, consider increasing memory or CPU limits.";
const INFRASTRUCTURE_HINT: &str = "The task was stopped without container exit codes, which typically means ECS or the underlying \
     infrastructure killed the task. Common causes include spot instance interruptions, scaling events, or manual stops. \
     Check CloudTrail and ECS service events for more context.";
const EXIT_HINT: &str = "One or more containers exited with a non-zero status code. Check the container logs in CloudWatch for \
     error details. Exit code 137 often indicates an out-of-memory condition — consider increasing the task memory \
     allocation.";

/// A line for the log of the run whose task has stopped; `None` = nothing worth a line.
pub fn log_line(event: &TaskEvent) -> Option<(LogLevel, String)> {
    let reason = event.task.stopped_reason.as_deref().unwrap_or_default();
    let stop_code = event.task.stop_code.as_deref().unwrap_or_default();
    if reason.contains("CannotPullContainerError") {
        return Some((LogLevel::Error, line("Container image pull failed", reason, PULL_HINT)));
    }
    if stop_code == "TaskFailedToStart" {
        let reason = if reason.is_empty() { "Task failed to start (no additional detail)." } else { reason };
        return Some((LogLevel::Error, line("ECS task failed to start", reason, START_HINT)));
    }
    let ends = Ends::of(&event.task.containers);
    let (summary, hint) = if stop_code == "EssentialContainerExited" {
        ("Essential container exited", ESSENTIAL_HINT)
    } else if ends.failed.is_empty() && ends.without_code.is_empty() {
        return None;
    } else if ends.failed.is_empty() {
        ("Task terminated by infrastructure", INFRASTRUCTURE_HINT)
    } else {
        ("Container exited with non-zero exit code", EXIT_HINT)
    };
    Some((ends.level(), line(summary, &ends.detail(), hint)))
}

/// `{summary}: {detail} Resolution: {hint}`.
pub(super) fn line(summary: &str, detail: &str, hint: &str) -> String {
    format!("{summary}: {detail} Resolution: {hint}")
}

/// Message of the Crashed state of a run whose `failed` containers ended otherwise than with 0. None: its task stopped
/// before it had any.
pub fn crash_message(event: &TaskEvent, failed: &[&Container]) -> String {
    if failed.is_empty() {
        let reason = event.task.stopped_reason.as_deref().unwrap_or("unknown reason");
        return format!("ECS task failed to start: {reason}. The capacity provider could not place the task.");
    }
    let name = |container: &&Container| {
        let name = container.name.clone().filter(|name| !name.is_empty());
        name.or_else(|| container.container_arn.clone()).map_or(Value::Null, Value::String)
    };
    let names = repr(&Value::Array(failed.iter().map(name).collect()));
    format!("The following containers stopped with a non-zero exit code: {names}")
}

/// How the containers ended, all of them.
struct Ends {
    failed: Vec<(String, i64)>,
    without_code: Vec<String>,
}

impl Ends {
    fn of(containers: &[Container]) -> Self {
        let name = |container: &Container| text_repr(container.name.as_deref().unwrap_or("<unknown>"));
        let code = |container: &Container| container.exit_code;
        let coded = containers.iter().filter_map(|container| Some((name(container), code(container)?)));
        Self {
            failed: coded.filter(|(_, code)| *code != 0).collect(),
            without_code: containers.iter().filter(|c| code(c).is_none()).map(name).collect(),
        }
    }

    fn level(&self) -> LogLevel {
        if self.failed.is_empty() && !self.without_code.is_empty() { LogLevel::Warning } else { LogLevel::Error }
    }

    fn detail(&self) -> String {
        let mut detail = String::new();
        for (name, code) in &self.failed {
            // Writing to a String cannot fail.
            let _ = write!(detail, "Container {name} exited with code {code}. ");
        }
        if !self.without_code.is_empty() {
            let names = self.without_code.join(", ");
            let _ = write!(
                detail,
                "Container(s) {names} had no exit code, indicating the task was terminated by ECS or the underlying \
                 infrastructure."
            );
        }
        if detail.is_empty() {
            return "No container exit code details available.".into();
        }
        detail.trim_end().to_owned()
    }
}

#[cfg(test)]
mod replicated_event_tests;
#[cfg(test)]
mod tests;

// `prefect.ecs.task.<status>`: a task's change as an event of Prefect 2 and 3, for its timelines and automations. The
// body is that of a worker's observer.

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
    // An event's time can be moved to UTC: others are not read.
    let time = time.checked_to_offset(UtcOffset::UTC).unwrap_or(time);
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    // Formatting fails for years beyond 9999 only.
    let text = whole.format(&Rfc3339).unwrap_or_default();
    match time.microsecond() {
        0 => text,
        fraction => format!("{}.{fraction:06}Z", text.trim_end_matches('Z')),
    }
}
