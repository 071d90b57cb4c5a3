#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    RUN, agent, call, calls, claim_id, claimed_state, due, no_content, pid, pool_row, row_in, state, unavailable,
};
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use crate::orchestrator::DueRun;
use crate::prefect3::Detail;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const PATCH: &str = "PATCH /flow_runs/8449522c-244c-499e-8a08-131a70e53c42";

fn launched(count: usize) -> Vec<(DueRun<Detail>, String)> {
    let run = |number| DueRun { flow_run_id: format!("run-{number}"), ..due() };
    (0..count).map(|number| (run(number), pid())).collect()
}

/// What is not asked again at once.
fn broken() -> Reply {
    json(500, &json!({"exception_message": "Internal Server Error"}))
}

/// A server that answers writes of labels like this, and everything else as usual.
async fn labelling(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        labels if labels.ends_with("/labels") => answer(request),
        _ => no_content(),
    })
    .await
}

fn labelled(server: &Server) -> Vec<String> {
    calls(server).into_iter().filter(|call| call.ends_with("/labels")).collect()
}

#[tokio::test]
async fn a_thousand_runs_get_a_thousand_labels() {
    let server = labelling(|_| no_content()).await;
    assert_eq!(agent(&server).announce(&launched(1000)).await, 0);
    let labelled = labelled(&server);
    assert_eq!((labelled.len(), labelled.into_iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
}

#[tokio::test]
async fn a_database_that_refuses_most_writes_gets_all_of_them_in_the_end() {
    let number = AtomicUsize::new(0);
    let server = labelling(move |_| {
        // Two of three are refused.
        if number.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) { no_content() } else { unavailable() }
    })
    .await;
    assert_eq!(agent(&server).announce(&launched(60)).await, 0);
    assert_eq!(labelled(&server).into_iter().collect::<BTreeSet<_>>().len(), 60);
}

#[tokio::test]
async fn what_a_server_did_not_take_is_told_by_the_next_poll_of_the_process() {
    let takes = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_well = Arc::clone(&takes);
    let server = labelling(move |_| if is_well.load(Ordering::Relaxed) { no_content() } else { broken() }).await;
    let prefect = agent(&server);
    assert_eq!(prefect.announce(&launched(40)).await, 40);
    let before = labelled(&server).len();
    takes.store(true, Ordering::Relaxed);
    assert_eq!(prefect.announce(&[]).await, 0);
    assert_eq!(labelled(&server).len() - before, 40);
    let calls_before = calls(&server).len();
    assert_eq!(prefect.announce(&[]).await, 0);
    assert_eq!(calls(&server).len(), calls_before, "nothing is left, nothing is asked");
}

#[tokio::test]
async fn what_a_server_refuses_for_good_is_counted_once_and_given_up() {
    let server =
        labelling(
            |request| {
                if request.target.contains("run-1/") { json(422, &json!({"detail": "no"})) } else { no_content() }
            },
        )
        .await;
    let prefect = agent(&server);
    assert_eq!(prefect.announce(&launched(3)).await, 1);
    assert_eq!(prefect.announce(&[]).await, 0);
    assert_eq!(labelled(&server).len(), 3);
}

#[test]
fn rounds_go_on_as_long_as_the_server_takes_something_or_is_only_busy() {
    let round = |done, error| Round { done, in_a_row: 1, error };
    let busy = || Some(ApiError::Status { status: 503, text: "locked".into() });
    let silent = || Some(ApiError::NoAnswer("x".into()));
    assert_eq!(round(3, None).next(0, 6), NextRound::End, "all told");
    assert_eq!(round(3, busy()).next(0, 6), NextRound::Round(PAUSES[0], 3));
    assert_eq!(round(1, silent()).next(0, 3), NextRound::Round(PAUSES[0], 1));
    assert_eq!(round(0, silent()).next(0, 6), NextRound::End);
    assert_eq!(round(0, Some(ApiError::Unauthorised("x".into()))).next(0, 6), NextRound::End);
    let pauses: Vec<_> = (0..=PAUSES.len()).map(|idle| round(0, busy()).next(idle, 1)).collect();
    assert_eq!(pauses[2], NextRound::Round(PAUSES[2], 1));
    assert_eq!(pauses[PAUSES.len()], NextRound::End);
    let throttled = Some(ApiError::Throttled { retry_after: Some(Duration::from_secs(9)) });
    assert_eq!(round(5, throttled).next(0, 6), NextRound::Round(Duration::from_secs(9), 3), "as the server asks");
}

/// A server that refuses a run's task at first. The run is then as this row says, with this history.
async fn refusing_tasks(row: Value, history: Vec<Value>) -> Server {
    let number = AtomicUsize::new(0);
    Server::start(move |request| match call(request).as_str() {
        PATCH if number.fetch_add(1, Ordering::Relaxed) == 0 => broken(),
        PATCH => no_content(),
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        "POST /flow_runs/filter" => json(200, &json!([row])),
        call if call.starts_with("GET /flow_run_states") => json(200, &json!(history)),
        other => panic!("{other}"),
    })
    .await
}

/// How often the task is written down after it was refused.
async fn written_later(row: Value, history: Vec<Value>) -> usize {
    let server = refusing_tasks(row, history).await;
    let prefect = agent(&server);
    prefect.record_pid(&due(), &pid()).await;
    assert_eq!(prefect.announce(&[]).await, 0, "told, or meaningless by now");
    calls(&server).iter().filter(|call| *call == PATCH).count() - 1
}

#[tokio::test]
async fn a_task_that_could_not_be_written_down_is_written_down_later() {
    assert_eq!(written_later(row_in(claimed_state()), Vec::new()).await, 1);
    let hidden = row_in(state("PENDING", "Submitting"));
    assert_eq!(written_later(hidden, vec![claimed_state()]).await, 1);
    let running = row_in(state("RUNNING", "Running"));
    assert_eq!(written_later(running, vec![claimed_state()]).await, 1);
}

#[tokio::test]
async fn the_task_of_an_earlier_claim_is_never_written_down() {
    let mut newer = claimed_state();
    newer["timestamp"] = json!("2026-11-22T16:50:00Z");
    newer["state_details"]["transition_id"] = json!("16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8");
    newer["data"] = json!(null);
    assert_eq!(written_later(row_in(newer.clone()), Vec::new()).await, 0);
    let running = row_in(state("RUNNING", "Running"));
    assert_eq!(written_later(running, vec![claimed_state(), newer]).await, 0);
    assert_eq!(written_later(row_in(state("SCHEDULED", "AwaitingRetry")), Vec::new()).await, 0);
    assert_eq!(written_later(row_in(state("COMPLETED", "Completed")), Vec::new()).await, 0);
    let mut has_one = row_in(claimed_state());
    has_one["infrastructure_pid"] = json!("cluster::another");
    assert_eq!(written_later(has_one, Vec::new()).await, 0);
}

#[tokio::test]
async fn a_task_whose_run_cannot_be_read_waits() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        _ => broken(),
    })
    .await;
    let prefect = agent(&server);
    prefect.record_pid(&due(), &pid()).await;
    assert_eq!(prefect.announce(&[]).await, 1);
    assert_eq!(calls(&server).iter().filter(|call| *call == PATCH).count(), 1, "not written unseen");
    let kept = Telling::Task { flow_run_id: RUN.into(), claim: claim_id(), pid: pid() };
    assert_eq!(prefect.untold.all(), [kept]);
}
