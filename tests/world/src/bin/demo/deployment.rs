//! The local world, and a deployment of three agents in it.

use crate::{Error, flow, runs::Seed};
use axum::body::Bytes;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use world::{
    LambdaOptions, LambdaProcess, RunningWorld, World, ecs,
    ecs::ContainerOptions,
    prefect1::{API_KEY, Backend},
    route::Scope,
};

/// Parameter root of the deployment.
const ROOT: &str = "/prefect-serverless-agent/demo";
/// What a poke without IAM must show.
pub(crate) const POKE_TOKEN: &str = "demo-poke-token";

/// The local world, and a deployment in it.
pub(crate) struct Deployment {
    /// AWS, and Prefect Cloud.
    pub(crate) cloud: RunningWorld,
    /// Somebody's own Prefect Server.
    pub(crate) server: RunningWorld,
    lambda: PathBuf,
    // Dropped last: the containers run programs from there.
    programs: Programs,
}

/// A directory with the programs that the containers run. Dropping it removes it.
struct Programs(PathBuf);

impl Programs {
    fn new() -> Result<Self, Error> {
        let place = std::env::temp_dir().join(format!("prefect-serverless-agent-demo-{}", std::process::id()));
        std::fs::create_dir(&place)?;
        let programs = Self(place);
        std::os::unix::fs::symlink(std::env::current_exe()?, programs.0.join(flow::NAME))?;
        Ok(programs)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("demo: {} cannot be removed: {error}", self.0.display());
        }
    }
}

impl Deployment {
    /// The world with everything but flow runs.
    pub(crate) async fn new(lambda: &Path) -> Result<Self, Error> {
        if !lambda.is_file() {
            return Err(format!("there is no {}: build it, or name another with --lambda", lambda.display()).into());
        }
        let programs = Programs::new()?;
        let (cloud, server) = (World::start().await, World::start().await);
        server.prefect1(|prefect1| prefect1.switches.backend = Backend::Server);
        cloud.ecs_cluster("flows");
        cloud.lock().lambda.functions = vec!["world-poll".to_owned()];
        register_mine(&cloud).await?;
        let deployment = Self { cloud, server, lambda: lambda.to_owned(), programs };
        deployment.configure();
        let defaults = ContainerOptions::default();
        deployment.run_in_containers(deployment.home(), defaults.at_once, Duration::from_secs(10));
        Ok(deployment)
    }

    /// What containers find as their home.
    pub(crate) fn home(&self) -> &Path {
        &self.programs.0
    }

    /// From now on containers run the programs of this folder, so many at once and none for longer than `limit`.
    pub(crate) fn run_in_containers(&self, programs: &Path, at_once: usize, limit: Duration) {
        let defaults = ContainerOptions::default();
        let path = defaults.base_env.get("PATH").map(String::as_str).unwrap_or_default();
        let base_env = BTreeMap::from([
            ("PATH".to_owned(), format!("{}:{path}", programs.display())),
            ("HOME".to_owned(), self.home().display().to_string()),
        ]);
        let options = ContainerOptions {
            base_env,
            max_seconds: limit.as_secs(),
            at_once,
            step_ms: 20,
            ..ContainerOptions::default()
        };
        self.cloud.lock().ecs.options.containers = Some(options);
    }

    fn configure(&self) {
        let (cloud, server) = (self.cloud.prefect1_url(), self.server.prefect1_url());
        let etl = format!(
            "prefect: 1\napi: {cloud}\nlabels: [etl, a, b]\ncluster: flows\nprefetch_seconds: 5\n\
             env_vars: {{TEAM: data}}\n\
             execution_role_arn: arn:aws:iam::{}:role/flows-execution\n",
            world::ACCOUNT
        );
        let reports = format!(
            "prefect: \"0.15\"\napi: {cloud}\nlabels: reports\nprefetch_seconds: 5\nmax_polls: 2\n\
             api_key_delivery: environment\n"
        );
        let lab = format!(
            "prefect: 1\nbackend: server\napi: {server}\nprefetch_seconds: 5\nrun_task_kwargs:\n  \
             capacityProviderStrategy: [{{capacityProvider: FARGATE_SPOT, weight: 1}}]\n  networkConfiguration:\n    \
             awsvpcConfiguration: {{subnets: [subnet-a], securityGroups: [sg-1], assignPublicIp: DISABLED}}\n"
        );
        for (agent, config) in [("etl", etl), ("reports", reports), ("lab", lab)] {
            self.cloud.put_parameter(&format!("{ROOT}/config/{agent}"), &config);
        }
        for agent in ["etl", "reports"] {
            self.cloud.put_secret(&format!("{ROOT}/secrets/{agent}/api-key"), API_KEY);
        }
        self.cloud.put_secret(&format!("{ROOT}/secrets/poke-token"), POKE_TOKEN);
    }

    /// The Prefect that an agent polls.
    pub(crate) fn prefect_of(&self, agent: &str) -> &World {
        if agent == "lab" { &self.server } else { &self.cloud }
    }

    /// Creates the flow runs; their ids beside them. `registered`: the real flows by name.
    pub(crate) fn create(
        &self,
        seeds: Vec<Seed>,
        registered: &BTreeMap<String, Value>,
    ) -> Result<Vec<(Seed, String)>, Error> {
        let create =
            |seed: Seed| seed.create(self.prefect_of(seed.agent), &self.cloud, registered).map(|id| (seed, id));
        seeds.into_iter().map(create).collect()
    }

    /// A cold start of a function.
    pub(crate) async fn start(&self, handler: &str) -> Result<LambdaProcess, Error> {
        let options = LambdaOptions::new(&self.lambda, &self.cloud.url()).handler(handler).parameter_root(ROOT);
        Ok(options.env("POLL_FUNCTION_NAME", "world-poll").start().await?)
    }
}

/// The task definition `mine:3`, which somebody made by hand.
async fn register_mine(aws: &World) -> Result<(), Error> {
    let definition = json!({
        "family": "mine", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [{"name": "flow", "image": "example/mine:3"}],
    });
    for _ in 0..3 {
        let body = Bytes::from(definition.to_string());
        let answer = ecs::handle(aws, &Scope::default(), "RegisterTaskDefinition", &body).await;
        if !answer.status().is_success() {
            return Err("the fake refuses the task definition `mine`".into());
        }
    }
    Ok(())
}
