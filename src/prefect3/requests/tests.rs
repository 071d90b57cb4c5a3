#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::NOW;
use super::*;

#[test]
fn names_that_people_chose_are_encoded() {
    let paths = [
        work_pool("é a/b%?#"),
        variable("a.b_c~d-e"),
        block(&BlockReference::Named { type_slug: "secret".into(), name: "../x".into() }),
        block(&BlockReference::Id("1/2".into())),
        history("a&b=c"),
        record_pid("../work_pools/x", None),
    ];
    let paths: Vec<&str> = paths.iter().map(|request| request.path.as_str()).collect();
    let expected = [
        "/work_pools/%C3%A9%20a%2Fb%25%3F%23",
        "/variables/name/a.b_c~d-e",
        "/block_types/slug/secret/block_documents/name/..%2Fx?include_secrets=true",
        "/block_documents/1%2F2?include_secrets=true",
        "/flow_run_states/?flow_run_id=a%26b%3Dc",
        "/flow_runs/..%2Fwork_pools%2Fx",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn the_queue_is_asked_for_by_name_and_time() {
    let request = due_runs("p", &["high".into()], NOW, 50);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/work_pools/p/get_scheduled_flow_runs"));
    let body =
        json!({"work_queue_names": ["high"], "scheduled_before": "2026-11-22T16:23:00.488868+00:00", "limit": 50});
    assert_eq!(request.body, Some(body));
}

#[test]
fn what_stands_is_looked_for_in_the_pool_only_oldest_first() {
    let body = json!({
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "CANCELLING"]}}},
        "work_pools": {"name": {"any_": ["p"]}}, "limit": 200, "offset": 200, "sort": "EXPECTED_START_TIME_ASC",
    });
    assert_eq!(standing("p", 200).body, Some(body));
}

#[test]
fn only_a_worker_of_prefect_cloud_asks_for_its_id() {
    assert_eq!(heartbeat("p", "w", 60, false).body, Some(json!({"name": "w", "heartbeat_interval_seconds": 60})));
    assert_eq!(heartbeat("p", "w", 60, true).body.unwrap()["return_id"], true);
}
