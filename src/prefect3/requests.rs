//! What is sent. Pure.

use crate::flow_run::prefect3::BlockReference;
use crate::python_text;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;
use time::OffsetDateTime;

/// Rows of one answer at most: the server's own limit.
pub(super) const PAGE_ROWS: usize = 200;

/// Runs whose tasks are looked after in one poll: as many as one question to ECS takes.
pub(super) const RUNNING_ROWS: usize = 100;

/// What stands in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One request, below the API's base URL.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiRequest {
    /// Method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
    /// How long a server that asks to come again later is waited for at most; `None` = as long as the invocation lasts.
    pub patience: Option<Duration>,
}

impl ApiRequest {
    fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None, patience: None }
    }

    fn post(path: String, body: Value) -> Self {
        Self { method: Method::POST, path, body: Some(body), patience: None }
    }

    fn delete(path: String) -> Self {
        Self { method: Method::DELETE, path, body: None, patience: None }
    }

    fn patch(path: String, body: Value) -> Self {
        Self { method: Method::PATCH, path, body: Some(body), patience: None }
    }

    /// The same, for something that is of no use later.
    pub(super) fn within(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

pub(super) fn work_pool(name: &str) -> ApiRequest {
    ApiRequest::get(format!("/work_pools/{}", segment(name)))
}

/// The version of a self-hosted server.
pub(super) fn version() -> ApiRequest {
    ApiRequest::get("/admin/version".into())
}

/// All pools, [`PAGE_ROWS`] of them.
pub(super) fn work_pools(offset: usize) -> ApiRequest {
    ApiRequest::post("/work_pools/filter".into(), json!({"limit": PAGE_ROWS, "offset": offset}))
}

/// The queues of a pool, [`PAGE_ROWS`] of them.
pub(super) fn queues(work_pool: &str, offset: usize) -> ApiRequest {
    let body = json!({"limit": PAGE_ROWS, "offset": offset});
    ApiRequest::post(format!("/work_pools/{}/queues/filter", segment(work_pool)), body)
}

/// The workers of a pool, [`PAGE_ROWS`] of them.
pub(super) fn workers(work_pool: &str, offset: usize) -> ApiRequest {
    let body = json!({"limit": PAGE_ROWS, "offset": offset});
    ApiRequest::post(format!("/work_pools/{}/workers/filter", segment(work_pool)), body)
}

/// The deployments of a pool, [`PAGE_ROWS`] of them.
pub(super) fn deployments_of_pool(work_pool: &str, offset: usize) -> ApiRequest {
    let pools = json!({"name": {"any_": [work_pool]}});
    let body = json!({"work_pools": pools, "limit": PAGE_ROWS, "offset": offset, "sort": "NAME_ASC"});
    ApiRequest::post("/deployments/filter".into(), body)
}

/// A work queue, by its id.
pub(super) fn work_queue(id: &str) -> ApiRequest {
    ApiRequest::get(format!("/work_queues/{}", segment(id)))
}

/// Gives a pool without a template one.
pub(super) fn fill_work_pool(name: &str, base_job_template: &Map<String, Value>) -> ApiRequest {
    ApiRequest::patch(format!("/work_pools/{}", segment(name)), json!({"base_job_template": base_job_template}))
}

/// The worker's sign of life. Prefect calls it offline after three intervals without one.
pub(super) fn heartbeat(work_pool: &str, worker: &str, interval_seconds: u64, return_id: bool) -> ApiRequest {
    let mut body = Map::new();
    body.insert("name".into(), json!(worker));
    body.insert("heartbeat_interval_seconds".into(), json!(interval_seconds));
    body.extend(return_id.then(|| ("return_id".to_owned(), json!(true))));
    ApiRequest::post(format!("/work_pools/{}/workers/heartbeat", segment(work_pool)), Value::Object(body))
}

/// The due runs of a pool's queues (none = all), by the priority of their queue, then by their time.
pub(super) fn due_runs(work_pool: &str, queues: &[String], before: OffsetDateTime, limit: usize) -> ApiRequest {
    let body = json!({"work_queue_names": queues, "scheduled_before": python_text::iso_time(before), "limit": limit});
    ApiRequest::post(format!("/work_pools/{}/get_scheduled_flow_runs", segment(work_pool)), body)
}

/// Flow runs, up to [`PAGE_ROWS`] of them.
pub(super) fn flow_runs(ids: &[&str]) -> ApiRequest {
    ApiRequest::post("/flow_runs/filter".into(), by_id("flow_runs", ids))
}

/// Flow runs of a name, so many of them.
pub(super) fn flow_runs_named(name: &str, limit: usize) -> ApiRequest {
    let body = json!({"flow_runs": {"name": {"any_": [name]}}, "limit": limit, "offset": 0});
    ApiRequest::post("/flow_runs/filter".into(), body)
}

/// Flows, up to [`PAGE_ROWS`] of them.
pub(super) fn flows(ids: &[&str]) -> ApiRequest {
    ApiRequest::post("/flows/filter".into(), by_id("flows", ids))
}

/// Deployments, up to [`PAGE_ROWS`] of them.
pub(super) fn deployments(ids: &[&str]) -> ApiRequest {
    ApiRequest::post("/deployments/filter".into(), by_id("deployments", ids))
}

/// One flow.
pub(super) fn flow(id: &str) -> ApiRequest {
    ApiRequest::get(format!("/flows/{}", segment(id)))
}

/// One deployment.
pub(super) fn deployment(id: &str) -> ApiRequest {
    ApiRequest::get(format!("/deployments/{}", segment(id)))
}

/// One flow run.
pub(super) fn flow_run(id: &str) -> ApiRequest {
    ApiRequest::get(format!("/flow_runs/{}", segment(id)))
}

fn by_id(what: &str, ids: &[&str]) -> Value {
    json!({what: {"id": {"any_": ids}}, "limit": PAGE_ROWS, "offset": 0})
}

/// Runs of a pool that are claimed and have not begun, or are being cancelled; the oldest first.
pub(super) fn standing(work_pool: &str, offset: usize) -> ApiRequest {
    let filter = json!({"state": {"type": {"any_": ["PENDING", "CANCELLING"]}}});
    ApiRequest::post("/flow_runs/filter".into(), in_pool(work_pool, &filter, "EXPECTED_START_TIME_ASC", offset))
}

/// Runs of a pool that run, and were to start before this time; the oldest first, up to [`RUNNING_ROWS`] of them.
pub(super) fn running(work_pool: &str, before: OffsetDateTime, offset: usize) -> ApiRequest {
    let before = json!({"before_": python_text::iso_time(before)});
    let filter = json!({"state": {"type": {"any_": ["RUNNING"]}}, "expected_start_time": before});
    let mut body = in_pool(work_pool, &filter, "EXPECTED_START_TIME_ASC", offset);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("limit".to_owned(), RUNNING_ROWS.into());
    }
    ApiRequest::post("/flow_runs/filter".into(), body)
}

