#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::{launch_spec, request_problems};
use super::{agent, run};
use crate::config::Rules;
use crate::platform::ecs::Definition;
use serde_json::{Value, json};

fn problems(run_config: &Value) -> Vec<String> {
    request_problems(&launch_spec(&agent(Rules::V1), &run(run_config), None).unwrap())
}

#[test]
fn a_plain_run_has_no_problems() {
    assert_eq!(problems(&json!({})), Vec::<String>::new());
}

#[test]
fn values_of_wrong_types_are_named_with_their_place() {
    let kwargs = json!({
        "overrides": { "containerOverrides": [{ "name": "flow", "cpu": "5" }] },
        "count": "2",
        "networkConfiguration": { "awsvpcConfiguration": { "assignPublicIp": "ENABLED" } },
        "launchtype": "EC2",
    });
    let definition = json!({
        "containerDefinitions": [{ "name": "flow", "environment": [{ "name": "A", "value": 1 }] }],
        "tags": [{ "key": "k", "value": null }],
    });
    let found = problems(&json!({ "env": { "N": 5 }, "task_definition": definition, "run_task_kwargs": kwargs }));
    let expected = [
        "containerDefinitions[0].environment[1].value, value: 1, type: <class 'int'>, valid types: <class 'str'>",
        "tags[0].value, value: None, type: <class 'NoneType'>, valid types: <class 'str'>",
        "overrides.containerOverrides[0].cpu, value: 5, type: <class 'str'>, valid types: <class 'int'>",
        "overrides.containerOverrides[0].environment[1].value, value: 5, type: <class 'int'>, valid types: <class 'str'>",
        "count, value: 2, type: <class 'str'>, valid types: <class 'int'>",
    ];
    for problem in expected.map(|problem| format!("Invalid type for parameter {problem}")) {
        assert!(found.contains(&problem), "no {problem:?} in {found:#?}");
    }
    let missing = "Missing required parameter in networkConfiguration.awsvpcConfiguration: \"subnets\"";
    assert!(found.iter().any(|problem| problem == missing), "{found:#?}");
    assert!(
        found.iter().any(|problem| problem.starts_with("Unknown parameter in input: \"launchtype\"")),
        "{found:#?}"
    );
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn an_existing_definition_is_described_only_for_open_roles() {
    let roles = |rules, config: Value| {
        let mut config = config;
        config["task_definition_arn"] = json!("mine:3");
        match launch_spec(&agent(rules), &run(&config), None).unwrap().definition {
            Definition::Existing { name, definition_roles } => {
                assert_eq!(name, "mine:3");
                definition_roles
            }
            Definition::Own(body) => panic!("made a definition: {body:?}"),
        }
    };
    assert_eq!(roles(Rules::V1, json!({})), ["taskRoleArn", "executionRoleArn"]);
    assert_eq!(roles(Rules::V1, json!({ "task_role_arn": "r", "execution_role_arn": "" })), ["executionRoleArn"]);
    let both = json!({ "task_role_arn": "r", "execution_role_arn": "e" });
    assert_eq!(roles(Rules::V1, both), Vec::<&str>::new());
    assert_eq!(roles(Rules::V0_15, json!({})), Vec::<&str>::new());
}

#[test]
fn a_legacy_environment_is_refused_by_0_15_alone() {
    let mut run = run(&json!({}));
    run.run_config = Value::Null;
    run.flow.environment = json!({ "type": "LocalEnvironment" });
    let refusal = launch_spec(&agent(Rules::V0_15), &run, None).unwrap_err();
    assert!(refusal.0.contains("registered with an `environment`"), "{refusal}");
    assert!(launch_spec(&agent(Rules::V1), &run, None).is_ok());
}
