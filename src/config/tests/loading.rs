use super::{environment, one};
use crate::config::{
    AgentConfig, AgentSecrets, Loaded, LoadedAgent, Parameter, Root, Rules, UnknownAgent, from_file, load,
};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

fn parameter(name: &str, value: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        is_secure: false,
        value: SecretString::from(value),
        arn: Some(format!("arn:aws:ssm:eu-west-1:123456789012:parameter{name}")),
        version: 1,
        last_modified: Some(OffsetDateTime::UNIX_EPOCH),
    }
}

fn load_all(parameters: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    let parameters: Vec<Parameter> = parameters.iter().map(|(name, value)| parameter(name, value)).collect();
    load(&Root::new("r"), &parameters, &environment(variables))
}

fn agent<'a>(loaded: &'a Loaded, name: &str) -> &'a LoadedAgent {
    loaded.agents.iter().find(|agent| agent.agent == name).unwrap_or_else(|| panic!("no agent {name}: {loaded:?}"))
}

fn good<'a>(loaded: &'a Loaded, name: &str) -> &'a (AgentConfig, AgentSecrets) {
    agent(loaded, name).result.as_ref().unwrap_or_else(|errors| panic!("{errors}"))
}

fn paths(loaded: &Loaded, name: &str) -> Vec<String> {
    let errors = agent(loaded, name).result.as_ref().expect_err("accepted");
    errors.problems.iter().map(|problem| problem.path.clone()).collect()
}

#[test]
fn a_root_is_normalised() {
    for written in ["/a/b", "a/b", "/a/b/", "//a//b//", " a/b "] {
        assert_eq!(Root::new(written).as_str(), "/a/b", "{written:?}");
    }
    assert_eq!(Root::new("/").config(), "/config");
}

