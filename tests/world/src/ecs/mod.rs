//! Elastic Container Service: task definitions, tasks and their lives, client tokens as documented.

mod containers;
mod definitions;
mod event;
mod fargate;
mod flow_run;
mod lifecycle;
mod listing;
mod logging;
mod network;
mod older;
mod register;
mod run_task;
mod services;
mod task;
#[cfg(test)]
mod tests;
mod tokens;
mod validate;

pub use containers::ContainerOptions;
pub use definitions::Definition;
pub use lifecycle::Stop;
pub use services::Service;
pub use task::Task;

use crate::{
    World,
    answer::{ServiceError, aws_json},
    route::Scope,
};
use axum::{body::Bytes, response::Response};
use containers::Processes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokens::Tokens;

/// All clusters, task definitions and tasks of all accounts and regions.
#[derive(Default)]
pub struct Ecs {
    /// What behaves how.
    pub options: Options,
    /// Task definitions, in the order of registration.
    pub definitions: Vec<Definition>,
    /// Tasks, in the order of starting, the stopped ones included.
    pub tasks: Vec<Task>,
    /// Services, in the order of their making.
    pub services: Vec<Service>,
    /// Refusals that wait for their `RunTask`.
    pub refusals: Vec<Refusal>,
    /// States of clusters that are not `ACTIVE`, by ARN, as they are described.
    pub cluster_states: BTreeMap<String, String>,
    /// Capacity providers of clusters, by ARN, as they are described.
    pub attached: BTreeMap<String, Vec<String>>,
    clusters: BTreeSet<String>,
    tokens: Tokens,
    registering: HashMap<String, usize>,
    revisions: HashMap<String, u64>,
    buckets: HashMap<&'static str, Bucket>,
    processes: Processes,
}

/// What behaves how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "these are switches, each for itself")]
pub struct Options {
    /// Whether `clientToken` is honoured.
    pub client_tokens: bool,
    /// Whether a token also remembers an answer that started no task. Nobody documents it; AWS says no.
    pub tokens_remember_refusals: bool,
    /// Whether two registrations of one family in flight at once refuse each other.
    pub refuse_concurrent_registrations: bool,
    /// How long a registration takes, in milliseconds, beside the world's latency.
    pub registration_ms: u64,
    /// Whether a description gives `environment` in another order than it was registered in.
    pub reorder_environment: bool,
    /// `RunTask` calls per second, also the burst; none: unlimited.
    pub run_task_rate: Option<f64>,
    /// `RegisterTaskDefinition` calls per second, with a burst of 20; none: unlimited.
    pub register_rate: Option<f64>,
    /// Names of capacity providers that exist; none: every name does.
    pub capacity_providers: Option<Vec<String>>,
    /// Whether `ListTasks` takes `desiredStatus: STOPPED` beside `startedBy`. AWS's documentation says that `startedBy`
    /// must be the only filter; public code sends both.
    pub lists_stopped_by_started_by: bool,
    /// For what there is no capacity: the exception that says so.
    pub shortage: Option<Shortage>,
    /// Whether a replay of a token describes the task as it is now, and not as it was when it was started.
    pub replays_describe_now: bool,
    /// Whether a task that is told to stop stops only when somebody says so; else it stops at once.
    pub stops_later: bool,
    /// How tasks live by themselves; none: they stay `PROVISIONING` until a test says otherwise.
    pub lifecycle: Option<Lifecycle>,
    /// Whether tasks that live by themselves take their Prefect 3 flow runs along: Running when they are, Completed
    /// before they stop. A task whose run was cancelled stops at once.
    pub flow_runs: bool,
    /// Runs the containers' commands as local processes; takes the place of `lifecycle`.
    pub containers: Option<ContainerOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_tokens: true,
            tokens_remember_refusals: false,
            refuse_concurrent_registrations: true,
            registration_ms: 0,
            reorder_environment: true,
            run_task_rate: None,
            register_rate: None,
            capacity_providers: None,
            lists_stopped_by_started_by: true,
            shortage: None,
            replays_describe_now: false,
            stops_later: false,
            lifecycle: None,
            flow_runs: false,
            containers: None,
        }
    }
}

/// For what there is no capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// For everything.
    All,
    /// For Fargate Spot.
    Spot,
}

/// How tasks live by themselves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Milliseconds from starting to `PENDING`, and again to `RUNNING`.
    pub step_ms: u64,
    /// Milliseconds from `RUNNING` to `STOPPED` with exit code 0; none: for ever.
    pub run_ms: Option<u64>,
}

/// A `RunTask` that answers `failures[]` instead of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// `reason`, e.g. `RESOURCE:MEMORY`.
    pub reason: String,
    /// `detail`
    #[serde(default)]
    pub detail: Option<String>,
    /// Only requests whose body contains this.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// So many requests are refused.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// A token bucket.
struct Bucket {
    tokens: f64,
    at: time::OffsetDateTime,
}

