#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use serde_json::json;

#[test]
fn only_a_limit_that_is_reached_is_full() {
    let row = |limit: Value, taken: Value| {
        let row = json!({"concurrency_limit": limit, "active_slots": taken});
        full(row.as_object().unwrap(), "pool".into()).map(|slots| (slots.taken, slots.limit))
    };
    assert_eq!(row(json!(2), json!(2)), Some((2, 2)));
    assert_eq!(row(json!(2), json!(1)), None);
    assert_eq!(row(json!(0), json!(null)), Some((0, 0)), "a limit of 0 lets nothing pass");
    assert_eq!(row(json!(2), json!(null)), None, "servers of Prefect 2 do not tell what is taken");
    assert_eq!(row(json!(null), json!(7)), None);
}

#[test]
fn credentials_are_ones_own_wherever_they_are_named() {
    let row = |job_variables: Value| {
        Row::read(json!({"id": "r", "name": "n", "flow_id": "f", "state_id": "s", "job_variables": job_variables}))
            .unwrap()
    };
    let around = |pool: Value, deployment: Value| Surroundings {
        pool: pool.as_object().cloned(),
        deployment: deployment.as_object().cloned(),
        ..Surroundings::default()
    };
    let own = json!({"aws_credentials": {"$ref": {"block_document_id": "1"}}});
    let stock = json!({"base_job_template": {
        "job_configuration": {"aws_credentials": "{{ aws_credentials }}"},
        "variables": {"properties": {"aws_credentials": {"default": null}}},
    }});
    assert!(!brings_credentials(&row(json!({"image": "x"})), &around(stock.clone(), json!({"job_variables": {}}))));
    assert!(brings_credentials(&row(own.clone()), &around(stock.clone(), json!({}))));
    assert!(brings_credentials(&row(json!({})), &around(stock.clone(), json!({"job_variables": own}))));
    assert!(brings_credentials(&row(json!({})), &around(stock, json!({"infra_overrides": own}))));
    let by_default = json!({"base_job_template": {"variables": {"properties": {"aws_credentials": {"default": own}}}}});
    assert!(brings_credentials(&row(json!({})), &around(by_default, json!({}))));
    let fixed = json!({"base_job_template": {"job_configuration": own}});
    assert!(brings_credentials(&row(json!({})), &around(fixed, json!({}))));
}
