#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

fn read(given: Value) -> Result<Configuration, String> {
    let given = given.as_object().unwrap();
    Configuration::new(given, given).map_err(|refusal| refusal.0)
}

fn with(key: &str, value: Value) -> Result<Configuration, String> {
    read(json!({"task_definition": {"family": "f"}, key: value}))
}

#[test]
fn texts_of_the_environment_are_written_as_python_does() {
    let env = json!({"a": true, "b": 1, "c": null, "d": [1, {"x": null}], "e": "1"});
    let env = Value::Object(with("env", env).unwrap().env);
    assert_eq!(env, json!({"a": "True", "b": "1", "c": null, "d": "[1, {'x': None}]", "e": "1"}));
    assert_eq!(with("env", Value::Null).err().unwrap(), "AttributeError: 'NoneType' object has no attribute 'items'");
}

#[test]
fn what_contradicts_itself_is_refused_and_the_first_rule_counts() {
    let essential = json!({"task_definition": {"containerDefinitions": [{"essential": false}, {"essential": false}]}});
    for (given, expected) in [
        (json!({}), "A task definition must be provided if a task definition ARN is not present"),
        (essential, "At least one container in the task definition must be marked as essential."),
        (
            json!({"task_definition": {"cpu": 1}, "configure_cloudwatch_logs": 1}),
            "An `execution_role_arn` must be provided to use `configure_cloudwatch_logs` or `stream_logs`.",
        ),
        (
            json!({"task_definition": {"cpu": 1}, "cloudwatch_logs_options": {"a": "b"}, "vpc_id": "v"}),
            "`configure_cloudwatch_log` must be enabled to use `cloudwatch_logs_options`.",
        ),
        (
            json!({"task_definition": {"cpu": 1}, "network_configuration": {"a": 1}}),
            "You must provide a `vpc_id` to enable custom `network_configuration`.",
        ),
    ] {
        let refusal = read(given).err().unwrap();
        let start = format!("ValidationError: 1 validation error for ECSJobConfiguration\n  Value error, {expected}");
        assert!(refusal.starts_with(&start), "{refusal}");
    }
}

#[test]
fn messages_show_fields_in_their_declared_order_and_no_block_values() {
    let resolved = json!({"network_configuration": {"a": 1}, "zz": 1, "task_definition": {"cpu": 1},
        "env": {"TOKEN": "s3cr3t"}});
    let populated = json!({"network_configuration": {"a": 1}, "zz": 1, "task_definition": {"cpu": 1},
        "env": {"TOKEN": "{{ b }}"}});
    let refusal = Configuration::new(resolved.as_object().unwrap(), populated.as_object().unwrap()).err().unwrap().0;
    assert!(refusal.contains("input_value={'env': {'TOKEN': '{{ b }..."), "{refusal}");
    assert!(refusal.contains("'zz': 1}, input_type=dict]") && !refusal.contains("s3cr3t"), "{refusal}");
}

#[test]
fn a_definition_that_exists_may_bring_role_and_containers() {
    let configuration =
        read(json!({"task_run_request": {"taskDefinition": "f:1"}, "configure_cloudwatch_logs": true})).unwrap();
    assert_eq!(configuration.container_name, None);
}

#[test]
fn the_flow_runs_in_prefect_or_else_in_the_first_container() {
    let name = |containers: Value| {
        let configuration = with("task_definition", json!({"containerDefinitions": containers})).unwrap();
        flow_container_name(&configuration, &configuration.task_definition)
    };
    assert_eq!(name(json!([{"name": "a"}, {"name": "prefect"}])), "prefect");
    assert_eq!(name(json!([{"name": "a"}, {"image": "b"}])), "a");
    assert_eq!(name(json!([{"image": "b"}, {"name": "a"}])), "prefect");
    assert_eq!(name(json!([{"name": ""}])), "prefect");
}
