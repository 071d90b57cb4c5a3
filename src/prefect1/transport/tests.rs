#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{AGENT_ID, KEY, NOW, Reply, Server, TENANT, ok};
use super::*;
use crate::http::Options;
use serde_json::json;
use std::sync::Arc;

fn transport(api: &str) -> GraphqlTransport {
    let client = Http::network(Options::PREFECT1, None).unwrap();
    let (key, redaction) = (SecretString::from(KEY), Redaction::default());
    redaction.know([key.clone()]);
    GraphqlTransport::new(client, api, Some(&key), HeaderMap::new(), "0.15.0", (redaction, Arc::new(|| NOW))).unwrap()
}

fn hello() -> GraphqlDocument {
    GraphqlDocument::new("query { hello }", json!({}))
}

const NOBODY: Sender<'static> = Sender { tenant_id: None, agent_id: None };

#[tokio::test]
async fn the_headers_say_who_asks() {
    let server = Server::start(|_, _| ok(json!({"hello": "hi"}))).await;
    let transport = transport(&server.api);
    let sender = Sender { tenant_id: Some(TENANT), agent_id: Some(AGENT_ID) };
    transport.read(sender, &hello()).await.unwrap();
    transport.write(NOBODY, &hello()).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer pcu_fakekey"));
    assert_eq!(seen[0].header("x-prefect-tenant-id"), Some(TENANT));
    assert_eq!(seen[0].header("x-prefect-agent-id"), Some(AGENT_ID));
    assert_eq!(seen[0].header("x-prefect-core-version"), Some("0.15.0"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert!(seen[0].header("user-agent").unwrap().starts_with("prefect-serverless-agent/"));
    assert_eq!((seen[1].header("x-prefect-tenant-id"), seen[1].header("x-prefect-agent-id")), (None, None));
}

#[tokio::test]
async fn too_many_requests_are_repeated_only_when_the_server_says_when_and_there_is_time() {
    let server = Server::start(|_, _| Reply::Text(429, ("x", "y"), "slow down")).await;
    let answer = transport(&server.api).read(NOBODY, &hello()).await;
    assert_eq!((answer, server.seen().len()), (Err(ApiError::Throttled { retry_after: None }), 1));

    let server = Server::start(|_, _| Reply::Text(429, ("retry-after", "7"), "slow down")).await;
    let transport = transport(&server.api);
    transport.set_deadline(Some(Instant::now() + Duration::from_secs(6)));
    let expected = Err(ApiError::Throttled { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!((transport.read(NOBODY, &hello()).await, server.seen().len()), (expected.clone(), 1));
    assert_eq!((transport.write(NOBODY, &hello()).await, server.seen().len()), (expected, 2));
}

#[tokio::test]
async fn nobody_is_asked_before_the_time_it_names() {
    for status in [408, 413, 429, 500, 503] {
        let server = Server::start(move |_, number| match number {
            0 => Reply::Text(status, ("retry-after", "0.3"), "later"),
            _ => ok(json!({"hello": "hi"})),
        })
        .await;
        let started = Instant::now();
        let answer = transport(&server.api).read(NOBODY, &hello()).await;
        assert!(answer.is_ok() && started.elapsed() >= Duration::from_millis(300), "{status}: {answer:?}");
        assert_eq!(server.seen().len(), 2, "{status}");

        // Too many requests were never carried out; of anything else a write cannot know.
        let before = server.seen().len();
        let server = Server::start(move |_, number| match number {
            0 => Reply::Text(status, ("retry-after", "0.1"), "later"),
            _ => ok(json!({"hello": "hi"})),
        })
        .await;
        let answer = transport(&server.api).write(NOBODY, &hello()).await;
        assert_eq!((answer.is_ok(), server.seen().len()), (status == 429, if status == 429 { before } else { 1 }));
    }
}

#[tokio::test]
async fn maintenance_is_told_from_other_trouble() {
    for (status, expected) in [(502, true), (503, true), (408, true), (429, true), (500, false), (401, false)] {
        let server = Server::start(move |_, _| Reply::Text(status, ("prefect-maintenance", "true"), "later")).await;
        let answer = transport(&server.api).write(NOBODY, &hello()).await;
        assert_eq!(matches!(answer, Err(ApiError::Maintenance { .. })), expected, "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_told_with_its_target_and_without_its_secrets() {
    let target = "https://someone:hunter2@new.example/graphql?token=hunter2#hunter2";
    let server = Server::start(move |_, _| Reply::Text(308, ("location", target), "")).await;
    let error = transport(&server.api).write(NOBODY, &hello()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, ApiError::Configuration(_)), "{text}");
    assert!(text.contains("HTTP 308") && text.contains("write `api: https://new.example/graphql`"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn html_is_malformed_and_an_error_page_is_a_status() {
    let server = Server::start(|_, number| match number {
        0 => Reply::Text(200, ("content-type", "text/html"), "<html>x</html>"),
        _ => Reply::Text(500, ("content-type", "text/html"), "POST body missing"),
    })
    .await;
    let transport = transport(&server.api);
    assert!(
        matches!(transport.read(NOBODY, &hello()).await, Err(ApiError::Malformed(text)) if text.contains("<html>"))
    );
    assert!(matches!(transport.read(NOBODY, &hello()).await, Err(ApiError::Status { status: 500, .. })));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn reads_are_repeated_after_passing_trouble() {
    let api_error = json!({"errors": [{"message": "oops", "extensions": {"code": "API_ERROR"}}], "data": null});
    let server = Server::start(move |_, number| match number {
        0 => Reply::Drop,
        1 => Reply::Json(200, api_error.clone()),
        _ => ok(json!({"hello": "hi"})),
    })
    .await;
    assert!(transport(&server.api).read(NOBODY, &hello()).await.is_ok());
    assert_eq!(server.seen().len(), 3);

    let server = Server::start(|_, _| Reply::Text(502, ("x", "y"), "bad gateway")).await;
    let answer = transport(&server.api).read(NOBODY, &hello()).await;
    assert_eq!(answer, Err(ApiError::Status { status: 502, text: "bad gateway".into() }));
    assert_eq!(server.seen().len(), 3, "two repetitions, no more");
}

#[tokio::test]
async fn writes_are_sent_once() {
    for reply in [|| Reply::Drop, || Reply::Text(503, ("x", "y"), "busy")] {
        let server = Server::start(move |_, _| reply()).await;
        let answer = transport(&server.api).write(NOBODY, &hello()).await;
        assert!(matches!(answer, Err(ApiError::NoAnswer(_) | ApiError::Status { .. })), "{answer:?}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn nothing_waits_beyond_the_deadline() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let transport = transport(&server.api);
    transport.set_deadline(Some(Instant::now() + Duration::from_millis(150)));
    let answer = transport.read(NOBODY, &hello()).await;
    assert!(matches!(&answer, Err(ApiError::NoAnswer(text)) if text.starts_with("timed out")), "{answer:?}");
    let answer = transport.write(NOBODY, &hello()).await;
    assert_eq!(answer, Err(ApiError::NoTime), "its own kind: nobody was asked");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn no_connection_is_unreachable_and_shows_no_password() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let transport = transport(&format!("http://someone:hunter2@{address}/graphql?key=hunter2"));
    let error = transport.write(NOBODY, &hello()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, ApiError::Unreachable { .. }), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn an_echoed_key_is_blanked_in_every_error() {
    let echo = json!({"errors": [{"message": format!("bad key {KEY}"), "extensions": {"header": KEY}}], "data": null});
    let server = Server::start(move |_, number| match number {
        0 => Reply::Json(200, echo.clone()),
        1 => Reply::Json(400, echo.clone()),
        2 => Reply::Json(401, echo.clone()),
        3 => Reply::Text(500, ("x", "y"), "no pcu_fakekey here"),
        _ => Reply::Text(200, ("x", "y"), "<p>pcu_fakekey</p>"),
    })
    .await;
    let transport = transport(&server.api);
    for _ in 0..5 {
        let answer = transport.write(NOBODY, &hello()).await;
        let text = format!("{answer:?}");
        assert!(text.contains("[redacted]") && !text.contains(KEY), "{text}");
    }
}

#[test]
fn a_key_with_a_newline_at_its_end_works_and_one_inside_is_named_without_being_shown() {
    let client = Http::network(Options::PREFECT1, None).unwrap();
    let new = |key: &str| {
        let key = SecretString::from(key);
        let further = (Redaction::default(), Arc::new(|| NOW) as Now);
        GraphqlTransport::new(client.clone(), "http://api", Some(&key), HeaderMap::new(), "1.4.1", further)
    };
    assert!(new("key\n").is_ok());
    let error = new("pcu\nfakekey").err().unwrap().to_string();
    assert!(error.contains("authorization") && !error.contains("fakekey"), "{error}");
}

#[tokio::test]
async fn only_an_api_that_speaks_tls_is_asked_ahead_and_one_that_is_away_does_no_harm() {
    let server = Server::start(|_, _| ok(json!({}))).await;
    transport(&server.api).warm_up().await;
    assert!(server.seen().is_empty());
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    transport(&format!("https://{address}")).warm_up().await;
}