impl Ecs {
    /// Takes one token of a bucket, or refuses as AWS throttles.
    fn throttle(
        &mut self,
        name: &'static str,
        rate: Option<f64>,
        burst: f64,
        now: time::OffsetDateTime,
    ) -> Result<(), ServiceError> {
        let Some(rate) = rate else { return Ok(()) };
        let bucket = self.buckets.entry(name).or_insert(Bucket { tokens: burst, at: now });
        bucket.tokens = ((now - bucket.at).as_seconds_f64().mul_add(rate, bucket.tokens)).min(burst);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(ServiceError::new("ThrottlingException", "Rate exceeded"));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Makes a cluster in the account and region of `scope`; its ARN.
    pub fn create_cluster(&mut self, scope: &Scope, name: &str) -> String {
        let arn = scope.arn("ecs", &format!("cluster/{name}"));
        self.clusters.insert(arn.clone());
        arn
    }

    /// The ARN of a cluster given by name, ARN or nothing; `default` always exists.
    fn cluster(&self, scope: &Scope, input: &Value) -> Result<String, ServiceError> {
        let wanted = input["cluster"].as_str().filter(|name| !name.is_empty()).unwrap_or("default");
        let arn =
            if wanted.starts_with("arn:") { wanted.to_owned() } else { scope.arn("ecs", &format!("cluster/{wanted}")) };
        if arn == scope.arn("ecs", "cluster/default") || self.clusters.contains(&arn) {
            return Ok(arn);
        }
        Err(ServiceError::new("ClusterNotFoundException", "Cluster not found."))
    }
}

impl World {
    /// Makes a cluster in the world's own account and region; its ARN.
    pub fn ecs_cluster(&self, name: &str) -> String {
        self.lock().ecs.create_cluster(&Scope::default(), name)
    }

    /// Refuses the next `RunTask` calls with an entry of `failures[]`.
    pub fn ecs_refuse(&self, refusal: Refusal) {
        self.lock().ecs.refusals.push(refusal);
    }

    /// All tasks so far, oldest first.
    pub fn ecs_tasks(&self) -> Vec<Task> {
        self.lock().ecs.tasks.clone()
    }

    /// Ends the processes of all containers.
    pub fn ecs_end_processes(&self) {
        self.lock().ecs.processes.end_all();
    }
}

/// Held until a registration's answer is sent, as long as the family counts as being registered.
#[derive(Clone)]
pub(crate) struct Registering(#[allow(dead_code, reason = "dropping it is its purpose")] Arc<RegisteringFamily>);

struct RegisteringFamily {
    world: World,
    key: String,
}

impl Drop for RegisteringFamily {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        if let Some(count) = state.ecs.registering.get_mut(&self.key) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Answers one request at once: a registration takes no time, and none is under way beside it.
pub(crate) fn answer(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let Ok(input) = serde_json::from_slice::<Value>(body) else {
        return aws_json(Err(ServiceError::new("SerializationException", "")));
    };
    match operation {
        "RunTask" => aws_json(run_task::run_task(world, scope, &input, &String::from_utf8_lossy(body))),
        "RegisterTaskDefinition" => aws_json(register::store(world, scope, &input)),
        _ => aws_json(perform(world, scope, operation, &input)),
    }
}

/// Answers one request.
pub async fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let Ok(input) = serde_json::from_slice::<Value>(body) else {
        return aws_json(Err(ServiceError::new("SerializationException", "")));
    };
    match operation {
        "RunTask" => aws_json(run_task::run_task(world, scope, &input, &String::from_utf8_lossy(body))),
        "RegisterTaskDefinition" => {
            let (result, registering) = register::register(world, scope, &input).await;
            let mut response = aws_json(result);
            response.extensions_mut().insert(registering);
            response
        }
        _ => aws_json(perform(world, scope, operation, &input)),
    }
}

fn perform(world: &World, scope: &Scope, operation: &str, input: &Value) -> Result<Value, ServiceError> {
    let mut state = world.lock();
    let now = state.now();
    let ecs = &mut state.ecs;
    match operation {
        "DescribeTaskDefinition" => ecs.describe_definition(scope, input),
        "ListTaskDefinitions" => ecs.list_definitions(scope, input),
        "DeregisterTaskDefinition" => ecs.deregister(scope, input, now),
        "DescribeTasks" => ecs.describe_tasks(scope, input, now),
        "ListTasks" => ecs.list_tasks(scope, input, now),
        "StopTask" => {
            let answer = ecs.stop_task(scope, input, now)?;
            drop(state);
            world.notify();
            Ok(answer)
        }
        "TagResource" => ecs.tag_resource(input),
        "CreateCluster" => {
            let name = input["clusterName"].as_str().unwrap_or("default");
            let arn = ecs.create_cluster(scope, name);
            Ok(json!({"cluster": {"clusterArn": arn, "clusterName": name, "status": "ACTIVE"}}))
        }
        "CreateService" => ecs.create_service(scope, input, now),
        "DescribeServices" => ecs.describe_services(scope, input),
        "DescribeClusters" => Ok(ecs.describe_clusters(scope, input)),
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    }
}
