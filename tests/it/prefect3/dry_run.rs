//! A dry run of an agent that serves a work pool writes nothing, and what it shows is what a poll then sends.

use super::scene::Scene;
use crate::command::process::{agent, end};
use crate::support::ROOT;
use serde_json::{Value, json};
use world::prefect3::RunSpec;

/// The operations that change nothing.
const READS: [&str; 12] = [
    "GetParametersByPath",
    "GetParameter",
    "GetCallerIdentity",
    "DescribeTaskDefinition",
    "ListTaskDefinitions",
    "DescribeVpcs",
    "DescribeSubnets",
    "read_work_pool",
    "get_scheduled_flow_runs",
    "flow_runs/filter",
    "flows/filter",
    "deployments/filter",
];

/// A body without what names the process.
fn without_session(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(mark) = body["state"]["data"]["prefect_serverless_agent"].as_object_mut() {
        mark.remove("session");
    }
    body
}

#[tokio::test]
async fn it_writes_nothing_and_shows_what_a_poll_then_sends() {
    let scene = Scene::with(json!({"api_key_delivery": "environment"})).await;
    scene.secret("api-key", "pnu_fakekey");
    scene.deployment.world.prefect3(|prefect3| prefect3.work_pools[0].base_job_template.clear());
    let run = scene.run(RunSpec::default());
    let world = &scene.deployment.world;
    let before = world.count("*", "*");
    let ended = end(agent(&scene.deployment, &format!("poll --root {ROOT} --dry-run --json"))).await.well();
    for request in &world.requests("*", "*")[before..] {
        assert!(READS.contains(&request.operation.as_str()), "a dry run sent {} {}", request.line, request.body);
    }
    assert!(!ended.stdout.contains("pnu_fakekey") && !ended.stderr.contains("pnu_fakekey"), "{ended:?}");
    let planned = ended.json()["requests"].as_array().unwrap().clone();
    let operations: Vec<_> = planned.iter().map(|request| request["operation"].as_str().unwrap()).collect();
    let expected = ["RegisterTaskDefinition", "claim", "RunTask", "record-task", "log", "announce", "announce"];
    assert_eq!(operations, expected);
    let claim = &planned[1]["body"];
    assert_eq!(claim["path"], format!("/flow_runs/{run}/set_state"));

    scene.poll().await;
    let sent = world.requests("prefect3", "set_state")[0].json();
    assert_eq!(without_session(&sent), without_session(&claim["body"]));
    let run_task = world.requests("ecs", "RunTask")[0].json();
    assert_eq!(run_task["clientToken"], planned[2]["body"]["clientToken"]);
}

#[tokio::test]
async fn a_run_that_can_never_be_launched_is_shown_as_claimed_and_ended() {
    let scene = Scene::new().await;
    let run = scene.run_with(json!({"env": {"X": "{{ prefect.blocks.secret.gone }}"}}));
    let ended = end(agent(&scene.deployment, &format!("poll --root {ROOT} --dry-run --json"))).await.well();
    let planned = ended.json()["requests"].as_array().unwrap().clone();
    let operations: Vec<_> = planned.iter().map(|request| request["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["claim", "fail", "log"], "the claim that it overwrites was only shown");
    scene.poll().await;
    let sent: Vec<_> =
        scene.deployment.world.requests("prefect3", "set_state").iter().map(world::Request::json).collect();
    assert_eq!((sent.len(), &sent[1]), (2, &planned[1]["body"]["body"]));
    assert_eq!(scene.history(&run), ["Scheduled", "Pending", "Crashed"]);
}
