//! Deployments.

use super::{Prefect3, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// A deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it was last changed; part of the tags that its tasks get.
    pub updated: OffsetDateTime,
    /// Its name, which no other deployment of the flow has.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The flow.
    pub flow_id: String,
    /// Whether its schedules are paused.
    pub paused: bool,
    /// At most so many of its runs at once.
    pub limit: Option<Limit>,
    /// What becomes of a run that finds no slot.
    pub collision_strategy: Option<CollisionStrategy>,
    /// For how long a slot is held before the run is Running, seconds.
    pub grace_period_seconds: Option<i64>,
    /// Overrides of the pool's job template.
    pub job_variables: Map<String, Value>,
    /// The parameters.
    pub parameters: Map<String, Value>,
    /// The tags.
    pub tags: Vec<String>,
    /// The labels.
    pub labels: Map<String, Value>,
    /// The queue's name, where it was asked for by name.
    pub work_queue_name: Option<String>,
    /// The queue that its runs go to.
    pub work_queue_id: Option<String>,
    /// When its queue was last asked for runs.
    pub last_polled: Option<OffsetDateTime>,
    /// How it stands.
    pub status: Status,
    /// `path`, `entrypoint`, `pull_steps`, `parameter_openapi_schema` and `enforce_parameter_schema`, as given.
    pub rest: Map<String, Value>,
}

/// A deployment's concurrency limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Whether it is enforced.
    pub active: bool,
    /// So many slots; 0 lets no run pass.
    pub limit: i64,
    /// So many are taken.
    pub active_slots: i64,
}

/// What becomes of a run that finds no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CollisionStrategy {
    /// It waits.
    Enqueue,
    /// It is cancelled.
    CancelNew,
}

/// What Prefect 2 does not have of a deployment's row. It calls the job variables `infra_overrides`, in answers.
const LATER: [&str; 6] = [
    "labels",
    "concurrency_limit",
    "global_concurrency_limit",
    "concurrency_options",
    "work_queue_id",
    "job_variables",
];

/// The row as Prefect 2 answers it.
fn aged(mut row: Value, deployment: &Deployment) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.retain(|key, _| !LATER.contains(&key.as_str()));
    }
    row["infra_overrides"] = json!(deployment.job_variables);
    row["schedule"] = Value::Null;
    row["is_schedule_active"] = json!(true);
    row["manifest_path"] = Value::Null;
    for (key, default) in [
        ("pull_steps", Value::Null),
        ("parameter_openapi_schema", Value::Null),
        ("enforce_parameter_schema", json!(false)),
    ] {
        row[key] = deployment.rest.get(key).cloned().unwrap_or(default);
    }
    row
}

impl Prefect3 {
    /// A deployment's row.
    pub(super) fn deployment_row(&self, deployment: &Deployment) -> Value {
        let place = self.queue_and_pool(deployment.work_queue_id.as_deref());
        let queue_name = place.map_or(deployment.work_queue_name.as_deref(), |(queue, _)| Some(queue.name.as_str()));
        let strategy = deployment.collision_strategy;
        let options = strategy.map(
            |strategy| json!({"collision_strategy": strategy, "grace_period_seconds": deployment.grace_period_seconds}),
        );
        let rest = |key: &str, default: Value| deployment.rest.get(key).cloned().unwrap_or(default);
        let row = json!({
            "id": deployment.id,
            "created": self.show(deployment.created),
            "updated": self.show(deployment.updated),
            "name": deployment.name,
            "version": deployment.version,
            "description": deployment.description,
            "flow_id": deployment.flow_id,
            "paused": deployment.paused,
            "schedules": [],
            "concurrency_limit": null,
            "global_concurrency_limit": deployment.limit.as_ref().map(|limit| self.limit_row(deployment, limit)),
            "concurrency_options": options,
            "job_variables": deployment.job_variables,
            "parameters": deployment.parameters,
            "tags": deployment.tags,
            "labels": deployment.labels,
            "work_queue_name": queue_name,
            "work_queue_id": deployment.work_queue_id,
            "last_polled": self.show_some(deployment.last_polled),
            "parameter_openapi_schema": rest("parameter_openapi_schema", json!({})),
            "path": rest("path", Value::Null),
            "pull_steps": rest("pull_steps", json!([])),
            "entrypoint": rest("entrypoint", Value::Null),
            "storage_document_id": null,
            "infrastructure_document_id": null,
            "created_by": null,
            "updated_by": null,
            "work_pool_name": place.map(|(_, pool)| pool.name.as_str()),
            "status": deployment.status,
            "enforce_parameter_schema": rest("enforce_parameter_schema", json!(true)),
        });
        if self.switches.generation.is_two() { aged(row, deployment) } else { row }
    }

    /// The row of a deployment's limit.
    pub(super) fn limit_row(&self, deployment: &Deployment, limit: &Limit) -> Value {
        json!({
            "id": limit.id,
            "created": self.show(limit.created),
            "updated": self.show(limit.created),
            "active": limit.active,
            "name": format!("deployment:{}", deployment.id),
            "limit": limit.limit,
            "active_slots": limit.active_slots,
            "slot_decay_per_second": 0.0,
        })
    }
}
