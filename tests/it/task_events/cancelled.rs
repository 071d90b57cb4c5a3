//! Runs that a person cancelled: they end as Cancelled when their task has stopped, however it did.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use std::time::Duration;
use world::ecs::Stop;
use world::{Fault, FaultKind, State};

#[tokio::test]
async fn a_run_that_is_being_cancelled_becomes_cancelled_when_its_task_stops() {
    let by_us = Stop { code: "UserInitiated".into(), reason: "The flow run was cancelled".into(), ..Stop::exited(143) };
    let stops = [Stop::exited(0), Stop::exited(1), by_us, Stop::failed_to_start("Capacity is unavailable")];
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        for stop in &stops {
            for has_begun in [false, true] {
                let (run, task) = scene.launched().await;
                if has_begun {
                    scene.begin(&run, &task);
                }
                prefect.bring(scene.world(), &run, Phase::Cancelling);
                let told = scene.stops(&task, stop).await;
                let cancelled = scene.run(&run);
                assert_eq!(cancelled.phase, Phase::Cancelled, "{prefect:?} {stop:?}: {told} {cancelled:?}");
                assert!(
                    done(&told).contains(&"cancelled") && cancelled.message.contains(&task),
                    "{told} {cancelled:?}"
                );
                assert_eq!(scene.log(&run, "ERROR"), Vec::<String>::new(), "{prefect:?}: nothing went wrong");
                let before = scene.before(&run);
                scene.event(&task).await;
                scene.is_unchanged(&before);
            }
        }
    }
}

#[tokio::test]
async fn while_the_task_lives_a_run_that_is_being_cancelled_stays_so() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        prefect.bring(scene.world(), &run, Phase::Cancelling);
        let before = scene.before(&run);
        for status in ["RUNNING", "DEACTIVATING", "DEPROVISIONING", "PENDING"] {
            scene.world().ecs_set_status(&task, status);
            scene.event(&task).await;
            scene.is_unchanged(&before);
        }
    }
}

/// The poll has stopped the task and read the run, and its write is on its way while the task's event comes.
#[tokio::test]
async fn a_poll_and_task_events_that_have_both_read_the_run_leave_one_cancelled_state() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        // Prefect Cloud 1 can check versions. A Prefect Server does not, and would take both.
        scene.world().prefect1(|one| one.switches.version_locking = true);
        let (run, task) = scene.launched().await;
        prefect.bring(scene.world(), &run, Phase::Cancelling);
        scene.world().lock().journal.clear();
        let (service, set_state) = (prefect.service(), prefect.set_state());
        scene.world().fault(Fault::new(service, set_state, FaultKind::DelayBefore { ms: 3000 }));
        let is_on_its_way = |state: &State| !state.journal.matching(service, set_state).is_empty();
        let event = async {
            assert!(scene.world().wait_until(Duration::from_secs(20), is_on_its_way).await, "nobody writes");
            scene.world().ecs_stop(&task, &Stop::exited(143));
            scene.event(&task).await
        };
        let (report, told) = tokio::join!(scene.poll(), event);
        assert_eq!(scene.world().count(service, set_state), 2, "both wrote: {report:#} {told}");
        let after = scene.run(&run);
        let ends = after.history.iter().filter(|state| *state == "Cancelled").count();
        assert_eq!((after.phase, ends), (Phase::Cancelled, 1), "{prefect:?}: {after:?}");
        assert!(done(&told).contains(&"cancelled"), "{prefect:?}: the one that came first: {told}");
        assert_eq!(report["ok"], true, "{prefect:?}: the other is no trouble: {report:#}");
    }
}
