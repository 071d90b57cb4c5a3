//! Situations, and what is said of them. Now is 14:02:10.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod promises;

use super::polls::next_poll;
use super::*;
use crate::explain::facts::AgentView;
use crate::explain::testing::{agent, before, claimed, facts, further, health, mark, prefect_1, state, task, waiting};
use crate::health::status::{AgentHealth, AgentStatus};
use crate::model::{ClaimedBy, ErrorKind, RunEnd};
use crate::orchestrator::Mark;
use crate::orchestrator::run_facts::{BlockReason, SlotsTaken, StateFacts, WaitReason};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

/// The verdict must be of this standing, and say all of these.
fn said(facts: &Facts, standing: Standing, words: &[&str]) -> RunVerdict {
    let verdict = verdict(facts);
    let all = format!(
        "{} | {} | {}",
        verdict.now,
        verdict.next.as_deref().unwrap_or(""),
        verdict.advice.as_deref().unwrap_or("")
    );
    assert_eq!(verdict.standing, standing, "{verdict:?}");
    for word in words {
        assert!(all.contains(word), "{word:?} is not in {all:?}");
    }
    verdict
}

fn of_agent(run: RunFacts, change: impl FnOnce(&mut AgentView)) -> Facts {
    let mut facts = facts(run, Vec::new());
    change(&mut facts.agent);
    facts
}

fn held_by(block_reasons: Vec<BlockReason>) -> Facts {
    facts(RunFacts { block_reasons, ..waiting() }, Vec::new())
}

#[test]
fn what_is_due_is_launched_by_the_next_poll() {
    let verdict = said(&facts(waiting(), Vec::new()), Standing::Due, &["due for 5 s", "the next poll launches it"]);
    assert_eq!((verdict.next_at, verdict.advice), (Some(before(-50)), None), "a minute after the last poll");
    let by_file = of_agent(waiting(), |agent| agent.health = None);
    let verdict = said(&by_file, Standing::Due, &["the agent's next poll launches it"]);
    assert_eq!(verdict.next_at, None, "nobody knows when a file is polled");
}

#[test]
fn what_a_poll_has_left_is_said_with_where_the_reason_is() {
    let late = RunFacts { due_at: Some(before(300)), since: Some(before(600)), ..waiting() };
    let verdict = said(
        &of_agent(late, |agent| agent.deferred = Some(3)),
        Standing::LeftByPoll,
        &["due for 5 min", "the last poll, 10 s ago, did not take it", "it left 3 runs", "`deferred` and `skipped`"],
    );
    assert_eq!(verdict.next_at, Some(before(-50)));
}

#[test]
fn a_run_that_is_not_this_agents_says_whose_and_how_to_change_that() {
    let queue = BlockReason::OtherQueue { queue: "gpu".into(), served: vec!["cpu".into(), "io".into()] };
    let pool = BlockReason::OtherPool { pool: "other".into(), served: "mine".into() };
    let labels = BlockReason::Labels { run: vec!["gpu".into(), "prod".into()], agent: vec!["prod".into()] };
    let unlabelled = BlockReason::Labels { run: Vec::new(), agent: vec!["prod".into()] };
    for (barrier, words) in [
        (queue, vec!["queue `gpu` is not among work_queues (`cpu`, `io`)", "add `gpu`"]),
        (pool, vec!["of work pool `other`, and the agent serves `mine`"]),
        (labels, vec!["the agent lacks `gpu` (it has `prod`)", "add `gpu` to the agent's labels"]),
        (unlabelled, vec!["it has no labels, and the agent has `prod`"]),
        (BlockReason::NoPool, vec!["belongs to no work pool"]),
        (BlockReason::OtherTenant, vec!["another tenant"]),
        (BlockReason::RetriedInProcess, vec!["retries it itself"]),
    ] {
        let verdict = said(&held_by(vec![barrier]), Standing::NotOurs, &words);
        assert!(verdict.next.is_none(), "nothing of ours comes next: {verdict:?}");
    }
}

#[test]
fn a_due_run_that_prefect_holds_back_says_by_what() {
    let queue_paused = || BlockReason::QueuePaused { queue: "gpu".into(), pool: "ecs".into() };
    let slots = |name: &str| SlotsTaken { name: name.into(), taken: 2, limit: 2 };
    for (barrier, word) in [
        (BlockReason::PoolPaused("ecs".into()), "due for 5 s, but work pool `ecs` is paused"),
        (queue_paused(), "prefect work-queue resume 'gpu' --pool 'ecs'"),
        (BlockReason::PoolFull(slots("ecs")), "work pool `ecs` is full: 2 of 2"),
        (BlockReason::QueueFull(slots("gpu")), "queue `gpu` is full: 2 of 2"),
        (BlockReason::DeploymentClosed, "limit of its deployment is 0"),
    ] {
        said(&held_by(vec![barrier]), Standing::HeldBack, &[word]);
    }
    let both = held_by(vec![BlockReason::PoolPaused("ecs".into()), queue_paused()]);
    assert_eq!(verdict(&both).also, ["queue `gpu` is paused"]);
    let later = RunFacts {
        due_at: Some(before(-600)),
        block_reasons: vec![BlockReason::PoolPaused("ecs".into())],
        ..waiting()
    };
    let verdict = said(&facts(later, Vec::new()), Standing::ScheduledLater, &["scheduled for 14:12:10 (in 10 min)"]);
    assert_eq!(verdict.also, ["work pool `ecs` is paused"]);
}

