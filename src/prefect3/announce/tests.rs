#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{RUN, agent, call, calls, due, no_content, pid, pool_row, setup, with};
use super::*;
use crate::aws::test_server::{Reply, Request as Seen, Server, json};
use serde_json::json;

fn usual(request: &Seen) -> Reply {
    match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        _ => no_content(),
    }
}

/// So many launched runs.
fn launched(count: usize) -> Vec<(DueRun<Detail>, String)> {
    let run = |number| DueRun { flow_run_id: format!("{number:04}-{RUN}"), ..due() };
    (0..count).map(|number| (run(number), pid())).collect()
}

fn of_kind(server: &Server, end: &str) -> usize {
    calls(server).iter().filter(|call| call.ends_with(end)).count()
}

#[tokio::test]
async fn all_events_are_one_request_and_labels_one_each() {
    let server = Server::start(usual).await;
    let again = || launched(2).into_iter().chain(launched(1)).collect::<Vec<_>>();
    assert_eq!(agent(&server).announce(&again()).await, 0);
    assert_eq!((of_kind(&server, "/events"), of_kind(&server, "/labels")), (1, 2));
    let events = server.requests().into_iter().find(|request| request.target == "/events").unwrap().json();
    assert_eq!(events.as_array().unwrap().len(), 6);
    let id = |number: usize| &events[number]["id"];
    assert_eq!((id(0), id(1)), (id(4), id(5)), "the same launch has the same events");
    assert!(id(0) != id(1) && id(0) != id(2) && events[1]["follows"] == *id(0));
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
    assert_eq!(sizes(&server), [4, 2], "Prefect 2's worker tells the end of a flow by its second event");
}

/// How many events each request carries.
fn sizes(server: &Server) -> Vec<usize> {
    let requests = server.requests();
    let events = requests.iter().filter(|request| request.target == "/events");
    events.map(|request| request.json().as_array().unwrap().len()).collect()
}

#[tokio::test]
async fn two_hundred_events_are_one_request() {
    let server = Server::start(usual).await;
    agent(&server).announce(&launched(150)).await;
    assert_eq!(sizes(&server), [200, 100]);
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
async fn a_deleted_run_stops_no_other_label() {
    let server = Server::start(|request| {
        if request.target.contains("0001-") {
            return json(404, &json!({"exception_message": format!("Flow run with id {RUN} not found")}));
        }
        usual(request)
    })
    .await;
    assert_eq!(agent(&server).announce(&launched(3)).await, 0);
    assert_eq!(of_kind(&server, "/labels"), 3);
}

#[tokio::test]
async fn telling_ends_by_itself_and_keeps_what_is_left() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => usual(request),
        _ => Reply::Hang,
    })
    .await;
    let prefect = agent(&server);
    prefect.pool().await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(prefect.announce(&launched(100)).await, 100);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(of_kind(&server, "/labels"), 1, "a server that does not answer one is not asked a hundred times");
    prefect.set_deadline(Some(began + began.elapsed() + Duration::from_secs(3)));
    let began = tokio::time::Instant::now();
    assert_eq!(prefect.announce(&[]).await, 100);
    assert!(began.elapsed() < Duration::from_secs(3), "before the deadline: {:?}", began.elapsed());
}
