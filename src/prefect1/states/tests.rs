#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{NOW, RUN_ID, TASK_RUN_ID, due, mark_for, retry_row, scheduled_row, task_row, times};
use super::*;
use ::time::macros::datetime;
use serde_json::json;

fn reason(row: &Value) -> String {
    let (id, reason) = due_run(row, &times()).expect_err("must be unreadable");
    format!("{id}: {reason}")
}

#[test]
fn a_scheduled_run() {
    let run = due(&scheduled_row());
    assert_eq!((run.flow_run_id.as_str(), run.name.as_str(), run.epoch.as_str()), (RUN_ID, "pretend-parrot", "1"));
    assert_eq!(run.start_time, datetime!(2026-11-22 16:41:02.881859 UTC));
    assert_eq!(run.scheduled_for, Some(run.start_time), "its lateness counts from then");
    assert!(!run.has_history && !run.is_task_retry);
    assert_eq!((run.attempts, run.capacity_refusals), (0, 0));
    assert_eq!(run.detail.flow_run.flow.name, "My Flow é");
}

#[test]
fn later_versions_have_a_history_and_a_mark_of_what_was_tried() {
    let mut row = scheduled_row();
    row["version"] = json!(3);
    let mut mark = mark_for(&due(&scheduled_row()));
    (mark.attempt, mark.capacity_refusals) = (2, 1);
    row["serialized_state"]["context"][MARK_KEY] = json!(mark);
    let run = due(&row);
    assert_eq!((run.epoch.as_str(), run.has_history, run.attempts, run.capacity_refusals), ("3", true, 2, 1));

    row["serialized_state"]["context"][MARK_KEY] = json!("someone else's idea of a mark");
    assert_eq!(due(&row).attempts, 0);
}

#[test]
fn a_run_without_a_start_time_starts_now() {
    let mut row = scheduled_row();
    row["serialized_state"]["start_time"] = Value::Null;
    assert_eq!((due(&row).start_time, due(&row).scheduled_for), (NOW, None));
    row["serialized_state"].as_object_mut().unwrap().remove("start_time");
    assert_eq!(due(&row).start_time, NOW);
}

#[test]
fn null_and_absent_are_the_same_where_they_may_be() {
    let mut row = scheduled_row();
    for key in ["run_config", "name", "task_runs", "state"] {
        row[key] = Value::Null;
    }
    for key in ["environment", "storage", "core_version", "version"] {
        row["flow"][key] = Value::Null;
    }
    assert_eq!(due(&row).name, "");
    row.as_object_mut().unwrap().remove("task_runs");
    due(&row);
}

#[test]
fn unreadable_rows_say_which_and_why() {
    let with = |key: &str, value: Value| {
        let mut row = scheduled_row();
        row[key] = value;
        reason(&row)
    };
    assert_eq!(reason(&json!(null)), "?: the row is no object");
    assert_eq!(with("id", json!(null)), "?: the run has no id");
    assert_eq!(with("version", json!(null)), format!("{RUN_ID}: the run has no version"));
    assert_eq!(with("serialized_state", json!(null)), format!("{RUN_ID}: the run has no `serialized_state`"));
    assert_eq!(with("flow", json!(null)), format!("{RUN_ID}: the run has no flow"));
    assert_eq!(with("task_runs", json!({})), format!("{RUN_ID}: `task_runs` is no list"));
    let start = with("serialized_state", json!({"type": "Scheduled", "start_time": "soon"}));
    assert_eq!(start, format!("{RUN_ID}: `start_time` is no time: soon"));
    assert!(with("flow", json!({"id": "f", "name": null})).starts_with(RUN_ID));
}

#[test]
fn a_task_retry_is_named_by_its_due_task_runs() {
    let run = due(&retry_row());
    assert!(run.is_task_retry && run.has_history);
    assert_eq!((run.start_time, run.epoch.len()), (NOW, 20));

    let mut row = retry_row();
    row["task_runs"] = json!([task_row("b", 2), task_row("a", 1)]);
    let both = due(&row).epoch;
    row["task_runs"] = json!([task_row("a", 1), task_row("b", 2)]);
    assert_eq!(due(&row).epoch, both, "the order does not matter");
    row["task_runs"] = json!([task_row("a", 1), task_row("b", 3)]);
    assert_ne!(due(&row).epoch, both, "the version does");
}

#[test]
fn only_waiting_task_runs_whose_time_has_come_count() {
    let mut row = retry_row();
    let (mut later, mut running) = (task_row("later", 1), task_row("running", 1));
    later["serialized_state"]["start_time"] = json!("2026-11-22T16:41:04+00:00");
    running["serialized_state"] = json!({"type": "Running"});
    row["task_runs"] = json!([task_row(TASK_RUN_ID, 1), later, running]);
    let run = due(&row);
    assert_eq!(run.detail.flow_run.task_runs.len(), 1);
    assert_eq!(run.epoch, due(&retry_row()).epoch);

    row["task_runs"] = json!([]);
    assert!(due_run(&row, &times()).unwrap().is_none(), "a Running run with nothing to retry is not due");
    row["state"] = json!("Submitted");
    assert!(due_run(&row, &times()).unwrap().is_none());
}

#[test]
fn attempts_of_a_task_retry_come_from_its_task_runs() {
    let mut row = retry_row();
    let mut mark = mark_for(&due(&row));
    mark.attempt = 4;
    row["task_runs"][0]["serialized_state"]["context"][MARK_KEY] = json!(mark);
    assert_eq!(due(&row).attempts, 4);
}

#[test]
fn a_broken_task_run_makes_its_run_unreadable() {
    let mut row = retry_row();
    row["task_runs"] = json!([{"id": "t", "version": null}]);
    assert_eq!(reason(&row), format!("{RUN_ID}: task run t has no version"));
}

#[test]
fn looking_again_needs_little() {
    let look = look(&json!({"id": "r", "version": 2, "state": "Cancelled", "serialized_state": null})).unwrap();
    assert_eq!((look.version, look.state.as_str(), look.task_runs.len()), (2, "Cancelled", 0));
    assert!(super::look(&json!({"id": "r", "version": 2})).is_err());
}