#[test]
fn an_agent_that_does_not_poll_is_named_with_what_mends_it() {
    let is = |status, last_poll: i64| {
        move |agent: &mut AgentView| agent.health = Some(health(status, Some(before(last_poll))))
    };
    said(
        &of_agent(waiting(), is(AgentStatus::Disabled, 10)),
        Standing::AgentOff,
        &["due for 5 s, but agent etl has `enabled: false`"],
    );
    let stopped = of_agent(waiting(), |agent| {
        is(AgentStatus::Stopped, 10)(agent);
        agent.max_polls = Some(7);
    });
    said(&stopped, Standing::AgentOff, &["its max_polls of 7", "/psa/prod/state/etl/polls"]);
    let silent = of_agent(RunFacts { due_at: Some(before(300)), ..waiting() }, is(AgentStatus::Failing, 1200));
    said(&silent, Standing::AgentFailing, &["due for 5 min", "its last poll was 20 min ago", "schedule is ENABLED"]);
    let refused = of_agent(waiting(), |agent| {
        let error = Some(ErrorKind::Unauthorised);
        agent.health = Some(AgentHealth { error, ..health(AgentStatus::Failing, Some(before(10))) });
    });
    said(&refused, Standing::AgentFailing, &["the polls of agent etl fail (unauthorised)"]);
    let one_bad_poll = of_agent(waiting(), |agent| {
        let error = Some(ErrorKind::Aws);
        agent.health = Some(AgentHealth { error, ..health(AgentStatus::Ok, Some(before(10))) });
    });
    let words = ["due for 5 s, and the last poll of agent etl had trouble (aws)", "the next poll tries again"];
    assert_eq!(said(&one_bad_poll, Standing::BadPoll, &words).next_at, Some(before(-50)));
    let maintenance = of_agent(waiting(), |agent| {
        let maintenance_until = Some(before(-590));
        agent.health = Some(AgentHealth { maintenance_until, ..health(AgentStatus::Maintenance, Some(before(10))) });
    });
    said(&maintenance, Standing::Maintenance, &["in maintenance until 14:12:00"]);
    // A run that waits for its time is no trouble yet, but will be.
    let later = of_agent(RunFacts { due_at: Some(before(-600)), ..waiting() }, is(AgentStatus::Failing, 1200));
    let verdict = said(&later, Standing::ScheduledLater, &[]);
    assert!(verdict.also[0].contains("has not polled lately") && verdict.next_at.is_none(), "{verdict:?}");
}

#[test]
fn what_was_given_back_says_why_how_often_and_when_it_is_due_again() {
    let mark = Mark { capacity_refusals: 2, ..mark(2, "etl") };
    let run = RunFacts {
        state: "AwaitingRetry".into(),
        message: Some("Capacity is unavailable at this time".into()),
        since: Some(before(12)),
        mark: Some(mark),
        due_at: Some(before(-33)),
        ..waiting()
    };
    let words =
        ["given back 12 s ago after attempt 2 of 5: Capacity is unavailable", "due again in 33 s, at 14:02:43", "Spot"];
    let verdict = said(&facts(run, Vec::new()), Standing::GivenBack, &words);
    assert_eq!(verdict.next_at, Some(before(-50)), "the first poll after its time");
}

#[test]
fn what_waits_for_its_time_or_a_slot_or_a_person_says_so() {
    let later = RunFacts { due_at: Some(before(-3600)), ..waiting() };
    let verdict =
        said(&facts(later.clone(), Vec::new()), Standing::ScheduledLater, &["scheduled for 15:02:10 (in 1 h)"]);
    assert_eq!(verdict.next_at, Some(before(-3650)));
    let ahead = of_agent(later, |agent| agent.config.prefetch = Duration::from_mins(1));
    assert_eq!(said(&ahead, Standing::ScheduledLater, &["look 60 s ahead"]).next_at, Some(before(-3590)));
    let slot = RunFacts {
        waits: WaitReason::Slot,
        due_at: Some(before(-20)),
        message: Some("limit reached".into()),
        ..waiting()
    };
    said(&facts(slot, Vec::new()), Standing::WaitsForSlot, &["slot of a concurrency limit (limit reached)", "in 20 s"]);
    let paused = RunFacts { waits: WaitReason::Paused, state: "Paused".into(), ..waiting() };
    said(&facts(paused, Vec::new()), Standing::Paused, &["paused for 60 s", "until somebody resumes it"]);
    let odd = RunFacts { waits: WaitReason::Other, state: "Looped".into(), ..waiting() };
    said(&facts(odd, Vec::new()), Standing::NotScheduled, &["It is Looped"]);
}

