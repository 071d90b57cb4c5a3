//! Answers of ECS that say less than they should: they are no verdict.

use crate::support::{Deployment, agent, ids, poll, reason};
use serde_json::json;
use std::time::Duration;
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind, World};

/// What `RunTask` answers after it started the task.
pub(crate) const SAY_NOTHING: [&str; 6] = [
    r#"{"tasks": [], "failures": []}"#,
    r#"{"tasks": []}"#,
    r#"{"failures": []}"#,
    r#"{"failures": [{"reason": "RESOURCE:MEMORY"}]}"#,
    r#"{"tasks": [{"lastStatus": "PROVISIONING"}], "failures": []}"#,
    r#"{"tasks": null, "failures": null}"#,
];

/// The request has its effect, and is answered with this.
pub(crate) fn answer(operation: &str, body: &str) -> Fault {
    let content_type = "application/x-amz-json-1.1".to_owned();
    Fault::new("ecs", operation, FaultKind::StatusAfter { status: 200, body: body.to_owned(), content_type })
}

/// The ECS of this world refuses what its documentation forbids.
fn holds_to_its_documentation(world: &World) {
    world.lock().ecs.options.lists_stopped_by_started_by = false;
}

#[tokio::test]
async fn a_launch_that_is_answered_with_nothing_is_asked_about_and_never_fails_the_run() {
    for body in SAY_NOTHING {
        for always in [false, true] {
            let deployment = Deployment::with_agent(json!({})).await;
            let run = deployment.schedule(FlowRunSpec::default());
            let fault = answer("RunTask", body);
            deployment.world.fault(if always { fault.always() } else { fault });
            let report = deployment.poll().await;
            let etl = agent(&report, "etl");
            assert_eq!(ids(etl, "launched"), std::slice::from_ref(&run), "{body}, {always}: {report:#}");
            let tasks = deployment.world.ecs_tasks();
            assert_eq!(etl["launched"][0]["task_arn"], json!(tasks[0].arn), "{body}, {always}");
            assert_eq!((tasks.len(), deployment.state_of(&run).as_str()), (1, "Submitted"), "{body}, {always}");
            // Replayed first; only what no replay says is looked up.
            let (sent, listed) = (deployment.world.count("ecs", "RunTask"), deployment.world.count("ecs", "ListTasks"));
            assert_eq!((sent, listed > 0), if always { (3, true) } else { (2, false) }, "{body}");
        }
    }
}

#[tokio::test]
async fn failures_beside_an_empty_list_of_tasks_are_a_refusal() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let refusal = r#"{"tasks": [], "failures": [{"arn": "arn:i", "reason": "RESOURCE:MEMORY"}]}"#;
    let content_type = "application/x-amz-json-1.1".to_owned();
    let kind = FaultKind::Status { status: 200, body: refusal.to_owned(), content_type };
    deployment.world.fault(Fault::new("ecs", "RunTask", kind));
    let report = deployment.poll().await;
    assert!(reason(agent(&report, "etl"), "deferred", &run).contains("RESOURCE:MEMORY"), "{report:#}");
    assert_eq!((deployment.world.count("ecs", "RunTask"), deployment.state_of(&run).as_str()), (1, "Scheduled"));
}

/// A run that was launched, and that Prefect gave out again while its task runs on.
async fn given_out_again(deployment: &Deployment, function: &world::LambdaProcess, status: &str) -> String {
    let run = deployment.schedule(FlowRunSpec::default());
    poll(function).await;
    let task = deployment.world.ecs_tasks()[0].arn.clone();
    deployment.world.ecs_set_status(&task, status);
    deployment.world.set_flow_run_state(&run, &json!({"type": "Scheduled", "message": "By Lazarus."})).unwrap();
    // Prefect Server refuses another claim of a run for half a minute.
    deployment.world.advance(Duration::from_secs(31));
    run
}

#[tokio::test]
async fn where_ecs_lists_no_stopped_tasks_by_started_by_launches_go_on_with_one_warning() {
    let deployment = Deployment::with_agent(json!({})).await;
    holds_to_its_documentation(&deployment.world);
    let function = deployment.poll_function().await;
    let run = given_out_again(&deployment, &function, "STOPPED").await;
    let report = poll(&function).await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "launched"), &etl["ok"]), (vec![run], &json!(true)), "{report:#}");
    let warnings = etl["warnings"].as_array().unwrap();
    let told =
        warnings.iter().filter(|warning| warning.as_str().unwrap().contains("startedBy must be the only filter"));
    assert_eq!(told.count(), 1, "{report:#}");
}

#[tokio::test]
async fn what_is_to_run_is_seen_without_the_list_of_stopped_tasks() {
    let deployment = Deployment::with_agent(json!({})).await;
    holds_to_its_documentation(&deployment.world);
    let function = deployment.poll_function().await;
    let run = given_out_again(&deployment, &function, "PENDING").await;
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
    assert_eq!(deployment.world.ecs_tasks().len(), 1, "adopted");
}

#[tokio::test]
async fn a_refused_list_of_running_tasks_fails_the_poll_and_no_run() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = deployment.poll_function().await;
    let run = given_out_again(&deployment, &function, "STOPPED").await;
    let kind = FaultKind::AwsError {
        status: 400,
        code: "InvalidParameterException".to_owned(),
        message: "startedBy must be the only filter.".to_owned(),
    };
    deployment.world.fault(Fault::new("ecs", "ListTasks", kind).always());
    let error = function.invoke(json!({}), Duration::from_secs(40)).await.unwrap_err();
    assert!(error.error_message.contains("startedBy must be the only filter"), "{error:?}");
    assert_eq!(deployment.state_of(&run), "Scheduled");
    deployment.world.lock().faults.clear();
    assert_eq!(ids(agent(&poll(&function).await, "etl"), "launched"), [run]);
}
