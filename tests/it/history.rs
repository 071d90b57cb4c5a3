//! Runs that come again: with a task from before, and Running ones whose tasks are to be retried.

use crate::support::{Deployment, agent, ids, poll, reason};
use serde_json::{Value, json};
use world::LambdaProcess;
use world::prefect1::{FlowRunSpec, TaskRunSpec};

/// A run that was launched once and that Prefect then gave out again.
async fn launched_and_given_out_again(status: &str) -> (Deployment, LambdaProcess, String, String) {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let function = deployment.poll_function().await;
    poll(&function).await;
    let task = deployment.world.ecs_tasks()[0].arn.clone();
    deployment.world.ecs_set_status(&task, status);
    again(&deployment, &run);
    (deployment, function, run, task)
}

/// Prefect schedules a run again, as its Lazarus service does.
fn again(deployment: &Deployment, run: &str) {
    deployment
        .world
        .set_flow_run_state(run, &json!({"type": "Scheduled", "message": "Rescheduled by a Lazarus process."}))
        .unwrap();
    // Prefect Server refuses another claim of a run for half a minute.
    deployment.world.advance(std::time::Duration::from_secs(31));
}

#[tokio::test]
async fn a_task_that_still_waits_is_adopted() {
    let (deployment, function, run, task) = launched_and_given_out_again("PENDING").await;
    let report = poll(&function).await;
    let launched = agent(&report, "etl")["launched"].as_array().unwrap();
    assert!(launched.len() == 1 && launched[0]["late_ms"].is_u64(), "{report:#}");
    let [id, arn, adopted] = ["flow_run_id", "task_arn", "adopted"].map(|key| &launched[0][key]);
    assert_eq!((id, arn, adopted), (&json!(run), &json!(task), &json!(true)), "{report:#}");
    assert_eq!(deployment.world.ecs_tasks().len(), 1);
    assert_eq!(deployment.state_of(&run), "Submitted");
}

#[tokio::test]
async fn a_task_that_runs_is_stopped_and_the_run_launched_once_it_has() {
    let (deployment, function, run, task) = launched_and_given_out_again("RUNNING").await;
    let report = poll(&function).await;
    assert!(reason(agent(&report, "etl"), "deferred", &run).contains(&task), "{report:#}");
    assert_eq!(deployment.world.ecs_tasks().len(), 1, "not while the other one lives");
    assert_eq!(deployment.world.ecs_tasks()[0].desired_status, "STOPPED");
    assert_eq!(deployment.state_of(&run), "Scheduled");

    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    let tasks = deployment.world.ecs_tasks();
    assert_eq!(tasks.len(), 2);
    assert_ne!(tasks[0].client_token, tasks[1].client_token, "a new turn has a new token");
}

#[tokio::test]
async fn a_task_that_takes_its_time_to_stop_is_waited_for() {
    let (deployment, function, run, task) = launched_and_given_out_again("RUNNING").await;
    poll(&function).await;
    deployment.world.ecs_set_status(&task, "DEACTIVATING");
    let report = poll(&function).await;
    assert!(reason(agent(&report, "etl"), "deferred", &run).contains(&task), "{report:#}");
    assert_eq!(deployment.world.ecs_tasks().len(), 1, "it may still run the flow");
    assert_eq!(deployment.world.count("ecs", "StopTask"), 1, "once is enough");

    deployment.world.ecs_set_status(&task, "STOPPED");
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
}

#[tokio::test]
async fn a_task_that_stopped_is_no_obstacle() {
    let (deployment, function, run, _) = launched_and_given_out_again("STOPPED").await;
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    assert_eq!(deployment.world.ecs_tasks().len(), 2);
}

#[tokio::test]
async fn a_run_without_history_is_not_looked_for_at_ecs() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    assert_eq!(deployment.world.count("ecs", "ListTasks"), 0);
}

/// A Running run of which two task runs are due to be retried, one is not yet, and one runs.
fn with_task_retries() -> FlowRunSpec {
    let retrying = |seconds: i64| {
        let start = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let start = start.format(&time::format_description::well_known::Rfc3339).unwrap();
        json!({"type": "Retrying", "message": "Retrying.", "start_time": start, "run_count": 1})
    };
    let task_run = |state: Value| TaskRunSpec { state, version: Some(4), ..TaskRunSpec::default() };
    FlowRunSpec {
        state: json!("Running"),
        version: Some(3),
        start_in_seconds: -600.0,
        task_runs: vec![
            task_run(retrying(-60)),
            task_run(retrying(-30)),
            task_run(retrying(300)),
            task_run(json!("Running")),
        ],
        ..FlowRunSpec::default()
    }
}

#[tokio::test]
async fn due_task_retries_are_claimed_and_their_run_gets_a_task() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(with_task_retries());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), std::slice::from_ref(&run), "{report:#}");
    let run = deployment.world.flow_run(&run).unwrap();
    assert_eq!(run.state(), "Running", "the run itself stays as it is");
    let states: Vec<_> = run.task_runs.iter().map(|task_run| task_run.state().to_owned()).collect();
    assert_eq!(states, ["Submitted", "Submitted", "Retrying", "Running"]);
    let mark =
        |number: usize| run.task_runs[number].current().unwrap().context()["prefect_serverless_agent"]["epoch"].clone();
    assert!(mark(0).is_string(), "the claim carries our mark: {}", mark(0));
    assert_eq!(mark(0), mark(1));
    assert_eq!(deployment.world.ecs_tasks().len(), 1);
}

#[tokio::test]
async fn a_task_retry_leaves_a_running_task_alone() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(with_task_retries());
    let function = deployment.poll_function().await;
    poll(&function).await;
    let task = deployment.world.ecs_tasks()[0].arn.clone();
    deployment.world.ecs_set_status(&task, "RUNNING");
    deployment.world.prefect1(|prefect1| {
        let run = prefect1.flow_runs.iter_mut().find(|one| one.id == run).unwrap();
        let retrying = with_task_retry_state();
        let state = run.task_runs[0].states.last_mut().unwrap();
        state.serialized = retrying;
        run.task_runs[0].version += 1;
    });
    let report = poll(&function).await;
    assert!(reason(agent(&report, "etl"), "deferred", &run).contains("may retry by itself"), "{report:#}");
    let tasks = deployment.world.ecs_tasks();
    assert_eq!((tasks.len(), tasks[0].desired_status.as_str()), (1, "RUNNING"));
}

fn with_task_retry_state() -> Value {
    let start = time::OffsetDateTime::now_utc() - time::Duration::seconds(20);
    let start = start.format(&time::format_description::well_known::Rfc3339).unwrap();
    json!({"type": "Retrying", "message": "Retrying.", "start_time": start, "run_count": 2})
}
