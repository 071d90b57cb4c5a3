#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::StoredSecret;
use crate::launch::testing::{object, spec};

const KEY: &str = "PREFECT__CLOUD__API_KEY";
const TOKEN: &str = "PREFECT__CLOUD__AUTH_TOKEN";
const ROLE: &str = "arn:aws:iam::111111111111:role/exec";
const KEY_ARN: &str = "arn:aws:ssm:us-east-1:111111111111:parameter/root/secrets/etl/api-key";
const TOKEN_ARN: &str = "arn:aws:ssm:us-east-1:111111111111:parameter/root/secrets/etl/auth-token";

fn stored_as(value: &str, arn: Option<&str>) -> StoredSecret {
    StoredSecret { value: value.into(), arn: arn.map(str::to_owned) }
}

fn secrets() -> AgentSecrets {
    AgentSecrets { api_key: Some(stored_as("pcu_key", Some(KEY_ARN))), auth_token: None, auth_string: None }
}

fn own(definition: Value) -> LaunchSpec {
    let environment = json!([
        {"name": "A", "value": "1"}, {"name": KEY, "value": "pcu_key"}, {"name": TOKEN, "value": "pcu_key"},
    ]);
    let run_task = json!({"overrides": {"containerOverrides": [{"name": "flow", "environment": environment}]}});
    let key_variables = vec![KEY.into(), TOKEN.into()];
    LaunchSpec { key_variables, ..spec(Definition::Own(object(definition)), run_task) }
}

fn with_role() -> LaunchSpec {
    own(json!({"family": "f", "executionRoleArn": ROLE, "containerDefinitions": [{"name": "side"}, {"name": "flow"}]}))
}

fn body(spec: &LaunchSpec) -> &Map<String, Value> {
    let Definition::Own(body) = &spec.definition else { panic!("not ours: {spec:?}") };
    body
}

fn flow_environment(spec: &LaunchSpec) -> Value {
    spec.run_task["overrides"]["containerOverrides"][0]["environment"].clone()
}

fn auto(spec: LaunchSpec) -> Delivered {
    deliver(spec, ApiKeyDelivery::Auto, &secrets(), None).unwrap()
}

#[test]
fn a_key_that_can_be_a_secret_is_one() {
    for mode in [ApiKeyDelivery::Auto, ApiKeyDelivery::Secret] {
        let delivered = deliver(with_role(), mode, &secrets(), None).unwrap();
        assert_eq!(delivered.warning, None);
        let containers = &body(&delivered.spec)["containerDefinitions"];
        let expected = json!([{"name": KEY, "valueFrom": KEY_ARN}, {"name": TOKEN, "valueFrom": KEY_ARN}]);
        assert_eq!(containers[1]["secrets"], expected);
        assert_eq!(containers[0], json!({"name": "side"}), "other containers get no key");
        assert_eq!(flow_environment(&delivered.spec), json!([{"name": "A", "value": "1"}]));
        assert!(!format!("{:?}", delivered.spec).contains("pcu_key"), "the key itself is nowhere in the launch");
    }
}

#[test]
fn under_environment_nothing_changes() {
    let delivered = deliver(with_role(), ApiKeyDelivery::Environment, &secrets(), None).unwrap();
    assert_eq!(delivered, Delivered { spec: with_role(), warning: None });
}

#[test]
fn without_a_key_there_is_nothing_to_deliver() {
    let spec = LaunchSpec { key_variables: vec![], ..own(json!({"family": "f"})) };
    let delivered = deliver(spec.clone(), ApiKeyDelivery::Secret, &AgentSecrets::default(), None).unwrap();
    assert_eq!(delivered, Delivered { spec, warning: None });
}

#[test]
fn obstacles_mean_environment_with_a_warning_or_refusal() {
    let existing = Definition::Existing { name: "mine:3".into(), definition_roles: vec![] };
    let elsewhere = KEY_ARN.replace("111111111111", "222222222222");
    let other_account =
        AgentSecrets { api_key: Some(stored_as("pcu_key", Some(&elsewhere))), auth_token: None, auth_string: None };
    let from_environment =
        AgentSecrets { api_key: Some(stored_as("pcu_key", None)), auth_token: None, auth_string: None };
    let another_key =
        AgentSecrets { api_key: Some(stored_as("other", Some(KEY_ARN))), auth_token: None, auth_string: None };
    let cases = [
        ("not ours", LaunchSpec { definition: existing, ..with_role() }, secrets()),
        ("no execution role", own(json!({"containerDefinitions": [{"name": "flow"}]})), secrets()),
        ("account 222222222222, the task runs in account 111111111111", with_role(), other_account),
        ("not read from Parameter Store", with_role(), from_environment),
        ("not read from Parameter Store", with_role(), another_key),
    ];
    for (why, spec, secrets) in cases {
        let delivered = deliver(spec.clone(), ApiKeyDelivery::Auto, &secrets, None).unwrap();
        let warning = delivered.warning.expect(why);
        assert!(warning.contains(why), "{why}: {warning}");
        assert_eq!(delivered.spec, spec, "{why}: the launch stays as it is");
        let refusal = deliver(spec, ApiKeyDelivery::Secret, &secrets, None).unwrap_err().to_string();
        assert!(refusal.contains(why) && refusal.contains("api_key_delivery"), "{why}: {refusal}");
        assert!(!warning.contains("pcu_key") && !refusal.contains("pcu_key"), "{warning} {refusal}");
    }
}

