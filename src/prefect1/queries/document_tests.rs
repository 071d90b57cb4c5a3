#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn state(index: usize, target: Target) -> SetState {
    SetState { owner: index, target, id: format!("id-{index}"), version: Some(7), state: json!({"type": "Submitted"}) }
}

#[test]
fn states_become_aliased_fields_with_variables() {
    let mut without_version = state(1, Target::TaskRun);
    without_version.version = None;
    let documents = set_states(&[state(0, Target::FlowRun), without_version]);
    assert_eq!(documents.len(), 1);
    assert_eq!(
        documents[0].0.query,
        "mutation($i0: set_flow_run_states_input!, $i1: set_task_run_states_input!) { \
         r0: set_flow_run_states(input: $i0) { states { id status message } } \
         r1: set_task_run_states(input: $i1) { states { id status message } } }"
    );
    assert_eq!(
        Value::Object(documents[0].0.variables.clone()),
        json!({
            "i0": {"states": [{"flow_run_id": "id-0", "version": 7, "state": {"type": "Submitted"}}]},
            "i1": {"states": [{"task_run_id": "id-1", "state": {"type": "Submitted"}}]},
        })
    );
}

#[test]
fn a_document_has_a_hundred_aliases_at_most_and_each_counts_from_zero() {
    let states: Vec<_> = (0..250).map(|index| state(index, Target::FlowRun)).collect();
    let documents = set_states(&states);
    assert_eq!(documents.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(documents[2].0.variables["i0"]["states"][0]["flow_run_id"], "id-200");
    assert!(set_states(&[]).is_empty());
}

#[test]
fn big_states_are_spread_over_documents() {
    let mut big: Vec<_> = (0..5).map(|index| state(index, Target::FlowRun)).collect();
    for state in &mut big {
        state.state = json!("x".repeat(1_000_000));
    }
    let counts: Vec<_> = set_states(&big).iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [2, 2, 1]);
}
