//! Deployments with a concurrency limit.

use super::{advance, ask, deployment, get, go, run, send};
use crate::World;
use serde_json::{Value, json};

async fn taken(world: &World, deployment: &str) -> Value {
    get(world, &format!("GET /deployments/{deployment}"), Value::Null).await["global_concurrency_limit"]["active_slots"]
        .clone()
}

#[tokio::test]
async fn a_run_without_a_slot_waits_thirty_seconds_and_comes_back() {
    let world = World::new();
    let limited = deployment(&world, json!({"concurrency_limit": 1}));
    let [first, second] = [0, 0].map(|_| run(&world, json!({})));
    assert_eq!(go(&world, &first, "PENDING").await, "201 ACCEPT Pending");
    assert_eq!(taken(&world, &limited).await, 1);
    let answer =
        ask(&world, &format!("POST /flow_runs/{second}/set_state"), json!({"state": {"type": "PENDING"}})).await;
    assert_eq!((answer.status, &answer.body["status"]), (201, &json!("REJECT")));
    assert_eq!(answer.body["details"]["reason"], "Deployment concurrency limit reached.");
    let run = world.prefect3_flow_run(&second).unwrap();
    let wait = run.next_scheduled_start_time.unwrap() - run.states[1].timestamp;
    assert_eq!((run.state_name(), wait.whole_seconds()), ("AwaitingConcurrencySlot", 30));

    go(&world, &first, "RUNNING").await;
    go(&world, &first, "COMPLETED").await;
    assert_eq!(taken(&world, &limited).await, 0);
    advance(&world, 31);
    assert_eq!(go(&world, &second, "PENDING").await, "201 ACCEPT Pending");
    // Given back: the slot is free again.
    assert_eq!(go(&world, &second, "SCHEDULED").await, "201 ACCEPT Scheduled");
    assert_eq!(taken(&world, &limited).await, 0);
}

#[tokio::test]
async fn cancel_new_cancels_what_finds_no_slot() {
    let world = World::new();
    deployment(&world, json!({"concurrency_limit": 1, "collision_strategy": "CANCEL_NEW"}));
    let [first, second] = [0, 0].map(|_| run(&world, json!({})));
    go(&world, &first, "PENDING").await;
    assert_eq!(go(&world, &second, "PENDING").await, "201 REJECT Cancelled");
    let third = run(&world, json!({"start_in_seconds": -60}));
    world.prefect3_services();
    assert_eq!(world.prefect3_flow_run(&third).unwrap().history(), ["Scheduled", "Cancelled"], "instead of Late");
}

#[tokio::test]
async fn a_limit_of_zero_lets_nothing_pass() {
    let world = World::new();
    deployment(&world, json!({"concurrency_limit": 0}));
    let id = run(&world, json!({}));
    assert_eq!(go(&world, &id, "PENDING").await, "200 ABORT Scheduled");
}

#[tokio::test]
async fn a_lease_that_ran_out_frees_its_slot_and_may_cost_the_run() {
    let world = World::new();
    let limited = deployment(&world, json!({"concurrency_limit": 1, "grace_period_seconds": 60}));
    let [first, second] = [0, 0].map(|_| run(&world, json!({})));
    go(&world, &first, "PENDING").await;
    advance(&world, 61);
    assert_eq!(taken(&world, &limited).await, 0);
    assert_eq!(go(&world, &second, "PENDING").await, "201 ACCEPT Pending");
    assert_eq!(go(&world, &first, "RUNNING").await, "201 REJECT Cancelled");
    let lost = world.prefect3_flow_run(&first).unwrap();
    let message = lost.state().unwrap().message.clone().unwrap();
    assert!(message.starts_with("Deployment concurrency slot lost during provisioning"), "{message}");
    assert_eq!(go(&world, &second, "RUNNING").await, "201 ACCEPT Running");
}

#[tokio::test]
async fn old_and_unknown_clients_lose_the_lease_but_keep_the_slot() {
    for client in ["prefect/3.4.10 (API 0.8.4)", "somebody else"] {
        let world = World::new();
        let limited = deployment(&world, json!({"concurrency_limit": 1, "grace_period_seconds": 60}));
        let id = run(&world, json!({}));
        go(&world, &id, "PENDING").await;
        let body = json!({"state": {"type": "RUNNING"}}).to_string();
        let answer = send(&world, &format!("POST /flow_runs/{id}/set_state"), &[("user-agent", client)], &body).await;
        assert_eq!(answer.body["status"], "ACCEPT", "{answer:?}");
        advance(&world, 61);
        assert_eq!(taken(&world, &limited).await, 1, "{client}");
        go(&world, &id, "COMPLETED").await;
        assert_eq!(taken(&world, &limited).await, 0, "{client}");
    }
}
