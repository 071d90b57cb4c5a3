//! Prefect is away for hours: every task that died meanwhile is told once it is back, once, and no person is needed.

use histories::call::{Generation, Service};
use histories::driver::Faults;
use histories::run::{Flavour, Phase, RunId};
use histories::scene::{INVOCATION, PLAIN, Scene, settled};
use histories::table::Count;
use std::time::Duration;
use world::ecs::Stop;

/// So long nothing of Prefect works; less than what a message is tried for.
const AWAY: Duration = Duration::from_hours(6);
/// The longest that a message waits, and some time to tell a thousand.
const THEN: Duration = Duration::from_mins(30);

#[test]
fn every_task_that_died_while_prefect_was_away_is_told_once() {
    for generation in [Generation::One, Generation::Three] {
        away(generation, 60);
    }
}

#[test]
#[ignore = "minutes: `make soak` plays it"]
fn a_thousand_tasks_that_died_while_prefect_was_away_are_told_once() {
    for generation in [Generation::One, Generation::Three] {
        away(generation, 1_000);
    }
}

fn away(generation: Generation, runs: usize) {
    let played = Scene::Due.play(generation, 0, async |driver| {
        let now = driver.now();
        for _ in 2..runs {
            driver.shared.world().schedule(Flavour::Good, now, now);
        }
        for _ in 0..12 {
            driver.poll(INVOCATION, true, PLAIN);
            driver.run_out().await;
        }
        // No flow ends by itself before its task dies.
        driver.shared.world().tasks.iter_mut().for_each(|task| task.fate.takes = 3_600);
        driver.run(driver.now() + Duration::from_mins(3), usize::MAX).await;
        let running: Vec<RunId> = {
            let world = driver.shared.world();
            world.runs().filter(|run| world.tasks_of(*run).any(|task| task.runs_flow)).collect()
        };
        driver.faults = Faults::Away(Service::Prefect, driver.now() + AWAY);
        {
            let now = driver.now();
            let mut world = driver.shared.world();
            world.mail.post.silent = false;
            for run in &running {
                world.end_task(*run, Some(Stop::exited(1)), now);
            }
        }
        driver.run(driver.now() + AWAY, usize::MAX).await;
        let told_early = driver.shared.world().audit.tally.of(Count::Dead);
        driver.faults = Faults::None;
        driver.run(driver.now() + THEN, usize::MAX).await;
        let ended = {
            let world = driver.shared.world();
            let ended = running.iter().filter(|run| matches!(world.phase(**run), Some(Phase::Ended))).count();
            assert_eq!(world.next_message(), None, "nothing waits in the queue");
            assert_eq!(ended, running.len(), "of {} tasks, {generation:?}", running.len());
            world.audit.tally.of(Count::Dead)
        };
        (running.len(), told_early, ended, settled(driver).await)
    });
    let (running, told_early, told, wrong) = played.unwrap();
    assert_eq!((running, told_early), (runs, 0), "{generation:?}: all flows ran, and nobody was told");
    assert_eq!((usize::try_from(told).unwrap(), wrong), (running, Vec::new()), "{generation:?}");
    println!("{generation:?}: {told} tasks died while Prefect was away, and were told");
}
