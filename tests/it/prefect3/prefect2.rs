//! Servers of Prefect 2, the last one and the oldest that is supported.

use super::scene::{Scene, environment, map};
use crate::support::ids;
use serde_json::{Value, json};
use world::ecs::Refusal;
use world::prefect3::{DeploymentSpec, FailRule, Generation, RunSpec};
use world::{Fault, FaultKind};

const SERVERS: [Generation; 2] = [Generation::TwoTen, Generation::Two];

async fn scene(server: Generation, extra: Value) -> Scene {
    let mut config = json!({"prefect": 2});
    config.as_object_mut().unwrap().extend(map(extra));
    let scene = Scene::with(config).await;
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.generation = server);
    scene
}

/// What the one task was told to run.
fn command(scene: &Scene) -> Value {
    let [task] = scene.tasks().try_into().unwrap();
    task.request["overrides"]["containerOverrides"][0]["command"].clone()
}

#[tokio::test]
async fn it_is_served_by_its_own_rules() {
    for server in SERVERS {
        let scene = scene(server, json!({})).await;
        let run = scene.run(RunSpec::default());
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{report:#}");
        assert_eq!((&report["ok"], &report["warnings"]), (&json!(true), &json!([])), "{report:#}");
        assert_eq!(command(&scene), json!(["prefect", "flow-run", "execute"]));
        assert_eq!(scene.count("labels"), 0);
    }
}

#[tokio::test]
async fn images_that_do_not_know_the_command_get_the_one_of_old() {
    let setting = json!({"PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION": false});
    let scene = scene(Generation::Two, json!({"worker_env": setting})).await;
    scene.run(RunSpec::default());
    scene.poll().await;
    assert_eq!(command(&scene), json!(["python", "-m", "prefect.engine"]));
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(environment(&task)["PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION"], "false");
}

#[tokio::test]
async fn infra_overrides_of_a_deployment_are_its_job_variables() {
    for server in SERVERS {
        let scene = scene(server, json!({})).await;
        let world = &scene.deployment.world;
        let deployment = world.prefect3_deployment(DeploymentSpec {
            name: "overridden".into(),
            job_variables: map(json!({"image": "x:1", "cpu": 512, "memory": 1024, "env": {"STAGE": "prod"}})),
            ..DeploymentSpec::default()
        });
        let run = scene.run(RunSpec { deployment: Some(deployment), ..RunSpec::default() });
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{report:#}");
        let [task] = scene.tasks().try_into().unwrap();
        let [definition] = world.lock().ecs.definitions.clone().try_into().unwrap();
        assert_eq!(definition.description["containerDefinitions"][0]["image"], "x:1");
        assert_eq!(definition.description["cpu"], "512");
        assert_eq!(environment(&task)["STAGE"], "prod");
    }
}

#[tokio::test]
async fn a_server_that_keeps_no_transition_ids_knows_our_claims_by_their_marks() {
    let scene = scene(Generation::TwoTen, json!({})).await;
    let run = scene.run(RunSpec::default());
    scene.deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).times(20));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "deferred"), [run.clone()], "{report:#}");
    scene.deployment.world.lock().faults.clear();
    scene.age(&run, 10);

    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run.clone()], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    let state = scene.state(&run);
    assert_eq!(state.details.transition_id, None);
    assert_eq!(json!(task.client_token), state.data["prefect_serverless_agent"]["token"]);
    assert_eq!(scene.history(&run), ["Scheduled", "Pending"]);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_made_once() {
    for server in SERVERS {
        let scene = scene(server, json!({})).await;
        let run = scene.run(RunSpec::default());
        scene.deployment.world.fault(Fault::new("prefect3", "set_state", FaultKind::DropAfter));
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run.clone()], "{server:?} {report:#}");
        assert_eq!(scene.history(&run), ["Scheduled", "Pending"]);
        assert_eq!(scene.tasks().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_launch_comes_back() {
    for server in SERVERS {
        let scene = scene(server, json!({})).await;
        let run = scene.run(RunSpec::default());
        let refusal = Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: None, count: 1 };
        scene.deployment.world.ecs_refuse(refusal);
        let report = scene.poll().await;
        assert_eq!(ids(&report, "deferred"), [run.clone()], "{server:?} {report:#}");
        assert_eq!(scene.history(&run), ["Scheduled", "Pending", "AwaitingRetry"]);
        scene.make_due(&run);
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{server:?} {report:#}");
    }
}

#[tokio::test]
async fn events_are_offered_once_to_a_server_that_takes_none() {
    let scene = scene(Generation::Two, json!({})).await;
    let refusal = "Events are not enabled. Please enable the PREFECT_EXPERIMENTAL_EVENTS setting.";
    scene.deployment.world.prefect3(|prefect3| {
        let rule = FailRule { body: json!({"detail": refusal}), ..FailRule::new("events", 404) };
        prefect3.switches.fail.push(rule);
    });
    let function = scene.deployment.poll_function().await;
    for _ in 0..3 {
        scene.run(RunSpec::default());
        let report = scene.poll_by(&function).await;
        assert_eq!(ids(&report, "launched").len(), 1, "{report:#}");
    }
    assert_eq!(scene.count("events"), 1);
}
