//! What an answer of ECS means for a flow run: a complete table, pure.
//!
//! The order of the questions is part of it: throttling and want of capacity come in the disguise of other errors, and
//! the same error is the run's own fault or the agent's trouble by who configured what it complains about.

mod remedy;

pub use remedy::Origin;

use super::LaunchTarget;
use crate::aws::AwsError;
use crate::aws::answers::is_throttling as is_throttling_code;
use crate::aws::ecs::{Failure, RunTaskAnswer, Task};
use crate::platform::ecs::Words;
use crate::platform::{LaunchOutcome, TransientCause};
use remedy::Fault;

/// The task definition is inactive: it is to be found or registered again.
pub const INACTIVE: LaunchOutcome = LaunchOutcome::Outdated("The task definition was deregistered while it was used");

/// What one answer to `RunTask` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is a task: new, or the token's own when this was a replay.
    Task(Task),
    /// The token has already started these tasks, with another request.
    AlreadyStarted(Vec<String>),
    /// There is no task, or nobody knows.
    NoTask(LaunchOutcome),
}

/// What the answer to `RunTask` says. A task counts even beside failures.
pub fn classify(answer: Result<RunTaskAnswer, AwsError>, origin: &Origin<'_>) -> Verdict {
    match answer {
        Ok(answer) => match answer.tasks.into_iter().next() {
            Some(task) => Verdict::Task(task),
            // ECS says why there is no task, or it says nothing at all: then there may be one.
            None if answer.failures.is_empty() => {
                Verdict::NoTask(LaunchOutcome::Unknown("RunTask answered neither a task nor a failure".into()))
            }
            None => Verdict::NoTask(classify_failures(&answer.failures, origin)),
        },
        // The request arrived or it did not: only the token can tell.
        Err(AwsError::NoAnswer(text) | AwsError::Malformed(text)) => Verdict::NoTask(LaunchOutcome::Unknown(text)),
        Err(AwsError::Answer { code, message, resource_ids, .. }) if code == "ConflictException" => {
            if resource_ids.is_empty() {
                // There is a task, but nobody says which.
                Verdict::NoTask(LaunchOutcome::Unknown(format!("{code}: {message}")))
            } else {
                Verdict::AlreadyStarted(resource_ids)
            }
        }
        // Not ECS's own words: a proxy that gave up on an answer. ECS may have done what was asked.
        Err(AwsError::Answer { status, code, message, .. }) if status >= 500 && code.is_empty() => {
            Verdict::NoTask(LaunchOutcome::Unknown(format!("HTTP {status}: {message}")))
        }
        Err(error) => Verdict::NoTask(refusal("RunTask", error, origin)),
    }
}

/// What an error means that cannot have started anything. `operation` is the call it answers.
///
/// A 5xx answer of ECS to `RunTask` counts as "not started" too: if it did start a task, the run's next turn finds it by
/// `startedBy` before it launches.
pub fn refusal(operation: &str, error: AwsError, origin: &Origin<'_>) -> LaunchOutcome {
    match error {
        AwsError::NotSent(_) | AwsError::NoAnswer(_) | AwsError::Malformed(_) => {
            LaunchOutcome::Transient { reason: format!("{operation}: {error}"), cause: TransientCause::Server }
        }
        AwsError::Credentials(_) => LaunchOutcome::AgentTrouble(error.to_string()),
        AwsError::Answer { status, code, message, .. } => answered(operation, status, &code, &message, origin),
    }
}

fn answered(operation: &str, status: u16, code: &str, message: &str, origin: &Origin<'_>) -> LaunchOutcome {
    // Prefect's users know this text from the Python agent.
    let text = format!("An error occurred ({code}) when calling the {operation} operation: {message}");
    let lower = message.to_lowercase();
    let transient = |cause| LaunchOutcome::Transient { reason: text.clone(), cause };

    if is_throttling(status, code, &lower) {
        return transient(TransientCause::Throttled);
    }
    if is_capacity(&lower) {
        return transient(TransientCause::Capacity);
    }
    if status >= 500 || status == 408 || SERVER_TROUBLE.contains(&code) {
        return transient(TransientCause::Server);
    }
    if is_inactive(&lower) {
        return INACTIVE;
    }
    let fault = origin.fault(status, code, message);
    let text = remedy::with(&text, code, &lower, fault, origin);
    match fault {
        Fault::Agent => LaunchOutcome::AgentTrouble(text),
        Fault::Run => LaunchOutcome::Permanent(text),
    }
}

