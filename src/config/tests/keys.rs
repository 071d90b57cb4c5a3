use super::{good, one, paths, problems, read};
use crate::config::{ApiKeyDelivery, Backend, ConfigSource, Document, Environment, LaunchType, Rules, read_agent};

#[test]
fn the_empty_document_is_an_agent_with_every_default() {
    let config = good("{}");
    assert_eq!(config.agent, "etl");
    assert_eq!(config.name, "etl");
    assert!(config.enabled);
    assert_eq!(config.api, "https://api.prefect.io");
    assert_eq!(config.ca_bundle, None);
    assert_eq!((config.poll_interval.as_secs(), config.prefetch.as_secs()), (60, 120));
    assert_eq!(config.launch_rate, Some(20.0));
    assert_eq!(config.env_vars, []);
    assert_eq!((config.region_name.clone(), config.assume_role_arn.clone()), (None, None));
    assert_eq!(config.api_key_delivery, ApiKeyDelivery::Auto);
    assert_eq!(config.orphan_after.as_secs(), 120);
    assert_eq!(config.max_launch_attempts, 5);
    assert_eq!(config.spot_fallback_after, Some(3));
    assert_eq!(config.max_polls, None);
    let one = one(&config);
    assert_eq!((one.rules, one.backend), (Rules::V1, Backend::Cloud));
    assert_eq!((one.tenant_id.clone(), one.agent_config_id.clone()), (None, None));
    assert!(one.labels.is_empty() && !one.no_cloud_logs);
    assert_eq!(one.logging_level, "INFO");
    assert_eq!((one.cluster.clone(), one.launch_type), (None, None));
    assert_eq!((one.task_role_arn.clone(), one.execution_role_arn.clone()), (None, None));
    assert_eq!((one.task_definition.clone(), one.run_task_kwargs.clone()), (None, None));
}

