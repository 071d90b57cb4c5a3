//! Due runs become tasks: what is told of them, with how few requests, and in which order.

use super::scene::{Scene, environment, map};
use crate::support::{agent, ids, poll, run_of};
use serde_json::json;
use std::collections::BTreeSet;
use world::prefect3::{DeploymentSpec, PoolSpec, QueueSpec, RunSpec};

#[tokio::test]
async fn a_due_run_becomes_one_task_and_everyone_is_told() {
    let scene = Scene::with(json!({"name": "My worker"})).await;
    let run = scene.run(RunSpec { tags: vec!["nightly".into()], ..RunSpec::default() });
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), std::slice::from_ref(&run), "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    let flow_run = scene.flow_run(&run);
    assert_eq!(scene.history(&run), ["Scheduled", "Pending"]);
    assert_eq!(flow_run.infrastructure_pid, Some(format!("{}::{}", task.cluster_arn, task.arn)));
    assert_eq!(task.client_token, flow_run.state().unwrap().details.transition_id, "the token is the claim's id");
    assert_eq!(flow_run.labels["prefect.worker.name"], "My worker");
    let log = scene.deployment.world.prefect3_flow_run_logs(&run);
    assert_eq!(log, [format!("Submitted for execution: Task {}", task.arn)]);
    let variables = environment(&task);
    assert_eq!(
        (&variables["PREFECT__FLOW_RUN_ID"], &variables["PREFECT__WORKER_NAME"]),
        (&json!(run), &json!("My worker"))
    );
    scene.deployment.world.prefect3(|prefect3| {
        let [event, executed] = &prefect3.events[..] else { panic!("{:#?}", prefect3.events) };
        assert_eq!(event["event"], "prefect.worker.submitted-flow-run");
        assert_eq!(
            (&executed["event"], &executed["follows"]),
            (&json!("prefect.worker.executed-flow-run"), &event["id"])
        );
        let of_run = &executed["related"][2];
        assert_eq!(of_run["prefect.infrastructure.identifier"], json!(flow_run.infrastructure_pid));
        assert_eq!(of_run["prefect.infrastructure.status-code"], "0");
        let roles: Vec<_> = event["related"]
            .as_array()
            .unwrap()
            .iter()
            .map(|related| related["prefect.resource.role"].clone())
            .collect();
        assert_eq!(roles, ["deployment", "flow", "flow-run", "tag", "work-pool"]);
        assert_eq!(prefect3.workers[0].name, "My worker");
    });
}

#[tokio::test]
async fn an_idle_poll_asks_everything_at_once() {
    let scene = Scene::new().await;
    let function = scene.deployment.poll_function().await;
    scene.poll_by(&function).await;
    let before = scene.count("*");
    scene.deployment.world.latency(std::time::Duration::from_millis(200));
    let report = scene.poll_by(&function).await;
    assert_eq!((&report["ok"], &report["ready"]), (&json!(true), &json!(0)), "{report:#}");
    let asked = scene.deployment.world.requests("prefect3", "*").split_off(before);
    let operations: BTreeSet<_> = asked.iter().map(|request| request.operation.as_str()).collect();
    let expected = ["flow_runs/filter", "get_scheduled_flow_runs", "heartbeat", "read_work_pool"];
    assert_eq!((operations, asked.len()), (expected.into(), 6));
    let last_asked = asked.iter().map(|request| request.at_ms).fold(0.0, f64::max);
    let first_answered = asked.iter().filter_map(|request| request.answered_ms).fold(f64::MAX, f64::min);
    assert!(last_asked < first_answered, "one round trip: {asked:#?}");
}

