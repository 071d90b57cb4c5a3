//! What one turn does with runs, faults and time.

use super::fakes::{ClaimFault, Fakes, START, task};
use crate::model::ErrorKind;
use crate::platform::ecs::outcome::INACTIVE;
use crate::platform::{LaunchOutcome, TransientCause};
use crate::poll::AgentReport;
use std::time::Duration;

fn launched(report: &AgentReport) -> Vec<&str> {
    report.launched.iter().map(|launched| launched.flow_run_id.as_str()).collect()
}

fn transient(reason: &str) -> LaunchOutcome {
    LaunchOutcome::Transient { reason: reason.into(), cause: TransientCause::Throttled }
}

#[tokio::test(start_paused = true)]
async fn due_runs_are_claimed_launched_and_logged_in_four_calls() {
    let world = Fakes::new();
    world.schedule("a", -10);
    world.schedule("b", 0);
    let report = world.poll().await;
    assert!(report.ok, "{report:?}");
    assert_eq!((report.ready, launched(&report)), (2, vec!["a", "b"]));
    assert_eq!(world.lock().calls, ["due_runs", "claim", "log"]);
    assert_eq!(world.lock().logs[0].message, "Submitted for execution: Task task/a");
}

#[tokio::test(start_paused = true)]
async fn an_idle_poll_asks_once_and_says_nothing() {
    let world = Fakes::new();
    let report = world.poll().await;
    assert!(report.ok);
    assert_eq!(world.lock().calls, ["due_runs"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_held_until_its_start_time_and_read_again() {
    let world = Fakes::new();
    world.schedule("later", 30);
    world.schedule("now", 0);
    let report = world.poll().await;
    assert_eq!(launched(&report), ["now", "later"]);
    assert_eq!(world.lock().launches[1].1, START + Duration::from_secs(30));
    assert!(world.lock().calls.contains(&"reread"));
}

#[tokio::test(start_paused = true)]
async fn a_run_cancelled_during_the_hold_is_dropped() {
    let world = Fakes::new();
    world.schedule("later", 30);
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut state = world.lock();
        let run = state.runs.get_mut("later").unwrap();
        (run.state, run.version) = ("Cancelled", 2);
    };
    let (report, ()) = tokio::join!(world.poll(), cancel);
    assert!(report.ok && report.launched.is_empty(), "{report:?}");
    assert!(report.skipped[0].reason.contains("Cancelled"), "{report:?}");
    assert_eq!(world.run("later").state, "Cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_refused_claim_is_not_an_error_and_never_launches() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::Refused);
    let report = world.poll().await;
    assert!(report.ok);
    assert_eq!(report.skipped.len(), 1);
    assert!(world.lock().launches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_claim_answer_is_resolved_by_our_mark() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::AppliedButUnanswered);
    let report = world.poll().await;
    assert_eq!(launched(&report), ["a"]);
    assert_eq!(world.lock().calls, ["due_runs", "claim", "reread", "log"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_never_arrived_is_sent_again() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::NotAppliedAndUnanswered);
    let report = world.poll().await;
    assert_eq!(launched(&report), ["a"]);
    assert_eq!(world.lock().calls, ["due_runs", "claim", "reread", "claim", "log"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_replayed_claim_is_not_believed_before_reading_back() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.extend([ClaimFault::NotAppliedAndUnanswered, ClaimFault::Refused]);
    let report = world.poll().await;
    assert_eq!(launched(&report), ["a"], "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_stays_unclear_is_left_to_a_later_poll() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.extend([ClaimFault::NotAppliedAndUnanswered; 3]);
    let report = world.poll().await;
    assert!(world.lock().launches.is_empty());
    assert!(report.deferred[0].reason.contains("not answered"), "{report:?}");
    assert_eq!((report.ok, report.error_kind), (false, Some(ErrorKind::ApiError)), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn one_claim_that_stays_unclear_beside_others_is_that_runs_own_trouble() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.schedule("b", 0);
    let (unclear, fine) = (ClaimFault::NotAppliedAndUnanswered, ClaimFault::Refused);
    world.lock().claim_faults.extend([unclear, fine, unclear, unclear]);
    let report = world.poll().await;
    assert!(report.ok && report.deferred.len() == 1, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn another_agents_claim_is_never_taken_for_ours() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::LostToAnother);
    let report = world.poll().await;
    assert!(world.lock().launches.is_empty());
    assert_eq!(report.skipped.len(), 1, "{report:?}");
    assert_eq!(world.run("a").state, "Submitted");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_api_claims_nothing_and_is_the_polls_trouble() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::Throttled);
    let report = world.poll().await;
    assert!(!report.ok);
    assert_eq!((report.error_kind, report.throttled), (Some(ErrorKind::Throttled), 1));
    assert_eq!(world.run("a").state, "Scheduled");
}

#[tokio::test(start_paused = true)]
async fn a_transient_refusal_gives_the_run_back_later_with_the_attempt_counted() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [transient("Rate exceeded")].into());
    let report = world.poll().await;
    assert!(report.ok, "a throttle is not the poll's failure: {report:?}");
    let run = world.run("a");
    assert_eq!((run.state, run.attempts, run.message.as_str()), ("Scheduled", 1, "Rate exceeded"));
    assert!(run.start_time >= START + Duration::from_secs(31), "Prefect Server locks a claimed run for 30 s");
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_the_run_fails_with_the_story() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().runs.get_mut("a").unwrap().attempts = 2;
    world.lock().outcomes.insert("a".into(), [transient("no capacity")].into());
    let report = world.poll().await;
    assert_eq!(report.failed[0].reason, "Not launched after 3 attempts. The last one: no capacity");
    assert_eq!(world.run("a").state, "Failed");
}

#[tokio::test(start_paused = true)]
async fn the_agents_own_trouble_fails_the_poll_and_no_run() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [LaunchOutcome::AgentTrouble("AccessDenied".into())].into());
    let report = world.poll().await;
    assert_eq!((report.ok, report.error_kind), (false, Some(ErrorKind::Aws)));
    let run = world.run("a");
    assert_eq!((run.state, run.attempts), ("Scheduled", 0), "the attempt does not count");
}

#[tokio::test(start_paused = true)]
async fn while_the_trouble_lasts_only_one_run_is_claimed_to_see() {
    let world = Fakes::new();
    for id in ["a", "b", "c"] {
        world.schedule(id, 0);
    }
    world.lock().try_one_first = true;
    world.lock().outcomes.insert("a".into(), [LaunchOutcome::AgentTrouble("AccessDenied".into())].into());
    let report = world.poll().await;
    assert_eq!((report.deferred.len(), world.run("b").version, world.run("c").version), (3, 1, 1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn trouble_before_the_claim_leaves_runs_untouched() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.schedule("b", 40);
    let trouble = LaunchOutcome::AgentTrouble("no default VPC".into());
    world.lock().prepare_outcomes.extend([trouble.clone(), trouble]);
    let report = world.poll().await;
    assert_eq!(report.error.as_deref(), Some("no default VPC"));
    assert_eq!((report.deferred.len(), world.run("a").version, world.run("b").version), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_bad_run_never_disturbs_another() {
    let world = Fakes::new();
    for id in ["bad", "refused", "good"] {
        world.schedule(id, 0);
    }
    world.lock().refusals.insert("bad".into(), "{'type': ['Unsupported value: X']}".into());
    world.lock().outcomes.insert("refused".into(), [LaunchOutcome::Permanent("no such image".into())].into());
    let report = world.poll().await;
    assert!(report.ok);
    assert_eq!((launched(&report), report.failed.len()), (vec!["good"], 2));
    assert_eq!(world.run("bad").message, "{'type': ['Unsupported value: X']}");
    assert_eq!(world.run("refused").state, "Failed");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_leaves_the_claim_in_place() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [LaunchOutcome::Unknown("timed out".into())].into());
    let report = world.poll().await;
    assert_eq!(report.deferred.len(), 1);
    assert_eq!(world.run("a").state, "Submitted");
}

#[tokio::test(start_paused = true)]
async fn a_run_cancelled_after_the_claim_is_never_overwritten() {
    for outcome in [transient("Rate exceeded"), LaunchOutcome::Permanent("bad image".into())] {
        let world = Fakes::new();
        world.schedule("a", 0);
        world.lock().cancel_on_launch = true;
        world.lock().outcomes.insert("a".into(), [outcome].into());
        let report = world.poll().await;
        assert_eq!(world.run("a").state, "Cancelled");
        assert_eq!(report.skipped.len(), 1, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inactive_definition_is_prepared_again_once() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [INACTIVE].into());
    let report = world.poll().await;
    assert_eq!(launched(&report), ["a"]);
    assert_eq!(world.lock().launches.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_log_changes_nothing() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().log_fails = true;
    let report = world.poll().await;
    assert!(report.ok);
    assert_eq!((launched(&report), world.run("a").state), (vec!["a"], "Submitted"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_task_of_an_earlier_turn_is_adopted_and_a_running_one_stopped_first() {
    for (status, adopted) in [("PENDING", true), ("RUNNING", false)] {
        let world = Fakes::new();
        world.schedule("a", 0);
        world.lock().runs.get_mut("a").unwrap().has_history = true;
        world.lock().live.insert("prefect/etl/a".into(), vec![task("task/old", status, false)]);
        let report = world.poll().await;
        assert!(world.lock().launches.is_empty(), "{status}: no second task");
        assert_eq!(report.launched.iter().any(|launched| launched.adopted), adopted, "{status}: {report:?}");
        assert_eq!(world.lock().stopped.len(), usize::from(!adopted), "{status}");
        assert_eq!(world.run("a").state, if adopted { "Submitted" } else { "Scheduled" });
    }
}

#[tokio::test(start_paused = true)]
async fn full_pages_are_asked_for_again_until_all_is_seen() {
    let world = Fakes::new();
    for n in 0..7 {
        world.schedule(&format!("run-{n}"), -10);
    }
    world.lock().page_size = Some(3);
    let report = world.poll().await;
    assert_eq!((report.ready, report.launched.len()), (7, 7));
    assert_eq!(world.lock().calls.iter().filter(|call| **call == "due_runs").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_page_of_known_runs_ends_the_asking() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().page_size = Some(1);
    world.lock().claim_faults.push_back(ClaimFault::Refused);
    let report = world.poll().await;
    assert_eq!(report.ready, 1);
    assert_eq!(world.lock().calls.iter().filter(|call| **call == "due_runs").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_past_the_margin() {
    let world = Fakes::new();
    world.schedule("due", 0);
    world.schedule("later", 30);
    let report = world.poll_for(20).await;
    assert_eq!(launched(&report), ["due"]);
    assert!(report.deferred[0].reason.contains("after this invocation ends"), "{report:?}");
    let report = world.poll_for(0).await;
    assert!(report.launched.is_empty());
}
