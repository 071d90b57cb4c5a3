#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{RUN, agent, call, calls, setup, with};
use super::*;
use crate::aws::test_server::{Request, Server, json};
use serde_json::{Value, json};
use std::sync::Arc;

const LIMIT: &str = "The deployment concurrency limit is 0. The flow will deadlock if submitted again.";

/// A server that keeps the lines of logs.
async fn keeping() -> (Server, Arc<Mutex<Vec<Value>>>) {
    let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&lines);
    let answer = move |request: &Request| match call(request).as_str() {
        "POST /logs/filter" => {
            let body = request.json();
            assert_eq!(body["logs"]["level"], json!({"ge_": 30, "le_": 30}));
            let offset = usize::try_from(body["offset"].as_u64().unwrap()).unwrap();
            let rows: Vec<Value> = lock(&kept).iter().skip(offset).take(200).cloned().collect();
            json(200, &json!(rows))
        }
        "POST /logs/" => {
            lock(&kept).extend(request.json().as_array().unwrap().iter().cloned());
            json(201, &Value::Null)
        }
        other => panic!("{other}"),
    };
    (Server::start(answer).await, lines)
}

fn messages(lines: &Mutex<Vec<Value>>) -> Vec<String> {
    lock(lines).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_reason_is_said_once_by_whatever_process() {
    let (server, lines) = keeping().await;
    for _process in 0..3 {
        let prefect = agent(&server);
        for _poll in 0..2 {
            prefect.refusals.add(RUN, LIMIT);
            prefect.tell_refusals().await;
        }
    }
    let said = messages(&lines);
    let [only] = &said[..] else { panic!("{said:?}") };
    assert!(only.contains(LIMIT) && only.contains("Raise the concurrency limit of its deployment"), "{only}");
    let asked = calls(&server).iter().filter(|call| *call == "POST /logs/filter").count();
    assert_eq!(asked, 3, "once for each process");
}

#[tokio::test]
async fn another_reason_and_another_run_are_said_as_well() {
    let (server, lines) = keeping().await;
    let prefect = agent(&server);
    for (run, reason) in [("a", LIMIT), ("a", "Deployment not found."), ("b", LIMIT), ("a", LIMIT)] {
        prefect.refusals.add(run, reason);
        prefect.tell_refusals().await;
    }
    assert_eq!(lock(&lines).len(), 3);
}

#[tokio::test]
async fn numbers_in_a_reason_make_no_other_reason() {
    let (server, lines) = keeping().await;
    for minute in 10..13 {
        let prefect = agent(&server);
        prefect.refusals.add(RUN, &format!("closed until 16:{minute}"));
        prefect.tell_refusals().await;
    }
    assert_eq!(messages(&lines).len(), 1);
}

#[tokio::test]
async fn many_runs_are_asked_about_in_few_requests() {
    let (server, lines) = keeping().await;
    let prefect = agent(&server);
    (0..100).for_each(|run| prefect.refusals.add(&format!("run-{run}"), LIMIT));
    prefect.tell_refusals().await;
    assert_eq!((lock(&lines).len(), calls(&server).len()), (100, 10));
}

#[tokio::test]
async fn where_the_log_cannot_be_read_to_its_end_nothing_is_said() {
    let (server, lines) = keeping().await;
    let line = |number: usize| json!({"flow_run_id": RUN, "message": format!("a warning {number}"), "level": 30});
    lock(&lines).extend((0..1001).map(line));
    let prefect = agent(&server);
    prefect.refusals.add(RUN, LIMIT);
    prefect.tell_refusals().await;
    assert_eq!(lock(&lines).len(), 1001);
    lock(&lines).truncate(999);
    prefect.refusals.add(RUN, LIMIT);
    prefect.tell_refusals().await;
    assert_eq!(lock(&lines).len(), 1000, "tried again when it is refused again");
}

#[tokio::test]
async fn a_broken_log_is_no_trouble() {
    let server = Server::start(|_| json(500, &json!({"exception_message": "Internal Server Error"}))).await;
    let prefect = with(setup(&server.url()));
    prefect.refusals.add(RUN, LIMIT);
    prefect.tell_refusals().await;
    assert!(prefect.refusals.is_empty());
}