#[test]
fn a_role_that_only_the_overrides_name_goes_into_the_definition() {
    let mut spec = own(json!({"family": "f", "containerDefinitions": [{"name": "flow"}]}));
    spec.run_task["overrides"]["executionRoleArn"] = json!(ROLE);
    let delivered = auto(spec);
    assert_eq!(delivered.warning, None);
    assert_eq!(body(&delivered.spec)["executionRoleArn"], ROLE, "secrets need it there");
}

#[test]
fn the_account_of_the_tasks_is_also_told_by_cluster_and_assumed_role() {
    let named = || own(json!({"executionRoleArn": "exec", "containerDefinitions": [{"name": "flow"}]}));
    assert_eq!(auto(named()).warning, None, "nothing says that it is another account");
    let elsewhere = "arn:aws:iam::333333333333:role/launcher";
    let delivered = deliver(named(), ApiKeyDelivery::Auto, &secrets(), Some(elsewhere)).unwrap();
    assert!(delivered.warning.unwrap().contains("333333333333"));
    let mut spec = named();
    spec.run_task.insert("cluster".into(), json!("arn:aws:ecs:us-east-1:444444444444:cluster/c"));
    assert!(auto(spec).warning.unwrap().contains("444444444444"));
}

#[test]
fn credentials_of_the_run_decide_on_the_account_where_nothing_else_does() {
    let launch = |role: &str, credentials: AwsCredentials| {
        let mut spec = own(json!({"executionRoleArn": role, "containerDefinitions": [{"name": "flow"}]}));
        spec.worker.credentials = credentials;
        spec
    };
    let keys = || AwsCredentials { access_key_id: Some("AKIA".into()), ..AwsCredentials::default() };
    let role = |account: &str| AwsCredentials {
        assume_role_arn: Some(format!("arn:aws:iam::{account}:role/flows")),
        ..AwsCredentials::default()
    };
    let region = AwsCredentials { region_name: Some("eu-west-2".into()), ..AwsCredentials::default() };
    assert!(auto(launch("exec", keys())).warning.unwrap().contains("whose account"));
    assert_eq!(auto(launch(ROLE, keys())).warning, None, "the execution role is in the tasks' account");
    assert_eq!(auto(launch("exec", region)).warning, None, "another region of the same account");
    assert!(auto(launch("exec", role("333333333333"))).warning.unwrap().contains("333333333333"));
    assert_eq!(auto(launch("exec", role("111111111111"))).warning, None);
    let launchers = Some("arn:aws:iam::444444444444:role/launcher");
    let spec = launch("exec", role("111111111111"));
    let delivered = deliver(spec, ApiKeyDelivery::Auto, &secrets(), launchers).unwrap();
    assert_eq!(delivered.warning, None, "the run's own role counts before the agent's");
}

#[test]
fn each_variable_gets_the_secret_whose_value_it_had() {
    let secrets = AgentSecrets {
        api_key: Some(stored_as("pcu_key", Some(KEY_ARN))),
        auth_token: Some(stored_as("legacy", Some(TOKEN_ARN))),
        auth_string: None,
    };
    let mut spec = with_role();
    spec.run_task["overrides"]["containerOverrides"][0]["environment"][2]["value"] = json!("legacy");
    let delivered = deliver(spec, ApiKeyDelivery::Auto, &secrets, None).unwrap();
    let expected = json!([{"name": KEY, "valueFrom": KEY_ARN}, {"name": TOKEN, "valueFrom": TOKEN_ARN}]);
    assert_eq!(body(&delivered.spec)["containerDefinitions"][1]["secrets"], expected);
}

#[test]
fn a_secret_replaces_secrets_and_variables_of_its_name() {
    let flow = json!({
        "name": "flow",
        "environment": [{"name": KEY, "value": "old"}, {"name": "B", "value": "2"}],
        "secrets": [{"name": "DB", "valueFrom": "db"}, {"name": KEY, "valueFrom": "old"}],
    });
    let delivered = auto(own(json!({"executionRoleArn": ROLE, "containerDefinitions": [flow]})));
    let flow = &body(&delivered.spec)["containerDefinitions"][0];
    assert_eq!(flow["environment"], json!([{"name": "B", "value": "2"}]));
    let names: Vec<&str> =
        flow["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["DB", KEY, TOKEN]);
}

#[test]
fn a_sidecar_loses_the_agents_key_but_keeps_its_own() {
    let mut spec = with_role();
    let environment = json!([{"name": KEY, "value": "own"}, {"name": TOKEN, "value": "pcu_key"}]);
    let containers = spec.run_task["overrides"]["containerOverrides"].as_array_mut().unwrap();
    containers.push(json!({"name": "side", "environment": environment}));
    let delivered = auto(spec);
    let side = &delivered.spec.run_task["overrides"]["containerOverrides"][1];
    assert_eq!(side["environment"], json!([{"name": KEY, "value": "own"}]));
}
