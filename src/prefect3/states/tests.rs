#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::claims::{Claimant, attempts};
use super::super::test_support::{
    AUTHOR, IDENTITY, MARKED_AS, NOW, RUN, STATE, claimed_state, due_row, mark, names, read, row_in, state,
};
use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_row_of_a_poll_is_a_run_without_a_state() {
    let run = read(due_row());
    assert_eq!((run.id(), run.state_id.as_str(), run.kind(), run.state_name()), (RUN, STATE, "SCHEDULED", "Scheduled"));
    assert!(run.state.is_none());
    let turn = run.turn("epoch".into(), NOW, (2, 1));
    assert_eq!((turn.name.as_str(), turn.epoch.as_str(), turn.token.as_str()), ("utopian-lemming", "epoch", "epoch"));
    assert_eq!((turn.attempts, turn.capacity_refusals, turn.has_history), (2, 1, false));
    assert_eq!(turn.detail.flow_run.others["parameters"], json!({"x": 1}));
}

#[test]
fn a_row_of_a_filter_has_its_state_and_our_mark() {
    let run = read(row_in(claimed_state()));
    let state = run.state.as_ref().unwrap();
    assert!(state.is_claim());
    assert_eq!(state.mark, Some(Mark { agent: IDENTITY.into(), ..mark() }));
    assert!(!run.flow_run.others.contains_key("state"), "states can be long, and no launch depends on them");
}

#[test]
fn odd_rows_are_named_and_say_why() {
    let broken = |change: fn(&mut Value)| {
        let mut row = due_row();
        change(&mut row);
        Row::read(row).unwrap_err()
    };
    assert_eq!(broken(|row| row["id"] = json!(null)).0, "?");
    assert_eq!(broken(|row| row["state_id"] = json!(null)), (RUN.into(), "the run has no `state_id`".into()));
    let (id, why) = broken(|row| row["name"] = json!(7));
    assert!(id == RUN && why == "`name` must be a text, but is a number", "{why}");
    for (field, odd) in [("deployment_id", json!([])), ("job_variables", json!("secret")), ("flow_id", json!(null))] {
        let mut row = due_row();
        row[field] = odd;
        let (id, why) = Row::read(row).unwrap_err();
        assert!(id == RUN && why.starts_with(&format!("`{field}` must be ")) && !why.contains("secret"), "{why}");
    }
    for odd in [json!(null), json!([1]), json!(7), json!("x"), json!([null]), json!(true)] {
        let (id, why) = Row::read(odd).unwrap_err();
        assert!(id == "?" && why.starts_with("an object was expected, but it is "), "{why}");
    }
}

#[test]
fn a_state_of_another_shape_is_none() {
    for odd in [json!(null), json!([1]), json!("x"), json!({"type": 7}), json!({"type": ["PENDING"]}), json!({})] {
        assert_eq!(State::read(&odd), None, "{odd}");
    }
    let state = State::read(&json!({"type": "PENDING", "data": [1], "state_details": "x", "timestamp": {}})).unwrap();
    assert_eq!((state.mark, state.session, state.transition_id, state.timestamp), (None, None, None, None));
}

#[test]
fn what_ran_was_launched_or_was_scheduled_anew_may_have_a_task() {
    let has_history = |change: fn(&mut Value)| {
        let mut row = due_row();
        change(&mut row);
        read(row).has_history()
    };
    assert!(!has_history(|_| {}));
    assert!(!has_history(|row| row["state_name"] = json!("Late")));
    assert!(has_history(|row| row["run_count"] = json!(1)));
    assert!(has_history(|row| row["infrastructure_pid"] = json!("c::t")));
    assert!(has_history(|row| row["state_name"] = json!("AwaitingRetry")));
    assert!(has_history(|row| row["next_scheduled_start_time"] = json!("2026-11-22T17:00:00Z")));
}

#[test]
fn a_run_that_ended_before_it_began_did_not_start() {
    let has_started = |start: Value, end: Value| {
        let mut row = row_in(state("CANCELLED", "Cancelled"));
        (row["start_time"], row["end_time"]) = (start, end);
        read(row).has_started()
    };
    let (one, other) = (json!("2026-11-22T16:00:00Z"), json!("2026-11-22T16:05:00Z"));
    assert!(!has_started(json!(null), json!(null)));
    assert!(has_started(one.clone(), json!(null)));
    assert!(has_started(one.clone(), other));
    assert!(!has_started(one.clone(), one));
}

#[test]
fn a_mark_is_written_with_the_identity_of_the_agent() {
    let data = AUTHOR.data(&mark());
    assert_eq!((&data[Mark::KEY]["agent"], &data[Mark::KEY]["session"]), (&json!(IDENTITY), &json!("1")));
    assert_eq!(mark_in(&data), Some(Mark { agent: IDENTITY.into(), ..mark() }));
    for other in [json!(null), json!("x"), json!({Mark::KEY: "x"}), json!({"type": "unpersisted"}), json!([1])] {
        assert_eq!(mark_in(&other), None, "{other}");
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            "[a-z:/-]{0,8}",
            Just("2026-11-22T16:00:00Z".into()),
            Just("PENDING".into()),
            Just("Pending".into())
        ]
        .prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(
                (prop_oneof![Just("id".to_owned()), Just("type".to_owned()), "[a-z]{1,4}"], inner),
                0..3
            )
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands in whatever field, reading a row and judging it does not panic.
    #[test]
    fn no_row_is_too_odd(changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 0..4),
                         of_state in prop::collection::vec((any::<prop::sample::Index>(), anything()), 0..4)) {
        let mut state = claimed_state();
        let keys: Vec<String> = state.as_object().unwrap().keys().cloned().collect();
        for (index, value) in of_state {
            state[index.get(&keys).as_str()] = value;
        }
        let mut row = row_in(state);
        let keys: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
        for (index, value) in changes {
            row[index.get(&keys).as_str()] = value;
        }
        let names = names();
        let claimant = Claimant { names: &names, marked_as: MARKED_AS };
        if let Ok(run) = Row::read(row) {
            let _ = claimant.by_state(&run);
            let states: Vec<State> = run.state.iter().cloned().collect();
            let _ = claimant.by_history(run.id(), &states);
            let _ = run.state.as_ref().map(attempts);
            let _ = run.turn(run.epoch(&names), NOW, (0, 0));
            let _ = (run.has_started(), run.time("start_time"), run.pid());
        }
    }

    /// Nor is any value at all.
    #[test]
    fn no_value_is_too_odd(value in anything()) {
        let _ = (State::read(&value), Row::read(value));
    }
}
