//! What tests do with Prefect 2 and 3 through a [`World`].

use super::{BlockSpec, DeploymentSpec, FlowRun, PoolSpec, Prefect3, RunSpec, StateType};
use crate::World;
use serde_json::{Value, json};

#[allow(clippy::panic, reason = "a test that seeds nonsense must hear of it at once")]
fn must<T>(result: Result<T, String>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl World {
    /// Changes anything in Prefect 2 and 3, e.g. its switches.
    pub fn prefect3<T>(&self, change: impl FnOnce(&mut Prefect3) -> T) -> T {
        let result = change(&mut self.lock().prefect3);
        self.notify();
        result
    }

    /// Makes a work pool with its queues.
    ///
    /// # Panics
    /// When there is one of that name already.
    pub fn prefect3_pool(&self, spec: PoolSpec) {
        let now = self.lock().now();
        must(self.prefect3(|prefect3| prefect3.seed_pool(spec, now)));
    }

    /// Makes a deployment, with flow, pool and queue where they are missing; its id.
    ///
    /// # Panics
    /// When the specification holds no valid id or time.
    pub fn prefect3_deployment(&self, spec: DeploymentSpec) -> String {
        let now = self.lock().now();
        must(self.prefect3(|prefect3| prefect3.seed_deployment(spec, now)))
    }

    /// Makes a flow run; its id.
    ///
    /// # Panics
    /// When the specification holds no valid id, time or state, or names a deployment that is not there.
    pub fn prefect3_run(&self, spec: RunSpec) -> String {
        let now = self.lock().now();
        must(self.prefect3(|prefect3| prefect3.seed_run(spec, now)))
    }

    /// Makes a block; its id.
    ///
    /// # Panics
    /// When the specification holds no valid id.
    pub fn prefect3_block(&self, spec: BlockSpec) -> String {
        let now = self.lock().now();
        must(self.prefect3(|prefect3| prefect3.seed_block(spec, now)))
    }

    /// Makes a variable, or changes it.
    pub fn prefect3_variable(&self, name: &str, value: Value) {
        let now = self.lock().now();
        self.prefect3(|prefect3| prefect3.seed_variable(name, value, now));
    }

    /// A copy of a flow run.
    pub fn prefect3_flow_run(&self, id: &str) -> Option<FlowRun> {
        self.lock().prefect3.flow_run(id).cloned()
    }

    /// Copies of all flow runs, oldest first.
    pub fn prefect3_flow_runs(&self) -> Vec<FlowRun> {
        self.lock().prefect3.flow_runs.clone()
    }

    /// The texts of a flow run's log lines, in the order they came.
    pub fn prefect3_flow_run_logs(&self, id: &str) -> Vec<String> {
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        self.lock().prefect3.flow_run_logs(id).map(text).collect()
    }

    /// Sets a flow run's state as the user interface does; see [`Prefect3::force_state`].
    pub fn prefect3_set_state(&self, id: &str, state: &Value) -> Result<&'static str, String> {
        let now = self.lock().now();
        self.prefect3(|prefect3| prefect3.force_state(id, state, now))
    }

    /// Cancels a flow run: Cancelled at once when it has no infrastructure, else Cancelling.
    pub fn prefect3_cancel(&self, id: &str) -> Result<(), String> {
        self.prefect3_set_state(id, &json!("CANCELLING")).map(drop)
    }

    /// Retries a flow run that ended: it is Scheduled anew, named `AwaitingRetry`.
    pub fn prefect3_retry(&self, id: &str) -> Result<(), String> {
        let ended = self.prefect3_flow_run(id).and_then(|run| run.state_type()).is_some_and(StateType::is_final);
        if !ended {
            return Err(format!("flow run {id} has not ended"));
        }
        let state = json!({"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"});
        self.prefect3_set_state(id, &state).map(drop)
    }

    /// Schedules a flow run anew, so many seconds from now; they may be negative.
    pub fn prefect3_schedule(&self, id: &str, in_seconds: f64) -> Result<(), String> {
        let now = self.lock().now();
        self.prefect3(|prefect3| prefect3.schedule(id, in_seconds, now)).map(drop)
    }

    /// Pauses a work pool, or one queue of it, or lets it go on.
    pub fn prefect3_pause(&self, pool: &str, queue: Option<&str>, paused: bool) -> Result<(), String> {
        let now = self.lock().now();
        self.prefect3(|prefect3| prefect3.pause(pool, queue, paused, now))
    }

    /// Deletes a deployment: its Scheduled runs that never ran go with it, the others stay; false when there is none.
    pub fn prefect3_delete_deployment(&self, id: &str) -> bool {
        self.prefect3(|prefect3| prefect3.remove_deployment(id))
    }

    /// Deletes a deployment in the moment after its runs were handed out: they stay.
    pub fn prefect3_forget_deployment(&self, id: &str) {
        self.prefect3(|prefect3| prefect3.deployments.retain(|deployment| deployment.id != id));
    }

    /// One round of the server's services; see [`Prefect3::services`].
    pub fn prefect3_services(&self) {
        let now = super::times::micros(self.lock().now());
        self.prefect3(|prefect3| prefect3.services(now));
    }
}
