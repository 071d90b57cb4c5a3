#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::Write;
use super::*;
use crate::http::{Answer, Request};
use crate::redaction::Redaction;
use http::{HeaderMap, Method};
use secrecy::SecretString;
use serde_json::json;
use time::macros::datetime;

const BEGAN: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

fn recorder(record: &Record) -> Recorder {
    let redaction = Redaction::default();
    redaction.know(["pcu_\"k\\ey", "abc"].map(SecretString::from));
    Recorder::new("etl", record.clone(), redaction, BEGAN)
}

#[test]
fn secrets_are_blanked_wherever_they_occur() {
    let record = Record::default();
    let body = json!({"env": [{"name": "KEY", "value": "pcu_\"k\\ey"}], "abc": ["x abc y", 1, null, true]});
    recorder(&record).note("ecs", Write { operation: "RunTask".into(), body, ..Write::default() });
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
    let due = [("now", BEGAN), ("sooner", sooner), ("later", later)].map(|(name, at)| (name.to_owned(), at)).to_vec();
    recorder.note("prefect", Write { operation: "all".into(), due, ..Write::default() });
    for (operation, of) in
        [("claim", "later"), ("RunTask", "later"), ("claim", "now"), ("claim", "sooner"), ("log", "")]
    {
        recorder.note("prefect", Write { operation: operation.into(), of: vec![of.into()], ..Write::default() });
    }
    let order: Vec<_> = record.take().into_iter().map(|request| (request.operation, request.not_before)).collect();
    let expected = [
        ("all", None),
        ("claim", None),
        ("log", None),
        ("claim", Some(sooner)),
        ("claim", Some(later)),
        ("RunTask", Some(later)),
    ];
    assert_eq!(order, expected.map(|(operation, not_before)| (operation.to_owned(), not_before)));
    assert!(record.take().is_empty());
}

fn request(method: Method, url: &str, body: &Value) -> Request {
    let timeout = std::time::Duration::from_secs(1);
    Request { method, url: url.into(), headers: HeaderMap::new(), body: Some(body.to_string().into()), timeout }
}

fn graphql(query: &str, variables: &Value) -> Option<Write> {
    super::to_prefect1(&request(Method::POST, "https://api", &json!({"query": query, "variables": variables})))
}

fn rest(method: Method, path: &str, body: &Value) -> Option<Write> {
    super::to_prefect3(&request(method, &format!("https://host/api{path}"), body), "https://host/api")
}

fn ecs_call(operation: &str, body: &Value) -> Option<Write> {
    let mut request = request(Method::POST, "https://ecs/", body);
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    request.headers.insert("x-amz-target", target.parse().unwrap());
    super::to_ecs(&request)
}

fn set(id_key: &str, state: &Value) -> Value {
    json!({"states": [{id_key: "r", "state": state}]})
}

#[test]
fn what_changes_nothing_is_no_write() {
    assert_eq!(graphql("query standing { flow_run { id } }", &json!({})), None);
    assert_eq!(graphql("mutation($input: x!) { get_runs_in_queue(input: $input) { flow_run_ids } }", &json!({})), None);
    assert_eq!(rest(Method::GET, "/flow_runs/r", &Value::Null), None);
    for path in ["/flow_runs/filter", "/logs/filter", "/work_pools/p/get_scheduled_flow_runs"] {
        assert_eq!(rest(Method::POST, path, &json!({})), None, "{path}");
    }
    for operation in ["DescribeTasks", "ListTasks", "DescribeTaskDefinition", "ListTaskDefinitions"] {
        assert_eq!(ecs_call(operation, &json!({})), None, "{operation}");
    }
    let elsewhere = request(Method::POST, "https://sts/", &json!("Action=AssumeRole"));
    assert_eq!(super::to_ecs(&elsewhere), None);
}

