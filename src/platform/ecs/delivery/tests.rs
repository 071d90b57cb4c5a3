#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::StoredSecret;
use crate::platform::ecs::testing::{object, spec};

const KEY: &str = "PREFECT__CLOUD__API_KEY";
const TOKEN: &str = "PREFECT__CLOUD__AUTH_TOKEN";
const ROLE: &str = "arn:aws:iam::111111111111:role/prefect-serverless-agent/root/exec";
const STOCK: &str = "arn:aws:iam::111111111111:role/ecsTaskExecutionRole";
const KEY_ARN: &str = "arn:aws:ssm:us-east-1:111111111111:parameter/root/secrets/etl/api-key";
const TOKEN_ARN: &str = "arn:aws:ssm:us-east-1:111111111111:parameter/root/secrets/etl/auth-token";

fn stored_as(value: &str, arn: Option<&str>) -> StoredSecret {
    StoredSecret { value: value.into(), arn: arn.map(str::to_owned) }
}

fn secrets() -> AgentSecrets {
    AgentSecrets { api_key: Some(stored_as("pcu_key", Some(KEY_ARN))), ..AgentSecrets::default() }
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

/// Of the agent `etl` of the deployment `/root`.
fn of(mode: ApiKeyDelivery, secrets: AgentSecrets, assume_role_arn: Option<&str>) -> Arc<Delivery> {
    let assume_role_arn = assume_role_arn.map(str::to_owned);
    Arc::new(Delivery { mode, secrets, assume_role_arn, root: "/root".into(), agent: "etl".into() })
}

fn auto(spec: LaunchSpec) -> Delivered {
    deliver(spec, &of(ApiKeyDelivery::Auto, secrets(), None)).unwrap()
}

#[test]
fn a_key_that_can_be_a_secret_is_one() {
    for mode in [ApiKeyDelivery::Auto, ApiKeyDelivery::Secret] {
        let delivered = deliver(with_role(), &of(mode, secrets(), None)).unwrap();
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
    let delivered = deliver(with_role(), &of(ApiKeyDelivery::Environment, secrets(), None)).unwrap();
    assert_eq!(delivered, Delivered { spec: with_role(), warning: None });
}

#[test]
fn without_a_key_there_is_nothing_to_deliver() {
    let spec = LaunchSpec { key_variables: vec![], ..own(json!({"family": "f"})) };
    let delivered = deliver(spec.clone(), &of(ApiKeyDelivery::Secret, AgentSecrets::default(), None)).unwrap();
    assert_eq!(delivered, Delivered { spec, warning: None });
}

#[test]
fn obstacles_mean_environment_with_a_warning_or_refusal() {
    let elsewhere = KEY_ARN.replace("111111111111", "222222222222");
    let other_account =
        AgentSecrets { api_key: Some(stored_as("pcu_key", Some(&elsewhere))), ..AgentSecrets::default() };
    let from_environment = AgentSecrets { api_key: Some(stored_as("pcu_key", None)), ..AgentSecrets::default() };
    let another_key = AgentSecrets { api_key: Some(stored_as("other", Some(KEY_ARN))), ..AgentSecrets::default() };
    let cases = [
        ("no execution role", own(json!({"containerDefinitions": [{"name": "flow"}]})), secrets()),
        ("account 222222222222, the task runs in account 111111111111", with_role(), other_account),
        ("not read from Parameter Store", with_role(), from_environment),
        ("not read from Parameter Store", with_role(), another_key),
    ];
    for (why, spec, secrets) in cases {
        let delivered = deliver(spec.clone(), &of(ApiKeyDelivery::Auto, secrets.clone(), None)).unwrap();
        let warning = delivered.warning.expect(why);
        assert!(warning.contains(why), "{why}: {warning}");
        assert_eq!(delivered.spec, spec, "{why}: the launch stays as it is");
        let refusal = deliver(spec, &of(ApiKeyDelivery::Secret, secrets.clone(), None)).unwrap_err().to_string();
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

/// Whether a launch can be delivered as a secret at all, whose role it may be: the refusal if not.
fn obstacle(spec: LaunchSpec, assume_role_arn: Option<&str>) -> Option<String> {
    deliver(spec, &of(ApiKeyDelivery::Secret, secrets(), assume_role_arn)).err().map(|refusal| refusal.0)
}

#[test]
fn the_account_of_the_tasks_is_also_told_by_cluster_and_assumed_role() {
    let named = || own(json!({"executionRoleArn": "exec", "containerDefinitions": [{"name": "flow"}]}));
    assert_eq!(obstacle(named(), None), None, "nothing says that it is another account");
    let elsewhere = "arn:aws:iam::333333333333:role/launcher";
    assert!(obstacle(named(), Some(elsewhere)).unwrap().contains("333333333333"));
    let mut spec = named();
    spec.run_task.insert("cluster".into(), json!("arn:aws:ecs:us-east-1:444444444444:cluster/c"));
    assert!(obstacle(spec.clone(), None).unwrap().contains("444444444444"));
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
    assert_eq!(obstacle(launch("exec", region), None), None, "another region of the same account");
    assert!(auto(launch("exec", role("333333333333"))).warning.unwrap().contains("333333333333"));
    assert_eq!(obstacle(launch("exec", role("111111111111")), None), None);
    let launchers = Some("arn:aws:iam::444444444444:role/launcher");
    assert_eq!(obstacle(launch("exec", role("111111111111")), launchers), None, "the run's own role counts first");
}

#[test]
fn each_variable_gets_the_secret_whose_value_it_had() {
    let secrets = AgentSecrets {
        api_key: Some(stored_as("pcu_key", Some(KEY_ARN))),
        auth_token: Some(stored_as("legacy", Some(TOKEN_ARN))),
        ..AgentSecrets::default()
    };
    let mut spec = with_role();
    spec.run_task["overrides"]["containerOverrides"][0]["environment"][2]["value"] = json!("legacy");
    let delivered = deliver(spec, &of(ApiKeyDelivery::Auto, secrets.clone(), None)).unwrap();
    let expected = json!([{"name": KEY, "valueFrom": KEY_ARN}, {"name": TOKEN, "valueFrom": TOKEN_ARN}]);
    assert_eq!(body(&delivered.spec)["containerDefinitions"][1]["secrets"], expected);
}

#[test]
fn a_secret_replaces_variables_of_its_name() {
    let flow = json!({
        "name": "flow",
        "environment": [{"name": KEY, "value": "old"}, {"name": "B", "value": "2"}],
        "secrets": [{"name": "DB", "valueFrom": "db"}],
    });
    let delivered = auto(own(json!({"executionRoleArn": ROLE, "containerDefinitions": [flow]})));
    let flow = &body(&delivered.spec)["containerDefinitions"][0];
    assert_eq!(flow["environment"], json!([{"name": "B", "value": "2"}]));
    let names: Vec<&str> =
        flow["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["DB", KEY, TOKEN]);
}

#[test]
fn a_containers_own_secret_stays_and_the_variable_is_not_sent_as_well_whatever_the_delivery() {
    let users = json!([{"name": KEY, "valueFrom": "arn:aws:secretsmanager:us-east-1:111111111111:secret:mine"}]);
    for mode in [ApiKeyDelivery::Auto, ApiKeyDelivery::Secret, ApiKeyDelivery::Environment] {
        for role in [ROLE, STOCK] {
            let flow = json!({"name": "flow", "secrets": users});
            let mut spec = own(json!({"executionRoleArn": role, "containerDefinitions": [flow]}));
            spec.key_variables = vec![KEY.into()];
            let side = json!({"name": "side", "environment": [{"name": KEY, "value": "own"}]});
            spec.run_task["overrides"]["containerOverrides"].as_array_mut().unwrap().push(side.clone());
            let delivered = deliver(spec, &of(mode, secrets(), None)).unwrap();
            assert_eq!(delivered.warning, None, "{mode:?}: there is nothing to deliver");
            assert_eq!(body(&delivered.spec)["containerDefinitions"][0]["secrets"], users, "{mode:?}");
            let left = json!([{"name": "A", "value": "1"}, {"name": TOKEN, "value": "pcu_key"}]);
            assert_eq!(flow_environment(&delivered.spec), left, "{mode:?}");
            assert_eq!(delivered.spec.run_task["overrides"]["containerOverrides"][1], side, "{mode:?}");
        }
    }
}

#[test]
fn an_empty_variable_gives_way_to_a_containers_own_secret_and_a_users_value_does_not() {
    let flow = json!({"name": "flow", "secrets": [{"name": KEY, "valueFrom": "k"}, {"name": TOKEN, "valueFrom": "t"}]});
    let mut spec = own(json!({"containerDefinitions": [flow]}));
    spec.key_variables = vec![];
    spec.run_task["overrides"]["containerOverrides"][0]["environment"][1]["value"] = json!("");
    spec.run_task["overrides"]["containerOverrides"][0]["environment"][2]["value"] = json!("a user's");
    let left = json!([{"name": "A", "value": "1"}, {"name": TOKEN, "value": "a user's"}]);
    assert_eq!(flow_environment(&auto(spec).spec), left);
}

#[test]
fn one_key_of_the_users_own_and_one_of_ours_go_side_by_side() {
    let users = json!({"name": KEY, "valueFrom": "mine"});
    let flow = json!({"name": "flow", "secrets": [users]});
    let delivered = auto(own(json!({"executionRoleArn": ROLE, "containerDefinitions": [flow]})));
    let secrets = &body(&delivered.spec)["containerDefinitions"][0]["secrets"];
    assert_eq!(*secrets, json!([users, {"name": TOKEN, "valueFrom": KEY_ARN}]));
    assert_eq!(flow_environment(&delivered.spec), json!([{"name": "A", "value": "1"}]));
}

#[test]
fn what_exists_is_delivered_once_it_is_described() {
    let existing = Definition::Existing { name: "mine:3".into(), definition_roles: vec![] };
    let described = object(json!({"containerDefinitions": [
        {"name": "flow", "secrets": [{"name": KEY, "valueFrom": "a"}, {"name": TOKEN, "valueFrom": "b"}]},
    ]}));
    let foreign =
        object(json!({"containerDefinitions": [{"name": "side", "secrets": [{"name": KEY, "valueFrom": "a"}]}]}));
    for mode in [ApiKeyDelivery::Auto, ApiKeyDelivery::Secret, ApiKeyDelivery::Environment] {
        let spec = LaunchSpec { definition: existing.clone(), ..with_role() };
        let pending = deliver(spec, &of(mode, secrets(), None)).unwrap();
        assert_eq!(pending.warning, None);
        let waits = pending.spec.pending_delivery.clone().unwrap();
        let delivered = waits.deliver(pending.spec.clone(), Some(&described)).unwrap();
        assert_eq!(delivered.warning, None, "{mode:?}");
        assert_eq!(flow_environment(&delivered.spec), json!([{"name": "A", "value": "1"}]), "{mode:?}");
        for known in [Some(&foreign), None] {
            match (mode, waits.deliver(pending.spec.clone(), known)) {
                (ApiKeyDelivery::Secret, Err(refusal)) => assert!(refusal.0.contains("not ours"), "{refusal}"),
                (ApiKeyDelivery::Auto, Ok(delivered)) => {
                    assert!(delivered.warning.unwrap().contains("not ours"));
                    assert_eq!(flow_environment(&delivered.spec), flow_environment(&with_role()));
                }
                (ApiKeyDelivery::Environment, Ok(delivered)) => {
                    assert_eq!(delivered.warning, None);
                    assert_eq!(flow_environment(&delivered.spec), flow_environment(&with_role()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn under_auto_only_the_deployments_own_role_reads_the_key() {
    for role in [STOCK, "ecsTaskExecutionRole", "arn:aws:iam::111111111111:role/prefect-serverless-agent/root/b/exec"] {
        let spec = || own(json!({"executionRoleArn": role, "containerDefinitions": [{"name": "flow"}]}));
        let delivered = auto(spec());
        assert_eq!(delivered.spec, spec(), "{role}: the launch stays as it is");
        let warning = delivered.warning.unwrap();
        let statement = format!(r#"{{"Effect":"Allow","Action":"ssm:GetParameters","Resource":["{KEY_ARN}"]}}"#);
        for part in [role, &statement, "kms:Decrypt", "then set api_key_delivery to secret", "environment` silences"] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
        let secret = deliver(spec(), &of(ApiKeyDelivery::Secret, secrets(), None)).unwrap();
        assert_eq!(body(&secret.spec)["containerDefinitions"][0]["secrets"][0]["valueFrom"], KEY_ARN, "{role}");
    }
    let agents = "arn:aws:iam::111111111111:role/prefect-serverless-agent/root/agent/etl/exec";
    let own_role = own(json!({"executionRoleArn": agents, "containerDefinitions": [{"name": "flow"}]}));
    assert_eq!(auto(own_role).warning, None);
}

#[test]
fn a_role_in_the_path_of_all_deployments_counts_and_should_be_moved() {
    let role = "arn:aws:iam::111111111111:role/prefect-serverless-agent/exec";
    let delivered = auto(own(json!({"executionRoleArn": role, "containerDefinitions": [{"name": "flow"}]})));
    assert_eq!(body(&delivered.spec)["containerDefinitions"][0]["secrets"][0]["valueFrom"], KEY_ARN);
    let warning = delivered.warning.unwrap();
    for part in [role, "infra/cluster.yaml", "ExecutionRoleArn", "/prefect-serverless-agent/root/"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[test]
fn the_role_that_the_task_is_started_with_decides() {
    let mut spec = with_role();
    spec.run_task["overrides"]["executionRoleArn"] = json!(STOCK);
    assert!(auto(spec).warning.unwrap().contains(STOCK));
    let mut spec = own(json!({"executionRoleArn": STOCK, "containerDefinitions": [{"name": "flow"}]}));
    spec.run_task["overrides"]["executionRoleArn"] = json!(ROLE);
    let delivered = auto(spec);
    assert_eq!((&delivered.warning, &body(&delivered.spec)["executionRoleArn"]), (&None, &json!(STOCK)));
}

#[test]
fn what_is_stored_is_a_secret_also_where_something_else_is_not() {
    let secrets = || AgentSecrets {
        api_key: Some(stored_as("pcu_key", Some(KEY_ARN))),
        auth_token: Some(stored_as("legacy", None)),
        ..AgentSecrets::default()
    };
    let spec = || {
        let mut spec = with_role();
        spec.run_task["overrides"]["containerOverrides"][0]["environment"][2]["value"] = json!("legacy");
        spec
    };
    let delivered = deliver(spec(), &of(ApiKeyDelivery::Auto, secrets(), None)).unwrap();
    let left = json!([{"name": "A", "value": "1"}, {"name": TOKEN, "value": "legacy"}]);
    assert_eq!(flow_environment(&delivered.spec), left);
    assert!(delivered.warning.unwrap().contains(TOKEN));
    let refusal = deliver(spec(), &of(ApiKeyDelivery::Secret, secrets(), None)).unwrap_err();
    assert!(refusal.0.contains(TOKEN), "{refusal}");
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
