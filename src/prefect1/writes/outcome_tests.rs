#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::transport;
use super::*;
use crate::transport::retries::Again;
use serde_json::json;
use std::time::Duration;

fn claims(status: u16, body: &Value, count: usize) -> Vec<Claimed> {
    let answer = transport::read_answer(status, Again::default(), body.to_string().as_bytes());
    written_by_document(answer, count).iter().map(Written::claimed).collect()
}

fn state(status: &str, message: &Value) -> Value {
    json!({"states": [{"id": "x", "status": status, "message": message}]})
}

fn error(message: &str, code: &str, path: &Value) -> Value {
    json!({"message": message, "path": path, "extensions": {"code": code}})
}

const LOCKED: &str = "State update failed: this run has already been submitted.";

#[test]
fn each_alias_has_its_own_outcome() {
    let body = json!({
        "data": {"r0": state("SUCCESS", &Value::Null), "r1": null, "r2": state("QUEUED", &json!("Queued by flow run limit")),
            "r3": null, "r4": null, "r5": state("QUEUED", &Value::Null), "r6": {"states": []}, "r7": state("ODD", &Value::Null)},
        "errors": [
            error(LOCKED, "INTERNAL_SERVER_ERROR", &json!(["r1"])),
            error("provided a version of 1 but current version is 2", "VERSION_LOCKING_ERROR", &json!(["r3"])),
            error("request to http://graphql failed, reason: connect ECONNREFUSED", "INTERNAL_SERVER_ERROR", &json!(["r4"])),
        ],
    });
    let claimed = claims(200, &body, 8);
    assert_eq!(claimed[0], Claimed::Ours);
    assert_eq!(claimed[1], Claimed::Refused(LOCKED.into()));
    assert_eq!(claimed[2], Claimed::Refused("queued by a concurrency limit: Queued by flow run limit".into()));
    assert_eq!(claimed[3], Claimed::Refused("provided a version of 1 but current version is 2".into()));
    assert!(matches!(&claimed[4], Claimed::Unknown(text) if text.contains("ECONNREFUSED")));
    assert_eq!(claimed[5], Claimed::Refused("queued by a concurrency limit".into()));
    assert!(matches!(claimed[6], Claimed::Unknown(_)));
    assert!(matches!(&claimed[7], Claimed::Unknown(text) if text.contains("ODD")));
}

#[test]
fn a_missing_alias_is_unknown() {
    let claimed = claims(200, &json!({"data": {"r0": state("SUCCESS", &Value::Null)}}), 2);
    assert!(matches!(claimed[1], Claimed::Unknown(_)));
}

#[test]
fn an_error_without_a_path_belongs_to_an_only_alias() {
    let body = json!({"errors": [{"message": LOCKED}], "data": {"r0": null, "r1": null}});
    assert_eq!(claims(200, &body, 1), [Claimed::Refused(LOCKED.into())]);
    assert!(claims(200, &body, 2).iter().all(|claimed| matches!(claimed, Claimed::Unknown(_))));
}

#[test]
fn a_document_refused_as_a_whole_was_not_made() {
    let validation = json!({"errors": [{"message": "bad", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]});
    let missing_variable =
        json!({"errors": [{"message": "Variable", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]});
    for (status, body) in [
        (400, &validation),
        (200, &validation),
        (400, &missing_variable),
        (401, &validation),
        (403, &Value::Null),
        (404, &Value::Null),
        (429, &Value::Null),
    ] {
        let claimed = claims(status, body, 2);
        assert!(claimed.iter().all(|claimed| matches!(claimed, Claimed::NotMade(_))), "{status} {body}: {claimed:?}");
    }
}

#[test]
fn an_unclear_document_is_unknown_for_every_alias() {
    let internal = json!({"errors": [{"message": "internal", "extensions": {"code": "API_ERROR"}}], "data": null});
    for (status, body) in
        [(500, &Value::Null), (502, &internal), (408, &Value::Null), (200, &internal), (200, &json!("<p>"))]
    {
        let claimed = claims(status, body, 2);
        assert!(claimed.iter().all(|claimed| matches!(claimed, Claimed::Unknown(_))), "{status} {body}: {claimed:?}");
    }
}

#[test]
fn errors_of_sending_tell_whether_something_was_sent() {
    let claimed = |error| written_by_document(Err(error), 1)[0].claimed();
    let unreachable = ApiError::Unreachable { api: "http://api".into(), reason: "refused".into() };
    assert!(matches!(claimed(unreachable), Claimed::NotMade(_)));
    assert!(matches!(claimed(ApiError::Throttled { retry_after: Some(Duration::ZERO) }), Claimed::NotMade(_)));
    assert!(matches!(claimed(ApiError::NoAnswer("timed out".into())), Claimed::Unknown(_)));
}

#[test]
fn one_task_run_that_is_ours_claims_the_run() {
    let ours = || Claimed::Ours;
    let refused = || Claimed::Refused("first".into());
    let unknown = || Claimed::Unknown("lost".into());
    let not_made = || Claimed::NotMade(ApiError::Throttled { retry_after: None });
    assert_eq!(merged_claims(&[refused(), ours(), unknown()]), ours());
    assert_eq!(merged_claims(&[refused(), unknown(), not_made()]), unknown());
    assert_eq!(merged_claims(&[refused(), not_made()]), not_made());
    assert_eq!(merged_claims(&[refused(), Claimed::Refused("second".into())]), refused());
    assert!(matches!(merged_claims(&[]), Claimed::Refused(_)));
}
