#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    NOW, RUN_ID, Reply, Seen, Server, ok, prefect, retry_row, scheduled_row, setup, window,
};
use super::*;
use crate::orchestrator::Orchestrator;
use serde_json::json;

/// Our own query carries an order; the metadata query of the fallback does not.
fn is_own(seen: &Seen) -> bool {
    seen.query.contains("order_by")
}

fn kinds(server: &Server) -> Vec<&'static str> {
    let kind = |seen: &Seen| match seen.operation() {
        "flow_run" if is_own(seen) => "own",
        "flow_run" => "metadata",
        _ => "queue",
    };
    let mut kinds: Vec<_> = server.seen().iter().map(kind).collect();
    kinds.sort_unstable();
    kinds
}

fn queue(ids: &[&str]) -> Reply {
    ok(json!({"get_runs_in_queue": {"flow_run_ids": ids}}))
}

/// A server whose own-query answer is given; its queue and metadata know one Scheduled run.
async fn server(own: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match seen.operation() {
        "get_runs_in_queue" => queue(&[RUN_ID]),
        _ if is_own(seen) => own(),
        _ => ok(json!({"flow_run": [scheduled_row()]})),
    })
    .await
}

#[tokio::test]
async fn one_look_beside_the_queue_finds_all() {
    let server = server(|| {
        let mut later = scheduled_row();
        later["id"] = json!("later");
        // Later as a time although its text sorts first.
        later["serialized_state"]["start_time"] = json!("2026-11-22T11:41:03-05:00");
        let mut unreadable = scheduled_row();
        unreadable["flow"] = Value::Null;
        ok(json!({"flow_run": [later, unreadable, scheduled_row(), null]}))
    })
    .await;
    let page = prefect(setup(&server.api)).due_runs(&window()).await.unwrap();
    assert_eq!(page.runs.iter().map(|run| run.flow_run_id.as_str()).collect::<Vec<_>>(), [RUN_ID, "later"]);
    assert_eq!(page.unreadable.len(), 2, "{:?}", page.unreadable);
    assert_eq!((page.full, &page.queue_error), (false, &None));
    assert_eq!(kinds(&server), ["own", "queue"]);
}

#[tokio::test]
async fn a_page_of_200_rows_is_full() {
    let server = server(|| ok(json!({"flow_run": vec![scheduled_row(); 200]}))).await;
    assert!(prefect(setup(&server.api)).due_runs(&window()).await.unwrap().full);
}

#[tokio::test]
async fn a_refused_query_falls_back_and_is_not_tried_again_for_ten_minutes() {
    let validation = || {
        let error = json!({"message": "Cannot query", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}});
        Reply::Json(400, json!({"errors": [error]}))
    };
    let server = server(validation).await;
    let prefect = prefect(setup(&server.api));
    let page = prefect.due_runs(&window()).await.unwrap();
    assert_eq!((page.runs.len(), page.queue_error), (1, None));
    assert_eq!(kinds(&server), ["metadata", "own", "queue"]);

    prefect.due_runs(&window()).await.unwrap();
    assert_eq!(kinds(&server), ["metadata", "metadata", "own", "queue", "queue"]);

    let later = Window { now: NOW + Duration::from_secs(601), ..window() };
    prefect.due_runs(&later).await.unwrap();
    assert_eq!(kinds(&server).iter().filter(|kind| **kind == "own").count(), 2);
}

#[tokio::test]
async fn every_refusal_falls_back_and_passing_trouble_is_not_remembered() {
    let half = || Reply::Json(200, json!({"errors": [{"message": "permission"}], "data": {"flow_run": null}}));
    let html = || Reply::Text(200, ("content-type", "text/html"), "<p>");
    let forbidden = || Reply::Json(403, json!({}));
    let broken = || Reply::Json(500, json!({}));
    let api_error =
        || Reply::Json(200, json!({"errors": [{"message": "x", "extensions": {"code": "API_ERROR"}}], "data": null}));
    let cases: [(fn() -> Reply, bool); 5] =
        [(half, true), (html, true), (forbidden, true), (broken, false), (api_error, false)];
    for (case, (own, remembered)) in cases.into_iter().enumerate() {
        let server = server(own).await;
        let prefect = prefect(setup(&server.api));
        assert_eq!(prefect.due_runs(&window()).await.unwrap().runs.len(), 1, "case {case}");
        assert_eq!(prefect.is_refused(NOW), remembered, "case {case}");
    }
}

