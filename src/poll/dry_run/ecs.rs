//! An ECS whose writes are recorded.

use super::Recorder;
use crate::aws::AwsError;
use crate::aws::ecs::{DescribedDefinition, RunTaskAnswer, Task};
use crate::platform::ecs::calls::EcsCalls;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Name of the service in the record.
const SERVICE: &str = "ecs";

/// Reads as the inner one does; every write is recorded and succeeds.
pub(super) struct RecordedEcs<E> {
    inner: E,
    recorder: Arc<Recorder>,
}

impl<E: EcsCalls> RecordedEcs<E> {
    pub(super) fn new(inner: E, recorder: Arc<Recorder>) -> Self {
        Self { inner, recorder }
    }
}

impl<E: EcsCalls> EcsCalls for RecordedEcs<E> {
    async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        let token = body.get("clientToken").and_then(Value::as_str).unwrap_or_default();
        self.recorder.note(SERVICE, "RunTask", self.recorder.held_until(token), Value::Object(body.clone()));
        let task = Task {
            task_arn: "[the task's ARN]".to_owned(),
            last_status: "PROVISIONING".to_owned(),
            desired_status: "RUNNING".to_owned(),
            ..Task::default()
        };
        Ok(RunTaskAnswer { tasks: vec![task], failures: Vec::new() })
    }

    async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        let family = body.get("family").and_then(Value::as_str).unwrap_or_default();
        let arn = format!("[the ARN of the new revision of {family}]");
        self.recorder.note(SERVICE, "RegisterTaskDefinition", None, Value::Object(body.clone()));
        Ok(arn)
    }

    async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        self.inner.describe_task_definition(name).await
    }

    async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        self.inner.list_task_definitions(family, limit).await
    }

    async fn describe_tasks(&self, cluster: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        self.inner.describe_tasks(cluster, task_arns).await
    }

    async fn list_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        self.inner.list_tasks(cluster, started_by).await
    }

    async fn list_stopping_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        self.inner.list_stopping_tasks(cluster, started_by).await
    }

    async fn stop_task(&self, cluster: Option<&str>, task_arn: &str, reason: &str) -> Result<(), AwsError> {
        let mut body = Map::new();
        body.insert("task".into(), json!(task_arn));
        body.insert("reason".into(), json!(reason));
        body.extend(cluster.map(|cluster| ("cluster".to_owned(), json!(cluster))));
        self.recorder.note(SERVICE, "StopTask", None, Value::Object(body));
        Ok(())
    }
}
