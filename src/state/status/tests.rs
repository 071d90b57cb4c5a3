#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json as reply};
use crate::model::{ErrorKind, Registration};
use crate::state::TaskLooks;
use crate::state::recent::{FailedRun, PastPoll};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use time::macros::datetime;

fn status(settings: Option<Value>) -> Status {
    Status {
        last_poll: Some(datetime!(2026-11-24 12:00:00.25 UTC)),
        last_success: Some(datetime!(2026-11-24 11:59 UTC)),
        last_poked: Some(datetime!(2026-11-24 12:00:00 UTC)),
        polls: 12,
        stopped: true,
        error: Some(ErrorKind::ApiUnreachable),
        failing_since: Some(datetime!(2026-11-24 11:58:00 UTC)),
        maintenance_until: Some(datetime!(2026-11-24 12:10 UTC)),
        counts: Counts { ready: 4, launched: 3, deferred: 2, failed: 1 },
        oldest_due: Some(datetime!(2026-11-24 11:58 UTC)),
        outstanding: Some(1),
        tasks: TaskLooks {
            next: 100,
            missing: [("0123456789abcdef0123456789abcdef".to_owned(), 1_795_521_600)].into(),
        },
        registration: Some(Registration {
            agent_id: "a".into(),
            tenant_id: Some("t".into()),
            identity: "i".into(),
            settings,
        }),
        recent: Recent::default(),
    }
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let stored: Arc<Mutex<Option<Value>>> = Arc::default();
    let shared = stored.clone();
    let server = Server::start(move |request: &Request| {
        let mut stored = shared.lock().unwrap();
        match (request.operation(), &*stored) {
            ("PutParameter", _) => {
                *stored = Some(request.json());
                reply(200, &json!({"Version": 1}))
            }
            (_, None) => reply(400, &json!({"__type": "ParameterNotFound"})),
            (_, Some(put)) => {
                let parameter = json!({"Name": put["Name"], "Value": put["Value"], "Version": 1});
                reply(200, &json!({"Parameter": parameter}))
            }
        }
    })
    .await;
    let ssm = server.clients().await.ssm;
    assert_eq!(read(&ssm, "/root", "etl").await.unwrap(), None);
    let written = status(Some(json!({"labels": ["a"], "template": "{{x}} {{{"})));
    write(&ssm, "/root", "etl", &written, "request").await.unwrap();
    assert_eq!(read(&ssm, "/root", "etl").await.unwrap(), Some(written));
    let put = stored.lock().unwrap().clone().unwrap();
    assert_eq!(put["Name"], "/root/state/etl/status");
    assert!(!put["Value"].as_str().unwrap().contains("{{"), "refused by Parameter Store: {put}");
}

#[test]
fn what_does_not_fit_is_left_out() {
    let large = Value::String("x".repeat(MAX_BYTES));
    let kept = parse(&render(&status(Some(large))).unwrap());
    assert_eq!(kept, status(None));
    let mut huge = status(None);
    huge.registration.as_mut().unwrap().identity = "x".repeat(MAX_BYTES);
    let kept = parse(&render(&huge).unwrap());
    assert_eq!(kept, Status { registration: None, ..status(None) });
}

#[test]
fn what_happened_lately_gives_way_first() {
    let at = datetime!(2026-11-24 12:00 UTC);
    let mut lately = status(Some(Value::String("x".repeat(2000))));
    let poll = PastPoll { at, ms: 84, ready: 1, launched: 1, deferred: 0, failed: 0, error: None };
    let failed = |run: u32| FailedRun { run: run.to_string(), at, reason: "\u{1}".repeat(140), died: false };
    lately.recent.add(poll, Vec::new(), (0..4).map(failed).collect(), |_| false);
    let text = render(&lately).unwrap();
    let kept = parse(&text);
    assert!(text.len() <= MAX_BYTES, "{}", text.len());
    assert_eq!(kept.registration, lately.registration);
    assert_eq!(kept.recent.polls, lately.recent.polls);
    assert_eq!(kept.recent.failed, lately.recent.failed[..1]);
}

#[test]
fn statuses_of_other_versions_are_understood_as_far_as_possible() {
    for nothing in ["", "null", "[]", "{}", "{\"polls\": \"many\", \"counts\": 3, \"error\": \"of-tomorrow\"}"] {
        assert_eq!(parse(nothing), Status::default(), "{nothing}");
    }
    let partly = r#"{"polls": 3, "new": {}, "last_poll": "yesterday", "maintenance_until": "9999-12-31T23:59:59-01:00", "last_success": "2026-11-24T11:59:00Z",
        "oldest_due": "0000-01-01T00:00:00+01:00", "counts": {"ready": 4, "recovered": 1}, "error": "configuration", "registration": {"agent_id": "a"}}"#;
    let expected = Status {
        polls: 3,
        last_success: Some(datetime!(2026-11-24 11:59 UTC)),
        counts: Counts { ready: 4, ..Counts::default() },
        error: Some(ErrorKind::Configuration),
        ..Status::default()
    };
    assert_eq!(parse(partly), expected);
}

/// What Parameter Store does with writes, one after the other; then it takes them.
async fn written_after(answers: &'static [(u16, &'static str)]) -> (Result<(), AwsError>, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let server = Server::start(move |_: &Request| match answers.get(seen.fetch_add(1, Ordering::SeqCst)) {
        Some((0, _)) => Reply::Drop,
        Some((status, code)) => reply(*status, &json!({"__type": code, "message": "m"})),
        None => reply(200, &json!({"Version": 7})),
    })
    .await;
    let written = write(&server.clients().await.ssm, "/r", "etl", &status(None), "request").await;
    (written, count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_status_is_written_once_parameter_store_has_room() {
    let (written, count) = written_after(&[(400, "ThrottlingException"), (400, "TooManyUpdates"), (0, "")]).await;
    assert_eq!((written, count), (Ok(()), 4));
}

#[tokio::test]
async fn a_refused_status_is_not_written_again() {
    let (written, count) = written_after(&[(400, "AccessDeniedException")]).await;
    assert_eq!((written.unwrap_err().code(), count), (Some("AccessDeniedException"), 1));
}
