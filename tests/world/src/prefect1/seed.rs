//! What tests do with Prefect 1 through a [`World`].

use super::{Agent, FlowRun, FlowRunSpec, Log, Prefect1, state_schema};
use crate::World;
use serde_json::{Value, json};

impl World {
    /// Changes anything in Prefect 1, e.g. its switches.
    pub fn prefect1<T>(&self, change: impl FnOnce(&mut Prefect1) -> T) -> T {
        let result = change(&mut self.lock().prefect1);
        self.notify();
        result
    }

    /// Creates a flow run and returns its id.
    ///
    /// # Panics
    /// When the specification holds no valid id, time or state.
    #[allow(clippy::panic, reason = "a test that seeds nonsense must hear of it at once")]
    pub fn create_flow_run(&self, spec: FlowRunSpec) -> String {
        let now = self.lock().now();
        self.prefect1(|prefect1| prefect1.create_flow_run(spec, now)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A copy of a flow run.
    pub fn flow_run(&self, id: &str) -> Option<FlowRun> {
        self.lock().prefect1.flow_run(id).cloned()
    }

    /// Copies of all flow runs, oldest first.
    pub fn flow_runs(&self) -> Vec<FlowRun> {
        self.lock().prefect1.flow_runs.clone()
    }

    /// The log of a flow run, oldest line first.
    pub fn flow_run_logs(&self, id: &str) -> Vec<Log> {
        self.lock().prefect1.flow_run_logs(id).cloned().collect()
    }

    /// All registered agents of Prefect 1, oldest first.
    pub fn prefect1_agents(&self) -> Vec<Agent> {
        self.lock().prefect1.agents.clone()
    }

    /// Sets a flow run's state as the user interface does: past the locks of agents.
    pub fn set_flow_run_state(&self, id: &str, state: &Value) -> Result<(), String> {
        let now = self.lock().now();
        self.prefect1(|prefect1| prefect1.force_state(id, state, now))
    }

    /// Cancels a flow run.
    pub fn cancel_flow_run(&self, id: &str) -> Result<(), String> {
        self.set_flow_run_state(id, &json!({"type": "Cancelled", "message": "Flow run cancelled."}))
    }

    /// One round of Prefect's Lazarus service; see [`Prefect1::lazarus`].
    pub fn lazarus(&self) -> Vec<String> {
        let now = self.lock().now();
        self.prefect1(|prefect1| prefect1.lazarus(now))
    }
}

impl Prefect1 {
    /// Sets a flow run's state past the locks of agents.
    /// A user schedules a run anew: its task runs wait for it again, with all the states that they had.
    pub fn restart_flow_run(&mut self, id: &str, now: time::OffsetDateTime) -> Result<(), String> {
        self.force_state(id, &json!({"type": "Scheduled"}), now)?;
        let pending = json!({"type": "Pending", "message": "Restarted."});
        let pending = state_schema::load(&pending, now).map_err(|failure| failure.message)?;
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        run.task_runs.iter_mut().for_each(|task_run| task_run.push_state(pending.clone(), None, now));
        Ok(())
    }

    pub(super) fn force_state(&mut self, id: &str, state: &Value, now: time::OffsetDateTime) -> Result<(), String> {
        let state = state_schema::load(state, now).map_err(|failure| failure.message)?;
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        run.push_state(state, None, now);
        Ok(())
    }
}
