//! Runs that have had several tasks: the end of an earlier one says nothing about the run now.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use serde_json::Value;
use world::ecs::Stop;

const NO_CAPACITY: &str = "Capacity is unavailable at this time.";

/// A run whose first task died unheard of, and that has another by now: the run and both tasks.
async fn in_its_second_turn(scene: &Scene) -> (String, String, String) {
    let (run, first) = scene.launched().await;
    scene.stops(&first, &Stop::failed_to_start(NO_CAPACITY)).await;
    let second = scene.launch(&run).await;
    (run, first, second)
}

#[tokio::test]
async fn the_end_of_an_earlier_task_changes_nothing_however_far_the_run_is() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, first, second) = in_its_second_turn(&scene).await;
        for is_running in [false, true] {
            if is_running {
                scene.begin(&run, &second);
            }
            let before = scene.before(&run);
            let told = scene.event(&first).await;
            assert!(told["why"].as_str().unwrap().contains("earlier turn"), "{prefect:?}: {told}");
            scene.is_unchanged(&before);
        }
        scene.stops(&second, &Stop::exited(1)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}: its own task is another matter");
    }
}

#[tokio::test]
async fn an_earlier_task_that_cannot_be_told_by_its_times_is_told_by_the_other_one_that_lives() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, first, second) = in_its_second_turn(&scene).await;
        let mut event = scene.world().task_event(&first);
        for time in ["createdAt", "startedAt", "stoppedAt", "stoppingAt", "updatedAt"] {
            event["detail"].as_object_mut().unwrap().remove(time);
        }
        // Its task is not written down yet, either.
        scene.world().prefect3(|prefect3| prefect3.flow_runs.iter_mut().for_each(|run| run.infrastructure_pid = None));
        let before = scene.before(&run);
        let told = scene.told(event.clone()).await;
        assert!(told["why"].as_str().unwrap().contains(&second), "{prefect:?}: {told}");
        scene.is_unchanged(&before);
        // Once the other one has stopped too, nothing lives that could end the run.
        scene.world().ecs_stop(&second, &Stop::failed_to_start(NO_CAPACITY));
        scene.told(event).await;
        assert_eq!(scene.phase(&run), Phase::Waiting, "{prefect:?}");
    }
}

#[tokio::test]
async fn a_task_that_was_stopped_for_a_new_turn_does_not_end_it() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, first) = scene.running().await;
        // Prefect gives the run out again, as Lazarus or a person does it.
        prefect.bring(scene.world(), &run, Phase::Waiting);
        crate::prefect::time_passes(scene.world(), 60);
        scene.poll().await;
        assert_eq!(scene.task(&first).desired_status, "STOPPED", "{prefect:?}");
        let before = scene.before(&run);
        let told = scene.event(&first).await;
        assert!(done(&told).iter().all(|done| *done == "event posted"), "{prefect:?}: {told}");
        scene.is_unchanged(&before);
        let second = scene.launch(&run).await;
        let before = scene.before(&run);
        scene.event(&first).await;
        scene.is_unchanged(&before);
        assert_ne!(first, second);
    }
}

/// A run whose task still waited when it was scheduled anew, so that the next turn adopted it: scene, run and task.
async fn adopted(prefect: Prefect) -> (Scene, String, String) {
    let scene = Scene::new(prefect).await;
    let (run, task) = scene.launched().await;
    prefect.bring(scene.world(), &run, Phase::Waiting);
    crate::prefect::time_passes(scene.world(), 60);
    let report = scene.poll().await;
    assert_eq!(report["launched"][0]["adopted"], Value::Bool(true), "{prefect:?}: {report:#}");
    (scene, run, task)
}

#[tokio::test]
async fn a_task_that_was_adopted_by_a_later_turn_is_that_turns_task() {
    for prefect in Prefect::BOTH {
        let (scene, run, task) = adopted(prefect).await;
        scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
    }
}

#[tokio::test]
async fn an_adopted_task_that_dies_while_its_flow_runs_is_that_turns_task_too() {
    for prefect in Prefect::BOTH {
        let (scene, run, task) = adopted(prefect).await;
        scene.world().ecs_set_status(&task, "RUNNING");
        prefect.bring(scene.world(), &run, Phase::Running);
        let told = scene.stops(&task, &Stop::exited(137)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}: {told}");
    }
}

/// The agent moved to another cluster, and the run was launched there since: what it left behind does not end it.
#[tokio::test]
async fn a_task_left_in_another_cluster_says_nothing_about_the_one_that_the_run_has_now() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, first) = scene.launched().await;
        scene.moves_to("green");
        prefect.bring(scene.world(), &run, Phase::Waiting);
        crate::prefect::time_passes(scene.world(), 60);
        let report = scene.deployment.poll().await;
        let launched = &report["agents"]["etl"]["launched"][0];
        let second = launched["task_arn"].as_str().unwrap_or_else(|| panic!("{prefect:?}: {report:#}"));
        assert!(second.contains(":task/green/"), "{prefect:?}: {second}");
        scene.begin(&run, second);
        let before = scene.before(&run);
        // It had not begun when the run was claimed anew, so that its times do not tell it from an adopted one.
        let told = scene.stops(&first, &Stop::failed_to_start(NO_CAPACITY)).await;
        assert!(told["why"].as_str().unwrap().contains(second), "{prefect:?}: {told}");
        scene.is_unchanged(&before);
    }
}
