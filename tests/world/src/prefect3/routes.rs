//! Which operation a request is for: one table of methods, paths, names and handlers.

use super::{
    Prefect3,
    answer::{Answer, Outcome, invalid},
    automations, blocks, csrf, deployments, flow_runs, flows, limits, queues, records, server_info, set_state,
    slots::Version,
    times, variables, work_pools, workers,
};
use crate::route::Form;
use axum::http::Method;
use serde_json::Value;
use time::OffsetDateTime;

/// A request that found its handler.
pub(super) struct Call<'a> {
    pub(super) prefect3: &'a mut Prefect3,
    pub(super) now: OffsetDateTime,
    /// The path's parameters, in order.
    pub(super) path: Vec<String>,
    pub(super) query: Form,
    pub(super) body: &'a Value,
    /// Of a client that says it is Prefect's own.
    pub(super) client: Option<Version>,
}

impl Call<'_> {
    /// A parameter of the path; they are all there when the path matched.
    pub(super) fn parameter(&self, index: usize) -> String {
        self.path.get(index).cloned().unwrap_or_default()
    }

    /// A parameter of the query that must be there.
    pub(super) fn query_parameter(&self, name: &str) -> Outcome<String> {
        let loc = ["query".into(), name.into()];
        let given = self.query.get(name).map(str::to_owned);
        given.ok_or_else(|| invalid("missing", &loc, "Field required", &Value::Null))
    }
}

