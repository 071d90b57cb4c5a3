//! Answers of ECS, read into types. What is missing or of another shape says nothing: such an answer is malformed, for
//! "there is no task" must never be read out of an answer that does not say so.

use super::{Failure, RunTaskAnswer, Task};
use crate::aws::AwsError;
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// What `RunTask` answered. A task counts whatever stands beside it; without one, the answer must say that there is none.
pub(super) fn run_task(answer: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
    let listed = list(answer, "RunTask", "tasks")?;
    let tasks: Vec<Task> = listed.iter().filter_map(task_of).collect();
    if tasks.is_empty() && !listed.is_empty() {
        return Err(without_arn("RunTask"));
    }
    match failures(answer) {
        Ok(failures) => Ok(RunTaskAnswer { tasks, failures }),
        Err(_) if !tasks.is_empty() => Ok(RunTaskAnswer { tasks, failures: Vec::new() }),
        Err(error) => Err(error),
    }
}

/// `tasks` of an answer: each with its ARN, for a task without one cannot be spoken of.
pub(super) fn tasks(answer: &Map<String, Value>, operation: &str) -> Result<Vec<Task>, AwsError> {
    let listed = list(answer, operation, "tasks")?;
    listed.iter().map(|task| task_of(task).ok_or_else(|| without_arn(operation))).collect()
}

/// A list of ARNs.
pub(super) fn arns(answer: &Map<String, Value>, operation: &str, key: &str) -> Result<Vec<String>, AwsError> {
    let arn = |arn: &Value| arn.as_str().filter(|arn| !arn.is_empty()).map(ToOwned::to_owned);
    let listed = list(answer, operation, key)?.iter();
    listed
        .map(|entry| {
            arn(entry)
                .ok_or_else(|| AwsError::Malformed(format!("{operation} answered {key} with an entry that is no ARN")))
        })
        .collect()
}

/// A list that every answer of this kind has.
pub(super) fn list<'a>(answer: &'a Map<String, Value>, operation: &str, key: &str) -> Result<&'a [Value], AwsError> {
    match answer.get(key) {
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(AwsError::Malformed(format!("{operation} answered {key} that are no list"))),
        None => Err(AwsError::Malformed(format!("{operation} answered without {key}"))),
    }
}

/// `failures[]`; an entry that says nothing is none.
fn failures(answer: &Map<String, Value>) -> Result<Vec<Failure>, AwsError> {
    let listed = match answer.get("failures") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(_) => list(answer, "RunTask", "failures")?,
    };
    let failure = |entry: &Value| {
        let failure = Failure { arn: text(entry, "arn"), reason: text(entry, "reason"), detail: text(entry, "detail") };
        (failure != Failure::default()).then_some(failure)
    };
    listed
        .iter()
        .map(|entry| {
            failure(entry).ok_or_else(|| AwsError::Malformed("RunTask answered a failure that says nothing".into()))
        })
        .collect()
}

fn without_arn(operation: &str) -> AwsError {
    AwsError::Malformed(format!("{operation} answered a task without taskArn"))
}

fn task_of(task: &Value) -> Option<Task> {
    Some(Task {
        task_arn: text(task, "taskArn").filter(|arn| !arn.is_empty())?,
        cluster_arn: text(task, "clusterArn"),
        last_status: text(task, "lastStatus").unwrap_or_default(),
        desired_status: text(task, "desiredStatus").unwrap_or_default(),
        started_by: text(task, "startedBy"),
        stopped_reason: text(task, "stoppedReason"),
        stop_code: text(task, "stopCode"),
        created_at: task.get("createdAt").and_then(Value::as_f64).and_then(instant),
    })
}

/// Seconds since 1970, as AWS's JSON protocols write a time; whole seconds are enough here.
#[allow(clippy::cast_possible_truncation)] // Saturates, and such a time is none.
fn instant(seconds: f64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds.floor() as i64).ok()
}

/// A member that is a text.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(ToOwned::to_owned)
}
