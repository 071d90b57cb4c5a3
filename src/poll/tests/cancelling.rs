//! What is done about runs that a user cancelled.

use super::fakes::{Fakes, task};
use crate::model::ApiError;
use crate::model::ErrorKind;
use crate::platform::{LaunchOutcome, TransientCause};

/// A cancelled run, and what becomes of it.
struct Case {
    state: &'static str,
    /// The flow has begun, so many seconds after which it was cancelled.
    has_started: bool,
    /// Cancelled so many seconds ago; the grace is 90.
    seconds: i64,
    /// Last and desired status of its task.
    task: Option<(&'static str, &'static str)>,
    is_stopped: bool,
    /// How the message begins with which it is ended, if it is.
    ended: Option<&'static str>,
}

const NO_TASK: Option<&str> = Some("Cancelled: no task was running.");
const STOPPED: Option<&str> = Some("Cancelled: task task/a/");

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Never started: at once.
    Case { state: "Cancelling", has_started: false, seconds: 0, task: None, is_stopped: false, ended: NO_TASK },
    Case { state: "Cancelling", has_started: false, seconds: 0, task: Some(("PROVISIONING", "RUNNING")), is_stopped: true, ended: STOPPED },
    Case { state: "Cancelling", has_started: false, seconds: 0, task: Some(("RUNNING", "RUNNING")), is_stopped: true, ended: STOPPED },
    // Told to stop before: not told again, but ended.
    Case { state: "Cancelling", has_started: false, seconds: 9, task: Some(("PENDING", "STOPPED")), is_stopped: false, ended: NO_TASK },
    // The flow runs: it may say itself how it ends.
    Case { state: "Cancelling", has_started: true, seconds: 89, task: Some(("RUNNING", "RUNNING")), is_stopped: false, ended: None },
    Case { state: "Cancelling", has_started: true, seconds: 89, task: Some(("DEACTIVATING", "STOPPED")), is_stopped: false, ended: None },
    Case { state: "Cancelling", has_started: true, seconds: 89, task: None, is_stopped: false, ended: None },
    Case { state: "Cancelling", has_started: true, seconds: 90, task: Some(("RUNNING", "RUNNING")), is_stopped: true, ended: STOPPED },
    Case { state: "Cancelling", has_started: true, seconds: 90, task: Some(("STOPPING", "STOPPED")), is_stopped: false, ended: NO_TASK },
    Case { state: "Cancelling", has_started: true, seconds: 90, task: None, is_stopped: false, ended: NO_TASK },
    // A task of a new turn that waits to begin although the flow ran once.
    Case { state: "Cancelling", has_started: true, seconds: 0, task: Some(("PENDING", "RUNNING")), is_stopped: true, ended: STOPPED },
    // It is over, but its task lives on.
    Case { state: "Cancelled", has_started: false, seconds: 0, task: Some(("PENDING", "RUNNING")), is_stopped: true, ended: None },
    Case { state: "Cancelled", has_started: true, seconds: 30, task: Some(("RUNNING", "RUNNING")), is_stopped: false, ended: None },
    Case { state: "Cancelled", has_started: true, seconds: 90, task: Some(("RUNNING", "RUNNING")), is_stopped: true, ended: None },
    Case { state: "Cancelled", has_started: true, seconds: 600, task: None, is_stopped: false, ended: None },
];

