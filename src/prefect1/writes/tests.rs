#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::single_match_else)]
use super::super::test_support::{
    NOW, RUN_ID, Reply, Server, due, mark_for, ok, prefect, retry_row, scheduled_row, setup, task_row,
};
use super::*;
use crate::orchestrator::{DueRun, Mark, Orchestrator};
use std::time::Duration;

fn success(id: &str) -> Value {
    json!({"states": [{"id": id, "status": "SUCCESS", "message": null}]})
}

fn runs(count: usize) -> Vec<DueRun<Detail>> {
    let row = |index: usize| {
        let mut row = scheduled_row();
        row["id"] = json!(format!("run-{index}"));
        due(&row)
    };
    (0..count).map(row).collect()
}

fn claims<'a>(runs: &'a [DueRun<Detail>], marks: &'a [Mark]) -> Vec<Claim<'a, Detail>> {
    runs.iter().zip(marks).map(|(run, mark)| Claim { run, mark }).collect()
}

fn marks(runs: &[DueRun<Detail>]) -> Vec<Mark> {
    runs.iter().map(mark_for).collect()
}

/// Answers every alias of a document with success.
fn all_succeed(variables: &Value) -> Reply {
    let aliases = variables.as_object().unwrap().keys().map(|key| (key.replace('i', "r"), success("x")));
    ok(Value::Object(aliases.collect()))
}

/// The state that the `index`-th alias of a request sets.
fn state_of(variables: &Value, index: usize) -> &Value {
    &variables[format!("i{index}")]["states"][0]
}

#[tokio::test]
async fn many_claims_are_one_request() {
    let server = Server::start(|seen, _| all_succeed(&seen.variables)).await;
    let prefect = prefect(setup(&server.api));
    let runs = runs(100);
    let marks = marks(&runs);
    let claimed = prefect.claim(&claims(&runs, &marks)).await;
    assert!(claimed.len() == 100 && claimed.iter().all(|claimed| *claimed == Claimed::Ours));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let state = state_of(&seen[0].variables, 99);
    assert_eq!((&state["flow_run_id"], &state["version"]), (&json!("run-99"), &json!(1)));
    assert_eq!(state["state"]["type"], "Submitted");
    assert_eq!(state["state"]["context"]["prefect_serverless_agent"], json!(marks[99]));
    assert_eq!(state["state"]["state"], scheduled_row()["serialized_state"]);
}

#[tokio::test]
async fn a_task_retry_claims_its_task_runs_only() {
    let server = Server::start(|_, _| {
        let error = json!({"message": "State update failed for task run ID b", "path": ["r1"]});
        Reply::Json(200, json!({"data": {"r0": success("a"), "r1": null}, "errors": [error]}))
    })
    .await;
    let mut row = retry_row();
    row["task_runs"] = json!([task_row("a", 3), task_row("b", 1)]);
    let runs = [due(&row)];
    let marks = marks(&runs);
    let claimed = prefect(setup(&server.api)).claim(&claims(&runs, &marks)).await;
    assert_eq!(claimed, [Claimed::Ours], "part of it is enough");
    let seen = &server.seen()[0];
    assert!(!seen.query.contains("set_flow_run_states"), "{}", seen.query);
    let state = state_of(&seen.variables, 0);
    assert_eq!((&state["task_run_id"], &state["version"]), (&json!("a"), &json!(3)));
    assert_eq!(state["state"]["message"], "Submitted for execution.");
    assert_eq!(state["state"]["state"]["run_count"], 1);
}

