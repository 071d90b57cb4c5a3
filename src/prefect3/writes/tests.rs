#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    IDENTITY, NOW, RUN, agent, call, calls, claim_id, claimed_state, due, due_row, mark, names, no_content, pid,
    replying, row_in, state, unavailable,
};
use super::*;
use crate::aws::test_server::{Reply, Request as Seen, Server, json};
use crate::orchestrator::RunNow;
use std::time::Duration;

const SET_STATE: &str = "POST /flow_runs/8449522c-244c-499e-8a08-131a70e53c42/set_state";
const PATCH: &str = "PATCH /flow_runs/8449522c-244c-499e-8a08-131a70e53c42";

fn accepted(state: &Value) -> Reply {
    json(201, &json!({"status": "ACCEPT", "state": state, "details": {"type": "accept_details"}}))
}

fn refused(status: &str, state: &Value, reason: &str) -> Reply {
    json(200, &json!({"status": status, "state": state, "details": {"reason": reason}}))
}

async fn claim_with(replies: Vec<Reply>) -> (Claimed, Server) {
    let server = replying(replies).await;
    let (run, mark) = (due(), mark());
    let claimed = agent(&server).claim(&[Claim { run: &run, mark: &mark }]).await.pop().unwrap();
    (claimed, server)
}

#[tokio::test]
async fn an_accepted_claim_is_ours() {
    let (claimed, server) = claim_with(vec![accepted(&claimed_state())]).await;
    assert_eq!(claimed, Claimed::Ours);
    assert_eq!(calls(&server), [SET_STATE]);
    let body = server.requests()[0].json();
    assert_eq!(body["force"], false);
    assert_eq!(body["state"]["state_details"], json!({"transition_id": claim_id()}));
    assert_eq!(body["state"]["data"][Mark::KEY]["agent"], IDENTITY);
}

#[tokio::test]
async fn a_claim_whose_first_answer_was_lost_is_sent_again_under_the_same_id() {
    let already = refused("REJECT", &claimed_state(), "This run has already made this state transition.");
    for lost in [Reply::Drop, unavailable()] {
        let (claimed, server) = claim_with(vec![lost, already.clone()]).await;
        assert_eq!(claimed, Claimed::Ours);
        let bodies: Vec<_> = server.requests().iter().map(|request| request.body.clone()).collect();
        assert_eq!(bodies.len(), 2);
        assert_eq!(bodies[0], bodies[1]);
    }
}

#[tokio::test]
async fn a_claim_of_another_invocation_of_this_agent_is_that_ones_to_launch() {
    let already = |state: &Value| refused("REJECT", state, "This run has already made this state transition.");
    let mut theirs = claimed_state();
    theirs["data"][Mark::KEY]["session"] = json!("2");
    let mut nobodys = claimed_state();
    nobodys["data"] = json!(null);
    for replies in [vec![already(&theirs)], vec![Reply::Drop, already(&theirs)], vec![already(&nobodys)]] {
        let (claimed, _) = claim_with(replies).await;
        assert!(matches!(&claimed, Claimed::Refused(why) if why.contains("another invocation")), "{claimed:?}");
    }
    assert_eq!(claim_with(vec![Reply::Drop, already(&nobodys)]).await.0, Claimed::Ours);
}

#[tokio::test]
async fn a_refusal_is_believed_unless_an_earlier_try_may_have_been_accepted() {
    let abort = refused("ABORT", &state("PENDING", "Submitting"), "is in a PENDING state");
    let (claimed, _) = claim_with(vec![abort.clone()]).await;
    assert!(matches!(claimed, Claimed::Refused(reason) if reason.contains("PENDING state")));
    let (claimed, _) = claim_with(vec![Reply::Drop, abort]).await;
    assert!(matches!(claimed, Claimed::Unknown(_)), "an observer may have put a sub-state over our claim: {claimed:?}");
}

#[tokio::test]
async fn every_other_answer_to_a_claim_has_its_meaning() {
    let one = async |reply: Reply| claim_with(vec![reply]).await.0;
    let slot = refused("REJECT", &state("SCHEDULED", "AwaitingConcurrencySlot"), "limit reached");
    assert!(matches!(one(slot).await, Claimed::Refused(reason) if reason.contains("AwaitingConcurrencySlot")));
    let gone = json(404, &json!({"exception_message": "Flow run with id x not found"}));
    assert_eq!(one(gone).await, Claimed::Refused("it no longer exists".into()));
    assert!(matches!(one(json(401, &json!({}))).await, Claimed::NotMade(ApiError::Unauthorised(_))));
    assert!(matches!(one(json(429, &json!({}))).await, Claimed::NotMade(ApiError::Throttled { .. })));
    assert!(matches!(one(json(422, &json!({"detail": "x"}))).await, Claimed::NotMade(ApiError::Refused { .. })));
    for unclear in [json(500, &json!({})), unavailable(), json(200, &json!({})), Reply::CutOff] {
        let claimed = one(unclear).await;
        assert!(matches!(claimed, Claimed::Unknown(_)), "{claimed:?}");
    }
}

