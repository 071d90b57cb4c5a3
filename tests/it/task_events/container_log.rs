//! The last lines of a container that died before its flow could tell Prefect anything.

use super::scene::Scene;
use crate::prefect::{Phase, Prefect};
use serde_json::{Value, json};
use std::time::Duration;
use world::ecs::{ContainerOptions, Stop};
use world::{Fault, FaultKind};

const ROLE: &str = "arn:aws:iam::123456789012:role/execution";

/// A scene whose containers write to CloudWatch.
async fn with_log(prefect: Prefect, extra: Value) -> Scene {
    let options = json!({"awslogs-group": "/flows", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"});
    let container = json!({"name": "flow", "logConfiguration": {"logDriver": "awslogs", "options": options}});
    let definition = json!({
        "networkMode": "awsvpc", "cpu": "1024", "memory": "2048", "executionRoleArn": ROLE,
        "containerDefinitions": [container],
    });
    let mut config = if prefect == Prefect::One { json!({"task_definition": definition}) } else { json!({}) };
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let scene = Scene::with(prefect, config).await;
    let variables = json!({"configure_cloudwatch_logs": true, "execution_role_arn": ROLE});
    let set = |deployment: &mut world::prefect3::Deployment| {
        deployment.job_variables.clone_from(variables.as_object().unwrap());
    };
    scene.world().prefect3(|prefect3| prefect3.deployments.iter_mut().for_each(set));
    scene
}

fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("line {number}")).collect()
}

/// A container that wrote so many lines and failed; the run.
async fn failed(scene: &Scene, written: usize, has_begun: bool) -> String {
    let (run, task) = scene.launched().await;
    scene.world().ecs_set_status(&task, "RUNNING");
    if has_begun {
        scene.begin(&run, &task);
    }
    assert!(scene.world().ecs_container_writes(&task, scene.container(), lines(written)), "it has no log");
    scene.stops(&task, &Stop::exited(1)).await;
    assert_eq!(scene.phase(&run), Phase::Dead);
    run
}

/// Of 80 lines these many are shown, after the reason for the end.
async fn shows(prefect: Prefect, extra: Value, shown: usize) {
    let scene = with_log(prefect, extra).await;
    let run = failed(&scene, 80, false).await;
    let log = prefect.log(scene.world(), &run);
    let at = log.iter().position(|(level, _)| level == "ERROR").unwrap();
    let after: Vec<_> = log[at + 1..].iter().map(|(level, line)| (level.as_str(), line.clone())).collect();
    let expected: Vec<_> = lines(80).split_off(80 - shown).into_iter().map(|line| ("INFO", line)).collect();
    assert_eq!(after, expected, "{prefect:?}");
    assert_eq!(scene.world().count("logs", "GetLogEvents"), usize::from(shown > 0), "{prefect:?}");
}

#[tokio::test]
async fn fifty_lines_are_shown_or_as_many_as_configured() {
    for prefect in Prefect::BOTH {
        shows(prefect, json!({}), 50).await;
    }
    for lines in [3, 0] {
        shows(Prefect::Three, json!({"forward_log_lines": lines}), lines).await;
    }
}

#[tokio::test]
async fn a_flow_that_ran_has_told_prefect_itself() {
    for prefect in Prefect::BOTH {
        let scene = with_log(prefect, json!({})).await;
        failed(&scene, 3, true).await;
        assert_eq!(scene.world().count("logs", "GetLogEvents"), 0, "{prefect:?}");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_does_not_keep_the_run_from_its_end() {
    let denied = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    for prefect in Prefect::BOTH {
        for kind in [denied.clone(), FaultKind::Html { status: 502 }, FaultKind::MalformedBody] {
            let scene = with_log(prefect, json!({})).await;
            scene.world().fault(Fault::new("logs", "GetLogEvents", kind.clone()).always());
            let run = failed(&scene, 3, false).await;
            assert_eq!(scene.log(&run, "ERROR").len(), 1, "{prefect:?} {kind:?}");
        }
    }
}

#[tokio::test]
async fn without_a_log_in_cloudwatch_there_is_nothing_to_show() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
        assert_eq!(scene.world().count("logs", "*"), 0, "{prefect:?}");
    }
}

#[tokio::test]
async fn what_a_real_process_wrote_before_it_died_is_shown() {
    let scene = with_log(Prefect::One, json!({})).await;
    // A PATH without Prefect: the container's command ends with the shell's own complaint.
    let options = ContainerOptions::default();
    let base_env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    scene.world().lock().ecs.options.containers = Some(ContainerOptions { base_env, ..options });
    let (run, task) = scene.launched().await;
    let stopped = |state: &world::State| state.ecs.tasks[0].last_status == "STOPPED";
    assert!(scene.world().wait_until(Duration::from_secs(20), stopped).await);
    scene.event(&task).await;
    let dead = scene.run(&run);
    assert!(dead.phase == Phase::Dead && dead.message.contains("exited with code 127"), "{dead:?}");
    let shown = scene.log(&run, "INFO");
    assert!(shown.iter().any(|line| line.contains("prefect") && line.contains("not found")), "{shown:?}");
}
