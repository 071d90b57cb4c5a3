//! What the tests of this module are made of: events as ECS sends them, and runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::decision::{Action, Decision, DecisionRules, Look, Observation, decide};
use super::event::TaskEvent;
use super::task_owner::{LaunchedBy, Owner, Tags};
use crate::model::{ClaimedBy, Generation, Phase, Run};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

pub(super) const RUN_ID: &str = "44444444-4444-4444-8444-444444444444";
pub(super) const TASK_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task/default/0123456789abcdef0123456789abcdef";
pub(super) const NOW: OffsetDateTime = datetime!(2026-01-02 03:10:00 UTC);
/// When the tests' runs are claimed; their tasks are created a second later.
pub(super) const CLAIMED: OffsetDateTime = datetime!(2026-01-02 03:04:00 UTC);

/// A whole event, whose detail has these keys beside the ones that every task has.
pub(super) fn event_json(last_status: &str, detail: &Value) -> Value {
    let mut event = json!({
        "version": "0", "id": "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "detail-type": "ECS Task State Change",
        "source": "aws.ecs", "account": "123456789012", "time": "2026-01-02T03:04:05Z", "region": "us-east-1",
        "detail": {
            "taskArn": TASK_ARN, "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/default",
            "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/fam:1",
            "lastStatus": last_status, "createdAt": "2026-01-02T03:04:01.123Z", "version": 5, "containers": [],
        },
    });
    for (key, value) in detail.as_object().unwrap() {
        event["detail"][key] = value.clone();
    }
    event
}

pub(super) fn event(last_status: &str, detail: &Value) -> TaskEvent {
    TaskEvent::read(&event_json(last_status, detail)).unwrap()
}

/// A task that stopped, with its containers as (name, exit code, reason).
pub(super) fn stopped(code: &str, reason: &str, containers: &[(&str, Option<i64>, &str)]) -> TaskEvent {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, exit_code, reason)| {
            json!({"name": name, "exitCode": exit_code, "reason": Some(reason).filter(|text| !text.is_empty())})
        })
        .collect();
    event("STOPPED", &json!({"stopCode": code, "stoppedReason": reason, "containers": containers}))
}

pub(super) fn owner(launched: LaunchedBy) -> Owner {
    Owner { flow_run_id: RUN_ID.into(), agents: vec!["etl".into()], launched }
}

/// A run of ours in its first turn, claimed a second before its task was created.
pub(super) fn run(phase: Phase) -> Run {
    Run {
        phase,
        claimed_at: Some(CLAIMED),
        infrastructure_pid: None,
        attempt: Some(1),
        has_run: false,
        waits_for_task_runs: false,
        claimed_by: ClaimedBy::Us,
    }
}

pub(super) fn rules(generation: Generation) -> DecisionRules<'static> {
    DecisionRules { generation, max_launch_attempts: 5, forward_log_lines: 50, prefect_version: "3.8.8" }
}

/// What is decided at the first look, about a task that this program launched.
pub(super) fn first_look(event: &TaskEvent, run: &Run, generation: Generation) -> Decision {
    look(event, run, generation, LaunchedBy::Here, Look::First)
}

pub(super) fn look(event: &TaskEvent, run: &Run, generation: Generation, launched: LaunchedBy, look: Look) -> Decision {
    let tags = Tags::new();
    let seen = Observation { now: NOW, tags: &tags, run: Some(run), task_version: None, look };
    decide(event, &owner(launched), &seen, &rules(generation))
}

/// The action that changes the run's state, if there is one.
pub(super) fn state_change(decision: &Decision) -> Option<&Action> {
    let changes = |action: &&Action| {
        matches!(
            action,
            Action::ProposePending { .. } | Action::End { .. } | Action::Cancelled { .. } | Action::GiveBack { .. }
        )
    };
    let mut found = decision.actions.iter().filter(changes);
    let first = found.next();
    assert!(found.next().is_none(), "one change of state at most: {decision:?}");
    first
}

/// The message of the state that ends the run.
pub(super) fn end_message(decision: &Decision) -> &str {
    match state_change(decision) {
        Some(Action::End { message }) => message,
        other => panic!("expected the run's end, got {other:?} because {}", decision.why),
    }
}
