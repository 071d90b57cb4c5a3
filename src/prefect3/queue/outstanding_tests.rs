#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    CLUSTER, NOW, RUN, STATE, TASK, agent, call, calls, claim_id, claimed_state, mark, row_in, setup, state, with,
};
use super::super::test_support::{names, ok, replying};
use super::*;
use crate::aws::test_server::{Request, Server, json};
use crate::orchestrator::Mark;
use serde_json::{Value, json};

const ORPHAN_AFTER: Duration = Duration::from_mins(2);

/// A server on which these runs are PENDING or CANCELLING, and those were cancelled a while ago. A run's history is its
/// `history`.
async fn server(standing: Vec<Value>, cancelled: Vec<Value>) -> Server {
    Server::start(move |request: &Request| {
        if let Some(id) = request.target.strip_prefix("/flow_run_states/?flow_run_id=") {
            let run = standing.iter().find(|row| row["id"] == id).unwrap();
            return json(200, &run["history"]);
        }
        assert_eq!(call(request), "POST /flow_runs/filter");
        let body = request.json();
        let wants_cancelled = body["flow_runs"]["state"]["type"]["any_"] == json!(["CANCELLED"]);
        let from = usize::try_from(body["offset"].as_u64().unwrap()).unwrap();
        let rows = if wants_cancelled { &cancelled } else { &standing };
        json(200, &json!(rows.iter().skip(from).take(200).collect::<Vec<_>>()))
    })
    .await
}

async fn standing(rows: Vec<Value>) -> OutstandingClaims<Detail> {
    agent(&server(rows, Vec::new()).await).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap()
}

/// A claim of ours that is in this state by now.
fn under(sub_state: Value) -> Value {
    let mut row = row_in(sub_state);
    let mut scheduled = state("SCHEDULED", "Scheduled");
    (scheduled["id"], scheduled["timestamp"]) = (json!(STATE), json!("2026-11-22T16:10:00Z"));
    row["history"] = json!([scheduled, claimed_state(), row["state"]]);
    row
}

fn fresh(mut state: Value) -> Value {
    state["timestamp"] = json!("2026-11-22T16:22:00Z");
    state
}

#[tokio::test]
async fn an_old_claim_of_ours_is_looked_after() {
    let standing = standing(vec![row_in(claimed_state())]).await;
    let [claimed] = standing.claimed.try_into().unwrap();
    assert_eq!((claimed.run.flow_run_id.as_str(), claimed.run.token.as_str()), (RUN, &*claim_id()));
    assert_eq!((claimed.mark, claimed.pid, standing.foreign), (mark(), None, 0));
    assert_eq!(claimed.since, time::macros::datetime!(2026-11-22 16:20 UTC));
}

#[tokio::test]
async fn the_attempts_of_a_claim_are_those_before_it() {
    let mut state = claimed_state();
    state["data"][Mark::KEY]["attempt"] = json!(3);
    state["data"][Mark::KEY]["capacity_refusals"] = json!(2);
    let mut row = row_in(state);
    row["infrastructure_pid"] = json!(format!("{CLUSTER}::{TASK}"));
    let standing = standing(vec![row]).await;
    let claimed = &standing.claimed[0];
    assert_eq!((claimed.run.attempts, claimed.run.capacity_refusals), (2, 2));
    assert_eq!(claimed.pid, Some(format!("{CLUSTER}::{TASK}")));
}

#[tokio::test]
async fn young_claims_of_ours_are_left_and_others_are_only_counted() {
    let mut random = state("PENDING", "Pending");
    random["state_details"]["transition_id"] = json!("16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8");
    let mut rows = vec![row_in(fresh(claimed_state())), row_in(random.clone()), row_in(fresh(random))];
    let mut submitting = row_in(fresh(state("PENDING", "Submitting")));
    submitting["labels"] = json!({"prefect.worker.name": "a Python worker"});
    rows.push(submitting);
    rows.push(row_in(fresh(state("PENDING", "InfrastructurePending"))));
    for (number, row) in rows.iter_mut().enumerate() {
        row["id"] = json!(format!("run-{number}"));
    }
    let standing = standing(rows).await;
    assert!(standing.claimed.is_empty());
    assert_eq!(standing.foreign, 3, "whose the last one is, nobody can tell without asking");
}

