#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::launch_spec;
use super::{agent, run};
use crate::config::Rules;
use crate::python_text::{list_text, repr};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

/// What Prefect's own agent sets whatever the user says.
fn is_fixed(name: &str, rules: Rules) -> bool {
    let of_0_15 = ["PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS"];
    let of_both = [
        "PREFECT__CLOUD__USE_LOCAL_SECRETS",
        "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS",
        "PREFECT__BACKEND",
        "PREFECT__CLOUD__API",
        "PREFECT__CONTEXT__FLOW_RUN_ID",
        "PREFECT__CONTEXT__FLOW_ID",
        "PREFECT__CLOUD__AUTH_TOKEN",
        "PREFECT__CLOUD__API_KEY",
        "PREFECT__CLOUD__TENANT_ID",
        "PREFECT__CLOUD__AGENT__LABELS",
        "PREFECT__LOGGING__LOG_TO_CLOUD",
    ];
    of_both.contains(&name) || (rules == Rules::V0_15 && of_0_15.contains(&name))
}

fn variable() -> impl Strategy<Value = (String, String)> {
    let names = prop_oneof![
        "[A-D]",
        Just("PREFECT__LOGGING__LEVEL".to_owned()),
        Just("PREFECT__BACKEND".to_owned()),
        Just("PREFECT__CLOUD__API_KEY".to_owned()),
        Just("PREFECT__CLOUD__SEND_FLOW_RUN_LOGS".to_owned()),
    ];
    (names, "[a-z]{1,3}")
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(variable(), 0..6)
}

fn rules() -> impl Strategy<Value = Rules> {
    prop_oneof![Just(Rules::V0_15), Just(Rules::V1)]
}

/// Name and value of the flow container's variables.
fn environment_of(run_task: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let entries = run_task["overrides"]["containerOverrides"][0]["environment"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries.iter().map(|entry| (text(&entry["name"]), text(&entry["value"]))).collect()
}

proptest! {
    /// A later source wins, in the place where the name came first; an override's own entries only add names.
    #[test]
    fn precedence(rules in rules(), of_agent in variables(), of_run in variables(), own in variables()) {
        let mut settings = agent(rules);
        settings.env_vars.clone_from(&of_agent);
        let own_entries: Vec<_> = own.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let overrides = json!({ "containerOverrides": [{ "name": "flow", "environment": own_entries }] });
        let env: serde_json::Map<_, _> = of_run.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let of_run: Vec<_> = env.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let run = run(&json!({ "env": env, "run_task_kwargs": { "overrides": overrides } }));
        let got = environment_of(&launch_spec(&settings, &run, None).unwrap().run_task);

        let mut model: Vec<(String, String)> = Vec::new();
        let level = [("PREFECT__LOGGING__LEVEL".to_owned(), "INFO".to_owned())];
        for (name, value) in level.iter().chain(&of_agent).chain(&of_run) {
            match model.iter_mut().find(|(known, _)| known == name) {
                Some((_, slot)) => slot.clone_from(value),
                None => model.push((name.clone(), value.clone())),
            }
        }
        for (index, (name, value)) in model.iter().enumerate() {
            prop_assert_eq!(&got[index].0, name);
            if !is_fixed(name, rules) {
                prop_assert_eq!(&got[index].1, value, "{}", name);
            }
        }
        let fixed_end = got.len() - own.iter().filter(|(name, _)| !is_fixed(name, rules)
            && name != "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS" && !model.iter().any(|(known, _)| known == name)).count();
        let names: Vec<_> = got[..fixed_end].iter().map(|(name, _)| name).collect();
        for (at, name) in names.iter().enumerate() {
            prop_assert!(!names[..at].contains(name), "{} twice", name);
        }
        let key = got.iter().find(|(name, _)| name == "PREFECT__CLOUD__API_KEY");
        prop_assert_eq!(key.map(|(_, value)| value.as_str()), Some("pcu_key"));
        prop_assert!(got[fixed_end..].iter().all(|entry| own.contains(entry)), "{:?}", &got[fixed_end..]);
    }
}

#[test]
fn variables_with_credentials_are_named() {
    let named = |change: &dyn Fn(&mut super::AgentSettings), rules| {
        let mut settings = agent(rules);
        change(&mut settings);
        launch_spec(&settings, &run(&json!({})), None).unwrap().key_variables
    };
    let both = ["PREFECT__CLOUD__AUTH_TOKEN", "PREFECT__CLOUD__API_KEY"];
    for rules in [Rules::V0_15, Rules::V1] {
        assert_eq!(named(&|_| {}, rules), both);
        assert_eq!(named(&|settings| settings.api_key = None, rules), Vec::<String>::new());
    }
    let token_only = |settings: &mut super::AgentSettings| {
        settings.api_key = None;
        settings.auth_token = Some(SecretString::from("TOK"));
    };
    assert_eq!(named(&token_only, Rules::V0_15), ["PREFECT__CLOUD__AUTH_TOKEN"]);
    assert_eq!(named(&token_only, Rules::V1), Vec::<String>::new(), "1.4 has no tokens");
}

#[test]
fn texts_are_written_as_python_writes_them() {
    let labels = ["a", "it's", "a \"q\"", "it's \"q\"", "é\u{301}", "\n\\", "\u{a0}\u{200b}\u{7f}", "\u{e000}🚀"];
    let labels: Vec<_> = labels.into_iter().map(str::to_owned).collect();
    assert_eq!(
        list_text(&labels),
        "['a', \"it's\", 'a \"q\"', 'it\\'s \"q\"', 'é\u{301}', '\\n\\\\', '\\xa0\\u200b\\x7f', '\\ue000🚀']"
    );
    assert_eq!(list_text(&[]), "[]");
    let values = json!([null, true, 1, 1.5, 1e16, 1e-5, 1.5e-7, 100_000.0, { "k": [] }]);
    assert_eq!(repr(&values), "[None, True, 1, 1.5, 1e+16, 1e-05, 1.5e-07, 100000.0, {'k': []}]");
}
