//! A deployment under test: the world of fakes, the parameters of some agents, the real `lambda` binary.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use world::ecs::Task;
use world::prefect1::FlowRunSpec;
use world::{InvokeError, LambdaOptions, LambdaProcess, Request, RunningWorld, World};

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
        self.agent_without_key(name, extra);
        self.secret(name, "api-key", KEY);
    }

    /// Writes a secret of an agent: `api-key` or `auth-token`.
    pub(crate) fn secret(&self, name: &str, kind: &str, value: &str) {
        self.world.put_secret(&format!("{ROOT}/secrets/{name}/{kind}"), value);
    }

    /// Writes an agent's configuration and no secret.
    pub(crate) fn agent_without_key(&self, name: &str, extra: Value) {
        let mut config = json!({"prefect": 1, "api": self.world.prefect1_url()});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        self.configure(name, &config.to_string());
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

    /// Due flow runs of one flow; their ids, oldest start first.
    pub(crate) fn schedule_many(&self, count: usize) -> Vec<String> {
        let starts = (0_u32..).map(|number| f64::from(number) - 3600.0).take(count);
        let spec = |start_in_seconds| FlowRunSpec { start_in_seconds, ..FlowRunSpec::default() };
        starts.map(|start| self.schedule(spec(start))).collect()
    }

    /// One invocation of a cold `poll` function that must fail; why it failed.
    pub(crate) async fn poll_fails(&self) -> InvokeError {
        let function = self.poll_function().await;
        let answer = function.invoke(json!({}), DEADLINE).await;
        answer.expect_err(&format!("the poll should have failed; its log:\n{}", function.output()))
    }

    /// What the last poll wrote down about an agent.
    pub(crate) fn status(&self, name: &str) -> Value {
        let status = self.world.parameter(&format!("{ROOT}/state/{name}/status"));
        serde_json::from_str(&status.expect("no status was written").value).unwrap()
    }

    /// All requests to Prefect so far, oldest first.
    pub(crate) fn prefect_requests(&self) -> Vec<Request> {
        self.world.requests("prefect1", "*")
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

/// The report in the error of an invocation whose poll failed.
pub(crate) fn report_in(error: &InvokeError) -> Value {
    assert_eq!(error.error_type, "PollFailed", "{error:?}");
    serde_json::from_str(&error.error_message).unwrap_or_else(|_| panic!("no report: {}", error.error_message))
}

/// The reason given for one run in one list of an agent's report.
pub(crate) fn reason<'a>(agent: &'a Value, list: &str, flow_run_id: &str) -> &'a str {
    let runs = agent[list].as_array().unwrap_or_else(|| panic!("no list {list}: {agent:#}"));
    let run = runs.iter().find(|run| run["flow_run_id"] == flow_run_id);
    run.unwrap_or_else(|| panic!("{flow_run_id} is not {list}: {agent:#}"))["reason"].as_str().unwrap()
}

/// The variables that a task's `RunTask` sets in its container `flow`.
pub(crate) fn environment(task: &Task) -> BTreeMap<String, String> {
    let containers = task.request["overrides"]["containerOverrides"].as_array().cloned().unwrap_or_default();
    let flow = containers.iter().find(|container| container["name"] == "flow").expect("no container flow");
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let variables = flow["environment"].as_array().into_iter().flatten();
    variables.map(|entry| (text(entry, "name"), text(entry, "value"))).collect()
}

/// The id of the flow run that a task was started for.
pub(crate) fn run_of(task: &Task) -> String {
    task.started_by.as_deref().and_then(|by| by.rsplit('/').next()).expect("no startedBy").to_owned()
}

/// Labels.
pub(crate) fn labels(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}
