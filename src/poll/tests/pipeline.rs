//! Claims one by one: they overlap with launches, and few runs are ever claimed without a task.

use super::fakes::{ClaimFault, Fakes};
use std::time::Duration;

const RUNS: usize = 20;

fn world(at_once: usize) -> Fakes {
    let world = Fakes::new().one_by_one(at_once);
    for n in 0..RUNS {
        world.schedule(&format!("run-{n:02}"), -10);
    }
    world
}

/// Place of an event in the order of events.
fn place(timeline: &[(&'static str, String)], what: &str, id: &str) -> usize {
    timeline.iter().position(|event| event.0 == what && event.1 == id).unwrap_or_else(|| panic!("no {what} of {id}"))
}

/// The most runs that were claimed and had no task yet.
fn most_without_a_task(timeline: &[(&'static str, String)]) -> usize {
    let mut open = 0_usize;
    let mut most = 0;
    for (what, _) in timeline {
        match *what {
            "claim" => open += 1,
            "task" => open -= 1,
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[tokio::test(start_paused = true)]
async fn later_runs_are_claimed_while_earlier_ones_are_launched() {
    let world = world(4);
    world.lock().claiming_takes = Duration::from_millis(100);
    world.lock().launching_takes = Duration::from_secs(1);
    let before = tokio::time::Instant::now();
    let report = world.poll().await;
    assert_eq!((report.ok, report.launched.len()), (true, RUNS), "{report:?}");
    let timeline = world.lock().timeline.clone();
    for n in 0..3 {
        let (next, this) = (format!("run-{:02}", n + 1), format!("run-{n:02}"));
        assert!(place(&timeline, "claim", &next) < place(&timeline, "task", &this), "{timeline:?}");
    }
    // One after the other they would take 22 s; all claims first, then all launches: 3 s and a window as wide.
    assert!(before.elapsed() <= Duration::from_secs(6), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_claimed_without_a_task_than_go_side_by_side() {
    for at_once in [1, 2, 4, 100] {
        let world = world(at_once);
        world.lock().claiming_takes = Duration::from_millis(50);
        world.lock().launching_takes = Duration::from_millis(700);
        world.poll().await;
        let timeline = world.lock().timeline.clone();
        assert_eq!(most_without_a_task(&timeline), at_once.min(RUNS), "{at_once}: {timeline:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_run_holds_up_only_its_own_place() {
    let world = Fakes::new().one_by_one(2);
    for id in ["a", "b", "c", "d"] {
        world.schedule(id, 0);
    }
    world.lock().claim_faults.extend([ClaimFault::NotAppliedAndUnanswered; 1]);
    world.lock().launching_takes = Duration::from_secs(1);
    let report = world.poll().await;
    assert_eq!(report.launched.len(), 4, "{report:?}");
    let timeline = world.lock().timeline.clone();
    assert_eq!(timeline.iter().filter(|event| event.0 == "claim").count(), 5, "the unanswered one is sent again");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_meets_trouble_ends_the_claiming() {
    let world = world(1);
    world.lock().claim_faults.extend([ClaimFault::Refused, ClaimFault::Throttled]);
    let report = world.poll().await;
    assert_eq!((report.skipped.len(), report.deferred.len(), report.launched.len()), (1, RUNS - 1, 0), "{report:?}");
    let claimed = (0..RUNS).filter(|n| world.run(&format!("run-{n:02}")).version > 1).count();
    assert_eq!((report.ok, claimed), (false, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_one_by_one_keeps_to_the_launch_rate_too() {
    let world = Fakes::with_launch_rate(Some(1.0)).one_by_one(4);
    for n in 0..RUNS {
        world.schedule(&format!("run-{n:02}"), 0);
    }
    let report = world.poll_for(3).await;
    let claimed = (0..RUNS).filter(|n| world.run(&format!("run-{n:02}")).version > 1).count();
    assert_eq!(report.launched.len(), claimed, "{report:?}");
    assert!(!world.lock().calls.contains(&"give_back"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lines_of_all_runs_are_written_together() {
    let world = world(4);
    world.poll().await;
    assert_eq!(world.lock().calls.iter().filter(|call| **call == "log").count(), 1);
    assert_eq!(world.lock().logs.len(), RUNS);
}

#[tokio::test(start_paused = true)]
async fn others_are_told_when_everything_else_is_done() {
    let world = Fakes::new().one_by_one(2);
    world.schedule("due", 0);
    world.schedule("held", 30);
    world.orphan("orphan", 120);
    world.orphan("found", 120);
    world.tasks("found", &[("PENDING", "RUNNING")]);
    world.lock().launching_takes = Duration::from_secs(2);
    let report = world.poll().await;
    assert_eq!((report.launched.len(), report.recovered.len()), (2, 2), "{report:?}");
    let timeline = world.lock().timeline.clone();
    assert_eq!(timeline.last().unwrap().0, "announce", "{timeline:?}");
    assert_eq!(timeline.iter().filter(|event| event.0 == "announce").count(), 1);
    let mut announced = world.lock().announced.clone();
    announced.sort();
    assert_eq!(announced, ["due", "found", "held", "orphan"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_was_launched_nobody_is_told() {
    let world = Fakes::new().one_by_one(2);
    world.schedule("a", 0);
    world.lock().claim_faults.push_back(ClaimFault::Refused);
    world.lock().untold = 7;
    let report = world.poll().await;
    assert!(world.lock().timeline.iter().all(|event| event.0 != "announce"));
    assert_eq!(report.untold, 7, "what earlier polls left is told and counted all the same");
}
