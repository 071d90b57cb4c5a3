#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use secrecy::SecretString;
use serde_json::json;
use time::macros::datetime;

fn recorder(record: &Record) -> Recorder {
    let redaction = Redaction::default();
    redaction.know(["pcu_\"k\\ey", "abc"].map(SecretString::from));
    Recorder::new("etl", record.clone(), redaction)
}

#[test]
fn secrets_are_blanked_wherever_they_occur() {
    let record = Record::default();
    let body = json!({"env": [{"name": "KEY", "value": "pcu_\"k\\ey"}], "abc": ["x abc y", 1, null, true]});
    recorder(&record).note("ecs", "RunTask", None, body);
    let [request] = record.take().try_into().unwrap();
    let expected = json!({
        "env": [{"name": "KEY", "value": "[redacted]"}], "[redacted]": ["x [redacted] y", 1, null, true],
    });
    assert_eq!(request.body.to_string(), expected.to_string(), "the order of keys stays");
}

#[test]
fn what_is_held_comes_after_what_is_due_and_each_once() {
    let record = Record::default();
    let recorder = recorder(&record);
    let (sooner, later) = (datetime!(2026-11-24 12:00:10 UTC), datetime!(2026-11-24 12:00:20 UTC));
    for (operation, not_before) in
        [("claim", Some(later)), ("RunTask", Some(later)), ("claim", None), ("claim", Some(sooner)), ("log", None)]
    {
        recorder.note("prefect", operation, not_before, Value::Null);
    }
    let order: Vec<_> = record.take().into_iter().map(|request| (request.operation, request.not_before)).collect();
    let expected =
        [("claim", None), ("log", None), ("claim", Some(sooner)), ("claim", Some(later)), ("RunTask", Some(later))];
    assert_eq!(order, expected);
    assert!(record.take().is_empty());
}
