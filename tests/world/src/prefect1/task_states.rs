//! `set_task_run_states`.

use super::{Prefect1, StateRecord, TaskRun, execute::Context, failure::Failure, state_schema, states, times};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Sets states. One that fails makes the whole field fail, but the others are set all the same.
pub(super) fn set_task_run_states(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let results: Vec<Result<Value, Failure>> =
        input["states"].as_array().into_iter().flatten().map(|one| set_one(context, one)).collect();
    Ok(json!({"states": results.into_iter().collect::<Result<Vec<Value>, Failure>>()?}))
}

fn set_one(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let id = states::input_uuid(input, "task_run_id")?;
    let state = state_schema::load(&input["state"], context.now)?;
    let sender = context.caller.agent_id.clone();
    let caller = context.caller;
    let locking = context.prefect1.switches.version_locking;
    let Some((flow_locking, task_run)) = context.prefect1.task_run_mut(&id, |tenant| caller.sees(tenant)) else {
        return Err(Failure::new(format!("State update failed for task run ID {id}")));
    };
    if let Some(version) =
        input["version"].as_i64().filter(|version| (locking || flow_locking) && *version != task_run.version)
    {
        let current = task_run.version;
        let message =
            format!("State update failed for {id}: provided a version of {version} but current version is {current}");
        return Err(Failure::coded(states::VERSION_LOCKING, message));
    }
    task_run.push_state(state, sender, context.now);
    Ok(json!({"id": id, "status": "SUCCESS", "message": null}))
}

impl Prefect1 {
    /// A task run, and whether its flow locks versions.
    pub(super) fn task_run_mut(&mut self, id: &str, sees: impl Fn(&str) -> bool) -> Option<(bool, &mut TaskRun)> {
        self.flow_runs.iter_mut().filter(|run| sees(&run.tenant_id)).find_map(|run| {
            let locking = run.flow.version_locking;
            run.task_runs.iter_mut().find(|task_run| task_run.id == id).map(|task_run| (locking, task_run))
        })
    }
}

impl TaskRun {
    /// Adds a state that has been loaded.
    pub(super) fn push_state(&mut self, serialized: Value, sender: Option<String>, now: OffsetDateTime) {
        self.version += 1;
        self.states.push(StateRecord {
            id: times::new_id(),
            version: self.version,
            timestamp: now,
            agent_id: sender,
            serialized,
        });
    }
}
