#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use crate::{answer::ServiceError, route::Scope, ssm::operations::perform, world::State};
use serde_json::{Value, json};

fn call(state: &mut State, operation: &str, input: Value) -> Result<Value, ServiceError> {
    perform(state, &Scope::default(), operation, &input)
}

fn put(state: &mut State, name: &str, value: &str, overwrite: bool) -> Result<Value, ServiceError> {
    call(state, "PutParameter", json!({"Name": name, "Value": value, "Type": "String", "Overwrite": overwrite}))
}

#[test]
fn versions_increase_and_an_existing_parameter_is_kept_without_overwrite() {
    let mut state = State::default();
    assert_eq!(put(&mut state, "/a/polls", "one", false).unwrap()["Version"], 1);
    assert_eq!(put(&mut state, "/a/polls", "two", false).unwrap_err().code, "ParameterAlreadyExists");
    assert_eq!(put(&mut state, "/a/polls", "two", true).unwrap()["Version"], 2);
    assert_eq!(put(&mut state, "/a/polls", "three", true).unwrap()["Version"], 3);
    let history = call(&mut state, "GetParameterHistory", json!({"Name": "/a/polls"})).unwrap();
    let values: Vec<&str> =
        history["Parameters"].as_array().unwrap().iter().map(|v| v["Value"].as_str().unwrap()).collect();
    assert_eq!(values, ["one", "two", "three"]);
    let second = call(&mut state, "GetParameter", json!({"Name": "/a/polls:2"})).unwrap();
    assert_eq!(second["Parameter"]["Value"], "two");
}

#[test]
fn only_the_newest_hundred_versions_are_kept_and_deleting_starts_again() {
    let mut state = State::default();
    for n in 1..=120 {
        assert_eq!(put(&mut state, "/a/polls", "x", true).unwrap()["Version"], n);
    }
    let first =
        call(&mut state, "GetParameterHistory", json!({"Name": "/a/polls"})).unwrap()["Parameters"][0]["Version"]
            .clone();
    assert_eq!(first, 21);
    call(&mut state, "DeleteParameter", json!({"Name": "/a/polls"})).unwrap();
    assert_eq!(put(&mut state, "/a/polls", "x", true).unwrap()["Version"], 1);
}

#[test]
fn a_secret_is_only_readable_with_decryption() {
    let mut state = State::default();
    call(&mut state, "PutParameter", json!({"Name": "/a/key", "Value": "hush", "Type": "SecureString"})).unwrap();
    let sealed = call(&mut state, "GetParameter", json!({"Name": "/a/key"})).unwrap();
    assert!(!sealed["Parameter"]["Value"].as_str().unwrap().contains("hush"), "{sealed}");
    let open = call(&mut state, "GetParameter", json!({"Name": "/a/key", "WithDecryption": true})).unwrap();
    assert_eq!(open["Parameter"]["Value"], "hush");
    assert_eq!(open["Parameter"]["ARN"], "arn:aws:ssm:us-east-1:123456789012:parameter/a/key");
    let by_arn = json!({"Name": open["Parameter"]["ARN"], "WithDecryption": true});
    assert_eq!(call(&mut state, "GetParameter", by_arn).unwrap()["Parameter"]["Value"], "hush");
}

#[test]
fn a_path_is_answered_in_pages_of_ten() {
    let mut state = State::default();
    for n in 0..25 {
        put(&mut state, &format!("/root/config/agent-{n:02}"), "x", false).unwrap();
    }
    put(&mut state, "/root/configuration/other", "x", false).unwrap();
    put(&mut state, "/root/config/deep/er", "x", false).unwrap();
    let mut sizes = Vec::new();
    let mut token = Value::Null;
    loop {
        let answer =
            call(&mut state, "GetParametersByPath", json!({"Path": "/root/config", "NextToken": token})).unwrap();
        sizes.push(answer["Parameters"].as_array().unwrap().len());
        token = answer["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    let deep =
        call(&mut state, "GetParametersByPath", json!({"Path": "/root/config/deep/", "Recursive": true})).unwrap();
    assert_eq!(deep["Parameters"][0]["Name"], "/root/config/deep/er");
}

#[test]
fn limits_and_missing_parameters_are_refused_as_by_aws() {
    let mut state = State::default();
    let code = |result: Result<Value, ServiceError>| result.unwrap_err().code;
    assert_eq!(code(put(&mut state, "/a", &"x".repeat(4097), false)), "ValidationException");
    let advanced = json!({"Name": "/a", "Value": "x".repeat(8192), "Type": "String", "Tier": "Advanced"});
    assert_eq!(call(&mut state, "PutParameter", advanced).unwrap()["Tier"], "Advanced");
    assert_eq!(code(put(&mut state, "/a b", "x", false)), "ValidationException");
    assert_eq!(code(put(&mut state, "/aws/b", "x", false)), "AccessDeniedException");
    assert_eq!(code(put(&mut state, "/b", "", false)), "ValidationException");
    assert_eq!(code(call(&mut state, "PutParameter", json!({"Name": "/b", "Value": "x"}))), "ValidationException");
    assert_eq!(code(call(&mut state, "GetParameter", json!({"Name": "/none"}))), "ParameterNotFound");
    let some = call(&mut state, "GetParameters", json!({"Names": ["/a", "/none"]})).unwrap();
    assert_eq!(some["InvalidParameters"], json!(["/none"]));
    let eleven: Vec<String> = (0..11).map(|n| format!("/p{n}")).collect();
    assert_eq!(code(call(&mut state, "GetParameters", json!({"Names": eleven}))), "ValidationException");
    state.ssm.too_many_updates = 1;
    assert_eq!(code(put(&mut state, "/a", "x", true)), "TooManyUpdates");
    assert_eq!(put(&mut state, "/a", "x", true).unwrap()["Version"], 2);
}
