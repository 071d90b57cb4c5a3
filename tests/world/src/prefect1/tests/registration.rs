//! Agents and tenants.

use super::{QUEUE, ask, ask_as, server};
use crate::{World, prefect1::TENANT};
use serde_json::{Value, json};

const REGISTER: &str = "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }";

fn input(name: &str, labels: &[&str], tenant: &Value) -> Value {
    json!({"input": {"type": "ECSAgent", "name": name, "labels": labels, "tenant_id": tenant, "agent_config_id": null}})
}

async fn register(world: &World, name: &str, labels: &[&str]) -> String {
    let answer = ask(world, REGISTER, input(name, labels, &json!(TENANT))).await.json();
    answer["data"]["register_agent"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn an_equal_agent_is_the_same_agent() {
    let world = server();
    let first = register(&world, "etl", &["b", "a"]).await;
    assert_eq!(register(&world, "etl", &["a", "b"]).await, first, "labels are sorted");
    assert_ne!(register(&world, "etl", &["a"]).await, first);
    assert_ne!(register(&world, "etl2", &["a", "b"]).await, first);
    assert_eq!(world.prefect1_agents().len(), 3);
}

#[tokio::test]
async fn registering_needs_a_tenant_that_exists() {
    let world = server();
    let none = ask(&world, REGISTER, input("etl", &[], &Value::Null)).await.json();
    assert_eq!(none["errors"][0]["message"], "No tenant found.");
    assert_eq!(none["data"], json!({"register_agent": null}));
    world.prefect1(|prefect1| prefect1.tenants.clear());
    let unknown = ask(&world, REGISTER, input("etl", &[], &json!(TENANT))).await.json();
    assert_eq!(unknown["data"], json!({"register_agent": null}), "{unknown}");
    assert_eq!(ask(&world, "{ tenant { id } }", Value::Null).await.json(), json!({"data": {"tenant": []}}));
}

#[tokio::test]
async fn asking_for_the_queue_is_the_agents_sign_of_life() {
    let world = server();
    let id = register(&world, "etl", &[]).await;
    assert_eq!(world.prefect1_agents()[0].last_queried, None);
    ask_as(&world, Some(&id), QUEUE, json!({"input": {"tenant_id": TENANT}})).await;
    assert!(world.prefect1_agents()[0].last_queried.is_some());
}

#[tokio::test]
async fn another_tenants_rows_are_not_seen_on_cloud() {
    let world = World::new();
    let other = "22222222-0000-4000-8000-000000000002";
    super::seed(&world, json!({"tenant_id": other}));
    assert_eq!(ask(&world, "{ flow_run { id } }", Value::Null).await.json(), json!({"data": {"flow_run": []}}));
    let answer = ask(&world, QUEUE, json!({"input": {"tenant_id": other}})).await.json();
    assert_eq!(answer["data"], json!({"get_runs_in_queue": null}), "{answer}");
}