#[tokio::test]
async fn a_sub_state_over_our_claim_hides_it_only_until_the_history_is_read_once() {
    let server = server(vec![under(state("PENDING", "Submitting"))], Vec::new()).await;
    let prefect = agent(&server);
    for _ in 0..2 {
        let standing = prefect.outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap();
        assert_eq!((standing.claimed.len(), standing.foreign), (1, 0));
        assert_eq!(standing.claimed[0].mark, mark());
    }
    let histories = calls(&server).iter().filter(|call| call.starts_with("GET /flow_run_states/")).count();
    assert_eq!(histories, 1);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_leaves_the_run_to_the_next_poll() {
    let server = Server::start(|request| match call(request).as_str() {
        "POST /flow_runs/filter" if request.body.contains("PENDING") => {
            json(200, &json!([row_in(state("PENDING", "Submitting"))]))
        }
        "POST /flow_runs/filter" => json(200, &json!([])),
        _ => json(500, &json!({})),
    })
    .await;
    let standing = agent(&server).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap();
    assert_eq!((standing.claimed.len(), standing.foreign), (0, 0));
}

#[tokio::test]
async fn few_histories_are_read_in_one_poll_and_others_in_the_next() {
    let rows = (0..50).map(|number| {
        let mut row = under(state("PENDING", "Submitting"));
        row["id"] = json!(format!("run-{number}"));
        row["state_id"] = json!(format!("state-{number}"));
        row["state"]["id"] = json!(format!("state-{number}"));
        row["history"] = json!([]);
        row
    });
    let server = server(rows.collect(), Vec::new()).await;
    let prefect = agent(&server);
    let mut counted = Vec::new();
    for poll in 0..3 {
        let now = NOW + Duration::from_mins(poll);
        counted.push(prefect.outstanding_claims(now, ORPHAN_AFTER).await.unwrap().foreign);
    }
    assert_eq!(counted, [20, 40, 50]);
}

#[tokio::test]
async fn runs_that_are_being_cancelled_come_with_their_task() {
    let mut cancelling = row_in(state("CANCELLING", "Cancelling"));
    cancelling["infrastructure_pid"] = json!(format!("{CLUSTER}::{TASK}"));
    let mut started = row_in(state("CANCELLING", "Cancelling"));
    (started["id"], started["start_time"]) = (json!("started"), json!("2026-11-22T16:10:00Z"));
    let standing = standing(vec![cancelling, started]).await;
    let [first, second] = standing.cancelling.try_into().unwrap();
    assert_eq!(first.pid, Some(format!("{CLUSTER}::{TASK}")));
    assert!(!first.is_over && !first.has_started);
    assert!(second.pid.is_none() && second.has_started);
    assert_eq!(first.run.epoch, names().claim(RUN, "01a20411-6d0c-760b-8b01-723facfa932a"));
}

#[tokio::test]
async fn runs_cancelled_a_short_while_ago_are_over_and_looked_at_when_they_had_a_task() {
    let mut over = row_in(state("CANCELLED", "Cancelled"));
    over["infrastructure_pid"] = json!("etl::arn:task");
    let mut never = row_in(state("CANCELLED", "Cancelled"));
    never["id"] = json!("never launched");
    let mut without_pid = row_in(state("CANCELLED", "Cancelled"));
    without_pid["id"] = json!("began, and its pid was not written down");
    without_pid["start_time"] = json!("2026-11-22T16:10:00.000000Z");
    let server = server(Vec::new(), vec![over, never, without_pid]).await;
    let standing = agent(&server).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap();
    assert_eq!(standing.cancelling.len(), 2);
    assert!(standing.cancelling.iter().all(|run| run.is_over && run.run.flow_run_id != "never launched"));
    let asked =
        server.requests().iter().map(Request::json).find(|body| body["flow_runs"]["end_time"].is_object()).unwrap();
    assert_eq!(asked["flow_runs"]["end_time"], json!({"after_": "2026-11-22T16:08:00.488868+00:00"}));
}

#[tokio::test]
async fn a_server_that_does_not_know_ends_of_runs_is_not_asked_again() {
    let server = Server::start(|request| {
        if request.body.contains("end_time") {
            return json(422, &json!({"exception_message": "Invalid request received."}));
        }
        json(200, &json!([]))
    })
    .await;
    let prefect = agent(&server);
    for _ in 0..2 {
        prefect.outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn cancelled_runs_of_other_queues_are_left_to_those_who_serve_them() {
    let mut row = row_in(state("CANCELLING", "Cancelling"));
    row["work_queue_name"] = json!("low");
    let server = server(vec![row], Vec::new()).await;
    let with_queues = |queues: &[&str]| {
        let mut setup = setup(&server.url());
        setup.config.generation.work_queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
        with(setup)
    };
    assert!(with_queues(&["high"]).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap().cancelling.is_empty());
    assert_eq!(with_queues(&["high", "low"]).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap().cancelling.len(), 1);
}

#[tokio::test]
async fn all_pages_are_read_and_no_run_twice() {
    let rows = (0..250).map(|number| {
        let mut row = row_in(claimed_state());
        row["id"] = json!(format!("run-{}", number.min(240)));
        row
    });
    let standing = standing(rows.collect()).await;
    assert_eq!(standing.claimed.len(), 241);
}

#[tokio::test]
async fn what_cannot_be_read_at_all_is_an_error() {
    let server = replying(vec![ok(json!({"not": "a list"}))]).await;
    assert!(matches!(agent(&server).outstanding_claims(NOW, ORPHAN_AFTER).await, Err(ApiError::Malformed(_))));
}