type Handler = fn(&mut Call<'_>) -> Outcome<Answer>;

/// Method, path, name and handler. `{id}` is a UUID, any other parameter any text.
const ROUTES: &[(&str, &str, &str, Handler)] = &[
    ("GET", "/health", "health", server_info::health),
    ("GET", "/ready", "ready", server_info::ready),
    ("GET", "/hello", "hello", server_info::hello),
    ("GET", "/version", "version", server_info::api_version),
    ("GET", "/admin/version", "admin/version", server_info::version),
    ("GET", "/admin/storage", "admin/storage", server_info::storage),
    ("GET", "/csrf-token", "csrf-token", csrf::create_token),
    ("POST", "/work_pools/", "create_work_pool", work_pools::create),
    ("POST", "/work_pools/filter", "work_pools/filter", work_pools::filter),
    ("GET", "/work_pools/{name}", "read_work_pool", work_pools::read),
    ("PATCH", "/work_pools/{name}", "update_work_pool", work_pools::update),
    ("DELETE", "/work_pools/{name}", "delete_work_pool", work_pools::delete),
    ("POST", "/work_pools/{name}/get_scheduled_flow_runs", "get_scheduled_flow_runs", super::scheduled::get),
    ("POST", "/work_pools/{name}/queues", "create_work_queue", queues::create),
    ("POST", "/work_pools/{name}/queues/filter", "queues/filter", queues::filter),
    ("GET", "/work_pools/{name}/queues/{queue}", "read_work_queue", queues::read),
    ("PATCH", "/work_pools/{name}/queues/{queue}", "update_work_queue", queues::update),
    ("GET", "/work_queues/{id}", "read_work_queue", queues::read_by_id),
    ("POST", "/work_pools/{name}/workers/heartbeat", "heartbeat", workers::heartbeat),
    ("POST", "/work_pools/{name}/workers/filter", "workers/filter", workers::filter),
    ("POST", "/flows/", "create_flow", flows::create),
    ("POST", "/flows/filter", "flows/filter", flows::filter),
    ("GET", "/flows/{id}", "read_flow", flows::read),
    ("GET", "/flows/name/{name}", "read_flow_by_name", flows::read_by_name),
    ("POST", "/deployments/", "create_deployment", deployments::create),
    ("POST", "/deployments/filter", "deployments/filter", deployments::filter),
    ("GET", "/deployments/{id}", "read_deployment", deployments::read),
    ("PATCH", "/deployments/{id}", "update_deployment", deployments::update),
    ("DELETE", "/deployments/{id}", "delete_deployment", deployments::delete),
    ("GET", "/deployments/name/{flow}/{name}", "read_deployment_by_name", deployments::read_by_name),
    ("POST", "/deployments/{id}/create_flow_run", "create_flow_run_from_deployment", flow_runs::create_from_deployment),
    ("GET", "/v2/concurrency_limits/{limit}", "read_concurrency_limit", limits::read),
    ("PATCH", "/v2/concurrency_limits/{limit}", "update_concurrency_limit", limits::update),
    ("POST", "/flow_runs/", "create_flow_run", flow_runs::create),
    ("POST", "/flow_runs/filter", "flow_runs/filter", flow_runs::filter),
    ("GET", "/flow_runs/{id}", "read_flow_run", flow_runs::read),
    ("PATCH", "/flow_runs/{id}", "update_flow_run", flow_runs::update),
    ("DELETE", "/flow_runs/{id}", "delete_flow_run", flow_runs::delete),
    ("PATCH", "/flow_runs/{id}/labels", "labels", flow_runs::labels),
    ("POST", "/flow_runs/{id}/set_state", "set_state", set_state::set_state),
    ("POST", "/flow_runs/{id}/resume", "resume", set_state::resume),
    ("GET", "/flow_run_states/", "flow_run_states", set_state::history),
    ("GET", "/flow_run_states/{id}", "read_flow_run_state", set_state::read),
    ("POST", "/block_types/", "create_block_type", blocks::create_type),
    ("GET", "/block_types/slug/{slug}", "read_block_type", blocks::read_type),
    (
        "GET",
        "/block_types/slug/{slug}/block_documents/name/{name}",
        "read_block_document_by_name",
        blocks::read_by_name,
    ),
    ("POST", "/block_schemas/", "create_block_schema", blocks::create_schema),
    ("POST", "/block_schemas/filter", "block_schemas/filter", blocks::filter_schemas),
    ("POST", "/block_documents/", "create_block_document", blocks::create_document),
    ("GET", "/block_documents/{id}", "read_block_document", blocks::read_document),
    ("PATCH", "/block_documents/{id}", "update_block_document", blocks::update_document),
    ("DELETE", "/block_documents/{id}", "delete_block_document", blocks::delete_document),
    ("POST", "/automations/", "create_automation", automations::create),
    ("POST", "/automations/filter", "automations/filter", automations::filter),
    ("GET", "/automations/{id}", "read_automation", automations::read),
    ("PUT", "/automations/{id}", "replace_automation", automations::replace),
    ("PATCH", "/automations/{id}", "update_automation", automations::update),
    ("DELETE", "/automations/{id}", "delete_automation", automations::delete),
    ("POST", "/variables/", "create_variable", variables::create),
    ("GET", "/variables/name/{name}", "read_variable", variables::read),
    ("POST", "/logs/", "logs", records::create_logs),
    ("POST", "/logs/filter", "logs/filter", records::filter_logs),
    ("POST", "/events", "events", records::create_events),
    ("POST", "/events/filter", "events/filter", automations::filter_events),
];

/// What a path is to the server.
pub(super) enum Found {
    /// A handler, and the path's parameters.
    Handler(&'static str, Handler, Vec<String>),
    /// The path exists, for other methods.
    OtherMethod,
    /// The path exists with a slash more or less at its end.
    OtherSlash(String),
    /// Nothing.
    Nothing,
}

/// The path under `/prefect3/api`, or under an account and workspace of Prefect Cloud; none for other paths.
pub(super) fn api_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/prefect3/api")?;
    let cloud = rest.strip_prefix("/accounts/").and_then(|rest| {
        let (_, rest) = rest.split_once("/workspaces/")?;
        Some(rest.find('/').map_or("", |slash| &rest[slash..]))
    });
    let rest = cloud.unwrap_or(rest);
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Finds the handler of a path under the API's.
pub(super) fn find(method: &Method, path: &str) -> Found {
    for (_, pattern, name, handler) in ROUTES.iter().filter(|(wanted, ..)| *wanted == method.as_str()) {
        if let Some(parameters) = matches(pattern, path) {
            return Found::Handler(name, *handler, parameters);
        }
    }
    if ROUTES.iter().any(|(_, pattern, ..)| matches(pattern, path).is_some()) {
        return Found::OtherMethod;
    }
    let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
    if ROUTES.iter().any(|(_, pattern, _, _)| matches(pattern, &other).is_some()) {
        return Found::OtherSlash(other);
    }
    Found::Nothing
}

/// The operation's name, as the journal and the faults have it; none for paths outside of the API.
pub(crate) fn operation(method: &Method, path: &str) -> Option<String> {
    let path = api_path(path)?;
    Some(match find(method, path) {
        Found::Handler(name, ..) => name.to_owned(),
        _ => format!("{method} {path}"),
    })
}

/// The parameters of a path that matches a pattern.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some("{id}"), Some(part)) => parameters.push(times::uuid(part)?),
            (Some(name), Some(part)) if name.starts_with('{') && !part.is_empty() => {
                parameters.push(percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned());
            }
            (Some(name), Some(part)) if name == part => {}
            _ => return None,
        }
    }
}
