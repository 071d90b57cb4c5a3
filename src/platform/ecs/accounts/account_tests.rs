#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use secrecy::SecretString;
use serde_json::json;

fn with_parameters(parameters: &Value) -> AwsCredentials {
    AwsCredentials { client_parameters: parameters.as_object().unwrap().clone(), ..AwsCredentials::default() }
}

fn refusal(credentials: &AwsCredentials) -> String {
    account(credentials).expect_err("accepted").0
}

fn account(credentials: &AwsCredentials) -> Result<Account, RunRefusal> {
    super::account(credentials, &AllowedHosts::new(Some(vec!["localhost".to_owned()])))
}

#[test]
fn keys_region_and_role_lead_to_an_account() {
    let role = "arn:aws:iam::999999999999:role/flows";
    let credentials = AwsCredentials {
        access_key_id: Some("AKIA".into()),
        secret_access_key: Some(SecretString::from("secret")),
        session_token: Some(SecretString::from("token")),
        region_name: Some("us-gov-west-1".into()),
        assume_role_arn: Some(role.into()),
        assume_role_kwargs: json!({"ExternalId": "e", "DurationSeconds": 900}).as_object().unwrap().clone(),
        ..AwsCredentials::default()
    };
    let account = account(&credentials).unwrap();
    let keys = account.keys.unwrap();
    assert_eq!(
        (keys.access_key_id(), keys.secret_access_key(), keys.session_token()),
        ("AKIA", "secret", Some("token"))
    );
    assert_eq!((account.region.as_deref(), account.endpoint_url), (Some("us-gov-west-1"), None));
    let mut asked = account.role.unwrap();
    let session = asked.shift_remove("RoleSessionName").unwrap();
    assert_eq!(Value::Object(asked), json!({"RoleArn": role, "ExternalId": "e", "DurationSeconds": 900}));
    let session = session.as_str().unwrap().strip_prefix("prefect-session-").unwrap();
    assert!(session.len() == 8 && session.bytes().all(|b| b.is_ascii_hexdigit()), "{session}");
}

#[test]
fn a_session_has_the_name_that_it_is_given() {
    let credentials = AwsCredentials {
        assume_role_arn: Some("arn".into()),
        assume_role_kwargs: json!({"RoleSessionName": "mine"}).as_object().unwrap().clone(),
        ..AwsCredentials::default()
    };
    assert_eq!(account(&credentials).unwrap().role.unwrap()["RoleSessionName"], "mine");
}

/// What an empty block of Prefect looks like.
#[test]
fn defaults_written_out_are_nothing_of_the_runs_own() {
    let parameters = json!({"api_version": null, "use_ssl": true, "verify": true, "verify_cert_path": null,
        "endpoint_url": null, "config": null});
    assert_eq!(account(&with_parameters(&parameters)).unwrap(), Account::default());
}

#[test]
fn half_a_pair_of_keys_is_refused() {
    let (id, secret) = (Some("AKIA".to_owned()), Some(SecretString::from("secret")));
    let only_id = AwsCredentials { access_key_id: id, ..AwsCredentials::default() };
    assert!(refusal(&only_id).contains("`aws_secret_access_key` is missing"), "{}", refusal(&only_id));
    let only_secret = AwsCredentials { secret_access_key: secret.clone(), ..AwsCredentials::default() };
    assert!(refusal(&only_secret).contains("`aws_access_key_id` is missing"), "{}", refusal(&only_secret));
    let only_token = AwsCredentials { session_token: secret, ..AwsCredentials::default() };
    assert!(refusal(&only_token).starts_with("`aws_session_token` of `aws_credentials`"), "{}", refusal(&only_token));
    assert!([only_id, only_secret, only_token].iter().all(|credentials| !credentials.are_the_agents_own()));
}

#[test]
fn profiles_and_strange_regions_are_refused() {
    let profile = AwsCredentials { profile_name: Some("prod".into()), ..AwsCredentials::default() };
    assert!(refusal(&profile).contains("no AWS profiles"), "{}", refusal(&profile));
    for region in ["eu", "eu-west", "EU-WEST-1", "eu-west-1.example.com", "eu--1", "eu-west-1/", "x@eu-west-1", "é-é-1"]
    {
        let credentials = AwsCredentials { region_name: Some(region.into()), ..AwsCredentials::default() };
        assert!(refusal(&credentials).contains("`region_name`"), "{region}");
    }
}

#[test]
fn an_endpoint_is_an_address() {
    for (url, expected) in [("http://localhost:4566", Some("http://localhost:4566")), ("", None)] {
        let account = account(&with_parameters(&json!({"endpoint_url": url}))).unwrap();
        assert_eq!(account.endpoint_url.as_deref(), expected);
    }
    for url in [json!("localhost:4566"), json!("ftp://x"), json!("https://"), json!(5), json!(["http://x"])] {
        let refused = refusal(&with_parameters(&json!({"endpoint_url": url})));
        assert!(refused.contains("`aws_client_parameters.endpoint_url`"), "{url}: {refused}");
    }
}

#[test]
fn what_would_weaken_the_connection_is_refused_unless_there_is_nothing_to_weaken() {
    for (field, value) in [
        ("use_ssl", json!(false)),
        ("verify", json!(false)),
        ("verify", json!("/ca.pem")),
        ("verify_cert_path", json!("/ca.pem")),
    ] {
        let refused = refusal(&with_parameters(&json!({field: value})));
        assert!(refused.starts_with(&format!("`aws_client_parameters.{field}` of")), "{refused}");
        account(&with_parameters(&json!({field: value, "endpoint_url": "http://localhost:4566"}))).unwrap();
    }
    account(&with_parameters(&json!({"use_ssl": false, "endpoint_url": "https://localhost"}))).unwrap();
    assert!(account(&with_parameters(&json!({"verify": false, "endpoint_url": "https://localhost"}))).is_err());
}

#[test]
fn options_that_tune_pythons_client_are_ignored_and_the_others_refused() {
    for config in [
        json!({}),
        json!({"retries": {"max_attempts": 10, "mode": "adaptive"}, "connect_timeout": 5, "signature_version": "v4"}),
        json!({"proxies": null, "use_fips_endpoint": false}),
    ] {
        assert_eq!(account(&with_parameters(&json!({"config": config}))).unwrap(), Account::default(), "{config}");
    }
    for (config, told) in [
        (json!({"proxies": {"https": "http://proxy"}}), "config.proxies`"),
        (json!({"region_name": "eu-west-1"}), "write the region to `region_name`"),
        (json!({"use_fips_endpoint": true}), "`endpoint_url`"),
        (json!({"signature_version": "v2"}), "config.signature_version`"),
        (json!({"spelt_wrongly": 1}), "config.spelt_wrongly`"),
        (json!("x"), "not a mapping"),
    ] {
        let refused = refusal(&with_parameters(&json!({"config": config})));
        assert!(refused.contains(told), "{config}: {refused}");
    }
}
