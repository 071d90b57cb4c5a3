//! What a flow's own process asks for besides states and logs: it says that it lives, and looks up its task runs.

use super::{
    FlowRun, NOT_MAPPED, StateRecord, TaskRun, execute::Context, failure::Failure, state_schema, states, times,
};
use serde_json::{Value, json};

/// Says that a flow run's process lives.
pub(super) fn update_flow_run_heartbeat(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let now = context.now;
    let run = run_of(context, input)?;
    run.heartbeat = Some(now);
    Ok(json!({"success": true, "error": null}))
}

/// Says that a task run's process lives.
pub(super) fn update_task_run_heartbeat(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let id = states::input_uuid(input, "task_run_id")?;
    let (now, caller) = (context.now, context.caller);
    let found = context.prefect1.task_run_mut(&id, |tenant| caller.sees(tenant));
    let (_, task_run) = found.ok_or_else(|| Failure::new(format!("Task run {id} not found")))?;
    task_run.heartbeat = Some(now);
    Ok(json!({"success": true, "error": null}))
}

/// A flow run's task run; one of a mapped task's children is made when it is asked for first.
pub(super) fn get_or_create_task_run_info(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let task_id = states::input_uuid(input, "task_id")?;
    let map_index = input["map_index"].as_i64().unwrap_or(NOT_MAPPED);
    let now = context.now;
    let run = run_of(context, input)?;
    let known = run.task_runs.iter().find(|known| known.task_id == task_id && known.map_index == map_index);
    let task_run = if let Some(known) = known {
        known
    } else {
        let parent = run.task_runs.iter().find(|known| known.task_id == task_id);
        let parent = parent.ok_or_else(|| Failure::new(format!("Task {task_id} not found")))?;
        let serialized = state_schema::load(&json!({"type": "Pending", "message": "Task run created"}), now)?;
        let (name, slug) = (parent.name.clone(), parent.slug.clone());
        let state = StateRecord { id: times::new_id(), version: 1, timestamp: now, agent_id: None, serialized };
        run.task_runs.push(TaskRun {
            id: times::new_id(),
            task_id,
            slug,
            map_index,
            heartbeat: None,
            name,
            version: 1,
            states: vec![state],
        });
        run.task_runs.last().ok_or_else(states::database_failure)?
    };
    Ok(json!({
        "id": task_run.id,
        "version": task_run.version,
        "state": task_run.state(),
        "serialized_state": task_run.current().map(|state| &state.serialized),
    }))
}

/// The flow run that an input names, if the caller may see it.
fn run_of<'a>(context: &'a mut Context<'_>, input: &Value) -> Result<&'a mut FlowRun, Failure> {
    let id = states::input_uuid(input, "flow_run_id")?;
    let caller = context.caller;
    let run = context.prefect1.flow_run_mut(&id).filter(|run| caller.sees(&run.tenant_id));
    run.ok_or_else(|| Failure::new(format!("Flow run {id} not found")))
}
