#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::known::secrets_of_block;
use super::*;
use crate::config::{AgentSecrets, StoredSecret};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

fn knowing(secrets: &[&str]) -> Redaction {
    let redaction = Redaction::default();
    redaction.know(secrets.iter().map(|secret| SecretString::from(*secret)));
    redaction
}

#[test]
fn a_secret_is_blanked_in_every_form_that_a_text_may_have_it_in() {
    let redaction = knowing(&["s3cr\"et p@ssword/1"]);
    for text in [
        "it is s3cr\"et p@ssword/1.",
        r#"{"text":"s3cr\"et p@ssword/1"}"#,
        "Basic czNjciJldCBwQHNzd29yZC8x",
        "https://u:s3cr%22et%20p%40ssword%2F1@host",
        "only p@ssword/1 of it",
    ] {
        let said = redaction.text(text);
        assert!(said.contains(REDACTED), "{said}");
        assert!(!said.contains("p@ssword") && !said.contains("czNjc") && !said.contains("ssword"), "{said}");
    }
    assert_eq!(redaction.text("nothing of it"), "nothing of it");
}

#[test]
fn an_auth_string_is_known_with_its_password_and_as_it_is_sent() {
    let redaction = Redaction::default();
    let auth_string = Some(StoredSecret { value: SecretString::from("admin:hunter2:x"), arn: None });
    redaction.know_agent(&AgentSecrets { auth_string, ..AgentSecrets::default() });
    for text in ["admin:hunter2:x", "Basic YWRtaW46aHVudGVyMjp4", "password hunter2:x"] {
        assert!(redaction.text(text).ends_with(REDACTED), "{text}");
    }
}

#[test]
fn what_a_configuration_should_not_hold_is_known() {
    let redaction = Redaction::default();
    redaction.know_configuration(&json!({
        "api": "https://u:password-1@prefect.example/api",
        "env_vars": {"DB_PASSWORD": "password-2", "TZ": "Europe/Zurich", "ODD": 7},
        "worker_env": {"PREFECT_X": "redis://:password-3@host/0"},
    }));
    redaction.know_configuration(&Value::Null);
    for secret in ["password-1", "password-2", "password-3"] {
        assert_eq!(redaction.text(secret), REDACTED);
    }
    assert_eq!(redaction.text("Europe/Zurich"), "Europe/Zurich");
}

