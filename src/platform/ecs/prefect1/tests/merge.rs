#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::launch_spec;
use super::super::run_task::merge;
use super::{agent, object, run};
use crate::config::{LaunchType, Rules};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn container() -> impl Strategy<Value = Value> {
    let name = proptest::option::of(prop_oneof![Just("flow"), Just("side"), Just("other")]);
    (name, proptest::option::of(0..9), proptest::option::of("[a-c]")).prop_map(|(name, cpu, value)| {
        let mut container = Map::new();
        let mut set = |key: &str, value: Option<Value>| value.map(|value| container.insert(key.into(), value));
        set("name", name.map(|name| json!(name)));
        set("cpu", cpu.map(|cpu| json!(cpu)));
        set("environment", value.map(|value| json!([{ "name": "V", "value": value }])));
        Value::Object(container)
    })
}

fn kwargs() -> impl Strategy<Value = Map<String, Value>> {
    let overrides = (proptest::option::of(1..5), proptest::option::of(proptest::collection::vec(container(), 0..4)))
        .prop_map(|(memory, containers)| {
            let mut overrides = Map::new();
            memory.map(|memory| overrides.insert("memory".into(), json!(memory)));
            containers.map(|containers| overrides.insert("containerOverrides".into(), json!(containers)));
            overrides
        });
    let top = proptest::collection::btree_map("group|cluster|launchType|capacityProviderStrategy|tags", "[a-c]", 0..4);
    (top, proptest::option::of(overrides)).prop_map(|(top, overrides)| {
        let mut kwargs: Map<_, _> = top.into_iter().map(|(key, value)| (key, json!(value))).collect();
        overrides.map(|overrides| kwargs.insert("overrides".into(), json!(overrides)));
        kwargs
    })
}

/// The containers, one after the other: each goes into the first of its name, or to the end.
fn model_containers(base: &Value, over: &Value) -> Vec<Value> {
    let list = |value: &Value| value["overrides"]["containerOverrides"].as_array().cloned().unwrap_or_default();
    let mut out = list(base);
    for entry in list(over) {
        match out.iter().position(|known| known["name"] == entry["name"]) {
            Some(at) => {
                for (key, value) in entry.as_object().unwrap() {
                    out[at][key] = value.clone();
                }
            }
            None => out.push(entry),
        }
    }
    out
}

proptest! {
    #[test]
    fn merging_follows_its_model(base in kwargs(), over in kwargs(), is_v1 in any::<bool>()) {
        let rules = if is_v1 { Rules::V1 } else { Rules::V0_15 };
        let mut got = base.clone();
        merge(&mut got, &over, rules).unwrap();
        let (base, over, got) = (Value::Object(base), Value::Object(over), Value::Object(got));

        for key in ["group", "cluster", "tags", "launchType", "capacityProviderStrategy"] {
            let rival = match key {
                "launchType" => "capacityProviderStrategy",
                "capacityProviderStrategy" => "launchType",
                _ => "",
            };
            let is_dropped = is_v1 && over.get(rival).is_some();
            let expected = over.get(key).or_else(|| base.get(key).filter(|_| !is_dropped));
            prop_assert_eq!(got.get(key), expected, "{}", key);
        }
        let memory = |value: &Value| value["overrides"]["memory"].clone();
        let expected = if memory(&over).is_null() { memory(&base) } else { memory(&over) };
        prop_assert_eq!(memory(&got), expected);
        prop_assert_eq!(model_containers(&got, &Value::Null), model_containers(&base, &over));
    }
}

#[test]
fn the_network_is_inferred_for_fargate_without_one() {
    let network = json!({ "awsvpcConfiguration": { "subnets": ["s"] } });
    let spot = json!([{ "capacityProvider": "FARGATE_SPOT" }]);
    let inferred = |rules, launch_type, agent_kwargs: Value, run_kwargs: Value| {
        let mut settings = agent(rules);
        settings.launch_type = launch_type;
        settings.run_task_kwargs = object(agent_kwargs);
        launch_spec(&settings, &run(&json!({ "run_task_kwargs": run_kwargs })), None).unwrap().infer_network
    };
    for rules in [Rules::V0_15, Rules::V1] {
        assert!(inferred(rules, None, json!({}), json!({})));
        assert!(inferred(rules, None, json!({ "networkConfiguration": {} }), json!({ "launchType": "EC2" })));
        assert!(!inferred(rules, Some(LaunchType::Ec2), json!({}), json!({})));
        assert!(!inferred(rules, None, json!({ "networkConfiguration": network }), json!({})));
        assert!(!inferred(rules, None, json!({}), json!({ "networkConfiguration": network })));
        assert!(inferred(rules, Some(LaunchType::Fargate), json!({ "capacityProviderStrategy": spot }), json!({})));
    }
    let with_strategy = json!({ "capacityProviderStrategy": spot });
    assert!(inferred(Rules::V0_15, None, with_strategy.clone(), json!({})));
    assert!(!inferred(Rules::V1, None, with_strategy, json!({})), "since 1.2 a strategy needs its own network");
}

#[test]
fn what_names_the_launch_is_not_the_users() {
    let kwargs = json!({ "startedBy": "me", "clientToken": "mine", "group": "g" });
    let mut settings = agent(Rules::V1);
    settings.run_task_kwargs = object(kwargs.clone());
    let spec = launch_spec(&settings, &run(&json!({ "run_task_kwargs": kwargs })), None).unwrap();
    assert_eq!(spec.run_task.get("startedBy"), None);
    assert_eq!(spec.run_task.get("clientToken"), None);
    assert_eq!(spec.run_task.get("group"), Some(&json!("g")));

    let kwargs = json!({ "run_task_kwargs": { "taskDefinition": "mine:3" } });
    let refusal = launch_spec(&settings, &run(&kwargs), None).unwrap_err();
    assert!(refusal.0.contains("use `task_definition_arn`"), "{refusal}");
}

#[test]
fn odd_shapes_are_refused_with_their_place() {
    let cases = [
        (json!(["a"]), "`run_task_kwargs` must be an object, not ['a']: 'list' object has no attribute 'items'"),
        (
            json!({ "overrides": null }),
            "`overrides` must be an object, not None: 'NoneType' object has no attribute 'get'",
        ),
        (
            json!({ "overrides": { "containerOverrides": ["x"] } }),
            "`containerOverrides` must be an object, not 'x': 'str' object has no attribute 'get'",
        ),
        (
            json!({ "overrides": { "containerOverrides": [{ "name": "flow", "environment": null }] } }),
            "`environment` must be a list, not None: 'NoneType' object is not iterable",
        ),
    ];
    for (kwargs, expected) in cases {
        let refusal = launch_spec(&agent(Rules::V1), &run(&json!({ "run_task_kwargs": kwargs })), None).unwrap_err();
        assert_eq!(refusal.0, expected);
    }
}
