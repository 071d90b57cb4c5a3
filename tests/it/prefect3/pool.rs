//! The work pool: missing, of a wrong type, without a template, changed meanwhile.

use super::scene::{Scene, environment, map};
use crate::support::{ids, report_in};
use serde_json::{Value, json};
use world::prefect3::{PoolSpec, RunSpec};

#[tokio::test]
async fn a_missing_pool_is_a_matter_of_configuration_and_says_what_to_do() {
    let scene = Scene::with(json!({"work_pool": "nowhere"})).await;
    let report = report_in(&scene.deployment.poll_fails().await);
    let error = report["agents"]["etl"]["error"].as_str().unwrap();
    assert!(error.contains("\"nowhere\" not found") && error.contains("prefect work-pool create"), "{error}");
    assert_eq!(scene.deployment.status("etl")["error"], "configuration");
}

#[tokio::test]
async fn an_empty_template_is_filled_and_used() {
    let scene = Scene::new().await;
    scene.deployment.world.prefect3(|prefect3| prefect3.work_pools[0].base_job_template.clear());
    let run = scene.run(RunSpec::default());
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let template = scene.deployment.world.prefect3(|prefect3| prefect3.work_pools[0].base_job_template.clone());
    assert_eq!(template["job_configuration"]["cluster"], "{{ cluster }}");
    scene.poll().await;
    assert_eq!(scene.count("update_work_pool"), 1);
}

#[tokio::test]
async fn a_pool_of_another_type_is_served_with_a_warning() {
    let scene = Scene::with(json!({"work_pool": "odd"})).await;
    scene.deployment.world.prefect3_pool(PoolSpec {
        name: "odd".into(),
        kind: "process".into(),
        ..PoolSpec::default()
    });
    let report = scene.poll().await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert!(report["warnings"][0].as_str().unwrap().contains("process"), "{report:#}");
}

#[tokio::test]
async fn a_changed_template_is_honoured_by_the_next_poll() {
    let scene = Scene::new().await;
    let function = scene.deployment.poll_function().await;
    scene.poll_by(&function).await;
    scene.deployment.world.prefect3(|prefect3| {
        prefect3.work_pools[0].base_job_template["job_configuration"]["env"] = json!({"STAGE": "new"});
    });
    scene.run(RunSpec { job_variables: map(json!({})), ..RunSpec::default() });
    scene.poll_by(&function).await;
    assert_eq!(environment(&scene.tasks()[0])["STAGE"], "new");
}

#[tokio::test]
async fn a_wrong_address_is_told_from_a_missing_pool() {
    let scene = Scene::new().await;
    let without_api = scene.deployment.world.prefect3_url().trim_end_matches("/api").to_owned();
    scene.agent("etl", json!({"api": format!("{without_api}/api/api")}));
    let report = report_in(&scene.deployment.poll_fails().await);
    let error = report["agents"]["etl"]["error"].as_str().unwrap();
    assert!(error.contains("ends in /api"), "{error}");
    assert_eq!(Value::from(0), report["agents"]["etl"]["ready"]);
}
