//! Any configuration of Prefect 2 and 3, written in any way.

use super::valid::{KEYS, any_json, common, text, texts, written_in_common};
use super::{read, read_with, three};
use crate::config::{AgentConfig, GenerationConfig, Prefect3Config, WorkerRules};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Every key that only a configuration of Prefect 2 or 3 has.
const OWN_KEYS: &[&str] = &[
    "work_pool",
    "work_queues",
    "limit",
    "image",
    "worker_env",
    "cancel_grace_seconds",
    "forward_log_lines",
    "prefect_labels",
];

fn queues() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4).prop_map(|queues| {
        let mut seen = std::collections::HashSet::new();
        queues.into_iter().filter(|queue| seen.insert(queue.clone())).collect()
    })
}

fn settings() -> impl Strategy<Value = Vec<(String, String)>> {
    btree_map("PREFECT_[A-Z_]{1,9}", any::<String>(), 0..4).prop_map(|map| map.into_iter().collect())
}

prop_compose! {
    fn prefect_3()(
        rules in prop_oneof![Just(WorkerRules::Two), Just(WorkerRules::Three)],
        work_pool in text(),
        work_queues in queues(),
        limit in option::of(1..=u32::MAX as usize),
        image in text(),
        worker_env in settings(),
        prefect_labels in any::<bool>(),
    ) -> Prefect3Config {
        Prefect3Config { rules, work_pool, work_queues, limit, image, worker_env, prefect_labels }
    }
}

fn agent() -> impl Strategy<Value = AgentConfig> {
    let name = text().prop_filter("a part of addresses", |name| !name.contains(['/', '%']));
    (prefect_3(), common(), name, 0..=86_400_u64, 0..=500_u32).prop_map(|(three, config, name, grace, lines)| {
        let config = config.with(GenerationConfig::Three(three));
        AgentConfig { name, cancel_grace: Duration::from_secs(grace), forward_log_lines: lines, ..config }
    })
}

/// The configuration as somebody would write it.
fn written(config: &AgentConfig) -> Map<String, Value> {
    let three = three(config);
    let mut map = written_in_common(config);
    let settings: Map<_, _> = three.worker_env.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect();
    let own = json!({
        "prefect": if three.rules == WorkerRules::Two { json!(2) } else { json!("3") },
        "work_pool": three.work_pool,
        "work_queues": three.work_queues,
        "limit": three.limit,
        "image": three.image,
        "worker_env": settings,
        "cancel_grace_seconds": config.cancel_grace.as_secs(),
        "forward_log_lines": config.forward_log_lines,
        "prefect_labels": three.prefect_labels,
    });
    map.extend(own.as_object().unwrap().clone());
    map
}

/// The keys of a written configuration are all that there are: the others are unknown, or Prefect 1's.
fn all_keys() -> Vec<&'static str> {
    let of_prefect_1 = [
        "backend",
        "tenant_id",
        "labels",
        "agent_config_id",
        "no_cloud_logs",
        "logging_level",
        "cluster",
        "launch_type",
        "task_role_arn",
        "execution_role_arn",
        "task_definition",
        "task_definition_path",
        "run_task_kwargs",
        "run_task_kwargs_path",
    ];
    let common = KEYS.iter().filter(|key| !of_prefect_1.contains(key));
    common.chain(OWN_KEYS).copied().collect()
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
        let text = json!(written(&config)).to_string();
        let variables = ["PREFECT_API_URL", "PREFECT__CLOUD__API", "PREFECT__BACKEND", "PREFECT__CLOUD__AGENT__NAME"];
        let variables = variables.map(|name| (name, value.as_str()));
        prop_assert_eq!(read_with(&text, &variables), read(&text));
    }

    #[test]
    fn a_key_of_prefect_1_is_refused_by_its_name(config in agent(), key in prop::sample::select(KEYS.to_vec()), value in any_json()) {
        prop_assume!(!all_keys().contains(&key));
        let mut map = written(&config);
        map.insert(key.to_owned(), value);
        let errors = read(&json!(map).to_string()).expect_err("accepted");
        prop_assert_eq!(errors.problems.len(), 1, "{}", errors);
        prop_assert_eq!(&errors.problems[0].path, key);
        prop_assert!(errors.problems[0].found.contains("Prefect 0.15 and 1"), "{}", errors);
    }

    #[test]
    fn every_wrong_place_is_named(config in agent(), wrong in prop::sample::subsequence(all_keys(), 1..6)) {
        prop_assume!(!wrong.contains(&"prefect"));
        let mut map = written(&config);
        for key in &wrong {
            map.insert((*key).to_owned(), json!([[]]));
        }
        let message = read(&json!(map).to_string()).expect_err("accepted").to_string();
        for key in &wrong {
            let (plain, item) = (format!("`{key}`"), format!("`{key}[0]`"));
            prop_assert!(message.contains(&plain) || message.contains(&item), "{} is missing in {}", key, message);
        }
    }

    #[test]
    fn any_values_at_known_keys_never_panic(
        values in vec((prop::sample::select(all_keys()), any_json()), 0..6),
        generation in prop::sample::select(vec![json!(2), json!("3")]),
    ) {
        let mut map: Map<String, Value> = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        map.insert("prefect".to_owned(), generation);
        for text in texts(&map) {
            if let Err(errors) = read(&text) {
                prop_assert!(!errors.problems.is_empty());
                prop_assert!(errors.to_string().contains("/root/config/etl"));
            }
        }
    }
}
