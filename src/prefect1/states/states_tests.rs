#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{due, mark_for, scheduled_row, task_row};
use super::*;
use time::macros::datetime;

#[test]
fn submitted_wraps_what_was_received_and_carries_our_mark() {
    let run = due(&scheduled_row());
    let state = submitted_flow_run(&mark_for(&run), &run.detail.flow_run.serialized_state);
    assert_eq!(
        state,
        json!({
            "type": "Submitted", "message": "Submitted for execution",
            "context": {"prefect_serverless_agent": {"agent": "/root/etl", "epoch": "1", "attempt": 1,
                "capacity_refusals": 0, "token": &run.token, "cluster": ""}},
            "state": scheduled_row()["serialized_state"],
        })
    );
    assert_eq!(submitted_task_run(&mark_for(&run), &Value::Null)["message"], "Submitted for execution.");
}

#[test]
fn a_task_run_goes_back_to_the_state_it_came_from() {
    let mark = mark_for(&due(&scheduled_row()));
    let received = task_row("a", 1)["serialized_state"].clone();
    let state = given_back(&received, datetime!(2026-11-22 16:42 UTC), "no capacity", &mark);
    assert_eq!(
        state,
        json!({
            "type": "Retrying", "message": "no capacity", "start_time": "2026-11-22T16:42:00.000000+00:00",
            "run_count": 1, "context": {"tags": [], "prefect_serverless_agent": mark},
        })
    );
}

#[test]
fn messages_are_bounded() {
    assert_eq!(bounded("short"), "short");
    let long = bounded(&"ü".repeat(20_000));
    assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + "… (cut)".chars().count());
    assert_eq!(failed("why")["message"], "why");
}

#[test]
fn a_claim_and_a_cancelled_run_are_what_their_types_say() {
    for (kind, is_claim) in [("Submitted", true), ("Scheduled", false), ("Running", false), ("Cancelled", false)] {
        assert_eq!(is_submitted(&json!({"type": kind})), is_claim, "{kind}");
    }
    assert!(!is_submitted(&json!({})));
    assert_eq!(cancelled("stopped"), json!({"type": "Cancelled", "message": "stopped", "context": {}}));
}
