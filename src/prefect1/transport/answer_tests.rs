#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn answer(status: u16, body: &str) -> Result<GraphqlAnswer, ApiError> {
    read_answer(status, Again::default(), body.as_bytes())
}

const SUBMITTED: &str = r#"{"errors":[{"message":"State update failed: this run has already been submitted.","locations":[{"line":1,"column":48}],"path":["set_flow_run_states"],"extensions":{"code":"INTERNAL_SERVER_ERROR","exception":{"message":"State update failed: this run has already been submitted."}}}],"data":{"set_flow_run_states":null}}"#;
const UNAUTHENTICATED: &str = r#"{"errors": [{"message": "Unauthenticated", "locations": [], "extensions": {"code": "UNAUTHENTICATED"}}], "data": null}"#;
const BAD_INPUT: &str = r#"{"errors": [{"message": "Variable '$input' has invalid value at .tenant_id: Expected value of non-null type 'UUID!' not to be None.", "locations": [{"line": 1, "column": 10}], "extensions": {"code": "BAD_USER_INPUT"}}]}"#;
const API_ERROR: &str = r#"{"errors": [{"message": "Unable to complete operation. An internal API error occurred.", "extensions": {"code": "API_ERROR"}}], "data": null}"#;

#[test]
fn data_is_read_by_field() {
    let answer = answer(200, r#"{"data":{"tenant":[{"id":"t"}],"other":null}}"#).unwrap();
    assert_eq!(answer.field("tenant").unwrap()[0]["id"], "t");
    assert!(matches!(answer.field("other"), Err(ApiError::Malformed(_))));
    assert!(matches!(answer.field("missing"), Err(ApiError::Malformed(_))));
}

#[test]
fn errors_fail_a_200_and_keep_the_field_they_belong_to() {
    let answer = answer(200, SUBMITTED).unwrap();
    assert_eq!(answer.errors[0].alias.as_deref(), Some("set_flow_run_states"));
    assert_eq!(answer.errors[0].code.as_deref(), Some("INTERNAL_SERVER_ERROR"));
    let Err(ApiError::Refused { message, errors }) = answer.field("set_flow_run_states") else { panic!() };
    assert_eq!(message, "State update failed: this run has already been submitted.");
    assert_eq!(errors[0]["path"][0], "set_flow_run_states");
}

#[test]
fn errors_beside_data_still_fail_the_whole_of_a_single_request() {
    let answer = answer(200, r#"{"errors":[{"message":"half"}],"data":{"flow_run":[]}}"#).unwrap();
    assert!(matches!(answer.field("flow_run"), Err(ApiError::Refused { message, .. }) if message == "half"));
}

#[test]
fn errors_without_data_key_are_errors() {
    let answer = answer(200, r#"{"errors":[{"message":"no tenant"}]}"#).unwrap();
    assert!(matches!(answer.field("tenant"), Err(ApiError::Refused { .. })));
}

#[test]
fn refused_credentials_are_recognised_on_every_status() {
    for (status, body) in [
        (401, UNAUTHENTICATED),
        (401, "<html>no</html>"),
        (403, ""),
        (200, UNAUTHENTICATED),
        (400, UNAUTHENTICATED),
        (500, r#"{"errors":[{"message":"Malformed Authorization header"}]}"#),
        (200, r#"{"errors":[{"message":"[{'code': 'UNAUTHENTICATED'}]"}],"data":{"hello":null}}"#),
    ] {
        assert!(matches!(answer(status, body), Err(ApiError::Unauthorised(_))), "{status} {body}");
    }
    // One alias that worked proves the credentials good, whatever another alias's text says.
    let mixed = r#"{"errors":[{"message":"UNAUTHENTICATED","path":["r1"]}],"data":{"r0":{"states":[]},"r1":null}}"#;
    assert!(answer(200, mixed).is_ok());
}

#[test]
fn every_other_status_has_its_error() {
    assert_eq!(answer(429, "slow down"), Err(ApiError::Throttled { retry_after: None }));
    assert_eq!(answer(502, "bad gateway"), Err(ApiError::Status { status: 502, text: "bad gateway".into() }));
    assert_eq!(answer(500, ""), Err(ApiError::Status { status: 500, text: "(empty body)".into() }));
    assert_eq!(answer(302, "moved"), Err(ApiError::Status { status: 302, text: "moved".into() }));
    assert!(matches!(answer(400, BAD_INPUT), Err(ApiError::Refused { message, .. }) if message.contains("tenant_id")));
    assert!(matches!(answer(400, "<html>"), Err(ApiError::Status { status: 400, .. })));
}

#[test]
fn what_is_no_graphql_answer_is_malformed() {
    for body in ["<html>x</html>", "", "null", "[]", "{}", r#"{"data":null}"#, r#"{"data":[]}"#, r#"{"errors":[]}"#] {
        assert!(matches!(answer(200, body), Err(ApiError::Malformed(_))), "{body}");
    }
}

#[test]
fn errors_may_be_anything() {
    for body in [r#"{"errors":"boom"}"#, r#"{"errors":{"message":"boom"}}"#, r#"{"errors":[null],"data":null}"#] {
        assert!(matches!(answer(200, body).unwrap().field("x"), Err(ApiError::Refused { .. })), "{body}");
    }
}

#[test]
fn long_bodies_are_cut_in_errors() {
    let Err(ApiError::Status { text, .. }) = answer(503, &"é ".repeat(10_000)) else { panic!() };
    assert!(text.chars().count() <= 300, "{}", text.len());
}

#[test]
fn kinds_of_errors() {
    assert!(answer(200, API_ERROR).unwrap().is_api_error());
    assert!(!answer(200, SUBMITTED).unwrap().is_api_error());
    assert!(!answer(200, SUBMITTED).unwrap().is_validation());
    let validation = r#"{"errors":[{"message":"Cannot query","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#;
    assert!(answer(200, validation).unwrap().is_validation());
}
