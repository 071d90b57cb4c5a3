//! What the server does by itself, and what users do.

use super::{advance, get, go, history, run, switch};
use crate::World;
use serde_json::{Value, json};

#[tokio::test]
async fn late_runs_are_marked_and_still_handed_out() {
    let world = World::new();
    let id = run(&world, json!({}));
    advance(&world, 14);
    get(&world, "GET /health", Value::Null).await;
    assert_eq!(history(&world, &id), ["Scheduled"]);
    advance(&world, 2);
    let rows = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await;
    assert_eq!((&rows[0]["flow_run"]["id"], &rows[0]["flow_run"]["state_name"]), (&json!(id), &json!("Late")));
    let run = world.prefect3_flow_run(&id).unwrap();
    assert_eq!(run.states[1].details.scheduled_time, run.states[0].details.scheduled_time);
    advance(&world, 60);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Scheduled", "Late"]);
    assert_eq!(go(&world, &id, "PENDING").await, "201 ACCEPT Pending");
}

#[tokio::test]
async fn without_services_nothing_happens_by_itself() {
    let world = World::new();
    switch(&world, |switches| switches.services = false);
    let id = run(&world, json!({}));
    advance(&world, 600);
    get(&world, "GET /health", Value::Null).await;
    assert_eq!(history(&world, &id), ["Scheduled"]);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Scheduled", "Late"]);
}

#[tokio::test]
async fn what_stays_cancelling_is_cancelled_after_five_minutes() {
    let world = World::new();
    let id = run(&world, json!({"state": "RUNNING", "infrastructure_pid": "c::t"}));
    world.prefect3_cancel(&id).unwrap();
    advance(&world, 299);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Running", "Cancelling"]);
    advance(&world, 2);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Running", "Cancelling", "Cancelled"]);
    let run = world.prefect3_flow_run(&id).unwrap();
    let message = run.state().unwrap().message.clone();
    assert_eq!(message.as_deref(), Some("Flow run cancellation timed out; marked this flow run as Cancelled."));
}

#[tokio::test]
async fn pending_runs_stay_for_ever() {
    let world = World::new();
    let id = run(&world, json!({"state": "PENDING"}));
    advance(&world, 86_400);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Pending"]);
}

#[tokio::test]
async fn users_cancel_retry_schedule_and_pause() {
    let world = World::new();
    let id = run(&world, json!({}));
    assert!(world.prefect3_retry(&id).is_err(), "it has not ended");
    world.prefect3_cancel(&id).unwrap();
    assert_eq!(history(&world, &id), ["Scheduled", "Cancelled"], "no infrastructure");
    world.prefect3_retry(&id).unwrap();
    assert_eq!(history(&world, &id)[2], "AwaitingRetry");
    world.prefect3_schedule(&id, 60.0).unwrap();
    let start = world.prefect3_flow_run(&id).unwrap().next_scheduled_start_time.unwrap();
    assert!(start > world.lock().now() + time::Duration::seconds(58), "{start}");
    world.prefect3_pause("ecs-pool", None, true).unwrap();
    let rows = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await;
    assert_eq!(rows, json!([]));
    world.prefect3_pause("ecs-pool", None, false).unwrap();
    world.prefect3_pause("ecs-pool", Some("default"), true).unwrap();
    let rows = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", json!({})).await;
    assert_eq!(rows, json!([]));
    assert!(world.prefect3_pause("nope", None, true).is_err());
}

#[tokio::test]
async fn a_deleted_deployment_takes_its_fresh_runs_along() {
    let world = World::new();
    let fresh = run(&world, json!({}));
    let claimed = run(&world, json!({"state": "PENDING"}));
    let again = run(&world, json!({"run_count": 1}));
    let deployment = world.prefect3_flow_run(&fresh).unwrap().deployment_id.unwrap();
    assert!(world.prefect3_delete_deployment(&deployment));
    assert!(!world.prefect3_delete_deployment(&deployment));
    assert!(world.prefect3_flow_run(&fresh).is_none());
    assert_eq!(go(&world, &claimed, "SCHEDULED").await, "201 ACCEPT Scheduled");
    assert_eq!(go(&world, &claimed, "PENDING").await, "200 ABORT Scheduled");
    assert!(world.prefect3_flow_run(&again).is_some());
}
