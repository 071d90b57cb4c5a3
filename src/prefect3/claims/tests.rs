#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    IDENTITY, MARKED_AS, RUN, STATE, claim_id, claimed_state, mark, names, read, row_in, state, stranger,
};
use super::*;
use serde_json::{Value, json};
use time::macros::datetime;

const SINCE: OffsetDateTime = datetime!(2026-11-22 16:20 UTC);

fn by_state(state: Value) -> ClaimOwner {
    let names = names();
    Claimant { names: &names, marked_as: MARKED_AS }.by_state(&read(row_in(state)))
}

fn by_history(states: &[Value]) -> ClaimOwner {
    let names = names();
    let states: Vec<State> = states.iter().filter_map(State::read).collect();
    Claimant { names: &names, marked_as: MARKED_AS }.by_history(RUN, &states)
}

/// The same state `minute` minutes past four.
fn at(mut state: Value, minute: u8) -> Value {
    state["timestamp"] = json!(format!("2026-11-22T16:{minute:02}:00Z"));
    state
}

fn scheduled(id: &str) -> Value {
    let mut scheduled = state("SCHEDULED", "Scheduled");
    scheduled["id"] = json!(id);
    scheduled
}

fn without_data(mut state: Value) -> Value {
    state["data"] = json!(null);
    state
}

#[test]
fn a_claim_with_our_mark_is_ours() {
    assert_eq!(by_state(claimed_state()), ClaimOwner::Ours(mark(), SINCE));
}

#[test]
fn claims_of_others_are_foreign() {
    let mut random = state("PENDING", "Pending");
    random["state_details"]["transition_id"] = json!("16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8");
    assert_eq!(by_state(random), ClaimOwner::Foreign);
    assert_eq!(by_state(state("PENDING", "Pending")), ClaimOwner::Foreign, "a claim may have no id at all");
    let mut other = claimed_state();
    other["data"][Mark::KEY]["agent"] = json!("123456789012/eu-west-1/other/etl");
    assert_eq!(by_state(other), ClaimOwner::Foreign);
    let mut copied = claimed_state();
    copied["state_details"]["transition_id"] = json!(stranger().claim(RUN, STATE));
    assert_eq!(by_state(copied), ClaimOwner::Foreign, "a mark without its id proves nothing");
}

#[test]
fn sub_states_and_derived_ids_without_a_mark_are_told_by_the_history() {
    for name in ["Submitting", "InfrastructurePending"] {
        assert_eq!(by_state(state("PENDING", name)), ClaimOwner::Untold);
    }
    assert_eq!(by_state(without_data(claimed_state())), ClaimOwner::Untold);
}

#[test]
fn whose_the_newest_claim_is_can_be_told_when_the_flow_runs() {
    let claimed_by = |claim: Value| {
        let names = names();
        let history = [at(scheduled(STATE), 10), at(claim, 20), at(state("RUNNING", "Running"), 21)];
        let states: Vec<State> = history.iter().filter_map(State::read).collect();
        Claimant { names: &names, marked_as: MARKED_AS }.claimed_by(RUN, &states)
    };
    assert_eq!(claimed_by(claimed_state()), ClaimedBy::Us);
    assert_eq!(claimed_by(without_data(claimed_state())), ClaimedBy::Us, "by its name");
    let mut other = claimed_state();
    other["data"][Mark::KEY]["agent"] = json!("123456789012/eu-west-1/other/etl");
    assert_eq!(claimed_by(other), ClaimedBy::AnotherAgent);
    let mut theirs = state("PENDING", "Pending");
    theirs["state_details"]["transition_id"] = json!("16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8");
    assert_eq!(claimed_by(theirs), ClaimedBy::Unknown);
    assert_eq!(claimed_by(state("PENDING", "Submitting")), ClaimedBy::Unknown, "there is no claim");
}

#[test]
fn a_history_tells_what_lies_under_a_sub_state() {
    let history = [at(scheduled(STATE), 10), at(claimed_state(), 20), at(state("PENDING", "Submitting"), 21)];
    assert_eq!(by_history(&history), ClaimOwner::Ours(mark(), SINCE));
    let mut theirs = state("PENDING", "Pending");
    theirs["state_details"]["transition_id"] = json!("16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8");
    let history = [at(scheduled(STATE), 10), at(theirs, 20), at(state("PENDING", "Submitting"), 21)];
    assert_eq!(by_history(&history), ClaimOwner::Foreign);
    assert_eq!(by_history(&[]), ClaimOwner::Foreign);
}

