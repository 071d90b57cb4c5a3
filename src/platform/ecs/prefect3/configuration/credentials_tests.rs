#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use secrecy::ExposeSecret;
use serde_json::json;

fn read_from(given: Value) -> Result<AwsCredentials, String> {
    let given = json!({"aws_credentials": given});
    let mut reader = Validator::new(given.as_object().unwrap(), given.as_object().unwrap());
    let credentials = read_credentials(&mut reader);
    reader.finish().map(|()| credentials).map_err(|refusal| refusal.0)
}

#[test]
fn nothing_means_the_agents_own() {
    for given in [json!({}), Value::Null, json!({"region_name": null, "profile_name": "", "unknown": 5})] {
        assert!(read_from(given.clone()).unwrap().are_the_agents_own(), "{given}");
    }
    assert!(!read_from(json!({"region_name": "eu-west-1"})).unwrap().are_the_agents_own());
}

#[test]
fn keys_are_secret() {
    let credentials =
        read_from(json!({"aws_access_key_id": "AKIA", "aws_secret_access_key": "s3", "aws_session_token": "t0"}));
    let credentials = credentials.unwrap();
    assert_eq!(credentials.secret_access_key.as_ref().unwrap().expose_secret(), "s3");
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("s3") && !shown.contains("t0"), "{shown}");
    let refusal = read_from(json!({"aws_secret_access_key": 987_654})).unwrap_err();
    assert!(refusal.contains("aws_credentials.aws_secret_access_key") && !refusal.contains("987654"), "{refusal}");
}

#[test]
fn roles_are_assumed_with_their_parameters() {
    let role = json!({"assume_role_arn": "arn:r", "assume_role_kwargs": {"DurationSeconds": "900", "Policy": null,
        "Tags": [{"Key": "a", "Value": "b"}], "Unknown": 1}});
    let body = read_from(role).unwrap().assume_role("0123abcd").unwrap();
    let expected = json!({"RoleArn": "arn:r", "RoleSessionName": "prefect-session-0123abcd", "DurationSeconds": 900,
        "Tags": [{"Key": "a", "Value": "b"}]});
    assert_eq!(Value::Object(body), expected);
    let named = json!({"assume_role_arn": "arn:r", "assume_role_kwargs": {"RoleSessionName": "mine"}});
    assert_eq!(read_from(named).unwrap().assume_role("x").unwrap()["RoleSessionName"], "mine");
    assert_eq!(read_from(json!({})).unwrap().assume_role("x"), None);
}

#[test]
fn wrong_types_are_refused_with_their_place() {
    for (given, expected) in [
        (json!("x"), "aws_credentials\n  Input should be a valid dictionary or instance of AwsCredentials ["),
        (
            json!({"region_name": 5}),
            "aws_credentials.region_name\n  Input should be a valid string [type=string_type, i",
        ),
        (
            json!({"assume_role_kwargs": {"DurationSeconds": 900.5}}),
            "aws_credentials.assume_role_kwargs.DurationSeconds\n  Input should be a valid integer, got a number with a f",
        ),
        (
            json!({"assume_role_kwargs": null}),
            "aws_credentials.assume_role_kwargs\n  Input should be a valid dictionary",
        ),
    ] {
        let refusal = read_from(given).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
}
