//! Trouble with Prefect or AWS: the invocation fails, so that Lambda delivers the event again, and a later delivery does
//! what the first one could not.

use super::scene::{Scene, done};
use super::workers::of_worker;
use crate::prefect::{Phase, Prefect};
use crate::support::{KEY, ROOT};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use world::ecs::Stop;
use world::prefect3::{Auth, POOL};
use world::{Fault, FaultKind};

const SECOND_KEY: &str = "pcu_the-key-after-the-rotation";
const AUTH_STRING: &str = "admin:hunter2-hunter2";
const SECOND_AUTH_STRING: &str = "admin:correct-horse";

fn unavailable() -> FaultKind {
    let body = json!({"exception_message": "Service Unavailable"}).to_string();
    FaultKind::Status { status: 503, body, content_type: "application/json".into() }
}

fn denied() -> FaultKind {
    FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "not authorized".into() }
}

/// The event of a task is not dealt with as long as `fault` stands, and then it is.
async fn fails_then_succeeds(prefect: Prefect, fault: Fault) {
    let name = format!("{prefect:?} {fault:?}");
    let scene = Scene::new(prefect).await;
    let (run, task) = scene.running().await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    let (event, before) = (scene.world().task_event(&task), scene.before(&run));
    scene.world().fault(fault.always());
    let error = scene.deliver(event.clone()).await.expect_err(&name);
    assert_eq!(error.error_type, "TaskEventFailed", "{name}: {error:?}");
    assert!(error.error_message.len() > 20, "it says what went wrong: {error:?}");
    scene.is_unchanged(&before);
    scene.world().lock().faults.clear();
    let told = scene.told(event).await;
    assert!(done(&told).contains(&"ended") && scene.phase(&run) == Phase::Dead, "{name}: {told}");
}

/// Which pool it serves nobody knows until it is mended.
#[tokio::test]
async fn while_an_agents_configuration_is_wrong_a_workers_task_waits_too() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, POOL).await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    let (event, before) = (scene.world().task_event(&task), scene.before(&run));
    let name = format!("{ROOT}/config/etl");
    let configured = scene.world().parameter(&name).unwrap();
    scene.deployment.configure("etl", "work_pool: [prod");
    let error = scene.deliver(event.clone()).await.expect_err("a stranger's task would be no error");
    assert!(error.error_message.contains(&name), "{error:?}");
    scene.is_unchanged(&before);
    scene.deployment.configure("etl", &configured.value);
    scene.told(event).await;
    assert_eq!(scene.phase(&run), Phase::Dead);
}

#[tokio::test]
async fn while_the_agents_configuration_is_wrong_the_invocation_fails() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        scene.world().ecs_stop(&task, &Stop::exited(1));
        let (event, before) = (scene.world().task_event(&task), scene.before(&run));
        let name = format!("{ROOT}/config/etl");
        let configured = scene.world().parameter(&name).unwrap();
        scene.deployment.configure("etl", "labels: [prod");
        let error = scene.deliver(event.clone()).await.expect_err("a stranger's task would be no error");
        assert!(error.error_message.contains(&name), "{prefect:?}: {error:?}");
        scene.is_unchanged(&before);
        scene.deployment.configure("etl", &configured.value);
        let told = scene.told(event).await;
        assert!(done(&told).contains(&"ended") && scene.phase(&run) == Phase::Dead, "{prefect:?}: {told}");
    }
}

#[tokio::test]
async fn while_prefect_is_away_the_invocation_fails() {
    for prefect in Prefect::BOTH {
        for kind in [FaultKind::DropBefore, FaultKind::Html { status: 502 }, unavailable(), FaultKind::MalformedBody] {
            fails_then_succeeds(prefect, Fault::new(prefect.service(), "*", kind)).await;
        }
    }
}

#[tokio::test]
async fn while_the_end_cannot_be_written_the_invocation_fails() {
    for prefect in Prefect::BOTH {
        fails_then_succeeds(prefect, Fault::new(prefect.service(), prefect.set_state(), unavailable())).await;
    }
}

#[tokio::test]
async fn while_it_cannot_be_told_whether_another_task_lives_the_invocation_fails() {
    for prefect in Prefect::BOTH {
        fails_then_succeeds(prefect, Fault::new("ecs", "ListTasks", denied())).await;
    }
}

#[tokio::test]
async fn without_parameters_the_invocation_fails() {
    for prefect in Prefect::BOTH {
        fails_then_succeeds(prefect, Fault::new("ssm", "GetParametersByPath", denied())).await;
    }
}

#[tokio::test]
async fn logs_and_events_that_are_not_taken_change_nothing() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        for operation in ["write_run_logs", "logs", "events"] {
            scene.world().fault(Fault::new(prefect.service(), operation, unavailable()).always());
        }
        let told = scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!((done(&told), scene.phase(&run)), (vec!["ended"], Phase::Dead), "{prefect:?}");
    }
}