#[test]
fn agents_come_sorted_with_their_secrets() {
    let loaded = load_all(
        &[
            ("/r/secrets/poke-token", "poke"),
            ("/r/config/zeta", "prefect: 1"),
            ("/r/secrets/etl/auth-token", "token"),
            ("/r/config/etl", "prefect: 0.15\nlabels: prod"),
            ("/r/secrets/zeta/api-key", "key"),
            ("/r/state/etl/status", "not ours"),
            ("/other/config/x", "not ours"),
        ],
        &[],
    );
    assert_eq!(loaded.agents.iter().map(|agent| agent.agent.as_str()).collect::<Vec<_>>(), ["etl", "zeta"]);
    assert_eq!(agent(&loaded, "etl").parameter, "/r/config/etl");
    assert_eq!(agent(&loaded, "etl").last_modified, Some(OffsetDateTime::UNIX_EPOCH));
    let (config, secrets) = good(&loaded, "etl");
    assert_eq!((config.name.as_str(), one(config).rules), ("etl", Rules::V0_15));
    let token = secrets.auth_token.as_ref().unwrap();
    assert_eq!(token.value.expose_secret(), "token");
    assert_eq!(token.arn.as_deref(), Some("arn:aws:ssm:eu-west-1:123456789012:parameter/r/secrets/etl/auth-token"));
    assert!(secrets.api_key.is_none());
    assert_eq!(good(&loaded, "zeta").1.api_key.as_ref().unwrap().value.expose_secret(), "key");
    assert_eq!(loaded.poke_token.unwrap().expose_secret(), "poke");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn one_agents_bad_configuration_never_stops_another() {
    let loaded = load_all(
        &[
            ("/r/config/bad", "labels: 5\nx: 1"),
            ("/r/config/good", "{}"),
            ("/r/config/no yaml", "{"),
            ("/r/config/worse", "{"),
        ],
        &[],
    );
    assert_eq!(paths(&loaded, "bad"), ["labels", "x"]);
    assert_eq!(good(&loaded, "good").0.agent, "good");
    let message = agent(&loaded, "worse").result.as_ref().unwrap_err().to_string();
    assert!(message.contains("/r/config/worse"), "{message}");
    assert_eq!(loaded.agents.len(), 4);
}

#[test]
fn stray_names_below_config_are_errors_of_their_own() {
    let long = format!("/r/config/{}", "a".repeat(65));
    let loaded =
        load_all(&[("/r/config/a/b", "{}"), ("/r/config/a.b", "{}"), (&long, "{}"), ("/r/config/a", "{}")], &[]);
    for name in ["a/b", "a.b", &"a".repeat(65)] {
        let message = agent(&loaded, name).result.as_ref().unwrap_err().to_string();
        assert!(message.contains("the agent's name") && message.contains(&format!("/r/config/{name}")), "{message}");
    }
    good(&loaded, "a");
}

#[test]
fn secrets_that_nobody_uses_are_warned_about_without_their_values() {
    let loaded = load_all(
        &[
            ("/r/config/etl", "{}"),
            ("/r/secrets/gone/api-key", "geheim"),
            ("/r/secrets/gone/auth-token", "geheim"),
            ("/r/secrets/etl/password", "geheim"),
            ("/r/secrets/etl/auth-string", "geheim"),
            ("/r/secrets/stray", "geheim"),
        ],
        &[],
    );
    good(&loaded, "etl");
    for name in ["gone/api-key", "gone/auth-token", "etl/password", "etl/auth-string", "stray"] {
        let name = format!("/r/secrets/{name} ");
        assert_eq!(loaded.warnings.iter().filter(|w| w.contains(&name)).count(), 1, "{name} in {:?}", loaded.warnings);
    }
    assert!(!format!("{loaded:?}").contains("geheim"), "{loaded:?}");
}

#[test]
fn a_token_belongs_to_prefect_0_15() {
    let token = ("/r/secrets/etl/auth-token", "token");
    let alone = load_all(&[("/r/config/etl", "prefect: 1"), token], &[]);
    assert_eq!(paths(&alone, "etl"), ["/r/secrets/etl/auth-token"]);
    let beside = load_all(&[("/r/config/etl", "prefect: 1"), token, ("/r/secrets/etl/api-key", "key")], &[]);
    assert!(good(&beside, "etl").1.auth_token.is_none());
    assert_eq!(beside.warnings.len(), 1);
}

#[test]
fn the_environments_secrets_are_fallbacks() {
    let variables = [("PREFECT__CLOUD__API_KEY", "env-key"), ("PREFECT__CLOUD__AGENT__AUTH_TOKEN", "env-token")];
    let agents = [("/r/config/a", "{}"), ("/r/config/b", "prefect: 0.15"), ("/r/secrets/b/api-key", "b-key")];
    let loaded = load_all(&agents, &variables);
    let (_, a) = good(&loaded, "a");
    assert_eq!(a.api_key.as_ref().unwrap().value.expose_secret(), "env-key");
    assert_eq!(a.api_key.as_ref().unwrap().arn, None);
    assert!(a.auth_token.is_none(), "of no concern to Prefect 1");
    let (_, b) = good(&loaded, "b");
    assert_eq!(b.api_key.as_ref().unwrap().value.expose_secret(), "b-key");
    assert_eq!(b.auth_token.as_ref().unwrap().value.expose_secret(), "env-token");
}

#[test]
fn a_secret_that_no_header_can_carry_is_refused_beside_all_other_problems() {
    let loaded = load_all(&[("/r/config/etl", "labels: 5"), ("/r/secrets/etl/api-key", "geheim\n")], &[]);
    assert_eq!(paths(&loaded, "etl"), ["labels", "/r/secrets/etl/api-key"]);
    assert!(!format!("{loaded:?}").contains("geheim"), "{loaded:?}");
    let loaded = load_all(&[("/r/config/etl", "{}")], &[("PREFECT__CLOUD__API_KEY", "schlüssel")]);
    assert_eq!(paths(&loaded, "etl"), ["PREFECT__CLOUD__API_KEY"]);
    assert!(load_all(&[("/r/secrets/poke-token", " x")], &[]).poke_token.is_none());
}

#[test]
fn a_file_is_the_agent_called_agent() {
    let variables = environment(&[("PREFECT__CLOUD__API_KEY", "key")]);
    let loaded = from_file("task_definition_path: task.yaml", "./etl.yaml", &variables);
    assert_eq!((loaded.agent.as_str(), loaded.parameter.as_str()), ("agent", "./etl.yaml"));
    let (config, secrets) = loaded.result.unwrap();
    assert_eq!((config.agent.as_str(), config.name.as_str()), ("agent", "agent"));
    assert_eq!(secrets.api_key.unwrap().value.expose_secret(), "key");
    let named = environment(&[("PREFECT__CLOUD__AGENT__NAME", "from env")]);
    assert_eq!(from_file("{}", "f", &named).result.unwrap().0.name, "from env");
    assert_eq!(from_file("name: key", "f", &named).result.unwrap().0.name, "key");
    let message = from_file("x: 1", "./etl.yaml", &variables).result.unwrap_err().to_string();
    assert!(message.starts_with("the configuration ./etl.yaml is wrong"), "{message}");
}

#[test]
fn who_is_not_configured_is_named_with_who_is() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let configured = names(&["etl", "gpu"]);
    for asked in [&["etl"][..], &["gpu", "etl"], &[]] {
        assert_eq!(UnknownAgent::among(&names(asked), &configured), Ok(()));
    }
    let unknown = UnknownAgent::among(&names(&["etl", "nobody", "noone"]), &configured).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no agent \"nobody\"; configured are: etl, gpu");
}
