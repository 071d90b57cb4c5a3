//! Claims of ours without a task are finished with the same token, or their task is adopted.

use super::fakes::{Fakes, ORPHAN_AFTER, START};
use crate::model::ApiError;
use crate::model::ErrorKind;
use crate::platform::{LaunchOutcome, TransientCause};
use crate::poll::AgentReport;
use std::collections::BTreeSet;
use std::time::Duration;

fn launched(report: &AgentReport) -> Vec<&str> {
    report.launched.iter().map(|launched| launched.flow_run_id.as_str()).collect()
}

fn recovered(report: &AgentReport) -> Vec<(&str, &str)> {
    report.recovered.iter().map(|run| (run.flow_run_id.as_str(), run.task_arn.as_str())).collect()
}

fn finished(report: &AgentReport) -> Vec<&str> {
    report.recovered.iter().map(|run| run.flow_run_id.as_str()).collect()
}

fn unknown() -> LaunchOutcome {
    LaunchOutcome::Unknown("timed out".into())
}

/// As long as after that a claim is an orphan.
async fn patience() {
    tokio::time::advance(ORPHAN_AFTER).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_launched_with_the_token_of_its_claim() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [unknown()].into());
    let report = world.poll().await;
    assert_eq!((report.deferred.len(), world.run("a").state), (1, "Submitted"), "{report:?}");
    patience().await;
    let report = world.poll().await;
    assert_eq!((report.ok, finished(&report)), (true, vec!["a"]), "{report:?}");
    let sent = world.lock().sent.clone();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1], "same token, same cluster: ECS starts no second task");
    assert_eq!(world.lock().calls.iter().filter(|call| **call == "claim").count(), 1, "it is claimed already");
    assert_eq!(world.run("a").task_arn.as_deref(), Some("task/a"), "the task is written down");
    assert_eq!(world.lock().announced, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_goes_to_the_cluster_it_was_made_for() {
    // The account's default cluster is one of them.
    for (old, new) in [("old", "new"), ("", "new"), ("old", ""), ("default", "")] {
        let world = Fakes::new();
        world.lock().cluster = old;
        world.schedule("a", 0);
        world.lock().outcomes.insert("a".into(), [unknown()].into());
        world.poll().await;
        world.lock().cluster = new;
        patience().await;
        world.poll().await;
        let clusters: Vec<_> = world.lock().sent.iter().map(|(_, cluster)| cluster.clone()).collect();
        assert_eq!(clusters.len(), 2, "{old:?} then {new:?}");
        let same =
            |one: &str, other: &str| one == other || [one, other].iter().all(|name| ["", "default"].contains(name));
        assert!(same(&clusters[0], &clusters[1]), "a token is good for one cluster: {clusters:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_lives_is_adopted_and_told_once() {
    for status in ["PROVISIONING", "PENDING", "RUNNING"] {
        let world = Fakes::new();
        world.orphan("a", 120);
        world.tasks("a", &[(status, "RUNNING")]);
        let task_arn = format!("task/a/{status}");
        let report = world.poll().await;
        assert_eq!((report.ok, recovered(&report)), (true, vec![("a", task_arn.as_str())]), "{report:?}");
        assert_eq!(world.run("a").task_arn, Some(task_arn), "it is written down");
        assert_eq!(world.lock().announced, ["a"]);
        // An API that has no place for it: this process knows all the same.
        world.lock().runs.get_mut("a").unwrap().task_arn = None;
        let report = world.poll().await;
        assert!(report.recovered.is_empty() && report.deferred.is_empty(), "{report:?}");
        assert!(world.lock().launches.is_empty() && world.lock().announced.len() == 1, "{status}");
        assert!(world.run("a").task_arn.is_some(), "what could not be written down is tried again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_of_an_earlier_turn_is_not_taken_for_the_one_that_lives() {
    let world = Fakes::new();
    world.orphan("a", 600);
    world.lock().runs.get_mut("a").unwrap().task_arn = Some("task/of-an-earlier-turn".into());
    world.tasks("a", &[("PENDING", "RUNNING")]);
    let report = world.poll().await;
    assert_eq!((report.ok, recovered(&report)), (true, vec![("a", "task/a/PENDING")]), "{report:?}");
    assert_eq!(world.run("a").task_arn.as_deref(), Some("task/a/PENDING"), "it is written down instead");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_prefect_knows_is_no_news() {
    let world = Fakes::new();
    world.orphan("a", 600);
    world.lock().runs.get_mut("a").unwrap().task_arn = Some("task/a/RUNNING".into());
    world.tasks("a", &[("RUNNING", "RUNNING")]);
    let report = world.poll().await;
    assert_eq!((report.ok, report.recovered.len(), report.deferred.len()), (true, 0, 0), "{report:?}");
    assert!(world.lock().announced.is_empty() && world.lock().launches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_launch_of_this_process_is_no_orphan_while_its_task_lives() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.poll().await;
    world.lock().runs.get_mut("a").unwrap().task_arn = None;
    world.tasks("a", &[("PENDING", "RUNNING")]);
    patience().await;
    let report = world.poll().await;
    assert!(report.recovered.is_empty() && report.launched.is_empty(), "{report:?}");
    assert_eq!(world.lock().launches.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_task_stops_nothing_is_done() {
    let world = Fakes::new();
    world.orphan("a", 120);
    world.tasks("a", &[("DEACTIVATING", "STOPPED")]);
    let report = world.poll().await;
    assert!(report.deferred[0].reason.contains("task/a/DEACTIVATING is about to stop"), "{report:?}");
    assert!(world.lock().launches.is_empty() && world.lock().stopped.is_empty());
    world.tasks("a", &[]);
    assert_eq!(finished(&world.poll().await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn young_claims_are_untouched() {
    let world = Fakes::new();
    world.orphan("young", 119);
    world.orphan("old", 120);
    let report = world.poll().await;
    assert_eq!(finished(&report), ["old"], "{report:?}");
    assert!(report.deferred.is_empty() && world.lock().prepared == ["old"], "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_of_others_are_counted_and_never_touched() {
    let world = Fakes::new();
    world.orphan("theirs", 3600);
    world.lock().runs.get_mut("theirs").unwrap().mark = None;
    world.lock().foreign = 1;
    let report = world.poll().await;
    assert_eq!((report.ok, report.foreign_pending), (true, 1), "{report:?}");
    assert!(world.lock().prepared.is_empty() && world.lock().launches.is_empty());
    assert_eq!(world.run("theirs").state, "Submitted");
}

#[tokio::test(start_paused = true)]
async fn hopeless_claims_are_given_back_as_counted_attempts_and_fail_with_the_story() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), vec![unknown(); 1000].into());
    let mut attempts = Vec::new();
    for _ in 0..60 {
        let report = world.poll().await;
        let run = world.run("a");
        assert!(report.ok, "an answer that never comes is this run's own trouble: {report:?}");
        if run.state == "Scheduled" && attempts.last() != Some(&run.attempts) {
            attempts.push(run.attempts);
        }
        if run.state == "Failed" {
            break;
        }
        tokio::time::advance(Duration::from_mins(1)).await;
    }
    let run = world.run("a");
    assert_eq!((run.state, attempts), ("Failed", vec![1, 2]), "{run:?}");
    assert!(run.message.starts_with("Not launched after 3 attempts. The last one: "), "{run:?}");
    assert!(run.message.contains("timed out"), "{run:?}");
    let tokens: BTreeSet<_> = world.lock().sent.iter().map(|(token, _)| token.clone()).collect();
    assert_eq!(tokens.len(), 3, "each attempt has its token: {tokens:?}");
    let since_start = world.lock().launches.last().unwrap().1 - START;
    // Four patiences for each attempt, and the waits between them.
    assert!(since_start < Duration::from_mins(30), "{since_start}");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_launched_fails() {
    let world = Fakes::new();
    world.orphan("a", 120);
    world.lock().refusals.insert("a".into(), "ValueError: no".into());
    let report = world.poll().await;
    assert_eq!((report.failed.len(), world.run("a").state), (1, "Failed"), "{report:?}");
    world.orphan("b", 120);
    world.lock().prepare_outcomes.push_back(LaunchOutcome::Permanent("no such VPC".into()));
    world.poll().await;
    assert_eq!((world.run("b").state, world.run("b").message.as_str()), ("Failed", "no such VPC"));
}

#[tokio::test(start_paused = true)]
async fn trouble_on_the_way_leaves_the_claim_as_it_is() {
    let transient = || LaunchOutcome::Transient { reason: "Rate exceeded".into(), cause: TransientCause::Throttled };
    let trouble = || LaunchOutcome::AgentTrouble("AccessDenied".into());
    for (outcome, is_ok) in [(transient(), true), (trouble(), false)] {
        for at_the_look in [true, false] {
            let world = Fakes::new();
            world.orphan("a", 120);
            let outcomes = outcome.clone();
            if at_the_look {
                world.lock().look_outcomes.push_back(outcomes);
            } else {
                world.lock().prepare_outcomes.push_back(outcomes);
            }
            let report = world.poll().await;
            assert_eq!((report.ok, report.deferred.len()), (is_ok, 1), "{report:?}");
            assert!(report.deferred[0].reason.starts_with("claimed, and "), "{report:?}");
            assert_eq!((world.run("a").state, world.run("a").attempts), ("Submitted", 0));
            assert_eq!(finished(&world.poll().await), ["a"], "the next poll finishes it");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_deployments_will_never_be_seen_fails_instead_of_waiting_for_ever() {
    let reason = || "An error occurred (AccessDenied) when calling AssumeRole".to_owned();
    for (refused, failed) in [(LaunchOutcome::Permanent(reason()), 2), (LaunchOutcome::Unknown(reason()), 0)] {
        let world = Fakes::new();
        world.orphan("orphan", 120);
        world.schedule("again", 0);
        world.lock().runs.get_mut("again").unwrap().has_history = true;
        world.lock().look_outcomes.extend([refused.clone(), refused]);
        let report = world.poll().await;
        assert!(world.lock().launches.is_empty(), "{report:?}");
        assert_eq!(report.failed.len(), failed, "{report:?}");
        assert!(report.ok, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphan_cancelled_meanwhile_is_never_overwritten() {
    let world = Fakes::new();
    world.orphan("a", 120);
    world.lock().cancel_on_launch = true;
    world.lock().outcomes.insert("a".into(), [LaunchOutcome::Permanent("bad image".into())].into());
    let report = world.poll().await;
    assert_eq!((world.run("a").state, report.skipped.len()), ("Cancelled", 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_does_not_know_the_question_is_warned_of_and_one_out_of_reach_is_trouble() {
    let refused = ApiError::Status { status: 404, text: "Not Found".into() };
    let unreachable = ApiError::Unreachable { api: "https://prefect".into(), reason: "refused".into() };
    let broken = ApiError::Status { status: 500, text: String::new() };
    for (error, kind) in
        [(refused, None), (unreachable, Some(ErrorKind::ApiUnreachable)), (broken, Some(ErrorKind::ApiError))]
    {
        let world = Fakes::new();
        world.schedule("a", 0);
        world.lock().standing_error = Some(error.clone());
        let report = world.poll().await;
        assert_eq!((report.error_kind, launched(&report)), (kind, vec!["a"]), "launches go on: {report:?}");
        assert_eq!(report.warnings.len(), usize::from(kind.is_none()), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_recovered() {
    let world = Fakes::new();
    world.orphan("a", 120);
    let report = world.poll_for(0).await;
    assert!(report.recovered.is_empty() && world.lock().prepared.is_empty(), "{report:?}");
    assert_eq!(world.run("a").state, "Submitted");
}

#[tokio::test(start_paused = true)]
async fn recovery_keeps_to_the_deadline_and_the_launch_rate() {
    let world = Fakes::with_launch_rate(Some(1.0));
    for n in 0..30 {
        world.orphan(&format!("run-{n:02}"), 120);
    }
    let report = world.poll_for(5).await;
    let launches = world.lock().launches.clone();
    assert!(launches.windows(2).all(|pair| pair[1].1 - pair[0].1 >= Duration::from_secs(1)), "{launches:?}");
    assert!((10..=15).contains(&launches.len()), "{} launches in 14 seconds", launches.len());
    assert_eq!(report.recovered.len() + report.deferred.len(), 30, "{report:?}");
    assert!(report.deferred.iter().all(|run| run.reason.contains("launch rate")), "{report:?}");
    let standing = (0..30).filter(|n| world.run(&format!("run-{n:02}")).task_arn.is_none()).count();
    assert_eq!(standing, report.deferred.len());
    assert!(!world.lock().calls.contains(&"give_back"), "what is not launched stays claimed");
}

#[tokio::test(start_paused = true)]
async fn orphans_and_due_runs_share_the_room_of_the_launch_rate() {
    let world = Fakes::with_launch_rate(Some(2.0));
    for n in 0..20 {
        world.orphan(&format!("orphan-{n:02}"), 120);
        world.schedule(&format!("due-{n:02}"), 0);
    }
    let report = world.poll_for(3).await;
    let claimed = (0..20).filter(|n| world.run(&format!("due-{n:02}")).version > 1).count();
    let due = launched(&report).iter().filter(|id| id.starts_with("due")).count();
    assert_eq!(due, claimed, "what was claimed was launched: {report:?}");
    assert!(!world.lock().calls.contains(&"give_back"), "{report:?}");
    let launches = report.launched.len() + report.recovered.len();
    assert!((20..=26).contains(&launches), "{launches} launches");
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_cannot_be_prepared_in_time_holds_up_nobody() {
    let world = Fakes::new();
    world.orphan("bad", 120);
    world.orphan("good", 120);
    world.lock().hanging.push("bad");
    let report = world.poll().await;
    assert_eq!(finished(&report), ["good"], "{report:?}");
    assert!(report.deferred[0].reason.contains("15 seconds"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn claims_are_outstanding_once_they_are_looked_after() {
    let world = Fakes::new();
    world.orphan("young", 119);
    world.orphan("old", 120);
    let report = world.poll().await;
    assert_eq!((report.outstanding, finished(&report)), (Some(1), vec!["old"]), "{report:?}");
    world.lock().standing_error = Some(ApiError::NoTime);
    assert_eq!(world.poll().await.outstanding, None, "they could not be asked for");
}
