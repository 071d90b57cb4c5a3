//! A task, and how the API describes it.

use super::Definition;
use crate::{route::Scope, world::epoch_seconds};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// A task, running or stopped.
#[derive(Clone, Debug)]
pub struct Task {
    /// `taskArn`
    pub arn: String,
    /// `clusterArn`
    pub cluster_arn: String,
    /// `taskDefinitionArn`
    pub definition_arn: String,
    /// `startedBy`
    pub started_by: Option<String>,
    /// `clientToken` of its `RunTask`.
    pub client_token: Option<String>,
    /// Its whole `RunTask`.
    pub request: Value,
    /// `lastStatus`: `PROVISIONING`, `PENDING`, `RUNNING`, `DEACTIVATING`, `STOPPING`, `DEPROVISIONING` or `STOPPED`.
    pub last_status: String,
    /// `desiredStatus`: `RUNNING` or `STOPPED`.
    pub desired_status: String,
    /// `stopCode`, e.g. `EssentialContainerExited`.
    pub stop_code: Option<String>,
    /// `stoppedReason`
    pub stopped_reason: Option<String>,
    /// `tags`: objects with `key` and `value`.
    pub tags: Vec<Value>,
    /// `containers`
    pub containers: Vec<Container>,
    /// `version`: grows with every change.
    pub version: u64,
    /// `createdAt`
    pub created_at: OffsetDateTime,
    /// `pullStartedAt`: when it came to be `PENDING`.
    pub pull_started_at: Option<OffsetDateTime>,
    /// `pullStoppedAt`: when it came from there to `RUNNING`.
    pub pull_stopped_at: Option<OffsetDateTime>,
    /// `startedAt`: when it came to be `RUNNING`.
    pub started_at: Option<OffsetDateTime>,
    /// `stoppedAt`
    pub stopped_at: Option<OffsetDateTime>,
    /// When it last changed.
    pub changed_at: OffsetDateTime,
    /// From when on `ListTasks` shows it.
    pub listed_from: OffsetDateTime,
    /// From when on `DescribeTasks` shows it.
    pub described_from: OffsetDateTime,
    /// The fields that never change.
    pub(super) fixed: Map<String, Value>,
    pub(super) scope: Scope,
    /// What the container's process wrote, when containers are run: the last 64 KiB of standard output and error.
    pub output: String,
}

/// A container of a task.
#[derive(Clone, Debug)]
pub struct Container {
    /// `name`
    pub name: String,
    /// `image`
    pub image: Value,
    /// `exitCode`, once it ended.
    pub exit_code: Option<i64>,
    /// `reason`, e.g. `OutOfMemoryError: Container killed due to memory usage`.
    pub reason: Option<String>,
}

impl Task {
    /// A task that was just accepted.
    pub(super) fn new(
        scope: &Scope,
        cluster_arn: &str,
        definition: &Definition,
        request: &Value,
        now: OffsetDateTime,
    ) -> Self {
        let cluster = cluster_arn.rsplit('/').next().unwrap_or_default();
        let arn = scope.arn("ecs", &format!("task/{cluster}/{}", crate::ids::uuid().simple()));
        let containers = definition.containers().iter().map(|container| Container {
            name: container["name"].as_str().unwrap_or_default().to_owned(),
            image: container["image"].clone(),
            exit_code: None,
            reason: None,
        });
        Self {
            arn,
            cluster_arn: cluster_arn.to_owned(),
            definition_arn: definition.arn.clone(),
            started_by: request["startedBy"].as_str().map(str::to_owned),
            client_token: request["clientToken"].as_str().map(str::to_owned),
            request: request.clone(),
            last_status: "PROVISIONING".to_owned(),
            desired_status: "RUNNING".to_owned(),
            stop_code: None,
            stopped_reason: None,
            tags: tags(definition, request),
            containers: containers.collect(),
            version: 1,
            created_at: now,
            pull_started_at: None,
            pull_stopped_at: None,
            started_at: None,
            stopped_at: None,
            changed_at: now,
            listed_from: now,
            described_from: now,
            fixed: fixed(definition, request),
            scope: scope.clone(),
            output: String::new(),
        }
    }

