//! Which runs the queue gives to whom.

use super::{queue, seed, server};
use serde_json::{Value, json};

#[tokio::test]
async fn an_agent_gets_the_runs_whose_labels_it_has() {
    let world = server();
    let run = |labels: &[&str]| seed(&world, json!({"labels": labels}));
    let (none, a, b, ab, ac) = (run(&[]), run(&["a"]), run(&["b"]), run(&["a", "b"]), run(&["a", "c"]));
    assert_eq!(queue(&world, &[]).await, std::slice::from_ref(&none));
    assert_eq!(queue(&world, &["a"]).await, std::slice::from_ref(&a));
    assert_eq!(queue(&world, &["a", "b"]).await, [a.clone(), b, ab]);
    assert_eq!(queue(&world, &["c", "a", "more"]).await, [a, ac]);
}

#[tokio::test]
async fn due_runs_come_oldest_first_in_pages_of_25() {
    let world = server();
    let ids: Vec<String> = (0..30).map(|n| seed(&world, json!({"start_in_seconds": -n}))).collect();
    seed(&world, json!({"start_in_seconds": 60}));
    let expected: Vec<String> = ids.iter().rev().take(25).cloned().collect();
    assert_eq!(queue(&world, &[]).await, expected);
}

#[tokio::test]
async fn older_runs_with_foreign_labels_hide_ours() {
    let world = server();
    for n in 0..75 {
        seed(&world, json!({"labels": ["theirs"], "start_in_seconds": -100 - n}));
    }
    let ours = seed(&world, json!({"labels": ["ours"]}));
    assert!(queue(&world, &["ours"]).await.is_empty());
    super::switch(&world, |switches| switches.queue_rows = 76);
    assert_eq!(queue(&world, &["ours"]).await, [ours]);
}

#[tokio::test]
async fn the_states_that_wait_are_in_the_queue() {
    let world = server();
    let past = "2020-01-01T00:00:00+00:00";
    for kind in ["Scheduled", "Paused", "Resume", "Retrying", "Queued"] {
        let id = seed(&world, json!({"state": {"type": kind, "start_time": past}}));
        assert_eq!(queue(&world, &[]).await, [id.as_str()], "{kind}");
        world.cancel_flow_run(&id).unwrap();
    }
    for kind in ["Pending", "Submitted", "Running", "Cancelling", "Cancelled", "Success", "Failed"] {
        let id = seed(&world, json!({"state": kind, "task_runs": [{"state": "Success"}]}));
        assert_eq!(queue(&world, &[]).await, Vec::<String>::new(), "{kind}");
        world.cancel_flow_run(&id).unwrap();
    }
}

#[tokio::test]
async fn a_running_run_is_in_the_queue_for_its_due_task_retry() {
    let world = server();
    let retry = |start: &str| json!([{"state": {"type": "Retrying", "start_time": start, "run_count": 1}}]);
    let due = seed(&world, json!({"state": "Running", "task_runs": retry("2020-01-01T00:00:00Z")}));
    seed(&world, json!({"state": "Running", "task_runs": retry("2200-01-01T00:00:00Z")}));
    seed(&world, json!({"state": "Cancelled", "task_runs": retry("2020-01-01T00:00:00Z")}));
    assert_eq!(queue(&world, &[]).await, [due]);
}

#[tokio::test]
async fn two_agents_that_ask_together_get_the_same_runs() {
    let world = server();
    let id = seed(&world, json!({"parameters": Value::Null}));
    assert_eq!(queue(&world, &[]).await, [id.as_str()]);
    assert_eq!(queue(&world, &[]).await, [id.as_str()]);
}
