//! Runs that a person cancelled: they end as Cancelled when their task has stopped, however it did.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use world::ecs::Stop;

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
