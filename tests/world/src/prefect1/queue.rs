//! `get_runs_in_queue`.

use super::{
    FlowRun, Prefect1, StateRecord, execute::Context, failure::Failure, state_schema, states::database_failure, times,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Answers ids of due runs, and writes down that the agent asked.
pub(super) fn get_runs_in_queue(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let labels = labels(input)?;
    let before = match &input["before"] {
        Value::Null => context.now,
        given => given.as_str().and_then(times::parse).ok_or_else(|| {
            Failure::new(format!("Expected type DateTime, found {given}; Could not parse DateTime: {given}"))
        })?,
    };
    let tenant = tenant(context, &input["tenant_id"])?;
    touch_agent(context)?;
    let ids = context.prefect1.queue(&tenant, before, &labels);
    Ok(json!({"flow_run_ids": ids}))
}

/// Left out, the labels are empty; an explicit null breaks the server's own code.
fn labels(input: &Value) -> Result<Vec<String>, Failure> {
    match input.get("labels") {
        None => Ok(Vec::new()),
        Some(Value::Array(labels)) => Ok(labels.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Some(_) => Err(Failure::new("'NoneType' object has no attribute 'sort'")),
    }
}

/// A tenant of the caller. Prefect Cloud knows it from the token; the schema of Prefect Server demands it.
pub(super) fn tenant(context: &Context<'_>, given: &Value) -> Result<String, Failure> {
    if given.is_null() {
        let own = context.caller.tenant_id.clone().filter(|_| context.caller.token_scope.is_some());
        return own.ok_or_else(|| Failure::new("No tenant found."));
    }
    let id = given
        .as_str()
        .and_then(times::uuid)
        .ok_or_else(|| Failure::new(format!("Expected type UUID, found {given}; Could not parse UUID: {given}")))?;
    if context.caller.sees(&id) { Ok(id) } else { Err(Failure::coded("UNAUTHORIZED", "Unauthorized")) }
}

/// The agent's header: a text that is no UUID makes the database refuse the update, an unknown UUID matches no row.
fn touch_agent(context: &mut Context<'_>) -> Result<(), Failure> {
    let Some(header) = &context.caller.agent_id else { return Ok(()) };
    let id = times::uuid(header).ok_or_else(database_failure)?;
    if let Some(agent) = context.prefect1.agents.iter_mut().find(|agent| agent.id == id) {
        agent.last_queried = Some(context.now);
    }
    Ok(())
}

impl Prefect1 {
    /// The ids of the runs an agent with these labels gets: of the oldest due runs of the tenant (75) those whose
    /// labels it has (25).
    pub(super) fn queue(&self, tenant_id: &str, before: OffsetDateTime, labels: &[String]) -> Vec<&str> {
        let mut due: Vec<&FlowRun> =
            self.flow_runs.iter().filter(|run| run.tenant_id == tenant_id && run.is_due(before)).collect();
        due.sort_by_key(|run| {
            let start = run.current().and_then(StateRecord::start_time);
            (start.is_none(), start)
        });
        due.into_iter()
            .take(self.switches.queue_rows)
            .filter(|run| takes(labels, &run.labels))
            .take(self.switches.queue_ids)
            .map(|run| run.id.as_str())
            .collect()
    }
}

/// An agent takes a run whose labels it has all; one with labels takes no run without.
fn takes(agent: &[String], run: &[String]) -> bool {
    run.iter().all(|label| agent.contains(label)) && (agent.is_empty() || !run.is_empty())
}

fn waits(state: Option<&StateRecord>, before: OffsetDateTime) -> bool {
    state.is_some_and(|state| {
        state_schema::is_scheduled(state.kind()) && state.start_time().is_some_and(|start| start <= before)
    })
}

impl FlowRun {
    /// Whether the run, or a task run of a running one, is to start before this time.
    pub(super) fn is_due(&self, before: OffsetDateTime) -> bool {
        waits(self.current(), before)
            || (self.state() == "Running" && self.task_runs.iter().any(|task_run| waits(task_run.current(), before)))
    }
}
