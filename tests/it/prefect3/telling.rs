//! Labels and tasks of launched runs: all of them, after every launch, whatever the server takes at first.

use super::scene::Scene;
use crate::support::ids;
use serde_json::json;
use world::prefect3::{FailRule, RunSpec};

fn fails(scene: &Scene, rule: FailRule) {
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.fail.push(rule));
}

fn works_again(scene: &Scene) {
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.fail.clear());
}

fn is_labelled(scene: &Scene, run: &str) -> bool {
    scene.flow_run(run).labels.contains_key("prefect.worker.name")
}

/// When the requests of an operation came, milliseconds.
fn asked_at(scene: &Scene, service: &str, operation: &str) -> Vec<f64> {
    scene.deployment.world.requests(service, operation).iter().map(|request| request.at_ms).collect()
}

#[tokio::test]
async fn a_database_that_is_locked_gets_all_labels_within_one_poll() {
    let scene = Scene::new().await;
    let runs = scene.runs(60);
    fails(&scene, FailRule::new("labels", 503).times(20));
    let report = scene.poll().await;
    assert_eq!((ids(&report, "launched").len(), &report["untold"]), (60, &json!(0)), "{report:#}");
    assert!(runs.iter().all(|run| is_labelled(&scene, run)));
}

#[tokio::test]
async fn labels_that_were_not_taken_come_with_the_next_poll_of_the_process_after_its_launches() {
    let scene = Scene::new().await;
    let function = scene.deployment.poll_function().await;
    let early = scene.runs(5);
    fails(&scene, FailRule::new("labels", 500));
    let report = scene.poll_by(&function).await;
    assert_eq!((ids(&report, "launched").len(), &report["untold"], &report["ok"]), (5, &json!(5), &json!(true)));
    let said = function.output();
    assert_eq!(said.matches("not written down yet").count(), 1, "one line for all: {said}");
    works_again(&scene);
    let refused = scene.count("labels");
    let late = scene.run(RunSpec::default());
    let report = scene.poll_by(&function).await;
    assert_eq!((ids(&report, "launched"), &report["untold"]), (vec![late.clone()], &json!(0)), "{report:#}");
    assert!(early.iter().chain([&late]).all(|run| is_labelled(&scene, run)));
    assert_eq!(scene.count("labels") - refused, 6);
    let last_launch = asked_at(&scene, "ecs", "RunTask").into_iter().fold(0.0, f64::max);
    let labels = asked_at(&scene, "prefect3", "labels").split_off(refused);
    assert!(labels.iter().all(|label| *label > last_launch), "never before a launch");
}

#[tokio::test]
async fn a_cold_process_labels_the_claims_that_it_looks_after_anyway() {
    let scene = Scene::new().await;
    let [claimed, begun] = [scene.run(RunSpec::default()), scene.run(RunSpec::default())];
    fails(&scene, FailRule::new("labels", 500));
    assert_eq!(scene.poll().await["untold"], 2);
    works_again(&scene);
    scene.age(&claimed, 10);
    scene.deployment.world.prefect3_set_state(&begun, &json!("RUNNING")).unwrap();
    let report = scene.poll().await;
    assert_eq!(report["untold"], 0, "{report:#}");
    assert!(is_labelled(&scene, &claimed) && !is_labelled(&scene, &begun), "what runs is read by nobody");
}

#[tokio::test]
async fn a_task_that_could_not_be_written_down_is_written_down_at_the_end() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    fails(&scene, FailRule::new("update_flow_run", 500).times(1));
    let report = scene.poll().await;
    assert_eq!((ids(&report, "launched"), &report["untold"]), (vec![run.clone()], &json!(0)), "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    assert!(scene.flow_run(&run).infrastructure_pid.unwrap().ends_with(&task.arn));
}

#[tokio::test]
async fn a_task_is_not_written_down_on_a_run_that_was_scheduled_anew() {
    let scene = Scene::new().await;
    let function = scene.deployment.poll_function().await;
    let run = scene.run(RunSpec::default());
    fails(&scene, FailRule::new("update_flow_run", 500));
    assert_eq!(scene.poll_by(&function).await["untold"], 1);
    works_again(&scene);
    let later = json!({"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}});
    scene.deployment.world.prefect3_set_state(&run, &later).unwrap();
    let writes = scene.count("update_flow_run");
    assert_eq!(scene.poll_by(&function).await["untold"], 0);
    assert_eq!((scene.count("update_flow_run"), scene.flow_run(&run).infrastructure_pid), (writes, None));
}