#[tokio::test]
async fn a_hundred_launches_of_one_deployment_take_few_requests() {
    let scene = Scene::new().await;
    let runs = scene.runs(100);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched").len(), 100, "{report:#}");
    let started: BTreeSet<_> = scene.tasks().iter().map(run_of).collect();
    assert_eq!(started, runs.into_iter().collect());
    let labels = scene.count("labels");
    assert_eq!(labels, 100, "{:?}", operations(&scene));
    let launching = scene.count("*") - labels;
    assert!(launching <= 210, "{launching}: {:?}", operations(&scene));
    let aws = ["ecs", "ec2"].map(|service| scene.deployment.world.count(service, "*"));
    assert!(aws.iter().sum::<usize>() <= 105, "{aws:?}");
}

fn operations(scene: &Scene) -> std::collections::BTreeMap<String, usize> {
    let mut counted = std::collections::BTreeMap::new();
    for request in scene.deployment.world.requests("prefect3", "*") {
        *counted.entry(request.operation).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn runs_start_early_by_the_look_ahead_and_no_earlier() {
    let scene = Scene::with(json!({"prefetch_seconds": 30})).await;
    let soon = scene.run(RunSpec { start_in_seconds: 20.0, ..RunSpec::default() });
    scene.run(RunSpec { start_in_seconds: 300.0, ..RunSpec::default() });
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [soon], "{report:#}");
}

#[tokio::test]
async fn the_limit_holds_and_urgent_queues_come_first() {
    let scene = Scene::with(json!({"limit": 3})).await;
    let queues =
        |name: &str, priority| QueueSpec { name: name.into(), priority: Some(priority), ..QueueSpec::default() };
    scene.deployment.world.prefect3(|prefect3| {
        assert!(prefect3.work_pool(world::prefect3::POOL).is_some());
    });
    let slow = scene.runs(3);
    scene.deployment.world.prefect3_pool(PoolSpec {
        name: "two".into(),
        queues: vec![queues("urgent", 1), queues("slow", 5)],
        ..PoolSpec::default()
    });
    scene.agent("etl", json!({"limit": 3, "work_pool": "two"}));
    let of_queue = |queue: &str| {
        let spec = DeploymentSpec {
            name: queue.into(),
            work_pool: "two".into(),
            work_queue: Some(queue.into()),
            ..DeploymentSpec::default()
        };
        scene.deployment.world.prefect3_deployment(spec)
    };
    let (slow_one, urgent) = (of_queue("slow"), of_queue("urgent"));
    let run = |deployment: &str| scene.run(RunSpec { deployment: Some(deployment.into()), ..RunSpec::default() });
    let (late, first) = ([run(&slow_one), run(&slow_one)], [run(&urgent), run(&urgent)]);
    let report = scene.poll().await;
    let launched = ids(&report, "launched");
    assert_eq!(launched.len(), 3, "{report:#}");
    assert!(first.iter().all(|run| launched.contains(run)), "{report:#}");
    assert_eq!(launched.iter().filter(|run| late.contains(run)).count(), 1);
    assert!(slow.iter().all(|run| scene.state(run).name == "Scheduled"), "another pool's runs are none of ours");
}

#[tokio::test]
async fn a_paused_pool_gives_nothing_and_is_no_trouble() {
    let scene = Scene::new().await;
    scene.runs(1);
    scene.deployment.world.prefect3(|prefect3| prefect3.work_pools[0].is_paused = true);
    let report = scene.poll().await;
    assert_eq!((&report["ok"], &report["ready"]), (&json!(true), &json!(0)), "{report:#}");
}

#[tokio::test]
async fn pools_and_generations_are_served_side_by_side() {
    let scene = Scene::new().await;
    scene.deployment.world.prefect3_deployment(DeploymentSpec {
        name: "other".into(),
        work_pool: "other".into(),
        ..DeploymentSpec::default()
    });
    scene.agent("other", json!({"work_pool": "other"}));
    scene.deployment.agent("one", json!({}));
    let of_one = scene.deployment.schedule(world::prefect1::FlowRunSpec::default());
    let first = scene.run(RunSpec::default());
    let other = scene.deployment.world.prefect3(|prefect3| prefect3.deployments.last().unwrap().id.clone());
    let second = scene.run(RunSpec { deployment: Some(other), ..RunSpec::default() });
    let report = poll(&scene.deployment.poll_function().await).await;
    for (name, run) in [("etl", first), ("other", second), ("one", of_one)] {
        assert_eq!(ids(agent(&report, name), "launched"), [run], "{report:#}");
    }
    assert_eq!(scene.tasks().len(), 3);
}

#[tokio::test]
async fn job_variables_blocks_and_variables_find_their_way_into_the_task() {
    let scene = Scene::new().await;
    let world = &scene.deployment.world;
    world.prefect3_block(world::prefect3::BlockSpec {
        block_type: "secret".into(),
        name: "team".into(),
        data: map(json!({"value": "{{ prefect.variables.colour }}"})),
        secret_fields: vec!["value".into()],
        ..world::prefect3::BlockSpec::default()
    });
    world.prefect3_variable("colour", json!("blue"));
    let run = scene.run_with(json!({"env": {"TEAM": "{{ prefect.blocks.secret.team }}"}, "cpu": 2048, "memory": 4096}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(environment(&task)["TEAM"], "blue");
    assert_eq!(task.request["overrides"]["cpu"], "2048");
}
