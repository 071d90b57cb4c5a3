//! Blocks, variables, log lines, events, and what is created over REST.

use super::{ask, get, run, switch};
use crate::World;
use serde_json::{Value, json};

const TIME: &str = "2026-11-22T16:23:00.514499Z";

#[tokio::test]
async fn secrets_are_hidden_unless_asked_for() {
    let world = World::new();
    let block = |spec: Value| world.prefect3_block(serde_json::from_value(spec).unwrap());
    block(json!({"block_type": "secret", "name": "s", "data": {"value": "geheim"}}));
    let inner = block(json!({"block_type": "inner", "name": "i", "data": {"key": "tief"}, "secret_fields": ["key"]}));
    let outer = json!({"open": 1, "in": {"$ref": {"block_document_id": inner}}, "all": {"a": "b"}});
    let id = block(json!({"block_type": "outer", "name": "o", "data": outer, "secret_fields": ["all.*"]}));
    let path = "GET /block_types/slug/secret/block_documents/name/s";
    assert_eq!(get(&world, path, Value::Null).await["data"], json!({"value": "********"}));
    let read = get(&world, &format!("{path}?include_secrets=true"), Value::Null).await;
    assert_eq!((&read["data"], &read["block_type"]["slug"]), (&json!({"value": "geheim"}), &json!("secret")));
    let read = get(&world, &format!("GET /block_documents/{id}"), Value::Null).await;
    assert_eq!(read["data"], json!({"open": 1, "in": {"key": "********"}, "all": {"a": "********"}}));
    let read = get(&world, &format!("GET /block_documents/{id}?include_secrets=true"), Value::Null).await;
    assert_eq!(read["data"], json!({"open": 1, "in": {"key": "tief"}, "all": {"a": "b"}}));
    for path in ["/block_types/slug/secret/block_documents/name/x", "/block_types/slug/x/block_documents/name/s"] {
        let answer = ask(&world, &format!("GET {path}"), Value::Null).await;
        assert_eq!((answer.status, answer.body), (404, json!({"detail": "Block document not found"})));
    }
}

#[tokio::test]
async fn variables_hold_any_json() {
    let world = World::new();
    world.prefect3_variable("image", json!({"tag": [1]}));
    assert_eq!(get(&world, "GET /variables/name/image", Value::Null).await["value"], json!({"tag": [1]}));
    let answer = ask(&world, "GET /variables/name/nope", Value::Null).await;
    assert_eq!((answer.status, answer.body), (404, json!({"detail": "Variable not found."})));
}

#[tokio::test]
async fn log_lines_are_kept_by_run_and_checked() {
    let world = World::new();
    let id = run(&world, json!({}));
    let line = json!({"name": "prefect.flow_runs.worker", "level": 20, "message": "hello", "timestamp": TIME, "flow_run_id": id});
    let answer =
        ask(&world, "POST /logs/", json!([line, {"name": "n", "level": 40, "message": "x", "timestamp": TIME}])).await;
    assert_eq!((answer.status, answer.body), (201, Value::Null));
    assert_eq!(world.prefect3_flow_run_logs(&id), ["hello"]);
    let read = get(&world, "POST /logs/filter", json!({"logs": {"flow_run_id": {"any_": [id]}}})).await;
    assert_eq!((&read[0]["message"], read.as_array().unwrap().len()), (&json!("hello"), 1));
    let of_worker = json!([{"name": "n", "level": 20, "message": "m", "timestamp": TIME, "worker_id": null}]);
    assert_eq!(ask(&world, "POST /logs/", of_worker.clone()).await.status, 422);
    switch(&world, |switches| switches.cloud = true);
    assert_eq!(ask(&world, "POST /logs/", of_worker).await.status, 201);
    for bad in
        [json!({}), json!([{"name": "n"}]), json!([{"name": "n", "level": "x", "message": "m", "timestamp": TIME}])]
    {
        assert_eq!(ask(&world, "POST /logs/", bad.clone()).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn events_need_a_resource_and_roles() {
    let world = World::new();
    let event = |resource: Value, related: Value| {
        json!([{
            "occurred": TIME, "event": "prefect.worker.submitted-flow-run", "resource": resource, "related": related,
            "payload": {}, "id": "2b0e8ab0-5b7c-4d4c-8a4e-0f6c5d1b6a01",
        }])
    };
    let resource = json!({"prefect.resource.id": "prefect.worker.ecs.w"});
    assert_eq!(ask(&world, "POST /events", event(resource.clone(), json!([]))).await.status, 204);
    assert_eq!(world.lock().prefect3.events.len(), 1);
    assert_eq!(ask(&world, "POST /events", event(json!({}), json!([]))).await.status, 422);
    let nameless = json!([{"prefect.resource.id": "prefect.flow-run.x"}]);
    assert_eq!(ask(&world, "POST /events", event(resource, nameless)).await.status, 422);
}

#[tokio::test]
async fn everything_can_be_made_over_rest() {
    let world = World::new();
    let flow = get(&world, "POST /flows/", json!({"name": "hello"})).await["id"].clone();
    assert_eq!(ask(&world, "POST /flows/", json!({"name": "hello"})).await.status, 200, "it is there");
    assert_eq!(ask(&world, "POST /work_pools/", json!({"name": "p", "type": "ecs"})).await.status, 201);
    assert_eq!(ask(&world, "POST /work_pools/", json!({"name": "p", "type": "ecs"})).await.status, 409);
    assert_eq!(get(&world, "GET /work_pools/p", Value::Null).await["base_job_template"], json!({}));
    let template = crate::prefect3::ecs_template();
    assert_eq!(ask(&world, "PATCH /work_pools/p", json!({"base_job_template": template})).await.status, 204);
    assert_eq!(ask(&world, "PATCH /work_pools/p", json!({"base_job_template": {"a": 1}})).await.status, 422);
    assert_eq!(get(&world, "GET /work_pools/p", Value::Null).await["base_job_template"], template);
    let queue = get(&world, "POST /work_pools/p/queues", json!({"name": "q", "priority": 1})).await;
    assert_eq!((&queue["priority"], &queue["status"]), (&json!(1), &json!("NOT_READY")));
    let deployment =
        json!({"name": "d", "flow_id": flow, "work_pool_name": "p", "work_queue_name": "q", "parameters": {"a": 1}});
    let deployment = get(&world, "POST /deployments/", deployment).await["id"].clone();
    let path = format!("POST /deployments/{}/create_flow_run", deployment.as_str().unwrap());
    let made = get(&world, &path, json!({"parameters": {"b": 2}, "job_variables": {"cpu": 512}})).await;
    assert_eq!((&made["parameters"], &made["work_queue_name"]), (&json!({"a": 1, "b": 2}), &json!("q")));
    let again = json!({"flow_id": flow, "idempotency_key": "k", "state": {"type": "SCHEDULED"}, "work_pool_name": "p"});
    let first = ask(&world, "POST /flow_runs/", again.clone()).await;
    let second = ask(&world, "POST /flow_runs/", again).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.body["id"], second.body["id"]);
    let rows = get(&world, "POST /work_pools/p/get_scheduled_flow_runs", json!({})).await;
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    assert_eq!(ask(&world, "POST /variables/", json!({"name": "v", "value": 1})).await.status, 201);
    assert_eq!(ask(&world, "POST /variables/", json!({"name": "v", "value": 1})).await.status, 409);
}
