use super::{good, one, problems, read_with};
use crate::config::{AgentConfig, Backend};

fn with(variable: &str, value: &str) -> AgentConfig {
    read_with("{}", &[(variable, value)]).unwrap_or_else(|errors| panic!("{variable}={value}: {errors}"))
}

fn pairs(config: &AgentConfig) -> Vec<(&str, &str)> {
    config.env_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

const LABELS: &str = "PREFECT__CLOUD__AGENT__LABELS";
const ENV_VARS: &str = "PREFECT__CLOUD__AGENT__ENV_VARS";

#[test]
fn labels_can_be_written_in_every_way_people_write_them() {
    for (text, labels) in [
        ("prod", &["prod"][..]),
        ("prod, dev", &["prod", "dev"]),
        ("['prod', 'dev']", &["prod", "dev"]),
        ("[\"prod\",\"dev\",]", &["prod", "dev"]),
        ("('prod',)", &["prod"]),
        ("{'prod'}", &["prod"]),
        ("'prod', 'dev'", &["prod", "dev"]),
        ("\"it's\"", &["it's"]),
        ("['it\\'s', 'a\\u00e9\\x41', '\\ud83d\\ude00']", &["it's", "aéA", "😀"]),
        ("[]", &[]),
        ("()", &[]),
        ("a,a,b", &["a", "b"]),
        (" prod ", &["prod"]),
        ("5", &["5"]),
    ] {
        assert_eq!(one(&with(LABELS, text)).labels, labels, "{text}");
    }
}

#[test]
fn labels_that_cannot_be_read_name_the_variable() {
    for text in [
        "['a'",
        "[1]",
        "['a' 'b']",
        "{'a': 'b'}",
        ",",
        "[None]",
        "['']",
        "['a'] x",
        "'a",
        "[[[[[[[[[[[[",
        "['\\ud83d']",
    ] {
        let found = problems(read_with("{}", &[(LABELS, text)]));
        assert_eq!((found.len(), found[0].0.as_str()), (1, LABELS), "{text}");
    }
}

#[test]
fn env_vars_can_be_a_dict_or_json_or_one_by_one() {
    assert_eq!(pairs(&with(ENV_VARS, "{'B': 'b', 'A': 1.10, 'C': True}")), [("B", "b"), ("A", "1.10"), ("C", "True")]);
    assert_eq!(pairs(&with(ENV_VARS, r#"{"A": "a\/b", "B": false}"#)), [("A", "a/b"), ("B", "false")]);
    assert_eq!(pairs(&with(ENV_VARS, "{}")), []);
    // As Prefect reads them: the name in lower case.
    assert_eq!(pairs(&with("PREFECT__CLOUD__AGENT__ENV_VARS__ZONE", "x y")), [("zone", "x y")]);
    let both = [(ENV_VARS, "{'zone': 'a', 'B': 'b'}"), ("PREFECT__CLOUD__AGENT__ENV_VARS__ZONE", "c")];
    assert_eq!(pairs(&read_with("{}", &both).unwrap()), [("zone", "c"), ("B", "b")]);
}

#[test]
fn env_vars_that_cannot_be_read_name_the_variable_and_not_its_value() {
    for (text, path) in [
        ("geheim", ENV_VARS.to_owned()),
        ("['geheim']", ENV_VARS.to_owned()),
        ("{'A': ['geheim']}", format!("{ENV_VARS}[\"A\"]")),
        ("{'A': None}", format!("{ENV_VARS}[\"A\"]")),
        ("{5: 'geheim'}", ENV_VARS.to_owned()),
    ] {
        let found = problems(read_with("{}", &[(ENV_VARS, text)]));
        assert_eq!((found.len(), &found[0].0), (1, &path), "{text}");
        assert!(!format!("{found:?}").contains("geheim"), "{found:?}");
    }
}

#[test]
fn sending_logs_is_the_opposite_of_no_cloud_logs() {
    for (text, silent) in [("true", false), ("False", true), ("0", true), ("no", true), ("1", false)] {
        assert_eq!(one(&with("PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", text)).no_cloud_logs, silent, "{text}");
    }
    let found = problems(read_with("{}", &[("PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "maybe")]));
    assert_eq!(found[0].0, "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS");
}

#[test]
fn the_address_of_a_server_comes_from_its_own_variables() {
    let api = |variables: &[(&str, &str)]| read_with("backend: server", variables).unwrap().api;
    let endpoint = ("PREFECT__SERVER__ENDPOINT", "http://a:1/");
    let (host, port) = (("PREFECT__SERVER__HOST", "http://b"), ("PREFECT__SERVER__PORT", "2"));
    assert_eq!(api(&[]), "http://localhost:4200");
    assert_eq!(api(&[host]), "http://b:4200");
    assert_eq!(api(&[port]), "http://localhost:2");
    assert_eq!(api(&[host, port]), "http://b:2");
    assert_eq!(api(&[host, port, endpoint]), "http://a:1");
    assert_eq!(api(&[endpoint, ("PREFECT__CLOUD__API", "https://c/graphql")]), "https://c/graphql");
    assert_eq!(read_with("{}", &[endpoint, host]).unwrap().api, "https://api.prefect.io", "of no concern to the cloud");
    assert_eq!(one(&with("PREFECT__BACKEND", "server")).backend, Backend::Server);
    assert_eq!(with("PREFECT__BACKEND", "server").api, "http://localhost:4200");
}

#[test]
fn a_wrong_variable_is_named() {
    for (variable, value) in [
        ("PREFECT__BACKEND", "hosted"),
        ("PREFECT__CLOUD__API", "prefect"),
        ("PREFECT__CLOUD__TENANT_ID", "abc"),
        ("PREFECT__LOGGING__LEVEL", "loud"),
    ] {
        let found = problems(read_with("{}", &[(variable, value)]));
        assert_eq!((found.len(), found[0].0.as_str()), (1, variable));
    }
    for (variable, value) in [
        ("PREFECT__SERVER__ENDPOINT", "x"),
        ("PREFECT__SERVER__HOST", "prefect.local"),
        ("PREFECT__SERVER__HOST", "http://prefect.local:80"),
        ("PREFECT__SERVER__PORT", "0"),
    ] {
        let found = problems(read_with("backend: server", &[(variable, value)]));
        assert_eq!((found.len(), found[0].0.as_str()), (1, variable), "{found:?}");
    }
}

#[test]
fn a_variable_that_a_key_overrides_does_not_matter() {
    let wrong = [(LABELS, "["), (ENV_VARS, "["), ("PREFECT__BACKEND", "x"), ("PREFECT__LOGGING__LEVEL", "x")];
    let text = "labels: []\nenv_vars: {}\nbackend: cloud\nlogging_level: ERROR";
    assert_eq!(read_with(text, &wrong).unwrap(), good(text));
}

#[test]
fn an_empty_variable_is_not_set() {
    let empty = [(LABELS, ""), (ENV_VARS, " "), ("PREFECT__CLOUD__AGENT__NAME", ""), ("PREFECT__CLOUD__API", "")];
    assert_eq!(read_with("{}", &empty).unwrap(), good("{}"));
}
