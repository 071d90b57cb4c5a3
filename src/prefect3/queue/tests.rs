#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::unavailable;
use super::super::test_support::{
    AUTHOR, IDENTITY, NOW, RUN, STATE, agent, call, calls, claim_id, due_row, mark, no_content, pool_row, row_in,
    setup, state, stranger, window, with,
};
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use crate::orchestrator::Mark;
use serde_json::json;

const QUEUE: &str = "POST /work_pools/ecs%20pool/get_scheduled_flow_runs";
const HEARTBEAT: &str = "POST /work_pools/ecs%20pool/workers/heartbeat";

/// A server whose queue holds these runs.
async fn queue_of(rows: Vec<Value>) -> Server {
    Server::start(move |request| usual(request, &rows)).await
}

fn usual(request: &Request, rows: &[Value]) -> Reply {
    match call(request).as_str() {
        QUEUE => {
            let limit = usize::try_from(request.json()["limit"].as_u64().unwrap()).unwrap();
            let rows =
                rows.iter().take(limit).map(|row| json!({"work_pool_id": "p", "work_queue_id": "q", "flow_run": row}));
            json(200, &rows.collect())
        }
        HEARTBEAT => no_content(),
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        other => panic!("{other}"),
    }
}

/// A due run with this number.
fn numbered(number: usize, start: &str) -> Value {
    let mut row = due_row();
    row["id"] = json!(format!("run-{number}"));
    row["next_scheduled_start_time"] = json!(start);
    row
}

#[tokio::test]
async fn an_idle_poll_is_heartbeat_pool_and_queue_at_once() {
    let server = queue_of(Vec::new()).await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    assert!(page.runs.is_empty() && page.unreadable.is_empty() && !page.full && page.queue_error.is_none());
    let mut calls = calls(&server);
    calls.sort_unstable();
    assert_eq!(calls, ["GET /work_pools/ecs%20pool", QUEUE, HEARTBEAT]);
    let asked = server.requests().into_iter().find(|request| call(request) == QUEUE).unwrap().json();
    let before = json!({"work_queue_names": [], "scheduled_before": "2026-11-22T16:23:10.488868+00:00", "limit": 200});
    assert_eq!(asked, before);
}

#[tokio::test]
async fn a_due_run_has_the_epoch_of_its_state() {
    let server = queue_of(vec![due_row()]).await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    let [run] = page.runs.try_into().unwrap();
    assert_eq!((run.flow_run_id.as_str(), run.epoch.as_str(), run.token.as_str()), (RUN, &*claim_id(), &*claim_id()));
    assert_ne!(run.epoch, stranger().claim(RUN, STATE), "another deployment's agent names it differently");
    assert!(!run.has_history && !run.is_task_retry && run.attempts == 0);
}

#[tokio::test]
async fn no_run_is_held_and_the_order_of_the_queues_stays() {
    let starts = ["2026-11-22T16:23:10Z", "2026-11-22T15:00:00Z", "2026-11-22T16:23:05Z"];
    let server = queue_of(starts.iter().enumerate().map(|(number, start)| numbered(number, start)).collect()).await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    let order: Vec<_> = page.runs.iter().map(|run| run.flow_run_id.as_str()).collect();
    assert_eq!(order, ["run-0", "run-1", "run-2"], "a queue of a higher priority comes first");
    assert!(page.runs.is_sorted_by_key(|run| run.start_time) && page.runs.iter().all(|run| run.start_time <= NOW));
}

#[tokio::test]
async fn full_pages_are_followed_by_others_up_to_the_limit() {
    let rows: Vec<Value> = (0..300).map(|number| numbered(number, "2026-11-22T16:00:00Z")).collect();
    let server = queue_of(rows).await;
    let mut setup = setup(&server.url());
    setup.config.generation.limit = Some(250);
    let prefect = with(setup);
    prefect.set_deadline(None);
    let mut pages = Vec::new();
    for _ in 0..3 {
        let page = prefect.due_runs(&window()).await.unwrap();
        pages.push((page.runs.len(), page.full));
    }
    assert_eq!(pages, [(200, true), (50, true), (0, false)]);
    let calls = calls(&server);
    assert_eq!(calls.iter().filter(|call| *call == QUEUE).count(), 2, "{calls:?}");
    assert_eq!(calls.iter().filter(|call| *call == HEARTBEAT).count(), 1, "one sign of life for a poll");
    prefect.set_deadline(None);
    assert_eq!(prefect.due_runs(&window()).await.unwrap().runs.len(), 200, "the next poll begins anew");
}

/// The state of a due row that waits for a retry.
fn waiting_state() -> Value {
    let mut state = state("SCHEDULED", "AwaitingRetry");
    state["id"] = json!(STATE);
    state
}

#[tokio::test]
async fn a_run_that_was_taken_and_given_back_between_two_requests_is_left_to_a_later_poll() {
    let server = Server::start(|request| {
        let mut waiting = due_row();
        waiting["state_name"] = json!("AwaitingRetry");
        let mut given_back_since = waiting_state();
        given_back_since["id"] = json!("01a20411-0000-7000-8000-000000000000");
        given_back_since["data"] = AUTHOR.data(&mark());
        match call(request).as_str() {
            "POST /flow_runs/filter" => json(200, &json!([row_in(given_back_since)])),
            _ => usual(request, &[waiting]),
        }
    })
    .await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    assert!(page.runs.is_empty() && page.unreadable.is_empty(), "{:?}", page.runs);
}

