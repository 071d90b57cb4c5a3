//! What tests and the demo put into the API.

use super::{CollisionStrategy, times};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The pool of deployments that name none.
pub const POOL: &str = "ecs-pool";

/// A work pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSpec {
    /// Default [`POOL`].
    pub name: String,
    /// Default `ecs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Null: the template that the real worker of Prefect 3 writes.
    pub base_job_template: Value,
    /// Whether it hands nothing out.
    pub is_paused: bool,
    /// So many of its runs may be Pending or Running.
    pub concurrency_limit: Option<i64>,
    /// Queues beside `default`.
    pub queues: Vec<QueueSpec>,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            name: POOL.to_owned(),
            kind: "ecs".to_owned(),
            base_job_template: Value::Null,
            is_paused: false,
            concurrency_limit: None,
            queues: Vec::new(),
        }
    }
}

/// A queue of a pool; one that exists is changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// The name.
    pub name: String,
    /// Default the first that is free.
    pub priority: Option<i64>,
    /// So many of its runs may be Pending or Running.
    pub concurrency_limit: Option<i64>,
    /// Whether it hands nothing out.
    pub is_paused: bool,
}

/// A deployment. Its flow, pool and queue are made where they are missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeploymentSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// Default `default`.
    pub name: String,
    /// The flow's name; default `hello`.
    pub flow: String,
    /// The pool's name; default [`POOL`].
    pub work_pool: String,
    /// The queue's name; default the pool's default queue.
    pub work_queue: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The job variables.
    pub job_variables: Map<String, Value>,
    /// The parameters.
    pub parameters: Map<String, Value>,
    /// The tags.
    pub tags: Vec<String>,
    /// At most so many of its runs at once; 0 lets none pass.
    pub concurrency_limit: Option<i64>,
    /// What becomes of a run that finds no slot.
    pub collision_strategy: Option<CollisionStrategy>,
    /// For how long a slot is held before the run is Running, seconds.
    pub grace_period_seconds: Option<i64>,
    /// When it was last changed, ISO 8601; default now.
    pub updated: Option<String>,
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self {
            id: None,
            name: "default".to_owned(),
            flow: "hello".to_owned(),
            work_pool: POOL.to_owned(),
            work_queue: None,
            version: None,
            job_variables: Map::new(),
            parameters: Map::new(),
            tags: Vec::new(),
            concurrency_limit: None,
            collision_strategy: None,
            grace_period_seconds: None,
            updated: None,
        }
    }
}

/// A flow run. Everything has a default: a run of the first deployment, Scheduled for now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// Default a made-up one.
    pub name: Option<String>,
    /// The deployment's id; default the first deployment, which is made if there is none.
    pub deployment: Option<String>,
    /// Without a deployment: the flow's name. The run then goes to the default queue of [`POOL`].
    pub flow: Option<String>,
    /// The queue's name; default the deployment's.
    pub work_queue: Option<String>,
    /// The job variables.
    pub job_variables: Map<String, Value>,
    /// The parameters.
    pub parameters: Map<String, Value>,
    /// The tags, beside the deployment's.
    pub tags: Vec<String>,
    /// The labels, beside the server's own.
    pub labels: Map<String, Value>,
    /// ISO 8601; default now plus `start_in_seconds`.
    pub start_time: Option<String>,
    /// May be negative.
    pub start_in_seconds: f64,
    /// The state, as in `set_state`, or its type alone; default Scheduled with the start time.
    pub state: Value,
    /// What a worker said it launched.
    pub infrastructure_pid: Option<String>,
    /// How often it went Running.
    pub run_count: Option<i64>,
    /// So many retries by Prefect itself.
    pub retries: Option<i64>,
    /// When it was created, ISO 8601; default now.
    pub created: Option<String>,
}

/// A block; its type is made if it is missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockSpec {
    /// UUID; default a new one.
    pub id: Option<String>,
    /// The type's slug, e.g. `secret`.
    pub block_type: String,
    /// The name.
    pub name: String,
    /// The data.
    pub data: Map<String, Value>,
    /// Of a new type: dotted paths of what is hidden unless secrets are asked for.
    pub secret_fields: Vec<String>,
}

pub(super) fn id_or_new(id: Option<&str>) -> Result<String, String> {
    id.map_or_else(|| Ok(times::new_id()), |id| times::uuid(id).ok_or_else(|| format!("no UUID: {id}")))
}

pub(super) fn time(text: &str) -> Result<time::OffsetDateTime, String> {
    times::parse(text).map(times::micros).ok_or_else(|| format!("no time: {text}"))
}
