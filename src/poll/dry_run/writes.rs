//! What ECS and Prefect would be asked to change. Pure.

use super::{Write, body_of, setting};
use crate::http::Request;
use crate::orchestrator::Mark;
use crate::python_text;
use crate::transport::shape::{at, items_at, text_at};
use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// The header that names the operation, and what its value begins with.
const TARGET: (&str, &str) = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.");

/// What a request to AWS would change; `None` = nothing.
pub(super) fn to_ecs(request: &Request) -> Option<Write> {
    let operation = request.headers.get(TARGET.0)?.to_str().ok()?.strip_prefix(TARGET.1)?;
    if operation.starts_with("Describe") || operation.starts_with("List") {
        return None;
    }
    let body = body_of(request);
    let text = |key: &str| text_at(&body, &[key]).unwrap_or_default();
    let answer = match operation {
        "RunTask" => {
            let task = json!({"taskArn": "[the task's ARN]", "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING"});
            json!({"tasks": [task], "failures": []})
        }
        "RegisterTaskDefinition" => {
            let arn = format!("[the ARN of the new revision of {}]", text("family"));
            json!({"taskDefinition": {"taskDefinitionArn": arn}})
        }
        _ => json!({}),
    };
    let (operation, of) = (operation.to_owned(), vec![text("clientToken").to_owned()]);
    Some(Write { operation, body, answer, of, ..Write::default() })
}

// What Prefect 0.15 and 1 would be asked to change.

/// What a request to the GraphQL API would change; `None` = nothing. Asking the queue is a mutation in name only.
pub(super) fn to_prefect1(request: &Request) -> Option<Write> {
    let body = body_of(request);
    let query = text_at(&body, &["query"]).filter(|query| query.starts_with("mutation"))?;
    if query.contains("get_runs_in_queue(") {
        return None;
    }
    if query.contains("write_run_logs(") {
        let lines = items_at(&body, &["variables", "input", "logs"]);
        let of = lines.iter().filter_map(|line| Some(text_at(line, &["flow_run_id"])?.to_owned())).collect();
        let answer = json!({"data": {"write_run_logs": {"success": true}}});
        return Some(Write { operation: "log".into(), answer, of, body, ..Write::default() });
    }
    let variables = at(&body, &["variables"]).and_then(Value::as_object).into_iter().flatten();
    let set: Vec<_> = variables.clone().filter_map(|(_, input)| set_state(input)).collect();
    // The field `r0` is what becomes of the variable `i0`.
    let done = |name: &String| (name.replacen('i', "r", 1), json!({"states": [{"status": "SUCCESS"}]}));
    let data: Map<String, Value> = variables.map(|(name, _)| done(name)).collect();
    Some(Write {
        operation: set.first().map(|(_, state)| setting(state)).unwrap_or_default(),
        answer: json!({"data": data}),
        of: set.iter().map(|(id, _)| id.clone()).collect(),
        due: set.iter().filter_map(|(id, state)| claimed(id, state)).flatten().collect(),
        states: set,
        body,
    })
}

/// The run, or the task run, and its state.
fn set_state(input: &Value) -> Option<(String, Value)> {
    let item = items_at(input, &["states"]).first()?;
    let id = text_at(item, &["flow_run_id"]).or_else(|| text_at(item, &["task_run_id"]))?;
    Some((id.to_owned(), item.get("state")?.clone()))
}

/// When a claimed run is due, by its id and by the token of its launch: its claim is put around the state that it was
/// due in.
fn claimed(id: &str, state: &Value) -> Option<[(String, OffsetDateTime); 2]> {
    let start = python_text::parse_time(text_at(state, &["state", "start_time"])?)?;
    let token = text_at(state, &["context", Mark::KEY, "token"])?;
    Some([(id.to_owned(), start), (token.to_owned(), start)])
}

// What Prefect 2 and 3 would be asked to change.

/// What a request to the REST API at `api` would change; `None` = nothing.
pub(super) fn to_prefect3(request: &Request, api: &str) -> Option<Write> {
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
