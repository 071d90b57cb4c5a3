//! What has happened, happened longer ago.

use super::{FlowRun, Prefect1, StateRecord, times};
use serde_json::{Value, json};
use time::Duration;

impl Prefect1 {
    /// Moves everything that has a time into the past, also what is to come.
    pub(crate) fn grow_older(&mut self, by: Duration) {
        for run in &mut self.flow_runs {
            run.grow_older(by);
        }
        for agent in &mut self.agents {
            agent.created -= by;
            agent.last_queried = agent.last_queried.map(|time| time - by);
        }
        for log in &mut self.logs {
            log.timestamp -= by;
        }
        for until in self.submitted_until.values_mut() {
            *until -= by;
        }
    }
}

impl FlowRun {
    fn grow_older(&mut self, by: Duration) {
        self.scheduled_start_time -= by;
        self.created -= by;
        for time in [&mut self.start_time, &mut self.end_time, &mut self.heartbeat].into_iter().flatten() {
            *time -= by;
        }
        for time in self.task_runs.iter_mut().filter_map(|task_run| task_run.heartbeat.as_mut()) {
            *time -= by;
        }
        let of_tasks = self.task_runs.iter_mut().flat_map(|task_run| task_run.states.iter_mut());
        self.states.iter_mut().chain(of_tasks).for_each(|state| state.grow_older(by));
    }
}

impl StateRecord {
    fn grow_older(&mut self, by: Duration) {
        self.timestamp -= by;
        start_earlier(&mut self.serialized, by);
    }
}

/// A state starts earlier, and so does the one within it.
fn start_earlier(state: &mut Value, by: Duration) {
    if let Some(start) = state["start_time"].as_str().and_then(times::parse) {
        state["start_time"] = json!(times::format(start - by));
    }
    if state["state"].is_object() {
        start_earlier(&mut state["state"], by);
    }
}
