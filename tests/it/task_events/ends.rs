//! Tasks that stop while the flow runs: the run ends, with what happened and what helps.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect, due};
use serde_json::json;
use world::ecs::Stop;
use world::prefect1::{FlowRunSpec, TaskRunSpec};

fn out_of_memory() -> Stop {
    let reason = "OutOfMemoryError: Container killed due to memory usage".to_owned();
    Stop { container_reason: Some(reason), ..Stop::exited(137) }
}

fn interrupted() -> Stop {
    let (code, reason) = ("SpotInterruption".to_owned(), "Your Spot Task was interrupted.".to_owned());
    Stop { code, reason, ..Stop::exited(143) }
}

/// How a flow's task can end, what is said about it, and what helps.
fn ends() -> [(Stop, &'static str, &'static str); 5] {
    let by_a_person = Stop { code: "UserInitiated".into(), reason: "Task stopped by user".into(), ..Stop::exited(143) };
    let host = Stop { code: "TerminationNotice".into(), reason: "The host retires.".into(), ..Stop::exited(143) };
    [
        (Stop::exited(1), "exited with code 1", "log tells why"),
        (out_of_memory(), "ran out of memory", "Give the run more memory"),
        (interrupted(), "Fargate Spot took its capacity back", "FARGATE rather than FARGATE_SPOT"),
        (by_a_person, "stopped by a user or a program", "CloudTrail"),
        (host, "host under the task", "Run the flow again"),
    ]
}

#[tokio::test]
async fn a_flow_whose_task_dies_under_it_ends_with_the_reason_and_what_helps() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        for (stop, sentence, remedy) in ends() {
            let (run, task) = scene.running().await;
            let told = scene.stops(&task, &stop).await;
            let dead = scene.run(&run);
            assert!(
                done(&told).contains(&"ended") && dead.phase == Phase::Dead,
                "{prefect:?} {stop:?}: {told} {dead:?}"
            );
            for part in [sentence, remedy, &task] {
                assert!(dead.message.contains(part), "{prefect:?}: {part} is missing: {}", dead.message);
            }
            assert_eq!(scene.log(&run, "ERROR").len(), 1, "{prefect:?}: {:?}", prefect.log(scene.world(), &run));
        }
        assert_eq!(scene.poll().await["ready"], 0, "{prefect:?}: what has begun is never launched again");
    }
}

#[tokio::test]
async fn a_container_that_fails_before_its_flow_begins_is_not_tried_again() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        scene.world().ecs_set_status(&task, "RUNNING");
        scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
    }
}

#[tokio::test]
async fn a_process_of_prefect_1_that_ends_well_without_a_word_is_not_believed() {
    let scene = Scene::new(Prefect::One).await;
    let (run, task) = scene.running().await;
    scene.stops(&task, &Stop::exited(0)).await;
    let dead = scene.run(&run);
    assert_eq!(dead.phase, Phase::Dead, "{dead:?}");
    assert!(dead.message.contains("exited with code 0") && dead.message.contains(&task), "{dead:?}");
}

/// A run that runs, with a task run that waits.
async fn with_task_run(scene: &Scene, state: &str) -> (String, String) {
    let later = json!({"type": state, "message": "later", "start_time": "2100-01-01T00:00:00+00:00"});
    let task_run = TaskRunSpec { state: later, ..TaskRunSpec::default() };
    let run = scene.deployment.schedule(FlowRunSpec { task_runs: vec![task_run], ..due("etl") });
    let task = scene.launch(&run).await;
    scene.begin(&run, &task);
    (run, task)
}

#[tokio::test]
async fn a_process_of_prefect_1_may_end_while_task_runs_wait() {
    let scene = Scene::new(Prefect::One).await;
    for waiting in ["Retrying", "Scheduled", "Paused", "Resume", "Queued", "Submitted"] {
        let (run, task) = with_task_run(&scene, waiting).await;
        let before = scene.before(&run);
        let told = scene.stops(&task, &Stop::exited(0)).await;
        assert!(done(&told).is_empty() && told["why"].as_str().unwrap().contains("task runs are due"), "{told}");
        scene.is_unchanged(&before);
    }
}

#[tokio::test]
async fn a_process_that_was_killed_did_not_mean_to_wait() {
    let scene = Scene::new(Prefect::One).await;
    let (run, task) = with_task_run(&scene, "Retrying").await;
    scene.stops(&task, &Stop::exited(137)).await;
    assert_eq!(scene.phase(&run), Phase::Dead);
}
