use super::one_of;
use crate::config::apply_backend_settings;
use serde_json::{Value, json};

const TEXT: &str = "labels: [a]\nname: mine\nmax_polls: 5\nenv_vars: {A: a}";

#[test]
fn the_backends_settings_replace_the_configurations_keys() {
    let mut config = one_of(TEXT);
    let settings = json!({"labels": ["x", "y", "x"], "env_vars": {"B": 2, "C": true}, "name": "theirs", "max_polls": 9, "no_cloud_logs": true});
    assert_eq!(apply_backend_settings(&mut config, &settings), Vec::<String>::new());
    assert_eq!(config.generation.labels, ["x", "y"]);
    assert_eq!(config.env_vars, [("B".to_owned(), "2".to_owned()), ("C".to_owned(), "true".to_owned())]);
    assert_eq!((config.name.as_str(), config.max_polls), ("theirs", Some(9)));
    assert!(config.generation.no_cloud_logs);
}

#[test]
fn unknown_and_wrong_settings_are_warned_about_and_not_applied() {
    let mut config = one_of(TEXT);
    let settings = json!({"labels": ["x", 5], "max_polls": -1, "name": "", "no_cloud_logs": "yes", "colour": "geheim", "env_vars": ["geheim"]});
    let warnings = apply_backend_settings(&mut config, &settings);
    assert_eq!(config, one_of(TEXT));
    for path in ["`labels[1]`", "`max_polls`", "`name`", "`no_cloud_logs`", "`colour`", "`env_vars`"] {
        assert_eq!(warnings.iter().filter(|warning| warning.contains(path)).count(), 1, "{path} in {warnings:?}");
    }
    assert!(!format!("{warnings:?}").contains("geheim"), "{warnings:?}");
}

#[test]
fn one_wrong_setting_does_not_keep_another_out() {
    let mut config = one_of(TEXT);
    let warnings = apply_backend_settings(&mut config, &json!({"labels": 5, "max_polls": 7}));
    assert_eq!((warnings.len(), config.max_polls), (1, Some(7)));
}

#[test]
fn null_leaves_what_the_configuration_says() {
    let mut config = one_of(TEXT);
    let settings = json!({"labels": null, "max_polls": null, "name": null});
    assert_eq!(apply_backend_settings(&mut config, &settings), Vec::<String>::new());
    assert_eq!(config, one_of(TEXT));
}

#[test]
fn settings_that_are_no_mapping_are_one_warning() {
    for settings in [Value::Null, json!([]), json!("labels")] {
        let mut config = one_of(TEXT);
        assert_eq!(apply_backend_settings(&mut config, &settings).len(), 1, "{settings}");
        assert_eq!(config, one_of(TEXT));
    }
}