/// An end whose answer was lost is looked for by the next delivery, which finds it.
#[tokio::test]
async fn an_end_whose_answer_was_lost_is_written_once() {
    for prefect in Prefect::BOTH {
        for kind in [FaultKind::DropAfter, FaultKind::TruncatedBody, FaultKind::MalformedBody] {
            let scene = Scene::new(prefect).await;
            let (run, task) = scene.running().await;
            scene.world().ecs_stop(&task, &Stop::exited(1));
            let event = scene.world().task_event(&task);
            scene.world().fault(Fault::new(prefect.service(), prefect.set_state(), kind.clone()));
            for _ in 0..3 {
                let _ = scene.deliver(event.clone()).await;
            }
            let dead = scene.run(&run);
            let ends = dead.history.iter().filter(|state| matches!(state.as_str(), "Failed" | "Crashed")).count();
            assert_eq!((dead.phase, ends), (Phase::Dead, 1), "{prefect:?} {kind:?}: {dead:?}");
        }
    }
}

#[tokio::test]
async fn a_key_that_was_replaced_counts_in_a_warm_process() {
    let scene = Scene::new(Prefect::One).await;
    let ((first, first_task), (second, second_task)) = (scene.running().await, scene.running().await);
    scene.stops(&first_task, &Stop::exited(1)).await;
    scene.world().prefect1(|prefect1| {
        let tenants = prefect1.api_keys.remove(KEY).unwrap();
        prefect1.api_keys.insert(SECOND_KEY.into(), tenants);
    });
    // As long as the parameter has the old key, nothing can be told.
    scene.world().ecs_stop(&second_task, &Stop::exited(1));
    let error = scene.deliver(scene.world().task_event(&second_task)).await.unwrap_err();
    assert_eq!(error.error_type, "TaskEventFailed", "{error:?}");
    scene.deployment.secret("etl", "api-key", SECOND_KEY);
    scene.event(&second_task).await;
    assert_eq!((scene.phase(&first), scene.phase(&second)), (Phase::Dead, Phase::Dead));
    tells_no_secret(&scene, &[KEY, SECOND_KEY], &json!([error.error_message]));
}

#[tokio::test]
async fn an_auth_string_that_was_replaced_counts_in_a_warm_process() {
    let scene = Scene::with(Prefect::Three, json!({"api_key_delivery": "environment"})).await;
    let auth = |auth_string: &str| {
        let auth = Auth::Basic { auth_string: auth_string.to_owned() };
        scene.world().prefect3(|prefect3| prefect3.switches.auth = auth);
        scene.world().put_secret(&format!("{ROOT}/secrets/etl/auth-string"), auth_string);
    };
    auth(AUTH_STRING);
    let ((first, first_task), (second, second_task)) = (scene.running().await, scene.running().await);
    let mut answers = vec![scene.stops(&first_task, &Stop::exited(1)).await];
    auth(SECOND_AUTH_STRING);
    answers.push(scene.stops(&second_task, &Stop::exited(1)).await);
    assert_eq!((scene.phase(&first), scene.phase(&second)), (Phase::Dead, Phase::Dead));
    let secrets = [AUTH_STRING, SECOND_AUTH_STRING, "hunter2-hunter2", "correct-horse", "YWRtaW46aHVudGVyMi1odW50ZXIy"];
    tells_no_secret(&scene, &secrets, &json!(answers));
}

#[tokio::test]
async fn a_warm_process_keeps_its_way_to_the_api() {
    let scene = Scene::new(Prefect::Three).await;
    let tasks = [scene.running().await.1, scene.running().await.1, scene.running().await.1];
    scene.world().prefect3(|prefect3| prefect3.switches.csrf = true);
    for task in &tasks {
        scene.stops(task, &Stop::exited(1)).await;
    }
    assert_eq!(scene.world().count("prefect3", "csrf-token"), 1, "one client, one token");
}

#[tokio::test]
async fn what_takes_too_long_is_an_error_before_the_invocation_is_killed() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        scene.world().ecs_stop(&task, &Stop::exited(1));
        let (event, before) = (scene.world().task_event(&task), scene.before(&run));
        scene.world().fault(Fault::new(prefect.service(), "*", FaultKind::DelayBefore { ms: 20_000 }).always());
        let error = scene.task_events.invoke(event.clone(), Duration::from_secs(4)).await.unwrap_err();
        assert_eq!(error.error_type, "TaskEventFailed", "{prefect:?}: {error:?}");
        scene.is_unchanged(&before);
        scene.world().lock().faults.clear();
        let told = scene.told(event).await;
        assert!(done(&told).contains(&"ended"), "{prefect:?}: {told}");
    }
}

#[tokio::test]
async fn a_second_look_that_does_not_fit_is_an_error_at_once() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.running().await;
    scene.world().ecs_stop(&task, &Stop::exited(0));
    let (event, before) = (scene.world().task_event(&task), scene.before(&run));
    let began = Instant::now();
    let error = scene.task_events.invoke(event, Duration::from_secs(9)).await.unwrap_err();
    assert!(error.error_message.contains("second look") && error.error_message.contains(&run), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "it does not wait for what cannot be");
    scene.is_unchanged(&before);
}

/// Fails when a secret is in the function's answers or its log, which is written at `trace`.
fn tells_no_secret(scene: &Scene, secrets: &[&str], answers: &Value) {
    let output = scene.task_events.output();
    assert!(output.len() > 1000, "it says what it does: {output}");
    for secret in secrets.iter().chain(&["secret-of-the-world"]) {
        let told = output.lines().map(str::to_owned).chain([answers.to_string()]);
        let told: Vec<_> = told.filter(|line| line.contains(secret)).collect();
        assert!(told.is_empty(), "{secret} was written:\n{}", told.join("\n"));
    }
}
