//! A dry run writes nothing, and what it shows is what a poll then sends.

use super::process::{agent, end};
use crate::support::{Deployment, KEY, ROOT};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use world::prefect1::{FlowRunSpec, FlowSpec};

/// The operations that change nothing.
const READS: [&str; 10] = [
    "GetParametersByPath",
    "GetParameter",
    "DescribeTaskDefinition",
    "ListTaskDefinitions",
    "ListTasks",
    "DescribeVpcs",
    "DescribeSubnets",
    "auth_info",
    "flow_run",
    "standing",
];

/// The requests of a dry run, operation and body text. Panics when it wrote anything.
async fn rehearse(deployment: &Deployment) -> Vec<(String, String)> {
    let before = deployment.world.count("*", "*");
    let ended = end(agent(deployment, &format!("poll --root {ROOT} --dry-run --json"))).await.well();
    for request in &deployment.world.requests("*", "*")[before..] {
        assert!(READS.contains(&request.operation.as_str()), "a dry run sent {} {}", request.operation, request.body);
    }
    assert!(!ended.stdout.contains(KEY) && !ended.stderr.contains(KEY), "{ended:?}");
    let shown = ended.json();
    assert_eq!((&shown["dry_run"], &shown["agents"]["etl"]["ok"]), (&json!(true), &json!(true)), "{shown:#}");
    let requests = shown["requests"].as_array().unwrap().iter();
    requests.map(|request| (request["operation"].as_str().unwrap().to_owned(), request["body"].to_string())).collect()
}

/// The bodies that a real poll then sends, with secrets blanked, in the order of `operations`.
async fn perform(deployment: &Deployment, operations: &[(&str, &str)]) -> Vec<String> {
    let count = |(service, operation): &(&str, &str)| deployment.world.count(service, operation);
    let before: Vec<usize> = operations.iter().map(count).collect();
    end(agent(deployment, &format!("poll --root {ROOT}"))).await.well();
    let sent = operations.iter().zip(before).map(|((service, operation), before)| {
        let requests = deployment.world.requests(service, operation);
        assert_eq!(requests.len(), before + 1, "{operation}");
        requests[before].body.replace(KEY, "[redacted]")
    });
    sent.collect()
}

/// A run of always the same flow.
fn run() -> FlowRunSpec {
    FlowRunSpec {
        flow: FlowSpec { id: Some("8d2a4f3e-53c7-4f5c-9a52-a4a7d8e1f001".into()), ..FlowSpec::default() },
        ..FlowRunSpec::default()
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_shows_byte_for_byte_what_a_poll_then_sends() {
    let deployment = Deployment::with_agent(json!({"api_key_delivery": "environment", "max_polls": 9})).await;
    let first = deployment.schedule(run());
    let planned = rehearse(&deployment).await;
    let operations: Vec<&str> = planned.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["RegisterTaskDefinition", "claim", "RunTask", "log"]);
    assert!(planned[2].1.contains("[redacted]"), "the key goes into the environment: {}", planned[2].1);
    assert_eq!(deployment.state_of(&first), "Scheduled");
    let sent = perform(
        &deployment,
        &[
            ("ecs", "RegisterTaskDefinition"),
            ("prefect1", "set_flow_run_states"),
            ("ecs", "RunTask"),
            ("prefect1", "write_run_logs"),
        ],
    )
    .await;
    assert_eq!(planned[0].1, sent[0]);
    assert_eq!(planned[1].1, sent[1]);
    // Names that only an answer tells stand in brackets.
    let real: Value = serde_json::from_str(&sent[2]).unwrap();
    let definition = real["taskDefinition"].as_str().unwrap();
    assert_eq!(planned[2].1.replace("[the ARN of the new revision of prefect-my-flow]", definition), sent[2]);
    let task = &deployment.world.ecs_tasks()[0].arn;
    assert_eq!(planned[3].1.replace("[the task's ARN]", task), sent[3]);

    // The next run of the flow finds the definition: every byte is known.
    deployment.schedule(run());
    let planned = rehearse(&deployment).await;
    let operations: Vec<&str> = planned.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["claim", "RunTask", "log"]);
    let sent = perform(&deployment, &[("prefect1", "set_flow_run_states"), ("ecs", "RunTask")]).await;
    assert_eq!([&planned[0].1, &planned[1].1], [&sent[0], &sent[1]]);
    assert_eq!(deployment.world.parameter(&format!("{ROOT}/state/etl/polls")).unwrap().version, 2, "two real polls");
}

#[tokio::test]
async fn a_dry_run_shows_held_launches_without_holding_them_and_failures_too() {
    let deployment = Deployment::with_agent(json!({})).await;
    let held = deployment.schedule(FlowRunSpec { start_in_seconds: 45.0, ..run() });
    let storage = json!({"type": "Nowhere"});
    let broken = FlowRunSpec { flow: FlowSpec { storage, ..FlowSpec::default() }, ..FlowRunSpec::default() };
    let broken = deployment.schedule(broken);
    let started = Instant::now();
    let ended = end(agent(&deployment, &format!("poll --root {ROOT} --dry-run"))).await.well();
    assert!(started.elapsed() < Duration::from_secs(20), "it must not wait for the start");
    let headings: Vec<&str> = ended.stdout.lines().filter(|line| line.contains(". etl: ")).collect();
    let expected = [
        "1. etl: prefect claim",
        "2. etl: prefect fail",
        "3. etl: prefect log",
        "4. etl: ecs RegisterTaskDefinition",
        "5. etl: prefect claim, not before 20",
        "6. etl: ecs RunTask, not before 20",
        "7. etl: prefect log, not before 20",
    ];
    assert_eq!(headings.len(), expected.len(), "{}", ended.stdout);
    for (heading, expected) in headings.iter().zip(expected) {
        assert!(heading.starts_with(expected), "{heading}: {}", ended.stdout);
    }
    assert!(ended.stdout.starts_with("Dry run: nothing was written. Next, 7 requests would be sent:"));
    let table: Vec<&str> = ended.stdout.lines().filter(|line| line.contains(" etl ")).collect();
    assert!(table.iter().any(|line| line.starts_with(&held) && line.contains("launched")), "{table:?}");
    assert!(table.iter().any(|line| line.starts_with(&broken) && line.contains("failed")), "{table:?}");
    assert_eq!((deployment.state_of(&held), deployment.state_of(&broken)), ("Scheduled".into(), "Scheduled".into()));
}

#[tokio::test]
async fn a_dry_run_of_an_agent_that_has_had_its_polls_says_so() {
    let deployment = Deployment::with_agent(json!({"max_polls": 1})).await;
    end(agent(&deployment, &format!("poll --root {ROOT}"))).await.well();
    deployment.schedule(run());
    let ended = end(agent(&deployment, &format!("poll --root {ROOT} --dry-run"))).await.well();
    assert!(ended.stdout.contains("nothing would be sent next") && ended.stdout.contains("stopped"), "{ended:?}");
    assert!(ended.stderr.contains("raise max_polls"), "{ended:?}");
}
