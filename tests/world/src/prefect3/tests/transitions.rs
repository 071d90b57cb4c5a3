//! What the server makes of proposed states.

use super::{ask, get, go, history, propose, run, switch};
use crate::{World, prefect3::StateType};
use serde_json::{Value, json};

/// From a state, to a state, and what the server says: status, decision, and the state that the run has then.
const TABLE: [(&str, &str, &str); 34] = [
    ("SCHEDULED", "PENDING", "201 ACCEPT Pending"),
    ("SCHEDULED", "RUNNING", "201 ACCEPT Running"),
    ("SCHEDULED", "SCHEDULED", "201 ACCEPT Scheduled"),
    ("SCHEDULED", "CANCELLING", "201 REJECT Cancelled"),
    ("SCHEDULED", "CRASHED", "201 ACCEPT Crashed"),
    ("SCHEDULED", "PAUSED", "200 REJECT Scheduled"),
    ("PENDING", "PENDING", "200 ABORT Pending"),
    ("PENDING", "SCHEDULED", "201 ACCEPT Scheduled"),
    ("PENDING", "RUNNING", "201 ACCEPT Running"),
    ("PENDING", "CANCELLING", "201 ACCEPT Cancelling"),
    ("PENDING", "CRASHED", "201 ACCEPT Crashed"),
    ("RUNNING", "PENDING", "200 ABORT Running"),
    ("RUNNING", "RUNNING", "201 ACCEPT Running"),
    ("RUNNING", "CANCELLING", "201 ACCEPT Cancelling"),
    ("RUNNING", "COMPLETED", "201 ACCEPT Completed"),
    ("RUNNING", "PAUSED", "201 ACCEPT Paused"),
    ("CANCELLING", "PENDING", "200 REJECT Cancelling"),
    ("CANCELLING", "CRASHED", "200 REJECT Cancelling"),
    ("CANCELLING", "COMPLETED", "200 REJECT Cancelling"),
    ("CANCELLING", "CANCELLED", "201 ACCEPT Cancelled"),
    ("CANCELLED", "PENDING", "200 ABORT Cancelled"),
    ("CANCELLED", "CANCELLING", "200 ABORT Cancelled"),
    ("CANCELLED", "CRASHED", "200 ABORT Cancelled"),
    ("CANCELLED", "RUNNING", "201 ACCEPT Running"),
    ("CANCELLED", "SCHEDULED", "201 ACCEPT Scheduled"),
    ("CRASHED", "PENDING", "201 ACCEPT Pending"),
    ("CRASHED", "CRASHED", "200 ABORT Crashed"),
    ("CRASHED", "SCHEDULED", "201 ACCEPT Scheduled"),
    ("COMPLETED", "CRASHED", "200 ABORT Completed"),
    ("COMPLETED", "CANCELLING", "200 ABORT Completed"),
    ("COMPLETED", "PENDING", "201 ACCEPT Pending"),
    ("FAILED", "PAUSED", "200 ABORT Failed"),
    ("PAUSED", "PENDING", "200 REJECT Paused"),
    ("PAUSED", "RUNNING", "201 ACCEPT Running"),
];

/// A run in a state.
fn in_state(world: &World, kind: &str) -> String {
    run(world, json!({"state": kind}))
}

#[tokio::test]
async fn the_table_of_decisions() {
    let world = World::new();
    for (from, to, expected) in TABLE {
        let id = in_state(&world, from);
        assert_eq!(go(&world, &id, to).await, expected, "{from} -> {to}");
    }
}

#[tokio::test]
async fn a_repeated_transition_is_told_from_another_workers() {
    let world = World::new();
    let id = in_state(&world, "SCHEDULED");
    let claim = json!({"type": "PENDING", "state_details": {"transition_id": "2b0e8ab0-5b7c-4d4c-8a4e-0f6c5d1b6a01"}});
    assert_eq!(propose(&world, &id, claim.clone()).await.1, "ACCEPT");
    let (status, decision, name) = propose(&world, &id, claim.clone()).await;
    assert_eq!((status, decision.as_str(), name.as_str()), (200, "REJECT", "Pending"));
    assert_eq!(go(&world, &id, "PENDING").await, "200 ABORT Pending");
    // A state below Pending does not carry the transition's id on.
    assert_eq!(propose(&world, &id, json!({"type": "PENDING", "name": "Submitting"})).await.0, 201);
    assert_eq!(propose(&world, &id, claim).await.1, "ABORT");
    let kept = get(&world, &format!("GET /flow_run_states/?flow_run_id={id}"), Value::Null).await;
    let ids: Vec<bool> =
        kept.as_array().unwrap().iter().map(|one| one["state_details"]["transition_id"].is_string()).collect();
    assert_eq!(ids, [false, true, false], "{kept}");
}

