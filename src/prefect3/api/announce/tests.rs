#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{RUN, agent, call, calls, due, no_content, pool_row, setup, task, unavailable, with};
use super::*;
use crate::aws::test_server::{Reply, Request as Seen, Server, json};
use crate::orchestrator::{Orchestrator, Rehearsable};
use serde_json::json;

fn usual(request: &Seen) -> Reply {
    match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        _ => no_content(),
    }
}

fn launched(count: usize) -> Vec<(DueRun<Detail>, TaskOfRun)> {
    (0..count).map(|_| (due(), task())).collect()
}

fn of_kind(server: &Server, end: &str) -> usize {
    calls(server).iter().filter(|call| call.ends_with(end)).count()
}

#[tokio::test]
async fn all_events_are_one_request_and_labels_one_each() {
    let server = Server::start(usual).await;
    agent(&server).announce(&launched(3)).await;
    assert_eq!((of_kind(&server, "/events"), of_kind(&server, "/labels")), (1, 3));
    let events = server.requests().into_iter().find(|request| request.target == "/events").unwrap().json();
    assert_eq!(events.as_array().unwrap().len(), 3);
    assert_eq!(events[0]["id"], events[1]["id"], "the same launch has the same event");
}

#[tokio::test]
async fn labels_are_not_sent_where_nobody_wants_or_knows_them() {
    let server = Server::start(usual).await;
    let mut without = setup(&server.url());
    without.config.generation.prefect_labels = false;
    with(without).announce(&launched(2)).await;
    let mut two = setup(&server.url());
    two.config.generation.rules = WorkerRules::Two;
    with(two).announce(&launched(2)).await;
    assert_eq!((of_kind(&server, "/events"), of_kind(&server, "/labels")), (2, 0));
}

#[tokio::test]
async fn a_server_without_the_routes_is_asked_once() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => usual(request),
        _ => json(404, &json!({"detail": "Not Found"})),
    })
    .await;
    let prefect = agent(&server);
    for _ in 0..2 {
        prefect.announce(&launched(3)).await;
    }
    assert_eq!((of_kind(&server, "/events"), of_kind(&server, "/labels")), (1, 1));
}

#[tokio::test]
async fn a_deleted_run_and_a_busy_database_stop_no_other_label() {
    let server = Server::start(|request| {
        if request.target.ends_with("/labels") {
            return json(404, &json!({"exception_message": format!("Flow run with id {RUN} not found")}));
        }
        usual(request)
    })
    .await;
    agent(&server).announce(&launched(3)).await;
    assert_eq!(of_kind(&server, "/labels"), 3);

    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Server::start(move |request| {
        if request.target.ends_with("/labels") && first.swap(false, Ordering::Relaxed) {
            return unavailable();
        }
        usual(request)
    })
    .await;
    agent(&server).announce(&launched(2)).await;
    assert_eq!(of_kind(&server, "/labels"), 3, "the first one again, then the other");
}

#[tokio::test]
async fn telling_ends_by_itself() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => usual(request),
        _ => Reply::Hang,
    })
    .await;
    let prefect = agent(&server);
    prefect.pool().await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    prefect.announce(&launched(1)).await;
    assert!(began.elapsed() < TELLING * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dry_run_shows_what_others_would_be_told() {
    let server = Server::start(usual).await;
    let prefect = agent(&server);
    assert!(prefect.announce_requests(&launched(1)).is_empty(), "nothing is known of the pool");
    prefect.pool().await.unwrap();
    let paths: Vec<_> = prefect.announce_requests(&launched(2)).iter().map(|shown| shown["path"].clone()).collect();
    let labels = json!(format!("/flow_runs/{RUN}/labels"));
    assert_eq!(paths, [json!("/events"), labels.clone(), labels]);
}
