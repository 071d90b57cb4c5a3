#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::test_support::{
    RUN_ID, Server, due, mark_for, ok, prefect, retry_row, scheduled_row, setup, task_row,
};
use super::*;
use crate::python_text;
use serde_json::json;

const CLAIMED_AT: &str = "2026-11-22T16:38:00+00:00";

async fn watch(row: Value) -> Option<Watched<Detail>> {
    let rows = if row.is_null() { json!([]) } else { json!([row]) };
    let server = Server::start(move |_, _| ok(json!({ "flow_run": rows }))).await;
    prefect(setup(&server.api)).watch(RUN_ID).await.unwrap()
}

fn submitted(mark: &Mark) -> Value {
    let mut row = scheduled_row();
    row["serialized_state"] = states::submitted_flow_run(mark, &row["serialized_state"].clone());
    row["state"] = json!("Submitted");
    row["state_timestamp"] = json!(CLAIMED_AT);
    row["start_time"] = Value::Null;
    row["states"] = json!([{"timestamp": "2026-11-20T00:00:00+00:00"}, {"timestamp": CLAIMED_AT}]);
    row
}

#[tokio::test]
async fn a_claim_of_ours_can_be_given_back() {
    let mark = Mark { attempt: 3, ..mark_for(&due(&scheduled_row())) };
    let watched = watch(submitted(&mark)).await.unwrap();
    assert_eq!((watched.now.phase, watched.now.attempt, watched.now.has_run), (Phase::Claimed, Some(3), false));
    assert_eq!(watched.now.claimed_at, python_text::parse_time(CLAIMED_AT), "the newest of its claims");
    assert_eq!(watched.mark, Some(mark));
    assert_eq!(watched.run.detail.flow_run.serialized_state["type"], "Scheduled");
}

#[tokio::test]
async fn anothers_claim_has_no_mark_of_ours() {
    let mark = Mark { agent: "/root/other".into(), ..mark_for(&due(&scheduled_row())) };
    let watched = watch(submitted(&mark)).await.unwrap();
    assert_eq!((watched.now.phase, watched.now.attempt, watched.mark), (Phase::Claimed, None, None));
}

#[tokio::test]
async fn a_running_run_says_whether_its_task_runs_wait() {
    let mut row = retry_row();
    row["start_time"] = json!(CLAIMED_AT);
    let watched = watch(row).await.unwrap();
    assert_eq!((watched.now.phase, watched.now.has_run), (Phase::Running, true));
    assert!(watched.now.waits_for_task_runs);
}

/// The retry that was claimed last runs by now: what another task of the run came to, earlier, says nothing about it.
#[tokio::test]
async fn a_task_retry_that_has_begun_was_claimed() {
    let mark = Mark { place: "green".into(), ..mark_for(&due(&retry_row())) };
    let claim = states::submitted_task_run(&mark, &task_row("a", 2)["serialized_state"]);
    let mut row = retry_row();
    row["states"] = json!([{"timestamp": "2026-11-20T00:00:00+00:00"}]);
    row["task_runs"] = json!([]);
    row["once_claimed"] = json!([{"states": [{"timestamp": CLAIMED_AT, "serialized_state": claim}]}]);
    let watched = watch(row).await.unwrap();
    assert_eq!((watched.now.phase, watched.now.claimed_by), (Phase::Running, ClaimedBy::Us));
    assert_eq!(watched.now.claimed_at, python_text::parse_time(CLAIMED_AT));
    assert_eq!(watched.claimed_place.as_deref(), Some("green"));
}

#[tokio::test]
async fn a_claimed_task_retry_is_a_claim() {
    let mark = mark_for(&due(&retry_row()));
    let mut row = retry_row();
    let mut task = task_row("a", 2);
    task["serialized_state"] = states::submitted_task_run(&mark, &task["serialized_state"].clone());
    task["state_timestamp"] = json!(CLAIMED_AT);
    row["task_runs"] = json!([task, task_row("b", 1)]);
    let watched = watch(row).await.unwrap();
    assert_eq!((watched.now.phase, watched.mark), (Phase::Claimed, Some(mark)));
    assert_eq!(watched.now.claimed_at, python_text::parse_time(CLAIMED_AT));
    let ids: Vec<_> = watched.run.detail.flow_run.task_runs.iter().map(|task_run| task_run.id.as_str()).collect();
    assert_eq!(ids, ["a"], "only what was claimed is given back");
}

#[tokio::test]
async fn a_run_that_is_gone_is_none() {
    assert!(watch(Value::Null).await.is_none());
}
