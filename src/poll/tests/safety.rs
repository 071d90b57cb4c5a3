//! What is claimed is launched, what changed meanwhile is left alone, and no run stands in another's way.

use super::fakes::{Fakes, START, task};
use crate::platform::ecs::outcome::INACTIVE;
use crate::platform::{LaunchOutcome, LiveDeployment};
use crate::poll::AgentReport;
use std::time::Duration;

fn launched(report: &AgentReport) -> Vec<&str> {
    report.launched.iter().map(|launched| launched.flow_run_id.as_str()).collect()
}

fn running(task_arn: &str) -> Vec<LiveDeployment> {
    vec![task(task_arn, "RUNNING", false)]
}

#[tokio::test(start_paused = true)]
async fn no_more_is_claimed_at_the_end_than_the_launch_rate_can_launch() {
    let world = Fakes::with_launch_rate(Some(10.0));
    for n in 0..200 {
        world.schedule(&format!("run-{n:03}"), 19);
    }
    let report = world.poll_for(20).await;
    let claimed: usize = (0..200).filter(|n| world.run(&format!("run-{n:03}")).version > 1).count();
    assert_eq!(report.launched.len(), claimed, "everything claimed was launched");
    assert!((90..200).contains(&claimed), "{claimed} of 200 in the last ten seconds at 10 a second");
    assert!(world.lock().calls.iter().all(|call| *call != "give_back"));
    assert!(report.deferred.iter().all(|run| run.reason.contains("launch rate")), "{:?}", report.deferred[0]);
}

#[tokio::test(start_paused = true)]
async fn what_found_no_time_is_given_back_without_an_attempt() {
    let world = Fakes::with_launch_rate(Some(1.0));
    world.schedule("a", 0);
    world.schedule("b", 0);
    // The claim of both takes so long that there is no slot left for the second.
    world.lock().claiming_takes = Duration::from_millis(9_900);
    let report = world.poll_for(1).await;
    assert_eq!(launched(&report), ["a"], "{report:?}");
    assert_eq!((world.run("b").state, world.run("b").attempts), ("Scheduled", 0));
    assert!(report.ok, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waited_for_others_is_read_again_before_its_claim() {
    let world = Fakes::with_launch_rate(Some(1.0));
    for n in 0..20 {
        world.schedule(&format!("run-{n:02}"), -10);
    }
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        let mut state = world.lock();
        let run = state.runs.get_mut("run-19").unwrap();
        (run.state, run.version) = ("Cancelled", 2);
    };
    let (report, ()) = tokio::join!(world.poll(), cancel);
    assert_eq!(report.launched.len(), 19, "{report:?}");
    assert!(report.skipped[0].reason.contains("it is Cancelled"), "{report:?}");
    assert!(world.lock().launches.last().unwrap().1 >= START + Duration::from_secs(15), "the rate holds");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_not_stopped_when_its_run_was_claimed_meanwhile() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().runs.get_mut("a").unwrap().has_history = true;
    // Another invocation of this agent launches the run between our look at the queue and our look at its tasks.
    world.lock().live.insert("prefect/etl/a".into(), running("task/new"));
    world.lock().claimed_by_another_before_reread = Some("a".into());
    let report = world.poll().await;
    assert!(world.lock().stopped.is_empty(), "{report:?}");
    assert!(report.deferred[0].reason.contains("it is Submitted"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn one_runs_trouble_before_the_claim_does_not_stop_the_others() {
    let world = Fakes::new();
    world.schedule("a", -1);
    world.schedule("b", 0);
    world.schedule("c", 20);
    world.lock().prepare_outcomes.push_back(LaunchOutcome::AgentTrouble("AccessDenied: that definition".into()));
    let report = world.poll().await;
    assert_eq!((report.ok, launched(&report)), (false, vec!["b", "c"]), "{report:?}");
    assert_eq!(world.run("a").version, 1, "it is not claimed");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_prepared_does_not_hold_up_the_others_for_ever() {
    let world = Fakes::new();
    world.schedule("bad", 0);
    world.schedule("good", 0);
    world.lock().hanging.push("bad");
    let report = world.poll().await;
    assert_eq!((report.ok, launched(&report)), (true, vec!["good"]), "{report:?}");
    assert!(report.deferred[0].reason.contains("15 seconds"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_neither_fails_the_poll_nor_delays_it_much() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().log_hangs = true;
    let before = tokio::time::Instant::now();
    let report = world.poll().await;
    assert!(report.ok && launched(&report) == ["a"], "{report:?}");
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_cannot_be_prepared_again_in_time_gives_the_run_back() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().outcomes.insert("a".into(), [INACTIVE].into());
    world.lock().hangs_when_prepared_again = true;
    let report = world.poll().await;
    assert_eq!((world.run("a").state, world.run("a").attempts), ("Scheduled", 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_that_was_started_again_keeps_its_new_task() {
    let world = Fakes::new();
    world.schedule("a", 0);
    world.lock().runs.get_mut("a").unwrap().state = "Cancelled";
    world.lock().live.insert("prefect/etl/a".into(), running("task/new"));
    // A person starts the run again, and another invocation launches it, between our look at the run and at its tasks.
    world.lock().claimed_by_another_before_reread = Some("a".into());
    let report = world.poll().await;
    assert!(world.lock().stopped.is_empty(), "{report:?}");

    world.lock().runs.get_mut("a").unwrap().state = "Cancelled";
    world.poll().await;
    assert_eq!(world.lock().stopped, ["task/new"], "a run that is still cancelled loses its task");
}