/// Runs of a pool that were cancelled and ended since then, the latest first.
pub(super) fn cancelled(work_pool: &str, since: OffsetDateTime) -> ApiRequest {
    let filter =
        json!({"state": {"type": {"any_": ["CANCELLED"]}}, "end_time": {"after_": python_text::iso_time(since)}});
    ApiRequest::post("/flow_runs/filter".into(), in_pool(work_pool, &filter, "END_TIME_DESC", 0))
}

fn in_pool(work_pool: &str, flow_runs: &Value, sort: &str, offset: usize) -> Value {
    let work_pools = json!({"name": {"any_": [work_pool]}});
    json!({"flow_runs": flow_runs, "work_pools": work_pools, "limit": PAGE_ROWS, "offset": offset, "sort": sort})
}

/// All states that a run has had.
pub(super) fn history(flow_run_id: &str) -> ApiRequest {
    ApiRequest::get(format!("/flow_run_states/?flow_run_id={}", segment(flow_run_id)))
}

/// Proposes a state. `force` leaves the server's rules aside.
pub(super) fn set_state(flow_run_id: &str, state: &Value, force: bool) -> ApiRequest {
    ApiRequest::post(format!("/flow_runs/{}/set_state", segment(flow_run_id)), json!({"state": state, "force": force}))
}

/// Writes down a run's task; `None` = it has none.
pub(super) fn record_pid(flow_run_id: &str, pid: Option<&str>) -> ApiRequest {
    ApiRequest::patch(format!("/flow_runs/{}", segment(flow_run_id)), json!({"infrastructure_pid": pid}))
}

/// Adds labels to a run.
pub(super) fn labels(flow_run_id: &str, labels: &Value) -> ApiRequest {
    ApiRequest::patch(format!("/flow_runs/{}/labels", segment(flow_run_id)), labels.clone())
}

