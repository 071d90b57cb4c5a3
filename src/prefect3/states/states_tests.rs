#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{AUTHOR, IDENTITY, NOW, claim_id, claimed_state, mark, state};
use super::*;

#[test]
fn a_claim_names_itself_and_carries_our_mark() {
    let state = pending(&mark(), AUTHOR);
    assert_eq!((state["type"].as_str(), state["name"].as_str()), (Some("PENDING"), Some("Pending")));
    assert_eq!(state["state_details"], json!({"transition_id": claim_id()}));
    assert_eq!(state["data"][Mark::KEY]["agent"], IDENTITY);
}

#[test]
fn what_is_given_back_waits_under_a_name_that_the_server_leaves_alone() {
    let state = awaiting_retry(&mark(), AUTHOR, (NOW, "no capacity", "id"));
    assert_eq!((state["type"].as_str(), state["name"].as_str()), (Some("SCHEDULED"), Some("AwaitingRetry")));
    assert_eq!(state["message"], "no capacity");
    let details = json!({"scheduled_time": "2026-11-22T16:23:00.488868+00:00", "transition_id": "id"});
    assert_eq!(state["state_details"], details);
}

#[test]
fn a_crash_is_told_in_the_workers_words_and_in_bounds() {
    assert_eq!(
        crashed("ValueError: no", "id")["message"],
        "Failed to submit flow run to infrastructure: ValueError: no"
    );
    let long = crashed(&"é".repeat(20_000), "id")["message"].as_str().unwrap().chars().count();
    assert!(long < 10_020, "{long}");
}

/// What the server answers to our claim, and what that means.
#[test]
fn every_answer_to_a_claim_has_its_meaning() {
    let claim = pending(&mark(), AUTHOR);
    let answer = |status: &str, state: Value, reason: Value| {
        said(&json!({"status": status, "state": state, "details": {"reason": reason}}), &claim).unwrap()
    };
    let foreign = state("PENDING", "Pending");
    assert_eq!(answer("ACCEPT", claimed_state(), json!(null)), Said::Done);
    let already = |state: Value| answer("REJECT", state, json!("already made this state transition"));
    assert_eq!(already(claimed_state()), Said::Already(By::Us));
    let mut of_another = claimed_state();
    of_another["data"][Mark::KEY]["session"] = json!("2");
    assert_eq!(already(of_another), Said::Already(By::Another));
    let mut without_data = claimed_state();
    without_data["data"] = json!(null);
    assert_eq!(already(without_data), Said::Already(By::Somebody), "a server may drop data");
    let no = |said: Said, words: &[&str]| match said {
        Said::No(reason) => assert!(words.iter().all(|word| reason.contains(word)), "{reason}"),
        Said::Done | Said::Already(_) => panic!("{words:?}"),
    };
    no(answer("ABORT", foreign.clone(), json!("is in a PENDING state")), &["ABORT", "PENDING", "(it is Pending)"]);
    no(answer("REJECT", foreign, json!("already made")), &["REJECT", "already made"]);
    let slot = state("SCHEDULED", "AwaitingConcurrencySlot");
    no(answer("REJECT", slot, json!("limit reached")), &["limit reached", "AwaitingConcurrencySlot"]);
    let mut cancelled = state("CANCELLED", "Cancelled");
    cancelled["message"] = json!("Deployment concurrency limit reached.");
    no(answer("REJECT", cancelled, json!(null)), &["Deployment concurrency limit reached.", "Cancelled"]);
    no(answer("WAIT", json!(null), json!("later")), &["WAIT", "later"]);
    no(answer("ABORT", json!(null), json!(null)), &["ABORT: no reason was given"]);
    let unheard = said(&json!({"status": "WHAT", "state": null, "details": {}}), &claim);
    assert!(matches!(unheard, Err(ApiError::Malformed(_))), "what it means cannot be known: {unheard:?}");
    no(answer("ACCEPT", state("RUNNING", "Running"), json!(null)), &["Running"]);
}

#[test]
fn an_answer_without_a_status_is_malformed() {
    for answer in [json!(null), json!([]), json!({"state": {}}), json!({"status": 1})] {
        assert!(matches!(said(&answer, &json!({"type": "PENDING"})), Err(ApiError::Malformed(_))), "{answer}");
    }
}

#[test]
fn a_state_without_a_name_of_its_own_is_only_done_when_it_was_accepted() {
    let proposed = json!({"type": "CANCELLED", "name": "Cancelled", "message": "x"});
    let answer =
        |status| json!({"status": status, "state": {"type": "CANCELLED", "state_details": {"transition_id": null}}});
    assert_eq!(said(&answer("ACCEPT"), &proposed), Ok(Said::Done));
    assert!(matches!(said(&answer("ABORT"), &proposed), Ok(Said::No(_))));
}

#[test]
fn only_a_refusal_that_leaves_the_run_due_as_it_was_is_lasting() {
    let answer = |status: &str, kind: Value| json!({"status": status, "state": {"type": kind, "name": "x"}, "details": {"reason": "the limit is 0"}});
    assert_eq!(lasting_refusal(&answer("ABORT", json!("SCHEDULED"))), Some("the limit is 0"));
    for (status, kind) in [
        ("ABORT", json!("PENDING")),
        ("ABORT", json!("RUNNING")),
        ("ABORT", json!(null)),
        ("REJECT", json!("SCHEDULED")),
        ("ACCEPT", json!("PENDING")),
        ("WAIT", json!("SCHEDULED")),
    ] {
        assert_eq!(lasting_refusal(&answer(status, kind.clone())), None, "{status} {kind}");
    }
    for odd in [json!(null), json!([]), json!({"status": "ABORT", "state": 7, "details": [1]})] {
        assert_eq!(lasting_refusal(&odd), None);
    }
}
