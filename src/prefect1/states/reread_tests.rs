#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::states::look;
use super::super::test_support::{RUN_ID, due, mark_for, retry_row, scheduled_row, task_row, times};
use super::*;
use serde_json::{Value, json};

fn now(row: &Value, observed: Option<&Observed>) -> RunNow {
    run_now(&look(row).expect("readable"), observed)
}

fn claimed(task_run: &Value, mark: &Mark) -> Value {
    let mut claimed = task_run.clone();
    claimed["version"] = json!(task_run["version"].as_i64().unwrap() + 1);
    claimed["serialized_state"] = super::super::states::submitted_task_run(mark, &task_run["serialized_state"]);
    claimed
}

#[test]
fn a_scheduled_run_keeps_its_epoch_until_its_version_changes() {
    let run = due(&scheduled_row());
    assert_eq!(now(&scheduled_row(), None).epoch, run.epoch);
    let mut row = scheduled_row();
    row["version"] = json!(2);
    assert_ne!(now(&row, None).epoch, run.epoch);
}

#[test]
fn our_claim_shows_as_our_mark() {
    let run = due(&scheduled_row());
    let mark = mark_for(&run);
    let mut row = scheduled_row();
    row["version"] = json!(2);
    row["state"] = json!("Submitted");
    row["serialized_state"] = super::super::states::submitted_flow_run(&mark, &scheduled_row()["serialized_state"]);
    let found = now(&row, None);
    assert_eq!((found.state.as_str(), found.mark), ("Submitted", Some(mark.clone())));

    // The mark of a claim that was given back is no claim.
    row["state"] = json!("Scheduled");
    assert_eq!(now(&row, None).mark, None);
}

#[test]
fn a_task_retry_is_the_same_turn_although_more_became_due_since() {
    let run = due(&retry_row());
    let observed = Observed::new(&times(), &run.epoch);
    let mut row = retry_row();
    let mut later = task_row("later", 1);
    later["serialized_state"]["start_time"] = json!("2026-11-22T16:41:04+00:00");
    row["task_runs"] = json!([row["task_runs"][0], later]);
    assert_eq!(now(&row, Some(&observed)).epoch, run.epoch);
    assert_ne!(now(&row, None).epoch, run.epoch, "without what was seen, all that wait count");
}

#[test]
fn a_task_retry_changes_its_epoch_when_its_task_runs_move_on() {
    let run = due(&retry_row());
    let observed = Observed::new(&times(), &run.epoch);
    let mut row = retry_row();
    row["task_runs"][0]["version"] = json!(2);
    assert_ne!(now(&row, Some(&observed)).epoch, run.epoch);
    row["task_runs"] = json!([]);
    assert_ne!(now(&row, Some(&observed)).epoch, run.epoch);
}

#[test]
fn a_partly_claimed_task_retry_shows_the_mark_of_the_observed_epoch() {
    let mut row = retry_row();
    row["task_runs"] = json!([task_row("a", 1), task_row("b", 5)]);
    let run = due(&row);
    let (mark, observed) = (mark_for(&run), Observed::new(&times(), &run.epoch));
    row["task_runs"] = json!([claimed(&task_row("a", 1), &mark), task_row("b", 5)]);
    let found = now(&row, Some(&observed));
    assert_eq!(found.state, "Running");
    assert_eq!(found.mark.as_ref().map(|mark| mark.epoch.as_str()), Some(run.epoch.as_str()));
    assert_ne!(found.epoch, run.epoch, "what waits now is another turn");
}

#[test]
fn of_several_marks_the_one_of_the_observed_epoch_counts() {
    let mut row = retry_row();
    row["task_runs"] = json!([task_row("b", 5)]);
    let run = due(&row);
    let (ours, observed) = (mark_for(&run), Observed::new(&times(), &run.epoch));
    let older = Mark { epoch: "of another turn".into(), attempt: 9, ..ours.clone() };
    row["task_runs"] = json!([claimed(&task_row("a", 1), &older), claimed(&task_row("b", 5), &ours)]);
    assert_eq!(now(&row, Some(&observed)).mark, Some(ours));
    assert_eq!(now(&row, None).mark, Some(older));
    assert_eq!(run.flow_run_id, RUN_ID);
}
