#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use crate::flow_run::prefect3::testing::worker;
use serde_json::json;

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn populated(generation: Generation, template: Value, variables: Value) -> Result<Value, String> {
    let worker = WorkerSettings { generation, ..worker() };
    let rendered = populate_with(&worker, &object(template), object(variables));
    rendered.map(Value::Object).map_err(|refusal| refusal.0)
}

fn template(env: Value, default: Value) -> Value {
    json!({
        "job_configuration": {"env": env, "cpu": "{{ cpu }}"},
        "variables": {"properties": {"env": {"default": default}, "cpu": {"default": null}}},
    })
}

#[test]
fn defaults_that_are_null_are_none_and_null_variables_are_values() {
    let template = template(json!("{{ env }}"), json!({}));
    assert_eq!(populated(Generation::Three, template.clone(), json!({})).unwrap(), json!({"env": {}}));
    let rendered = populated(Generation::Three, template, json!({"cpu": null})).unwrap();
    assert_eq!(rendered, json!({"env": {}, "cpu": null}));
}

#[test]
fn environments_are_merged_in_the_order_of_their_sources() {
    let template = template(json!({"A": "base", "B": "base", "I": "{{ cpu }}"}), json!({"B": "pool", "C": "pool"}));
    let rendered = populated(Generation::Three, template, json!({"env": {"C": "job"}, "cpu": 1})).unwrap();
    assert_eq!(rendered["env"], json!({"A": "base", "B": "pool", "I": 1, "C": "job"}));
}

#[test]
fn an_environment_that_is_no_object_cannot_be_merged() {
    let template = template(json!({"A": 1}), json!({}));
    let refusal = populated(Generation::Three, template, json!({"env": "x"})).unwrap_err();
    assert_eq!(refusal, "TypeError: unsupported operand type(s) for |: 'dict' and 'str'");
}

#[test]
fn dotted_keys_are_nested_since_prefect_3_and_nested_ones_win() {
    let template = json!({"job_configuration": {"env": "{{ env }}"}, "variables": {}});
    let variables = json!({"env.A": "dotted", "env.B": "dotted", "env": {"A": "nested"}});
    let rendered = populated(Generation::Three, template.clone(), variables.clone()).unwrap();
    assert_eq!(rendered["env"], json!({"A": "nested", "B": "dotted"}));
    assert_eq!(populated(Generation::Two, template, variables).unwrap()["env"], json!({"A": "nested"}));
}

#[test]
fn only_the_environment_of_deployment_and_flow_run_is_merged() {
    let merged = |deployment: Value, flow_run: Value| {
        let merged = job_variables(deployment.as_object(), flow_run.as_object());
        merged.map(Value::Object).map_err(|refusal| refusal.0)
    };
    let deployment = json!({"env": {"A": 1, "B": 1}, "labels": {"a": 1}, "cpu": 1});
    assert_eq!(
        merged(deployment.clone(), json!({"env": {"B": 2}, "labels": {"b": 2}})).unwrap(),
        json!({"env": {"A": 1, "B": 2}, "labels": {"b": 2}, "cpu": 1})
    );
    assert_eq!(merged(json!({"env": null}), json!({"env": {"B": 2}})).unwrap(), json!({"env": {"B": 2}}));
    assert_eq!(merged(Value::Null, Value::Null).unwrap(), json!({}));
    let refusal = merged(deployment, json!({"env": null})).unwrap_err();
    assert_eq!(refusal, "TypeError: 'NoneType' object is not iterable");
}
