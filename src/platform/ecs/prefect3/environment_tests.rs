#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::testing::{job, run, worker};
use crate::flow_run::prefect3::{Generation, WorkerSettings};
use serde_json::{Value, json};

fn prepared(worker: &WorkerSettings, env: Value, more: Value) -> Value {
    let mut configuration = json!({"env": env, "task_definition": {"family": "f"}});
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job(worker, &run(configuration, json!({}))).unwrap().prepared()["env"].clone()
}

#[test]
fn what_names_the_run_comes_between_settings_and_configuration() {
    let env = prepared(&worker(), json!({"B": "1", "PREFECT_API_URL": "mine", "PREFECT__FLOW_NAME": null}), json!({}));
    let expected = [
        ("PREFECT_API_URL", "mine"),
        ("PREFECT_API_KEY", "pnu_k"),
        ("PREFECT__FLOW_RUN_ID", "run-1"),
        ("PREFECT__WORKER_NAME", "worker-1"),
        ("PREFECT__FLOW_ID", "flow-1"),
        ("PREFECT__DEPLOYMENT_ID", "deployment-1"),
        ("PREFECT__DEPLOYMENT_NAME", "nightly"),
        ("B", "1"),
    ];
    let pairs: Vec<_> =
        env.as_object().unwrap().iter().map(|(name, value)| (&**name, value.as_str().unwrap())).collect();
    assert_eq!(pairs, expected);
}

#[test]
fn prefect_2_names_only_the_run() {
    let worker = WorkerSettings { generation: Generation::Two, worker_id: Some("id".into()), ..worker() };
    let expected =
        json!({"PREFECT_API_URL": "https://prefect/api", "PREFECT_API_KEY": "pnu_k", "PREFECT__FLOW_RUN_ID": "run-1"});
    assert_eq!(prepared(&worker, json!({}), json!({})), expected);
}

#[test]
fn a_secret_of_the_users_own_replaces_the_key() {
    let secrets = json!({"prefect_api_key_secret_arn": "arn:k", "prefect_api_auth_string_secret_arn": "arn:a"});
    let env = prepared(&worker(), json!({"PREFECT_API_AUTH_STRING": "a:b"}), secrets);
    assert!(env.get("PREFECT_API_KEY").is_none() && env.get("PREFECT_API_AUTH_STRING").is_none(), "{env}");
}

#[test]
fn only_keys_of_the_agents_own_may_be_delivered_as_secrets() {
    let variables = |env: Value| {
        let configuration = json!({"env": env, "task_definition": {"family": "f"}});
        job(&worker(), &run(configuration, json!({}))).unwrap().launch_spec().unwrap().key_variables
    };
    assert_eq!(variables(json!({})), ["PREFECT_API_KEY"]);
    assert!(variables(json!({"PREFECT_API_KEY": "another"})).is_empty());
    assert!(variables(json!({"PREFECT_API_KEY": null})).is_empty());
}
