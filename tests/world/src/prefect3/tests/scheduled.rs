//! What a work pool hands out.

use super::{ask, deployment, get, go, run, switch};
use crate::{
    World,
    prefect3::{Generation, PoolSpec},
};
use serde_json::{Value, json};

/// The names of the runs that are handed out.
async fn names(world: &World, body: Value) -> Vec<String> {
    let rows = get(world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", body).await;
    let name = |row: &Value| row["flow_run"]["name"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(name).collect()
}

/// A pool with the queues `high` (1), `default` (2) and `low` (3), each with a deployment.
fn pool(spec: &Value) -> World {
    let world = World::new();
    let mut all = json!({"queues": [{"name": "high", "priority": 1}, {"name": "low", "priority": 3}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let spec: PoolSpec = serde_json::from_value(all).unwrap();
    world.prefect3_pool(spec);
    world
}

fn seed(world: &World, name: &str, queue: &str, start: f64) -> String {
    deployment(world, json!({}));
    run(world, json!({"name": name, "work_queue": queue, "start_in_seconds": start}))
}

#[tokio::test]
async fn by_priority_then_by_time() {
    let world = pool(&json!({}));
    for (name, queue, start) in [
        ("l", "low", -9.0),
        ("d2", "default", -1.0),
        ("d1", "default", -2.0),
        ("h", "high", -1.0),
        ("later", "high", 60.0),
    ] {
        seed(&world, name, queue, start);
    }
    let soon = crate::prefect3::times::show(world.lock().now() + time::Duration::seconds(10), Generation::default());
    let due = |more: Value| {
        let mut body = json!({"scheduled_before": soon});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        names(&world, body)
    };
    assert_eq!(due(json!({})).await, ["h", "d1", "d2", "l"]);
    assert_eq!(due(json!({"limit": 2})).await, ["h", "d1"]);
    assert_eq!(due(json!({"work_queue_names": []})).await, ["h", "d1", "d2", "l"]);
    assert_eq!(due(json!({"work_queue_names": ["low", "default"]})).await, ["d1", "d2", "l"]);
    assert_eq!(due(json!({"scheduled_before": soon.replace('T', " ").replace('Z', "+00:00")})).await.len(), 4);
    assert_eq!(names(&world, Value::Null).await, ["h", "later", "d1", "d2", "l"]);
    assert_eq!(names(&world, json!({"scheduled_after": soon})).await, ["later"]);
}

#[tokio::test]
async fn rows_have_no_state_but_its_id() {
    let world = World::new();
    let id = run(&world, json!({"job_variables": {"cpu": 256}}));
    let rows = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await;
    let row = &rows[0]["flow_run"];
    let state = world.prefect3_flow_run(&id).unwrap().state().unwrap().id.clone();
    assert_eq!(
        (&row["state"], &row["state_id"], &row["state_type"]),
        (&Value::Null, &json!(state), &json!("SCHEDULED"))
    );
    assert_eq!((&row["work_queue_name"], row.get("work_pool_name")), (&Value::Null, None));
    assert_eq!(row["job_variables"], json!({"cpu": 256}));
    let read = get(&world, &format!("GET /flow_runs/{id}"), Value::Null).await;
    assert_eq!((&read["work_pool_name"], &read["state"]["id"]), (&json!("ecs-pool"), &json!(state)));
}

#[tokio::test]
async fn limits_of_pool_and_queue_count_pending_and_running() {
    let world =
        pool(&json!({"concurrency_limit": 3, "queues": [{"name": "low", "priority": 3, "concurrency_limit": 1}]}));
    let [first, second] = ["a", "b"].map(|name| seed(&world, name, "low", -9.0));
    for name in ["c", "d", "e"] {
        seed(&world, name, "default", -1.0);
    }
    assert_eq!(names(&world, json!({})).await, ["c", "d", "e"], "the pool has three slots, the queue comes last");
    assert_eq!(names(&world, json!({"work_queue_names": ["low"]})).await, ["a"]);
    go(&world, &first, "PENDING").await;
    assert_eq!(names(&world, json!({"work_queue_names": ["low"]})).await, Vec::<String>::new());
    assert_eq!(names(&world, json!({})).await, ["c", "d"]);
    let pool = get(&world, "GET /work_pools/ecs-pool", Value::Null).await;
    assert_eq!((&pool["concurrency_limit"], &pool["active_slots"]), (&json!(3), &json!(1)));
    go(&world, &first, "RUNNING").await;
    go(&world, &first, "COMPLETED").await;
    assert_eq!(names(&world, json!({"work_queue_names": ["low"]})).await, ["b"]);
    go(&world, &second, "CANCELLING").await;
    assert_eq!(names(&world, json!({})).await, ["c", "d", "e"]);
}

#[tokio::test]
async fn paused_pools_and_queues_hand_nothing_out() {
    let world = pool(&json!({}));
    seed(&world, "h", "high", -1.0);
    seed(&world, "d", "default", -1.0);
    let patch = async |path: &str, paused: bool| {
        get(&world, &format!("PATCH /work_pools/{path}"), json!({"is_paused": paused})).await
    };
    patch("ecs-pool/queues/high", true).await;
    assert_eq!(names(&world, json!({})).await, ["d"]);
    patch("ecs-pool", true).await;
    assert_eq!(names(&world, json!({})).await, Vec::<String>::new());
    assert_eq!(get(&world, "GET /work_pools/ecs-pool", Value::Null).await["status"], "PAUSED");
    patch("ecs-pool", false).await;
    patch("ecs-pool/queues/high", false).await;
    assert_eq!(names(&world, json!({})).await, ["h", "d"]);
    let queues =
        get(&world, "POST /work_pools/ecs-pool/queues/filter", json!({"work_queues": null, "offset": null})).await;
    let told: Vec<(&str, &str)> = queues
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| (queue["name"].as_str().unwrap(), queue["status"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("high", "READY"), ("default", "READY"), ("low", "READY")]);
}

#[tokio::test]
async fn refusals() {
    let world = pool(&json!({}));
    for (path, body, status, detail) in [
        ("nope", json!({}), 404, "Work pool \"nope\" not found."),
        ("ecs-pool", json!({"work_queue_names": ["nope"]}), 404, "Work pool queue 'ecs-pool/nope' not found."),
        ("ecs-pool", json!({"limit": 201}), 422, "Invalid limit: must be less than or equal to 200."),
        ("ecs-pool", json!({"limit": -1}), 422, "Invalid limit: must be greater than or equal to 0."),
    ] {
        let answer = ask(&world, &format!("POST /work_pools/{path}/get_scheduled_flow_runs"), body).await;
        assert_eq!((answer.status, &answer.body["detail"]), (status, &json!(detail)), "{answer:?}");
    }
    switch(&world, |switches| switches.api_limit = 2);
    for name in ["a", "b", "c"] {
        seed(&world, name, "default", -1.0);
    }
    assert_eq!(names(&world, json!({})).await.len(), 2);
}

#[tokio::test]
async fn heartbeats_make_pools_ready() {
    let world = pool(&json!({}));
    let beat = "POST /work_pools/ecs-pool/workers/heartbeat";
    let status = async || get(&world, "GET /work_pools/ecs-pool", Value::Null).await["status"].clone();
    assert_eq!(status().await, "NOT_READY");
    assert_eq!(ask(&world, beat, json!({"name": "w", "heartbeat_interval_seconds": 60})).await.status, 204);
    assert_eq!(status().await, "READY");
    super::advance(&world, 179);
    assert_eq!(status().await, "READY");
    super::advance(&world, 2);
    assert_eq!(status().await, "NOT_READY");
    let workers = get(&world, "POST /work_pools/ecs-pool/workers/filter", json!({})).await;
    assert_eq!((&workers[0]["name"], &workers[0]["status"]), (&json!("w"), &json!("OFFLINE")));
    assert_eq!(ask(&world, "POST /work_pools/nope/workers/heartbeat", json!({"name": "w"})).await.status, 404);
}
