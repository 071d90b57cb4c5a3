//! The control API.

use super::get;
use crate::{World, prefect3::control};
use serde_json::{Value, json};

fn run(world: &World, command: &str, body: Value) -> Value {
    control(&mut world.lock(), command, body).unwrap_or_else(|error| panic!("{command}: {error}"))
}

#[tokio::test]
async fn a_run_is_seeded_run_and_looked_at() {
    let world = World::new();
    run(&world, "pool", json!({"name": "p", "queues": [{"name": "q"}]}));
    let deployment =
        run(&world, "deployment", json!({"work_pool": "p", "work_queue": "q", "job_variables": {"cpu": 1}}));
    let id = run(&world, "run", json!({"deployment": deployment["id"], "labels": {"a": "b"}}))["id"].clone();
    let rows = get(&world, "POST /work_pools/p/get_scheduled_flow_runs", json!({})).await;
    assert_eq!(rows[0]["flow_run"]["id"], id);
    assert_eq!(run(&world, "start", json!({"id": id}))["started"], true);
    run(&world, "finish", json!({"id": id, "state": "FAILED", "message": "no luck"}));
    let dump = run(&world, "runs", json!({"id": id}));
    assert_eq!((&dump[0]["state"]["message"], &dump[0]["starts"]), (&json!("no luck"), &json!(1)));
    let names: Vec<&Value> = dump[0]["states"].as_array().unwrap().iter().map(|state| &state["name"]).collect();
    assert_eq!(names, ["Scheduled", "Running", "Failed"]);
    assert_eq!(run(&world, "retry", json!({"id": id})), json!({"status": "ACCEPT"}));
    assert_eq!(run(&world, "cancel", json!({"id": id})), json!({"status": "REJECT"}), "Cancelled at once");
    let pools = run(&world, "pools", Value::Null);
    assert_eq!((&pools[0]["name"], &pools[0]["queues"][1]["name"]), (&json!("p"), &json!("q")));
}

#[tokio::test]
async fn many_runs_blocks_variables_and_pauses() {
    let world = World::new();
    let ids = run(&world, "runs", json!([{}, {"start_in_seconds": 3600}]))["ids"].clone();
    assert_eq!(ids.as_array().unwrap().len(), 2);
    run(&world, "schedule", json!({"id": ids[1], "start_in_seconds": -5}));
    run(&world, "block", json!({"block_type": "secret", "name": "s", "data": {"value": 1}}));
    run(&world, "variable", json!({"name": "v", "value": [1]}));
    run(&world, "queue", json!({"work_pool": "ecs-pool", "name": "q", "concurrency_limit": 3}));
    run(&world, "pause", json!({"work_pool": "ecs-pool"}));
    assert_eq!(get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await, json!([]));
    run(&world, "pause", json!({"work_pool": "ecs-pool", "paused": false}));
    let rows = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await;
    assert_eq!(rows[0]["flow_run"]["id"], ids[1]);
    let deployment = rows[0]["flow_run"]["deployment_id"].clone();
    assert_eq!(run(&world, "delete_deployment", json!({"id": deployment})), json!({"deleted": true}));
    assert_eq!(run(&world, "runs", Value::Null), json!([]));
    assert_eq!(run(&world, "services", Value::Null), json!({}));
    assert_eq!((run(&world, "logs", Value::Null), run(&world, "events", Value::Null)), (json!([]), json!([])));
}

#[test]
fn switches_are_changed_one_by_one() {
    let world = World::new();
    let all = run(&world, "switches", json!({"generation": "two", "auth": {"kind": "basic", "auth_string": "u:p"}}));
    assert_eq!((&all["generation"], &all["labels"]), (&json!("two"), &json!(true)));
    let all = run(&world, "switches", json!({"csrf": true, "busy": {"at_once": 2, "ms": 5}}));
    assert_eq!(
        (&all["generation"], &all["auth"]["auth_string"], &all["csrf"]),
        (&json!("two"), &json!("u:p"), &json!(true))
    );
    assert!(control(&mut world.lock(), "switches", json!({"typo": 1})).is_err());
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let world = World::new();
    for (command, body, reason) in [
        ("fly", json!({}), "no such command: fly"),
        ("cancel", json!({}), "`id` is missing"),
        ("cancel", json!({"id": "x"}), "no flow run x"),
        ("run", json!({"id": "x"}), "no UUID: x"),
        ("run", json!({"deployment": "x"}), "no deployment x"),
        ("run", json!({"start_time": "soon"}), "no time: soon"),
        ("finish", json!({"id": "x", "state": "Done"}), "no type of states: Done"),
        ("queue", json!({"name": "q"}), "`work_pool` is missing"),
    ] {
        assert_eq!(control(&mut world.lock(), command, body).unwrap_err(), reason, "{command}");
    }
    assert!(control(&mut world.lock(), "run", json!({"state": "Odd"})).unwrap_err().contains("CANCELLING"));
}
