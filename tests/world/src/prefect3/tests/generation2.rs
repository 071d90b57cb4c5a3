//! What is different at Prefect 2.

use super::{advance, ask, deployment, get, go, history, propose, run, switch};
use crate::{World, prefect3::Generation};
use serde_json::{Value, json};

fn world() -> World {
    let world = World::new();
    switch(&world, |switches| switches.generation = Generation::Two);
    world
}

#[tokio::test]
async fn it_tells_its_version_and_writes_times_with_an_offset() {
    let world = world();
    assert_eq!(get(&world, "GET /admin/version", Value::Null).await, "2.20.27");
    let id = run(&world, json!({}));
    let read = get(&world, &format!("GET /flow_runs/{id}"), Value::Null).await;
    for time in
        [&read["created"], &read["next_scheduled_start_time"], &read["state"]["state_details"]["scheduled_time"]]
    {
        assert!(time.as_str().unwrap().ends_with("+00:00"), "{read}");
    }
    assert!(read.get("labels").is_none(), "{read}");
    let pool = get(&world, "GET /work_pools/ecs-pool", Value::Null).await;
    assert!(pool.get("storage_configuration").is_none() && pool["status"] == "NOT_READY", "{pool}");
}

#[tokio::test]
async fn job_variables_of_deployments_have_their_old_name() {
    let world = world();
    let id = deployment(&world, json!({"job_variables": {"cpu": 512}}));
    let row = get(&world, &format!("GET /deployments/{id}"), Value::Null).await;
    assert_eq!((&row["infra_overrides"], row.get("job_variables")), (&json!({"cpu": 512}), None));
    let run = run(&world, json!({"job_variables": {"memory": 1}}));
    let row = get(&world, &format!("GET /flow_runs/{run}"), Value::Null).await;
    assert_eq!(row["job_variables"], json!({"memory": 1}), "runs have the new one");
}

#[tokio::test]
async fn runs_of_2_10_have_no_job_variables_and_their_states_no_transition_ids() {
    let world = world();
    switch(&world, |switches| switches.generation = Generation::TwoTen);
    let id = run(&world, json!({"job_variables": {"memory": 1}}));
    let claim = json!({
        "type": "PENDING", "data": {"mark": 1}, "state_details": {"transition_id": "6e3a1d50-0000-5000-8000-000000000001"},
    });
    assert_eq!(propose(&world, &id, claim.clone()).await.1, "ACCEPT");
    assert_eq!(propose(&world, &id, claim).await.1, "ABORT", "the same again is not known again");
    let row = get(&world, &format!("GET /flow_runs/{id}"), Value::Null).await;
    assert!(row.get("job_variables").is_none() && row.get("labels").is_none(), "{row}");
    assert_eq!(row["state"]["data"], json!({"mark": 1}));
    assert!(row["state"]["state_details"].get("transition_id").is_none(), "{row}");
    assert_eq!(get(&world, "GET /admin/version", Value::Null).await, "2.10.21");
}

#[tokio::test]
async fn there_are_no_labels_and_nothing_below_pending() {
    let world = world();
    let id = run(&world, json!({}));
    let answer = ask(&world, &format!("PATCH /flow_runs/{id}/labels"), json!({"a": "b"})).await;
    assert_eq!((answer.status, answer.body), (404, json!({"detail": "Not Found"})));
    assert_eq!(go(&world, &id, "PENDING").await, "201 ACCEPT Pending");
    assert_eq!(propose(&world, &id, json!({"type": "PENDING", "name": "Submitting"})).await.1, "ABORT");
    assert_eq!(go(&world, &id, "RUNNING").await, "201 ACCEPT Running");
}

#[tokio::test]
async fn deployments_have_no_slots_and_may_be_gone() {
    let world = world();
    let limited = deployment(&world, json!({"concurrency_limit": 1}));
    let [first, second] = [0, 0].map(|_| run(&world, json!({})));
    world.prefect3_forget_deployment(&limited);
    for id in [first, second] {
        assert_eq!(go(&world, &id, "PENDING").await, "201 ACCEPT Pending");
    }
}

#[tokio::test]
async fn a_cancelled_run_stays_cancelled() {
    let world = world();
    let id = run(&world, json!({"state": "CANCELLED"}));
    for kind in ["PENDING", "RUNNING", "SCHEDULED"] {
        assert_eq!(go(&world, &id, kind).await, "200 REJECT Cancelled", "{kind}");
    }
}

#[tokio::test]
async fn filters_know_less() {
    let world = world();
    let id = run(&world, json!({"state": "CRASHED"}));
    assert_eq!(world.prefect3_flow_run(&id).unwrap().start_time, None, "it never started");
    let ask = async |filter: Value| ask(&world, "POST /flow_runs/filter", json!({"flow_runs": filter})).await.status;
    assert_eq!(ask(json!({"state": {"type": {"any_": ["CRASHED"]}}})).await, 200);
    assert_eq!(ask(json!({"state": {"type": {"not_any_": ["CRASHED"]}}})).await, 422);
    assert_eq!(ask(json!({"start_time": {"is_null_": true}})).await, 422);
}

#[tokio::test]
async fn nobody_ends_what_stays_cancelling() {
    let world = world();
    let id = run(&world, json!({"state": "RUNNING"}));
    world.prefect3_cancel(&id).unwrap();
    advance(&world, 86_400);
    world.prefect3_services();
    assert_eq!(history(&world, &id), ["Running", "Cancelling"]);
}
