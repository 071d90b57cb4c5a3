//! Agents that serve a work pool of Prefect 2 or 3.

use super::{good, problems, read, read_with, three};
use crate::config::{AgentConfig, ApiKeyDelivery, ConfigErrors, WorkerRules};
use crate::ecs_model::UnknownMembers;

/// The least that such an agent needs.
const LEAST: &str = "prefect: 3\napi: https://prefect.example/api\nwork_pool: ecs\n";

fn with(more: &str) -> Result<AgentConfig, ConfigErrors> {
    read(&format!("{LEAST}{more}"))
}

/// Paths of every problem.
fn paths(more: &str) -> Vec<String> {
    problems(with(more)).into_iter().map(|(path, _, _)| path).collect()
}

#[test]
fn the_least_document_is_an_agent_with_every_default() {
    let config = good(LEAST);
    assert_eq!((config.agent.as_str(), config.name.as_str()), ("etl", "etl"));
    assert_eq!(config.api, "https://prefect.example/api");
    assert!(config.enabled && config.env_vars.is_empty());
    assert_eq!((config.poll_interval.as_secs(), config.prefetch.as_secs()), (60, 60));
    assert_eq!((config.launch_rate, config.spot_fallback_after), (Some(20.0), Some(3)));
    assert_eq!((config.api_key_delivery, config.unknown_members), (ApiKeyDelivery::Auto, UnknownMembers::Refuse));
    assert_eq!((config.orphan_after.as_secs(), config.max_launch_attempts), (120, 5));
    assert_eq!((config.cancel_grace.as_secs(), config.forward_log_lines, config.max_polls), (90, 50, None));
    let three = three(&config);
    assert_eq!((three.rules, three.work_pool.as_str()), (WorkerRules::Three, "ecs"));
    assert_eq!((three.image.as_str(), three.limit), ("prefecthq/prefect:3-latest", None));
    assert!(three.work_queues.is_empty() && three.worker_env.is_empty() && three.prefect_labels);
}

