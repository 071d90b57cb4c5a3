//! Settings that lie elsewhere: kept in Prefect's backend for `agent_config_id`, or in the function's environment.

use crate::support::{DEADLINE, Deployment, KEY, agent, environment, ids, labels, poll, report_in};
use serde_json::{Value, json};
use world::prefect1::{AgentConfig, FlowRunSpec, TENANT};

const CONFIG_ID: &str = "6f1b2c3d-0000-4000-8000-00000000c0f1";

async fn with_settings(settings: Value) -> Deployment {
    let extra = json!({"agent_config_id": CONFIG_ID, "labels": ["prod"], "api_key_delivery": "environment"});
    let deployment = Deployment::with_agent(extra).await;
    let config = AgentConfig { id: CONFIG_ID.into(), tenant_id: TENANT.into(), name: None, settings };
    deployment.world.prefect1(|prefect1| prefect1.agent_configs.push(config));
    deployment
}

#[tokio::test]
async fn settings_kept_in_the_backend_replace_the_keys() {
    let settings = json!({
        "labels": ["gpu"], "env_vars": {"COLOUR": "blue"}, "name": "from the UI", "no_cloud_logs": true, "max_polls": 1,
    });
    let deployment = with_settings(settings).await;
    let ours = deployment.schedule(FlowRunSpec { labels: labels(&["gpu"]), ..FlowRunSpec::default() });
    deployment.schedule(FlowRunSpec { labels: labels(&["prod"]), ..FlowRunSpec::default() });
    let function = deployment.poll_function().await;
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [ours], "{report:#}");

    let registered = &deployment.world.prefect1_agents()[0];
    assert_eq!((registered.name.as_deref(), registered.labels.clone()), (Some("from the UI"), labels(&["gpu"])));
    assert_eq!(registered.agent_config_id.as_deref(), Some(CONFIG_ID));
    let variables = environment(&deployment.world.ecs_tasks()[0]);
    assert_eq!(variables["COLOUR"], "blue");
    assert_eq!(variables["PREFECT__CLOUD__SEND_FLOW_RUN_LOGS"], "false");
    assert_eq!(variables["PREFECT__CLOUD__AGENT__LABELS"], "['gpu']");

    let report = poll(&function).await;
    assert_eq!(agent(&report, "etl")["stopped"], true, "max_polls of the backend: {report:#}");
}

#[tokio::test]
async fn settings_that_mean_nothing_are_named_in_the_report() {
    let deployment = with_settings(json!({"colour": "blue", "max_polls": "many", "labels": ["gpu"]})).await;
    let report = deployment.poll().await;
    let warnings = agent(&report, "etl")["warnings"].to_string();
    assert!(warnings.contains("colour") && warnings.contains("max_polls"), "{warnings}");
    assert!(!warnings.contains("gpu"), "{warnings}");
    assert_eq!(deployment.world.prefect1_agents()[0].labels, ["gpu"], "what can be understood is honoured");
}

#[tokio::test]
async fn a_configuration_id_that_nobody_knows_fails_the_poll() {
    let deployment = Deployment::with_agent(json!({"agent_config_id": CONFIG_ID})).await;
    let report = report_in(&deployment.poll_fails().await);
    let error = agent(&report, "etl")["error"].as_str().unwrap();
    assert!(error.contains(CONFIG_ID), "{error}");
    assert!(deployment.world.prefect1_agents().is_empty());
}

#[tokio::test]
async fn environment_variables_stand_in_for_what_is_not_configured() {
    let deployment = Deployment::empty().await;
    deployment.configure("etl", "prefect: 1\n");
    let function = deployment
        .options("poll")
        .env("PREFECT__CLOUD__API", &deployment.world.prefect1_url())
        .env("PREFECT__CLOUD__API_KEY", KEY)
        .env("PREFECT__CLOUD__TENANT_ID", TENANT)
        .env("PREFECT__CLOUD__AGENT__NAME", "from the environment")
        .env("PREFECT__CLOUD__AGENT__LABELS", "['a', 'b']")
        .env("PREFECT__CLOUD__AGENT__ENV_VARS", "{'COLOUR': 'blue'}")
        .env("PREFECT__LOGGING__LEVEL", "DEBUG")
        .start()
        .await
        .unwrap();
    let run = deployment.schedule(FlowRunSpec { labels: labels(&["a"]), ..FlowRunSpec::default() });
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    assert_eq!(deployment.world.count("prefect1", "auth_info"), 0, "the tenant is known");
    let registered = &deployment.world.prefect1_agents()[0];
    assert_eq!(registered.name.as_deref(), Some("from the environment"));
    assert_eq!(registered.labels, ["a", "b"]);
    let variables = environment(&deployment.world.ecs_tasks()[0]);
    assert_eq!(variables["COLOUR"], "blue");
    assert_eq!(variables["PREFECT__LOGGING__LEVEL"], "DEBUG");
    let warnings = agent(&report, "etl")["warnings"].to_string();
    assert!(warnings.contains("environment of the task"), "the key is in no parameter: {warnings}");
}

#[tokio::test]
async fn a_key_beats_its_environment_variable() {
    let deployment = Deployment::with_agent(json!({"name": "configured", "labels": ["prod"]})).await;
    let function = deployment
        .options("poll")
        .env("PREFECT__CLOUD__API_KEY", "another key")
        .env("PREFECT__CLOUD__AGENT__NAME", "from the environment")
        .env("PREFECT__CLOUD__AGENT__LABELS", "['a']")
        .start()
        .await
        .unwrap();
    function.invoke(json!({}), DEADLINE).await.unwrap();
    let registered = &deployment.world.prefect1_agents()[0];
    assert_eq!((registered.name.as_deref(), registered.labels.clone()), (Some("configured"), labels(&["prod"])));
}
