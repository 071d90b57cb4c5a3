//! A Python agent or worker on the same queue: it knows no marks and no tokens, and fails runs on a throttle.

use crate::call::Generation;
use crate::clock::Timeline;
use crate::config::REGION;
use crate::port::Port;
use crate::run::RunId;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use prefect_serverless_agent::http::Request;
use serde_json::{Value, json};
use std::time::Duration;
use world::prefect1::{API_KEY, TENANT};
use world::prefect3::POOL;

/// One poll.
pub async fn poll(port: Port, generation: Generation, timeline: Timeline) {
    match generation {
        Generation::One => poll_prefect1(&port).await,
        Generation::Three => poll_prefect3(&port, timeline).await,
    }
}

async fn send(
    port: &Port,
    method: Method,
    url: String,
    headers: &[(&'static str, &str)],
    body: &Value,
) -> Option<Value> {
    let mut all = HeaderMap::new();
    all.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        all.insert(*name, HeaderValue::from_str(value).ok()?);
    }
    let body = Some(Bytes::from(body.to_string()));
    let request = Request { method, url, headers: all, body, timeout: Duration::from_secs(15) };
    let answer = port.http().send(request).await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

async fn ask1(port: &Port, query: &str, variables: Value) -> Option<Value> {
    let key = format!("Bearer {API_KEY}");
    let body = json!({"query": query, "variables": variables});
    send(port, Method::POST, "http://prefect/prefect1".into(), &[("authorization", &key)], &body).await
}

async fn poll_prefect1(port: &Port) {
    let queue = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }";
    let due = ask1(port, queue, json!({"input": {"tenant_id": TENANT}})).await.unwrap_or_default();
    let ids = due["data"]["get_runs_in_queue"]["flow_run_ids"].as_array().cloned().unwrap_or_default();
    for id in ids.iter().filter_map(Value::as_str) {
        let rows = ask1(
            port,
            "query($where: flow_run_bool_exp) { flow_run(where: $where) { id version state serialized_state } }",
            json!({"where": {"id": {"_in": [id]}}}),
        );
        let row = rows.await.map(|rows| rows["data"]["flow_run"][0].clone()).unwrap_or_default();
        if row["state"] != "Scheduled" {
            continue;
        }
        let state =
            json!({"type": "Submitted", "message": "Submitted for execution", "state": row["serialized_state"]});
        let set = set1(port, json!({"flow_run_id": id, "version": row["version"], "state": state}));
        if set.await && !launch(port, id, "PREFECT__CONTEXT__FLOW_RUN_ID", json!([])).await {
            set1(port, json!({"flow_run_id": id, "state": {"type": "Failed", "message": "Rate exceeded"}})).await;
        }
    }
}

async fn set1(port: &Port, set: Value) -> bool {
    let set_states = "mutation($i0: set_flow_run_states_input!) \
        { set_flow_run_states(input: $i0) { states { id status message } } }";
    let answer = ask1(port, set_states, json!({"i0": {"states": [set]}})).await.unwrap_or_default();
    answer["data"]["set_flow_run_states"]["states"][0]["status"] == "SUCCESS"
}

async fn ask3(port: &Port, path: &str, body: Value) -> Option<Value> {
    send(port, Method::POST, format!("http://prefect/prefect3/api{path}"), &[], &body).await
}

async fn poll_prefect3(port: &Port, timeline: Timeline) {
    let before = timeline.now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    let path = format!("/work_pools/{POOL}/get_scheduled_flow_runs");
    let due = ask3(port, &path, json!({"scheduled_before": before})).await.unwrap_or_default();
    let due = due.as_array().cloned().unwrap_or_default();
    for (number, id) in due.iter().filter_map(|row| row["flow_run"]["id"].as_str()).enumerate() {
        // A random one, as the worker's are.
        let transition = format!("0000000{}-{:04}-4000-8000-000000000000", number % 10, port.actor.0 % 10_000);
        let claim = json!({"type": "PENDING", "name": "Pending", "state_details": {"transition_id": transition}});
        if set3(port, id, claim).await != "ACCEPT" {
            continue;
        }
        set3(port, id, json!({"type": "PENDING", "name": "Submitting"})).await;
        let tags = json!([
            {"key": "prefect.io/flow-run-id", "value": id}, {"key": "prefect.io/work-pool-name", "value": POOL},
        ]);
        if !launch(port, id, "PREFECT__FLOW_RUN_ID", tags).await {
            set3(port, id, json!({"type": "CRASHED", "name": "Crashed"})).await;
        }
    }
}

async fn set3(port: &Port, id: &str, state: Value) -> String {
    let body = json!({"state": state, "force": false});
    let answer = ask3(port, &format!("/flow_runs/{id}/set_state"), body).await.unwrap_or_default();
    answer["status"].as_str().unwrap_or_default().to_owned()
}

/// Starts a task as Python does: a definition for it alone, and neither token nor `startedBy`.
async fn launch(port: &Port, id: &str, variable: &str, tags: Value) -> bool {
    // Python refuses a run that it cannot render, or ECS does.
    if RunId::parse(id).is_some_and(|run| port.world().flavour(run).is_bad()) {
        return false;
    }
    let definition = json!({
        "family": "prefect-python", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "flow", "image": "python"}],
    });
    let registered = aws(port, "RegisterTaskDefinition", &definition).await.unwrap_or_default();
    let variables = json!([{"name": variable, "value": id}]);
    let request = json!({
        "taskDefinition": registered["taskDefinition"]["taskDefinitionArn"], "cluster": "blue", "launchType": "FARGATE",
        "overrides": {"containerOverrides": [{"name": "flow", "environment": variables}]}, "tags": tags,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-default-a"]}},
    });
    let started = aws(port, "RunTask", &request).await.unwrap_or_default();
    started["tasks"][0]["taskArn"].is_string()
}

async fn aws(port: &Port, operation: &str, body: &Value) -> Option<Value> {
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    let signed = format!("AWS4-HMAC-SHA256 Credential=AKIAPYTHON/20261124/{REGION}/ecs/aws4_request, Signature=x");
    let headers = [("x-amz-target", target.as_str()), ("authorization", signed.as_str())];
    send(port, Method::POST, format!("https://ecs.{REGION}.amazonaws.com/"), &headers, body).await
}
