#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::states::{MARK_KEY, look};
use super::super::test_support::{NOW, RUN_ID, due, mark_for, retry_row, scheduled_row, task_row};
use super::*;
use crate::prefect1::states;
use serde_json::json;
use std::time::Duration;

fn give_back<'a>(run: &'a DueRun<Detail>, mark: &'a Mark) -> GiveBack<'a, Detail> {
    let delay = Duration::from_secs(45);
    GiveBack { run, mark, reason: "no capacity".into(), for_capacity: true, delay }
}

fn now(state: &str, serialized_state: &Value, task_runs: &Value) -> RunSnapshot {
    look(&json!({"id": RUN_ID, "version": 2, "state": state, "serialized_state": serialized_state,
        "task_runs": task_runs}))
    .unwrap()
}

fn claimed(task_run: &Value, mark: &Mark) -> Value {
    let state = states::submitted_task_run(mark, &task_run["serialized_state"]);
    json!({"id": task_run["id"], "version": 2, "serialized_state": state})
}

#[test]
fn a_claimed_run_goes_back_with_a_later_start_and_what_was_tried() {
    let run = due(&scheduled_row());
    let mark = mark_for(&run);
    let submitted = states::submitted_flow_run(&mark, &Value::Null);
    let set = to_give_back(7, &give_back(&run, &mark), Some(&now("Submitted", &submitted, &Value::Null)), NOW).unwrap();
    assert_eq!((set.len(), set[0].owner, set[0].version, set[0].target), (1, 7, None, Target::FlowRun));
    let state = &set[0].state;
    assert_eq!((&state["type"], &state["message"]), (&json!("Scheduled"), &json!("no capacity")));
    assert_eq!(state["start_time"], "2026-11-22T16:41:50.123899+00:00");
    assert_eq!(state["context"][MARK_KEY]["attempt"], 1);
    assert_eq!(state["context"][MARK_KEY]["capacity_refusals"], 1);
    assert_eq!(state["context"]["tags"], json!([]));
}

#[test]
fn only_our_own_claim_is_given_back() {
    let run = due(&scheduled_row());
    let mark = mark_for(&run);
    let other = Mark { agent: "/root/other".into(), ..mark.clone() };
    let foreign = states::submitted_flow_run(&other, &Value::Null);
    let ours = states::submitted_flow_run(&mark, &Value::Null);
    let back = give_back(&run, &mark);
    for look in [
        None,
        Some(now("Cancelled", &Value::Null, &Value::Null)),
        Some(now("Cancelling", &ours, &Value::Null)),
        Some(now("Running", &Value::Null, &Value::Null)),
        Some(now("Submitted", &foreign, &Value::Null)),
    ] {
        let result = to_give_back(0, &back, look.as_ref(), NOW);
        assert!(matches!(&result, Err(ApiError::NotOurs(_))), "{result:?}");
    }
    // A claim without a mark is another agent's.
    assert!(to_give_back(0, &back, Some(&now("Submitted", &json!({}), &Value::Null)), NOW).is_err());
}

#[test]
fn of_a_task_retry_only_the_task_runs_with_our_mark_go_back() {
    let mut row = retry_row();
    row["task_runs"] = json!([task_row("a", 1), task_row("b", 1), task_row("c", 1)]);
    let run = due(&row);
    let mark = mark_for(&run);
    let other = Mark { agent: "/root/other".into(), ..mark.clone() };
    let tasks = json!([claimed(&task_row("a", 1), &mark), claimed(&task_row("b", 1), &other), task_row("c", 1)]);
    let back = give_back(&run, &mark);
    let set = to_give_back(0, &back, Some(&now("Running", &Value::Null, &tasks)), NOW).unwrap();
    assert_eq!(set.iter().map(|state| state.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!((&set[0].state["type"], set[0].target), (&json!("Retrying"), Target::TaskRun));

    assert!(to_give_back(0, &back, Some(&now("Running", &Value::Null, &json!([]))), NOW).is_err());
    assert!(to_give_back(0, &back, Some(&now("Cancelling", &Value::Null, &tasks)), NOW).is_err());
}

#[test]
fn only_a_run_in_this_turns_claim_is_failed() {
    let run = due(&scheduled_row());
    let ours = states::submitted_flow_run(&mark_for(&run), &Value::Null);
    let another_turn = Mark { epoch: "9".into(), token: "another".into(), ..mark_for(&run) };
    let another_turn = states::submitted_flow_run(&another_turn, &Value::Null);
    let may = |state: &str, serialized: &Value| may_fail(&run, Some(&now(state, serialized, &Value::Null))).is_ok();
    assert!(may("Submitted", &ours));
    assert!(!may("Submitted", &another_turn), "claimed for another turn");
    assert!(!may("Submitted", &json!({})), "claimed by a Python agent");
    assert!(!may("Scheduled", &json!({})), "scheduled anew by a person or by Lazarus");
    for state in ["Success", "Failed", "Cancelled", "Cancelling", "Paused", "Running", "TimedOut", "Skipped"] {
        assert!(!may(state, &json!({})), "{state}");
    }
    assert!(may_fail(&run, None).is_err());
}

#[test]
fn a_task_retry_is_failed_while_one_of_its_task_runs_is_in_its_claim() {
    let retry = due(&retry_row());
    let id = retry.detail.flow_run.task_runs[0].id.clone();
    let claimed_task = claimed(&task_row(&id, 1), &mark_for(&retry));
    let may = |state: &str, tasks: Value| may_fail(&retry, Some(&now(state, &Value::Null, &tasks))).is_ok();
    assert!(may("Running", json!([claimed_task])));
    assert!(!may("Running", json!([task_row(&id, 2)])), "its task run waits again");
    assert!(!may("Cancelling", json!([claimed_task])));
}