#[tokio::test]
async fn a_lost_answer_is_sent_once_and_resolved_by_our_mark() {
    let runs = [due(&scheduled_row())];
    let marks = marks(&runs);
    let mark = json!(marks[0]);
    let server = Server::start(move |seen, _| match seen.operation() {
        "set_flow_run_states" => Reply::Drop,
        _ => {
            let state = json!({"type": "Submitted", "context": {"prefect_serverless_agent": mark}});
            ok(json!({"flow_run": [{"id": RUN_ID, "version": 2, "state": "Submitted", "serialized_state": state,
                "task_runs": []}]}))
        }
    })
    .await;
    let prefect = prefect(setup(&server.api));
    let claimed = prefect.claim(&claims(&runs, &marks)).await;
    assert!(matches!(&claimed[0], Claimed::Unknown(_)), "{claimed:?}");
    let nobody = DueRun { flow_run_id: "nobody".to_owned(), ..runs[0].clone() };
    let now = prefect.reread(&[&nobody, &runs[0]]).await.unwrap();
    assert_eq!(now[0], None);
    assert_eq!(now[1].as_ref().unwrap().mark.as_ref(), Some(&marks[0]));
    assert_eq!(server.operations(), ["set_flow_run_states", "flow_run"]);
}

#[tokio::test]
async fn a_lost_answer_of_a_task_retry_is_resolved_by_the_mark_on_its_task_runs() {
    let runs = [due(&retry_row())];
    let marks = marks(&runs);
    let mark = json!(marks[0]);
    let server = Server::start(move |seen, _| match seen.operation() {
        "set_task_run_states" => Reply::Text(502, ("x", "y"), "bad gateway"),
        _ => {
            let mut row = retry_row();
            row["task_runs"][0]["serialized_state"] =
                json!({"type": "Submitted", "context": {"prefect_serverless_agent": mark}});
            ok(json!({"flow_run": [row]}))
        }
    })
    .await;
    let prefect = prefect(setup(&server.api));
    assert!(matches!(prefect.claim(&claims(&runs, &marks)).await[0], Claimed::Unknown(_)));
    let now = prefect.reread(&[&runs[0]]).await.unwrap();
    assert_eq!(now[0].as_ref().unwrap().mark.as_ref(), Some(&marks[0]));
}

#[tokio::test]
async fn a_claim_that_reached_nobody_was_not_made() {
    let server = Server::start(|_, _| Reply::Text(429, ("x", "y"), "slow down")).await;
    let runs = runs(2);
    let marks = marks(&runs);
    for claimed in prefect(setup(&server.api)).claim(&claims(&runs, &marks)).await {
        assert!(matches!(&claimed, Claimed::NotMade(_)), "{claimed:?}");
    }
    assert!(prefect(setup(&server.api)).claim(&[]).await.is_empty());
    assert_eq!(server.seen().len(), 1, "no claims, no request");
}

#[tokio::test]
async fn a_run_queued_by_a_limit_is_refused_and_made_scheduled_again() {
    let server = Server::start(|seen, number| match number {
        0 => ok(json!({"r0": success("x"), "r1": {"states": [{"id": "y", "status": "QUEUED", "message": "limit"}]}})),
        _ => all_succeed(&seen.variables),
    })
    .await;
    let runs = runs(2);
    let marks = marks(&runs);
    let claimed = prefect(setup(&server.api)).claim(&claims(&runs, &marks)).await;
    assert_eq!(claimed, [Claimed::Ours, Claimed::Refused("queued by a concurrency limit: limit".into())]);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let state = state_of(&seen[1].variables, 0);
    assert_eq!((&state["flow_run_id"], &state["state"]["type"]), (&json!("run-1"), &json!("Scheduled")));
    assert_eq!(state["state"]["start_time"], "2026-11-22T16:41:02.881859+00:00");
    assert!(state.get("version").is_none());
}

