//! Launches that did not happen: given back for now, crashed for good, cancelled with their deployment.

use super::scene::Scene;
use crate::support::{ids, reason, report_in};
use serde_json::{Value, json};
use world::ecs::Refusal;
use world::prefect3::{DeploymentSpec, RunSpec, StateType};
use world::{Fault, FaultKind};

fn refuse(scene: &Scene, count: u32) {
    let refusal = Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: None, count };
    scene.deployment.world.ecs_refuse(refusal);
}

#[tokio::test]
async fn want_of_capacity_gives_the_run_back_with_the_reason_and_counts_the_attempt() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    refuse(&scene, 1);
    let report = scene.poll().await;
    assert!(reason(&report, "deferred", &run).contains("RESOURCE:MEMORY"), "{report:#}");
    let state = scene.state(&run);
    assert_eq!((state.kind, state.name.as_str()), (StateType::Scheduled, "AwaitingRetry"));
    assert!(state.message.as_deref().unwrap().contains("RESOURCE:MEMORY"));
    let mark = &state.data["prefect_serverless_agent"];
    assert_eq!((&mark["attempt"], &mark["capacity_refusals"]), (&json!(1), &json!(1)));
    assert!(scene.flow_run(&run).next_scheduled_start_time.unwrap() > time::OffsetDateTime::now_utc());
    assert!(scene.deployment.world.prefect3_flow_run_logs(&run)[0].contains("tried again"));

    let report = scene.poll().await;
    assert_eq!(report["ready"], 0, "not before its time: {report:#}");
    scene.make_due(&run);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run.clone()], "{report:#}");
    assert_eq!(scene.history(&run), ["Scheduled", "Pending", "AwaitingRetry", "Pending"]);
    assert_eq!(scene.state(&run).data["prefect_serverless_agent"]["attempt"], 2);
}

#[tokio::test]
async fn after_the_last_attempt_the_run_crashes_with_the_story() {
    let scene = Scene::with(json!({"max_launch_attempts": 2})).await;
    let run = scene.run(RunSpec::default());
    refuse(&scene, 100);
    scene.poll().await;
    scene.make_due(&run);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "failed"), [run.clone()], "{report:#}");
    let state = scene.state(&run);
    assert_eq!((state.kind, state.name.as_str()), (StateType::Crashed, "Crashed"));
    let message = state.message.unwrap();
    assert!(
        message.starts_with("Failed to submit flow run to infrastructure: ") && message.contains("after 2 attempts"),
        "{message}"
    );
}

#[tokio::test]
async fn what_can_never_be_launched_crashes_and_harms_no_other() {
    let scene = Scene::new().await;
    let bad = scene.run_with(json!({"env": {"X": "{{ prefect.blocks.secret.gone }}"}}));
    let good = scene.run(RunSpec::default());
    let report = scene.poll().await;
    assert_eq!((ids(&report, "failed"), ids(&report, "launched")), (vec![bad.clone()], vec![good]), "{report:#}");
    let message = scene.state(&bad).message.unwrap();
    let said = "Failed to submit flow run to infrastructure: ObjectNotFound: Block not found: 'gone' of type 'secret'";
    assert!(message.starts_with(said), "{message}");
    assert_eq!(report["ok"], true, "one run's trouble is its own");
}

#[tokio::test]
async fn trouble_of_the_agent_itself_gives_the_runs_back_and_fails_the_poll() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let denied = FaultKind::AwsError {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "User is not authorized to perform: ecs:RunTask".into(),
    };
    scene.deployment.world.fault(Fault::new("ecs", "RunTask", denied));
    let report = report_in(&scene.deployment.poll_fails().await);
    assert_eq!(ids(&report["agents"]["etl"], "deferred"), [run.clone()], "{report:#}");
    let state = scene.state(&run);
    assert_eq!((state.name.as_str(), &state.data["prefect_serverless_agent"]["attempt"]), ("AwaitingRetry", &json!(0)));
}

#[tokio::test]
async fn a_run_of_a_deleted_deployment_is_cancelled_in_the_workers_words() {
    let scene = Scene::new().await;
    let deployment =
        scene.deployment.world.prefect3_deployment(DeploymentSpec { name: "old".into(), ..DeploymentSpec::default() });
    let gone = scene.run(RunSpec { deployment: Some(deployment.clone()), ..RunSpec::default() });
    let good = scene.run(RunSpec { deployment: Some(first_deployment(&scene)), ..RunSpec::default() });
    scene.deployment.world.prefect3_forget_deployment(&deployment);
    let report = scene.poll().await;
    assert_eq!((ids(&report, "cancelled"), ids(&report, "launched")), (vec![gone.clone()], vec![good]), "{report:#}");
    let state = scene.state(&gone);
    assert_eq!((state.kind, state.name.as_str()), (StateType::Cancelled, "Cancelled"));
    assert_eq!(state.message, Some(format!("Deployment {deployment} no longer exists, cancelled run.")));
}

fn first_deployment(scene: &Scene) -> String {
    scene.deployment.world.prefect3(|prefect3| prefect3.deployments[0].id.clone())
}

#[tokio::test]
async fn a_run_cancelled_while_its_launch_was_refused_stays_cancelled() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let world = scene.deployment.world.world();
    world.fault(Fault::new("ecs", "RunTask", FaultKind::DelayBefore { ms: 700 }));
    refuse(&scene, 1);
    let person = async {
        let sent = |state: &world::State| !state.journal.matching("ecs", "RunTask").is_empty();
        assert!(world.wait_until(std::time::Duration::from_secs(20), sent).await);
        world.prefect3_cancel(&run).unwrap();
    };
    let (report, ()) = tokio::join!(scene.poll(), person);
    assert_eq!(ids(&report, "skipped"), [run.clone()], "{report:#}");
    assert!(!scene.history(&run).contains(&"AwaitingRetry".to_owned()), "{:?}", scene.history(&run));
}

#[tokio::test]
async fn a_retried_run_whose_earlier_task_waits_adopts_it() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    scene.poll().await;
    scene.deployment.world.prefect3_set_state(&run, &json!({"type": "SCHEDULED", "name": "AwaitingRetry"})).unwrap();
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    assert_eq!((&report["launched"][0]["adopted"], scene.tasks().len()), (&Value::Bool(true), 1), "{report:#}");
}