/// A block document with its secrets.
pub(super) fn block(reference: &BlockReference) -> ApiRequest {
    let path = match reference {
        BlockReference::Named { type_slug, name } => {
            format!("/block_types/slug/{}/block_documents/name/{}", segment(type_slug), segment(name))
        }
        BlockReference::Id(id) => format!("/block_documents/{}", segment(id)),
    };
    ApiRequest::get(format!("{path}?include_secrets=true"))
}

/// A type of blocks, by its slug.
pub(super) fn block_type(slug: &str) -> ApiRequest {
    ApiRequest::get(format!("/block_types/slug/{}", segment(slug)))
}

/// The schemas of a type of blocks, the newest first.
pub(super) fn block_schemas(block_type_id: &str) -> ApiRequest {
    let of_type = json!({"block_type_id": {"any_": [block_type_id]}});
    ApiRequest::post("/block_schemas/filter".into(), json!({"block_schemas": of_type, "limit": 1}))
}

/// Makes a block of a type and a schema.
pub(super) fn create_block(name: &str, (block_type_id, block_schema_id): (&str, &str), data: &Value) -> ApiRequest {
    let body = json!({
        "name": name, "block_type_id": block_type_id, "block_schema_id": block_schema_id, "data": data,
    });
    ApiRequest::post("/block_documents/".into(), body)
}

/// Changes these fields of a block.
pub(super) fn update_block(id: &str, data: &Value) -> ApiRequest {
    ApiRequest::patch(format!("/block_documents/{}", segment(id)), json!({"data": data}))
}

pub(super) fn delete_block(id: &str) -> ApiRequest {
    ApiRequest::delete(format!("/block_documents/{}", segment(id)))
}

/// The automations of a name that have a tag, [`PAGE_ROWS`] of them.
pub(super) fn automations(name: &str, tag: &str) -> ApiRequest {
    let filter = json!({"name": {"any_": [name]}, "tags": {"all_": [tag]}});
    ApiRequest::post("/automations/filter".into(), json!({"automations": filter, "limit": PAGE_ROWS}))
}

pub(super) fn create_automation(automation: &Value) -> ApiRequest {
    ApiRequest::post("/automations/".into(), automation.clone())
}

pub(super) fn replace_automation(id: &str, automation: &Value) -> ApiRequest {
    let path = format!("/automations/{}", segment(id));
    ApiRequest { method: Method::PUT, path, body: Some(automation.clone()), patience: None }
}

pub(super) fn delete_automation(id: &str) -> ApiRequest {
    ApiRequest::delete(format!("/automations/{}", segment(id)))
}

/// What the actions of an automation came to since then, the newest first.
pub(super) fn actions(automation: &str, since: OffsetDateTime) -> ApiRequest {
    let filter = json!({
        "event": {"name": ["prefect.automation.action.executed", "prefect.automation.action.failed"]},
        "resource": {"id": [format!("prefect.automation.{automation}")]},
        "occurred": {"since": python_text::iso_time(since)},
        "order": "DESC",
    });
    ApiRequest::post("/events/filter".into(), json!({"filter": filter, "limit": 1}))
}

pub(super) fn variable(name: &str) -> ApiRequest {
    ApiRequest::get(format!("/variables/name/{}", segment(name)))
}

pub(super) fn logs(lines: Vec<Value>) -> ApiRequest {
    ApiRequest::post("/logs/".into(), Value::Array(lines))
}

/// The warnings in the logs of some runs.
pub(super) fn warnings(flow_run_ids: &[&str], offset: usize) -> ApiRequest {
    let logs = json!({"flow_run_id": {"any_": flow_run_ids}, "level": {"ge_": 30, "le_": 30}});
    let body = json!({"logs": logs, "sort": "TIMESTAMP_ASC", "limit": PAGE_ROWS, "offset": offset});
    ApiRequest::post("/logs/filter".into(), body)
}

pub(super) fn events(events: Vec<Value>) -> ApiRequest {
    ApiRequest::post("/events".into(), Value::Array(events))
}

/// Asks for a client's CSRF token.
pub(super) fn csrf_token(client: &str) -> ApiRequest {
    ApiRequest::get(format!("/csrf-token?client={}", segment(client)))
}

#[cfg(test)]
mod tests;
