#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::config::{AgentSecrets, Environment, GenerationConfig, StoredSecret, from_file};
use crate::platform::ecs::definitions::HASH_TAG;
use crate::platform::ecs::delivery::{Delivery, deliver};
use crate::platform::ecs::testing::{object, spec};
use proptest::prelude::*;
use std::sync::Arc;

const ROLE: &str = "arn:aws:iam::111111111111:role/prefect-serverless-agent/root/exec";
const STOCK: &str = "arn:aws:iam::111111111111:role/ecsTaskExecutionRole";
const KEY_ARN: &str = "arn:aws:ssm:us-east-1:111111111111:parameter/root/secrets/etl/api-key";
const KEY: &str = "PREFECT_API_KEY";

/// A difference: its request, its place, theirs, ours.
type Told = (&'static str, String, Option<Value>, Option<Value>);

fn told(differences: Vec<Difference>) -> Vec<Told> {
    differences.into_iter().map(|one| (one.request, one.path, one.theirs, one.ours)).collect()
}

fn of(request: &'static str, path: &str, theirs: Value, ours: Value) -> Told {
    let sent = |value: Value| (value != Value::Null).then_some(value);
    (request, path.to_owned(), sent(theirs), sent(ours))
}

fn config() -> AgentConfig<GenerationConfig> {
    let text = "prefect: 3\napi: http://127.0.0.1:4200/api\nwork_pool: ecs\n";
    let (config, _) = from_file(text, "etl.yaml", &Environment::default()).result.unwrap();
    AgentConfig { agent: "etl".into(), ..config }
}

/// The launch as it is rendered and as it is sent.
fn delivered(theirs: &LaunchSpec) -> Vec<Told> {
    let secrets = AgentSecrets {
        api_key: Some(StoredSecret { value: "pnu_key".into(), arn: Some(KEY_ARN.into()) }),
        ..AgentSecrets::default()
    };
    let ours = deliver(theirs.clone(), &Arc::new(Delivery::new(&config(), secrets, "/root/etl"))).unwrap().spec;
    told(differences(theirs, &ours, &config()))
}

fn launch(definition: Value, run_task: Value) -> LaunchSpec {
    LaunchSpec { key_variables: vec![KEY.into()], ..spec(Definition::Own(object(definition)), run_task) }
}

fn with_key() -> Value {
    let environment = json!([{"name": "A", "value": "1"}, {"name": KEY, "value": "pnu_key"}]);
    json!({"cluster": "flows", "overrides": {"containerOverrides": [{"name": "flow", "environment": environment}]}})
}

fn named() -> [Told; 2] {
    let token = of(RUN_TASK, "clientToken", Value::Null, json!("[of the run and its turn]"));
    [token, of(RUN_TASK, "startedBy", Value::Null, json!("prefect/etl/[flow run id]"))]
}

fn tag() -> Told {
    of(REGISTER, &format!("tags.{HASH_TAG}"), Value::Null, json!("[hash of what it says]"))
}

#[test]
fn a_stock_launch_is_theirs_but_for_what_names_it() {
    let definition = json!({"family": "f", "executionRoleArn": STOCK, "containerDefinitions": [{"name": "flow"}]});
    let [token, started_by] = named();
    assert_eq!(delivered(&launch(definition, with_key())), [token, started_by, tag()]);
}

#[test]
fn a_key_that_becomes_a_secret_is_told_in_both_requests_and_never_shown() {
    let definition = json!({
        "family": "f", "executionRoleArn": ROLE, "tags": [{"key": "team", "value": "etl"}],
        "containerDefinitions": [{"name": "side"}, {"name": "flow", "secrets": [{"name": "DB", "valueFrom": "db"}]}],
    });
    let variable = format!("overrides.containerOverrides[0].environment.{KEY}");
    let [token, started_by] = named();
    assert_eq!(
        delivered(&launch(definition, with_key())),
        [
            of(RUN_TASK, &variable, json!(REDACTED), Value::Null),
            token,
            started_by,
            tag(),
            of(REGISTER, &format!("containerDefinitions[1].secrets.{KEY}"), Value::Null, json!(KEY_ARN)),
        ]
    );
}

#[test]
fn names_of_a_users_own_are_replaced_and_a_definition_that_exists_stays() {
    let mut theirs = launch(json!({}), json!({"startedBy": "me", "clientToken": "mine"}));
    theirs.definition = Definition::Existing { name: "team:1".into(), definition_roles: vec![] };
    let expected = [
        of(RUN_TASK, "startedBy", json!("me"), json!("prefect/etl/[flow run id]")),
        of(RUN_TASK, "clientToken", json!("mine"), json!("[of the run and its turn]")),
    ];
    assert_eq!(told(differences(&theirs, &theirs, &config())), expected);
}

/// A place, theirs, ours.
type Expected = (&'static str, Value, Value);

fn compared(theirs: &Value, ours: &Value) -> Vec<Told> {
    let mut found = Found { request: RUN_TASK, differences: Vec::new() };
    found.objects(&object(theirs.clone()), &object(ours.clone()));
    told(found.differences)
}

#[test]
fn every_difference_has_its_place() {
    let pairs = |pairs: Value| json!({"environment": pairs});
    let cases: [(Value, Value, &[Expected]); 10] = [
        (json!({"a": 1, "b": [1, {"c": null}]}), json!({"b": [1, {"c": null}], "a": 1}), &[]),
        (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), &[("a.b", json!(1), json!(2))]),
        (json!({"a": [1, 2]}), json!({"a": [1]}), &[("a[1]", json!(2), Value::Null)]),
        (json!({"a": {"b": 1}}), json!({}), &[("a.b", json!(1), Value::Null)]),
        (json!({"a": {}}), json!({}), &[("a", json!({}), Value::Null)]),
        (json!({"a": {"b": 1}}), json!({"a": "b"}), &[("a", json!({"b": 1}), json!("b"))]),
        // Order and duplicates of names.
        (
            json!({"tags": [{"key": "a", "value": "1"}, {"key": "b"}]}),
            json!({"tags": [{"key": "b"}, {"key": "a", "value": "2"}]}),
            &[("tags.a", json!("1"), json!("2"))],
        ),
        (
            pairs(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
            pairs(json!([{"name": "A", "value": "1"}])),
            &[("environment.A[1]", json!(REDACTED), Value::Null)],
        ),
        (
            json!({"tags": [{"key": "prefect.io/flow id", "value": "1"}]}),
            json!({"tags": []}),
            &[("tags[\"prefect.io/flow id\"]", json!("1"), Value::Null)],
        ),
        // What is no list of variables is not shown either.
        (pairs(json!("pnu_key")), pairs(json!([7])), &[("environment", json!(REDACTED), json!(REDACTED))]),
    ];
    for (theirs, ours, expected) in cases {
        let expected: Vec<_> =
            expected.iter().map(|(path, theirs, ours)| of(RUN_TASK, path, theirs.clone(), ours.clone())).collect();
        assert_eq!(compared(&theirs, &ours), expected, "{theirs} {ours}");
    }
}

proptest! {
    #[test]
    fn no_value_of_a_variable_is_shown(theirs in environment(), ours in environment()) {
        let shown = format!("{:?}", compared(&json!({"environment": theirs}), &json!({"environment": ours})));
        prop_assert!(!shown.contains("geheim"), "{}", shown);
        prop_assert_eq!(theirs == ours, shown == "[]");
    }
}

/// A list of variables, well-formed or not.
fn environment() -> impl Strategy<Value = Value> {
    let entry = prop_oneof![
        "[A-C]".prop_map(|name| json!({"name": name, "value": "geheim"})),
        ("[A-C]", "geheim[0-9]").prop_map(|(name, value)| json!({"name": name, "value": value})),
        ("[A-C]", "geheim").prop_map(|(name, value)| json!({"name": name, "value": {"x": value}})),
        "geheim".prop_map(|text| json!(text)),
    ];
    // In the order of names: another order is no difference.
    proptest::collection::vec(entry, 0..4).prop_map(|mut list| {
        list.sort_by_key(|entry| entry.get("name").map(Value::to_string));
        Value::Array(list)
    })
}
