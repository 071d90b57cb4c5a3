//! `flow_runs/filter` and its siblings.

use super::{ask, deployment, get, go, run};
use crate::{World, prefect3::PoolSpec};
use serde_json::{Value, json};

/// The names of the runs that a filter wants, in the answer's order.
async fn names(world: &World, body: Value) -> Vec<String> {
    let rows = get(world, "POST /flow_runs/filter", body).await;
    rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// Runs `a` (Pending, with a tag), `b` (Cancelling, with infrastructure), `c` (Completed) of one pool, `d` of another.
async fn world() -> (World, Vec<String>) {
    let world = World::new();
    world.prefect3_pool(PoolSpec { name: "other".to_owned(), ..PoolSpec::default() });
    let here = deployment(&world, json!({"name": "here"}));
    let there = deployment(&world, json!({"name": "there", "work_pool": "other", "flow": "bye"}));
    let mut ids = Vec::new();
    for (name, deployment, more) in [
        ("a", &here, json!({"tags": ["x", "y"], "start_in_seconds": -3.0})),
        ("b", &here, json!({"infrastructure_pid": "c::t", "start_in_seconds": -2.0})),
        ("c", &here, json!({"start_in_seconds": -1.0})),
        ("d", &there, json!({"start_in_seconds": -4.0})),
    ] {
        let mut spec = json!({"name": name, "deployment": deployment});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ids.push(run(&world, spec));
    }
    go(&world, &ids[0], "PENDING").await;
    go(&world, &ids[1], "CANCELLING").await;
    go(&world, &ids[2], "RUNNING").await;
    go(&world, &ids[2], "COMPLETED").await;
    (world, ids)
}

#[tokio::test]
async fn runs_by_what_they_are() {
    let (world, ids) = world().await;
    for (filter, expected) in [
        (json!({}), "abcd"),
        (json!(null), "abcd"),
        (json!({"id": {"any_": [ids[0], ids[3]]}}), "ad"),
        (json!({"id": {"any_": []}}), ""),
        (json!({"id": {"not_any_": [ids[0]]}}), "bcd"),
        (json!({"state": {"type": {"any_": ["PENDING", "CANCELLING"]}}}), "ab"),
        (json!({"state": {"type": {"not_any_": ["PENDING"]}}}), "bcd"),
        (json!({"state": {"name": {"any_": ["Completed"]}}}), "c"),
        (json!({"state": {"type": {"any_": ["PENDING"]}, "name": {"any_": ["Submitting"]}}}), ""),
        (json!({"state": {"operator": "or_", "type": {"any_": ["PENDING"]}, "name": {"any_": ["Completed"]}}}), "ac"),
        (json!({"operator": "or_", "name": {"any_": ["d"]}, "tags": {"all_": ["y"]}}), "ad"),
        (json!({"tags": {"is_null_": true}}), "bcd"),
        (json!({"start_time": {"is_null_": true}}), "abd"),
        (json!({"end_time": {"is_null_": false}}), "c"),
        (json!({"name": {"like_": "B"}}), "b"),
        (json!({"deployment_id": {"is_null_": true}}), ""),
    ] {
        let found = names(&world, json!({"flow_runs": filter, "sort": "NAME_ASC"})).await;
        assert_eq!(found.concat(), expected, "{filter}");
    }
}

#[tokio::test]
async fn runs_by_what_they_belong_to() {
    let (world, ids) = world().await;
    let flow = world.prefect3_flow_run(&ids[3]).unwrap().flow_id;
    for (filter, expected) in [
        (json!({"work_pools": {"name": {"any_": ["ecs-pool"]}}}), "abc"),
        (json!({"work_pools": {"name": {"any_": ["ecs-pool", "other"]}}}), "abcd"),
        (
            json!({"work_pools": {"name": {"any_": ["other"]}}, "flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}),
            "",
        ),
        (json!({"flows": {"id": {"any_": [flow]}}}), "d"),
        (json!({"deployments": {"name": {"any_": ["here"]}}}), "abc"),
        (json!({"work_pool_queues": {"name": {"any_": ["default"]}}}), "abcd"),
        (json!({"unheard_of": 1}), "abcd"),
    ] {
        let mut body = filter.clone();
        body["sort"] = json!("NAME_ASC");
        assert_eq!(names(&world, body).await.concat(), expected, "{filter}");
    }
}

#[tokio::test]
async fn order_and_pages() {
    let (world, mut ids) = world().await;
    for (body, expected) in [
        (json!({"sort": "NAME_DESC"}), "dcba"),
        (json!({"sort": "EXPECTED_START_TIME_ASC"}), "dabc"),
        (json!({"sort": "NAME_ASC", "limit": 2}), "ab"),
        (json!({"sort": "NAME_ASC", "limit": 2, "offset": 3}), "d"),
        (json!({"limit": 0}), ""),
    ] {
        assert_eq!(names(&world, body.clone()).await.concat(), expected, "{body}");
    }
    ids.sort_by(|one, other| other.cmp(one));
    let rows = get(&world, "POST /flow_runs/filter", Value::Null).await;
    let by_id: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(by_id, ids, "the default order");
}

#[tokio::test]
async fn what_filters_may_not_say() {
    let (world, _) = world().await;
    for (body, loc) in [
        (json!({"flow_runs": {"stat": {}}}), json!(["body", "flow_runs", "stat"])),
        (json!({"flow_runs": {"id": {"any_": ["x"]}}}), json!(["body", "flow_runs", "id", "any_", 0])),
        (
            json!({"flow_runs": {"state": {"type": {"any_": ["X"]}}}}),
            json!(["body", "flow_runs", "state", "type", "any_", 0]),
        ),
        (json!({"work_pools": {"nme": {}}}), json!(["body", "work_pools", "nme"])),
        (json!({"sort": "UP"}), json!(["body", "sort"])),
        (json!({"offset": -1}), json!(["body", "offset"])),
    ] {
        let answer = ask(&world, "POST /flow_runs/filter", body).await;
        assert_eq!((answer.status, &answer.body["exception_detail"][0]["loc"]), (422, &loc), "{answer:?}");
    }
    let answer = ask(&world, "POST /flow_runs/filter", json!({"limit": 201})).await;
    assert_eq!(
        (answer.status, answer.body),
        (422, json!({"detail": "Invalid limit: must be less than or equal to 200."}))
    );
}

#[tokio::test]
async fn flows_and_deployments_of_one_poll_are_read_at_once() {
    let (world, ids) = world().await;
    let run = world.prefect3_flow_run(&ids[0]).unwrap();
    let flows = get(&world, "POST /flows/filter", json!({"flows": {"id": {"any_": [run.flow_id]}}})).await;
    assert_eq!(flows.as_array().unwrap().len(), 1, "{flows}");
    assert_eq!(flows[0]["name"], "hello");
    let wanted = json!({"deployments": {"id": {"any_": [run.deployment_id]}}, "limit": 200});
    let deployments = get(&world, "POST /deployments/filter", wanted).await;
    assert_eq!((&deployments[0]["name"], deployments.as_array().unwrap().len()), (&json!("here"), 1));
}
