//! What the stories start from: an agent `etl` on a pool with one deployment.

use crate::support::{Deployment, ROOT, agent, poll};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use world::LambdaProcess;
use world::ecs::Task;
use world::prefect3::{DeploymentSpec, FlowRun, POOL, RunSpec, RunState};

/// A deployment under test whose agents serve work pools.
pub(super) struct Scene {
    pub(super) deployment: Deployment,
}

impl Scene {
    /// One agent `etl`, without limits on its launches. `extra` is merged into its configuration.
    pub(super) async fn with(extra: Value) -> Self {
        let scene = Self { deployment: Deployment::empty().await };
        scene.deployment.world.prefect3_deployment(DeploymentSpec::default());
        scene.agent("etl", extra);
        scene
    }

    pub(super) async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// Writes an agent's configuration.
    pub(super) fn agent(&self, name: &str, extra: Value) {
        let api = self.deployment.world.prefect3_url();
        let mut config = json!({"prefect": 3, "api": api, "work_pool": POOL, "launch_rate": null});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        self.deployment.configure(name, &config.to_string());
    }

    /// A due run; its id.
    pub(super) fn run(&self, spec: RunSpec) -> String {
        self.deployment.world.prefect3_run(spec)
    }

    /// So many due runs of the one deployment.
    pub(super) fn runs(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.run(RunSpec::default())).collect()
    }

    /// A due run with these job variables.
    pub(super) fn run_with(&self, job_variables: Value) -> String {
        self.run(RunSpec { job_variables: map(job_variables), ..RunSpec::default() })
    }

    /// One poll of a cold function; the report of `etl`.
    pub(super) async fn poll(&self) -> Value {
        let report = self.deployment.poll().await;
        agent(&report, "etl").clone()
    }

    /// One poll of a warm function; the report of `etl`.
    pub(super) async fn poll_by(&self, function: &LambdaProcess) -> Value {
        let report = poll(function).await;
        agent(&report, "etl").clone()
    }

    pub(super) fn flow_run(&self, id: &str) -> FlowRun {
        self.deployment.world.prefect3_flow_run(id).unwrap()
    }

    /// Names of all states that a run has had.
    pub(super) fn history(&self, id: &str) -> Vec<String> {
        self.flow_run(id).history().into_iter().map(str::to_owned).collect()
    }

    /// The state that a run is in.
    pub(super) fn state(&self, id: &str) -> RunState {
        self.flow_run(id).state().unwrap().clone()
    }

    pub(super) fn tasks(&self) -> Vec<Task> {
        self.deployment.world.ecs_tasks()
    }

    /// How often Prefect was asked for this.
    pub(super) fn count(&self, operation: &str) -> usize {
        self.deployment.world.count("prefect3", operation)
    }

    /// Changes a run behind everyone's back.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut FlowRun)) {
        self.deployment.world.prefect3(|prefect3| {
            change(prefect3.flow_runs.iter_mut().find(|run| run.id == id).unwrap());
        });
    }

    /// Makes the states of a run older than they are; younger by a negative number.
    pub(super) fn age(&self, id: &str, minutes: i64) {
        let by = time::Duration::minutes(minutes);
        self.change(id, |run| run.states.iter_mut().for_each(|state| state.timestamp -= by));
    }

    /// Makes a run that waits for its retry due now.
    pub(super) fn make_due(&self, id: &str) {
        self.change(id, |run| {
            let past = OffsetDateTime::now_utc() - time::Duration::minutes(1);
            run.next_scheduled_start_time = Some(past);
            run.states.last_mut().unwrap().details.scheduled_time = Some(past);
        });
    }

    pub(super) fn secret(&self, kind: &str, value: &str) {
        self.deployment.world.put_secret(&format!("{ROOT}/secrets/etl/{kind}"), value);
    }
}

pub(super) fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The variables that a task's `RunTask` sets in its first container.
pub(super) fn environment(task: &Task) -> Map<String, Value> {
    let entries = task.request["overrides"]["containerOverrides"][0]["environment"].as_array().cloned();
    let pair = |entry: Value| (entry["name"].as_str().unwrap().to_owned(), entry["value"].clone());
    entries.unwrap_or_default().into_iter().map(pair).collect()
}
