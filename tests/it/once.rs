//! Whoever polls at the same time: every run has one task.

use crate::support::{DEADLINE, Deployment, agent, ids, poll, run_of};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use world::LambdaProcess;
use world::prefect1::FlowRunSpec;

/// Every run was launched exactly once, and by whom is told exactly once.
fn assert_once(deployment: &Deployment, runs: &[String], reports: &[Value]) {
    let tasks = deployment.world.ecs_tasks();
    let started: BTreeSet<_> = tasks.iter().map(run_of).collect();
    assert_eq!(started, runs.iter().cloned().collect(), "every run has a task");
    assert_eq!(tasks.len(), runs.len(), "and only one: {reports:#?}");
    let agents = || reports.iter().flat_map(|report| report["agents"].as_object().unwrap().values());
    let mut told: Vec<_> = agents().flat_map(|agent| ids(agent, "launched")).collect();
    told.sort();
    let mut runs = runs.to_vec();
    runs.sort();
    assert_eq!(told, runs, "{reports:#?}");
    for agent in agents() {
        assert_eq!(agent["ok"], true, "losing a race is no error: {agent:#}");
        assert!(ids(agent, "failed").is_empty(), "{agent:#}");
    }
}

#[tokio::test]
async fn overlapping_invocations_launch_every_run_once() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    // Long enough that all of them have seen the runs before anyone has claimed them.
    deployment.world.latency(Duration::from_millis(50));
    let runs = deployment.schedule_many(40);
    let functions: Vec<LambdaProcess> = join_all((0..5).map(|_| deployment.poll_function())).await;
    for function in &functions {
        function.ready(DEADLINE).await.unwrap();
    }
    let reports = join_all(functions.iter().map(poll)).await;
    assert_once(&deployment, &runs, &reports);
}

#[tokio::test]
async fn two_agents_on_one_queue_launch_every_run_once() {
    let deployment = Deployment::empty().await;
    deployment.agent("one", json!({"launch_rate": null}));
    deployment.agent("two", json!({"launch_rate": null}));
    let runs = deployment.schedule_many(40);
    let report = deployment.poll().await;
    assert_once(&deployment, &runs, &[report]);
}

#[tokio::test]
async fn overlapping_invocations_that_hold_the_same_runs_launch_each_once() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    let soon = || FlowRunSpec { start_in_seconds: 1.2, ..FlowRunSpec::default() };
    let runs: Vec<_> = (0..10).map(|_| deployment.schedule(soon())).collect();
    let functions = [deployment.poll_function().await, deployment.poll_function().await];
    let reports = join_all(functions.iter().map(poll)).await;
    assert_once(&deployment, &runs, &reports);
}

#[tokio::test]
async fn a_server_that_checks_versions_is_content() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    deployment.world.prefect1(|prefect1| prefect1.switches.version_locking = true);
    let runs = deployment.schedule_many(5);
    let refused = json!({"type": "ECSRun", "cpu": "3 vcpu", "memory": "1 GB", "__version__": "1.4.1"});
    let bad = deployment.schedule(FlowRunSpec { run_config: refused, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), runs.len(), "{report:#}");
    assert_eq!(deployment.state_of(&bad), "Failed", "the claim changed the version: {report:#}");
}

#[tokio::test]
async fn a_second_poll_finds_nothing_left() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    let runs = deployment.schedule_many(10);
    let function = deployment.poll_function().await;
    let first = poll(&function).await;
    let second = poll(&function).await;
    assert_eq!(agent(&second, "etl")["ready"], 0, "{second:#}");
    assert_once(&deployment, &runs, &[first, second]);
}

#[tokio::test]
async fn agents_that_both_pass_prefects_lock_share_one_task() {
    let deployment = Deployment::empty().await;
    // A lock that holds nobody: both claims are accepted.
    deployment.world.prefect1(|prefect1| prefect1.switches.submitted_lock_seconds = 0.0);
    deployment.world.latency(Duration::from_millis(50));
    for name in ["one", "two"] {
        deployment.agent(name, json!({"launch_rate": null}));
    }
    let runs = deployment.schedule_many(10);
    deployment.poll().await;
    let tasks = deployment.world.ecs_tasks();
    assert_eq!(tasks.len(), runs.len(), "the token names the run's turn, not the agent");
    assert_eq!(tasks.iter().map(run_of).collect::<BTreeSet<_>>(), runs.into_iter().collect());
}
