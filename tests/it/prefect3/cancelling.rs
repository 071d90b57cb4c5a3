//! Runs that a person cancels: their tasks are stopped, and they end as Cancelled.

use super::scene::Scene;
use crate::support::ids;
use serde_json::json;
use world::prefect3::{RunSpec, StateType};

/// A run of ours with a task; its id and the task's ARN.
async fn launched(scene: &Scene) -> (String, String) {
    let run = scene.run(RunSpec::default());
    scene.poll().await;
    let [task] = scene.tasks().try_into().unwrap();
    (run, task.arn)
}

fn desired_status(scene: &Scene) -> String {
    scene.tasks()[0].desired_status.clone()
}

#[tokio::test]
async fn a_run_that_never_started_is_stopped_at_once() {
    let scene = Scene::new().await;
    let (run, task) = launched(&scene).await;
    scene.deployment.world.prefect3_cancel(&run).unwrap();
    assert_eq!(scene.state(&run).kind, StateType::Cancelling);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    assert_eq!(desired_status(&scene), "STOPPED");
    let state = scene.state(&run);
    assert_eq!((state.kind, state.name.as_str()), (StateType::Cancelled, "Cancelled"));
    assert!(state.message.unwrap().contains(&task));
}

#[tokio::test]
async fn a_flow_that_runs_gets_its_time_to_end_by_itself() {
    let scene = Scene::new().await;
    let (run, task) = launched(&scene).await;
    scene.deployment.world.ecs_set_status(&task, "RUNNING");
    scene.deployment.world.prefect3_set_state(&run, &json!("RUNNING")).unwrap();
    scene.deployment.world.prefect3_cancel(&run).unwrap();
    scene.poll().await;
    assert_eq!((scene.state(&run).kind, desired_status(&scene).as_str()), (StateType::Cancelling, "RUNNING"));
    scene.age(&run, 2);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    assert_eq!((scene.state(&run).kind, desired_status(&scene).as_str()), (StateType::Cancelled, "STOPPED"));
}

#[tokio::test]
async fn the_task_of_a_run_that_the_server_gave_up_is_stopped_too() {
    let scene = Scene::new().await;
    let (run, _) = launched(&scene).await;
    scene.deployment.world.prefect3_set_state(&run, &json!("CANCELLED")).unwrap();
    let report = scene.poll().await;
    assert_eq!(desired_status(&scene), "STOPPED", "{report:#}");
    assert_eq!(scene.history(&run).last().unwrap(), "Cancelled");
    assert_eq!((ids(&report, "cancelled"), &report["ok"]), (vec![run.clone()], &json!(true)), "{report:#}");
    let (before, report) = (scene.history(&run), scene.poll().await);
    assert_eq!((scene.history(&run), ids(&report, "cancelled").len()), (before, 0), "nothing is written: {report:#}");
}

#[tokio::test]
async fn a_claim_without_a_task_ends_when_it_is_cancelled() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec { state: json!("CANCELLING"), ..RunSpec::default() });
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    assert_eq!(scene.state(&run).kind, StateType::Cancelled);
}

#[tokio::test]
async fn a_due_run_that_is_cancelled_is_never_launched() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    scene.deployment.world.prefect3_cancel(&run).unwrap();
    let report = scene.poll().await;
    assert_eq!((scene.state(&run).kind, &report["ready"]), (StateType::Cancelled, &json!(0)), "{report:#}");
}
