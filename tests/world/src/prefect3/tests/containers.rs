//! What containers do.

use super::{advance, ask, history, run};
use crate::{
    World,
    ecs::{Lifecycle, handle as ecs},
    prefect3::{StateType, container::Started},
    route::Scope,
};
use serde_json::{Value, json};
use std::time::Duration;

fn start(world: &World, id: &str) -> Started {
    let now = world.lock().now();
    world.prefect3(|prefect3| prefect3.start_container(id, now)).unwrap()
}

fn finish(world: &World, id: &str, kind: StateType) -> Result<(), String> {
    let now = world.lock().now();
    world.prefect3(|prefect3| prefect3.finish_container(id, kind, None, now))
}

#[test]
fn a_second_container_runs_the_run_again() {
    let world = World::new();
    let id = run(&world, json!({"state": "PENDING"}));
    assert_eq!((start(&world, &id), start(&world, &id)), (Started::Yes, Started::Yes));
    finish(&world, &id, StateType::Completed).unwrap();
    let run = world.prefect3_flow_run(&id).unwrap();
    assert_eq!((run.history(), run.starts, run.run_count), (vec!["Pending", "Running", "Running", "Completed"], 2, 2));
}

#[test]
fn a_container_that_comes_early_waits() {
    let world = World::new();
    let id = run(&world, json!({"start_in_seconds": 30}));
    let Started::Wait(seconds) = start(&world, &id) else { panic!("it is early") };
    assert!((29..=30).contains(&seconds), "{seconds}");
    advance(&world, 30);
    let now = world.lock().now();
    assert_eq!(world.prefect3(|prefect3| prefect3.go_on(&id, now)), Ok(Started::Yes));
    assert_eq!(world.prefect3_flow_run(&id).unwrap().starts, 1);
}

#[test]
fn a_run_that_is_being_cancelled_is_cancelled_by_its_container() {
    let world = World::new();
    let id = run(&world, json!({"state": "CANCELLING"}));
    assert_eq!(start(&world, &id), Started::No("it was being cancelled".to_owned()));
    assert_eq!(history(&world, &id), ["Cancelling", "Cancelled"]);
    assert_eq!(start(&world, &id), Started::No("it is cancelled".to_owned()));
    assert!(world.prefect3(|prefect3| prefect3.start_container("nobody", time::OffsetDateTime::UNIX_EPOCH)).is_err());
}

#[test]
fn a_run_that_is_cancelled_while_it_runs_does_not_complete() {
    let world = World::new();
    let id = run(&world, json!({}));
    start(&world, &id);
    world.prefect3_cancel(&id).unwrap();
    let refusal = finish(&world, &id, StateType::Completed).unwrap_err();
    assert_eq!(refusal, "REJECT: Cannot transition flows that are cancelling to a state other than Cancelled.");
    finish(&world, &id, StateType::Cancelled).unwrap();
}

/// Starts a task for a run on the fake ECS; its ARN.
async fn run_task(world: &World, id: &str) -> String {
    let scope = Scope::default();
    let send = async |operation: &str, input: Value| {
        let response = ecs(world, &scope, operation, &input.to_string().into()).await;
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let definition = json!({"family": "f", "containerDefinitions": [{"name": "prefect", "image": "i", "memory": 512}]});
    send("RegisterTaskDefinition", definition).await;
    let environment = json!([{"name": "PREFECT__FLOW_RUN_ID", "value": id}]);
    let overrides = json!({"containerOverrides": [{"name": "prefect", "environment": environment}]});
    let answer = send("RunTask", json!({"taskDefinition": "f", "launchType": "EC2", "overrides": overrides})).await;
    answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn with_lifecycle(run_ms: Option<u64>) -> World {
    let world = World::new();
    {
        let options = &mut world.lock().ecs.options;
        options.lifecycle = Some(Lifecycle { step_ms: 1, run_ms });
        options.flow_runs = true;
    }
    world
}

async fn until(world: &World, what: &str, holds: impl FnMut(&crate::State) -> bool) {
    assert!(world.wait_until(Duration::from_secs(10), holds).await, "{what}: {:?}", world.ecs_tasks());
}

#[tokio::test]
async fn tasks_take_their_flow_runs_along() {
    let world = with_lifecycle(Some(1));
    let id = run(&world, json!({"state": "PENDING"}));
    let arn = run_task(&world, &id).await;
    until(&world, "the task stops", |state| state.ecs.tasks.iter().all(|task| task.last_status == "STOPPED")).await;
    assert_eq!(history(&world, &id), ["Pending", "Running", "Completed"]);
    assert_eq!(world.ecs_tasks()[0].containers[0].exit_code, Some(0), "{arn}");
}

#[tokio::test]
async fn a_task_waits_for_its_runs_time_and_ends_with_a_cancelled_run() {
    let world = with_lifecycle(None);
    let early = run(&world, json!({"start_in_seconds": 3600}));
    run_task(&world, &early).await;
    let cancelled = run(&world, json!({"state": "CANCELLED"}));
    let task = run_task(&world, &cancelled).await;
    until(&world, "the cancelled run's task ends", |state| {
        state.ecs.tasks.iter().any(|one| one.arn == task && one.last_status == "STOPPED")
    })
    .await;
    until(&world, "the early one began", |state| state.prefect3.flow_run(&early).unwrap().starts == 1).await;
    assert_eq!(history(&world, &early), ["Scheduled"]);
    advance(&world, 3600);
    until(&world, "it goes on", |state| state.prefect3.flow_run(&early).unwrap().state_name() == "Running").await;
}

#[tokio::test]
async fn a_container_may_set_its_states_itself() {
    let world = World::new();
    let id = run(&world, json!({"state": "PENDING"}));
    for kind in ["RUNNING", "COMPLETED"] {
        ask(&world, &format!("POST /flow_runs/{id}/set_state"), json!({"state": {"type": kind}})).await;
    }
    assert_eq!(history(&world, &id), ["Pending", "Running", "Completed"]);
}