#[tokio::test]
async fn states_below_pending_only_move_on() {
    let world = World::new();
    let id = in_state(&world, "SCHEDULED");
    go(&world, &id, "PENDING").await;
    for (name, decision) in
        [("Submitting", "ACCEPT"), ("Submitting", "ABORT"), ("InfrastructurePending", "ACCEPT"), ("Pending", "ABORT")]
    {
        assert_eq!(propose(&world, &id, json!({"type": "PENDING", "name": name})).await.1, decision, "{name}");
    }
    let run = world.prefect3_flow_run(&id).unwrap();
    let scheduled = run.states[0].details.scheduled_time;
    assert!(run.states.iter().all(|state| state.details.scheduled_time == scheduled), "{run:?}");
    switch(&world, |switches| switches.sub_states = false);
    let id = in_state(&world, "PENDING");
    assert_eq!(propose(&world, &id, json!({"type": "PENDING", "name": "Submitting"})).await.1, "ABORT");
}

#[tokio::test]
async fn force_passes_the_rules_but_not_the_one_for_runs_without_infrastructure() {
    let world = World::new();
    let forced = async |id: &str, kind: &str| {
        let request = format!("POST /flow_runs/{id}/set_state");
        let body = get(&world, &request, json!({"state": {"type": kind}, "force": true})).await;
        format!("{} {}", body["status"].as_str().unwrap(), body["state"]["type"].as_str().unwrap())
    };
    let id = in_state(&world, "CANCELLING");
    assert_eq!(forced(&id, "CRASHED").await, "ACCEPT CRASHED");
    assert_eq!(forced(&id, "PENDING").await, "ACCEPT PENDING");
    let id = in_state(&world, "SCHEDULED");
    assert_eq!(forced(&id, "CANCELLING").await, "REJECT CANCELLED");
    let id = run(&world, json!({"infrastructure_pid": "c::t"}));
    assert_eq!(forced(&id, "CANCELLING").await, "ACCEPT CANCELLING");
}

#[tokio::test]
async fn running_waits_for_the_scheduled_time() {
    let world = World::new();
    let id = run(&world, json!({"start_in_seconds": 60}));
    assert_eq!(go(&world, &id, "PENDING").await, "201 ACCEPT Pending");
    let answer = ask(&world, &format!("POST /flow_runs/{id}/set_state"), json!({"state": {"type": "RUNNING"}})).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("WAIT")), "{answer:?}");
    let delay = answer.body["details"]["delay_seconds"].as_i64().unwrap();
    assert!((58..=60).contains(&delay), "{answer:?}");
    super::advance(&world, 60);
    assert_eq!(go(&world, &id, "RUNNING").await, "201 ACCEPT Running");
}

#[tokio::test]
async fn a_run_counts_its_starts_and_times() {
    let world = World::new();
    let id = in_state(&world, "SCHEDULED");
    go(&world, &id, "PENDING").await;
    assert_eq!(world.prefect3_flow_run(&id).unwrap().next_scheduled_start_time, None);
    go(&world, &id, "RUNNING").await;
    go(&world, &id, "RUNNING").await;
    super::advance(&world, 5);
    go(&world, &id, "CRASHED").await;
    let run = world.prefect3_flow_run(&id).unwrap();
    assert_eq!((run.run_count, run.total_run_time.whole_seconds()), (2, 5));
    assert_eq!(run.start_time, Some(run.states[2].timestamp));
    assert_eq!(run.end_time, Some(run.states[4].timestamp));
    go(&world, &id, "SCHEDULED").await;
    let run = world.prefect3_flow_run(&id).unwrap();
    assert_eq!((run.end_time, run.policy.retry_type.as_deref()), (None, Some("reschedule")));
}

