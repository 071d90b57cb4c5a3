#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::testing::{job, run, worker};
use super::{CHOSEN_ACCOUNT, CHOSEN_KEYS};
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

#[test]
fn credentials_are_the_runs_own_when_its_variables_say_something_else() {
    let definition = json!({"family": "f", "cpu": "{{ cpu }}"});
    let template = json!({"task_definition": definition, "aws_credentials": {"aws_access_key_id": "{{ key }}", "aws_secret_access_key": "pool",
        "region_name": "{{ region }}"}});
    let chosen = |template: &Value, variables: Value| {
        let spec = job(&worker(), &run(template.clone(), variables)).unwrap().launch_spec().unwrap();
        assert_eq!(spec.worker.credentials.set_by_run, spec.run_sets, "both tell the same");
        spec.run_sets
    };
    assert!(chosen(&template, json!({"cpu": 512})).is_empty());
    assert_eq!(chosen(&template, json!({"region": "eu-west-2"})), [CHOSEN_ACCOUNT]);
    assert_eq!(chosen(&template, json!({"key": "AKIA"})), [CHOSEN_ACCOUNT, CHOSEN_KEYS]);
    let whole = json!({"task_definition": definition, "aws_credentials": "{{ aws_credentials }}"});
    let role = json!({"aws_credentials": {"assume_role_arn": "arn:aws:iam::1:role/r"}});
    assert_eq!(chosen(&whole, role), [CHOSEN_ACCOUNT], "a role brings no keys");
    let keys = json!({"aws_credentials": {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s"}});
    assert_eq!(chosen(&whole, keys), [CHOSEN_ACCOUNT, CHOSEN_KEYS]);
}
