//! What the flow's own process does in its container.

use super::{FlowRun, Prefect1, TaskRunSpec, state_schema, times};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// What became of a container that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The run went Running, or a running run's task runs went on.
    Yes,
    /// The process ended at once, as the real one does; the text says why.
    No(String),
}

impl Prefect1 {
    /// A task of a Running flow failed and is to be retried at this time; its process ends meanwhile.
    pub fn retry_task(&mut self, id: &str, start: OffsetDateTime, now: OffsetDateTime) -> Result<(), String> {
        let task_run = TaskRunSpec::default().build(&times::format(start), now)?;
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        if run.state() == "Running" {
            run.task_runs.push(task_run);
        }
        Ok(())
    }

    /// Begins to run a flow run: Running, unless it is early, has ended, is being cancelled, or runs already.
    pub fn start_container(&mut self, id: &str, now: OffsetDateTime) -> Result<Started, String> {
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        run.starts += 1;
        if let Some(reason) = run.reason_not_to_start(now) {
            return Ok(Started::No(reason));
        }
        if run.state() != "Running" {
            run.push_plain("Running", "Running flow.", now)?;
        }
        for task_run in &mut run.task_runs {
            if is_waiting(task_run.current().map(|state| &state.serialized), now) {
                task_run.push_state(plain("Running", "Starting task run.", now)?, None, now);
            }
        }
        Ok(Started::Yes)
    }

    /// Ends a Running flow run, and its Running task runs, with the type `kind`, e.g. `Success` or `Failed`. A run
    /// with task runs that wait longer stays Running, as with the real process.
    pub fn finish_container(
        &mut self,
        id: &str,
        kind: &str,
        message: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), String> {
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        if run.state() != "Running" {
            return Err(format!("flow run {id} is {}, not Running", run.state()));
        }
        for task_run in run.task_runs.iter_mut().filter(|task_run| task_run.state() == "Running") {
            let message = if kind == "Success" { "Task run succeeded." } else { "Task run failed." };
            task_run.push_state(plain(kind, message, now)?, None, now);
        }
        if run.task_runs.iter().any(|task_run| state_schema::is_scheduled(task_run.state())) {
            return Ok(());
        }
        let default = if kind == "Success" { "All reference tasks succeeded." } else { "Some reference tasks failed." };
        run.push_plain(kind, message.unwrap_or(default), now)
    }
}

fn plain(kind: &str, message: &str, now: OffsetDateTime) -> Result<Value, String> {
    state_schema::load(&json!({"type": kind, "message": message}), now).map_err(|failure| failure.message)
}

/// Whether a task run's state is one that the process goes on from: due, or claimed by the agent.
fn is_waiting(state: Option<&Value>, now: OffsetDateTime) -> bool {
    let Some(state) = state else { return false };
    match state["type"].as_str() {
        Some("Pending" | "Submitted") => true,
        Some(kind) => state_schema::is_scheduled(kind) && starts_by(state, now),
        None => false,
    }
}

fn starts_by(state: &Value, now: OffsetDateTime) -> bool {
    state["start_time"].as_str().and_then(times::parse).is_none_or(|start| start <= now)
}

impl FlowRun {
    fn push_plain(&mut self, kind: &str, message: &str, now: OffsetDateTime) -> Result<(), String> {
        let state = plain(kind, message, now)?;
        self.push_state(state, None, now);
        Ok(())
    }

    fn reason_not_to_start(&self, now: OffsetDateTime) -> Option<String> {
        let state = self.current().map(|state| &state.serialized)?;
        let waiting = if state["type"] == "Submitted" { &state["state"] } else { state };
        match self.state() {
            "Submitted" | "Scheduled" | "Retrying" | "Resume" | "Queued" if starts_by(waiting, now) => None,
            "Running"
                if self.task_runs.iter().any(|one| is_waiting(one.current().map(|state| &state.serialized), now)) =>
            {
                None
            }
            "Submitted" | "Scheduled" | "Retrying" | "Resume" | "Queued" => {
                Some(format!("it starts later, at {}", waiting["start_time"].as_str().unwrap_or_default()))
            }
            other => Some(format!("it is {other}")),
        }
    }
}