#[tokio::test]
async fn a_claim_that_was_never_sent_was_not_made() {
    let run = due();
    let prefect =
        super::super::test_support::with(super::super::test_support::setup(&crate::aws::test_server::closed_port()));
    let claimed = prefect.claim(&[Claim { run: &run, mark: &mark() }]).await;
    assert!(matches!(&claimed[..], [Claimed::NotMade(ApiError::Unreachable { .. })]), "{claimed:?}");
}

/// A server that shows the run in this state, and takes every other.
async fn showing(row: Value, history: Vec<Value>) -> Server {
    Server::start(move |request: &Seen| match call(request).as_str() {
        "POST /flow_runs/filter" => json(200, &json!([row])),
        SET_STATE => {
            let state = request.json()["state"].clone();
            accepted(&state)
        }
        PATCH => no_content(),
        other if other.starts_with("GET /flow_run_states/") => json(200, &json!(history)),
        other => panic!("{other}"),
    })
    .await
}

fn proposals(server: &Server) -> Vec<Value> {
    let requests = server.requests();
    requests
        .iter()
        .filter(|request| call(request) == SET_STATE)
        .map(|request| request.json()["state"].clone())
        .collect()
}

async fn give_back(server: &Server) -> Result<(), ApiError> {
    let (run, mark) = (due(), Mark { attempt: 2, ..mark() });
    let delay = Duration::from_secs(45);
    let back = GiveBack { run: &run, mark: &mark, reason: "no capacity".into(), for_capacity: true, delay };
    agent(server).give_back(&[back], NOW).await.pop().unwrap()
}