#[tokio::test(start_paused = true)]
async fn every_cancelled_run_is_treated_as_the_table_says() {
    for (number, case) in CASES.iter().enumerate() {
        let world = Fakes::new();
        world.cancelling("a", case.state, case.seconds);
        world.lock().runs.get_mut("a").unwrap().has_started = case.has_started;
        world.tasks("a", case.task.as_slice());
        let report = world.poll().await;
        let (run, stopped) = (world.run("a"), world.lock().stopped.clone());
        assert!(report.ok, "case {number}: {report:?}");
        assert_eq!(stopped.len(), usize::from(case.is_stopped), "case {number}: {stopped:?}");
        let told: Vec<_> = report.cancelled.iter().map(|run| run.reason.as_str()).collect();
        if let Some(message) = case.ended {
            assert_eq!(run.state, "Cancelled", "case {number}: {report:?}");
            assert!(run.message.starts_with(message), "case {number}: {run:?}");
            assert_eq!(told, [run.message.as_str()], "case {number}");
        } else {
            // Of a run that is over is told that its task was stopped; nothing is written.
            let expected = usize::from(case.is_stopped && case.state == "Cancelled");
            assert_eq!((run.state, told.len()), (case.state, expected), "case {number}: {report:?}");
            assert!(told.iter().all(|told| told.starts_with("Cancelled: task task/a/")), "case {number}: {told:?}");
            assert!(!world.lock().calls.contains(&"cancelled"), "case {number}");
        }
    }
}

/// Such a task is not found by `startedBy`, but Prefect knows it.
#[tokio::test(start_paused = true)]
async fn the_task_of_a_python_worker_is_stopped_too() {
    let world = Fakes::new();
    world.cancelling("a", "Cancelling", 0);
    world.lock().runs.get_mut("a").unwrap().task_arn = Some("task/python".into());
    world.lock().live.insert("prefect-worker".into(), vec![task("task/python", "PENDING", false)]);
    world.poll().await;
    assert_eq!(world.lock().stopped, ["task/python"]);
    assert_eq!(world.run("a").message, "Cancelled: task task/python was stopped.");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_tasks_cannot_be_seen_is_not_ended_and_no_other_minds() {
    let throttled = LaunchOutcome::Transient { reason: "Rate exceeded".into(), cause: TransientCause::Throttled };
    let world = Fakes::new();
    world.cancelling("a", "Cancelling", 0);
    world.cancelling("b", "Cancelling", 0);
    world.lock().look_outcomes.push_back(throttled);
    let report = world.poll().await;
    assert_eq!((world.run("a").state, world.run("b").state), ("Cancelling", "Cancelled"), "{report:?}");
    assert_eq!((report.ok, report.throttled), (true, 1), "{report:?}");
    world.poll().await;
    assert_eq!(world.run("a").state, "Cancelled", "the next poll ends it");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_by_itself_meanwhile_is_left_alone() {
    let world = Fakes::new();
    world.cancelling("a", "Cancelling", 0);
    world.lock().cancelled_error = Some(ApiError::NotOurs("it is Completed now".into()));
    let report = world.poll().await;
    assert!(report.ok && report.cancelled.is_empty(), "{report:?}");
    world.lock().cancelled_error = Some(ApiError::NoAnswer("timed out".into()));
    let report = world.poll().await;
    assert_eq!((report.error_kind, report.cancelled.len()), (Some(ErrorKind::ApiUnreachable), 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn runs_that_cannot_be_rendered_are_cancelled_all_the_same() {
    let world = Fakes::new();
    world.cancelling("a", "Cancelling", 0);
    world.lock().refusals.insert("a".into(), "ValueError: no".into());
    world.tasks("a", &[("PENDING", "RUNNING")]);
    world.poll().await;
    assert_eq!((world.run("a").state, world.lock().stopped.len()), ("Cancelled", 1));
}

#[tokio::test(start_paused = true)]
async fn a_claimed_run_is_stopped_and_launches_go_on_beside_it() {
    let world = Fakes::new();
    world.cancelling("cancelled", "Cancelling", 0);
    world.tasks("cancelled", &[("PENDING", "RUNNING")]);
    world.schedule("due", 0);
    let report = world.poll().await;
    assert_eq!((report.launched.len(), report.cancelled.len()), (1, 1), "{report:?}");
    assert_eq!(report.ready, 1, "a cancelled run is not a due one");
}

#[tokio::test(start_paused = true)]
async fn without_time_nothing_is_stopped() {
    let world = Fakes::new();
    world.cancelling("a", "Cancelling", 0);
    world.tasks("a", &[("PENDING", "RUNNING")]);
    world.poll_for(0).await;
    assert!(world.lock().stopped.is_empty() && world.run("a").state == "Cancelling");
}
