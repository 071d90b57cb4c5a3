//! `max_polls`: never one poll more, however many invocations overlap.

use crate::support::{DEADLINE, Deployment, ROOT, agent, poll};
use futures_util::future::join_all;
use serde_json::{Value, json};
use world::route::Scope;
use world::{LambdaProcess, World};

fn polls(world: &World) -> usize {
    world.count("prefect1", "get_runs_in_queue")
}

fn counter() -> String {
    format!("{ROOT}/state/etl/polls")
}

async fn health_of(deployment: &Deployment) -> Value {
    let function = deployment.options("health").start().await.unwrap();
    let context = json!({"http": {"method": "GET"}, "authorizer": {"iam": {}}});
    let event = json!({"rawPath": "/api/health", "headers": {}, "requestContext": context});
    let answer = function.invoke(event, DEADLINE).await.unwrap();
    serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap()["agents"]["etl"].clone()
}

#[tokio::test]
async fn ten_invocations_at_once_make_exactly_five_polls() {
    let deployment = Deployment::with_agent(json!({"max_polls": 5})).await;
    let functions: Vec<LambdaProcess> = join_all((0..10).map(|_| deployment.poll_function())).await;
    for function in &functions {
        function.ready(DEADLINE).await.unwrap();
    }
    let reports = join_all(functions.iter().map(poll)).await;
    assert_eq!(polls(&deployment.world), 5);
    let of = |key: &str| reports.iter().map(|report| agent(report, "etl")[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("stopped").iter().filter(|stopped| **stopped == json!(true)).count(), 5, "{reports:#?}");
    let mut numbers: Vec<_> = reports
        .iter()
        .filter(|report| agent(report, "etl")["stopped"] == json!(false))
        .map(|report| agent(report, "etl")["poll"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(health_of(&deployment).await["status"], "stopped");
}

#[tokio::test]
async fn a_warm_function_stops_too() {
    let deployment = Deployment::with_agent(json!({"max_polls": 2})).await;
    let function = deployment.poll_function().await;
    let mut stopped = Vec::new();
    for _ in 0..4 {
        stopped.push(agent(&poll(&function).await, "etl")["stopped"].clone());
    }
    assert_eq!(stopped, [json!(false), json!(false), json!(true), json!(true)]);
    assert_eq!(polls(&deployment.world), 2);
    assert_eq!(deployment.world.parameter(&counter()).unwrap().version, 2, "a stopped agent writes no number");
}

#[tokio::test]
async fn deleting_the_counter_starts_again() {
    let deployment = Deployment::with_agent(json!({"max_polls": 1})).await;
    let function = deployment.poll_function().await;
    poll(&function).await;
    poll(&function).await;
    assert!(deployment.world.lock().ssm.delete(&Scope::default(), &counter()));
    assert_ne!(health_of(&deployment).await["status"], "stopped", "it is free to poll again");
    let report = poll(&function).await;
    assert_eq!((&agent(&report, "etl")["stopped"], &agent(&report, "etl")["poll"]), (&json!(false), &json!(1)));
    assert_eq!(polls(&deployment.world), 2);
}

#[tokio::test]
async fn raising_max_polls_goes_on_and_lowering_it_stops() {
    let deployment = Deployment::with_agent(json!({"max_polls": 1})).await;
    deployment.poll().await;
    deployment.agent("etl", json!({"max_polls": 3}));
    let report = deployment.poll().await;
    assert_eq!(agent(&report, "etl")["poll"], 2);
    deployment.agent("etl", json!({"max_polls": 1}));
    let report = deployment.poll().await;
    assert_eq!(agent(&report, "etl")["stopped"], true);
    assert_eq!(health_of(&deployment).await["status"], "stopped");
    assert_eq!(polls(&deployment.world), 2);
}

#[tokio::test]
async fn no_polls_at_all_are_no_polls_at_all() {
    let deployment = Deployment::with_agent(json!({"max_polls": 0})).await;
    let report = deployment.poll().await;
    assert_eq!(agent(&report, "etl")["stopped"], true);
    assert_eq!(polls(&deployment.world), 0);
    assert!(deployment.world.parameter(&counter()).is_none());
    assert_eq!(health_of(&deployment).await["status"], "stopped");
}

#[tokio::test]
async fn a_counter_that_cannot_be_used_means_no_poll_and_an_error() {
    let deployment = Deployment::with_agent(json!({"max_polls": 5})).await;
    let denied = world::FaultKind::AwsError {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "User is not authorized to perform ssm:PutParameter".into(),
    };
    deployment.world.fault(world::Fault::new("ssm", "PutParameter", denied).always().when_body_contains("/polls"));
    let report = crate::support::report_in(&deployment.poll_fails().await);
    assert_eq!(agent(&report, "etl")["error_kind"], "parameter-store", "{report:#}");
    assert_eq!(polls(&deployment.world), 0);
}

#[tokio::test]
async fn a_number_whose_answer_was_lost_is_not_taken_twice() {
    let deployment = Deployment::with_agent(json!({"max_polls": 3})).await;
    deployment
        .world
        .fault(world::Fault::new("ssm", "PutParameter", world::FaultKind::DropAfter).when_body_contains("/polls"));
    let report = deployment.poll().await;
    assert_eq!(agent(&report, "etl")["poll"], 1, "{report:#}");
    assert_eq!(deployment.world.parameter(&counter()).unwrap().version, 1);
    assert_eq!(polls(&deployment.world), 1);
}