#[tokio::test]
async fn prefects_own_retries_stay_in_the_process() {
    let world = World::new();
    let id = run(&world, json!({"retries": 1}));
    go(&world, &id, "RUNNING").await;
    assert_eq!(go(&world, &id, "FAILED").await, "201 REJECT AwaitingRetry");
    let handed_out = get(&world, "POST /work_pools/ecs-pool/get_scheduled_flow_runs", Value::Null).await;
    assert_eq!(handed_out, json!([]), "the process itself goes on");
    go(&world, &id, "RUNNING").await;
    assert_eq!(go(&world, &id, "FAILED").await, "201 ACCEPT Failed");
}

#[tokio::test]
async fn a_suspended_run_is_scheduled_again() {
    let world = World::new();
    let id = in_state(&world, "SCHEDULED");
    go(&world, &id, "RUNNING").await;
    let suspended = json!({"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": true}});
    assert_eq!(propose(&world, &id, suspended).await.1, "ACCEPT");
    get(&world, &format!("POST /flow_runs/{id}/resume"), json!({})).await;
    assert_eq!(history(&world, &id), ["Scheduled", "Running", "Suspended", "Resuming"]);
    assert_eq!(go(&world, &id, "CANCELLING").await, "201 REJECT Cancelled");
}

#[tokio::test]
async fn runs_that_are_gone_and_deployments_that_are_gone() {
    let world = World::new();
    let nobody = "2b0e8ab0-5b7c-4d4c-8a4e-0f6c5d1b6a99";
    let answer =
        ask(&world, &format!("POST /flow_runs/{nobody}/set_state"), json!({"state": {"type": "PENDING"}})).await;
    let body = json!({"exception_message": format!("Flow run with id {nobody} not found")});
    assert_eq!((answer.status, answer.body), (404, body));

    let id = in_state(&world, "SCHEDULED");
    let deployment = world.prefect3_flow_run(&id).unwrap().deployment_id.unwrap();
    let claimed = in_state(&world, "PENDING");
    world.prefect3_forget_deployment(&deployment);
    let answer = ask(&world, &format!("POST /flow_runs/{id}/set_state"), json!({"state": {"type": "PENDING"}})).await;
    assert_eq!(answer.body["details"], json!({"type": "abort_details", "reason": "Deployment not found."}));
    let answer = ask(&world, &format!("GET /deployments/{deployment}"), Value::Null).await;
    assert_eq!((answer.status, answer.body), (404, json!({"detail": "Deployment not found"})));
    assert_eq!(world.prefect3_flow_run(&claimed).unwrap().state_type(), Some(StateType::Pending));
}

#[tokio::test]
async fn what_the_schema_does_not_allow() {
    let world = World::new();
    let id = in_state(&world, "SCHEDULED");
    for (state, kind, loc) in [
        (json!({"type": "NOPE"}), "enum", json!(["body", "state", "type"])),
        (json!({}), "missing", json!(["body", "state", "type"])),
        (json!(null), "missing", json!(["body", "state"])),
        (json!("x"), "model_attributes_type", json!(["body", "state"])),
        (json!({"type": "PENDING", "more": 1}), "extra_forbidden", json!(["body", "state", "more"])),
        (
            json!({"type": "PENDING", "state_details": {"transition_id": "x"}}),
            "uuid_parsing",
            json!(["body", "state", "state_details", "transition_id"]),
        ),
        (
            json!({"type": "SCHEDULED", "state_details": {"scheduled_time": "x"}}),
            "value_error",
            json!(["body", "state", "state_details", "scheduled_time"]),
        ),
    ] {
        let sent = json!({"state": state});
        let answer = ask(&world, &format!("POST /flow_runs/{id}/set_state"), sent.clone()).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.body["exception_message"], "Invalid request received.");
        let fault = &answer.body["exception_detail"][0];
        assert_eq!((&fault["type"], &fault["loc"]), (&json!(kind), &loc), "{answer:?}");
        assert_eq!(answer.body["request_body"], sent);
    }
    assert_eq!(history(&world, &id), ["Scheduled"]);
}
