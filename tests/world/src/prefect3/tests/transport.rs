//! Who may ask, how, and what comes back when the server is in trouble.

use super::{PREFECT, ask, get, run, send, switch};
use crate::{
    World,
    prefect3::{Auth, Busy, CLOUD_ACCOUNT, CLOUD_WORKSPACE, FailRule, PoolSpec, routes},
};
use axum::http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn basic_auth() {
    let world = World::new();
    switch(&world, |switches| switches.auth = Auth::Basic { auth_string: "admin:pass".to_owned() });
    let get = async |path: &str, authorization: &str| {
        let headers = [("authorization", authorization)];
        send(&world, &format!("GET {path}"), if authorization.is_empty() { &[] } else { &headers }, "").await
    };
    for authorization in ["", "Bearer admin:pass", "Basic eDp5", "Basic"] {
        let answer = get("/admin/version", authorization).await;
        assert_eq!(
            (answer.status, answer.body),
            (401, json!({"exception_message": "Unauthorized"})),
            "{authorization}"
        );
        assert_eq!((get("/health", authorization).await.status, get("/ready", authorization).await.status), (200, 200));
        assert_eq!(get("/version", authorization).await.status, 401);
    }
    assert_eq!(get("/admin/version", "Basic YWRtaW46cGFzcw==").await.body, "3.8.8");
}

#[tokio::test]
async fn cloud_keys_paths_and_heartbeats() {
    let world = World::new();
    world.prefect3_pool(PoolSpec::default());
    switch(&world, |switches| {
        switches.cloud = true;
        switches.auth = Auth::Keys { keys: vec!["pnu_fake".to_owned()] };
    });
    let beat =
        format!("POST /accounts/{CLOUD_ACCOUNT}/workspaces/{CLOUD_WORKSPACE}/work_pools/ecs-pool/workers/heartbeat");
    let key = [("authorization", "Bearer pnu_fake")];
    let body = json!({"name": "w", "return_id": true, "metadata": {"integrations": []}}).to_string();
    let answer = send(&world, &beat, &key, &body).await;
    let worker = world.lock().prefect3.workers[0].clone();
    assert_eq!((answer.status, answer.body), (200, json!(worker.id)));
    assert_eq!(worker.metadata, json!({"integrations": []}));
    assert_eq!(send(&world, &beat, &[("authorization", "Bearer pnu_other")], &body).await.status, 401);
    switch(&world, |switches| switches.return_id = false);
    assert_eq!(send(&world, &beat, &key, &body).await.status, 422);
    assert_eq!(send(&world, &beat, &key, &json!({"name": "w"}).to_string()).await.status, 204);
}

