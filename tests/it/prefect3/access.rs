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
