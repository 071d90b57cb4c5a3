//! What AWS answers: faults and refusals as errors, tasks as it describes them.

use super::run_task::Refusal;
use super::tasks::{Status, Task};
use crate::fault::{Fault, Kind};
use prefect_serverless_agent::aws::AwsError;
use prefect_serverless_agent::aws::ecs::{self, Failure, RunTaskAnswer};

fn answer(status: u16, code: &str, message: &str) -> AwsError {
    AwsError::Answer { status, code: code.into(), message: message.into(), resource_ids: Vec::new() }
}

const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

/// A call that went wrong. `started`: the tasks that it started all the same.
pub(super) fn error(fault: Fault, started: Vec<String>) -> AwsError {
    match fault.kind {
        Kind::NotSent => AwsError::NotSent("connection refused".into()),
        Kind::Timeout | Kind::Slow => AwsError::NoAnswer("timed out".into()),
        Kind::Dropped => AwsError::NoAnswer("connection reset".into()),
        Kind::TooMany => answer(400, "ThrottlingException", "Rate exceeded"),
        Kind::Disguised => answer(400, "InvalidParameterException", "Rate exceeded"),
        Kind::ServerError => answer(500, "ServerException", "Service Unavailable. Please try again later."),
        Kind::Html => answer(502, "", "<html><body>502 Bad Gateway</body></html>"),
        Kind::Malformed | Kind::SaysNothing => AwsError::Malformed("expected value at line 1 column 1".into()),
        Kind::Conflict => conflict(started),
        Kind::Unauthorised => answer(
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/poll/x is not authorized",
        ),
        Kind::NoCapacity | Kind::Failures => answer(400, "ClientException", NO_CAPACITY),
    }
}

/// A call to CloudWatch Logs that went wrong.
pub(crate) fn log_error(fault: Fault) -> AwsError {
    error(fault, Vec::new())
}

fn conflict(resource_ids: Vec<String>) -> AwsError {
    let message = "The clientToken was used with other parameters".to_owned();
    AwsError::Answer { status: 400, code: "ConflictException".into(), message, resource_ids }
}

/// `failures[]` of an answer without a task.
pub(super) fn no_memory() -> RunTaskAnswer {
    let failure = Failure { arn: None, reason: Some("RESOURCE:MEMORY".into()), detail: None };
    RunTaskAnswer { tasks: Vec::new(), failures: vec![failure] }
}

/// A request that was refused.
pub(super) fn refused(refusal: Refusal) -> AwsError {
    match refusal {
        Refusal::Conflict(arns) => conflict(arns),
        Refusal::Inactive => answer(400, "ClientException", "TaskDefinition is inactive"),
        Refusal::Invalid => answer(400, "InvalidParameterException", "Invalid 'cpu' setting for task."),
        Refusal::NoCapacity => answer(400, "ClientException", NO_CAPACITY),
        Refusal::Unreadable => answer(400, "InvalidParameterException", "No such container."),
    }
}

/// There is no such definition.
pub(super) fn no_definition() -> AwsError {
    answer(400, "ClientException", "Unable to describe task definition.")
}

/// A task as it is now.
pub(super) fn described(task: &Task) -> ecs::Task {
    let has_stopped = task.status == Status::Stopped;
    ecs::Task {
        task_arn: task.arn.clone(),
        cluster_arn: None,
        last_status: task.status.text().into(),
        desired_status: if has_stopped || task.is_ending { "STOPPED" } else { "RUNNING" }.into(),
        started_by: task.started_by.clone(),
        stopped_reason: has_stopped.then(|| task.stopped_reason.to_owned()),
        stop_code: has_stopped.then(|| task.stop_code.to_owned()),
        created_at: Some(task.created_at),
    }
}

/// A task as it was when it was started.
pub(super) fn as_started(task: &Task) -> ecs::Task {
    ecs::Task {
        task_arn: task.arn.clone(),
        last_status: "PROVISIONING".into(),
        desired_status: "RUNNING".into(),
        started_by: task.started_by.clone(),
        created_at: Some(task.created_at),
        ..ecs::Task::default()
    }
}