#[test]
fn headers_and_other_json_are_known_by_their_values() {
    let redaction = knowing(&[r#"{"CF-Access-Client-Secret": "abcdef0123", "X": {"Y": ["fedcba9876"]}}"#]);
    assert_eq!(redaction.text("a abcdef0123 b fedcba9876"), "a [redacted] b [redacted]");
}

#[test]
fn the_longer_of_two_secrets_leaves_nothing_of_itself() {
    assert_eq!(knowing(&["secret-1", "secret-1-and-more"]).text("secret-1-and-more"), REDACTED);
}

#[test]
fn short_secrets_leave_texts_as_they_are_and_are_words_or_values_in_dry_runs() {
    let redaction = knowing(&["1", "on", "abc", "prod"]);
    let text = "exit code 1 on prod: abc";
    assert_eq!(redaction.text(text), text);
    let body = json!({"cpu": "1", "n": 1, "m": 10, "text": "no 1 on one; abc abcd, prod!", "on": "onward"});
    let shown = json!({
        "cpu": REDACTED, "n": REDACTED, "m": 10, "text": "no 1 on one; [redacted] abcd, [redacted]!", REDACTED: "onward",
    });
    assert_eq!(redaction.shown(body), shown);
}

#[test]
fn a_line_of_the_log_stays_json_with_its_time_and_level() {
    let redaction = knowing(&["INFOrmation", "123456", "message", "k\"ey\\s"]);
    let line = json!({
        "timestamp": "2026-11-24T12:00:00.123456Z", "level": "INFO", "message": "INFOrmation k\"ey\\s",
        "duration_ms": 123_456, "nested": {"list": ["123456"]},
    });
    let said: Value = serde_json::from_str(&redaction.line(&format!("{line}\n"))).unwrap();
    let expected = json!({
        "timestamp": "2026-11-24T12:00:00.123456Z", "level": "INFO", "message": "[redacted] [redacted]",
        "duration_ms": 123_456, "nested": {"list": [REDACTED]},
    });
    assert_eq!(said, expected);
    assert_eq!(redaction.line("INFOrmation for people\n"), "[redacted] for people\n");
    assert!(matches!(redaction.line("nothing\n"), Cow::Borrowed("nothing\n")));
}

#[test]
fn only_what_is_meant_for_people_is_changed_in_what_prefect_is_sent() {
    let redaction = knowing(&["default-cluster"]);
    let body = json!({
        "state": {"message": "no cluster default-cluster", "data": {"mark": {"cluster": "default-cluster"}}},
        "logs": [{"message": "default-cluster", "name": "default-cluster"}],
    });
    let said = json!({
        "state": {"message": "no cluster [redacted]", "data": {"mark": {"cluster": "default-cluster"}}},
        "logs": [{"message": REDACTED, "name": "default-cluster"}],
    });
    assert_eq!(redaction.said(&body), said.to_string());
}

#[test]
fn the_beginning_of_a_secret_before_a_cut_is_blanked() {
    let redaction = knowing(&["pnu_0123456789"]);
    assert_eq!(redaction.text("answered <p>pnu_0123456… at once"), "answered <p>[redacted]… at once");
    assert_eq!(redaction.text("pnu_0… is too little"), "pnu_0… is too little");
    let body = Bytes::from_static(b"pnu_0123456789 was refused");
    assert_eq!(&redaction.answer(&body)[..], b"[redacted] was refused");
}

#[test]
fn what_runs_bring_along_is_forgotten_with_their_poll_and_the_agents_own_is_not() {
    let redaction = knowing(&["lasting-secret"]);
    let brought = |agent: &str, secret: &str| redaction.bring(agent, [SecretString::from(secret)]);
    brought("one", "brought-by-one");
    brought("two", "brought-by-two");
    redaction.forget("one");
    let said = redaction.text("lasting-secret brought-by-one brought-by-two");
    assert_eq!(said, "[redacted] brought-by-one [redacted]");
}

fn block(schema: &Value, data: &Value) -> Vec<String> {
    let document = json!({"block_schema": schema, "data": data});
    secrets_of_block(document.as_object().unwrap()).iter().map(|secret| secret.expose_secret().to_owned()).collect()
}

#[test]
fn a_blocks_secrets_are_what_its_schema_says_and_the_keys_of_aws() {
    let schema = |paths: &[&str]| json!({"fields": {"secret_fields": paths}});
    assert_eq!(block(&schema(&["value"]), &json!({"value": "v", "other": "o"})), ["v"]);
    let data = json!({"all": {"a": "1", "b": {"c": 2}}, "child": {"key": "k", "name": "n"}, "list": [{"x": "y"}]});
    assert_eq!(block(&schema(&["all.*", "child.key", "list.x", "gone.z"]), &data), ["1", "2", "k", "y"]);
    let aws = json!({"aws_access_key_id": "AKIA", "aws_secret_access_key": "s", "region_name": "eu-west-1"});
    assert_eq!(block(&schema(&["aws_secret_access_key"]), &aws), ["s", "AKIA", "s"]);
    assert_eq!(block(&json!({"fields": {}}), &json!({"value": "plain"})), Vec::<String>::new());
    // Whoever does not say what is secret is taken to mean everything.
    for schema in [json!(null), json!({}), json!({"fields": {"secret_fields": 7}}), json!([])] {
        assert_eq!(block(&schema, &json!({"a": ["x", {"b": "y"}], "c": true})), ["x", "y"], "{schema}");
    }
    for document in [json!({}), json!({"data": null}), json!({"data": 7, "block_schema": 7})] {
        secrets_of_block(document.as_object().unwrap());
    }
}

proptest! {
    #[test]
    fn whatever_the_secret_and_the_text_no_long_secret_is_left(
        secret in "[ -~]{6,20}", before in "[ -~]{0,10}", after in "[ -~…]{0,10}",
    ) {
        let trimmed = secret.trim();
        prop_assume!(trimmed.chars().count() >= 6 && !REDACTED.contains(trimmed));
        let redaction = knowing(&[&secret]);
        let text = format!("{before}{trimmed}{after}");
        prop_assert!(!redaction.text(text.clone()).replace(REDACTED, "").contains(trimmed) || trimmed.contains("redacted"));
        let line = format!("{}\n", json!({"message": text, "list": [text]}));
        let said: Value = serde_json::from_str(&redaction.line(&line)).unwrap();
        prop_assert_eq!(said["message"].as_str().unwrap(), redaction.text(text));
    }
}
