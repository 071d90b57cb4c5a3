//! Requests of shapes that ECS does not take, and of shapes that must not get lost on the way to it.

use super::scene::{Scene, environment};
use crate::support::{agent, ids, report_in};
use serde_json::{Value, json};

/// Changes the pool's job configuration.
fn template(scene: &Scene, change: impl FnOnce(&mut Value)) {
    scene.deployment.world.prefect3(|prefect3| {
        change(&mut prefect3.work_pools[0].base_job_template["job_configuration"]);
    });
}

fn container_override(configuration: &mut Value) -> &mut Value {
    &mut configuration["task_run_request"]["overrides"]["containerOverrides"][0]
}

fn container(configuration: &mut Value) -> &mut Value {
    &mut configuration["task_definition"]["containerDefinitions"][0]
}

/// The first request of this kind as it came to ECS.
fn sent(scene: &Scene, operation: &str) -> Value {
    serde_json::from_str(&scene.deployment.world.requests("ecs", operation)[0].body).unwrap()
}

/// Every due run of a pool with this change crashes with this sentence, and nothing is registered or started.
async fn crashes(change: impl FnOnce(&mut Value), sentence: &str) {
    let scene = Scene::new().await;
    template(&scene, change);
    let run = scene.run_with(json!({}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "failed"), [run.clone()], "{report:#}");
    let state = scene.state(&run);
    let message = state.message.unwrap_or_default();
    assert!(message.contains("ParamValidationError: Parameter validation failed:\n"), "{message}");
    assert!(message.contains(sentence), "no {sentence:?} in {message}");
    assert_eq!(scene.deployment.world.count("ecs", "*"), 0, "{message}");
}

#[tokio::test]
async fn what_vanished_once_is_refused() {
    let tags = json!([{"Key": "team", "Value": "data"}]);
    crashes(
        |configuration| configuration["task_run_request"]["tags"] = tags,
        "Unknown parameter in tags[0]: \"Key\", must be one of: key, value",
    )
    .await;
    let environment = json!([{"Name": "A", "Value": "b"}]);
    crashes(
        |configuration| container_override(configuration)["environment"] = environment,
        "Unknown parameter in overrides.containerOverrides[0].environment[0]: \"Name\", must be one of: name, value",
    )
    .await;
    crashes(
        |configuration| configuration["task_definition"]["containerDefinitions"] = json!({"name": "prefect"}),
        "Invalid type for parameter containerDefinitions, value: {'name': 'prefect'}, type: <class 'dict'>",
    )
    .await;
    crashes(
        |configuration| {
            configuration["task_run_request"]["overrides"]["containerOverrides"] = json!({"name": "prefect"});
        },
        "Invalid type for parameter overrides.containerOverrides, value: {'name': 'prefect'}, type: <class 'dict'>",
    )
    .await;
}

#[tokio::test]
async fn what_the_check_did_not_know_is_refused() {
    crashes(
        |configuration| container(configuration)["secret"] = json!([{"name": "A", "valueFrom": "a"}]),
        "Unknown parameter in containerDefinitions[0]: \"secret\", must be one of: name, image, ",
    )
    .await;
    crashes(
        |configuration| container(configuration)["portMappings"] = json!([{"containerPort": "8080"}]),
        "containerDefinitions[0].portMappings[0].containerPort, value: 8080, type: <class 'str'>",
    )
    .await;
    crashes(
        |configuration| configuration["task_run_request"]["taskDefinition"] = json!(7),
        "Invalid type for parameter taskDefinition, value: 7, type: <class 'int'>, valid types: <class 'str'>",
    )
    .await;
}

#[tokio::test]
async fn what_ecs_takes_arrives() {
    let scene = Scene::new().await;
    let ulimits = json!([{"name": "core", "softLimit": 0, "hardLimit": 0}]);
    template(&scene, |configuration| {
        container(configuration)["ulimits"] = ulimits.clone();
        configuration["task_run_request"]["tags"] = json!([{"key": "team"}]);
        container_override(configuration)["environment"] = json!([{"name": "EMPTY"}]);
    });
    let run = scene.run_with(json!({}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let sent = |operation: &str| sent(&scene, operation);
    assert_eq!(sent("RegisterTaskDefinition")["containerDefinitions"][0]["ulimits"], ulimits);
    let asked = sent("RunTask");
    assert_eq!(asked["tags"][0], json!({"key": "team"}));
    assert_eq!(asked["overrides"]["containerOverrides"][0]["environment"][0], json!({"name": "EMPTY"}));
    assert_eq!(environment(&scene.tasks()[0])["EMPTY"], Value::Null);
}

#[tokio::test]
async fn unknown_members_are_sent_where_the_agent_says_so() {
    let scene = Scene::with(json!({"unknown_members": "send"})).await;
    template(&scene, |configuration| {
        container(configuration)["newOfContainer"] = json!({"a": 1});
        configuration["task_run_request"]["newOfRequest"] = json!("x");
        configuration["task_run_request"]["tags"] = json!([{"key": "team", "newOfTag": true}]);
    });
    let run = scene.run_with(json!({}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let sent = |operation: &str| sent(&scene, operation);
    assert_eq!(sent("RegisterTaskDefinition")["containerDefinitions"][0]["newOfContainer"], json!({"a": 1}));
    let asked = sent("RunTask");
    assert_eq!((&asked["newOfRequest"], &asked["tags"][0]["newOfTag"]), (&json!("x"), &json!(true)));
}

#[tokio::test]
async fn a_name_that_no_tag_can_hold_fails_the_poll_and_no_run() {
    for (key, extra) in
        [("name", json!({"name": "w".repeat(257)})), ("work_pool", json!({"work_pool": "p".repeat(257)}))]
    {
        let scene = Scene::with(extra).await;
        let run = scene.run_with(json!({}));
        let report = report_in(&scene.deployment.poll_fails().await);
        let etl = agent(&report, "etl");
        assert_eq!((&etl["ok"], &etl["error_kind"]), (&json!(false), &json!("configuration")), "{report:#}");
        let expected = format!("`{key}`: found a text of 257 characters; allowed: at most 256 characters");
        assert!(etl["error"].as_str().unwrap().contains(&expected), "{report:#}");
        assert_eq!(scene.history(&run), ["Scheduled"]);
    }
}
