//! What Prefect 2 and 3 would be asked to change. Pure.

use super::recorder::{Write, body_of, setting};
use crate::http::Request;
use http::Method;
use serde_json::json;

/// What a request to the REST API at `api` would change; `None` = nothing.
pub(super) fn write(request: &Request, api: &str) -> Option<Write> {
    let path = request.url.strip_prefix(api).unwrap_or(&request.url);
    if request.method == Method::GET || path.ends_with("/filter") || path.ends_with("/get_scheduled_flow_runs") {
        return None;
    }
    let body = body_of(request);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (operation, states) = match (segments.as_slice(), body.get("state")) {
        (["flow_runs", run, "set_state"], Some(state)) => (setting(state), vec![((*run).to_owned(), state.clone())]),
        (["flow_runs", _], _) => ("record-task".to_owned(), Vec::new()),
        (["logs"], _) => ("log".to_owned(), Vec::new()),
        _ => ("announce".to_owned(), Vec::new()),
    };
    let answer = json!({"status": "ACCEPT", "state": body.get("state")});
    let body = json!({"method": request.method.as_str(), "path": path, "body": body});
    // Nothing is held: runs start early, and the server keeps their flows from running before their time.
    Some(Write { operation, body, answer, states, ..Write::default() })
}
