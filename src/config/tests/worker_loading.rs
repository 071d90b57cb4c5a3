//! Secrets of agents that serve a work pool.

use super::{environment, three};
use crate::config::{AgentSecrets, Loaded, Parameter, Root, load};
use secrecy::{ExposeSecret, SecretString};

const CONFIG: &str = "prefect: 3\napi: https://prefect.example/api\nwork_pool: ecs";

fn load_with(secrets: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    let parameter = |name: String, value: &str| Parameter {
        is_secure: false,
        arn: Some(format!("arn:aws:ssm:eu-west-1:123456789012:parameter{name}")),
        value: SecretString::from(value),
        name,
        version: 1,
        last_modified: None,
    };
    let secrets = secrets.iter().map(|(name, value)| parameter(format!("/r/secrets/etl/{name}"), value));
    let parameters: Vec<_> = secrets.chain([parameter("/r/config/etl".into(), CONFIG)]).collect();
    load(&Root::new("r"), &parameters, &environment(variables))
}

fn secrets(loaded: &Loaded) -> &AgentSecrets {
    let (config, secrets) = loaded.agents[0].result.as_ref().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(three(config).work_pool, "ecs");
    secrets
}

fn told(secret: Option<&crate::config::StoredSecret>) -> Option<(&str, Option<&str>)> {
    secret.map(|secret| (secret.value.expose_secret(), secret.arn.as_deref()))
}

/// Paths and texts of what is wrong.
fn problems(loaded: &Loaded) -> Vec<String> {
    loaded.agents[0].result.as_ref().expect_err("accepted").problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_and_an_auth_string_are_read_with_their_arns() {
    let loaded = load_with(&[("api-key", "pnu_key"), ("auth-string", "admin:pass")], &[]);
    let arn = |name: &str| format!("arn:aws:ssm:eu-west-1:123456789012:parameter/r/secrets/etl/{name}");
    let secrets = secrets(&loaded);
    assert_eq!(told(secrets.api_key.as_ref()), Some(("pnu_key", Some(arn("api-key").as_str()))));
    assert_eq!(told(secrets.auth_string.as_ref()), Some(("admin:pass", Some(arn("auth-string").as_str()))));
    assert!(secrets.auth_token.is_none() && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.agents[0].arn.as_deref(), Some("arn:aws:ssm:eu-west-1:123456789012:parameter/r/config/etl"));
}

#[test]
fn a_server_may_need_no_secret_at_all() {
    let loaded = load_with(&[], &[]);
    assert_eq!(secrets(&loaded).iter().count(), 0);
}

#[test]
fn prefects_variables_are_fallbacks_and_those_of_prefect_1_are_none() {
    let variables = [
        ("PREFECT_API_KEY", "env-key"),
        ("PREFECT_API_AUTH_STRING", "env:string"),
        ("PREFECT__CLOUD__API_KEY", "one"),
        ("PREFECT__CLOUD__AGENT__AUTH_TOKEN", "one"),
    ];
    let loaded = load_with(&[], &variables);
    assert_eq!(told(secrets(&loaded).api_key.as_ref()), Some(("env-key", None)));
    assert_eq!(told(secrets(&loaded).auth_string.as_ref()), Some(("env:string", None)));
    let loaded = load_with(&[("api-key", "stored"), ("auth-string", "stored:x")], &variables);
    assert_eq!(told(secrets(&loaded).api_key.as_ref()).unwrap().0, "stored");
    assert_eq!(told(secrets(&loaded).auth_string.as_ref()).unwrap().0, "stored:x");
    let of_prefect_1 = load_with(&[], &variables[2..]);
    assert!(secrets(&of_prefect_1).api_key.is_none());
}

#[test]
fn an_auth_string_is_a_user_and_a_password() {
    let wrong = problems(&load_with(&[("auth-string", "geheim")], &[]));
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("`/r/secrets/etl/auth-string`") && wrong[0].contains("user:password"), "{wrong:?}");
    assert!(!wrong[0].contains("geheim"), "{wrong:?}");
    let wrong = problems(&load_with(&[], &[("PREFECT_API_AUTH_STRING", "geheim")]));
    assert!(wrong[0].starts_with("`PREFECT_API_AUTH_STRING`"), "{wrong:?}");
    let wrong = problems(&load_with(&[("auth-string", "a:b\n"), ("api-key", " x")], &[]));
    assert_eq!(wrong.len(), 2, "what no header can carry: {wrong:?}");
}

#[test]
fn a_token_of_prefect_0_15_is_warned_about() {
    let loaded = load_with(&[("auth-token", "geheim")], &[]);
    assert!(secrets(&loaded).auth_token.is_none());
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("/r/secrets/etl/auth-token") && !loaded.warnings[0].contains("geheim"));
}

#[test]
fn agents_of_both_generations_live_side_by_side() {
    let parameter = |name: &str, value: &str| Parameter {
        name: format!("/r/{name}"),
        is_secure: false,
        value: SecretString::from(value),
        arn: None,
        version: 1,
        last_modified: None,
    };
    let parameters = [
        parameter("config/one", "prefect: 1"),
        parameter("config/three", CONFIG),
        parameter("secrets/one/api-key", "one"),
        parameter("secrets/three/auth-string", "three:x"),
        parameter("secrets/one/auth-string", "of no use"),
    ];
    let loaded = load(&Root::new("r"), &parameters, &environment(&[]));
    let found: Vec<_> = loaded.agents.iter().map(|agent| &agent.result.as_ref().unwrap().1).collect();
    assert_eq!(told(found[0].api_key.as_ref()), Some(("one", None)));
    assert!(found[0].auth_string.is_none() && found[1].api_key.is_none());
    assert_eq!(told(found[1].auth_string.as_ref()), Some(("three:x", None)));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}
