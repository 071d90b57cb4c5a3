//! Which due runs an agent finds: by labels, all of them, in order, also where the server refuses our own query.

use crate::support::{Deployment, agent, ids, labels, poll, reason, run_of};
use serde_json::json;
use world::prefect1::FlowRunSpec;

fn labelled(of: &[&str]) -> FlowRunSpec {
    FlowRunSpec { labels: labels(of), ..FlowRunSpec::default() }
}

#[tokio::test]
async fn an_agent_takes_runs_whose_labels_it_has_all() {
    let deployment = Deployment::with_agent(json!({"labels": ["prod", "gpu"]})).await;
    let mut ours = vec![deployment.schedule(labelled(&["prod"])), deployment.schedule(labelled(&["gpu", "prod"]))];
    deployment.schedule(labelled(&["prod", "eu"]));
    deployment.schedule(labelled(&["dev"]));
    deployment.schedule(labelled(&[]));
    let report = deployment.poll().await;
    let mut launched = ids(agent(&report, "etl"), "launched");
    launched.sort();
    ours.sort();
    assert_eq!(launched, ours, "{report:#}");
}

#[tokio::test]
async fn an_agent_without_labels_takes_runs_without_labels() {
    let deployment = Deployment::with_agent(json!({})).await;
    let ours = deployment.schedule(labelled(&[]));
    deployment.schedule(labelled(&["prod"]));
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [ours], "{report:#}");
}

#[tokio::test]
async fn eighty_older_runs_with_foreign_labels_do_not_delay_ours() {
    let deployment = Deployment::with_agent(json!({"labels": ["prod"]})).await;
    for _ in 0..80 {
        deployment.schedule(FlowRunSpec { start_in_seconds: -3600.0, ..labelled(&["other"]) });
    }
    let ours = deployment.schedule(labelled(&["prod"]));
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "launched"), &etl["ready"]), (vec![ours], &json!(1)), "{report:#}");
}

#[tokio::test]
async fn runs_of_other_tenants_are_never_seen() {
    let deployment = Deployment::with_agent(json!({})).await;
    let tenant_id = Some("6f1b2c3d-0000-4000-8000-000000000099".to_owned());
    deployment.schedule(FlowRunSpec { tenant_id, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(agent(&report, "etl")["ready"], 0, "{report:#}");
}

#[tokio::test]
async fn a_full_page_is_asked_again_within_the_same_poll() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null, "max_polls": 1})).await;
    deployment.schedule_many(450);
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ready"], &etl["poll"]), (&json!(450), &json!(1)));
    assert_eq!(ids(etl, "launched").len(), 450);
    assert_eq!(deployment.world.ecs_tasks().len(), 450);
    assert_eq!(deployment.world.count("prefect1", "get_runs_in_queue"), 3, "two full pages and the rest");
}

#[tokio::test]
async fn a_page_full_of_runs_that_cannot_be_launched_now_does_not_hide_the_others() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    let unavailable = world::FaultKind::Html { status: 503 };
    deployment.world.fault(world::Fault::new("s3", "GetObject", unavailable).always());
    let run_config = json!({"type": "ECSRun", "task_definition_path": "s3://bucket/run.yaml", "__version__": "1.4.1"});
    for _ in 0..205 {
        let run_config = run_config.clone();
        deployment.schedule(FlowRunSpec { run_config, start_in_seconds: -60.0, ..FlowRunSpec::default() });
    }
    let fine = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [fine]);
    assert_eq!(ids(etl, "deferred").len(), 205);
}

#[tokio::test]
async fn runs_are_launched_in_the_order_of_their_start() {
    let deployment = Deployment::with_agent(json!({"launch_rate": 4})).await;
    let start = |seconds: f64| FlowRunSpec { start_in_seconds: seconds, ..FlowRunSpec::default() };
    let (second, fourth, first, third) = (
        deployment.schedule(start(-30.0)),
        deployment.schedule(start(-10.0)),
        deployment.schedule(start(-40.0)),
        deployment.schedule(start(-20.0)),
    );
    // More than the rate allows at once: the last ones wait.
    let later = [deployment.schedule(start(-5.0)), deployment.schedule(start(-4.0))];
    deployment.poll().await;
    let mut launched: Vec<_> = deployment.world.ecs_tasks().iter().map(run_of).collect();
    let last = launched.split_off(4);
    let mut expected = vec![first, second, third, fourth];
    launched.sort();
    expected.sort();
    assert_eq!(launched, expected, "the oldest four come first");
    assert!(later.iter().all(|run| last.contains(run)));
}

#[tokio::test]
async fn a_server_that_refuses_our_query_is_asked_the_python_way() {
    let deployment = Deployment::with_agent(json!({"labels": ["prod"], "launch_rate": null})).await;
    deployment.world.prefect1(|prefect1| prefect1.switches.without_contained_in = true);
    for _ in 0..60 {
        deployment.schedule(labelled(&["prod"]));
    }
    let function = deployment.poll_function().await;
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 60, "pages of 25 are asked again: {report:#}");
    poll(&function).await;
    let refused = deployment.prefect_requests().iter().filter(|request| request.body.contains("_contained_in")).count();
    assert_eq!(refused, 1, "a refusal is remembered by the warm process");
}

#[tokio::test]
async fn one_row_that_makes_no_sense_does_not_disturb_the_others() {
    let deployment = Deployment::with_agent(json!({})).await;
    let broken = deployment.schedule(FlowRunSpec { start_in_seconds: -10.0, ..FlowRunSpec::default() });
    let fine = deployment.schedule(FlowRunSpec::default());
    let null = world::prefect1::NullRule::new("flow_run.0.flow", None);
    deployment.world.prefect1(|prefect1| prefect1.switches.nulls.push(null));
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [fine], "{report:#}");
    assert!(reason(etl, "deferred", &broken).contains("flow"), "{report:#}");
    assert_eq!(deployment.state_of(&broken), "Scheduled");
}

#[tokio::test]
async fn a_run_that_waits_for_a_concurrency_slot_is_launched_once_there_is_one() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec { state: json!("Running"), version: Some(3), ..FlowRunSpec::default() });
    let run = deployment.schedule(FlowRunSpec::default());
    let concurrency = |limit| deployment.world.prefect1(|prefect1| prefect1.switches.flow_concurrency = limit);
    concurrency(Some(1));
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "skipped"), &etl["ok"]), (vec![run.clone()], &json!(true)), "{report:#}");
    assert!(deployment.world.ecs_tasks().is_empty());

    concurrency(None);
    // Prefect refuses another claim of a run for half a minute.
    deployment.world.advance(std::time::Duration::from_secs(31));
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "no queue shows Queued runs: it is put back: {report:#}");
}
