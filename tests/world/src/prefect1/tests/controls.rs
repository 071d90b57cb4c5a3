//! The control API.

use super::{ask, queue};
use crate::{World, prefect1::control};
use serde_json::{Value, json};

fn run(world: &World, command: &str, body: Value) -> Value {
    control(&mut world.lock(), command, body).unwrap_or_else(|error| panic!("{command}: {error}"))
}

#[tokio::test]
async fn a_run_is_seeded_run_and_looked_at() {
    let world = World::new();
    let id = run(&world, "create_flow_run", json!({"labels": ["prod"], "flow": {"name": "Daily"}}))["id"].clone();
    assert_eq!(queue(&world, &["prod"]).await, [id.as_str().unwrap()]);
    assert_eq!(run(&world, "start", json!({"id": id})), json!({"started": true, "reason": null}));
    run(&world, "finish", json!({"id": id, "state": "Failed", "message": "no luck"}));
    let dump = run(&world, "runs", json!({"id": id}));
    assert_eq!(dump[0]["flow"]["name"], "Daily");
    assert_eq!((&dump[0]["state"], &dump[0]["state_message"]), (&json!("Failed"), &json!("no luck")));
    let states: Vec<&Value> = dump[0]["states"].as_array().unwrap().iter().map(|state| &state["state"]).collect();
    assert_eq!(states, ["Scheduled", "Running", "Failed"]);
    assert_eq!(dump[0]["starts"], 1);
    assert_eq!(run(&world, "logs", Value::Null), json!([]));
    assert_eq!(run(&world, "agents", Value::Null), json!([]));
}

#[tokio::test]
async fn switches_are_changed_one_by_one() {
    let world = World::new();
    let all = run(&world, "switches", json!({"backend": "server", "nulls": [{"path": "hello"}]}));
    assert_eq!((&all["backend"], &all["queue_ids"]), (&json!("server"), &json!(25)));
    let all = run(&world, "switches", json!({"queue_ids": 2}));
    assert_eq!((&all["backend"], &all["queue_ids"]), (&json!("server"), &json!(2)));
    assert_eq!(ask(&world, "{ hello }", Value::Null).await.json(), json!({"data": {"hello": null}}));
    assert!(control(&mut world.lock(), "switches", json!({"typo": 1})).is_err());
}

#[tokio::test]
async fn tenants_keys_and_agent_configurations() {
    let world = World::new();
    let tenant = "22222222-0000-4000-8000-000000000002";
    run(&world, "tenants", json!([{"id": tenant, "name": "Two"}]));
    run(&world, "api_key", json!({"key": "pcu_fakekey", "tenants": [tenant]}));
    run(&world, "token", json!({"token": "user", "scope": "USER", "tenant_id": tenant}));
    let config = run(&world, "agent_config", json!({"tenant_id": tenant, "settings": {"labels": ["a"]}}))["id"].clone();
    let query = "query($id: uuid) { auth_info { tenant_id } agent_config(where: {id: {_eq: $id}}) { settings } }";
    let answer = ask(&world, query, json!({"id": config})).await.json();
    let expected = json!({"auth_info": {"tenant_id": tenant}, "agent_config": [{"settings": {"labels": ["a"]}}]});
    assert_eq!(answer["data"], expected, "{answer}");
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let world = World::new();
    for (command, body, reason) in [
        ("fly", json!({}), "no such command: fly"),
        ("cancel", json!({}), "`id` is missing"),
        ("cancel", json!({"id": "x"}), "no flow run x"),
        ("create_flow_run", json!({"id": "x"}), "no UUID: x"),
        ("create_flow_run", json!({"state": "Odd"}), "{'type': ['Unsupported value: Odd']}"),
        ("agent_config", json!({"id": 1}), "`id` is no UUID: 1"),
    ] {
        assert_eq!(control(&mut world.lock(), command, body).unwrap_err(), reason, "{command}");
    }
}