#[tokio::test]
async fn giving_back_and_failing_read_first_and_leave_alone_what_moved_on() {
    let runs = [
        due(&scheduled_row()),
        due(&{
            let mut row = scheduled_row();
            row["id"] = json!("cancelled");
            row
        }),
    ];
    let marks = marks(&runs);
    let mark = json!(marks[0]);
    let server = Server::start(move |seen, _| match seen.operation() {
        "flow_run" => {
            let state = json!({"type": "Submitted", "context": {"prefect_serverless_agent": mark}});
            let ours = json!({"id": RUN_ID, "version": 2, "state": "Submitted", "serialized_state": state});
            let cancelled = json!({"id": "cancelled", "version": 2, "state": "Cancelled", "serialized_state": {}});
            ok(json!({"flow_run": [cancelled, ours]}))
        }
        _ => all_succeed(&seen.variables),
    })
    .await;
    let prefect = prefect(setup(&server.api));
    let back = |index: usize| GiveBack {
        run: &runs[index],
        mark: &marks[index],
        reason: "throttled".into(),
        for_capacity: false,
        delay: Duration::from_secs(40),
    };
    let results = prefect.give_back(&[back(0), back(1)], NOW).await;
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(&results[1], Err(ApiError::NotOurs(why)) if why.contains("Cancelled")), "{results:?}");

    let end = |index: usize| Ending { run: &runs[index], message: "no such image".into() };
    let results = prefect.fail(&[end(1), end(0)]).await;
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");

    let seen = server.seen();
    assert_eq!(server.operations(), ["flow_run", "set_flow_run_states", "flow_run", "set_flow_run_states"]);
    let (given_back, failed) = (state_of(&seen[1].variables, 0), state_of(&seen[3].variables, 0));
    assert_eq!(given_back["state"]["start_time"], "2026-11-22T16:41:45.123899+00:00");
    assert_eq!(
        failed,
        &json!({"flow_run_id": RUN_ID,
        "state": {"type": "Failed", "message": "no such image", "context": {}}})
    );
    assert!(!seen[1].variables.as_object().unwrap().contains_key("i1"), "the cancelled run is not written");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_written() {
    let server = Server::start(|_, _| Reply::Json(400, json!({"errors": [{"message": "no"}]}))).await;
    let runs = runs(2);
    let ends: Vec<_> = runs.iter().map(|run| Ending { run, message: "x".into() }).collect();
    let results = prefect(setup(&server.api)).fail(&ends).await;
    assert!(results.len() == 2 && results.iter().all(Result::is_err));
    assert_eq!(server.operations(), ["flow_run"]);
}

#[tokio::test]
async fn a_failed_write_is_told() {
    let run = due(&scheduled_row());
    let claim = states::submitted_flow_run(&mark_for(&run), &Value::Null);
    let server = Server::start(move |seen, _| match seen.operation() {
        "flow_run" => ok(json!({"flow_run": [{"id": RUN_ID, "version": 2, "state": "Submitted",
            "serialized_state": claim}]})),
        _ => Reply::Json(200, json!({"errors": [{"message": "boom", "path": ["r0"]}], "data": {"r0": null}})),
    })
    .await;
    let results = prefect(setup(&server.api)).fail(&[Ending { run: &run, message: "x".into() }]).await;
    assert!(matches!(&results[0], Err(ApiError::Refused { message, .. }) if message == "boom"), "{results:?}");
}

#[tokio::test]
async fn many_log_lines_are_one_request() {
    let server = Server::start(|_, _| ok(json!({"write_run_logs": {"success": true}}))).await;
    let line = |level, message: &str| RunLog { flow_run_id: RUN_ID.into(), level, message: message.into() };
    let lines = [line(LogLevel::Info, "Submitted for execution: Task arn"), line(LogLevel::Error, &"x".repeat(20_000))];
    prefect(setup(&server.api)).log(&lines).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let logs = &seen[0].variables["input"]["logs"];
    assert_eq!(
        logs[0],
        json!({"flow_run_id": RUN_ID, "name": "agent",
        "message": "Submitted for execution: Task arn", "level": "INFO"})
    );
    assert_eq!(logs[1]["level"], "ERROR");
    assert!(logs[1]["message"].as_str().unwrap().len() < 10_100);
    assert_eq!(prefect(setup(&server.api)).log(&[]).await, Ok(()));
}

#[tokio::test]
async fn logs_that_are_not_written_are_told() {
    let line = RunLog { flow_run_id: RUN_ID.into(), level: LogLevel::Warning, message: "m".into() };
    let server = Server::start(|_, _| ok(json!({"write_run_logs": {"success": false}}))).await;
    assert!(prefect(setup(&server.api)).log(std::slice::from_ref(&line)).await.is_err());
    let boom = json!({"errors": [{"message": "boom"}], "data": {"write_run_logs": null}});
    let server = Server::start(move |_, _| Reply::Json(200, boom.clone())).await;
    assert!(prefect(setup(&server.api)).log(&[line]).await.is_err());
}
