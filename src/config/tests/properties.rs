use super::valid::{KEYS, agent, any_json, texts, written};
use super::{environment, good, one, read, read_with};
use crate::config::{AgentConfig, ConfigSource, apply_backend_settings, from_file, read_agent};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A key and the variable that stands in for it, what each holds, and what becomes of the agent.
type Backed = (&'static str, &'static str, Value, &'static str, fn(&AgentConfig) -> String);

/// Every key that an environment variable stands in for.
fn backed() -> Vec<Backed> {
    let (id, other) = ("6f1b2c3d-0000-4000-8000-000000000001", "6f1b2c3d-0000-4000-8000-000000000002");
    vec![
        ("api", "PREFECT__CLOUD__API", json!("http://key"), "http://env", |c| c.api.clone()),
        ("name", "PREFECT__CLOUD__AGENT__NAME", json!("key"), "env", |c| c.name.clone()),
        ("tenant_id", "PREFECT__CLOUD__TENANT_ID", json!(id), other, |c| format!("{:?}", one(c).tenant_id)),
        ("labels", "PREFECT__CLOUD__AGENT__LABELS", json!(["key"]), "['env']", |c| format!("{:?}", one(c).labels)),
        ("env_vars", "PREFECT__CLOUD__AGENT__ENV_VARS", json!({"K": "key"}), "{'E': 'env'}", |c| {
            format!("{:?}", c.env_vars)
        }),
        ("env_vars", "PREFECT__CLOUD__AGENT__ENV_VARS__E", json!({"K": "key"}), "env", |c| format!("{:?}", c.env_vars)),
        ("no_cloud_logs", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", json!(false), "false", |c| {
            one(c).no_cloud_logs.to_string()
        }),
        ("logging_level", "PREFECT__LOGGING__LEVEL", json!("ERROR"), "DEBUG", |c| one(c).logging_level.clone()),
        ("backend", "PREFECT__BACKEND", json!("cloud"), "server", |c| format!("{:?}", one(c).backend)),
    ]
}

#[test]
fn a_key_beats_its_variable_which_beats_the_default() {
    for (key, variable, value, text, view) in backed() {
        let with_key = json!({ key: value }).to_string();
        let (default, keyed) = (view(&good("{}")), view(&good(&with_key)));
        let from_variable = view(&read_with("{}", &[(variable, text)]).unwrap());
        assert_ne!(from_variable, default, "{variable} alone");
        assert_ne!(from_variable, keyed, "{variable} and {key} can be told apart");
        assert_eq!(view(&read_with(&with_key, &[(variable, text)]).unwrap()), keyed, "{key} beats {variable}");
    }
}

/// The list of keys here is the list of keys there: an unknown key has no hint that is not in it.
#[test]
fn every_listed_key_is_known() {
    for key in KEYS {
        if let Err(errors) = read(&json!({ *key: {} }).to_string()) {
            assert!(!errors.to_string().contains("unknown key"), "{errors}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(config in agent()) {
        for text in texts(&written(&config)) {
            match read(&text) {
                Ok(read) => prop_assert_eq!(&read, &config, "{}", text),
                Err(errors) => prop_assert!(false, "{}\n{}", errors, text),
            }
        }
    }

    #[test]
    fn a_valid_configuration_needs_no_environment(config in agent(), value in any::<String>()) {
        // Whatever a variable holds: where the key is written, it does not matter.
        let mut map = written(&config);
        map.entry("tenant_id").and_modify(|id| if id.is_null() { *id = json!(uuid::Uuid::nil().to_string()) });
        let variables: Vec<(&str, &str)> = backed().iter().map(|backed| (backed.1, value.as_str())).collect();
        let text = json!(map).to_string();
        prop_assert_eq!(read_with(&text, &variables), read(&text));
    }

    #[test]
    fn a_single_unknown_key_is_refused_by_its_path(config in agent(), key in "[a-z][a-z0-9_-]{0,20}", value in any_json()) {
        prop_assume!(!KEYS.contains(&key.as_str()));
        let mut map = written(&config);
        map.insert(key.clone(), value);
        for text in texts(&map) {
            let errors = read(&text).expect_err("accepted");
            prop_assert_eq!(errors.problems.len(), 1, "{}", errors);
            prop_assert_eq!(&errors.problems[0].path, &key);
        }
    }

    #[test]
    fn every_wrong_place_is_named(config in agent(), wrong in prop::sample::subsequence(KEYS.to_vec(), 1..6)) {
        let mut map = written(&config);
        for document in ["task_definition", "task_definition_path", "run_task_kwargs", "run_task_kwargs_path"] {
            map.remove(document);
        }
        for key in &wrong {
            map.insert((*key).to_owned(), json!([[]]));
        }
        let errors = read(&json!(map).to_string()).expect_err("accepted");
        let message = errors.to_string();
        for key in &wrong {
            let (plain, item) = (format!("`{key}`"), format!("`{key}[0]`"));
            prop_assert!(message.contains(&plain) || message.contains(&item), "{} is missing in {}", key, message);
        }
    }

    #[test]
    fn any_values_at_known_keys_never_panic(values in vec((prop::sample::select(KEYS.to_vec()), any_json()), 0..6)) {
        let map: Map<String, Value> = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        for text in texts(&map) {
            if let Err(errors) = read(&text) {
                prop_assert!(!errors.problems.is_empty());
                prop_assert!(errors.to_string().contains("/root/config/etl"));
            }
        }
        let mut config = super::one_of("{}");
        let warnings = apply_backend_settings(&mut config, &Value::Object(map.clone()));
        prop_assert!(!warnings.is_empty() || map.keys().all(|key| map[key].is_null() || ["labels", "env_vars", "name", "max_polls", "no_cloud_logs"].contains(&key.as_str())));
    }

    #[test]
    fn any_text_never_panics(text in prop_oneof![any::<String>(), "[-a-z:\\[\\]{}'\"&*!|>#%@`, \n\t0-9.]{0,80}"]) {
        let _ = from_file(&text, "file", &environment(&[])).result.map_err(|errors| errors.to_string());
        let variables: Vec<(&str, &str)> = backed().iter().map(|backed| (backed.1, text.as_str())).collect();
        let source = ConfigSource { parameter: "p", agent: "a", local_files: true };
        let _ = read_agent("backend: server", &source, &environment(&variables)).map_err(|errors| errors.to_string());
    }
}
