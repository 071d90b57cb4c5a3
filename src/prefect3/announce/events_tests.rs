#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::records::Deployed;
use super::super::test_support::{DEPLOYMENT, FLOW, NOW, RUN, deployment_row, due, flow_row, pool_row};
use super::*;
use std::sync::Arc;

fn belongings() -> Belongings {
    let row = deployment_row();
    let deployed = Deployed { tags: tags(&row["tags"]), deployment: serde_json::from_value(row).unwrap() };
    Belongings { flow: Arc::new(serde_json::from_value(flow_row()).unwrap()), deployment: Some(Arc::new(deployed)) }
}

#[test]
fn the_event_is_the_one_that_the_worker_sends() {
    let (pool, run, belongings) = (serde_json::from_value(pool_row()).unwrap(), due(), belongings());
    let teller = Teller { name: "My worker", prefect_version: "3.8.8", work_pool: &pool };
    let launched = LaunchEvent { flow_run: &run.detail.flow_run, belongings: Some(&belongings) };
    let resource = |kind: &str, id: &str, name: &str| json!({"prefect.resource.id": format!("prefect.{kind}.{id}"), "prefect.resource.role": kind, "prefect.resource.name": name});
    let tag =
        |name: &str| json!({"prefect.resource.id": format!("prefect.tag.{name}"), "prefect.resource.role": "tag"});
    let expected = json!({
        "id": "event-1", "occurred": "2026-11-22T16:23:00.488868+00:00", "event": "prefect.worker.submitted-flow-run",
        "resource": {
            "prefect.resource.id": "prefect.worker.ecs.my-worker", "prefect.resource.name": "My worker",
            "prefect.version": "3.8.8", "prefect.worker-type": "ecs",
        },
        "related": [
            resource("deployment", DEPLOYMENT, "daily"), resource("flow", FLOW, "hello"),
            resource("flow-run", RUN, "utopian-lemming"), tag("nightly"), tag("team-a"),
            resource("work-pool", &pool.id, &pool.name),
        ],
        "payload": {}, "follows": null,
    });
    assert_eq!(teller.submitted("event-1", launched, NOW), expected);
}

/// As in the recorded words of the worker: the second event follows the first and names the task.
#[test]
fn the_second_event_names_the_infrastructure_of_the_run() {
    let (pool, run, belongings) = (serde_json::from_value(pool_row()).unwrap(), due(), belongings());
    let teller = Teller { name: "My worker", prefect_version: "3.8.8", work_pool: &pool };
    let launched = LaunchEvent { flow_run: &run.detail.flow_run, belongings: Some(&belongings) };
    let mut expected = teller.submitted("event-2", launched, NOW);
    expected["event"] = json!("prefect.worker.executed-flow-run");
    expected["follows"] = json!("event-1");
    expected["related"][2]["prefect.infrastructure.identifier"] = json!("cluster::task");
    expected["related"][2]["prefect.infrastructure.status-code"] = json!("0");
    assert_eq!(teller.executed(("event-2", "event-1"), launched, "cluster::task", NOW), expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let (pool, run) = (serde_json::from_value(pool_row()).unwrap(), due());
    let teller = Teller { name: "w", prefect_version: "3.8.8", work_pool: &pool };
    let event = teller.submitted("id", LaunchEvent { flow_run: &run.detail.flow_run, belongings: None }, NOW);
    assert_eq!(
        event["related"][0],
        json!({"prefect.resource.id": format!("prefect.deployment.{DEPLOYMENT}"), "prefect.resource.role": "deployment"})
    );
}

#[test]
fn the_labels_name_worker_and_pool() {
    let pool = serde_json::from_value(pool_row()).unwrap();
    let labels = Teller { name: "w", prefect_version: "3.8.8", work_pool: &pool }.labels();
    let expected = json!({"prefect.worker.name": "w", "prefect.worker.type": "ecs", "prefect.work-pool.name": pool.name, "prefect.work-pool.id": pool.id});
    assert_eq!(labels, expected);
}
