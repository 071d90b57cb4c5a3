#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{AUTHOR, due_row, mark, read, row_in, state};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

/// The run of [`due_row`] after the server wrote another SCHEDULED state of this name.
fn said_again(name: &str) -> Value {
    row_in(state("SCHEDULED", name))
}

fn is_same_turn(seen: Value, now: Value) -> bool {
    read(now).is_same_turn(&read(seen).seen())
}

#[test]
fn a_state_that_says_the_same_again_is_the_same_turn() {
    for name in ["Late", "Scheduled", "AwaitingRetry"] {
        assert!(is_same_turn(due_row(), said_again(name)), "{name}");
    }
    assert!(is_same_turn(said_again("AwaitingRetry"), due_row()));
    assert!(is_same_turn(due_row(), due_row()));
}

#[test]
fn another_time_another_type_another_launch_are_another_turn() {
    let changed = |change: fn(&mut Value)| {
        let mut now = said_again("Late");
        change(&mut now);
        is_same_turn(due_row(), now)
    };
    assert!(changed(|_| {}));
    assert!(!changed(|row| row["next_scheduled_start_time"] = json!("2026-11-22T16:22:56.744870Z")));
    assert!(!changed(|row| row["next_scheduled_start_time"] = json!(null)));
    assert!(!changed(|row| row["run_count"] = json!(1)));
    assert!(!changed(|row| row["infrastructure_pid"] = json!("cluster::task")));
    for kind in ["PENDING", "RUNNING", "PAUSED", "CANCELLING", "CANCELLED", "COMPLETED", "FAILED", "CRASHED"] {
        assert!(!is_same_turn(due_row(), row_in(state(kind, kind))), "{kind}");
    }
}

/// Whoever gives a claim back leaves its mark: what was claimed meanwhile is never taken for the turn before it.
#[test]
fn a_claim_given_back_is_another_turn_also_for_the_same_time() {
    let mut given_back = state("SCHEDULED", "AwaitingRetry");
    given_back["data"] = AUTHOR.data(&mark());
    assert!(!is_same_turn(due_row(), row_in(given_back.clone())));
    assert!(is_same_turn(row_in(given_back.clone()), row_in(given_back.clone())), "seen as it is, it is a turn");
    assert!(is_same_turn(row_in(given_back), said_again_later()), "and Late is the same one");
}

fn said_again_later() -> Value {
    let mut late = state("SCHEDULED", "Late");
    late["id"] = json!("01a20411-7d0c-760b-8b01-723facfa932a");
    row_in(late)
}

#[test]
fn what_is_not_due_is_the_same_only_in_the_very_same_state() {
    let cancelling = || row_in(state("CANCELLING", "Cancelling"));
    assert!(is_same_turn(cancelling(), cancelling()));
    let mut again = state("CANCELLING", "Cancelling");
    again["id"] = json!("another");
    assert!(!is_same_turn(cancelling(), row_in(again)));
    assert!(!is_same_turn(cancelling(), due_row()), "scheduled anew, were it for the same time");
}

#[test]
fn a_run_without_a_time_is_the_same_only_in_the_very_same_state() {
    let timeless = |mut row: Value| {
        row["next_scheduled_start_time"] = json!(null);
        row
    };
    assert!(is_same_turn(timeless(due_row()), timeless(due_row())));
    assert!(!is_same_turn(timeless(due_row()), timeless(said_again("Late"))));
}

proptest! {
    /// Whatever happens to a run, one after the other: the turn that was seen goes on exactly as long as nothing but
    /// states that say the same again were written.
    #[test]
    fn a_turn_lasts_as_long_as_the_same_is_said_again(events in prop::collection::vec(0_usize..6, 0..12)) {
        let seen = read(due_row()).seen();
        let (mut row, mut lasts, mut minute) = (due_row(), true, 0_u32);
        for (number, event) in events.into_iter().enumerate() {
            let id = json!(format!("state-{number}"));
            let mut next = match event {
                0 | 1 => state("SCHEDULED", ["Late", "Scheduled"][event]),
                2 => state("PENDING", "Pending"),
                3 => state("RUNNING", "Running"),
                _ => state("SCHEDULED", "AwaitingRetry"),
            };
            next["id"] = id;
            let was_scheduled = row["state_type"] == "SCHEDULED";
            let (time, count) = (row["next_scheduled_start_time"].clone(), row["run_count"].clone());
            match event {
                // Only what is SCHEDULED becomes Late, or is SCHEDULED again for its time.
                0 | 1 if !was_scheduled => continue,
                4 => next["data"] = AUTHOR.data(&mark()),
                _ => {}
            }
            row = row_in(next);
            (row["next_scheduled_start_time"], row["run_count"]) = (time, count);
            match event {
                3 => row["run_count"] = json!(row["run_count"].as_u64().unwrap() + 1),
                4 | 5 => {
                    minute += 1;
                    row["next_scheduled_start_time"] = json!(format!("2026-11-22T17:{minute:02}:00Z"));
                }
                _ => {}
            }
            lasts &= event <= 1;
            prop_assert_eq!(read(row.clone()).is_same_turn(&seen), lasts, "after {:?}", row["state"]);
        }
    }
}
