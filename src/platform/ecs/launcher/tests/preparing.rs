//! What is settled before a launch.

use super::*;
use crate::platform::ecs::testing::{object, refused, spec};
use futures_util::future::join_all;
use serde_json::json;

fn own() -> Definition {
    Definition::Own(object(json!({"family": "prefect-etl", "containerDefinitions": [{"name": "flow"}]})))
}

fn existing(name: &str, definition_roles: &[&'static str]) -> Definition {
    Definition::Existing { name: name.into(), definition_roles: definition_roles.to_vec() }
}

fn with_network() -> Room {
    let room = room();
    {
        let mut world = room.ecs.world();
        world.vpc = Some("vpc-1".into());
        world.subnets = vec!["subnet-2".into(), "subnet-1".into()];
    }
    room
}

async fn prepare(room: &Room, spec: &LaunchSpec) -> Result<PreparedLaunch, LaunchOutcome> {
    Ok(room.prepare(spec, &identity()).await?.launch)
}

#[tokio::test]
async fn a_launch_is_prepared_with_definition_network_and_names() {
    let room = with_network();
    let mut spec = spec(own(), json!({"cluster": "c", "launchType": "FARGATE"}));
    spec.infer_network = true;
    spec.run_sets = vec!["cluster".into()];
    let launch = prepare(&room, &spec).await.unwrap();
    let expected = json!({
        "taskDefinition": "arn:aws:ecs:eu-west-1:111111111111:task-definition/prefect-etl:1",
        "cluster": "c",
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-2", "subnet-1"], "assignPublicIp": "ENABLED"}},
        "clientToken": "token",
        "startedBy": format!("prefect/etl/{RUN}"),
    });
    assert_eq!(Value::Object(launch.run_task.clone()), expected);
    assert_eq!((launch.flow_run_id.as_str(), launch.run_sets.as_slice()), (RUN, &["cluster".to_owned()][..]));
    assert_eq!(prepare(&room, &spec).await, Ok(launch), "the same launch, byte for byte");
}

#[tokio::test]
async fn a_hundred_runs_side_by_side_look_up_once() {
    let room = with_network();
    let spec = LaunchSpec { infer_network: true, ..spec(own(), json!({})) };
    let prepared = join_all((0..100).map(|_| prepare(&room, &spec))).await;
    assert!(prepared.iter().all(Result::is_ok), "{prepared:?}");
    let mut calls = room.ecs.world().calls.clone();
    calls.sort();
    assert_eq!(calls, ["DescribeSubnets", "DescribeTaskDefinition", "DescribeVpcs", "RegisterTaskDefinition"]);
    assert!(room.ecs.world().run_tasks.is_empty(), "preparing starts nothing");
}

#[tokio::test]
async fn a_configured_network_is_not_looked_up() {
    let room = with_network();
    let spec = LaunchSpec { infer_network: true, ..spec(existing("f:1", &[]), json!({"networkConfiguration": 1})) };
    assert_eq!(prepare(&room, &spec).await.unwrap().run_task["networkConfiguration"], 1);
    assert!(room.ecs.world().calls.is_empty());
}

#[tokio::test]
async fn no_default_network_is_the_agents_trouble_even_where_the_run_sets_things() {
    for (vpc, missing) in [(None, "no default VPC"), (Some("vpc-1".to_owned()), "vpc-1 has no subnets")] {
        let room = room();
        room.ecs.world().vpc = vpc;
        let mut spec = spec(existing("f:1", &[]), json!({}));
        spec.infer_network = true;
        spec.run_sets = vec!["cluster".into()];
        let outcome = prepare(&room, &spec).await.unwrap_err();
        let LaunchOutcome::AgentTrouble(text) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains(missing), "{text}");
    }
}

#[tokio::test]
async fn roles_of_an_existing_definition_are_described_only_where_wanted() {
    let room = room();
    let definition = json!({"family": "mine", "containerDefinitions": [], "taskRoleArn": "td-task"});
    let arn = room.ecs.world().register(&object(definition));
    let run_task = json!({"overrides": {"taskRoleArn": "agent", "executionRoleArn": "agent"}});

    let spec = spec(existing(&arn, &["taskRoleArn", "executionRoleArn"]), run_task.clone());
    for _ in 0..2 {
        let overrides = prepare(&room, &spec).await.unwrap().run_task["overrides"].clone();
        assert_eq!(overrides, json!({"taskRoleArn": "td-task", "executionRoleArn": "agent"}));
    }
    assert_eq!(room.ecs.count("DescribeTaskDefinition"), 1, "a revision never changes");

    let unasked = crate::platform::ecs::testing::spec(existing(&arn, &[]), run_task.clone());
    let launch = prepare(&room, &unasked).await.unwrap();
    assert_eq!(
        (&launch.run_task["overrides"], &launch.run_task["taskDefinition"]),
        (&run_task["overrides"], &json!(arn))
    );
    assert_eq!(room.ecs.count("DescribeTaskDefinition"), 1);
}

#[tokio::test]
async fn what_a_family_means_is_asked_each_time_but_once_for_all_at_the_same_time() {
    let room = room();
    room.ecs.world().register(&object(json!({"family": "mine", "containerDefinitions": [], "taskRoleArn": "one"})));
    let spec = spec(existing("mine", &["taskRoleArn"]), json!({}));
    let prepared = join_all((0..20).map(|_| prepare(&room, &spec))).await;
    assert!(prepared.iter().all(Result::is_ok));
    assert_eq!(room.ecs.count("DescribeTaskDefinition"), 1);
    room.ecs.world().register(&object(json!({"family": "mine", "containerDefinitions": [], "taskRoleArn": "two"})));
    assert_eq!(prepare(&room, &spec).await.unwrap().run_task["overrides"]["taskRoleArn"], "two");
}

#[tokio::test]
async fn an_existing_definition_that_is_not_there_fails_its_run_only() {
    let outcome = prepare(&room(), &spec(existing("gone:3", &["taskRoleArn"]), json!({}))).await.unwrap_err();
    let LaunchOutcome::Permanent(text) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("gone:3") && text.contains("task_definition_arn"), "{text}");
}

#[tokio::test]
async fn a_look_up_that_fails_says_why() {
    let room = room();
    room.ecs.world().register_errors = [refused(400, "AccessDeniedException", "not authorized to perform: x")].into();
    let outcome = prepare(&room, &spec(own(), json!({}))).await.unwrap_err();
    let LaunchOutcome::AgentTrouble(text) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("RegisterTaskDefinition") && text.contains("policy of the agent's role"), "{text}");
}
