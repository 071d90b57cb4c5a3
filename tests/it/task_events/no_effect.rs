//! Events that change nothing: late, repeated, reordered, incomplete ones, those of tasks of others, and those of runs that
//! have ended, wait or are paused.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use serde_json::{Value, json};
use world::ecs::Stop;

#[tokio::test]
async fn an_event_that_comes_again_does_nothing_more() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (dead, dead_task) = scene.running().await;
        scene.stops(&dead_task, &Stop::exited(1)).await;
        let (back, back_task) = scene.launched().await;
        scene.stops(&back_task, &Stop::failed_to_start("Capacity is unavailable at this time.")).await;
        for (run, task) in [(dead, dead_task), (back, back_task)] {
            let before = scene.before(&run);
            for _ in 0..2 {
                let told = scene.event(&task).await;
                assert!(done(&told).iter().all(|done| *done == "event posted"), "{prefect:?}: {told}");
                scene.is_unchanged(&before);
            }
        }
    }
}

#[tokio::test]
async fn what_a_run_has_become_meanwhile_is_never_overwritten() {
    let stops = [Stop::exited(1), Stop::failed_to_start("Capacity is unavailable at this time."), Stop::exited(0)];
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        for phase in [Phase::Ended, Phase::Dead, Phase::Cancelled, Phase::Paused, Phase::Waiting] {
            for stop in &stops {
                let (run, task) = scene.running().await;
                prefect.bring(scene.world(), &run, phase);
                let before = scene.before(&run);
                let told = scene.stops(&task, stop).await;
                assert!(done(&told).iter().all(|done| *done == "event posted"), "{prefect:?} {phase:?}: {told}");
                scene.is_unchanged(&before);
                // Out of the way of the polls to come.
                prefect.bring(scene.world(), &run, Phase::Cancelled);
            }
        }
    }
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_task_is_of_no_use_any_more() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        let mut earlier = vec![scene.world().task_event(&task)];
        for status in ["PENDING", "RUNNING", "DEPROVISIONING"] {
            scene.world().ecs_set_status(&task, status);
            earlier.push(scene.world().task_event(&task));
        }
        scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
        let before = scene.before(&run);
        for event in earlier.into_iter().rev() {
            scene.told(event).await;
            scene.is_unchanged(&before);
        }
    }
}

#[tokio::test]
async fn a_task_that_lives_changes_nothing_on_prefect_1() {
    let scene = Scene::new(Prefect::One).await;
    let (run, task) = scene.launched().await;
    let before = scene.before(&run);
    for status in ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"] {
        scene.world().ecs_set_status(&task, status);
        let told = scene.event(&task).await;
        assert!(done(&told).is_empty(), "{status}: {told}");
        scene.is_unchanged(&before);
    }
    assert_eq!(scene.world().count("prefect1", "watched"), 0, "not even asked for");
}

#[tokio::test]
async fn events_that_lack_something_are_never_an_error() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        let living = scene.world().task_event(&task);
        prefect.bring(scene.world(), &run, Phase::Ended);
        scene.world().ecs_stop(&task, &Stop::exited(1));
        let stopped = scene.world().task_event(&task);
        let before = scene.before(&run);
        for event in [living, stopped] {
            for key in keys(&event["detail"]) {
                for value in [None, Some(Value::Null)] {
                    scene.told(with(&event, &format!("/detail/{key}"), value)).await;
                }
            }
            // Without these nobody can tell that it is an event, see `envelopes`.
            let tells = |key: &String| matches!(key.as_str(), "source" | "detail-type" | "detail");
            for key in keys(&event).into_iter().filter(|key| !tells(key)) {
                scene.told(with(&event, &format!("/{key}"), None)).await;
            }
        }
        scene.is_unchanged(&before);
    }
}

#[tokio::test]
async fn tasks_of_others_are_nobodys() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        scene.world().ecs_stop(&task, &Stop::exited(1));
        let (event, before) = (scene.world().task_event(&task), scene.before(&run));
        let started_by = [
            format!("prefect/other/{run}"),
            format!("prefect/{run}"),
            "prefect/etl/no-uuid".to_owned(),
            "prefect/etl/6c9a2b1e-0000-4a3c-9a4e-5c3c6d1f0a01".to_owned(),
            "prefect/".to_owned(),
        ];
        for started_by in started_by {
            let told = scene.told(with(&event, "/detail/startedBy", Some(json!(started_by)))).await;
            assert!(done(&told).iter().all(|done| *done == "event posted"), "{prefect:?} {started_by}: {told}");
        }
        scene.is_unchanged(&before);
    }
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The event with one place replaced, or removed.
fn with(event: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut event = event.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    event
}
