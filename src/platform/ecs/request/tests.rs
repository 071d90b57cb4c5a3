#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::platform::ecs::testing::object;

fn identity() -> LaunchIdentity {
    LaunchIdentity { flow_run_id: "1".into(), token: "t".into(), started_by: "prefect/etl/run".into() }
}

fn settled() -> Settled {
    Settled { definition: "arn:d:1".into(), ..Settled::default() }
}

#[test]
fn the_body_is_what_the_run_asks_for_and_our_names() {
    let run_task = object(json!({"cluster": "c", "launchType": "FARGATE", "overrides": {"cpu": "256"}}));
    let body = run_task_body(&run_task, &settled(), &identity());
    let expected = r#"{"taskDefinition":"arn:d:1","cluster":"c","launchType":"FARGATE","overrides":{"cpu":"256"},"clientToken":"t","startedBy":"prefect/etl/run"}"#;
    assert_eq!(Value::Object(body).to_string(), expected, "the same bytes, always");
}

#[test]
fn names_of_the_users_own_are_replaced() {
    let run_task = object(json!({"clientToken": "mine", "startedBy": "me", "taskDefinition": "other"}));
    let body = run_task_body(&run_task, &settled(), &identity());
    assert_eq!(
        Value::Object(body),
        json!({"taskDefinition": "arn:d:1", "clientToken": "t", "startedBy": "prefect/etl/run"})
    );
}

#[test]
fn an_inferred_network_never_replaces_a_configured_one() {
    let settled = Settled { network: Some(json!("inferred")), ..settled() };
    assert_eq!(run_task_body(&Map::new(), &settled, &identity())["networkConfiguration"], "inferred");
    let run_task = object(json!({"networkConfiguration": "mine"}));
    assert_eq!(run_task_body(&run_task, &settled, &identity())["networkConfiguration"], "mine");
}

#[test]
fn roles_of_the_described_definition_replace_overrides() {
    let settled = Settled { roles: vec![("taskRoleArn", "td-task".into())], ..settled() };
    let run_task = object(json!({"overrides": {"taskRoleArn": "agent", "executionRoleArn": "agent"}}));
    let body = run_task_body(&run_task, &settled, &identity());
    assert_eq!(body["overrides"], json!({"taskRoleArn": "td-task", "executionRoleArn": "agent"}));
    assert_eq!(run_task_body(&Map::new(), &settled, &identity())["overrides"], json!({"taskRoleArn": "td-task"}));
}
