#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

fn checked(request: Value, definition: Value, logs: bool) -> Result<(), String> {
    let given = json!({"task_run_request": request, "task_definition": {"family": "f", "executionRoleArn": "r"},
        "configure_cloudwatch_logs": logs});
    let given = given.as_object().unwrap();
    let configuration = Configuration::new(given, given).unwrap();
    check_definition(&configuration, definition.as_object().unwrap()).map_err(|refusal| refusal.0)
}

#[test]
fn definitions_that_fit() {
    let strategy = json!([{"capacityProvider": "c"}]);
    for (request, definition) in [
        (json!({}), json!({})),
        (
            json!({"launchType": "FARGATE"}),
            json!({"requiresCompatibilities": ["EC2", "FARGATE"], "networkMode": "awsvpc"}),
        ),
        (json!({"launchType": "EC2"}), json!({"requiresCompatibilities": ["EC2"], "networkMode": "host"})),
        (json!({"launchType": null}), json!({"requiresCompatibilities": ["EC2"], "networkMode": "bridge"})),
        (json!({"launchType": "FARGATE", "capacityProviderStrategy": strategy}), json!({"networkMode": "bridge"})),
        (json!({"capacityProviderStrategy": strategy}), json!({"requiresCompatibilities": ["EXTERNAL"]})),
        (json!({"launchType": "EXTERNAL"}), json!({"networkMode": "bridge"})),
    ] {
        assert_eq!(checked(request.clone(), definition.clone(), false), Ok(()), "{request} {definition}");
    }
}

#[test]
fn definitions_that_do_not() {
    for (request, definition, expected) in [
        (json!({}), json!({"requiresCompatibilities": []}), "and cannot be used with launch type 'FARGATE'"),
        (
            json!({"launchType": "EXTERNAL"}),
            json!({"requiresCompatibilities": ["EXTERNAL"]}),
            "and cannot be used with launch type 'EXTERNAL'",
        ),
        (
            json!({"launchType": "FARGATE_SPOT", "capacityProviderStrategy": [{}]}),
            json!({"networkMode": "bridge"}),
            "Found network mode 'bridge' which is not compatible with launch type 'FARGATE_SPOT'.",
        ),
    ] {
        let refusal = checked(request, definition, false).unwrap_err();
        assert!(refusal.starts_with("ValueError: ") && refusal.contains(expected), "{refusal}");
    }
    let refusal = checked(json!({}), json!({"executionRoleArn": ""}), true).unwrap_err();
    assert!(refusal.contains("An execution role arn must be set on the task definition"), "{refusal}");
}
