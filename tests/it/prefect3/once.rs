//! Whoever polls at the same time: every run has one task.

use super::scene::Scene;
use crate::support::{DEADLINE, ids, poll, run_of};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn assert_once(scene: &Scene, runs: Vec<String>, reports: &[Value]) {
    let tasks = scene.tasks();
    let started: BTreeSet<_> = tasks.iter().map(run_of).collect();
    assert_eq!(tasks.len(), runs.len(), "one task each: {reports:#?}");
    assert_eq!(started, runs.iter().cloned().collect());
    let agents = || reports.iter().flat_map(|report| report["agents"].as_object().unwrap().values());
    let told: Vec<_> = agents().flat_map(|agent| ids(agent, "launched")).collect();
    assert_eq!((told.len(), told.iter().cloned().collect::<BTreeSet<_>>()), (runs.len(), runs.into_iter().collect()));
    assert!(agents().all(|agent| agent["ok"] == true && ids(agent, "failed").is_empty()), "{reports:#?}");
}

#[tokio::test]
async fn overlapping_invocations_launch_every_run_once() {
    let scene = Scene::new().await;
    scene.deployment.world.latency(Duration::from_millis(50));
    let runs = scene.runs(40);
    let functions = join_all((0..4).map(|_| scene.deployment.poll_function())).await;
    for function in &functions {
        function.ready(DEADLINE).await.unwrap();
    }
    let reports = join_all(functions.iter().map(poll)).await;
    assert_once(&scene, runs, &reports);
}

#[tokio::test]
async fn two_agents_on_one_pool_launch_every_run_once() {
    let scene = Scene::new().await;
    scene.agent("two", json!({}));
    scene.deployment.world.latency(Duration::from_millis(20));
    let runs = scene.runs(40);
    let report = scene.deployment.poll().await;
    assert_once(&scene, runs, &[report]);
}

#[tokio::test]
async fn a_second_poll_finds_nothing_left() {
    let scene = Scene::new().await;
    let runs = scene.runs(5);
    let function = scene.deployment.poll_function().await;
    let reports = [poll(&function).await, poll(&function).await];
    assert_eq!(reports[1]["agents"]["etl"]["ready"], 0);
    assert_once(&scene, runs, &reports);
}