#[test]
fn a_claim_without_a_task_is_finished_by_the_first_poll_after_orphan_after() {
    let young = said(
        &facts(claimed(40), Vec::new()),
        Standing::ClaimedWithoutTask,
        &["claimed 40 s ago (attempt 1 of 5), and has no task", "the next poll after 14:03:30 finishes the claim"],
    );
    assert_eq!(young.next_at, Some(before(-110)), "the second poll from now");
    let old =
        said(&facts(claimed(120), Vec::new()), Standing::ClaimedWithoutTask, &["the next poll finishes the claim"]);
    assert_eq!(old.next_at, Some(before(-50)));
    let off = of_agent(claimed(120), |agent| agent.health = Some(health(AgentStatus::Disabled, None)));
    let verdict = said(&off, Standing::ClaimedWithoutTask, &["enabled: true"]);
    assert!(verdict.also[0].contains("`enabled: false`") && verdict.next_at.is_none(), "{verdict:?}");
}

#[test]
fn what_ecs_may_not_be_asked_is_no_verdict() {
    let mut unasked = facts(claimed(600), Vec::new());
    unasked.tasks.unknown = vec!["ecs:ListTasks: AccessDenied".into()];
    said(&unasked, Standing::Claimed, &["whether it has a task could not be asked", "without a task, a poll finishes"]);
    unasked.run = Err("no connection".into());
    said(&unasked, Standing::Unknown, &["Prefect could not be asked", "no connection"]);
}

#[test]
fn a_claim_with_a_task_waits_for_its_flow() {
    let launched = facts(claimed(40), vec![task("PENDING", 39, &json!({"desiredStatus": "RUNNING"}))]);
    said(&launched, Standing::Launched, &["claimed 40 s ago", "its task is PENDING"]);
    let stopping = facts(claimed(40), vec![task("RUNNING", 39, &json!({"desiredStatus": "STOPPED"}))]);
    said(&stopping, Standing::TaskStopping, &["about to stop"]);
}

#[test]
fn a_claim_of_others_names_them() {
    let mut run = claimed(40);
    run.run.claimed_by = ClaimedBy::AnotherAgent;
    run.mark = None;
    run.states.pop();
    let theirs = StateFacts {
        is_claim: true,
        mark: Some(Mark { agent: "/psa/x/b".into(), ..mark(1, "") }),
        ..state("Pending", 40)
    };
    run.states.push(theirs);
    said(&facts(run.clone(), Vec::new()), Standing::ClaimedElsewhere, &["by the agent /psa/x/b", "leaves it alone"]);
    run.states.pop();
    run.worker = Some("ECSWorker 1".into());
    said(&facts(run, Vec::new()), Standing::ClaimedElsewhere, &["by the worker ECSWorker 1"]);
}

#[test]
fn a_task_that_died_leads_to_what_task_events_does() {
    let stopped = |more: &serde_json::Value| {
        let mut all = json!({"stoppedAt": before(5).unix_timestamp()});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task("STOPPED", 39, &all)
    };
    let spot = json!({"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."});
    said(
        &facts(claimed(40), vec![stopped(&spot)]),
        Standing::TaskDied,
        &["Its task stopped 5 s ago", "task-events gives the run back; it is due again 45 s after that"],
    );
    let killed = json!({
        "stopCode": "EssentialContainerExited", "startedAt": before(30).unix_timestamp(),
        "containers": [{"name": "prefect", "exitCode": 137, "reason": "OutOfMemoryError: killed"}],
    });
    let verdict = said(
        &facts(further("Running", Phase::Running, 20), vec![stopped(&killed)]),
        Standing::TaskDied,
        &["memory", "ends the run as Crashed"],
    );
    assert!(verdict.advice.unwrap().contains("memory"));
    let mut old = stopped(&killed);
    old.task.task.stopped_at = Some(before(600));
    old.task.task.created_at = Some(before(900));
    said(
        &facts(further("Running", Phase::Running, 800), vec![old]),
        Standing::TaskDied,
        &["No event of the task's end has come through", "queue of its failures"],
    );
}

#[test]
fn a_task_of_an_earlier_turn_says_nothing_about_this_one() {
    let old = task("STOPPED", 900, &json!({"stopCode": "SpotInterruption", "stoppedAt": before(800).unix_timestamp()}));
    said(&facts(claimed(40), vec![old]), Standing::ClaimedWithoutTask, &["has no task"]);
}

