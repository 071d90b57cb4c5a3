//! Prefect's Late service writes a SCHEDULED state of the same turn before any request of a poll.

use histories::call::{Call, Generation};
use histories::driver::Faults;
use histories::fault::{Effect, Fault, Kind};
use histories::scene::{INVOCATION, PLAIN, Scene, settled};
use histories::schedule::{Paths, Schedule};
use histories::world::Late;

/// Requests of one poll of two due runs, and some more.
const REQUESTS: usize = 24;

/// One poll of two due runs, of which the server says again that they are due as this request arrives. What its report
/// says of them, and whether the service came at all.
fn polled(late: Late, fault: Option<(Call, Fault)>) -> (usize, Vec<String>, bool, Vec<String>) {
    let played = Scene::Due.play(Generation::Three, 0, async |driver| {
        driver.shared.world().late = late;
        if let Some((call, fault)) = fault {
            driver.faults = Faults::Nth { call, left: 0, fault, hit: false };
        }
        driver.poll(INVOCATION, false, PLAIN);
        driver.run_out().await;
        let came = matches!(std::mem::replace(&mut driver.shared.world().late, Late::Never), Late::Never);
        let report = driver.reports.last().cloned().unwrap_or_default();
        let left = report.skipped.iter().chain(&report.deferred).map(|run| run.reason.clone()).collect();
        (report.launched.len(), left, came, settled(driver).await)
    });
    played.unwrap()
}

#[test]
fn nothing_is_put_off_whenever_the_server_marks_it_late() {
    let slow = Fault { kind: Kind::Slow, effect: Effect::Done };
    let dropped = Fault { kind: Kind::Dropped, effect: Effect::None };
    // As it is; after a queue that took so long that a second look is taken; after a claim that did not arrive.
    for fault in [None, Some((Call::DueRuns, slow)), Some((Call::Claim, dropped))] {
        let mut moments = 0;
        for request in 0..REQUESTS {
            let (launched, left, came, wrong) = polled(Late::Before(request), fault);
            assert_eq!((launched, left), (2, Vec::new()), "late before request {request}, {fault:?}");
            assert_eq!(wrong, [""; 0], "late before request {request}, {fault:?}");
            moments += usize::from(came);
        }
        assert!(moments > 8, "only {moments} moments with {fault:?}");
    }
}

#[test]
fn whatever_is_lost_the_server_may_mark_it_late_meanwhile() {
    for call in [Call::DueRuns, Call::Claim, Call::Look, Call::RunTask, Call::RecordTask] {
        for fault in Fault::all_of(call, Generation::Three) {
            for request in 0..REQUESTS {
                let (_, _, _, wrong) = polled(Late::Before(request), Some((call, fault)));
                assert_eq!(wrong, [""; 0], "late before request {request}, {call:?} {fault:?}");
            }
        }
    }
}

/// Two pollers see the runs in different states of one turn: their claims have different names.
#[test]
fn two_pollers_in_every_order_around_the_late_service() {
    let mut played = 0;
    for scene in [Scene::Due, Scene::GivenBack, Scene::EarlierTask, Scene::NoCapacity] {
        for request in 0..REQUESTS {
            let mut paths = Paths::new(4);
            while let Some(path) = paths.next_path() {
                let (path, wrong) = scene
                    .play(Generation::Three, 2, async |driver| {
                        driver.schedule = Schedule::Path(path.clone());
                        driver.shared.world().late = Late::Before(request);
                        scene.begin(driver, true);
                        scene.begin(driver, true);
                        driver.run_out().await;
                        let taken = std::mem::replace(&mut driver.schedule, Schedule::First);
                        (taken, settled(driver).await)
                    })
                    .unwrap();
                assert_eq!(wrong, [""; 0], "{scene:?}, late before request {request}, in the order {path:?}");
                let Schedule::Path(path) = path else { panic!("another schedule") };
                paths.done(path);
                played += 1;
            }
        }
    }
    println!("{played} orders around the Late service");
    assert!(played > 800, "only {played} orders");
}