#[tokio::test]
async fn csrf_only_where_it_is_on() {
    let world = World::new();
    let off = ask(&world, "GET /csrf-token?client=c", Value::Null).await;
    assert_eq!((off.status, off.body), (422, json!({"detail": "CSRF protection is disabled."})));
    switch(&world, |switches| switches.csrf = true);
    let write = async |headers: &[(&str, &str)]| {
        let answer = send(&world, "POST /flow_runs/filter", headers, "{}").await;
        (answer.status, answer.body["detail"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(write(&[]).await, (403, "Missing CSRF token.".to_owned()));
    let token = get(&world, "GET /csrf-token?client=c", Value::Null).await["token"].as_str().unwrap().to_owned();
    assert_eq!(write(&[("prefect-csrf-token", &token)]).await, (403, "Missing client identifier.".to_owned()));
    let with = [("prefect-csrf-token", token.as_str()), ("prefect-csrf-client", "c")];
    assert_eq!(write(&with).await.0, 200);
    let invalid = (403, "Invalid CSRF token or client identifier.".to_owned());
    assert_eq!(write(&[("prefect-csrf-token", &token), ("prefect-csrf-client", "d")]).await, invalid);
    super::advance(&world, 3601);
    assert_eq!(write(&with).await, invalid);
    assert_eq!(ask(&world, "GET /flows/name/x", Value::Null).await.status, 404, "reading needs none");
}

#[tokio::test]
async fn few_writes_at_once_as_with_sqlite() {
    let world = World::new();
    let ids: Vec<String> = (0..4).map(|_| run(&world, json!({}))).collect();
    switch(&world, |switches| switches.busy = Some(Busy { at_once: 2, ms: 20 }));
    let set = async |id: &str| {
        ask(&world, &format!("POST /flow_runs/{id}/set_state"), json!({"state": {"type": "PENDING"}})).await
    };
    let answers = tokio::join!(set(&ids[0]), set(&ids[1]), set(&ids[2]), set(&ids[3]));
    let refused = |answer: super::Answer| {
        assert!(
            answer.status == 201 || answer.body == json!({"exception_message": "Service Unavailable"}),
            "{answer:?}"
        );
        answer.status == 503
    };
    let refused = [answers.0, answers.1, answers.2, answers.3].map(refused);
    assert_eq!(refused, [false, false, true, true]);
    let pending = |id: &String| world.prefect3_flow_run(id).unwrap().state_name() == "Pending";
    assert_eq!(ids.iter().map(pending).collect::<Vec<_>>(), [true, true, false, false], "no effect");
    assert_eq!(set(&ids[2]).await.status, 201);
}

#[tokio::test]
async fn rules_fail_requests_with_headers() {
    let world = World::new();
    let [first, second] = [0, 0].map(|_| run(&world, json!({})));
    let limited = FailRule::new("set_state", 429).when_contains(&first).header("Retry-After", "3").times(1);
    world.prefect3(|prefect3| prefect3.switches.fail.push(limited));
    let set = async |id: &str| {
        ask(&world, &format!("POST /flow_runs/{id}/set_state"), json!({"state": {"type": "PENDING"}})).await
    };
    assert_eq!(set(&second).await.status, 201);
    let answer = set(&first).await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(set(&first).await.status, 201);
}

#[tokio::test]
async fn versions_paths_and_bodies_that_are_none() {
    let world = World::new();
    world.prefect3_pool(PoolSpec::default());
    for (version, status) in [("0.8.4", 200), ("0.8.3", 200), ("0.9.0", 200), ("0.7.9", 400), ("x", 400)] {
        let answer = send(&world, "GET /work_pools/ecs-pool", &[("x-prefect-api-version", version)], "").await;
        assert_eq!(answer.status, status, "{version}: {answer:?}");
    }
    for (request, status, detail) in [
        ("GET /nope", 404, "Not Found"),
        ("GET /flow_runs/no-uuid", 404, "Not Found"),
        ("PUT /flow_runs/filter", 405, "Method Not Allowed"),
        ("GET /work_pools/a%20b", 404, "Work pool \"a b\" not found."),
    ] {
        let answer = ask(&world, request, Value::Null).await;
        assert_eq!((answer.status, &answer.body["detail"]), (status, &json!(detail)), "{request}");
    }
    let answer = send(&world, "POST /logs", &[("host", "h:1")], "[]").await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (307, "http://h:1/prefect3/api/logs/"));
    let answer = send(&world, "POST /flow_runs/filter", &[("user-agent", PREFECT)], "{nope").await;
    assert_eq!((answer.status, &answer.body["exception_detail"][0]["type"]), (422, &json!("json_invalid")));
}

#[test]
fn operations_have_names() {
    let id = "2b0e8ab0-5b7c-4d4c-8a4e-0f6c5d1b6a01";
    for (method, path, name) in [
        (Method::POST, format!("/prefect3/api/flow_runs/{id}/set_state"), "set_state"),
        (Method::PATCH, format!("/prefect3/api/flow_runs/{id}"), "update_flow_run"),
        (Method::POST, "/prefect3/api/flow_runs/filter".to_owned(), "flow_runs/filter"),
        (Method::POST, "/prefect3/api/accounts/a/workspaces/w/logs/".to_owned(), "logs"),
        (Method::GET, "/prefect3/api/nope".to_owned(), "GET /nope"),
    ] {
        assert_eq!(routes::operation(&method, &path).as_deref(), Some(name), "{path}");
    }
    assert_eq!(routes::operation(&Method::GET, "/prefect1"), None);
}
