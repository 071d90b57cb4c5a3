#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::test_support::{
    NOW, RUN_ID, Reply, Server, due, mark_for, ok, prefect, retry_row, scheduled_row, setup, task_row,
};
use super::*;

const ORPHAN_AFTER: Duration = Duration::from_mins(2);
const CLAIMED_AT: &str = "2026-11-22T16:38:00+00:00";

/// A Submitted run with this mark, as the server keeps it.
fn submitted(mark: &Mark) -> Value {
    let mut row = scheduled_row();
    let received = row["serialized_state"].clone();
    row["state"] = json!("Submitted");
    row["version"] = json!(2);
    row["state_timestamp"] = json!(CLAIMED_AT);
    row["serialized_state"] = states::submitted_flow_run(mark, &received);
    row
}

fn mark() -> Mark {
    Mark { attempt: 2, capacity_refusals: 1, place: "flows".into(), ..mark_for(&due(&scheduled_row())) }
}

fn rows(claimed: &[Value], foreign: usize, cancelling: &[Value]) -> Reply {
    let foreign: Vec<Value> =
        (0..foreign).map(|number| json!({"id": format!("f{number}"), "labels": ["prod"]})).collect();
    let of_others = [json!({"id": "x", "labels": ["dev"]}), json!({"id": "y", "labels": []})];
    let foreign = [foreign, of_others.to_vec()].concat();
    ok(json!({"claimed": claimed, "foreign": foreign, "cancelling": cancelling}))
}

async fn standing(claimed: Vec<Value>, foreign: usize, cancelling: Vec<Value>) -> (OutstandingClaims<Detail>, Value) {
    let server = Server::start(move |_, _| rows(&claimed, foreign, &cancelling)).await;
    let standing = prefect(setup(&server.api)).outstanding_claims(NOW, ORPHAN_AFTER).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "one request");
    (standing, seen[0].variables.clone())
}

#[tokio::test]
async fn a_claim_of_ours_comes_back_as_the_run_it_claimed() {
    let mark = mark();
    let (standing, variables) = standing(vec![submitted(&mark)], 3, vec![]).await;
    let [claimed] = standing.claimed.try_into().unwrap();
    assert_eq!((claimed.mark, standing.foreign), (mark.clone(), 3));
    assert_eq!(Some(claimed.since), python_text::parse_time(CLAIMED_AT));
    let run = claimed.run;
    assert_eq!((run.flow_run_id.as_str(), &run.epoch, &run.token), (RUN_ID, &mark.epoch, &mark.token));
    assert_eq!((run.attempts, run.capacity_refusals, run.is_task_retry), (1, 1, false));
    assert_eq!(run.detail.flow_run.serialized_state, scheduled_row()["serialized_state"], "as it was when it was due");
    let contains = json!({"context": {"prefect_serverless_agent": {"agent": "/root/etl"}}});
    assert_eq!(variables["claimed"]["_or"][0]["serialized_state"], json!({"_contains": contains}));
    assert_eq!(variables["claimed"]["_or"][0]["state_timestamp"], json!({"_lte": "2026-11-22T16:39:05.123899+00:00"}));
    assert_eq!(variables["foreign"]["_not"]["serialized_state"], json!({"_contains": contains}));
    for field in ["claimed", "foreign", "cancelling"] {
        assert!(variables[field]["tenant_id"].is_object(), "{field}");
    }
}

#[tokio::test]
async fn a_claimed_task_retry_comes_back_with_the_task_runs_of_the_latest_claim() {
    let run = due(&retry_row());
    let (earlier, latest) = (Mark { token: "old".into(), ..mark_for(&run) }, Mark { attempt: 3, ..mark_for(&run) });
    let task = |id: &str, mark: &Mark| {
        let mut task = task_row(id, 2);
        task["serialized_state"] = states::submitted_task_run(mark, &task["serialized_state"]);
        task["state_timestamp"] = json!(CLAIMED_AT);
        task
    };
    let mut row = retry_row();
    row["state_timestamp"] = json!("2026-11-20T00:00:00+00:00");
    row["task_runs"] = json!([task("a", &earlier), task("b", &latest)]);
    let (standing, _) = standing(vec![row], 0, vec![]).await;
    let [claimed] = standing.claimed.try_into().unwrap();
    assert_eq!(claimed.mark, latest);
    assert_eq!(Some(claimed.since), python_text::parse_time(CLAIMED_AT), "the task run's time, not the flow run's");
    assert!(claimed.run.is_task_retry);
    let [task_run] = &claimed.run.detail.flow_run.task_runs[..] else { panic!("one task run") };
    assert_eq!((task_run.id.as_str(), &task_run.serialized_state["type"]), ("b", &json!("Retrying")));
}