#[tokio::test]
async fn a_claim_of_ours_is_given_back_with_what_was_tried() {
    let server = showing(row_in(claimed_state()), Vec::new()).await;
    assert_eq!(give_back(&server).await, Ok(()));
    let [state] = proposals(&server).try_into().unwrap();
    assert_eq!((state["name"].as_str(), state["message"].as_str()), (Some("AwaitingRetry"), Some("no capacity")));
    assert_eq!(state["state_details"]["scheduled_time"], "2026-11-22T16:23:45.488868+00:00");
    assert_eq!(
        (state["data"][Mark::KEY]["attempt"].as_u64(), state["data"][Mark::KEY]["capacity_refusals"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(calls(&server), ["POST /flow_runs/filter", SET_STATE]);
    give_back(&server).await.unwrap();
    assert_eq!(proposals(&server)[1], state, "the same claim is given back under the same id");
}

#[tokio::test]
async fn the_task_of_an_earlier_launch_is_forgotten_with_the_claim() {
    let mut row = row_in(claimed_state());
    row["infrastructure_pid"] = json!("etl::arn:earlier");
    let server = showing(row, Vec::new()).await;
    give_back(&server).await.unwrap();
    assert_eq!(calls(&server), ["POST /flow_runs/filter", PATCH, SET_STATE]);
    assert_eq!(server.requests()[1].json(), json!({"infrastructure_pid": null}));
}

#[tokio::test]
async fn a_claim_under_a_sub_state_is_ours_by_its_history() {
    let history = vec![state("PENDING", "Submitting"), claimed_state()];
    let server = showing(row_in(state("PENDING", "Submitting")), history).await;
    assert_eq!(give_back(&server).await, Ok(()));
    let server = showing(row_in(state("PENDING", "Submitting")), vec![state("PENDING", "Pending")]).await;
    assert!(matches!(give_back(&server).await, Err(ApiError::NotOurs(_))));
}

#[tokio::test]
async fn what_is_no_longer_ours_is_neither_given_back_nor_crashed() {
    for row in [row_in(state("CANCELLING", "Cancelling")), row_in(state("RUNNING", "Running")), due_row()] {
        let server = showing(row, Vec::new()).await;
        let run = due();
        assert!(matches!(give_back(&server).await, Err(ApiError::NotOurs(_))));
        let crashed = agent(&server).fail(&[Ending { run: &run, message: "x".into() }]).await;
        assert!(matches!(&crashed[..], [Err(ApiError::NotOurs(_))]));
        assert!(proposals(&server).is_empty());
    }
}

#[tokio::test]
async fn a_launch_that_can_never_be_crashes_the_run_in_the_workers_words() {
    let server = showing(row_in(claimed_state()), Vec::new()).await;
    let run = due();
    let crashed = agent(&server).fail(&[Ending { run: &run, message: "ValueError: no".into() }]).await;
    assert_eq!(crashed, [Ok(())]);
    let [state] = proposals(&server).try_into().unwrap();
    assert_eq!((state["type"].as_str(), state["name"].as_str()), (Some("CRASHED"), Some("Crashed")));
    assert_eq!(state["message"], "Failed to submit flow run to infrastructure: ValueError: no");
}

#[tokio::test]
async fn a_run_that_is_being_cancelled_is_ended_by_a_name_that_all_who_see_it_give() {
    let server = showing(row_in(state("CANCELLING", "Cancelling")), Vec::new()).await;
    let run = due();
    assert_eq!(agent(&server).cancelled(&[Ending { run: &run, message: "stopped".into() }]).await, [Ok(())]);
    let id =
        names().end_of_cancelled(RUN, &names().claim(RUN, state("CANCELLING", "Cancelling")["id"].as_str().unwrap()));
    let state = json!({
        "type": "CANCELLED", "name": "Cancelled", "message": "stopped", "state_details": {"transition_id": id},
    });
    assert_eq!(server.requests()[1].json(), json!({"state": state, "force": false}));
}

#[tokio::test]
async fn a_due_run_is_cancelled_only_as_it_was_seen() {
    let mut row = due_row();
    row["state"] = json!({"id": row["state_id"], "type": "SCHEDULED", "name": "Scheduled"});
    let run = due();
    let ending = || [Ending { run: &run, message: "gone".into() }];
    let server = showing(row.clone(), Vec::new()).await;
    assert_eq!(agent(&server).cancelled(&ending()).await, [Ok(())]);
    assert_eq!(server.requests()[1].json()["force"], true, "no rule of the server lets it become Cancelled otherwise");
    let late = row_in(state("SCHEDULED", "Late"));
    let server = showing(late, Vec::new()).await;
    assert_eq!(agent(&server).cancelled(&ending()).await, [Ok(())], "Late is the same turn");
    row["state_id"] = json!("another");
    row["next_scheduled_start_time"] = json!("2026-11-22T17:00:00Z");
    let server = showing(row, Vec::new()).await;
    assert!(matches!(&agent(&server).cancelled(&ending()).await[..], [Err(ApiError::NotOurs(_))]));
}

#[tokio::test]
async fn reading_again_shows_epoch_and_mark() {
    let now = async |row: Value, history: Vec<Value>| {
        let server = showing(row, history).await;
        let gone = DueRun { flow_run_id: "gone".to_owned(), ..due() };
        agent(&server).reread(&[&due(), &gone]).await.unwrap()
    };
    let mut as_it_was = due_row();
    as_it_was["state"] = json!({"id": as_it_was["state_id"], "type": "SCHEDULED", "name": "Scheduled"});
    let unchanged = RunNow { epoch: claim_id(), state: "SCHEDULED".into(), mark: None };
    for row in [as_it_was, row_in(state("SCHEDULED", "Late"))] {
        assert_eq!(now(row, Vec::new()).await, [Some(unchanged.clone()), None]);
    }
    let mut scheduled_anew = row_in(state("SCHEDULED", "Scheduled"));
    scheduled_anew["next_scheduled_start_time"] = json!("2026-11-22T17:00:00Z");
    assert_ne!(now(scheduled_anew, Vec::new()).await[0].as_ref().unwrap().epoch, claim_id());

    let claimed = now(row_in(claimed_state()), Vec::new()).await;
    let found = claimed[0].as_ref().unwrap();
    assert!(mark().is_claim_of(found.mark.as_ref()) && found.epoch != claim_id());
    let mut of_another_process = claimed_state();
    of_another_process["data"][Mark::KEY]["session"] = json!("2");
    assert_eq!(now(row_in(of_another_process), Vec::new()).await[0].as_ref().unwrap().mark, None);
    let hidden = now(row_in(state("PENDING", "Submitting")), vec![claimed_state()]).await;
    assert!(mark().is_claim_of(hidden[0].as_ref().unwrap().mark.as_ref()));
    let foreign = now(row_in(state("PENDING", "Pending")), Vec::new()).await;
    assert!(!mark().is_claim_of(foreign[0].as_ref().unwrap().mark.as_ref()));
}

#[tokio::test]
async fn a_pid_is_written_down() {
    let server = replying(vec![no_content()]).await;
    agent(&server).record_pid(&due(), &pid()).await;
    assert_eq!(server.requests()[0].json(), json!({"infrastructure_pid": pid()}));
    assert_eq!(calls(&server), [PATCH]);
}

#[tokio::test]
async fn log_lines_are_dated_and_levelled() {
    let server = replying(vec![json(201, &json!(null))]).await;
    let prefect = agent(&server);
    let line = |level| RunLog { flow_run_id: RUN.into(), level, message: "hello".into() };
    prefect.log(&[line(LogLevel::Info), line(LogLevel::Warning), line(LogLevel::Error)]).await.unwrap();
    let lines = server.requests()[0].json();
    let first = json!({"name": "prefect.flow_runs.worker", "level": 20, "message": "hello",
                       "timestamp": "2026-11-22T16:23:00.488868+00:00", "flow_run_id": RUN});
    assert_eq!((lines[0].clone(), lines[1]["level"].as_u64(), lines[2]["level"].as_u64()), (first, Some(30), Some(40)));
    assert_eq!(calls(&server), ["POST /logs/"]);
    let many: Vec<_> = (0..401).map(|_| line(LogLevel::Info)).collect();
    prefect.log(&many).await.unwrap();
    assert_eq!(server.requests().len(), 4);
    assert!(agent(&replying(vec![unavailable()]).await).log(&[line(LogLevel::Info)]).await.is_err());
}
