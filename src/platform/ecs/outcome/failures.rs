//! `failures[]` of an answer that has no task.

use super::INACTIVE;
use super::origin::Origin;
use super::{is_capacity, is_throttling};
use crate::aws::ecs::Failure;
use crate::platform::ecs::Words;
use crate::platform::{LaunchOutcome, TransientCause};

/// What several failures mean together: the run fails only when nothing among them is worth another try.
pub(super) fn classify(failures: &[Failure], origin: &Origin<'_>) -> LaunchOutcome {
    let text = python_text(failures, origin.flow_run_id);
    let kinds: Vec<FailureKind> = failures.iter().map(|failure| kind(failure, origin)).collect();
    let has = |wanted: FailureKind| kinds.contains(&wanted);
    let transient = |cause| LaunchOutcome::Transient { reason: text.clone(), cause };
    if has(FailureKind::Inactive) {
        INACTIVE
    } else if has(FailureKind::Agent) {
        LaunchOutcome::AgentTrouble(format!(
            "{text}. The cluster of the agent's configuration is not there: check `cluster`"
        ))
    } else if has(FailureKind::Throttled) {
        transient(TransientCause::Throttled)
    } else if has(FailureKind::Capacity) {
        transient(TransientCause::Capacity)
    } else {
        LaunchOutcome::Permanent(format!("{text}. {}", remedy(failures, origin.words)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    Throttled,
    Capacity,
    Inactive,
    Agent,
    Permanent,
}

fn kind(failure: &Failure, origin: &Origin<'_>) -> FailureKind {
    let reason = failure.reason.as_deref().unwrap_or_default();
    let detail = failure.detail.as_deref().unwrap_or_default();
    let arn = failure.arn.as_deref().unwrap_or_default();
    let lower = format!("{reason} {detail}").to_lowercase();
    let upper = reason.to_uppercase();
    if is_throttling(0, "", &lower) {
        return FailureKind::Throttled;
    }
    let has_no_room = upper.starts_with("RESOURCE") || upper == "AGENT" || lower.contains("capacity provider");
    if has_no_room || is_capacity(&lower) {
        return FailureKind::Capacity;
    }
    if upper == "MISSING" || upper == "INACTIVE" {
        // What is missing is said by the ARN; a container instance that went away is replaced by another.
        return match arn.split(':').nth(5).unwrap_or_default() {
            resource if resource.starts_with("task-definition/") => FailureKind::Inactive,
            resource if resource.starts_with("cluster/") && origin.sets("cluster") => FailureKind::Permanent,
            resource if resource.starts_with("cluster/") => FailureKind::Agent,
            _ => FailureKind::Capacity,
        };
    }
    FailureKind::Permanent
}

fn remedy(failures: &[Failure], words: Words) -> &'static str {
    let has = |reason: &str| failures.iter().any(|failure| failure.reason.as_deref() == Some(reason));
    if has("ATTRIBUTE") {
        "No container instance has what the task definition asks for: relax its placement constraints and attributes, \
         or add such instances to the cluster."
    } else if has("MISSING") || has("INACTIVE") {
        match words {
            Words::Agent => "Check `cluster` in the run's `run_task_kwargs`.",
            Words::Worker => "Check `cluster` in the job variables.",
        }
    } else {
        "Check the run's configuration against the reason that ECS gives, then run the flow again."
    }
}

/// The Python agent's own words: they are what people search for.
fn python_text(failures: &[Failure], flow_run_id: &str) -> String {
    let entries: Vec<String> = failures.iter().map(python_dict).collect();
    format!("Failed to start task for flow run {flow_run_id}. Failures: [{}]", entries.join(", "))
}

fn python_dict(failure: &Failure) -> String {
    let fields = [("arn", &failure.arn), ("reason", &failure.reason), ("detail", &failure.detail)];
    let entries: Vec<String> = fields
        .iter()
        .filter_map(|(key, value)| Some(format!("'{key}': {}", python_string(value.as_deref()?))))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// As Python's `repr` writes a string.
fn python_string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}
