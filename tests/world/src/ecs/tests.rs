#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events;

use super::{Refusal, Shortage, Stop, handle};
use crate::{World, route::Scope};
use axum::body::{Bytes, to_bytes};
use serde_json::{Value, json};
use std::time::Duration;

/// Status and body of one request.
async fn call(world: &World, operation: &str, input: Value) -> (u16, Value) {
    let response = handle(world, &Scope::default(), operation, &Bytes::from(input.to_string())).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn ok(world: &World, operation: &str, input: Value) -> Value {
    let (status, body) = call(world, operation, input).await;
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

/// The code and message of a refusal.
async fn refused(world: &World, operation: &str, input: Value) -> (String, String) {
    let (status, body) = call(world, operation, input).await;
    assert_eq!(status, 400, "{operation}: {body}");
    (body["__type"].as_str().unwrap().to_owned(), body["message"].as_str().unwrap().to_owned())
}

fn definition() -> Value {
    json!({
        "family": "prefect-hello", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
        "cpu": "1 vCPU", "memory": "2 GB",
        "containerDefinitions": [{"name": "flow", "image": "prefecthq/prefect:1.4.1"}],
        "tags": [{"key": "team", "value": "data"}],
    })
}

fn run(token: &str) -> Value {
    json!({
        "taskDefinition": "prefect-hello", "launchType": "FARGATE", "clientToken": token,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}},
        "overrides": {"containerOverrides": [{"name": "flow", "environment": [{"name": "A", "value": "1"}]}]},
        "startedBy": "prefect/etl/1",
    })
}

/// The value with one place replaced.
fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap() = new;
    value
}

/// A request without one of its members.
fn without(mut value: Value, key: &str) -> Value {
    value.as_object_mut().unwrap().remove(key);
    value
}

async fn world() -> World {
    let world = World::new();
    ok(&world, "RegisterTaskDefinition", definition()).await;
    world
}

fn arn(answer: &Value) -> String {
    answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("no task in {answer}")).to_owned()
}

#[tokio::test]
async fn the_same_token_gives_the_first_answer_again_and_other_parameters_conflict() {
    let world = world().await;
    let first = ok(&world, "RunTask", run("t1")).await;
    assert_eq!(ok(&world, "RunTask", run("t1")).await, first);
    let changed = with(run("t1"), "/overrides/containerOverrides/0/environment/0/value", json!("2"));
    let (status, conflict) = call(&world, "RunTask", changed).await;
    assert_eq!((status, &conflict["__type"]), (400, &json!("ConflictException")));
    assert_eq!(conflict["resourceIds"], json!([arn(&first)]));
    assert_ne!(arn(&ok(&world, "RunTask", run("t2")).await), arn(&first));
    assert_eq!(world.ecs_tasks().len(), 2);
}

#[tokio::test]
async fn a_token_holds_for_one_cluster_only() {
    let world = world().await;
    world.ecs_cluster("other");
    let first = ok(&world, "RunTask", run("t1")).await;
    let mut elsewhere = run("t1");
    elsewhere["cluster"] = json!("other");
    assert_ne!(arn(&ok(&world, "RunTask", elsewhere).await), arn(&first));
}

#[tokio::test]
async fn a_token_lives_a_day_or_an_hour_longer_than_its_task() {
    let world = world().await;
    let first = arn(&ok(&world, "RunTask", run("t1")).await);
    world.advance(Duration::from_hours(23));
    assert_eq!(arn(&ok(&world, "RunTask", run("t1")).await), first, "within a day");
    world.advance(Duration::from_secs(3601));
    let second = arn(&ok(&world, "RunTask", run("t1")).await);
    assert_ne!(second, first, "after a day");
    world.ecs_stop(&second, &Stop::exited(0));
    world.advance(Duration::from_mins(59));
    assert_eq!(arn(&ok(&world, "RunTask", run("t1")).await), second, "within an hour of the end");
    world.advance(Duration::from_secs(61));
    assert_ne!(arn(&ok(&world, "RunTask", run("t1")).await), second, "an hour after the end");
}

