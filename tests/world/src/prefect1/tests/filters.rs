//! Hasura's `where`, `order_by`, `limit` and `offset`.

use super::{ask, seed, server};
use crate::World;
use serde_json::{Value, json};

async fn names(world: &World, condition: Value) -> Vec<String> {
    let query = "query($w: flow_run_bool_exp) { flow_run(where: $w, order_by: {name: asc}) { name } }";
    let answer = ask(world, query, json!({"w": condition})).await.json();
    let rows = answer["data"]["flow_run"].as_array().unwrap_or_else(|| panic!("{condition}: {answer}"));
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

fn three() -> World {
    let world = server();
    seed(&world, json!({"name": "a", "labels": [], "start_time": "2026-01-01T00:00:00Z", "version": 1}));
    seed(
        &world,
        json!({"name": "b", "labels": ["x"], "start_time": "2026-01-02T00:00:00Z", "version": 2,
        "run_config": {"type": "ECSRun"}, "flow": {"name": "Other"}}),
    );
    seed(
        &world,
        json!({"name": "c", "labels": ["x", "y"], "state": "Running", "version": 3,
        "task_runs": [{"state": {"type": "Retrying", "start_time": "2026-01-03T00:00:00Z"}}, {"state": "Success"}]}),
    );
    world
}

#[tokio::test]
async fn conditions() {
    let world = three();
    let cases = [
        (json!({}), "abc"),
        (json!({"name": {"_eq": "a"}}), "a"),
        (json!({"name": {"_neq": "a"}}), "bc"),
        (json!({"name": {"_in": ["a", "c"]}}), "ac"),
        (json!({"name": {"_nin": ["a", "c"]}}), "b"),
        (json!({"version": {"_gt": 1, "_lte": 2}}), "b"),
        (json!({"state_start_time": {"_lt": "2026-01-02T01:00:00+01:00"}}), "a"),
        (json!({"state_start_time": {"_lte": "2026-01-02T01:00:00+01:00"}}), "ab"),
        (json!({"state_start_time": {"_is_null": true}}), "c"),
        (json!({"state_start_time": {"_is_null": false}}), "ab"),
        (json!({"_not": {"state_start_time": {"_gte": "2026-01-02T00:00:00Z"}}}), "a"),
        (json!({"_or": [{"name": {"_eq": "a"}}, {"state": {"_eq": "Running"}}]}), "ac"),
        (json!({"_or": []}), ""),
        (json!({"_and": []}), "abc"),
        (json!({"_and": [{"version": {"_gte": 2}}, {"name": {"_neq": "c"}}]}), "b"),
        (json!({"labels": {"_contained_in": ["x", "z"]}}), "ab"),
        (json!({"labels": {"_contains": ["x"]}}), "bc"),
        (json!({"labels": {"_contained_in": ["x", "z"], "_neq": []}}), "b"),
        (json!({"labels": {"_eq": []}}), "a"),
        (json!({"labels": {"_has_key": "y"}}), "c"),
        (json!({"serialized_state": {"_contains": {"type": "Running"}}}), "c"),
        (json!({"run_config": {"_is_null": false}}), "b"),
        (json!({"flow": {"name": {"_eq": "Other"}}}), "b"),
        (json!({"task_runs": {}}), "c"),
        (
            json!({"task_runs": {"state": {"_eq": "Retrying"}, "state_start_time": {"_lte": "2026-01-03T00:00:00Z"}}}),
            "c",
        ),
        (json!({"task_runs": {"state": {"_eq": "Success"}, "state_start_time": {"_is_null": false}}}), ""),
        (json!({"_not": {"task_runs": {}}}), "ab"),
        (json!({"agent_id": {"_eq": "11111111-0000-4000-8000-000000000000"}}), ""),
        (json!({"tenant_id": {"_eq": "6F1B2C3D-0000-4000-8000-000000000001"}}), "abc"),
    ];
    for (condition, expected) in cases {
        assert_eq!(names(&world, condition.clone()).await.concat(), expected, "{condition}");
    }
}

#[tokio::test]
async fn inline_conditions_and_nested_arguments() {
    let world = three();
    let query = r#"query($labels: jsonb!) {
        flow_run(where: {labels: {_contained_in: $labels}, _or: [{state: {_eq: "Scheduled"}}, {state: {_eq: "Running"},
            task_runs: {state_start_time: {_lte: "2026-01-03T00:00:00Z"}}}]}, order_by: [{name: desc}]) {
            name task_runs(where: {state: {_in: ["Retrying"]}}) { state } } }"#;
    let answer = ask(&world, query, json!({"labels": ["x", "y"]})).await.json();
    let expected = json!([
        {"name": "c", "task_runs": [{"state": "Retrying"}]},
        {"name": "b", "task_runs": []},
        {"name": "a", "task_runs": []},
    ]);
    assert_eq!(answer["data"]["flow_run"], expected, "{answer}");
    let inline = r#"{ flow_run(where: {labels: {_contained_in: ["x"]}}) { name } }"#;
    assert_eq!(ask(&world, inline, Value::Null).await.json()["data"]["flow_run"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn orders_and_pages() {
    let world = three();
    for (arguments, expected) in [
        ("order_by: {state_start_time: asc}", "abc"),
        ("order_by: {state_start_time: desc}", "cba"),
        ("order_by: {state_start_time: desc_nulls_last}", "bac"),
        ("order_by: {state_start_time: asc_nulls_first}", "cab"),
        ("order_by: [{flow: {name: asc}}, {version: desc}]", "cab"),
        ("order_by: {version: desc}, limit: 2", "cb"),
        ("order_by: {version: desc}, limit: 2, offset: 2", "a"),
    ] {
        let answer = ask(&world, &format!("{{ flow_run({arguments}) {{ name }} }}"), Value::Null).await.json();
        let rows = answer["data"]["flow_run"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let names: String = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{arguments}");
    }
}

#[tokio::test]
async fn one_row_by_its_key_with_its_history() {
    let world = three();
    let id = world.flow_runs()[1].id.clone();
    world.cancel_flow_run(&id).unwrap();
    let query = "query($id: uuid!) { flow_run_by_pk(id: $id) { name version states(order_by: {version: asc}) { version state } } }";
    let answer = ask(&world, query, json!({"id": id})).await.json();
    let states = json!([{"version": 2, "state": "Scheduled"}, {"version": 3, "state": "Cancelled"}]);
    assert_eq!(answer, json!({"data": {"flow_run_by_pk": {"name": "b", "version": 3, "states": states}}}));
}
