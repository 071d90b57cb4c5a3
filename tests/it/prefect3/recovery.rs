//! Claims without a task, because a process died or ECS never answered: finished with the same token.

use super::scene::Scene;
use crate::support::ids;
use serde_json::json;
use world::prefect3::RunSpec;
use world::{Fault, FaultKind};

/// A run of ours that is claimed and was never launched, ten minutes ago.
async fn orphan(scene: &Scene) -> String {
    let run = scene.run(RunSpec::default());
    scene.deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).times(20));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "deferred"), [run.clone()], "{report:#}");
    assert_eq!(scene.state(&run).name, "Pending");
    scene.deployment.world.lock().faults.clear();
    scene.age(&run, 10);
    run
}

#[tokio::test]
async fn an_orphaned_claim_is_launched_with_its_own_token() {
    let scene = Scene::new().await;
    let run = orphan(&scene).await;
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run.clone()], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(task.client_token, scene.state(&run).details.transition_id);
    assert_eq!(scene.history(&run), ["Scheduled", "Pending"]);
    assert!(scene.flow_run(&run).infrastructure_pid.unwrap().ends_with(&task.arn));
}

#[tokio::test]
async fn an_orphan_under_a_sub_state_is_known_by_its_history() {
    let scene = Scene::new().await;
    let run = orphan(&scene).await;
    scene.deployment.world.prefect3_set_state(&run, &json!({"type": "PENDING", "name": "Submitting"})).unwrap();
    scene.age(&run, 5);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run], "{report:#}");
    assert_eq!(scene.tasks().len(), 1);
}

#[tokio::test]
async fn a_server_that_keeps_no_data_in_states_tells_by_the_id_alone() {
    let scene = Scene::new().await;
    let run = orphan(&scene).await;
    scene.change(&run, |run| run.states.iter_mut().for_each(|state| state.data = json!(null)));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run], "{report:#}");
}

#[tokio::test]
async fn a_claim_whose_task_was_started_is_adopted() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    scene.deployment.world.fault(Fault::new("prefect3", "update_flow_run", FaultKind::Html { status: 502 }).times(20));
    scene.poll().await;
    scene.deployment.world.lock().faults.clear();
    assert_eq!(scene.flow_run(&run).infrastructure_pid, None);
    scene.age(&run, 10);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run.clone()], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    assert!(scene.flow_run(&run).infrastructure_pid.unwrap().ends_with(&task.arn));
}

#[tokio::test]
async fn claims_of_others_are_counted_and_never_touched() {
    let scene = Scene::new().await;
    let theirs = scene.runs(2);
    for run in &theirs {
        scene.deployment.world.prefect3_set_state(run, &json!("PENDING")).unwrap();
        scene.age(run, 30);
    }
    scene.deployment.world.prefect3_set_state(&theirs[1], &json!({"type": "PENDING", "name": "Submitting"})).unwrap();
    scene.age(&theirs[1], 20);
    let report = scene.poll().await;
    assert_eq!((&report["foreign_pending"], &report["ok"]), (&json!(2), &json!(true)), "{report:#}");
    assert!(scene.tasks().is_empty());
    assert_eq!(scene.count("set_state"), 0);
}

#[tokio::test]
async fn a_claim_of_another_agent_of_ours_is_its_own_matter() {
    let scene = Scene::new().await;
    let run = orphan(&scene).await;
    scene.deployment.configure(
        "etl",
        &json!({"prefect": 3, "enabled": false, "api": scene.deployment.world.prefect3_url(), "work_pool": "ecs-pool"})
            .to_string(),
    );
    scene.agent("two", json!({}));
    let report = scene.deployment.poll().await;
    assert_eq!(report["agents"]["two"]["foreign_pending"], 1, "{report:#}");
    assert_eq!(scene.state(&run).name, "Pending");
    assert!(scene.tasks().is_empty());
}

#[tokio::test]
async fn a_young_claim_is_left_to_whoever_is_launching_it() {
    let scene = Scene::new().await;
    let run = orphan(&scene).await;
    scene.age(&run, -10);
    let report = scene.poll().await;
    assert_eq!((&report["foreign_pending"], scene.tasks().len()), (&json!(0), 0), "{report:#}");
}
