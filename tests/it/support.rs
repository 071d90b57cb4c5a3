//! A deployment under test: the world of fakes, the parameters of some agents, the real `lambda` binary.

use serde_json::{Value, json};
use std::time::Duration;
use world::prefect1::FlowRunSpec;
use world::{LambdaOptions, LambdaProcess, RunningWorld, World};

/// Parameter root of the deployment.
pub(crate) const ROOT: &str = "/psa/test";

/// The API key that the fake Prefect Cloud knows.
pub(crate) const KEY: &str = "pcu_fakekey";

/// How long an invocation may take; what is claimed must be launched ten seconds before.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A deployment under test.
pub(crate) struct Deployment {
    pub(crate) world: RunningWorld,
}

impl Deployment {
    /// The fakes, without any agent.
    pub(crate) async fn empty() -> Self {
        Self { world: World::start().await }
    }

    /// The fakes and one agent `etl` for Prefect 1, with an API key. `extra` is merged into its configuration.
    pub(crate) async fn with_agent(extra: Value) -> Self {
        let deployment = Self::empty().await;
        deployment.agent("etl", extra);
        deployment
    }

    /// Writes an agent's configuration and API key.
    pub(crate) fn agent(&self, name: &str, extra: Value) {
        let mut config = json!({"prefect": 1, "api": self.world.prefect1_url()});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        self.configure(name, &config.to_string());
        self.world.put_secret(&format!("{ROOT}/secrets/{name}/api-key"), KEY);
    }

    /// Writes an agent's configuration as it is given.
    pub(crate) fn configure(&self, name: &str, text: &str) {
        self.world.put_parameter(&format!("{ROOT}/config/{name}"), text);
    }

    /// How the function `handler` is started; for tests that change its environment.
    pub(crate) fn options(&self, handler: &str) -> LambdaOptions {
        LambdaOptions::new(env!("CARGO_BIN_EXE_lambda"), &self.world.url()).handler(handler).parameter_root(ROOT)
    }

    /// A cold start of the `poll` function.
    pub(crate) async fn poll_function(&self) -> LambdaProcess {
        self.options("poll").start().await.unwrap()
    }

    /// One invocation of a cold `poll` function; the report. Panics with the error when the invocation failed.
    pub(crate) async fn poll(&self) -> Value {
        let function = self.poll_function().await;
        poll(&function).await
    }

    /// A flow run of `flow` that is due, as `spec` says further.
    pub(crate) fn schedule(&self, spec: FlowRunSpec) -> String {
        self.world.create_flow_run(spec)
    }

    /// State type of a flow run.
    pub(crate) fn state_of(&self, flow_run_id: &str) -> String {
        self.world.flow_run(flow_run_id).unwrap().state().to_owned()
    }
}

/// One invocation that polls all agents; the report.
pub(crate) async fn poll(function: &LambdaProcess) -> Value {
    match function.invoke(json!({}), DEADLINE).await {
        Ok(report) => report,
        Err(error) => panic!("the poll failed: {error:?}\nits log:\n{}", function.stdout()),
    }
}

/// The report of an agent.
pub(crate) fn agent<'a>(report: &'a Value, name: &str) -> &'a Value {
    let agent = &report["agents"][name];
    assert!(agent.is_object(), "no agent {name} in the report: {report:#}");
    agent
}

/// Ids of the runs in one list of an agent's report.
pub(crate) fn ids(agent: &Value, list: &str) -> Vec<String> {
    let runs = agent[list].as_array().unwrap_or_else(|| panic!("no list {list}: {agent:#}"));
    runs.iter().map(|run| run["flow_run_id"].as_str().unwrap().to_owned()).collect()
}