#[tokio::test]
async fn an_empty_queue_needs_no_metadata() {
    let server = Server::start(|seen, _| match seen.operation() {
        "get_runs_in_queue" => queue(&[]),
        _ => Reply::Json(400, json!({"errors": [{"message": "no"}]})),
    })
    .await;
    let page = prefect(setup(&server.api)).due_runs(&window()).await.unwrap();
    assert!(page.runs.is_empty() && !page.full);
    assert_eq!(kinds(&server), ["own", "queue"]);
}

#[tokio::test]
async fn a_queue_in_trouble_does_not_stop_the_launches() {
    let server = Server::start(|seen, _| match seen.operation() {
        "get_runs_in_queue" => Reply::Json(200, json!({"errors": [{"message": "queue"}], "data": null})),
        _ => ok(json!({"flow_run": [scheduled_row()]})),
    })
    .await;
    let page = prefect(setup(&server.api)).due_runs(&window()).await.unwrap();
    assert_eq!(page.runs.len(), 1);
    assert!(matches!(page.queue_error, Some(ApiError::Refused { message, .. }) if message == "queue"));
}

#[tokio::test]
async fn a_silent_queue_does_not_stop_the_launches() {
    let server = Server::start(|seen, _| match seen.operation() {
        "get_runs_in_queue" => Reply::Silence,
        _ => ok(json!({"flow_run": [scheduled_row()]})),
    })
    .await;
    let prefect = prefect(setup(&server.api));
    prefect.set_deadline(Some(tokio::time::Instant::now() + Duration::from_millis(300)));
    let page = prefect.due_runs(&window()).await.unwrap();
    assert_eq!(page.runs.len(), 1);
    assert!(matches!(page.queue_error, Some(ApiError::NoAnswer(_))), "{:?}", page.queue_error);
}

#[tokio::test]
async fn too_many_requests_end_the_look() {
    let server = server(|| Reply::Text(429, ("retry-after", "30"), "slow down")).await;
    let error = prefect(setup(&server.api)).due_runs(&window()).await.unwrap_err();
    assert_eq!(error, ApiError::Throttled { retry_after: Some(Duration::from_secs(30)) });
    assert_eq!(kinds(&server), ["own", "queue"]);
}

#[tokio::test]
async fn of_two_errors_the_more_telling_one_is_told() {
    let both = |own: fn() -> Reply, queue: fn() -> Reply| async move {
        let server = Server::start(move |seen, _| if is_own(seen) { own() } else { queue() }).await;
        prefect(setup(&server.api)).due_runs(&window()).await.unwrap_err()
    };
    let broken = || Reply::Json(500, json!({}));
    let unauthorised = || Reply::Json(401, json!({}));
    assert!(matches!(both(broken, unauthorised).await, ApiError::Unauthorised(_)));
    assert!(matches!(both(unauthorised, broken).await, ApiError::Unauthorised(_)));
    assert!(matches!(both(broken, broken).await, ApiError::Status { .. }));
}

#[tokio::test]
async fn a_task_retry_read_again_is_compared_by_the_time_of_the_look() {
    let server = Server::start(|seen, _| match seen.operation() {
        "get_runs_in_queue" => queue(&[]),
        _ if is_own(seen) => ok(json!({"flow_run": [retry_row()]})),
        _ => {
            let mut row = retry_row();
            let mut later = row["task_runs"][0].clone();
            later["id"] = json!("later");
            later["serialized_state"]["start_time"] = json!("2026-11-22T16:41:30+00:00");
            row["task_runs"].as_array_mut().unwrap().push(later);
            ok(json!({"flow_run": [row]}))
        }
    })
    .await;
    let prefect = prefect(setup(&server.api));
    let page = prefect.due_runs(&window()).await.unwrap();
    let now = prefect.reread(&[&page.runs[0]]).await.unwrap();
    assert_eq!(now[0].as_ref().unwrap().epoch, page.runs[0].epoch);
}
