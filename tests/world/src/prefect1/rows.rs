//! The tables, as rows that are JSON objects with their related rows inside.

use super::{
    Agent, Flow, FlowRun, Log, Prefect1, StateRecord, TaskRun,
    execute::Context,
    failure::{Failure, Failures},
    filter::Filter,
    order, times,
};
use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use serde_json::{Value, json};

/// The rows of a root field that the caller may see.
pub(super) fn root(context: &Context<'_>, name: &str, arguments: &Value) -> Result<Value, Failure> {
    let prefect1 = &*context.prefect1;
    let caller = context.caller;
    let runs = || prefect1.flow_runs.iter().filter(|run| caller.sees(&run.tenant_id));
    Ok(match name {
        "tenant" => {
            let tenants = prefect1.tenants.iter().filter(|tenant| caller.sees(&tenant.id));
            tenants.map(|tenant| json!({"id": tenant.id, "name": tenant.name, "slug": tenant.slug})).collect()
        }
        "agent" => prefect1.agents.iter().filter(|agent| caller.sees(&agent.tenant_id)).map(agent).collect(),
        "agent_config" => {
            let configs = prefect1.agent_configs.iter().filter(|config| caller.sees(&config.tenant_id));
            configs
                .map(|config| {
                    json!({"id": config.id, "tenant_id": config.tenant_id, "name": config.name, "settings": config.settings})
                })
                .collect()
        }
        "flow_run" => runs().map(|run| flow_run(prefect1, run)).collect(),
        "flow_run_by_pk" => {
            let id = arguments["id"].as_str().and_then(times::uuid);
            let id = id.ok_or_else(|| Failure::new(format!("invalid input syntax for type uuid: {}", arguments["id"])))?;
            runs().find(|run| run.id == id).map_or(Value::Null, |run| flow_run(prefect1, run))
        }
        "task_run" => runs().flat_map(|run| run.task_runs.iter().map(|task_run| self::task_run(run, task_run))).collect(),
        _ => return Err(Failure::new(format!("Cannot query field \"{name}\""))),
    })
}

/// A registered agent's row.
pub(super) fn agent(agent: &Agent) -> Value {
    json!({
        "id": agent.id,
        "tenant_id": agent.tenant_id,
        "agent_config_id": agent.agent_config_id,
        "type": agent.kind,
        "name": agent.name,
        "labels": agent.labels,
        "core_version": agent.core_version,
        "created": times::format(agent.created),
        "last_queried": times::json(agent.last_queried),
    })
}

fn flow(tenant_id: &str, flow: &Flow) -> Value {
    json!({
        "id": flow.id,
        "tenant_id": tenant_id,
        "name": flow.name,
        "version": flow.version,
        "core_version": flow.core_version,
        "environment": flow.environment,
        "storage": flow.storage,
        "run_config": null,
    })
}

/// A flow run's row, with its flow, task runs, states and logs.
pub(super) fn flow_run(prefect1: &Prefect1, run: &FlowRun) -> Value {
    let state = run.current();
    let mut row = json!({
        "id": run.id,
        "tenant_id": run.tenant_id,
        "flow_id": run.flow.id,
        "agent_id": run.agent_id,
        "created": times::format(run.created),
        "name": run.name,
        "version": run.version,
        "labels": run.labels,
        "parameters": run.parameters,
        "context": run.context,
        "run_config": run.run_config,
        "scheduled_start_time": times::format(run.scheduled_start_time),
        "start_time": times::json(run.start_time),
        "end_time": times::json(run.end_time),
        "heartbeat": times::json(run.heartbeat),
        "times_resurrected": run.times_resurrected,
        "flow": flow(&run.tenant_id, &run.flow),
    });
    with_state(&mut row, state);
    row["state_id"] = state.map(|state| state.id.clone()).into();
    row["task_runs"] = run.task_runs.iter().map(|task_run| self::task_run(run, task_run)).collect();
    row["states"] = run.states.iter().map(|state| flow_run_state(&run.id, state)).collect();
    row["logs"] = prefect1.flow_run_logs(&run.id).map(log).collect();
    row
}

fn with_state(row: &mut Value, state: Option<&StateRecord>) {
    row["state"] = state.map(StateRecord::kind).into();
    row["state_message"] = state.and_then(StateRecord::message).into();
    row["state_start_time"] = times::json(state.and_then(StateRecord::start_time));
    row["state_timestamp"] = times::json(state.map(|state| state.timestamp));
    row["serialized_state"] = state.map(|state| state.serialized.clone()).into();
}

/// A state's row.
pub(super) fn flow_run_state(run_id: &str, state: &StateRecord) -> Value {
    json!({
        "id": state.id,
        "flow_run_id": run_id,
        "version": state.version,
        "state": state.kind(),
        "message": state.message(),
        "start_time": times::json(state.start_time()),
        "timestamp": times::format(state.timestamp),
        "serialized_state": state.serialized,
    })
}

fn task_run(run: &FlowRun, task_run: &TaskRun) -> Value {
    let mut row = json!({
        "id": task_run.id,
        "tenant_id": run.tenant_id,
        "flow_run_id": run.id,
        "task_id": task_run.task_id,
        "map_index": -1,
        "name": task_run.name,
        "version": task_run.version,
        "heartbeat": null,
    });
    with_state(&mut row, task_run.current());
    row
}

/// A log line's row.
pub(super) fn log(log: &Log) -> Value {
    json!({
        "flow_run_id": log.flow_run_id,
        "task_run_id": log.task_run_id,
        "timestamp": times::format(log.timestamp),
        "name": log.name,
        "level": log.level,
        "message": log.message,
        "info": log.info,
    })
}

/// A field's value for the GraphQL library; rows are filtered, ordered and cut by the field's arguments.
pub(super) fn resolved<'a>(
    info: &ResolveInfo<'_>,
    arguments: &Value,
    value: Value,
    failures: &'a Failures,
) -> Result<ResolvedValue<'a>, FieldError> {
    let definition = info.field_definition();
    let type_name = definition.ty.inner_named_type().as_str();
    let is_object = info.schema().get_object(type_name).is_some();
    let one = move |value: Value| {
        if value.is_null() || !is_object {
            ResolvedValue::leaf(value)
        } else {
            ResolvedValue::object(Row { type_name: type_name.to_owned(), columns: value, failures })
        }
    };
    let Value::Array(rows) = value else { return Ok(one(value)) };
    if !definition.ty.is_list() {
        return Ok(ResolvedValue::leaf(Value::Array(rows)));
    }
    let rows = if is_object { select(info, arguments, rows).map_err(|error| failures.fail(error))? } else { rows };
    let items: Vec<ResolvedValue<'a>> = rows.into_iter().map(one).collect();
    Ok(ResolvedValue::list(items))
}

fn select(info: &ResolveInfo<'_>, arguments: &Value, mut rows: Vec<Value>) -> Result<Vec<Value>, Failure> {
    let condition = info.field_definition().argument_by_name("where").zip(arguments["where"].as_object());
    if let Some((argument, condition)) = condition {
        let filter = Filter::new(info.schema(), argument.ty.inner_named_type().as_str(), condition)?;
        rows.retain(|row| filter.wants(row));
    }
    order::page(rows, arguments)
}

/// An object in an answer.
struct Row<'a> {
    type_name: String,
    columns: Value,
    failures: &'a Failures,
}

impl ObjectValue for Row<'_> {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let arguments = serde_json::to_value(info.arguments()).unwrap_or_default();
        resolved(info, &arguments, self.columns[info.field_name()].clone(), self.failures)
    }
}
