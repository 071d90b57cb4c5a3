//! Who may ask: keys, auth strings, CSRF tokens, Prefect Cloud.

use super::scene::{Scene, environment};
use crate::support::{ids, report_in};
use serde_json::json;
use world::prefect3::{Auth, RunSpec};

const AUTH_STRING: &str = "admin:hunter2-hunter2";

fn auth(scene: &Scene, auth: Auth) {
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.auth = auth);
}

#[tokio::test]
async fn an_auth_string_opens_a_server_and_reaches_the_flow() {
    let scene = Scene::with(json!({"api_key_delivery": "environment"})).await;
    auth(&scene, Auth::Basic { auth_string: AUTH_STRING.into() });
    let error = scene.deployment.poll_fails().await;
    assert_eq!(scene.deployment.status("etl")["error"], "unauthorised", "{error:?}");
    scene.secret("auth-string", AUTH_STRING);
    scene.secret("api-key", "pnu_beaten");
    let run = scene.run(RunSpec::default());
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(environment(&task)["PREFECT_API_AUTH_STRING"], AUTH_STRING);
}

/// What the report of a poll says whose credential was refused.
async fn refused(scene: &Scene) -> String {
    let report = report_in(&scene.deployment.poll_fails().await);
    let etl = crate::support::agent(&report, "etl").clone();
    assert_eq!(etl["error_kind"], "unauthorised", "{etl:#}");
    etl["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refused_credential_is_named_with_its_parameter_also_where_tokens_are_asked_for() {
    let scene = Scene::new().await;
    auth(&scene, Auth::Basic { auth_string: AUTH_STRING.into() });
    for csrf in [false, true] {
        scene.deployment.world.prefect3(|prefect3| prefect3.switches.csrf = csrf);
        let error = refused(&scene).await;
        assert!(error.contains("refused the credentials") && !error.contains("CSRF"), "{csrf}: {error}");
        let parameters = ["/psa/test/secrets/etl/api-key", "/psa/test/secrets/etl/auth-string"];
        assert!(parameters.iter().all(|name| error.contains(name)), "{csrf}: there is none: {error}");
    }
    scene.secret("api-key", "pnu_wrong");
    let error = refused(&scene).await;
    assert!(error.contains("the API key of the parameter /psa/test/secrets/etl/api-key"), "{error}");
    scene.secret("auth-string", "admin:wrong-wrong");
    let error = refused(&scene).await;
    assert!(error.contains("the auth string of the parameter /psa/test/secrets/etl/auth-string"), "{error}");
    assert!(!error.contains("wrong-wrong") && !error.contains("PREFECT__"), "{error}");
}

#[tokio::test]
async fn a_moved_api_is_told_with_where_it_is() {
    let scene = Scene::new().await;
    let location = "https://user:hunter2-hunter2@new.example/api/work_pools/x?token=hunter2-hunter2".to_owned();
    let moved = world::FaultKind::Redirect { status: 308, location };
    scene.deployment.world.fault(world::Fault::new("prefect3", "*", moved).always());
    let report = report_in(&scene.deployment.poll_fails().await);
    let etl = crate::support::agent(&report, "etl");
    let error = etl["error"].as_str().unwrap();
    assert_eq!(etl["error_kind"], "configuration", "{error}");
    assert!(error.contains("HTTP 308 and sends to https://new.example/api/work_pools/x"), "{error}");
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
}

#[tokio::test]
async fn an_invocation_that_is_nearly_over_blames_nobody_else() {
    let scene = Scene::new().await;
    let function = scene.deployment.poll_function().await;
    crate::support::poll(&function).await;
    let error = function.invoke(json!({}), std::time::Duration::from_secs(1)).await.unwrap_err();
    let report = report_in(&error);
    let etl = crate::support::agent(&report, "etl");
    assert_eq!(etl["error_kind"], "deadline", "{etl:#}");
}

#[tokio::test]
async fn prefect_cloud_knows_the_worker_by_its_id() {
    let scene = Scene::new().await;
    scene.agent("etl", json!({"api": scene.deployment.world.prefect3_cloud_url()}));
    scene.secret("api-key", "pnu_fakekey");
    auth(&scene, Auth::Keys { keys: vec!["pnu_fakekey".into()] });
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.cloud = true);
    let first = scene.run(RunSpec::default());
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [first], "{report:#}");
    let worker = scene.deployment.world.prefect3(|prefect3| prefect3.workers[0].id.clone());
    assert_eq!(environment(&scene.tasks()[0])["PREFECT__WORKER_ID"], worker);
    assert_eq!(scene.deployment.status("etl")["registration"]["agent_id"], worker);
    let (heartbeats, second) = (scene.count("heartbeat"), scene.run(RunSpec::default()));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [second], "{report:#}");
    assert_eq!(scene.count("heartbeat"), heartbeats + 1, "a later process remembers the id");
    assert_eq!(environment(&scene.tasks()[1])["PREFECT__WORKER_ID"], worker);
}

#[tokio::test]
async fn csrf_tokens_are_fetched_only_where_a_server_asks_for_them() {
    let scene = Scene::new().await;
    scene.runs(1);
    scene.poll().await;
    assert_eq!(scene.count("csrf-token"), 0);
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.csrf = true);
    let runs = scene.runs(5);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched").len(), runs.len(), "{report:#}");
    assert_eq!((scene.count("csrf-token"), &report["ok"]), (1, &json!(true)), "{report:#}");
}

#[tokio::test]
async fn secrets_occur_in_no_report_log_or_parameter() {
    let scene = Scene::with(json!({"api_key_delivery": "environment"})).await;
    scene.secret("auth-string", AUTH_STRING);
    auth(&scene, Auth::Basic { auth_string: "other:other-other".into() });
    scene.run(RunSpec::default());
    let function = scene.deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
    let error = function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
    let told = format!("{}\n{}\n{}", report_in(&error), function.output(), scene.deployment.status("etl"));
    for secret in [AUTH_STRING, "hunter2-hunter2", "YWRtaW46aHVudGVyMi1odW50ZXIy"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