#[tokio::test]
async fn claims_of_others_and_unreadable_rows_are_left_alone() {
    let foreign = Mark { agent: "/root/other".into(), ..mark() };
    let without_time = {
        let mut row = submitted(&mark());
        row["state_timestamp"] = Value::Null;
        row
    };
    let (standing, _) =
        standing(vec![submitted(&foreign), without_time, json!({"id": null}), json!(5)], 0, vec![]).await;
    assert!(standing.claimed.is_empty(), "{:?}", standing.claimed);
}

#[tokio::test]
async fn cancelled_runs_are_told_apart() {
    let row = |state: &str, started: Value| {
        let mut row = scheduled_row();
        row["state"] = json!(state);
        row["serialized_state"] = json!({"type": state, "message": "by a user"});
        row["state_timestamp"] = json!(CLAIMED_AT);
        row["start_time"] = started;
        row
    };
    let cancelling = vec![row("Cancelling", Value::Null), row("Cancelled", json!(CLAIMED_AT))];
    let (standing, variables) = standing(vec![], 0, cancelling).await;
    let told: Vec<_> = standing.cancelling.iter().map(|run| (run.is_over, run.has_started)).collect();
    assert_eq!(told, [(false, false), (true, true)]);
    let since = json!({"_gte": "2026-11-22T16:26:05.123899+00:00"});
    assert_eq!(variables["cancelling"]["_or"][1]["state_timestamp"], since);
    // Also what a Python agent had launched, and of which this one had claimed a task run to be retried, which has begun.
    let ours = &variables["cancelling"]["_and"][0]["_or"];
    assert_eq!(ours[0], ours[1]["task_runs"]);
    assert!(ours[0]["states"]["serialized_state"]["_contains"].is_object(), "{ours}");
}

#[tokio::test]
async fn only_what_is_still_being_cancelled_is_ended() {
    let run = due(&scheduled_row());
    let ending = || Ending { run: &run, message: "Cancelled: no task was running.".into() };
    for (state, written) in [("Cancelling", true), ("Cancelled", false), ("Running", false), ("Success", false)] {
        let server = Server::start(move |seen, _| {
            if seen.operation() == "flow_run" {
                let row = json!({"id": RUN_ID, "version": 5, "state": state, "serialized_state": {"type": state}});
                return ok(json!({"flow_run": [row]}));
            }
            ok(json!({"r0": {"states": [{"id": RUN_ID, "status": "SUCCESS", "message": null}]}}))
        })
        .await;
        let ended = prefect(setup(&server.api)).cancelled(&[ending()]).await;
        let expected = if written { Ok(()) } else { Err(ApiError::NotOurs(format!("the run is {state} now"))) };
        assert_eq!(ended, [expected]);
        let sent = server.operations();
        assert_eq!(sent.contains(&"set_flow_run_states"), written, "{state}: {sent:?}");
    }
}

#[tokio::test]
async fn it_is_ended_with_its_version_and_what_changed_meanwhile_is_left() {
    let run = due(&scheduled_row());
    let server = Server::start(move |seen, _| {
        if seen.operation() == "flow_run" {
            let row = json!({"id": RUN_ID, "version": 5, "state": "Cancelling", "serialized_state": {}});
            return ok(json!({"flow_run": [row]}));
        }
        let error = json!({
            "message": "State update failed: provided a version of 5 but current version is 6", "path": ["r0"],
            "extensions": {"code": "VERSION_LOCKING_ERROR"},
        });
        Reply::Json(200, json!({"data": {"r0": null}, "errors": [error]}))
    })
    .await;
    let ended = prefect(setup(&server.api)).cancelled(&[Ending { run: &run, message: "m".into() }]).await;
    assert!(matches!(&ended[..], [Err(ApiError::NotOurs(_))]), "{ended:?}");
    assert_eq!(server.seen()[1].variables["i0"]["states"][0]["version"], 5);
}
