//! "ECS Task State Change" as `EventBridge` delivers it, reduced to what matters here.
//!
//! Reading never fails in a way that is worth a second try: an event that lacks what it takes, or is not of the documented
//! shape, is [`Ignored`] with a reason. (What is no such event at all never gets here, see [`super::envelope`].)

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) const SOURCE: &str = "aws.ecs";
pub(super) const DETAIL_TYPE: &str = "ECS Task State Change";

/// Why there is nothing to do about an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Ignored(pub String);

/// A task changed its state. Whatever the event leaves out is `None` or empty, and so is what it says with `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// Id of the event: repeated deliveries have the same one.
    pub id: Option<String>,
    /// When the task changed.
    pub time: Option<OffsetDateTime>,
    /// Region the task runs in.
    pub region: Option<String>,
    /// Account the task runs in.
    pub account: Option<String>,
    /// ARN of the task.
    pub task_arn: String,
    /// `PROVISIONING`, `PENDING`, …, `STOPPED`.
    pub last_status: String,
    /// The task itself.
    pub task: EventTask,
}

/// The task, as the event describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTask {
    /// ARN of its cluster.
    pub cluster_arn: Option<String>,
    /// ARN of its definition.
    pub task_definition_arn: Option<String>,
    /// What ECS works towards: `RUNNING` or `STOPPED`.
    pub desired_status: Option<String>,
    /// Who started it, see [`super::task_owner`].
    pub started_by: Option<String>,
    /// Why it stopped, one of ECS's few codes.
    pub stop_code: Option<String>,
    /// Why it stopped, in ECS's words.
    pub stopped_reason: Option<String>,
    /// Its containers; none when it stopped before there were any.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// What `RunTask` changed of the definition.
    #[serde(deserialize_with = "null_is_default")]
    pub overrides: TaskOverrides,
    /// Counts the task's changes.
    pub version: Option<i64>,
    /// When `RunTask` made it.
    #[serde(deserialize_with = "instant")]
    pub created_at: Option<OffsetDateTime>,
    /// When its containers had started.
    #[serde(deserialize_with = "instant")]
    pub started_at: Option<OffsetDateTime>,
    /// When it had stopped.
    #[serde(deserialize_with = "instant")]
    pub stopped_at: Option<OffsetDateTime>,
    /// `family:…` or `service:…`.
    pub group: Option<String>,
    /// `FARGATE`, `EC2` or `EXTERNAL`; absent with a capacity provider.
    pub launch_type: Option<String>,
    /// `FARGATE`, `FARGATE_SPOT` or one of the cluster's own.
    pub capacity_provider_name: Option<String>,
}

/// One container of the task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name in the definition.
    pub name: Option<String>,
    /// ARN of the container.
    pub container_arn: Option<String>,
    /// What its process exited with; `None` = it never ran, or ECS lost sight of it.
    pub exit_code: Option<i64>,
    /// What ECS says about its end, e.g. `OutOfMemoryError: …`.
    pub reason: Option<String>,
    /// State of the container.
    pub last_status: Option<String>,
}

/// What `RunTask` changed of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskOverrides {
    /// One entry per container, also for those of which nothing was changed.
    #[serde(deserialize_with = "null_is_default")]
    pub container_overrides: Vec<ContainerOverride>,
}

/// What `RunTask` changed of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ContainerOverride {
    /// Name in the definition.
    pub name: Option<String>,
    /// Environment variables; their values, which may be secrets, are not kept.
    #[serde(deserialize_with = "null_is_default")]
    pub environment: Vec<Variable>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// Its name.
    pub name: Option<String>,
}

impl TaskEvent {
    /// Reads an event.
    pub fn read(event: &Value) -> Result<Self, Ignored> {
        let text = |key: &str| event.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text("source") != Some(SOURCE) || text("detail-type") != Some(DETAIL_TYPE) {
            return Err(Ignored(format!("not an event \"{DETAIL_TYPE}\" of {SOURCE}")));
        }
        let detail = event.get("detail").ok_or_else(|| Ignored("the event has no detail".into()))?;
        let required = |key: &str| match detail.get(key).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(Ignored(format!("the event's detail has no {key}"))),
        };
        Ok(Self {
            id: text("id").map(ToOwned::to_owned),
            time: text("time").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
            region: text("region").map(ToOwned::to_owned),
            account: text("account").map(ToOwned::to_owned),
            task_arn: required("taskArn")?,
            last_status: required("lastStatus")?,
            task: EventTask::deserialize(detail)
                .map_err(|error| Ignored(format!("the event's detail is not of the documented shape: {error}")))?,
        })
    }

    /// Whether the task has come to its end.
    pub fn is_stopped(&self) -> bool {
        self.last_status == "STOPPED"
    }

    /// Whether the task waits for its start, in the states that a worker's observer reports as such.
    pub fn is_waiting(&self) -> bool {
        matches!(self.last_status.as_str(), "PROVISIONING" | "PENDING")
    }

    /// Last part of the task's ARN: 32 hexadecimal digits.
    pub fn task_id(&self) -> &str {
        self.task_arn.rsplit('/').next().unwrap_or_default()
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time that cannot be read is none: nothing but the order of things hangs on it.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()))
}

#[cfg(test)]
mod tests;
