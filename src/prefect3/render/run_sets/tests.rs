#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::super::testing::{job, run, worker};
use serde_json::{Value, json};

#[test]
fn what_differs_from_the_pool_is_the_runs_own() {
    let template = json!({
        "task_definition": {"executionRoleArn": "{{ execution_role_arn }}", "cpu": "{{ cpu }}"},
        "task_run_request": {"launchType": "FARGATE", "cluster": "{{ cluster }}", "overrides": {"taskRoleArn": "pool"},
            "tags": "{{ labels }}"},
        "vpc_id": "{{ vpc_id }}", "labels": "{{ labels }}",
    });
    let sets = |variables: Value| {
        let job = job(&worker(), &run(template.clone(), variables)).unwrap();
        job.launch_spec().unwrap().run_sets
    };
    assert!(sets(json!({"cpu": 512})).is_empty());
    assert_eq!(
        sets(json!({"cluster": "c", "vpc_id": "v", "labels": {"a": "b"}, "execution_role_arn": "r"})),
        ["cluster", "tags", "networkConfiguration", "overrides.executionRoleArn"]
    );
}
