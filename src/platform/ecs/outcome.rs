//! What an answer of ECS means for a flow run: a complete table, pure.
//!
//! The order of the questions is part of it: throttling and want of capacity come in the disguise of other errors, and
//! the same error is the run's own fault or the agent's trouble by who configured what it complains about.

mod failures;
mod origin;
mod remedy;

pub use origin::Origin;

use crate::aws::AwsError;
use crate::aws::ecs::{RunTaskAnswer, Task};
use crate::aws::error::is_throttling as is_throttling_code;
use crate::platform::{LaunchOutcome, TransientCause};
use origin::Fault;

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
            None => Verdict::NoTask(failures::classify(&answer.failures, origin)),
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
mod tests;
