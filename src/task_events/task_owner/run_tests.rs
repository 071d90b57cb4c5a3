#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::model::Phase;
use crate::task_events::testing::{CLAIMED, TASK_ARN, event, run};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

const OTHER: &str =
    "arn:aws:ecs:us-east-1:123456789012:cluster/default::arn:aws:ecs:us-east-1:123456789012:task/default/b";

/// A task that ended a second after it was created.
fn task_created(seconds_after_claim: i64) -> TaskEvent {
    let created = seconds_after_claim;
    task(created, None, created + 1)
}

/// All in seconds after the claim.
fn task(created: i64, started: Option<i64>, stopped: i64) -> TaskEvent {
    let text = |seconds: i64| (CLAIMED + time::Duration::seconds(seconds)).format(&Rfc3339).unwrap();
    let (created, started, stopped) = (text(created), started.map(text), text(stopped));
    event("STOPPED", &json!({"createdAt": created, "startedAt": started, "stoppedAt": stopped}))
}

fn with_pid(pid: &str) -> Run {
    Run { infrastructure_pid: Some(pid.into()), ..run(Phase::Claimed) }
}

fn own_pid() -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:cluster/default::{TASK_ARN}")
}

#[test]
fn a_task_much_older_than_the_claim_is_of_an_earlier_turn_even_if_the_pid_still_names_it() {
    for launched in [LaunchedBy::Here, LaunchedBy::ByWorker] {
        assert!(run(Phase::Claimed).is_of_earlier_turn(&task_created(-46), launched));
        assert!(with_pid(&own_pid()).is_of_earlier_turn(&task_created(-46), launched));
    }
}

#[test]
fn an_earlier_task_that_our_claim_adopted_is_of_this_turn() {
    let adopted = |event: &TaskEvent| !run(Phase::Claimed).is_of_earlier_turn(event, LaunchedBy::Here);
    assert!(adopted(&task(-60, None, 30)), "it waited at the claim and never began");
    assert!(adopted(&task(-60, Some(20), 300)), "it waited at the claim and began later");
    let runs = run(Phase::Running).is_of_earlier_turn(&task(-60, Some(20), 300), LaunchedBy::Here);
    assert!(!runs, "also when its flow runs by now");
    assert!(!adopted(&task(-60, Some(-30), 30)), "it ran at the claim: such a task is not adopted");
    assert!(!adopted(&task(-60, None, -5)), "it had ended at the claim");
    let waiting = event("PENDING", &json!({"createdAt": "2026-01-02T03:03:00Z"}));
    assert!(!adopted(&waiting), "what waits is nothing to report");
    let claim_of_others = Run { attempt: None, claimed_by: ClaimedBy::Unknown, ..run(Phase::Claimed) };
    assert!(claim_of_others.is_of_earlier_turn(&task(-60, None, 30), LaunchedBy::Here), "others adopt nothing");
    assert!(run(Phase::Claimed).is_of_earlier_turn(&task(-60, None, 30), LaunchedBy::ByWorker), "nor do workers");
}

#[test]
fn our_task_that_came_after_the_claim_is_of_this_turn_even_if_the_pid_is_not_written_yet() {
    assert!(!with_pid(OTHER).is_of_earlier_turn(&task_created(1), LaunchedBy::Here));
    assert!(!run(Phase::Running).is_of_earlier_turn(&task_created(3600), LaunchedBy::Here));
}

#[test]
fn a_workers_second_task_of_one_turn_is_not_the_runs() {
    assert!(with_pid(OTHER).is_of_earlier_turn(&task_created(1), LaunchedBy::ByWorker));
    assert!(!with_pid(&own_pid()).is_of_earlier_turn(&task_created(1), LaunchedBy::ByWorker));
}

#[test]
fn where_clocks_are_too_close_to_be_compared_the_pid_decides() {
    for launched in [LaunchedBy::Here, LaunchedBy::ByWorker] {
        assert!(with_pid(OTHER).is_of_earlier_turn(&task_created(-5), launched));
        assert!(!with_pid(&own_pid()).is_of_earlier_turn(&task_created(-5), launched));
        assert!(!run(Phase::Claimed).is_of_earlier_turn(&task_created(-5), launched));
    }
}

#[test]
fn without_times_the_pid_decides_and_without_either_the_task_is_of_this_turn() {
    let timeless = event("STOPPED", &json!({"createdAt": null}));
    let unknown = |run: Run| Run { claimed_at: None, ..run };
    for launched in [LaunchedBy::Here, LaunchedBy::ByWorker] {
        assert!(with_pid(OTHER).is_of_earlier_turn(&timeless, launched));
        assert!(unknown(with_pid(OTHER)).is_of_earlier_turn(&task_created(-46), launched));
        assert!(!unknown(with_pid(&own_pid())).is_of_earlier_turn(&task_created(-46), launched));
        assert!(!run(Phase::Claimed).is_of_earlier_turn(&timeless, launched));
    }
}

#[test]
fn a_pid_of_another_infrastructure_says_nothing() {
    for pid in ["", "12345", "host:12345", "cluster::", "cluster::0123"] {
        assert!(!with_pid(pid).is_of_earlier_turn(&task_created(1), LaunchedBy::ByWorker), "{pid}");
    }
}