#[test]
fn every_key_is_read() {
    let config = good(
        "
prefect: '0.15'
enabled: false
api: http://prefect.local:4200/
ca_bundle: ssm://ca
name: my agent
poll_interval_seconds: 300
prefetch_seconds: 0
launch_rate: null
env_vars: {B: b, A: a}
region_name: us-gov-west-1
assume_role_arn: arn:aws:iam::123456789012:role/path/launcher
api_key_delivery: environment
orphan_after_seconds: 90
max_launch_attempts: 1
spot_fallback_after: null
backend: server
tenant_id: 6F1B2C3D-0000-4000-8000-000000000001
labels: [prod, dev, prod]
max_polls: 0
agent_config_id: 6f1b2c3d-0000-4000-8000-000000000002
no_cloud_logs: true
logging_level: debug
cluster: flows
launch_type: ec2
task_role_arn: flow-role
execution_role_arn: arn:aws:iam::123456789012:role/exec
task_definition_path: ssm:///prefect/definition
run_task_kwargs_path: https://example.com/kwargs.yaml
",
    );
    assert!(!config.enabled);
    assert_eq!(config.api, "http://prefect.local:4200");
    assert_eq!(config.ca_bundle.as_deref(), Some("ssm://ca"));
    assert_eq!(config.name, "my agent");
    assert_eq!((config.poll_interval.as_secs(), config.prefetch.as_secs()), (300, 0));
    assert_eq!((config.launch_rate, config.spot_fallback_after), (None, None));
    assert_eq!(config.env_vars, [("B".to_owned(), "b".to_owned()), ("A".to_owned(), "a".to_owned())]);
    assert_eq!(config.region_name.as_deref(), Some("us-gov-west-1"));
    assert_eq!(config.assume_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/path/launcher"));
    assert_eq!(config.api_key_delivery, ApiKeyDelivery::Environment);
    assert_eq!((config.orphan_after.as_secs(), config.max_launch_attempts), (90, 1));
    assert_eq!(config.max_polls, Some(0));
    let one = one(&config);
    assert_eq!((one.rules, one.backend), (Rules::V0_15, Backend::Server));
    assert_eq!(one.tenant_id.as_deref(), Some("6f1b2c3d-0000-4000-8000-000000000001"));
    assert_eq!(one.labels, ["prod", "dev"]);
    assert_eq!(one.agent_config_id.as_deref(), Some("6f1b2c3d-0000-4000-8000-000000000002"));
    assert!(one.no_cloud_logs);
    assert_eq!((one.logging_level.as_str(), one.cluster.as_deref()), ("DEBUG", Some("flows")));
    assert_eq!(one.launch_type, Some(LaunchType::Ec2));
    assert_eq!(one.task_role_arn.as_deref(), Some("flow-role"));
    assert_eq!(one.execution_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/exec"));
    assert_eq!(one.task_definition, Some(Document::Path("ssm:///prefect/definition".to_owned())));
    assert_eq!(one.run_task_kwargs, Some(Document::Path("https://example.com/kwargs.yaml".to_owned())));
}

#[test]
fn a_configuration_wrong_in_three_places_gets_one_message_that_names_all_three() {
    let message =
        read("prefect: 1\nlabels: [prod, 5]\nmax_pols: 3\npoll_interval_seconds: 0\n").unwrap_err().to_string();
    assert_eq!(
        message,
        "the configuration /root/config/etl is wrong in 3 places: \
         (1) `poll_interval_seconds`: found the number 0; allowed: a whole number from 1 to 86400. \
         (2) `labels[1]`: found the number 5; allowed: text (put the value in quotes). \
         (3) `max_pols`: found an unknown key (did you mean `max_polls`?); allowed: the keys of an agent's configuration"
    );
}

#[test]
fn the_rules_can_be_named_as_text_or_number() {
    for (text, rules) in [("0.15", Rules::V0_15), ("'0.15'", Rules::V0_15), ("1", Rules::V1), ("\"1\"", Rules::V1)] {
        assert_eq!(one(&good(&format!("prefect: {text}"))).rules, rules, "{text}");
    }
    for text in ["0.14", "1.4", "'1.4.1'", "'0.15.0'", "true", "[1]", "4", "-1"] {
        assert_eq!(paths(&format!("prefect: {text}")), ["prefect"], "{text}");
    }
}

#[test]
fn keys_of_prefect_2_and_3_are_said_to_be_such() {
    let found = problems(read("prefect: 1\nwork_pool: ecs\nforward_log_lines: 50\n"));
    let expected = |key: &str| {
        (key.to_owned(), "a key of Prefect 2 and 3".to_owned(), "nothing with Prefect 0.15 and 1".to_owned())
    };
    assert_eq!(found, [expected("work_pool"), expected("forward_log_lines")]);
}

#[test]
fn an_external_id_is_that_of_a_role() {
    const ROLE: &str = "assume_role_arn: arn:aws:iam::123456789012:role/a\n";
    let written = |id: &str, role: &str| format!("prefect: 1\n{role}assume_role_external_id: {id}\n");
    let role = good(&written("6f1d/2c3b", ROLE)).role_to_assume().unwrap();
    assert_eq!(role.external_id.as_deref(), Some("6f1d/2c3b"));
    for (text, allowed) in [
        (written("6f1d2c3b", ""), "nothing without `assume_role_arn`"),
        (written("x", ROLE), "2 to 1224 letters"),
        (written("'a b'", ROLE), "2 to 1224 letters"),
    ] {
        let found = problems(read(&text));
        let [(path, _, said)] = found.as_slice() else { panic!("{text}: {found:?}") };
        assert!(path == "assume_role_external_id" && said.contains(allowed), "{text}: {found:?}");
    }
}

#[test]
fn wrong_values_are_refused_at_their_key() {
    for (key, values) in [
        ("enabled", &["5", "'true'", "yes", "[true]"][..]),
        ("api", &["5", "prefect", "ftp://x", "https://", "'http:x'", "https://u:p@x", "https://x?a=b", "https://x#a"]),
        ("ca_bundle", &["prod", "'ssm://'", "5", "'-----BEGIN PRIVATE KEY-----'"]),
        ("name", &["5", "''", "[a]", "true"]),
        ("poll_interval_seconds", &["0", "-1", "86401", "1.5", "'60'", "60.0"]),
        ("prefetch_seconds", &["-1", "86401", "'60'"]),
        ("launch_rate", &["0", "-1", "'20'", "1e-9", "1e300", "true"]),
        ("region_name", &["5", "Ireland", "eu", "'eu--1'"]),
        ("allowed_hosts", &["evil.com", "5", "{a: b}"]),
        ("assume_role_arn", &["launcher", "'arn:aws:iam::12:role/a'", "'arn:aws:iam::123456789012:user/a'"]),
        ("api_key_delivery", &["Auto", "5", "none"]),
        ("unknown_members", &["Send", "5", "drop"]),
        ("orphan_after_seconds", &["0", "'120'"]),
        ("max_launch_attempts", &["0", "-1", "5000000000"]),
        ("spot_fallback_after", &["0", "'3'"]),
        ("max_polls", &["-1", "1.5", "'5'", "9223372036854775808"]),
        ("backend", &["Cloud", "5", "hosted"]),
        ("tenant_id", &["5", "abc"]),
        ("agent_config_id", &["abc", "[]"]),
        ("labels", &["5", "{a: b}", "''", "true"]),
        ("env_vars", &["5", "[A]", "A=b"]),
        ("no_cloud_logs", &["'true'", "1"]),
        ("logging_level", &["loud", "10"]),
        ("cluster", &["''", "5"]),
        ("launch_type", &["EXTERNAL", "5"]),
        ("task_role_arn", &["5", "''"]),
        ("execution_role_arn", &["[]"]),
        ("task_definition", &["s3://a/b", "[]"]),
        (
            "task_definition_path",
            &["definition.yaml", "file:///x", "http://example.com/x", "s3://a", "gs://a/b", "5", "'ssm://'"],
        ),
        ("run_task_kwargs", &["5", "[]"]),
        ("run_task_kwargs_path", &["kwargs.yaml", "'https://'"]),
    ] {
        for value in values {
            assert_eq!(paths(&format!("{key}: {value}")), [key], "{key}: {value}");
        }
    }
}

#[test]
fn items_and_variables_are_named_one_by_one() {
    assert_eq!(paths("labels: [a, 5, null, [b]]"), ["labels[1]", "labels[2]", "labels[3]"]);
    assert_eq!(paths("env_vars: {A: [x], B: null, C: c, 'a=b': x}"), ["env_vars.A", "env_vars.B", "env_vars[\"a=b\"]"]);
}

#[test]
fn a_document_in_place_and_elsewhere_is_one_too_many() {
    let text =
        "task_definition: {}\ntask_definition_path: s3://a/b\nrun_task_kwargs: {}\nrun_task_kwargs_path: s3://a/b";
    let found = problems(read(text));
    assert_eq!(found[0].0, "task_definition_path");
    assert_eq!(found[0].1, "both `task_definition` and `task_definition_path`");
    assert_eq!(found[1].1, "both `run_task_kwargs` and `run_task_kwargs_path`");
    assert_eq!(found.len(), 2);
    good("task_definition: {}\ntask_definition_path: null");
}

#[test]
fn null_is_as_good_as_not_written_except_where_it_means_none() {
    let config =
        good("enabled: null\nname: null\nlabels: null\nprefect: null\nlaunch_rate: null\nspot_fallback_after: null");
    assert!(config.enabled);
    assert_eq!(config.name, "etl");
    assert_eq!((config.launch_rate, config.spot_fallback_after), (None, None));
}

#[test]
fn the_look_ahead_reaches_from_the_beginning_of_a_minute_to_the_end_of_the_next_polls() {
    assert_eq!(good("poll_interval_seconds: 300").prefetch.as_secs(), 360);
    assert_eq!(good("poll_interval_seconds: 86400").prefetch.as_secs(), 86_400);
    assert_eq!(good("poll_interval_seconds: 300\nprefetch_seconds: 30").prefetch.as_secs(), 30);
}

#[test]
fn one_label_is_one_label() {
    assert_eq!(one(&good("labels: prod")).labels, ["prod"]);
}

#[test]
fn local_documents_are_for_the_command_line() {
    let source = ConfigSource { parameter: "agent.yaml", agent: "agent", local_files: true };
    let text = "task_definition_path: ./task.yaml\nrun_task_kwargs_path: file:///etc/kwargs.yaml";
    let config = read_agent(text, &source, &Environment::new()).unwrap();
    assert_eq!(one(&config).task_definition, Some(Document::Path("./task.yaml".to_owned())));
    assert_eq!(one(&config).run_task_kwargs, Some(Document::Path("/etc/kwargs.yaml".to_owned())));
    assert_eq!(good("task_definition_path: http://127.0.0.1:8080/x").api, "https://api.prefect.io");
    good("task_definition_path: http://localhost/x");
    good("task_definition_path: 'http://[::1]:80/x'");
}

#[test]
fn messages_never_show_what_may_be_a_secret() {
    let text = "
api_key: geheim
token: geheim
tenant_id: geheim
api: https://user:geheim@prefect.example
ca_bundle: geheim
env_vars: {A: [geheim]}
task_definition_path: http://example.com/x?signature=geheim
run_task_kwargs: {overrides: geheim}
unknown: geheim
";
    let errors = read(text).unwrap_err();
    assert_eq!(errors.problems.len(), 9, "{errors}");
    assert!(!format!("{errors} {errors:?}").contains("geheim"), "{errors}");
    let hint = errors.problems.iter().find(|problem| problem.path == "api_key").unwrap();
    assert!(hint.found.contains("SecureString"), "{hint}");
}
