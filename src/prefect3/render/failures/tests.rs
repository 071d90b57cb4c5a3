#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

fn said(text: &str, run_task: Value) -> String {
    run_task_failure("SomeError", text, run_task.as_object().unwrap())
}

#[test]
fn usual_errors_become_sentences() {
    let ec2 = json!({"cluster": "c", "launchType": "EC2"});
    for (text, expected) in [
        (
            "ClusterNotFoundException: x",
            "cluster 'c' not found. Confirm that the cluster is configured in your region.",
        ),
        ("No Container Instances were found", "cluster 'c' does not appear to have any container instances"),
        ("TaskDefinition is inactive", "the task definition is inactive. Re-register"),
        ("the Capacity Provider is gone", "due to a capacity provider error."),
        ("InvalidParameterException: The Subnet is bad", "due to a network configuration error."),
    ] {
        let said = said(text, ec2.clone());
        assert!(said.starts_with("RuntimeError: Failed to run ECS task") && said.contains(expected), "{said}");
    }
    assert!(said("ClusterNotFoundException", json!({})).contains("cluster 'default' not found"));
}

#[test]
fn other_errors_stay_what_they_are() {
    for text in ["No Container Instances", "Capacity is unavailable at this time.", "InvalidParameterException: count"]
    {
        assert_eq!(said(text, json!({"launchType": "FARGATE"})), format!("SomeError: {text}"));
    }
}