/// A definition that does not exist, or no longer.
pub(crate) fn is_not_found(error: &AwsError) -> bool {
    matches!(error, AwsError::Answer { message, .. } if is_inactive(&message.to_lowercase()))
}

const SERVER_TROUBLE: [&str; 10] = [
    "ServerException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalFailure",
    "InternalError",
    "InternalServerError",
    "InternalServerException",
    "InternalServiceError",
    "RequestTimeout",
    "RequestTimeoutException",
];

/// `lower`: the message in lower case.
fn is_throttling(status: u16, code: &str, lower: &str) -> bool {
    const TEXTS: [&str; 6] = [
        "rate exceeded",
        "too many concurrent attempts",
        "too many requests",
        "request limit exceeded",
        "request was throttled",
        "operations are being throttled",
    ];
    status == 429 || is_throttling_code(code) || TEXTS.iter().any(|text| lower.contains(text))
}

/// No room now, perhaps later. A capacity provider that does not exist is not among these.
pub(crate) fn is_capacity(lower: &str) -> bool {
    const TEXTS: [&str; 8] = [
        "capacity is unavailable",
        "no capacity",
        "insufficient capacity",
        "not enough capacity",
        "insufficientinstancecapacity",
        "no container instances were found",
        "the number of tasks you can run concurrently",
        "the number of vcpus you can run concurrently",
    ];
    TEXTS.iter().any(|text| lower.contains(text))
}

fn is_inactive(lower: &str) -> bool {
    const TEXTS: [&str; 4] = [
        "taskdefinition is inactive",
        "task definition is inactive",
        "taskdefinition not found",
        "unable to describe task definition",
    ];
    TEXTS.iter().any(|text| lower.contains(text))
}

#[cfg(test)]
mod listing_tests;
#[cfg(test)]
mod tests;

// `failures[]` of an answer that has no task.

/// What several failures mean together: the run fails only when nothing among them is worth another try.
fn classify_failures(failures: &[Failure], origin: &Origin<'_>) -> LaunchOutcome {
    let text = failures_in_python(failures, origin.flow_run_id);
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
        LaunchOutcome::Permanent(format!("{text}. {}", remedy_of_failures(failures, origin.words)))
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

fn remedy_of_failures(failures: &[Failure], words: Words) -> &'static str {
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
fn failures_in_python(failures: &[Failure], flow_run_id: &str) -> String {
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

// What it means that ECS will not tell of a flow run's tasks. Pure.

/// The tasks that ECS lists as stopped, and a warning where it refuses to list them.
///
/// AWS's documentation says that `startedBy` must be the only filter of `ListTasks`, while public code sends it together
/// with `desiredStatus: STOPPED`. Where ECS holds to its documentation, a task that was asked to stop is not seen while
/// it ends; whatever is to run is still listed, and that is what a launch must not repeat.
pub fn stopping_tasks(answer: Result<Vec<String>, AwsError>) -> Result<(Vec<String>, Option<String>), AwsError> {
    match answer {
        Ok(arns) => Ok((arns, None)),
        Err(error) if is_refused_question("ListTasks", &error) => Ok((
            Vec::new(),
            Some(format!(
                "ECS does not list stopped tasks by startedBy, so that a task which is being stopped is not waited for \
                 when its flow run is launched again: {error}"
            )),
        )),
        Err(error) => Err(error),
    }
}

/// Whether ECS does not know the cluster, or does not take its name. A launch into it is refused too, and says so to
/// whoever named the cluster.
pub fn is_about_cluster(error: &AwsError) -> bool {
    let AwsError::Answer { code, message, .. } = error else { return false };
    let is_no_name = || code == "InvalidParameterException" && message.to_lowercase().contains("identifier");
    code == "ClusterNotFoundException" || is_no_name()
}

/// A look at tasks that was refused. These calls contain nothing of the run's own but the cluster, and perhaps the
/// credentials: a question that ECS does not take is the agent's trouble, and no run's.
pub fn refused_about_tasks(operation: &str, error: AwsError, target: &LaunchTarget) -> LaunchOutcome {
    if is_refused_question(operation, &error) {
        return LaunchOutcome::AgentTrouble(format!(
            "{operation}: {error}. Flow runs that may have a task already wait until ECS answers this again."
        ));
    }
    let origin = Origin { run_sets: &target.credentials.set_by_run, ..Origin::nobodys() };
    refusal(operation, error, &origin)
}

/// Whether it is the request that ECS refuses: neither for now, nor for who asks, nor for want of a permission.
fn is_refused_question(operation: &str, error: &AwsError) -> bool {
    matches!(refusal(operation, error.clone(), &Origin::nobodys()), LaunchOutcome::Permanent(_))
}
