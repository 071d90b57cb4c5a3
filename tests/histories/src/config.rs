//! What an agent is configured to, where Prefect knows it, and the runs that are scheduled for it.

use crate::call::Generation;
use crate::run::{Flavour, RunId};
use prefect_serverless_agent::config::{AgentConfig, Environment, LoadedAgent, Root, from_file};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;
use time::OffsetDateTime;
use world::prefect1::{API_KEY, Backend, FlowRunSpec, FlowSpec};
use world::prefect3::{DeploymentSpec, POOL, PoolSpec, RunSpec, ecs_template};
use world::route::Scope;
use world::ssm::Put;

/// The agent's name.
pub const AGENT: &str = "etl";

/// What its claims are marked with.
pub const MARKED_AS: &str = "/psa/etl";

/// How far ahead due runs are looked for.
pub const PREFETCH: Duration = Duration::from_mins(1);

/// One of our claims without a task after this long is finished.
pub const ORPHAN_AFTER: Duration = Duration::from_mins(2);

/// A cancelled flow that runs gets this long to end by itself.
pub const CANCEL_GRACE: Duration = Duration::from_secs(90);

/// Launches of one run before it fails with the whole story.
pub const MAX_LAUNCH_ATTEMPTS: u32 = 5;

/// Where everything is.
pub const REGION: &str = "eu-west-1";

/// The deployment of Prefect 3.
pub const DEPLOYMENT: &str = "00000000-0000-4000-9000-000000000001";

/// The role that pulls images and writes logs.
const EXECUTION_ROLE: &str = "arn:aws:iam::123456789012:role/execution";

/// What an agent is configured to. A warm process keeps an older one for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the cluster.
    pub cluster: String,
    /// Tag of the image: another one with every change.
    pub image: u32,
    /// Fargate Spot is asked for.
    pub spot: bool,
    /// The network of the default VPC is used.
    pub infer_network: bool,
    /// Prefect Cloud, not a Prefect Server (Prefect 1).
    pub cloud: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { cluster: "blue".into(), image: 1, spot: false, infer_network: true, cloud: false }
    }
}

/// The account and region of everything.
pub fn scope() -> Scope {
    Scope { region: REGION.to_owned(), ..Scope::default() }
}

/// The root of all parameters.
pub fn root() -> Root {
    Root::new("psa")
}

