//! Which flow runs a `flow_runs/filter` wants, and in which order.

use super::{
    Deployment, Flow, FlowRun, Prefect3, StateType,
    answer::{Outcome, invalid},
    deployments,
    fields::Fields,
    filters::{Column, Columns, Filter, Kind, one_of},
    flows, queues, work_pools,
};
use serde_json::Value;
use std::cmp::Ordering;

const COLUMNS: Columns = &[
    ("id", Kind::Ids),
    ("name", Kind::Texts),
    ("tags", Kind::Tags),
    ("deployment_id", Kind::Ids),
    ("work_queue_name", Kind::Texts),
    ("state", Kind::State),
    ("flow_version", Kind::Texts),
    ("start_time", Kind::Times),
    ("end_time", Kind::Times),
    ("expected_start_time", Kind::Times),
    ("next_scheduled_start_time", Kind::Times),
    ("parent_task_run_id", Kind::Ids),
    ("idempotency_key", Kind::Texts),
];

const SORTS: [&str; 9] = [
    "ID_DESC",
    "START_TIME_ASC",
    "START_TIME_DESC",
    "EXPECTED_START_TIME_ASC",
    "EXPECTED_START_TIME_DESC",
    "NAME_ASC",
    "NAME_DESC",
    "NEXT_SCHEDULED_START_TIME_ASC",
    "END_TIME_DESC",
];

/// What Prefect 2 does not know of the filters.
const LATER: [&str; 6] = [
    "/flow_runs/end_time",
    "/flow_runs/start_time/is_null_",
    "/flow_runs/state/type/not_any_",
    "/flow_runs/state/name/not_any_",
    "/flow_runs/tags/any_",
    "/flows/id/not_any_",
];

/// Refuses what Prefect 2 does not know.
pub(super) fn refuse_later(body: &Value) -> Outcome<()> {
    let Some((path, value)) = LATER.iter().find_map(|path| Some((path, body.pointer(path)?))) else { return Ok(()) };
    let loc: Vec<Value> = std::iter::once("body").chain(path.split('/').skip(1)).map(Value::from).collect();
    Err(invalid("value_error.extra", &loc, "extra fields not permitted", value))
}

fn column<'a>(run: &'a FlowRun, name: &str) -> Column<'a> {
    match name {
        "id" => Column::Text(Some(&run.id)),
        "name" => Column::Text(Some(&run.name)),
        "tags" => Column::Tags(&run.tags),
        "deployment_id" => Column::Text(run.deployment_id.as_deref()),
        "work_queue_name" => Column::Text(run.work_queue_name.as_deref()),
        "state_type" => Column::Text(run.state_type().map(StateType::name)),
        "state_name" => Column::Text(run.state().map(|state| state.name.as_str())),
        "flow_version" => Column::Text(run.flow_version.as_deref()),
        "start_time" => Column::Start(run.start_time, run.expected_start_time),
        "end_time" => Column::Time(run.end_time),
        "expected_start_time" => Column::Time(run.expected_start_time),
        "next_scheduled_start_time" => Column::Time(run.next_scheduled_start_time),
        "idempotency_key" => Column::Text(run.idempotency_key.as_deref()),
        _ => Column::Text(None),
    }
}

/// The runs that the body's filters want, in the order that it asks for.
pub(super) fn flow_runs<'a>(prefect3: &'a Prefect3, fields: &Fields<'_>) -> Outcome<Vec<&'a FlowRun>> {
    let runs = Filter::read(fields, "flow_runs", COLUMNS)?;
    let flows = Filter::read(fields, "flows", flows::COLUMNS)?;
    let deployments = Filter::read(fields, "deployments", deployments::COLUMNS)?;
    let pools = Filter::read(fields, "work_pools", work_pools::COLUMNS)?;
    let queues = Filter::read(fields, "work_pool_queues", queues::COLUMNS)?;
    let (by_flow, by_deployment) = (fields.get("flows").is_some(), fields.get("deployments").is_some());
    let (by_pool, by_queue) = (fields.get("work_pools").is_some(), fields.get("work_pool_queues").is_some());
    let sort = one_of(fields, "sort", &SORTS)?;
    let of_flow = |flow: &Flow| flows.wants(&|name: &str| flows::column(flow, name));
    let of_deployment = |one: &Deployment| deployments.wants(&|name: &str| deployments::column(prefect3, one, name));
    let wanted = |run: &&FlowRun| {
        let place = prefect3.queue_and_pool(run.work_queue_id.as_deref());
        let deployment = run.deployment_id.as_deref().and_then(|id| prefect3.deployment(id));
        runs.wants(&|name: &str| column(run, name))
            && (!by_flow || prefect3.flow(&run.flow_id).is_some_and(of_flow))
            && (!by_deployment || deployment.is_some_and(of_deployment))
            && (!by_pool || place.is_some_and(|(_, pool)| pools.wants(&|name: &str| work_pools::column(pool, name))))
            && (!by_queue || place.is_some_and(|(queue, _)| queues.wants(&|name: &str| queues::column(queue, name))))
    };
    let mut found: Vec<&FlowRun> = prefect3.flow_runs.iter().filter(wanted).collect();
    found.sort_by(|one, other| order(sort.as_deref().unwrap_or("ID_DESC"), one, other));
    Ok(found)
}

fn order(sort: &str, one: &FlowRun, other: &FlowRun) -> Ordering {
    let start = |run: &FlowRun| run.start_time.or(run.expected_start_time);
    match sort {
        "START_TIME_ASC" => start(one).cmp(&start(other)),
        "START_TIME_DESC" => start(other).cmp(&start(one)),
        "EXPECTED_START_TIME_ASC" => one.expected_start_time.cmp(&other.expected_start_time),
        "EXPECTED_START_TIME_DESC" => other.expected_start_time.cmp(&one.expected_start_time),
        "NAME_ASC" => one.name.cmp(&other.name),
        "NAME_DESC" => other.name.cmp(&one.name),
        "NEXT_SCHEDULED_START_TIME_ASC" => one.next_scheduled_start_time.cmp(&other.next_scheduled_start_time),
        "END_TIME_DESC" => other.end_time.cmp(&one.end_time),
        _ => other.id.cmp(&one.id),
    }
}
