//! A deployment in which everything has happened that a page tells of.

use crate::health::AgentFacts;
use crate::health::status::ConfiguredAgent;
use crate::model::ErrorKind;
use crate::state::recent::Death;
use crate::state::recent::{FailedRun, PastPoll, Recent, WaitingRun};
use crate::state::{Counts, Status};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-30 22:00:10 UTC);
pub(crate) const ROOT: &str = "/prefect-serverless-agent/prod";

pub(crate) fn before(seconds: i64) -> OffsetDateTime {
    NOW - time::Duration::seconds(seconds)
}

pub(crate) fn agent(status: Option<Status>) -> AgentFacts {
    let agent =
        ConfiguredAgent { enabled: true, poll_interval: Duration::from_mins(1), hold: Duration::ZERO, max_polls: None };
    AgentFacts { configuration: Some(agent), configured_at: Some(before(86_400)), status, deaths: Vec::new() }
}

pub(crate) fn polled(seconds_ago: i64) -> Status {
    Status {
        last_poll: Some(before(seconds_ago)),
        last_success: Some(before(seconds_ago)),
        polls: 4321,
        ..Status::default()
    }
}

fn past(ago: i64, counts: [u64; 4], error: Option<ErrorKind>) -> PastPoll {
    let [ready, launched, deferred, failed] = counts;
    PastPoll { at: before(ago), ms: 84, ready, launched, deferred, failed, error }
}

fn waiting(run: &str, due: i64, again: Option<i64>, reason: &str) -> WaitingRun {
    WaitingRun {
        run: run.to_owned(),
        reason: reason.to_owned(),
        due: Some(before(due)),
        again: again.map(|ahead| before(-ahead)),
    }
}

/// Busy, failing, disabled, stopped, new, quiet.
pub(crate) fn deployment() -> BTreeMap<String, AgentFacts> {
    let recent = Recent {
        polls: vec![
            past(21, [7, 4, 3, 0], None),
            past(81, [0, 0, 0, 0], None),
            past(141, [2, 1, 0, 1], None),
            past(201, [0, 0, 0, 0], Some(ErrorKind::ApiUnreachable)),
            past(261, [0, 0, 0, 0], None),
            past(321, [12, 12, 0, 0], None),
            past(381, [0, 0, 0, 0], None),
            past(441, [1, 1, 0, 0], None),
        ],
        waiting: vec![
            waiting("0f0e0d0c-0b0a-4908-8706-050403020100", 312, None, "the limit of 4 launches per poll is reached"),
            waiting("6d1c2f1e-7a53-4d0b-9a3f-2f3e8b1c7a10", 41, None, "the work queue's concurrency limit is reached"),
            waiting(
                "b2a1f0de-1c9d-4f8a-b7c6-3d2e1f0a9b8c",
                95,
                Some(33),
                "ECS has no capacity at this time (RESOURCE:ENI): no network interface is left in subnet-0123456789abcdef0",
            ),
        ],
        failed: vec![FailedRun {
            run: "9c8b7a6d-5e4f-4321-8765-4321fedcba98".to_owned(),
            at: before(141),
            died: false,
            reason: "ECS refuses the image \"ghcr.io/acme/<flows>:v1\": the name is malformed. Correct it in the deployment's job variables".to_owned(),
        }],
    };
    let busy = Status {
        counts: Counts { ready: 7, launched: 4, deferred: 5, failed: 0 },
        oldest_due: Some(before(312)),
        outstanding: Some(2),
        recent,
        ..polled(21)
    };
    let lost = Status {
        last_success: Some(before(5400)),
        error: Some(ErrorKind::Unauthorised),
        recent: Recent { polls: vec![past(24, [0; 4], Some(ErrorKind::Unauthorised))], ..Recent::default() },
        ..polled(24)
    };
    let death = |run: &str, ago, reason: &str, again| Death {
        run: run.to_owned(),
        at: before(ago),
        reason: reason.to_owned(),
        again,
    };
    let deaths = vec![
        death(
            "4d1f6b02-7c55-4a0e-8c3b-2a9e6f1d7b33",
            64,
            "Container 'prefect' was killed (exit code 137): out of memory. Raise memory in the job variables",
            false,
        ),
        death(
            "77aa01c9-0b3e-4c1d-9d52-6b1e0f4a2c88",
            1_260,
            "the Spot task was interrupted before the flow began",
            true,
        ),
    ];
    let mut disabled = agent(Some(polled(7 * 86_400)));
    if let Some(configuration) = &mut disabled.configuration {
        configuration.enabled = false;
    }
    let mut stopped = agent(Some(Status { stopped: true, polls: 100, ..polled(3600) }));
    if let Some(configuration) = &mut stopped.configuration {
        configuration.max_polls = Some(100);
    }
    let new = AgentFacts { configured_at: Some(before(40)), ..agent(None) };
    [
        ("etl-nightly", AgentFacts { deaths, ..agent(Some(busy)) }),
        ("forecasts", agent(Some(lost))),
        ("ml-experiments", disabled),
        ("migration", stopped),
        ("new-pool", new),
        ("reports", agent(Some(Status { outstanding: Some(0), ..polled(18) }))),
    ]
    .map(|(name, facts)| (name.to_owned(), facts))
    .into()
}
