//! What an agent is configured to, where Prefect knows it, and the runs that are scheduled for it.

use crate::call::Generation;
use crate::process::AGENT;
use crate::run::{Flavour, RunId};
use prefect_serverless_agent::config::{AgentConfig, AgentSecrets, Environment, from_file};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use time::OffsetDateTime;
use world::prefect1::{API_KEY, Backend, FlowRunSpec, FlowSpec};
use world::prefect3::{DeploymentSpec, POOL, PoolSpec, RunSpec, ecs_template};
use world::route::Scope;

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

/// The environment of the functions.
pub fn environment() -> Environment {
    let set =
        [("AWS_REGION", REGION), ("AWS_ACCESS_KEY_ID", "AKIAHISTORIES000001"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

thread_local! {
    /// Configurations that were read: there are few, and many processes read them.
    static READ: RefCell<HashMap<String, (AgentConfig, AgentSecrets)>> = RefCell::default();
}

impl Config {
    /// The agent's configuration, as its process reads it.
    pub fn of_agent(
        &self,
        generation: Generation,
        launch_rate: Option<f64>,
    ) -> Result<(AgentConfig, AgentSecrets), String> {
        let rate = launch_rate.map_or("null".to_owned(), |rate| rate.to_string());
        let mut text = format!("name: {AGENT}\nlaunch_rate: {rate}\napi_key_delivery: environment\n");
        let own = match generation {
            Generation::One => self.of_prefect1(),
            Generation::Three => "prefect: 3\napi: http://prefect/prefect3/api\nwork_pool: ecs-pool\n".to_owned(),
        };
        text.push_str(&own);
        let mut environment = Environment::new();
        if generation == Generation::One && self.cloud {
            environment.insert("PREFECT__CLOUD__API_KEY".into(), API_KEY.into());
        }
        if let Some(read) = READ.with_borrow(|read| read.get(&text).cloned()) {
            return Ok(read);
        }
        let loaded = from_file(&text, "agent.yaml", &environment).result.map_err(|errors| errors.to_string())?;
        let read = (AgentConfig { agent: AGENT.to_owned(), ..loaded.0 }, loaded.1);
        READ.with_borrow_mut(|all| all.insert(text, read.clone()));
        Ok(read)
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
        let mut template = ecs_template();
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

    /// Everything but flow runs is where it belongs.
    pub fn install(&self, fakes: &world::World, generation: Generation, limit: Option<usize>, now: OffsetDateTime) {
        let mut state = fakes.lock();
        state.told_time = Some(now);
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
