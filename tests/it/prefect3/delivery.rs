//! How flow runs of a work pool get their key.

use super::scene::{Scene, environment};
use crate::support::{ROOT, ids};
use serde_json::{Value, json};
use world::prefect3::Auth;

const KEY: &str = "pnu_Very5ecretKey";
const OWN: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/psa/test/execution";
const AGENTS: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/psa/test/agent/etl/execution";
const SHARED: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/execution";
const STOCK: &str = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";

async fn with_key(extra: Value) -> Scene {
    let scene = Scene::with(extra).await;
    scene.secret("api-key", KEY);
    let keys = vec![KEY.into()];
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys });
    scene
}

fn key_arn() -> String {
    format!("arn:aws:ssm:us-east-1:123456789012:parameter{ROOT}/secrets/etl/api-key")
}

/// The secrets of the flow's container, in the definition of the last task.
fn secrets(scene: &Scene) -> Value {
    let arn = scene.tasks().pop().unwrap().definition_arn;
    let state = scene.deployment.world.lock();
    let definition = state.ecs.definitions.iter().find(|definition| definition.arn == arn).unwrap();
    definition.description["containerDefinitions"][0]["secrets"].clone()
}

#[tokio::test]
async fn a_pool_with_a_stock_role_goes_on_unchanged_and_the_report_says_once_per_poll_what_to_do() {
    let scene = with_key(json!({})).await;
    let runs: Vec<_> = (0..3).map(|_| scene.run_with(json!({"execution_role_arn": STOCK}))).collect();
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched").len(), runs.len(), "{report:#}");
    assert!(scene.tasks().iter().all(|task| environment(task)["PREFECT_API_KEY"] == KEY));
    assert_eq!(secrets(&scene), Value::Null);
    let [warning] = report["warnings"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    for part in [STOCK, &key_arn(), "ssm:GetParameters", "then set api_key_delivery to secret"] {
        assert!(warning.as_str().unwrap().contains(part), "{part}: {warning}");
    }
}

#[tokio::test]
async fn the_deployments_own_role_reads_the_key_and_one_of_before_should_be_moved() {
    for (role, warnings) in [(OWN, 0), (AGENTS, 0), (SHARED, 1)] {
        let scene = with_key(json!({})).await;
        let run = scene.run_with(json!({"execution_role_arn": role}));
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{report:#}");
        assert!(!environment(&scene.tasks()[0]).contains_key("PREFECT_API_KEY"), "{role}");
        assert_eq!(secrets(&scene), json!([{"name": "PREFECT_API_KEY", "valueFrom": key_arn()}]), "{role}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), warnings, "{report:#}");
    }
}

#[tokio::test]
async fn secret_and_environment_stay_what_they_are() {
    let scene = with_key(json!({"api_key_delivery": "secret"})).await;
    scene.run_with(json!({"execution_role_arn": STOCK}));
    let without_role = scene.run_with(json!({}));
    let report = scene.poll().await;
    assert_eq!(secrets(&scene), json!([{"name": "PREFECT_API_KEY", "valueFrom": key_arn()}]), "{report:#}");
    assert_eq!((ids(&report, "failed"), &report["warnings"]), (vec![without_role], &json!([])), "{report:#}");
    let scene = with_key(json!({"api_key_delivery": "environment"})).await;
    scene.run_with(json!({"execution_role_arn": OWN}));
    let report = scene.poll().await;
    assert_eq!((secrets(&scene), &report["warnings"]), (Value::Null, &json!([])), "{report:#}");
}

#[tokio::test]
async fn a_definitions_own_secret_stays_also_where_the_definition_exists_and_its_container_has_another_name() {
    let users = json!([{"name": "PREFECT_API_KEY", "valueFrom": "/mine"}, {"name": "PREFECT_API_AUTH_STRING", "valueFrom": "/a"}]);
    for delivery in ["auto", "secret", "environment"] {
        let scene = with_key(json!({})).await;
        scene.run_with(json!({"execution_role_arn": STOCK}));
        scene.poll().await;
        let arn = {
            let mut state = scene.deployment.world.lock();
            let definition = &mut state.ecs.definitions[0];
            definition.description["containerDefinitions"][0]["secrets"] = users.clone();
            definition.description["containerDefinitions"][0]["name"] = json!("mine");
            definition.arn.clone()
        };
        scene.agent("etl", json!({"api_key_delivery": delivery}));
        scene.secret("auth-string", "admin:hunter2-hunter2");
        let auth_string = "admin:hunter2-hunter2".into();
        scene.deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Basic { auth_string });
        let run = scene.run_with(json!({"task_definition_arn": arn}));
        let report = scene.poll().await;
        assert_eq!((ids(&report, "launched"), &report["warnings"]), (vec![run], &json!([])), "{delivery}: {report:#}");
        let variables = environment(scene.tasks().last().unwrap());
        assert!(variables.contains_key("PREFECT_API_URL"), "{variables:?}");
        for name in ["PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"] {
            assert!(!variables.contains_key(name), "{delivery}: {variables:?}");
        }
    }
}