#[test]
fn writes_have_the_names_of_what_a_poll_does() {
    let graphql = |state: &str| graphql("mutation { r0 }", &json!({"i0": set("flow_run_id", &json!({"type": state}))}));
    for (state, name) in [
        ("Submitted", "claim"),
        ("Scheduled", "give-back"),
        ("Retrying", "give-back"),
        ("Failed", "fail"),
        ("Cancelled", "cancelled"),
    ] {
        assert_eq!(graphql(state).unwrap().operation, name);
    }
    for (state, name) in
        [("PENDING", "claim"), ("SCHEDULED", "give-back"), ("CRASHED", "fail"), ("CANCELLED", "cancelled")]
    {
        let body = json!({"state": {"type": state}, "force": false});
        assert_eq!(rest(Method::POST, "/flow_runs/r/set_state", &body).unwrap().operation, name);
    }
    for (method, path, name) in [
        (Method::PATCH, "/flow_runs/r", "record-task"),
        (Method::PATCH, "/flow_runs/r/labels", "announce"),
        (Method::POST, "/events", "announce"),
        (Method::POST, "/logs/", "log"),
    ] {
        let write = rest(method.clone(), path, &json!({"a": 1})).unwrap();
        assert_eq!(
            (write.operation.as_str(), &write.body),
            (name, &json!({"method": method.as_str(), "path": path, "body": {"a": 1}}))
        );
    }
    for operation in ["RunTask", "RegisterTaskDefinition", "StopTask", "DeregisterTaskDefinition"] {
        assert_eq!(ecs_call(operation, &json!({})).unwrap().operation, operation);
    }
}

#[test]
fn a_claimed_run_is_held_with_its_launch_and_its_log() {
    let record = Record::default();
    let recorder = recorder(&record);
    let start = datetime!(2026-11-24 12:00:10 UTC);
    let state = json!({
        "type": "Submitted", "context": {"prefect_serverless_agent": {"token": "t"}},
        "state": {"type": "Scheduled", "start_time": "2026-11-24T12:00:10+00:00"},
    });
    let claim = graphql("mutation { r0 }", &json!({"i0": set("flow_run_id", &state)})).unwrap();
    assert_eq!(claim.answer, json!({"data": {"r0": {"states": [{"status": "SUCCESS"}]}}}));
    let lines = json!({"input": {"logs": [{"flow_run_id": "r"}, {"flow_run_id": "other"}]}});
    let log = graphql("mutation { write_run_logs(input: $input) { success } }", &lines).unwrap();
    for write in [claim, ecs_call("RunTask", &json!({"clientToken": "t"})).unwrap(), log] {
        recorder.note("any", write);
    }
    assert!(record.take().iter().all(|request| request.not_before == Some(start)));
}

#[test]
fn what_is_read_after_a_claim_shows_it() {
    let recorder = recorder(&Record::default());
    let read = |body: &Value| {
        let answer = Answer { status: 200, headers: HeaderMap::new(), body: body.to_string().into() };
        serde_json::from_slice::<Value>(&recorder.after_writes(answer).body).unwrap()
    };
    let (one, three) = (json!({"type": "Submitted"}), json!({"type": "PENDING", "name": "Pending"}));
    let tasks = json!([{"id": "t", "version": 1, "serialized_state": {"type": "Retrying"}}]);
    let before =
        json!({"data": {"flow_run": [{"id": "r", "state": "Scheduled", "serialized_state": {}, "task_runs": tasks}]}});
    assert_eq!(read(&before), before);
    recorder.note("prefect", graphql("mutation { r0 }", &json!({"i0": set("flow_run_id", &one)})).unwrap());
    let claimed = json!({"id": "r", "state": "Submitted", "serialized_state": one, "task_runs": tasks});
    assert_eq!(read(&before), json!({"data": {"flow_run": [claimed]}}));
    let variables = json!({"i0": {"states": [{"task_run_id": "t", "state": one}]}});
    recorder.note("prefect", graphql("mutation { r0 }", &variables).unwrap());
    let task = json!({"id": "t", "version": 1, "serialized_state": one});
    assert_eq!(read(&before)["data"]["flow_run"][0]["task_runs"], json!([task]));

    let body = json!({"state": three, "force": false});
    recorder.note("prefect", rest(Method::POST, "/flow_runs/three/set_state", &body).unwrap());
    let rows = json!([{"id": "three", "state": {"type": "SCHEDULED"}}, {"id": "x", "state": null}]);
    assert_eq!(read(&rows), json!([{"id": "three", "state": three}, {"id": "x", "state": null}]));
}