/// The environment of the functions. `cloud`: with the key for Prefect Cloud.
pub fn environment(cloud: bool) -> Environment {
    let set = [
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAHISTORIES000001"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("PREFECT__CLOUD__API_KEY", API_KEY),
    ];
    let set = if cloud { &set[..] } else { &set[..3] };
    set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

thread_local! {
    /// Configurations that were read: there are few, and many processes read them.
    static READ: RefCell<HashMap<String, LoadedAgent>> = RefCell::default();
}

impl Config {
    /// The agent as a process of `poll` loads it.
    pub fn loaded(&self, generation: Generation, launch_rate: Option<f64>) -> LoadedAgent {
        let text = self.text(generation, launch_rate);
        if let Some(read) = READ.with_borrow(|read| read.get(&text).cloned()) {
            return read;
        }
        let from_file = from_file(&text, "agent.yaml", &environment(generation == Generation::One && self.cloud));
        let result = from_file.result.map(|(config, secrets)| (AgentConfig { agent: AGENT.into(), ..config }, secrets));
        let arn = Some(scope().arn("ssm", &format!("parameter/psa/config/{AGENT}")));
        let read = LoadedAgent { agent: AGENT.into(), arn, result, ..from_file };
        READ.with_borrow_mut(|all| all.insert(text, read.clone()));
        read
    }

    /// The agent's parameter.
    fn text(&self, generation: Generation, launch_rate: Option<f64>) -> String {
        let rate = launch_rate.map_or("null".to_owned(), |rate| rate.to_string());
        let own = match generation {
            Generation::One => self.of_prefect1(),
            Generation::Three => format!(
                "prefect: 3\napi: http://prefect/prefect3/api\nwork_pool: ecs-pool\ncancel_grace_seconds: {}\n",
                CANCEL_GRACE.as_secs()
            ),
        };
        format!(
            "name: {AGENT}\nlaunch_rate: {rate}\napi_key_delivery: environment\nprefetch_seconds: {}\norphan_after_seconds: {}\n\
             max_launch_attempts: {MAX_LAUNCH_ATTEMPTS}\n{own}",
            PREFETCH.as_secs(),
            ORPHAN_AFTER.as_secs(),
        )
    }

    fn of_prefect1(&self) -> String {
        let backend = if self.cloud { "cloud" } else { "server" };
        let mut text = format!(
            "prefect: 1\nbackend: {backend}\napi: http://prefect/prefect1\nexecution_role_arn: {EXECUTION_ROLE}\ncluster: {}\n",
            self.cluster
        );
        let definition = json!({
            "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "flow", "image": self.image(), "logConfiguration": log_configuration()}],
        });
        let mut kwargs = Map::new();
        // As Prefect's agent: with a strategy of its own there is no launch type to infer a network for.
        if !self.infer_network || self.spot {
            let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-default-a"]}});
            kwargs.insert("networkConfiguration".into(), network);
        }
        if self.spot {
            kwargs.insert("capacityProviderStrategy".into(), spot());
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "task_definition: {definition}\nrun_task_kwargs: {}\n", Value::Object(kwargs));
        text
    }

    fn image(&self) -> String {
        format!("image:{}", self.image)
    }

    /// The work pool's template, which holds what an agent of Prefect 3 launches with.
    fn template(&self) -> Value {
        static TEMPLATE: LazyLock<Value> = LazyLock::new(|| without_descriptions(ecs_template()));
        let mut template = TEMPLATE.clone();
        let variables = &mut template["variables"]["properties"];
        variables["cluster"]["default"] = json!(self.cluster);
        variables["image"]["default"] = json!(self.image());
        variables["configure_cloudwatch_logs"]["default"] = json!(true);
        variables["execution_role_arn"]["default"] = json!(EXECUTION_ROLE);
        if self.spot {
            variables["launch_type"]["default"] = json!("FARGATE_SPOT");
        }
        if !self.infer_network {
            variables["vpc_id"]["default"] = json!("vpc-default");
        }
        template
    }

    /// Writes the agent's parameter, which the function `task-events` reads.
    fn write(&self, state: &mut world::State, generation: Generation) {
        let (name, value) = (format!("/psa/config/{AGENT}"), self.text(generation, None));
        let put = Put { name: &name, value: &value, kind: Some("String"), tier: None, overwrite: true };
        let now = state.now();
        let written = state.ssm.put(&scope(), &put, now);
        debug_assert!(written.is_ok(), "{written:?}");
    }

    /// Everything but flow runs is where it belongs.
    pub fn install(&self, fakes: &world::World, generation: Generation, limit: Option<usize>, now: OffsetDateTime) {
        let mut state = fakes.lock();
        state.told_time = Some(now);
        self.write(&mut state, generation);
        for cluster in ["blue", "green"] {
            state.ecs.create_cluster(&scope(), cluster);
        }
        if generation == Generation::One {
            state.prefect1.switches.backend = if self.cloud { Backend::Cloud } else { Backend::Server };
            state.prefect1.switches.flow_concurrency = limit;
            return;
        }
        drop(state);
        fakes.prefect3_pool(PoolSpec { base_job_template: self.template(), ..PoolSpec::default() });
        let (id, concurrency_limit) = (Some(DEPLOYMENT.to_owned()), limit.and_then(|limit| i64::try_from(limit).ok()));
        fakes.prefect3_deployment(DeploymentSpec { id, concurrency_limit, ..DeploymentSpec::default() });
        fakes.prefect3(|prefect3| prefect3.switches.services = false);
    }

    /// Somebody has changed the configuration.
    pub fn reconfigure(&self, fakes: &world::World, generation: Generation) {
        self.write(&mut fakes.lock(), generation);
        if generation == Generation::Three {
            let template = self.template().as_object().cloned().unwrap_or_default();
            fakes.prefect3(|prefect3| {
                for pool in prefect3.work_pools.iter_mut().filter(|pool| pool.name == POOL) {
                    pool.base_job_template.clone_from(&template);
                }
            });
        }
    }
}

/// Leaves out what is for people: most of the template's length, which every poll reads.
fn without_descriptions(schema: Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(key, value)| !(key == "description" && value.is_string()));
            kept.map(|(key, value)| (key, without_descriptions(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_descriptions).collect(),
        other => other,
    }
}

fn spot() -> Value {
    json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}])
}

fn log_configuration() -> Value {
    json!({
        "logDriver": "awslogs",
        "options": {"awslogs-group": "flows", "awslogs-region": REGION, "awslogs-stream-prefix": "a"},
    })
}

/// Schedules a flow run.
pub fn schedule(fakes: &world::World, generation: Generation, run: RunId, flavour: Flavour, after: time::Duration) {
    let (id, start_in_seconds) = (Some(run.to_string()), after.as_seconds_f64());
    match generation {
        Generation::One => {
            let kind = if flavour == Flavour::Unrenderable { "KubernetesRun" } else { "ECSRun" };
            let mut run_config = json!({"type": kind, "labels": [], "__version__": "1.4.1"});
            if flavour == Flavour::Unlaunchable {
                run_config["cpu"] = json!("7");
            }
            let flow = FlowSpec::default();
            fakes.create_flow_run(FlowRunSpec { id, start_in_seconds, run_config, flow, ..FlowRunSpec::default() });
        }
        Generation::Three => {
            let job_variables = match flavour {
                Flavour::Unrenderable => json!({"cpu": "lots"}),
                Flavour::Unlaunchable => json!({"cpu": 7, "memory": 512}),
                _ => json!({}),
            };
            let job_variables = job_variables.as_object().cloned().unwrap_or_default();
            let deployment = match flavour {
                Flavour::Gone => fakes.prefect3_deployment(DeploymentSpec::default()),
                _ => DEPLOYMENT.to_owned(),
            };
            let of = Some(deployment.clone());
            fakes.prefect3_run(RunSpec { id, start_in_seconds, job_variables, deployment: of, ..RunSpec::default() });
            if flavour == Flavour::Gone {
                fakes.prefect3_forget_deployment(&deployment);
            }
        }
    }
}
