//! The tables, as rows that are JSON objects with their related rows inside.

use super::{
    Agent, Flow, FlowRun, Log, Prefect1, StateRecord, TaskRun,
    execute::Context,
    failure::{Failure, Failures},
    filter::Filter,
    order, times,
};
use apollo_compiler::{
    ExecutableDocument,
    executable::{Selection, SelectionSet},
    resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rows of a root field that the caller may see.
pub(super) fn root(context: &Context<'_>, info: &ResolveInfo<'_>, arguments: &Value) -> Result<Value, Failure> {
    let prefect1 = &*context.prefect1;
    let caller = context.caller;
    let runs = || prefect1.flow_runs.iter().filter(|run| caller.sees(&run.tenant_id));
    Ok(match info.field_name() {
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
        "flow_run" => {
            let wanted = wanted(info, arguments);
            let row = |run| wanted.iter().map(|name| (name.clone(), column(prefect1, run, name))).collect::<Value>();
            runs().map(row).collect()
        }
        "flow_run_by_pk" => {
            let id = arguments["id"].as_str().and_then(times::uuid);
            let id =
                id.ok_or_else(|| Failure::new(format!("invalid input syntax for type uuid: {}", arguments["id"])))?;
            runs().find(|run| run.id == id).map_or(Value::Null, |run| flow_run(prefect1, run))
        }
        "task_run" => {
            runs().flat_map(|run| run.task_runs.iter().map(|task_run| self::task_run(run, task_run))).collect()
        }
        name => return Err(Failure::new(format!("Cannot query field \"{name}\""))),
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
        "run_config": flow.run_config,
        "settings": {},
        "project": {"id": tenant_id, "name": "Default"},
    })
}

/// All columns of a flow run, and its related rows.
const COLUMNS: [&str; 26] = [
    "id",
    "tenant_id",
    "flow_id",
    "agent_id",
    "created",
    "name",
    "version",
    "labels",
    "parameters",
    "context",
    "run_config",
    "scheduled_start_time",
    "start_time",
    "end_time",
    "heartbeat",
    "times_resurrected",
    "state",
    "state_id",
    "state_message",
    "state_start_time",
    "state_timestamp",
    "serialized_state",
    "flow",
    "task_runs",
    "states",
    "logs",
];

/// A flow run's row, with its flow, task runs, states and logs.
pub(super) fn flow_run(prefect1: &Prefect1, run: &FlowRun) -> Value {
    COLUMNS.iter().map(|name| ((*name).to_owned(), column(prefect1, run, name))).collect::<Value>()
}

/// One column of a flow run; rows are built of those that a query needs.
fn column(prefect1: &Prefect1, run: &FlowRun, name: &str) -> Value {
    let state = run.current();
    match name {
        "id" => run.id.as_str().into(),
        "tenant_id" => run.tenant_id.as_str().into(),
        "flow_id" => run.flow.id.as_str().into(),
        "agent_id" => run.agent_id.as_deref().into(),
        "created" => times::format(run.created).into(),
        "name" => run.name.as_str().into(),
        "version" => run.version.into(),
        "labels" => run.labels.clone().into(),
        "parameters" => run.parameters.clone(),
        "context" => run.context.clone(),
        "run_config" => run.run_config.clone(),
        "scheduled_start_time" => times::format(run.scheduled_start_time).into(),
        "start_time" => times::json(run.start_time),
        "end_time" => times::json(run.end_time),
        "heartbeat" => times::json(run.heartbeat),
        "times_resurrected" => run.times_resurrected.into(),
        "state" => run.state().into(),
        "state_id" => state.map(|state| state.id.as_str()).into(),
        "state_message" => state.and_then(StateRecord::message).into(),
        "state_start_time" => times::json(state.and_then(StateRecord::start_time)),
        "state_timestamp" => times::json(state.map(|state| state.timestamp)),
        "serialized_state" => state.map(|state| state.serialized.clone()).into(),
        "flow" => flow(&run.tenant_id, &run.flow),
        "task_runs" => run.task_runs.iter().map(|task_run| self::task_run(run, task_run)).collect(),
        "states" => run.states.iter().map(|state| flow_run_state(&run.id, state)).collect(),
        "logs" => prefect1.flow_run_logs(&run.id).map(log).collect(),
        _ => Value::Null,
    }
}

/// The columns that a field's selection, `where` and `order_by` speak of; a related row's may be among them.
fn wanted(info: &ResolveInfo<'_>, arguments: &Value) -> BTreeSet<String> {
    fn keys(json: &Value, names: &mut BTreeSet<String>) {
        match json {
            Value::Object(object) => {
                names.extend(object.keys().cloned());
                object.values().for_each(|value| keys(value, names));
            }
            Value::Array(items) => items.iter().for_each(|item| keys(item, names)),
            _ => {}
        }
    }
    fn fields(document: &ExecutableDocument, set: &SelectionSet, names: &mut BTreeSet<String>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    names.insert(field.name.to_string());
                }
                Selection::InlineFragment(fragment) => fields(document, &fragment.selection_set, names),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = spread.fragment_def(document) {
                        fields(document, &fragment.selection_set, names);
                    }
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    keys(arguments, &mut names);
    for field in info.field_selections() {
        fields(info.document(), &field.selection_set, &mut names);
    }
    names.retain(|name| COLUMNS.contains(&name.as_str()));
    names
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
    state_row("flow_run_id", run_id, state)
}

fn state_row(of: &str, id: &str, state: &StateRecord) -> Value {
    json!({
        "id": state.id,
        of: id,
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
        "map_index": task_run.map_index,
        "task": {"id": task_run.task_id, "name": task_run.name, "slug": task_run.slug},
        "name": task_run.name,
        "version": task_run.version,
        "heartbeat": times::json(task_run.heartbeat),
        "states": task_run.states.iter().map(|state| state_row("task_run_id", &task_run.id, state)).collect::<Value>(),
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
    let rows =
        if is_object { select(info, arguments, rows).map_err(|error| failures.fail(info, error))? } else { rows };
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
