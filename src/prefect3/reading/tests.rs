#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{RUN, STATE};
use super::super::test_support::{claim_id, claimed_state, due, due_row, read, row_in, state, stranger};
use super::*;
use serde_json::{Value, json};

fn look(state: Value, claim: Option<&str>) -> RunReading {
    RunReading { run: read(row_in(state)), claim: claim.map(str::to_owned), session: None }
}

fn why(result: Result<(), ApiError>) -> String {
    match result {
        Err(ApiError::NotOurs(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_our_own_claim_of_this_turn_is_ended() {
    let ours = claim_id();
    assert_eq!(may_end_claim(&due(), Some(&look(claimed_state(), Some(&ours)))), Ok(()));
    assert_eq!(may_end_claim(&due(), Some(&look(state("PENDING", "Submitting"), Some(&ours)))), Ok(()));
    let theirs = stranger().claim(RUN, STATE);
    for claim in [None, Some(theirs.as_str())] {
        assert!(why(may_end_claim(&due(), Some(&look(claimed_state(), claim)))).contains("another worker"));
    }
    assert!(why(may_end_claim(&due(), None)).contains("no longer exists"));
}

#[test]
fn what_ended_is_paused_or_is_being_cancelled_is_left_alone() {
    for (kind, name) in [
        ("RUNNING", "Running"),
        ("PAUSED", "Suspended"),
        ("CANCELLING", "Cancelling"),
        ("CANCELLED", "Cancelled"),
        ("COMPLETED", "Completed"),
        ("FAILED", "TimedOut"),
        ("CRASHED", "Crashed"),
        ("SCHEDULED", "Late"),
    ] {
        let mut row = row_in(state(kind, name));
        row["next_scheduled_start_time"] = json!("2026-11-22T17:00:00Z");
        let look = RunReading { run: read(row), claim: None, session: None };
        assert!(why(may_end_claim(&due(), Some(&look))).contains(name));
        if kind != "CANCELLING" {
            assert!(why(may_cancel(&due(), Some(&look))).contains(name));
        }
    }
}

#[test]
fn only_what_is_being_cancelled_or_is_due_as_it_was_is_cancelled() {
    assert_eq!(may_cancel(&due(), Some(&look(state("CANCELLING", "Cancelling"), None))), Ok(()));
    let as_it_was = RunReading { run: read(due_row()), claim: None, session: None };
    assert_eq!(may_cancel(&due(), Some(&as_it_was)), Ok(()));
    assert_eq!(may_cancel(&due(), Some(&look(state("SCHEDULED", "Late"), None))), Ok(()), "the same turn");
    assert!(why(may_cancel(&due(), None)).contains("no longer exists"));
}
