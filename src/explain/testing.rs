//! Situations for the tests of stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::facts::{AgentView, Facts, TaskFacts, Tasks};
use crate::health::status::{AgentHealth, AgentStatus};
use crate::model::{ClaimedBy, Generation, Phase, Run};
use crate::orchestrator::Mark;
use crate::orchestrator::run_facts::{RunFacts, StateFacts, WaitReason};
use crate::task_events::event::TaskEvent;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

pub(super) const NOW: OffsetDateTime = datetime!(2026-11-24 14:02:10 UTC);
const RUN: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

pub(super) fn before(seconds: i64) -> OffsetDateTime {
    NOW - time::Duration::seconds(seconds)
}

pub(super) fn mark(attempt: u32, place: &str) -> Mark {
    Mark {
        agent: "/psa/prod/etl".into(),
        epoch: "epoch".into(),
        attempt,
        capacity_refusals: 0,
        token: "0123456789abcdef".into(),
        place: place.into(),
    }
}

/// A healthy agent that polled ten seconds ago.
pub(super) fn agent() -> AgentView {
    AgentView {
        name: "etl".into(),
        generation: Generation::TwoOrThree,
        prefect: "3",
        prefetch: Duration::ZERO,
        poll_interval: Duration::from_mins(1),
        orphan_after: Duration::from_mins(2),
        max_launch_attempts: 5,
        cancel_grace: Duration::from_secs(90),
        forward_log_lines: 50,
        max_polls: None,
        deferred: Some(0),
        health: Some(health(AgentStatus::Ok, Some(before(10)))),
        root: Some("/psa/prod".into()),
    }
}

pub(super) fn health(status: AgentStatus, last_poll: Option<OffsetDateTime>) -> AgentHealth {
    AgentHealth { status, last_poll, last_success: last_poll, polls: 7, error: None, maintenance_until: None }
}

/// A run that was due five seconds ago.
pub(super) fn waiting() -> RunFacts {
    RunFacts {
        id: RUN.into(),
        name: "pretend-parrot".into(),
        state: "Scheduled".into(),
        message: None,
        since: Some(before(60)),
        run: Run {
            phase: Phase::Waiting,
            claimed_at: None,
            infrastructure_pid: None,
            attempt: None,
            claimed_by: ClaimedBy::Unknown,
            has_run: false,
            waits_for_task_runs: false,
        },
        waits: WaitReason::Scheduled,
        mark: None,
        worker: None,
        due_at: Some(before(5)),
        has_own_credentials: false,
        states: vec![state("Scheduled", 60)],
        barriers: Vec::new(),
        unknown: Vec::new(),
    }
}

/// A run that this agent claimed so many seconds ago.
pub(super) fn claimed(seconds: i64) -> RunFacts {
    let claim = StateFacts { is_claim: true, mark: Some(mark(1, "etl")), is_ours: true, ..state("Pending", seconds) };
    let waiting = waiting();
    RunFacts {
        state: "Pending".into(),
        since: Some(before(seconds)),
        run: Run {
            phase: Phase::Claimed,
            claimed_at: Some(before(seconds)),
            attempt: Some(1),
            claimed_by: ClaimedBy::Us,
            ..waiting.run.clone()
        },
        mark: Some(mark(1, "etl")),
        due_at: None,
        states: vec![state("Scheduled", seconds + 20), claim],
        ..waiting
    }
}

/// A run in another phase, since so many seconds.
pub(super) fn further(name: &str, phase: Phase, seconds: i64) -> RunFacts {
    let claimed = claimed(seconds + 60);
    let mut states = claimed.states.clone();
    states.push(state(name, seconds));
    RunFacts {
        state: name.into(),
        since: Some(before(seconds)),
        run: Run { phase, has_run: phase != Phase::Cancelling, attempt: None, ..claimed.run.clone() },
        mark: None,
        states,
        ..claimed
    }
}

pub(super) fn state(name: &str, seconds: i64) -> StateFacts {
    StateFacts {
        at: Some(before(seconds)),
        name: name.into(),
        message: None,
        scheduled_for: None,
        is_claim: false,
        mark: None,
        is_ours: false,
    }
}

/// A task of this run by this agent, created so many seconds ago; `more` is merged into its description.
pub(super) fn task(status: &str, seconds: i64, more: &Value) -> TaskFacts {
    let mut task = json!({
        "taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123", "lastStatus": status,
        "startedBy": format!("prefect/etl/{RUN}"), "createdAt": before(seconds).unix_timestamp(),
        "containers": [{"name": "prefect"}],
    });
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    let task = TaskEvent::of_description(&task).unwrap();
    TaskFacts { task, pull_started_at: None, pull_stopped_at: None, log: None }
}

pub(super) fn facts(run: RunFacts, tasks: Vec<TaskFacts>) -> Facts {
    let tasks = Tasks { found: tasks, unknown: Vec::new(), not_asked: false };
    Facts { now: NOW, flow_run_id: RUN.into(), agent: agent(), run: Ok(run), tasks }
}
