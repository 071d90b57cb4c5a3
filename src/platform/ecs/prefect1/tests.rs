#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod environment;
mod merge;
mod nothing_lost;
mod requests;
mod template;

use crate::config::{Backend, Rules};
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

fn agent(rules: Rules) -> AgentSettings {
    AgentSettings {
        rules,
        backend: Backend::Cloud,
        api: "https://api.prefect.io".into(),
        api_key: Some(SecretString::from("pcu_key")),
        auth_token: None,
        tenant_id: Some("tenant".into()),
        labels: vec!["prod".into()],
        env_vars: Vec::new(),
        no_cloud_logs: false,
        logging_level: "INFO".into(),
        cluster: None,
        launch_type: None,
        task_role_arn: None,
        execution_role_arn: None,
        task_definition: None,
        run_task_kwargs: Map::new(),
    }
}

/// A flow run with an `ECSRun` that has these fields.
fn run(fields: &Value) -> FlowRun {
    let mut run_config = object(json!({ "type": "ECSRun" }));
    run_config.extend(object(fields.clone()));
    let storage = json!({ "type": "Local", "flows": {} });
    let flow = json!({ "id": "flow-id", "version": 7, "name": "my flow", "storage": storage, "core_version": "1.4.1" });
    serde_json::from_value(json!({ "id": "run-id", "flow": flow, "run_config": run_config })).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}