#[tokio::test]
async fn a_run_that_becomes_late_between_two_requests_is_due_in_this_poll() {
    let server = Server::start(|request| {
        let mut waiting = due_row();
        waiting["state_name"] = json!("AwaitingRetry");
        let mut late = state("SCHEDULED", "Late");
        late["id"] = json!("01a20411-0000-7000-8000-000000000000");
        match call(request).as_str() {
            "POST /flow_runs/filter" => json(200, &json!([row_in(late)])),
            _ => usual(request, &[waiting]),
        }
    })
    .await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    let epochs: Vec<_> = page.runs.iter().map(|run| run.epoch.as_str()).collect();
    assert_eq!(epochs, [claim_id()], "its claim is named by the state that the queue showed");
}

#[tokio::test]
async fn what_was_tried_before_is_read_for_the_runs_that_wait_for_a_retry() {
    let server = Server::start(|request| {
        let mut waiting = due_row();
        waiting["state_name"] = json!("AwaitingRetry");
        match call(request).as_str() {
            "POST /flow_runs/filter" => {
                assert_eq!(request.json()["flow_runs"]["id"]["any_"], json!([RUN]));
                let mut given_back = waiting_state();
                let mark = Mark { agent: IDENTITY.into(), attempt: 3, capacity_refusals: 2, ..mark() };
                given_back["data"] = json!({Mark::KEY: mark});
                json(200, &json!([row_in(given_back)]))
            }
            _ => usual(request, &[waiting, numbered(1, "2026-11-22T16:00:00Z")]),
        }
    })
    .await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    let tried: Vec<_> = page.runs.iter().map(|run| (run.attempts, run.capacity_refusals, run.has_history)).collect();
    assert_eq!(tried, [(3, 2, true), (0, 0, true)], "the other one was scheduled anew");
}

#[tokio::test]
async fn what_was_given_back_waits_for_its_time_and_prefects_own_retries_start_early() {
    let launched = async |mark: Value| {
        let server = Server::start(move |request| {
            let mut waiting = due_row();
            waiting["state_name"] = json!("AwaitingRetry");
            waiting["next_scheduled_start_time"] = json!("2026-11-22T16:23:05Z");
            let mut state = waiting_state();
            state["data"] = mark.clone();
            match call(request).as_str() {
                "POST /flow_runs/filter" => json(200, &json!([row_in(state)])),
                _ => usual(request, &[waiting]),
            }
        })
        .await;
        agent(&server).due_runs(&window()).await.unwrap().runs.len()
    };
    assert_eq!(launched(json!(null)).await, 1);
    assert_eq!(launched(AUTHOR.data(&mark())).await, 0);
}

#[tokio::test]
async fn a_run_whose_earlier_attempts_cannot_be_read_waits() {
    let server = Server::start(|request| {
        let mut waiting = due_row();
        waiting["state_name"] = json!("AwaitingRetry");
        match call(request).as_str() {
            "POST /flow_runs/filter" => json(500, &json!({"exception_message": "Internal Server Error"})),
            _ => usual(request, &[waiting]),
        }
    })
    .await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    assert!(page.runs.is_empty());
    let (id, why) = &page.unreadable[0];
    assert!(id == RUN && why.contains("earlier attempts") && why.contains("500"), "{why}");
}

#[tokio::test]
async fn an_odd_row_harms_no_other() {
    let mut odd = due_row();
    odd["flow_id"] = json!(null);
    odd["id"] = json!("odd");
    let server = queue_of(vec![odd, due_row(), json!("x")]).await;
    let page = agent(&server).due_runs(&window()).await.unwrap();
    assert_eq!(page.runs.len(), 1);
    let ids: Vec<_> = page.unreadable.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["odd", "?"]);
}

#[tokio::test]
async fn a_failed_heartbeat_or_pool_is_trouble_and_stops_no_launch() {
    for broken in [HEARTBEAT, "GET /work_pools/ecs%20pool"] {
        let server = Server::start(
            move |request| {
                if call(request) == broken { unavailable() } else { usual(request, &[due_row()]) }
            },
        )
        .await;
        let page = agent(&server).due_runs(&window()).await.unwrap();
        assert_eq!(page.runs.len(), 1, "{broken}");
        assert!(matches!(page.queue_error, Some(ApiError::Status { status: 503, .. })), "{broken}");
    }
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_a_matter_of_configuration() {
    let server = Server::start(|request| match call(request).as_str() {
        QUEUE => json(404, &json!({"detail": "Work pool queue 'ecs pool/nope' not found."})),
        _ => usual(request, &[]),
    })
    .await;
    let error = agent(&server).due_runs(&window()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, ApiError::Configuration(_)) && text.contains("nope") && text.contains("work_queues"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dry_run_shows_no_sign_of_life() {
    let server = queue_of(vec![due_row()]).await;
    let mut setup = setup(&server.url());
    setup.read_only = true;
    with(setup).due_runs(&window()).await.unwrap();
    assert!(!calls(&server).contains(&HEARTBEAT.to_owned()));
}
