//! What is told of a task, what its containers wrote, and time that passes.

use super::{Stop, arn, definition, ok, run, with, world};
use crate::World;
use serde_json::{Value, json};
use std::time::Duration;

async fn started(world: &World) -> String {
    arn(&ok(world, "RunTask", run("t1")).await)
}

#[tokio::test]
async fn an_event_tells_of_the_task_as_it_is_in_texts_and_without_tags() {
    let world = world().await;
    let task = started(&world).await;
    let event = world.task_event(&task);
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("aws.ecs"), &json!("ECS Task State Change")));
    assert_eq!((&event["account"], &event["resources"]), (&json!(crate::ACCOUNT), &json!([task])));
    let detail = &event["detail"];
    assert_eq!((&detail["lastStatus"], &detail["startedBy"]), (&json!("PROVISIONING"), &json!("prefect/etl/1")));
    assert_eq!((&detail["version"], &detail["group"]), (&json!(1), &json!("family:prefect-hello")));
    assert!(detail["createdAt"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{detail}");
    assert!(detail.get("tags").is_none() && detail.get("stopCode").is_none(), "{detail}");
    let variables = json!([{"name": "A", "value": "1"}]);
    assert_eq!(detail["overrides"]["containerOverrides"], json!([{"name": "flow", "environment": variables}]));

    world.ecs_set_status(&task, "RUNNING");
    world.ecs_stop(&task, &Stop::exited(3));
    let stopped = world.task_event(&task);
    let detail = &stopped["detail"];
    assert_eq!((&detail["stopCode"], &detail["version"]), (&json!("EssentialContainerExited"), &json!(3)));
    assert_eq!((&detail["containers"][0]["exitCode"], &detail["desiredStatus"]), (&json!(3), &json!("STOPPED")));
    assert!(detail["startedAt"].is_string() && detail["stoppedAt"].is_string(), "{detail}");
    assert_ne!(stopped["id"], event["id"]);
    assert_eq!(world.task_event(&task), stopped, "the same change, the same event");
}

#[tokio::test]
async fn all_containers_are_named_in_the_overrides_of_an_event() {
    let world = World::new();
    let containers = json!([{"name": "flow", "image": "a"}, {"name": "otel", "image": "b"}]);
    ok(&world, "RegisterTaskDefinition", with(definition(), "/containerDefinitions", containers)).await;
    let event = world.task_event(&started(&world).await);
    let overrides = event["detail"]["overrides"]["containerOverrides"].as_array().unwrap();
    assert_eq!(overrides.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["flow", "otel"]);
}

fn with_log(options: &Value) -> Value {
    let mut definition = definition();
    definition["executionRoleArn"] = json!("arn:aws:iam::123456789012:role/execution");
    definition["containerDefinitions"][0]["logConfiguration"] = json!({"logDriver": "awslogs", "options": options});
    definition
}

#[tokio::test]
async fn a_container_writes_to_the_stream_of_its_configuration() {
    let world = World::new();
    let options = json!({"awslogs-group": "/flows", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "p"});
    ok(&world, "RegisterTaskDefinition", with_log(&options)).await;
    let task = started(&world).await;
    assert!(world.ecs_container_writes(&task, "flow", ["one", "two"]));
    assert!(!world.ecs_container_writes(&task, "other", ["three"]));
    let scope = crate::route::Scope { region: "eu-west-1".into(), ..crate::route::Scope::default() };
    let stream = format!("p/flow/{}", task.rsplit('/').next().unwrap());
    let body = json!({"logGroupName": "/flows", "logStreamName": stream}).to_string().into();
    let answer = crate::logs::handle(&world, &scope, "GetLogEvents", &body);
    let answer = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        answer["events"].as_array().unwrap().iter().map(|one| &one["message"]).collect::<Vec<_>>(),
        ["one", "two"]
    );
}

#[tokio::test]
async fn what_grows_older_is_forgotten_as_if_time_had_passed() {
    let world = world().await;
    let task = started(&world).await;
    world.ecs_stop(&task, &Stop::exited(0));
    world.grow_older(Duration::from_mins(59));
    let described = ok(&world, "DescribeTasks", json!({"tasks": [task]})).await;
    assert_eq!(described["tasks"][0]["lastStatus"], "STOPPED");
    assert_eq!(started(&world).await, task, "its token still holds");
    world.grow_older(Duration::from_mins(1));
    let described = ok(&world, "DescribeTasks", json!({"tasks": [task]})).await;
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    assert_ne!(started(&world).await, task, "the token too");
}