#[tokio::test]
async fn a_refusal_is_not_remembered_unless_switched_so() {
    let refusal =
        Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: Some("t1".into()), count: 1 };
    let world = world().await;
    world.ecs_refuse(refusal.clone());
    let answer = ok(&world, "RunTask", run("t1")).await;
    assert_eq!((&answer["tasks"], &answer["failures"][0]["reason"]), (&json!([]), &json!("RESOURCE:MEMORY")));
    assert_eq!(ok(&world, "RunTask", run("t1")).await["failures"], json!([]));

    world.lock().ecs.options.tokens_remember_refusals = true;
    world.ecs_refuse(Refusal { body_contains: None, ..refusal });
    ok(&world, "RunTask", run("t2")).await;
    assert_eq!(ok(&world, "RunTask", run("t2")).await["failures"][0]["reason"], "RESOURCE:MEMORY");
}

#[tokio::test]
async fn for_want_of_capacity_nothing_is_started_until_there_is_some() {
    let world = world().await;
    let mut spot = without(run("t1"), "launchType");
    spot["capacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    world.lock().ecs.options.shortage = Some(Shortage::Spot);
    let (code, message) = refused(&world, "RunTask", spot.clone()).await;
    assert_eq!(code, "ClientException");
    assert!(message.starts_with("Capacity is unavailable"), "{message}");
    ok(&world, "RunTask", run("t2")).await;
    world.lock().ecs.options.shortage = Some(Shortage::All);
    refused(&world, "RunTask", run("t3")).await;
    world.lock().ecs.options.tokens_remember_refusals = true;
    refused(&world, "RunTask", run("t4")).await;
    world.lock().ecs.options.shortage = None;
    ok(&world, "RunTask", spot).await;
    ok(&world, "RunTask", run("t3")).await;
    refused(&world, "RunTask", run("t4")).await;
}

#[tokio::test]
async fn a_replay_describes_the_task_as_it_was_unless_switched_so() {
    let world = world().await;
    let first = arn(&ok(&world, "RunTask", run("t1")).await);
    world.ecs_set_status(&first, "RUNNING");
    assert_eq!(ok(&world, "RunTask", run("t1")).await["tasks"][0]["lastStatus"], "PROVISIONING");
    world.lock().ecs.options.replays_describe_now = true;
    assert_eq!(ok(&world, "RunTask", run("t1")).await["tasks"][0]["lastStatus"], "RUNNING");
}

#[tokio::test]
async fn a_task_that_stops_later_is_to_stop_until_it_does() {
    let world = world().await;
    world.lock().ecs.options.stops_later = true;
    let task = arn(&ok(&world, "RunTask", run("t1")).await);
    world.ecs_set_status(&task, "RUNNING");
    let told = ok(&world, "StopTask", json!({"task": task, "reason": "enough"})).await;
    assert_eq!((&told["task"]["lastStatus"], &told["task"]["desiredStatus"]), (&json!("RUNNING"), &json!("STOPPED")));
    assert_eq!(told["task"]["stopCode"], "UserInitiated");
    let stopping = json!({"startedBy": "prefect/etl/1", "desiredStatus": "STOPPED"});
    assert_eq!(ok(&world, "ListTasks", stopping).await["taskArns"], json!([task]));
    world.ecs_stop(&task, &Stop::exited(137));
    assert_eq!(world.ecs_tasks()[0].last_status, "STOPPED");
}

#[tokio::test]
async fn a_task_may_be_listed_and_described_later_than_it_is_started() {
    let world = world().await;
    let task = arn(&ok(&world, "RunTask", run("t1")).await);
    let later = world.lock().now() + Duration::from_secs(5);
    let soon = |task: &mut super::Task| (task.listed_from, task.described_from) = (later, later);
    world.lock().ecs.task_mut(&task).into_iter().for_each(soon);
    let (list, describe) = (json!({"startedBy": "prefect/etl/1"}), json!({"tasks": [task]}));
    assert_eq!(ok(&world, "ListTasks", list.clone()).await["taskArns"], json!([]));
    assert_eq!(ok(&world, "DescribeTasks", describe.clone()).await["failures"][0]["reason"], "MISSING");
    world.advance(Duration::from_secs(5));
    assert_eq!(ok(&world, "ListTasks", list).await["taskArns"], json!([task]));
    assert_eq!(ok(&world, "DescribeTasks", describe).await["tasks"][0]["taskArn"], task);
}

#[tokio::test]
async fn tokens_can_be_switched_off() {
    let world = world().await;
    world.lock().ecs.options.client_tokens = false;
    let first = ok(&world, "RunTask", run("t1")).await;
    assert_ne!(arn(&ok(&world, "RunTask", run("t1")).await), arn(&first));
}

#[tokio::test]
async fn run_task_refuses_what_aws_refuses() {
    let world = world().await;
    let many = json!([{"name": "A", "value": "x".repeat(8192)}]);
    let environment = "/overrides/containerOverrides/0/environment";
    let subnets = "/networkConfiguration/awsvpcConfiguration/subnets";
    let mut both = run("t");
    both["capacityProviderStrategy"] = json!([{"capacityProvider": "FARGATE_SPOT"}]);
    let mut eleven = run("t");
    eleven["count"] = json!(11);
    let mut lost = run("t");
    lost["cluster"] = json!("lost");
    let mut pair = run("t");
    pair["overrides"]["cpu"] = json!("256");
    pair["overrides"]["memory"] = json!("4096");
    let cases = [
        (with(run("t"), "/taskDefinition", json!("none")), "ClientException", "TaskDefinition not found."),
        (lost, "ClusterNotFoundException", "Cluster not found."),
        (
            without(run("t"), "networkConfiguration"),
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (with(run("t"), subnets, json!([])), "InvalidParameterException", "subnets can not be empty."),
        (
            both,
            "InvalidParameterException",
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ),
        (eleven, "InvalidParameterException", "Count must be between 1 and 10."),
        (
            with(run("t"), "/overrides/containerOverrides/0/name", json!("x")),
            "InvalidParameterException",
            "Override for container named x is not a container in the TaskDefinition.",
        ),
        (
            with(run("t"), environment, many),
            "InvalidParameterException",
            "Container Overrides length must be at most 8192",
        ),
        (
            with(run("t"), &format!("{environment}/0/value"), json!(1)),
            "SerializationException",
            "NUMBER_VALUE can not be converted to a String",
        ),
        (
            with(run("t"), "/startedBy", json!("a b")),
            "InvalidParameterException",
            "startedBy can have at most 128 letters, numbers, hyphens, forward slashes and underscores.",
        ),
        (
            with(run("t"), "/clientToken", json!("x".repeat(65))),
            "InvalidParameterException",
            "clientToken can have at most 64 ASCII characters in the range of 33-126.",
        ),
        (
            pair,
            "InvalidParameterException",
            "No Fargate configuration exists for given values: 256 CPU, 4096 memory. See the Amazon ECS documentation for the valid values.",
        ),
    ];
    for (input, code, message) in cases {
        let refusal = refused(&world, "RunTask", input.clone()).await;
        assert_eq!(refusal, (code.to_owned(), message.to_owned()), "{input}");
    }
    assert!(world.ecs_tasks().is_empty());
}

#[tokio::test]
async fn a_registered_definition_is_described_with_awss_defaults_and_its_tags_apart() {
    let world = world().await;
    let described =
        ok(&world, "DescribeTaskDefinition", json!({"taskDefinition": "prefect-hello", "include": ["TAGS"]})).await;
    let found = &described["taskDefinition"];
    assert_eq!(described["tags"], json!([{"key": "team", "value": "data"}]));
    assert_eq!((&found["cpu"], &found["memory"]), (&json!("1024"), &json!("2048")));
    assert_eq!(found["compatibilities"], json!(["EC2", "FARGATE"]));
    assert_eq!(found["taskDefinitionArn"], "arn:aws:ecs:us-east-1:123456789012:task-definition/prefect-hello:1");
    assert!(found["tags"].is_null() && found["registeredAt"].is_number(), "{found}");
    let container = &found["containerDefinitions"][0];
    assert_eq!(
        (&container["cpu"], &container["essential"], &container["mountPoints"]),
        (&json!(0), &json!(true), &json!([]))
    );
    let bare = ok(&world, "DescribeTaskDefinition", json!({"taskDefinition": "prefect-hello:1"})).await;
    assert_eq!(bare["tags"], json!([]));
}

#[tokio::test]
async fn revisions_are_listed_and_a_deregistered_one_does_not_run() {
    let world = world().await;
    ok(&world, "RegisterTaskDefinition", definition()).await;
    let listed =
        ok(&world, "ListTaskDefinitions", json!({"familyPrefix": "prefect-hello", "sort": "DESC", "maxResults": 1}))
            .await;
    assert!(listed["taskDefinitionArns"][0].as_str().unwrap().ends_with(":2"), "{listed}");
    let next = json!({"familyPrefix": "prefect-hello", "sort": "DESC", "nextToken": listed["nextToken"]});
    assert!(ok(&world, "ListTaskDefinitions", next).await["taskDefinitionArns"][0].as_str().unwrap().ends_with(":1"));
    ok(&world, "DeregisterTaskDefinition", json!({"taskDefinition": "prefect-hello:2"})).await;
    let inactive = with(run("t"), "/taskDefinition", json!("prefect-hello:2"));
    assert_eq!(
        refused(&world, "RunTask", inactive).await,
        ("ClientException".into(), "TaskDefinition is inactive".into())
    );
    let latest = ok(&world, "DescribeTaskDefinition", json!({"taskDefinition": "prefect-hello"})).await;
    assert_eq!(latest["taskDefinition"]["revision"], 1);
    assert_eq!(ok(&world, "RegisterTaskDefinition", definition()).await["taskDefinition"]["revision"], 3);
}

#[tokio::test]
async fn registrations_refuse_what_aws_refuses() {
    let world = World::new();
    let container = "/containerDefinitions/0";
    let secret = json!({"name": "flow", "image": "x", "secrets": [{"name": "K", "valueFrom": "/k"}]});
    let cases = [
        (without(definition(), "family"), "Family should not be null or empty."),
        (with(definition(), "/family", json!("a b")), "Family contains invalid characters."),
        (with(definition(), "/containerDefinitions", json!([])), "Container list cannot be empty."),
        (with(definition(), "/memory", json!("99999")), "No Fargate configuration exists for given values."),
        (with(definition(), "/networkMode", json!("bridge")), "Fargate only supports network mode 'awsvpc'."),
        (
            with(definition(), container, secret),
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ),
    ];
    for (input, message) in cases {
        assert_eq!(refused(&world, "RegisterTaskDefinition", input).await, ("ClientException".into(), message.into()));
    }
}

#[tokio::test]
async fn two_registrations_of_one_family_at_once_refuse_each_other() {
    let world = World::new();
    world.lock().ecs.options.registration_ms = 50;
    let (one, two) = tokio::join!(
        call(&world, "RegisterTaskDefinition", definition()),
        call(&world, "RegisterTaskDefinition", definition())
    );
    assert_eq!((one.0, two.0), (200, 400), "{one:?} {two:?}");
    assert_eq!(two.1["message"], "Too many concurrent attempts to create a new revision of the specified family.");
    ok(&world, "RegisterTaskDefinition", definition()).await;
}

#[tokio::test]
async fn tasks_are_found_by_who_started_them_and_forgotten_an_hour_after_they_stopped() {
    let world = world().await;
    let arn = arn(&ok(&world, "RunTask", run("t1")).await);
    let list = |status: &str| json!({"startedBy": "prefect/etl/1", "desiredStatus": status});
    assert_eq!(ok(&world, "ListTasks", list("RUNNING")).await["taskArns"], json!([arn]));
    world.ecs_set_status(&arn, "RUNNING");
    let stopped = ok(&world, "StopTask", json!({"task": arn, "reason": "enough"})).await;
    assert_eq!(
        (&stopped["task"]["stopCode"], &stopped["task"]["stoppedReason"]),
        (&json!("UserInitiated"), &json!("enough"))
    );
    assert_eq!(ok(&world, "ListTasks", list("RUNNING")).await["taskArns"], json!([]));
    assert_eq!(ok(&world, "ListTasks", list("STOPPED")).await["taskArns"], json!([arn]));
    let described = ok(&world, "DescribeTasks", json!({"tasks": [arn, "0123"]})).await;
    assert_eq!(described["tasks"][0]["lastStatus"], "STOPPED");
    assert_eq!(described["failures"][0]["reason"], "MISSING");
    world.advance(Duration::from_hours(1));
    assert_eq!(
        ok(&world, "DescribeTasks", json!({"tasks": [arn]})).await["failures"],
        json!([{"arn": arn, "reason": "MISSING"}])
    );
}

#[tokio::test]
async fn the_rate_of_run_task_is_throttled() {
    let world = world().await;
    world.lock().ecs.options.run_task_rate = Some(2.0);
    ok(&world, "RunTask", run("a")).await;
    ok(&world, "RunTask", run("b")).await;
    assert_eq!(refused(&world, "RunTask", run("c")).await, ("ThrottlingException".into(), "Rate exceeded".into()));
    world.advance(Duration::from_secs(1));
    ok(&world, "RunTask", run("c")).await;
}