    /// As `DescribeTasks` gives it.
    pub fn describe(&self, with_tags: bool) -> Value {
        let mut described = self.fixed.clone();
        let mut set = |key: &str, value: Value| {
            if !value.is_null() {
                described.insert(key.to_owned(), value);
            }
        };
        set("taskArn", json!(self.arn));
        set("clusterArn", json!(self.cluster_arn));
        set("taskDefinitionArn", json!(self.definition_arn));
        set("startedBy", json!(self.started_by));
        set("lastStatus", json!(self.last_status));
        set("desiredStatus", json!(self.desired_status));
        set("stopCode", json!(self.stop_code));
        set("stoppedReason", json!(self.stopped_reason));
        set("version", json!(self.version));
        set("createdAt", json!(epoch_seconds(self.created_at)));
        set("pullStartedAt", json!(self.pull_started_at.map(epoch_seconds)));
        set("pullStoppedAt", json!(self.pull_stopped_at.map(epoch_seconds)));
        set("startedAt", json!(self.started_at.map(epoch_seconds)));
        set("stoppedAt", json!(self.stopped_at.map(epoch_seconds)));
        set("containers", self.containers.iter().map(|container| self.describe_container(container)).collect());
        set("tags", if with_tags { json!(self.tags) } else { json!([]) });
        Value::Object(described)
    }

    fn describe_container(&self, container: &Container) -> Value {
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{}/{}", self.arn, container.name).as_bytes());
        let mut described = json!({
            "containerArn": self.scope.arn("ecs", &format!("container/{id}")),
            "taskArn": self.arn,
            "name": container.name,
            "image": container.image,
            "lastStatus": if self.last_status == "PROVISIONING" { "PENDING" } else { self.last_status.as_str() },
            "networkInterfaces": [],
            "cpu": "0",
        });
        if let Some(exit_code) = container.exit_code {
            described["exitCode"] = json!(exit_code);
        }
        if let Some(reason) = &container.reason {
            described["reason"] = json!(reason);
        }
        described
    }

    pub(super) fn is_described(&self, now: OffsetDateTime) -> bool {
        self.described_from <= now && !self.is_forgotten(now)
    }

    /// Whether ECS has forgotten it: an hour after it stopped.
    pub(super) fn is_forgotten(&self, now: OffsetDateTime) -> bool {
        self.stopped_at.is_some_and(|stopped| now >= stopped + time::Duration::hours(1))
    }
}

/// The request's tags, and the definition's where the request propagates them and does not set the same key.
fn tags(definition: &Definition, request: &Value) -> Vec<Value> {
    let mut tags = request["tags"].as_array().cloned().unwrap_or_default();
    if request["propagateTags"] == "TASK_DEFINITION" {
        for tag in &definition.tags {
            if !tags.iter().any(|own| own["key"] == tag["key"]) {
                tags.push(tag.clone());
            }
        }
    }
    tags
}

fn fixed(definition: &Definition, request: &Value) -> Map<String, Value> {
    let overrides = &request["overrides"];
    let mut fixed = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            fixed.insert(key.to_owned(), value);
        }
    };
    let provider = &request["capacityProviderStrategy"][0]["capacityProvider"];
    let launch_type = match (request["launchType"].as_str(), provider.as_str()) {
        (Some(launch_type), _) => launch_type,
        (None, Some("FARGATE" | "FARGATE_SPOT")) => "FARGATE",
        _ => "EC2",
    };
    let size =
        |key: &str| overrides[key].as_str().map_or_else(|| definition.description[key].clone(), |size| json!(size));
    let group = request["group"].as_str().map_or_else(|| format!("family:{}", definition.family), str::to_owned);
    set("group", json!(group));
    set("launchType", json!(launch_type));
    set("capacityProviderName", provider.clone());
    set("cpu", size("cpu"));
    set("memory", size("memory"));
    if launch_type == "FARGATE" {
        set(
            "platformVersion",
            json!(request["platformVersion"].as_str().filter(|version| *version != "LATEST").unwrap_or("1.4.0")),
        );
        set("platformFamily", json!("Linux"));
        set("ephemeralStorage", json!({"sizeInGiB": 20}));
    }
    set("enableExecuteCommand", json!(request["enableExecuteCommand"].as_bool().unwrap_or(false)));
    set("attributes", json!([{"name": "ecs.cpu-architecture", "value": "x86_64"}]));
    set("attachments", attachments(request));
    let mut echoed = overrides.as_object().cloned().unwrap_or_default();
    echoed.entry("containerOverrides").or_insert_with(|| json!([]));
    echoed.entry("inferenceAcceleratorOverrides").or_insert_with(|| json!([]));
    set("overrides", Value::Object(echoed));
    fixed
}

fn attachments(request: &Value) -> Value {
    let subnet = &request["networkConfiguration"]["awsvpcConfiguration"]["subnets"][0];
    if subnet.is_null() {
        return json!([]);
    }
    json!([{
        "id": crate::ids::uuid().to_string(),
        "type": "ElasticNetworkInterface",
        "status": "PRECREATED",
        "details": [{"name": "subnetId", "value": subnet}],
    }])
}
