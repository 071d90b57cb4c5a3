//! Situations for the tests of stories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::facts::{AgentView, Facts, TaskFacts, Tasks};
use crate::config::{AgentConfig, ConfigSource, Environment, read_agent};
use crate::health::status::{AgentHealth, AgentStatus};
use crate::model::{ClaimedBy, Phase, Run, RunEnd};
use crate::orchestrator::Mark;
use crate::orchestrator::run_facts::{RunFacts, StateFacts, WaitReason};
use crate::task_events::event::TaskEvent;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-24 14:02:10 UTC);
const RUN: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

pub(crate) fn before(seconds: i64) -> OffsetDateTime {
    NOW - time::Duration::seconds(seconds)
}

pub(crate) fn mark(attempt: u32, place: &str) -> Mark {
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
pub(crate) fn agent() -> AgentView {
    let config = configured("{prefect: 3, api: 'http://127.0.0.1:4200/api', work_pool: ecs, prefetch_seconds: 0}");
    AgentView {
        config,
        max_polls: None,
        deferred: Some(0),
        health: Some(health(AgentStatus::Ok, Some(before(10)))),
        root: Some("/psa/prod".into()),
    }
}

/// The same of Prefect 1.
pub(crate) fn prefect_1() -> AgentView {
    AgentView { config: configured("{prefect: 1, backend: server, prefetch_seconds: 0}"), ..agent() }
}

fn configured(text: &str) -> AgentConfig {
    let source = ConfigSource { parameter: "/psa/prod/config/etl", agent: "etl", local_files: false };
    read_agent(text, &source, &Environment::default()).unwrap()
}

pub(crate) fn health(status: AgentStatus, last_poll: Option<OffsetDateTime>) -> AgentHealth {
    AgentHealth { status, last_poll, last_success: last_poll, polls: 7, error: None, maintenance_until: None }
}

/// A run that was due five seconds ago.
pub(crate) fn waiting() -> RunFacts {
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
        end: None,
        mark: None,
        was_ours: false,
        worker: None,
        due_at: Some(before(5)),
        has_own_credentials: false,
        states: vec![state("Scheduled", 60)],
        block_reasons: Vec::new(),
        unknown: Vec::new(),
    }
}

/// A run that this agent claimed so many seconds ago.
pub(crate) fn claimed(seconds: i64) -> RunFacts {
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
        was_ours: true,
        due_at: None,
        states: vec![state("Scheduled", seconds + 20), claim],
        ..waiting
    }
}

/// A run in another phase, since so many seconds; one that has ended did so badly.
pub(crate) fn further(name: &str, phase: Phase, seconds: i64) -> RunFacts {
    let claimed = claimed(seconds + 60);
    let mut states = claimed.states.clone();
    states.push(state(name, seconds));
    RunFacts {
        state: name.into(),
        since: Some(before(seconds)),
        run: Run { phase, has_run: phase != Phase::Cancelling, attempt: None, ..claimed.run.clone() },
        end: (phase == Phase::Ended).then_some(RunEnd::Badly),
        mark: None,
        states,
        ..claimed
    }
}

pub(crate) fn state(name: &str, seconds: i64) -> StateFacts {
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
pub(crate) fn task(status: &str, seconds: i64, more: &Value) -> TaskFacts {
    let mut task = json!({
        "taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123", "lastStatus": status,
        "startedBy": format!("prefect/etl/{RUN}"), "createdAt": before(seconds).unix_timestamp(),
        "containers": [{"name": "prefect"}],
    });
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    let task = TaskEvent::of_description(&task).unwrap();
    TaskFacts { task, pull_stopped_at: None, log: None }
}

pub(crate) fn facts(run: RunFacts, tasks: Vec<TaskFacts>) -> Facts {
    let tasks = Tasks { found: tasks, unknown: Vec::new() };
    Facts { now: NOW, flow_run_id: RUN.into(), agent: agent(), run: Ok(run), tasks }
}