#[test]
fn every_key_is_read() {
    let config = good(
        "
prefect: '2'
enabled: false
api: http://prefect.local:4200/api/
ca_bundle: ssm://ca
name: my worker
poll_interval_seconds: 300
prefetch_seconds: 0
launch_rate: null
env_vars: {B: b, A: 1.10}
region_name: us-gov-west-1
assume_role_arn: arn:aws:iam::123456789012:role/path/launcher
api_key_delivery: environment
unknown_members: send
orphan_after_seconds: 90
max_launch_attempts: 1
spot_fallback_after: null
max_polls: 1000
work_pool: my pool
work_queues: [urgent, default, urgent]
limit: 50
image: registry/flows:1
worker_env: {PREFECT_LOGGING_LEVEL: DEBUG, PREFECT_RESULTS_PERSIST_BY_DEFAULT: true}
cancel_grace_seconds: 0
forward_log_lines: 0
prefect_labels: false
",
    );
    assert!(!config.enabled);
    assert_eq!(config.api, "http://prefect.local:4200/api");
    assert_eq!((config.ca_bundle.as_deref(), config.name.as_str()), (Some("ssm://ca"), "my worker"));
    assert_eq!((config.poll_interval.as_secs(), config.prefetch.as_secs()), (300, 0));
    assert_eq!(config.env_vars, [("B".to_owned(), "b".to_owned()), ("A".to_owned(), "1.10".to_owned())]);
    assert_eq!((config.max_polls, config.cancel_grace.as_secs(), config.forward_log_lines), (Some(1000), 0, 0));
    assert_eq!(config.unknown_members, UnknownMembers::Send);
    assert_eq!(config.assume_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/path/launcher"));
    let three = three(&config);
    assert_eq!((three.rules, three.work_pool.as_str()), (WorkerRules::Two, "my pool"));
    assert_eq!(three.work_queues, ["urgent", "default"]);
    assert_eq!((three.limit, three.image.as_str(), three.prefect_labels), (Some(50), "registry/flows:1", false));
    let settings = [("PREFECT_LOGGING_LEVEL", "DEBUG"), ("PREFECT_RESULTS_PERSIST_BY_DEFAULT", "true")];
    assert_eq!(three.worker_env, settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn each_generation_has_its_image() {
    let two = good("prefect: 2\napi: https://prefect.example/api\nwork_pool: ecs");
    assert_eq!(three(&two).image, "prefecthq/prefect:2-latest");
}

#[test]
fn one_queue_needs_no_list() {
    assert_eq!(three(&with("work_queues: urgent").unwrap()).work_queues, ["urgent"]);
}

#[test]
fn a_configuration_wrong_in_three_places_gets_one_message_that_names_all_three() {
    let message =
        read("prefect: 3\nwork_pool: ecs\napi: prefect.example\nlimit: 0\nwork_queue: urgent").unwrap_err().to_string();
    assert_eq!(
        message,
        "the configuration /root/config/etl is wrong in 3 places: \
         (1) `api`: found the text \"prefect.example\"; allowed: an http:// or https:// address without user, \
         password, query and fragment. \
         (2) `limit`: found the number 0; allowed: a whole number of at least 1, or null for no limit. \
         (3) `work_queue`: found an unknown key (did you mean `work_queues`?); allowed: the keys of an agent's \
         configuration"
    );
}

#[test]
fn the_address_and_the_pool_must_be_said() {
    let found = problems(read("prefect: 3"));
    let expected =
        [("api", "the address of the Prefect API (https://…/api)"), ("work_pool", "the name of an ecs work pool")];
    assert_eq!(found, expected.map(|(key, allowed)| (key.to_owned(), "nothing".to_owned(), allowed.to_owned())));
    assert_eq!(problems(read("prefect: 3\napi: null\nwork_pool: null")), found, "null is nothing");
}

#[test]
fn wrong_values_are_refused_at_their_key() {
    for (key, values) in [
        ("api", &["5", "prefect", "ftp://x", "https://u:p@x/api", "https://x/api?a=b"][..]),
        ("name", &["5", "''", "a/b", "50%"]),
        ("work_pool", &["5", "''", "[ecs]"]),
        ("work_queues", &["5", "{a: b}"]),
        ("limit", &["0", "-1", "'5'", "1.5", "true"]),
        ("image", &["5", "''"]),
        ("worker_env", &["5", "[PREFECT_X]", "PREFECT_X=1"]),
        ("cancel_grace_seconds", &["-1", "86401", "'90'"]),
        ("forward_log_lines", &["-1", "501", "'50'", "null x"]),
        ("prefect_labels", &["5", "'true'", "yes"]),
        ("max_polls", &["-1", "'5'"]),
        ("prefetch_seconds", &["-1", "86401"]),
    ] {
        for value in values {
            let text: Vec<&str> = LEAST.lines().filter(|line| !line.starts_with(&format!("{key}:"))).collect();
            let found = problems(read(&format!("{}\n{key}: {value}", text.join("\n"))));
            assert_eq!(found.len(), 1, "{key}: {value}: {found:?}");
            assert_eq!(found[0].0, *key, "{value}");
        }
    }
    assert_eq!(paths("work_queues: [a, 5]"), ["work_queues[1]"]);
}

#[test]
fn worker_env_holds_settings_of_prefect_and_nothing_else() {
    let found = problems(with("worker_env: {PREFECT_API_URL: x, TOKEN: geheim, prefect_home: geheim}"));
    let paths: Vec<_> = found.iter().map(|(path, _, _)| path.as_str()).collect();
    assert_eq!(paths, ["worker_env.TOKEN", "worker_env.prefect_home"]);
    assert!(found[0].2.contains("env_vars"), "{found:?}");
    assert!(!format!("{found:?}").contains("geheim"), "{found:?}");
}

#[test]
fn keys_of_prefect_1_are_said_to_be_such() {
    let keys = "labels: [prod]\nbackend: cloud\ncluster: flows\nexecution_role_arn: r\ntask_definition: {}\nagent_config_id: x";
    for (path, found, allowed) in problems(with(keys)) {
        assert_eq!(
            (found.as_str(), allowed.as_str()),
            ("a key of Prefect 0.15 and 1", "nothing with Prefect 2 and 3"),
            "{path}"
        );
    }
    let expected = ["backend", "labels", "agent_config_id", "cluster", "execution_role_arn", "task_definition"];
    assert_eq!(paths(keys), expected);
}

#[test]
fn numbers_and_words_in_env_vars_stay_as_written() {
    let config = with("env_vars: {A: 1.10, B: 007, C: yes}").unwrap();
    let expected = [("A", "1.10"), ("B", "007"), ("C", "yes")];
    assert_eq!(config.env_vars, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn the_address_falls_back_to_prefects_variable() {
    let text = "prefect: 3\nwork_pool: ecs";
    let variable = ("PREFECT_API_URL", "https://env.example/api/");
    assert_eq!(read_with(text, &[variable]).unwrap().api, "https://env.example/api");
    assert_eq!(read_with(LEAST, &[variable]).unwrap().api, "https://prefect.example/api", "the key comes first");
    let found = problems(read_with(text, &[("PREFECT_API_URL", "prefect")]));
    assert_eq!((found.len(), found[0].0.as_str()), (1, "PREFECT_API_URL"), "{found:?}");
    assert_eq!(problems(read_with(text, &[("PREFECT_API_URL", " ")]))[0].0, "api", "an empty one is not set");
    assert_eq!(read_with("prefect: 1", &[variable]).unwrap().api, "https://api.prefect.io", "not that of Prefect 1");
}

#[test]
fn variables_of_prefect_1_mean_nothing() {
    let variables = [
        ("PREFECT__CLOUD__API", "https://one.example"),
        ("PREFECT__CLOUD__AGENT__NAME", "one"),
        ("PREFECT__CLOUD__AGENT__ENV_VARS", "{'A': 'b'}"),
        ("PREFECT__CLOUD__AGENT__LABELS", "["),
        ("PREFECT__BACKEND", "nonsense"),
    ];
    assert_eq!(read_with(LEAST, &variables).unwrap(), good(LEAST));
}

#[test]
fn messages_never_show_what_may_be_a_secret() {
    let text =
        "api_key: geheim\nauth_string: geheim:geheim\nworker_env: {PREFECT_X: [geheim]}\nenv_vars: {A: [geheim]}";
    let errors = with(text).unwrap_err();
    assert_eq!(errors.problems.len(), 4, "{errors}");
    assert!(!format!("{errors} {errors:?}").contains("geheim"), "{errors}");
}

#[test]
fn what_no_task_could_hold_is_refused() {
    let long = |length: usize| "x".repeat(length);
    for (more, path) in [
        (format!("name: {}", long(257)), "name"),
        (format!("env_vars: {{A: {}}}", long(8200)), "env_vars"),
        (format!("worker_env: {{PREFECT_A: {}}}", long(8200)), "worker_env"),
    ] {
        assert_eq!(paths(&more), [path]);
    }
    assert_eq!(good(&format!("{LEAST}name: {}", long(256))).name.len(), 256);
    // Spelled as tags, these are longer and shorter than they are written.
    assert_eq!(paths(&format!("name: {}", "ﬃ".repeat(100))), ["name"]);
    good(&format!("{LEAST}name: {}", "é".repeat(300)));
    // A worker of Prefect 2 has no such tag.
    good(&format!("{}name: {}", LEAST.replace("prefect: 3", "prefect: 2"), long(257)));
    let pool = LEAST.replace("work_pool: ecs", &format!("work_pool: {}", long(257)));
    let found: Vec<_> = problems(read(&pool)).into_iter().map(|(path, _, _)| path).collect();
    assert_eq!(found, ["work_pool"]);
}
