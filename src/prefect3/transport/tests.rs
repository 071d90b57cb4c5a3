#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{KEY, NOW, calls, no_content, ok, replying, secret, unavailable};
use super::*;
use crate::aws::test_server::{Reply, Server, json};
use crate::config::AgentSecrets;
use crate::http::Options;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn transport_of(api: &str, secrets: &AgentSecrets) -> RestTransport {
    let client = Http::network(Options::PREFECT3, None).unwrap();
    let redaction = Redaction::default();
    redaction.know_agent(secrets);
    let further = transport::further_headers(secrets).unwrap();
    let (credential, csrf) = (Credential::of(secrets), "client-1".into());
    RestTransport::new(client, api, &credential, further, "Etl wörker", csrf, (redaction, Arc::new(|| NOW))).unwrap()
}

fn transport(server: &Server) -> RestTransport {
    transport_of(&server.url(), &AgentSecrets { api_key: Some(secret(KEY)), ..AgentSecrets::default() })
}

fn read_request() -> ApiRequest {
    requests::variable("x")
}

fn write_request() -> ApiRequest {
    requests::record_pid("run", Some("pid"))
}

#[tokio::test]
async fn the_headers_say_who_asks() {
    let server = replying(vec![ok(json!({}))]).await;
    transport(&server).read(&read_request()).await.unwrap();
    transport(&server).write(&write_request()).await.unwrap();
    let seen = server.requests();
    for request in &seen {
        assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(request.header("x-prefect-api-version"), "0.8.4");
        assert!(request.header("user-agent").starts_with("prefect-serverless-agent/"));
    }
    assert_eq!((seen[0].header("content-type"), seen[1].header("content-type")), ("", "application/json"));
    assert_eq!(seen[1].json(), json!({"infrastructure_pid": "pid"}));
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_after_passing_trouble() {
    let server = replying(vec![Reply::Drop, unavailable(), json(502, &json!(null)), ok(json!("hi"))]).await;
    let sent = transport(&server).repeatable(&write_request()).await;
    assert_eq!((sent.answer.unwrap().text().as_str(), sent.repeated), ("hi", true));
    assert_eq!(server.requests().len(), 4);

    let server = replying(vec![unavailable()]).await;
    let answer = transport(&server).read(&read_request()).await;
    assert_eq!(answer, Err(ApiError::Status { status: 503, text: "Service Unavailable".into() }));
    assert_eq!(server.requests().len(), 5, "four repetitions, no more");
}

#[tokio::test]
async fn a_write_is_sent_once_and_refusals_are_believed() {
    for reply in [Reply::Drop, unavailable()] {
        let server = replying(vec![reply]).await;
        assert!(transport(&server).write(&write_request()).await.is_err());
        assert_eq!(server.requests().len(), 1);
    }
    for status in [401, 404, 422, 429, 500] {
        let server = replying(vec![json(status, &json!({"detail": "no"}))]).await;
        let sent = transport(&server).repeatable(&read_request()).await;
        assert!(sent.answer.is_err() && !sent.repeated, "{status}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_wants_csrf_tokens_gets_one_fetched_once() {
    let server = Server::start(|request| {
        if request.target.starts_with("/csrf-token") {
            return json(200, &json!({"token": "t1", "client": "client-1", "expiration": "2026-11-22T17:00:00Z"}));
        }
        match (request.header("prefect-csrf-token"), request.header("prefect-csrf-client")) {
            ("t1", "client-1") => no_content(),
            _ => json(403, &json!({"detail": "Missing CSRF token."})),
        }
    })
    .await;
    let transport = transport(&server);
    let writes = (0..4).map(|_| async {
        let request = write_request();
        transport.write(&request).await
    });
    assert!(futures_util::future::join_all(writes).await.iter().all(Result::is_ok));
    let calls = calls(&server);
    assert_eq!(calls.iter().filter(|call| *call == "GET /csrf-token?client=client-1").count(), 1, "{calls:?}");
    assert!(calls.len() <= 9, "{calls:?}");
    let before = calls.len();
    transport.write(&write_request()).await.unwrap();
    assert_eq!(server.requests().len(), before + 1, "the token is kept");
}

#[tokio::test]
async fn a_void_csrf_token_is_replaced_and_other_refusals_are_believed() {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let server = Server::start(move |request| {
        if request.target.starts_with("/csrf-token") {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            return json(200, &json!({"token": format!("t{number}")}));
        }
        // The second write's token is void by then.
        match request.header("prefect-csrf-token") {
            "t1" if count.load(Ordering::Relaxed) == 1 && request.body.contains("second") => {
                json(403, &json!({"detail": "Invalid CSRF token or client identifier."}))
            }
            "" => json(403, &json!({"detail": "Missing CSRF token."})),
            _ => no_content(),
        }
    })
    .await;
    let transport = transport(&server);
    transport.write(&requests::record_pid("run", Some("first"))).await.unwrap();
    transport.write(&requests::record_pid("run", Some("second"))).await.unwrap();
    assert_eq!(given.load(Ordering::Relaxed), 2);

    let server = Server::start(|request| match request.target.as_str() {
        target if target.starts_with("/csrf-token") => json(422, &json!({"detail": "CSRF protection is disabled."})),
        "/flow_runs/run" => json(403, &json!({"detail": "Missing CSRF token."})),
        _ => json(403, &json!({"detail": "Forbidden"})),
    })
    .await;
    let transport = self::transport(&server);
    assert!(matches!(transport.write(&write_request()).await, Err(ApiError::Unauthorised(_))));
    assert!(matches!(transport.write(&requests::logs(vec![])).await, Err(ApiError::Unauthorised(_))));
    assert_eq!(server.requests().len(), 3, "only what speaks of tokens asks for one");
}

#[tokio::test]
async fn a_credential_that_is_refused_is_told_although_the_server_asks_for_a_token_first() {
    let server = Server::start(|request| match request.header("authorization") {
        "Basic YWRtaW46cmlnaHQ=" if request.target.starts_with("/csrf-token") => json(200, &json!({"token": "t1"})),
        "Basic YWRtaW46cmlnaHQ=" if request.header("prefect-csrf-token") == "t1" => no_content(),
        _ if request.method == "GET" => json(401, &json!({"exception_message": "Unauthorized"})),
        _ => json(403, &json!({"detail": "Missing CSRF token."})),
    })
    .await;
    let of = |auth_string: &str| AgentSecrets { auth_string: Some(secret(auth_string)), ..AgentSecrets::default() };
    assert!(transport_of(&server.url(), &of("admin:right")).write(&write_request()).await.is_ok());
    let error = transport_of(&server.url(), &of("admin:wrong")).write(&write_request()).await.unwrap_err();
    assert_eq!(error, ApiError::Unauthorised("HTTP 401: Unauthorized".into()), "not that a token is missing");
}

#[tokio::test]
async fn a_token_that_cannot_be_had_just_now_is_the_servers_trouble() {
    let server = Server::start(|request| match request.method.as_str() {
        "GET" => Reply::Answer(503, vec![("retry-after", "60".into())], "busy".into()),
        _ => json(403, &json!({"detail": "Missing CSRF token."})),
    })
    .await;
    let error = transport(&server).write(&write_request()).await.unwrap_err();
    assert!(matches!(&error, ApiError::Status { status: 503, text } if text.contains("again in 60 s")), "{error}");
}

#[tokio::test]
async fn nobody_is_asked_before_the_time_it_names() {
    let later =
        |status, asked: &'static str| Reply::Answer(status, vec![("retry-after", asked.into())], "later".into());
    for status in [408, 413, 429, 500, 503] {
        let server = replying(vec![later(status, "0.3"), ok(json!("hi"))]).await;
        let started = Instant::now();
        let sent = transport(&server).repeatable(&read_request()).await;
        assert!(sent.answer.is_ok() && started.elapsed() >= Duration::from_millis(300), "{status}");
        assert_eq!((server.requests().len(), sent.repeated), (2, status != 429), "{status}");

        let server = replying(vec![later(status, "20")]).await;
        let answer = transport(&server).read(&read_request()).await;
        assert!(answer.is_err() && server.requests().len() == 1, "{status}: there is not so much time: {answer:?}");
        let server = replying(vec![later(status, "6"), ok(json!("hi"))]).await;
        let answer = transport(&server).read(&read_request().within(Duration::from_secs(5))).await;
        assert!(answer.is_err() && server.requests().len() == 1, "{status}: it would be too old: {answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_told_with_its_target_and_without_its_secrets() {
    let target = "https://someone:hunter2@new.example/api/variables/name/x?token=hunter2";
    let server = replying(vec![Reply::Answer(301, vec![("location", target.into())], String::new())]).await;
    let error = transport(&server).read(&read_request()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, ApiError::Configuration(_)), "{text}");
    assert!(text.contains("HTTP 301 and sends to https://new.example/api/variables/name/x."), "{text}");
    assert!(text.contains("write `api: https://new.example/api`") && !text.contains("hunter2"), "{text}");
    let server = replying(vec![Reply::Answer(302, vec![("location", "/login?next=x".into())], String::new())]).await;
    let text = transport(&server).read(&read_request()).await.unwrap_err().to_string();
    assert!(text.contains("/login.") && text.contains("a page to log in"), "{text}");
}

#[tokio::test]
async fn few_requests_are_on_their_way_at_once() {
    let server = replying(vec![Reply::Hang]).await;
    let transport = transport(&server);
    transport.set_deadline(Some(Instant::now() + Duration::from_millis(300)));
    let requests: Vec<ApiRequest> = (0..20).map(|_| read_request()).collect();
    let answers = futures_util::future::join_all(requests.iter().map(|request| transport.read(request))).await;
    assert_eq!(server.requests().len(), IN_FLIGHT);
    let waiting = answers.iter().filter(|answer| matches!(answer, Err(ApiError::NoTime))).count();
    assert_eq!(waiting, 20 - IN_FLIGHT, "what was never sent is known not to have been: {answers:?}");
}

#[tokio::test]
async fn nothing_waits_beyond_the_deadline_and_a_timeout_is_not_repeated() {
    let server = replying(vec![Reply::Hang]).await;
    let transport = transport(&server);
    transport.set_deadline(Some(Instant::now() + Duration::from_millis(150)));
    let answer = transport.read(&read_request()).await;
    assert!(matches!(&answer, Err(ApiError::NoAnswer(text)) if text.starts_with("timed out")), "{answer:?}");
    let answer = transport.write(&write_request()).await;
    assert_eq!(answer, Err(ApiError::NoTime), "its own kind: nobody was asked");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn echoed_secrets_are_blanked_in_every_error() {
    let secrets = AgentSecrets {
        api_key: Some(secret(KEY)),
        auth_string: Some(secret("admin:hunter2")),
        ..AgentSecrets::default()
    };
    for status in [400, 401, 422, 500, 200] {
        let server = Server::start(move |request| {
            let echo = format!("{} {KEY} hunter2", request.header("authorization"));
            let body = json!({"detail": echo}).to_string();
            Reply::Answer(status, Vec::new(), if status == 200 { format!("<p>{echo}") } else { body })
        })
        .await;
        let answer = transport_of(&server.url(), &secrets).read(&read_request()).await;
        let text = match answer {
            // What was answered well is for the program; whoever makes an error of it shows an excerpt.
            Ok(answer) => format!("{:?}", answer.list()),
            Err(error) => format!("{error} {error:?}"),
        };
        if status != 200 {
            assert!(text.contains("[redacted]"), "{text}");
            assert!(!text.contains(KEY) && !text.contains("hunter2") && !text.contains("YWRt"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_api_out_of_reach_shows_no_password() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = format!("http://someone:hunter2@{address}/api");
    let error = transport_of(&api, &AgentSecrets::default()).write(&write_request()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, ApiError::Unreachable { .. }) && !text.contains("hunter2"), "{text}");
}

#[test]
fn long_parameters_of_a_run_take_no_memory_and_everything_else_is_held() {
    let list = |body: &Value| JsonAnswer { asked: "POST /x".into(), body: body.to_string().into() }.list().unwrap();
    let run = |length: usize| {
        json!({"id": "r", "parameters": {"rows": "x".repeat(length)}, "job_variables": {"command": "y".repeat(20_000)},
               "state": {"type": "SCHEDULED"}})
    };
    let without = |mut row: Value| {
        row.as_object_mut().unwrap().shift_remove("parameters");
        row
    };
    let many = json!([run(10), run(9_000), {"work_queue_id": "q", "flow_run": run(9_000)}, 7]);
    assert_eq!(
        list(&many),
        [run(10), without(run(9_000)), json!({"work_queue_id": "q", "flow_run": without(run(9_000))}), json!(7)]
    );
    let odd = JsonAnswer { asked: "POST /x".into(), body: Bytes::from_static(b"{\"detail\": \"no\"}") };
    assert!(odd.list().unwrap_err().to_string().contains("POST /x: a list was expected"), "{:?}", odd.list());
    let cut = JsonAnswer { asked: "POST /x".into(), body: Bytes::from_static(b"[{\"id\": 1}, {\"id\"") };
    assert!(cut.list().unwrap_err().to_string().contains("POST /x: broken JSON"), "{:?}", cut.list());
    let deep = format!("[{}1{}]", "{\"flow_run\":".repeat(100_000), "}".repeat(100_000));
    let deep = JsonAnswer { asked: "POST /x".into(), body: deep.into() };
    assert!(deep.list().unwrap_err().to_string().contains("recursion limit"), "{:?}", deep.list());
}
