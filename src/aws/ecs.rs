//! ECS: requests go out as the JSON they are given, so that every key AWS knows can be used.

use super::AwsError;
use serde_json::{Map, Value};

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: aws_sdk_ecs::Client,
}

/// What `RunTask` said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunTaskAnswer {
    /// ARNs and states of the started tasks.
    pub tasks: Vec<Task>,
    /// What could not be started: `failures[]`.
    pub failures: Vec<Failure>,
}

/// An entry of `failures[]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// `arn`
    pub arn: Option<String>,
    /// `reason`, e.g. `RESOURCE:MEMORY`.
    pub reason: Option<String>,
    /// `detail`
    pub detail: Option<String>,
}

/// A task as ECS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// `taskArn`
    pub task_arn: String,
    /// `clusterArn`
    pub cluster_arn: Option<String>,
    /// `lastStatus`
    pub last_status: String,
    /// `desiredStatus`
    pub desired_status: String,
    /// `startedBy`
    pub started_by: Option<String>,
    /// `stoppedReason`
    pub stopped_reason: Option<String>,
    /// `stopCode`
    pub stop_code: Option<String>,
}

/// A task definition as `DescribeTaskDefinition` answers it, in the API's own spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedDefinition {
    /// `taskDefinition`, verbatim.
    pub definition: Map<String, Value>,
    /// `tags`, key and value.
    pub tags: Vec<(String, String)>,
}

impl Ecs {
    /// Wraps an SDK client.
    pub fn new(client: aws_sdk_ecs::Client) -> Self {
        Self { client }
    }

    /// `RunTask` with exactly this body.
    pub async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        let _ = (&self.client, body);
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// `RegisterTaskDefinition` with exactly this body → ARN.
    pub async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        let _ = body;
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// `DescribeTaskDefinition` with its tags. Name: ARN, family or `family:revision`.
    pub async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        let _ = name;
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// The newest active revisions of exactly this family, newest first → ARNs.
    pub async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        let _ = (family, limit);
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// `DescribeTasks` (at most 100 ARNs). Tasks that ECS no longer knows are missing from the answer.
    pub async fn describe_tasks(&self, cluster: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        let _ = (cluster, task_arns);
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// Tasks that run or are to run, by `startedBy` → ARNs.
    pub async fn list_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        let _ = (cluster, started_by);
        Err(AwsError::Malformed("not written yet".into()))
    }

    /// `StopTask`.
    pub async fn stop_task(&self, cluster: Option<&str>, task_arn: &str, reason: &str) -> Result<(), AwsError> {
        let _ = (cluster, task_arn, reason);
        Err(AwsError::Malformed("not written yet".into()))
    }
}