#[test]
fn an_id_that_follows_from_the_state_before_it_is_ours_also_without_a_mark() {
    let mut given_back = scheduled(STATE);
    given_back["data"] =
        json!({Mark::KEY: Mark { agent: IDENTITY.into(), attempt: 2, capacity_refusals: 1, ..mark() }});
    let claim = without_data(claimed_state());
    // The run was renamed Late between our look and our claim.
    let history = [at(claim.clone(), 20), at(scheduled("late"), 15), at(given_back, 10)];
    let expected = Mark { attempt: 3, capacity_refusals: 1, place: String::new(), ..mark() };
    assert_eq!(by_history(&history), ClaimOwner::Ours(expected, SINCE));
    assert_eq!(by_history(&[at(claim.clone(), 20), at(scheduled("another"), 10)]), ClaimOwner::Foreign);
    assert_eq!(
        by_history(&[at(claim, 20), at(scheduled(STATE), 30)]),
        ClaimOwner::Foreign,
        "what came later proves nothing"
    );
}

/// `task-events` said that the claim's task waits, while the claim was given back: nobody else will ever take the run.
#[test]
fn what_was_told_too_late_over_a_claim_given_back_is_finished_as_that_claim() {
    let mut waits = state("PENDING", "InfrastructurePending");
    waits["data"] = claimed_state()["data"].clone();
    let over = |over: &[Value]| {
        let history = [at(scheduled(STATE), 5), at(claimed_state(), 10), at(scheduled("again"), 15)];
        by_history(&[&history, over].concat())
    };
    assert_eq!(over(&[at(waits.clone(), 20)]), ClaimOwner::Ours(mark(), SINCE));
    assert_eq!(
        over(&[at(waits.clone(), 19), at(waits.clone(), 20)]),
        ClaimOwner::Ours(mark(), SINCE),
        "since the newest"
    );
    assert_eq!(over(&[at(waits.clone(), 19), at(state("PENDING", "Submitting"), 20)]), ClaimOwner::Foreign);
    waits["data"][Mark::KEY]["agent"] = json!("123456789012/eu-west-1/other/etl");
    assert_eq!(over(&[at(waits, 20)]), ClaimOwner::Foreign, "another agent's");
}

/// The Late service dates its state before it is written: it may stand after a claim that came later.
#[test]
fn a_late_state_dated_after_the_claim_was_there_before_it() {
    let mut late = scheduled("late");
    late["name"] = json!("Late");
    let submitting = at(state("PENDING", "Submitting"), 30);
    let over = |between: Vec<Value>| {
        let history = [vec![at(scheduled(STATE), 10), at(claimed_state(), 20)], between, vec![submitting.clone()]];
        by_history(&history.concat())
    };
    assert_eq!(over(vec![at(late.clone(), 21)]), ClaimOwner::Ours(mark(), SINCE));
    assert_eq!(
        over(vec![at(scheduled("anew"), 21), at(late, 22)]),
        ClaimOwner::Foreign,
        "scheduled anew, and late then"
    );
}

#[test]
fn a_claim_that_was_given_back_is_over() {
    let history = [
        at(scheduled(STATE), 10),
        at(claimed_state(), 20),
        at(scheduled("again"), 25),
        at(state("PENDING", "Submitting"), 30),
    ];
    assert_eq!(by_history(&history), ClaimOwner::Foreign);
    let newer = claim_id();
    let mut again = claimed_state();
    again["state_details"]["transition_id"] = json!(names().claim(RUN, "again"));
    again["data"][Mark::KEY]["token"] = again["state_details"]["transition_id"].clone();
    let history =
        [at(claimed_state(), 20), at(scheduled("again"), 25), at(again, 30), at(state("PENDING", "Submitting"), 31)];
    assert!(matches!(by_history(&history), ClaimOwner::Ours(mark, _) if mark.token != newer));
}
