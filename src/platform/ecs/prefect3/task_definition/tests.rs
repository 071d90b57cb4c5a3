#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::super::testing::{job, run, worker};
use super::*;

fn made(configuration: Value) -> Result<Value, String> {
    let job = job(&worker(), &run(configuration, json!({})))?;
    Ok(Value::Object(job.task_definition().unwrap().clone()))
}

#[test]
fn fargate_has_the_size_in_the_task_and_ec2_in_the_container() {
    let fargate =
        made(json!({"task_definition": {"cpu": 512}, "task_run_request": {"launchType": "FARGATE"}})).unwrap();
    let expected = json!({
        "containerDefinitions": [{"name": "prefect", "image": "default:1"}],
        "family": "prefect_pool_deployment-1", "cpu": "512", "memory": "2048",
        "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc",
    });
    assert_eq!(fargate, expected);
    let ec2 = made(json!({"task_definition": {"memory": "512"}, "task_run_request": {"launchType": "EC2"}})).unwrap();
    let expected = json!({
        "containerDefinitions": [{"name": "prefect", "image": "default:1", "cpu": 1024, "memory": 512}],
        "family": "prefect_pool_deployment-1", "memory": "512",
    });
    assert_eq!(ec2, expected);
    let refusal = made(json!({"task_definition": {"cpu": "1 vCPU"}})).unwrap_err();
    assert_eq!(refusal, "ValueError: invalid literal for int() with base 10: '1 vCPU'");
}

#[test]
fn families_are_changed_only_where_ecs_would_refuse_them() {
    for (family, expected) in [
        ("Team_flows-1".to_owned(), "Team_flows-1".to_owned()),
        ("--a".into(), "--a".into()),
        ("Team Flows/é#1".into(), "Team-Flows-1".into()),
        ("a -- b".into(), "a----b".into()),
        ("f".repeat(300), "f".repeat(255)),
    ] {
        assert_eq!(allowed_family(&family), expected);
    }
}

#[test]
fn empty_values_are_dropped_but_false_says_something() {
    let mut map = json!({"a": null, "b": "", "c": 0, "d": [], "e": {}, "f": false, "g": {"h": null},
        "l": [{"x": ""}, null, [{"y": null}]]});
    drop_empty(map.as_object_mut().unwrap(), None);
    assert_eq!(map, json!({"f": false, "g": {}, "l": [{}, null, [{"y": null}]]}));
}

#[test]
fn the_flow_gets_the_named_the_nameless_or_a_new_container() {
    let images = |containers: Value, name: Value| {
        let configuration = json!({"task_definition": {"containerDefinitions": containers}, "container_name": name});
        let containers = made(configuration).map(|definition| definition["containerDefinitions"].clone())?;
        let entry = |c: &Value| format!("{}={}", c["name"].as_str().unwrap_or("?"), c["image"].as_str().unwrap_or("?"));
        Ok::<_, String>(containers.as_array().unwrap().iter().map(entry).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(images(json!([{}, {"image": "i"}]), Value::Null).unwrap(), "prefect=i");
    assert_eq!(images(json!([{"name": "a"}]), Value::Null).unwrap(), "a=default:1");
    assert_eq!(images(json!([{"name": "a"}]), json!("prefect")).unwrap(), "a=? prefect=default:1");
    assert_eq!(images(json!([{"name": "a"}, {"image": "i"}]), json!("prefect")).unwrap(), "a=? prefect=i");
    let refusal = images(json!([{"name": "a"}]), json!("flow")).unwrap_err();
    assert_eq!(refusal, "ValueError: Container 'flow' not found in task definition.");
}

#[test]
fn logs_go_where_the_options_say() {
    let container = |more: Value| {
        let mut configuration = json!({"task_definition": {"executionRoleArn": "r",
            "containerDefinitions": [{"logConfiguration": {"logDriver": "none"}}]}, "configure_cloudwatch_logs": true});
        configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        made(configuration).unwrap()["containerDefinitions"][0]["logConfiguration"].clone()
    };
    let own = json!({"cloudwatch_logs_prefix": "p", "cloudwatch_logs_options": {"mode": "m", "awslogs-group": "g"},
        "aws_credentials": {"region_name": "us-west-2"}});
    let expected = json!({"awslogs-create-group": "true", "awslogs-group": "g", "awslogs-region": "us-west-2",
        "awslogs-stream-prefix": "p", "mode": "m"});
    assert_eq!(container(own), json!({"logDriver": "awslogs", "options": expected}));
    let options = container(json!({}))["options"].clone();
    assert_eq!(options["awslogs-stream-prefix"], "prefect-logs_pool_deployment-1");
    assert_eq!(options["awslogs-region"], "eu-west-1");
}

#[test]
fn secrets_replace_variables_and_secrets_of_their_names() {
    let definition = made(json!({
        "task_definition": {"containerDefinitions": [{
            "environment": [{"name": "PREFECT_API_KEY", "value": "k"}, {"name": "A", "value": "1"},
                {"name": "N", "value": null}],
            "secrets": [{"name": "O", "valueFrom": "o"}, {"name": "PREFECT_API_KEY", "valueFrom": "old"}],
        }]},
        "prefect_api_key_secret_arn": "arn:k", "prefect_api_auth_string_secret_arn": "arn:a",
    }));
    let container = definition.unwrap()["containerDefinitions"][0].clone();
    assert_eq!(container["environment"], json!([{"name": "A", "value": "1"}]));
    let expected = json!([{"name": "O", "valueFrom": "o"}, {"name": "PREFECT_API_KEY", "valueFrom": "arn:k"},
        {"name": "PREFECT_API_AUTH_STRING", "valueFrom": "arn:a"}]);
    assert_eq!(container["secrets"], expected);
}