#[test]
fn a_run_that_runs_or_has_ended_says_so() {
    said(&facts(further("Running", Phase::Running, 90), Vec::new()), Standing::Running, &["running for 90 s"]);
    let well = facts(further("Completed", Phase::Ended, 90), Vec::new());
    assert_eq!(said(&well, Standing::Ended, &["It ended as Completed 90 s ago"]).advice, None);
    // However its state is called: a flow may name its own.
    for (end, name, has_advice) in [
        (RunEnd::Well, "All tables are loaded", false),
        (RunEnd::Cancelled, "Failed", false),
        (RunEnd::Badly, "Completed", true),
    ] {
        let run = RunFacts { end: Some(end), ..further(name, Phase::Ended, 90) };
        let stopped = json!({"stopCode": "SpotInterruption", "stoppedAt": before(95).unix_timestamp()});
        let verdict = said(&facts(run, vec![task("STOPPED", 140, &stopped)]), Standing::Ended, &[name]);
        assert_eq!(verdict.advice.is_some(), has_advice, "{end:?}: {verdict:?}");
    }
    let mut crashed = further("Crashed", Phase::Ended, 90);
    crashed.message = Some("Container prefect was killed".into());
    let died = task(
        "STOPPED",
        140,
        &json!({
            "stopCode": "EssentialContainerExited", "stoppedAt": before(95).unix_timestamp(),
            "startedAt": before(120).unix_timestamp(),
            "containers": [{"name": "prefect", "exitCode": 137, "reason": "OutOfMemoryError: killed"}],
        }),
    );
    let words = ["It ended as Crashed 90 s ago: Container prefect was killed", "memory"];
    assert!(said(&facts(crashed, vec![died]), Standing::Ended, &words).advice.is_some());
}

#[test]
fn the_next_poll_is_a_whole_number_of_intervals_after_the_last() {
    let now = before(0);
    let next = |not_before| next_poll(&agent(), now, not_before);
    assert_eq!(next(now), Some(before(-50)));
    assert_eq!(next(before(-50)), Some(before(-50)));
    assert_eq!(next(before(-51)), Some(before(-110)));
    let silent = AgentView { health: Some(health(AgentStatus::Failing, Some(before(10)))), ..agent() };
    assert_eq!(next_poll(&silent, now, now), None);
}

/// Texts of times as servers could write them, the ends of the calendar among them.
fn texts_of_times() -> impl Strategy<Value = String> {
    let offset = prop_oneof![Just("Z".to_owned()), "[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]", Just(String::new())];
    let date = prop_oneof![
        Just("9999-12-31T23:59:59".to_owned()),
        Just("0000-01-01T00:00:00".to_owned()),
        Just("-009999-01-01T00:00:00".to_owned()),
        "[0-9]{4}-0[1-9]-[12][0-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?",
        "2026-11-24T(1[34]):[0-5][0-9]:[0-5][0-9]",
    ];
    (date, offset).prop_map(|(date, offset)| date + &offset)
}

proptest! {
    #[test]
    fn whatever_times_prefect_tells_there_is_a_story_of_it(
        texts in proptest::collection::vec(texts_of_times(), 4),
        phase in 0_usize..7,
        is_ours in any::<bool>(),
        lives in any::<bool>(),
        prefetch in prop_oneof![Just(0_u64), Just(86_400)],
    ) {
        let times: Vec<_> = texts.iter().map(|text| crate::python_text::parse_time(text)).collect();
        let mut run = match phase {
            0 => waiting(),
            1 => claimed(60),
            2 => further("Running", Phase::Running, 60),
            3 => further("Cancelling", Phase::Cancelling, 60),
            4 => RunFacts { mark: Some(mark(2, "etl")), ..waiting() },
            5 => RunFacts { end: Some(RunEnd::Cancelled), ..further("Cancelled", Phase::Ended, 60) },
            _ => further("Failed", Phase::Ended, 60),
        };
        (run.since, run.due_at, run.run.claimed_at) = (times[0], times[1], times[2]);
        run.run.waits_for_task_runs = is_ours;
        run.states.iter_mut().for_each(|state| (state.at, state.scheduled_for) = (times[3], times[1]));
        let live = if lives { vec![task("RUNNING", 30, &json!({"desiredStatus": "RUNNING"}))] } else { Vec::new() };
        let mut facts = facts(run, live);
        facts.agent.config.prefetch = Duration::from_secs(prefetch);
        if let Some(health) = &mut facts.agent.health {
            health.last_poll = times[2].or(health.last_poll);
        }
        // As JSON too: a time that has no text would end that in a panic.
        let told = json!({"verdict": verdict(&facts), "events": crate::explain::story::events(&facts)});
        prop_assert!(told["verdict"]["now"].is_string());
    }
}
