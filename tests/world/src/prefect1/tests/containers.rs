//! What containers and Lazarus do.

use super::{SET, ask, one_state, seed, server};
use crate::{World, prefect1::container::Started};
use serde_json::{Value, json};
use std::time::Duration;

fn start(world: &World, id: &str) -> Started {
    let now = world.lock().now();
    world.prefect1(|prefect1| prefect1.start_container(id, now)).unwrap()
}

fn finish(world: &World, id: &str, kind: &str) -> Result<(), String> {
    let now = world.lock().now();
    world.prefect1(|prefect1| prefect1.finish_container(id, kind, None, now))
}

async fn claim(world: &World, id: &str) {
    let scheduled = world.flow_run(id).unwrap().current().unwrap().serialized.clone();
    let state = json!({"type": "Submitted", "message": "Submitted for execution", "state": scheduled});
    let answer = ask(world, SET, one_state(id, state)).await.json();
    assert!(answer.get("errors").is_none(), "{answer}");
}

#[tokio::test]
async fn a_claimed_run_runs_once() {
    let world = server();
    let id = seed(&world, json!({}));
    claim(&world, &id).await;
    assert_eq!(start(&world, &id), Started::Yes);
    assert_eq!(start(&world, &id), Started::No("it is Running".to_owned()));
    finish(&world, &id, "Success").unwrap();
    let run = world.flow_run(&id).unwrap();
    assert_eq!((run.history(), run.starts), (vec!["Scheduled", "Submitted", "Running", "Success"], 2));
    assert!(run.end_time.is_some());
    assert!(finish(&world, &id, "Failed").is_err());
}

#[tokio::test]
async fn a_container_that_comes_early_or_late_does_nothing() {
    let world = server();
    let early = seed(&world, json!({"start_in_seconds": 60}));
    claim(&world, &early).await;
    assert!(matches!(start(&world, &early), Started::No(reason) if reason.starts_with("it starts later")));
    let cancelled = seed(&world, json!({}));
    world.cancel_flow_run(&cancelled).unwrap();
    assert_eq!(start(&world, &cancelled), Started::No("it is Cancelled".to_owned()));
    assert_eq!(world.flow_run(&cancelled).unwrap().state(), "Cancelled");
}

#[tokio::test]
async fn a_task_retry_goes_on_in_a_second_container() {
    let world = server();
    let id = seed(&world, json!({"state": "Running", "task_runs": [{"state": "Submitted"}, {"state": "Success"}]}));
    assert_eq!(start(&world, &id), Started::Yes);
    finish(&world, &id, "Success").unwrap();
    let run = world.flow_run(&id).unwrap();
    assert_eq!((run.state(), run.task_runs[0].state()), ("Success", "Success"));
}

#[tokio::test]
async fn a_container_may_set_its_states_itself() {
    let world = server();
    let id = seed(&world, json!({}));
    claim(&world, &id).await;
    for kind in ["Running", "Success"] {
        ask(&world, SET, one_state(&id, json!({"type": kind}))).await;
    }
    assert_eq!(world.flow_run(&id).unwrap().history(), ["Scheduled", "Submitted", "Running", "Success"]);
}

#[tokio::test]
async fn lazarus_brings_a_silent_run_back_three_times() {
    let world = server();
    let id = seed(&world, json!({}));
    let busy = seed(&world, json!({"state": "Running", "heartbeat_seconds_ago": 9999, "task_runs": [{}]}));
    for attempt in 1..=3 {
        claim(&world, &id).await;
        world.advance(Duration::from_secs(599));
        assert_eq!(world.lazarus(), Vec::<String>::new());
        world.advance(Duration::from_secs(2));
        assert_eq!(world.lazarus(), [id.as_str()]);
        let run = world.flow_run(&id).unwrap();
        assert_eq!((run.state(), run.times_resurrected), ("Scheduled", attempt));
        assert_eq!(run.current().unwrap().message(), Some("Rescheduled by a Lazarus process."));
    }
    claim(&world, &id).await;
    world.advance(Duration::from_secs(601));
    world.lazarus();
    assert_eq!(world.flow_run(&id).unwrap().state(), "Failed");
    assert_eq!(world.flow_run(&busy).unwrap().history(), ["Running"], "its task run waits");
}

#[tokio::test]
async fn logs_can_be_refused() {
    let world = server();
    super::switch(&world, |switches| switches.logs_refused = true);
    let query = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }";
    let answer = ask(&world, query, json!({"input": {"logs": [{"message": "x"}]}})).await.json();
    assert_eq!(answer, json!({"data": {"write_run_logs": {"success": Value::Bool(false)}}}));
}
