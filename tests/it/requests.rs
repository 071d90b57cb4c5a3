//! Few requests, and no faster than allowed.

use crate::support::{Deployment, agent, ids, poll};
use serde_json::json;
use world::prefect1::{FlowRunSpec, FlowSpec};

#[tokio::test]
async fn a_hundred_runs_of_one_flow_cost_a_hundred_and_twenty_requests_at_most() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    deployment.schedule_many(100);
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 100);
    assert_eq!(deployment.world.ecs_tasks().len(), 100);
    let counts: Vec<_> = ["prefect1", "ecs", "ec2", "ssm"]
        .map(|service| (service, deployment.world.count(service, "*")))
        .into_iter()
        .collect();
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    assert!(all <= 120, "{all} requests: {counts:?}");
    assert_eq!(deployment.world.count("*", "*"), all, "nothing else was asked");
    assert_eq!(deployment.world.count("ecs", "RegisterTaskDefinition"), 1);
    assert_eq!(deployment.world.count("prefect1", "set_flow_run_states"), 1, "claims go together");
    assert_eq!(deployment.world.count("prefect1", "write_run_logs"), 1, "logs too");
}

#[tokio::test]
async fn a_hundred_flows_are_launched_in_one_poll_too() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    for number in 0..100 {
        let flow = FlowSpec { name: format!("flow {number}"), ..FlowSpec::default() };
        deployment.schedule(FlowRunSpec { flow, ..FlowRunSpec::default() });
    }
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 100, "{report:#}");
    assert_eq!(deployment.world.count("ecs", "RegisterTaskDefinition"), 100);
}

#[tokio::test]
async fn an_idle_cold_start_asks_for_little() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.poll().await;
    deployment.world.lock().journal.clear();
    deployment.poll().await;
    let asked: Vec<_> =
        deployment.world.requests("*", "*").into_iter().map(|request| (request.service, request.operation)).collect();
    assert_eq!(deployment.world.count("prefect1", "*"), 3, "side by side: {asked:?}");
    assert_eq!(
        deployment.world.count("ssm", "*"),
        4,
        "configuration, secrets, state; the status at the end: {asked:?}"
    );
    assert_eq!(asked.len(), 7, "{asked:?}");
}

/// The largest number of `RunTask` calls within any second.
fn most_in_a_second(deployment: &Deployment) -> usize {
    let at: Vec<f64> = deployment.world.requests("ecs", "RunTask").iter().map(|request| request.at_ms).collect();
    // What was sent a second apart may arrive closer together on a busy machine.
    at.iter().map(|start| at.iter().filter(|other| (*start..start + 700.0).contains(*other)).count()).max().unwrap()
}

#[tokio::test]
async fn launch_rate_bounds_the_bursts() {
    let deployment = Deployment::with_agent(json!({"launch_rate": 25})).await;
    deployment.schedule_many(70);
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 70);
    // What is sent evenly may arrive in small heaps on a busy machine.
    assert!(most_in_a_second(&deployment) <= 35, "{} in a second", most_in_a_second(&deployment));
    let duration = agent(&report, "etl")["duration_ms"].as_u64().unwrap();
    assert!(duration >= 1_700, "after a first second's worth, 45 more take their time: {duration} ms");
    assert!(agent(&report, "etl")["duration_ms"].as_u64().unwrap() < 15_000, "and it is used: {report:#}");
}

#[tokio::test]
async fn launch_rate_holds_across_polls_of_a_warm_function() {
    let deployment = Deployment::with_agent(json!({"launch_rate": 10})).await;
    let function = deployment.poll_function().await;
    for _ in 0..3 {
        deployment.schedule_many(8);
        poll(&function).await;
    }
    assert!(most_in_a_second(&deployment) <= 14, "{} in a second", most_in_a_second(&deployment));
}

#[tokio::test]
async fn an_account_that_throttles_gets_its_time_and_nothing_is_lost() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    deployment.world.lock().ecs.options.run_task_rate = Some(20.0);
    let runs = deployment.schedule_many(60);
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    let (launched, deferred) = (ids(etl, "launched"), ids(etl, "deferred"));
    assert_eq!(deployment.world.ecs_tasks().len(), launched.len());
    assert!(launched.len() >= 20 && !deferred.is_empty(), "the quota is less than was asked for: {report:#}");
    assert_eq!(launched.len() + deferred.len(), runs.len(), "no run fails for it: {report:#}");
    assert!(etl["throttled"].as_u64().unwrap() >= 1 && etl["ok"] == true, "{report:#}");
    for run in deferred {
        let run = deployment.world.flow_run(&run).unwrap();
        assert_eq!(run.history(), ["Scheduled", "Submitted", "Scheduled"]);
        let again = run.current().unwrap().start_time().unwrap();
        let soon = deployment.world.lock().now() + time::Duration::seconds(20);
        assert!(again > soon, "not before Prefect lets it be claimed again");
    }
}
