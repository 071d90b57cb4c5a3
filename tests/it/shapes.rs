//! Requests of shapes that ECS does not take: whose fault they are, what is said, and that nothing is asked of ECS.

use crate::support::{Deployment, agent, ids, report_in};
use serde_json::{Value, json};
use world::prefect1::FlowRunSpec;

fn with_definition(definition: Value) -> FlowRunSpec {
    let run_config = json!({"type": "ECSRun", "task_definition": definition, "__version__": "1.4.1"});
    FlowRunSpec { run_config, ..FlowRunSpec::default() }
}

fn with_kwargs(kwargs: Value) -> FlowRunSpec {
    let run_config = json!({"type": "ECSRun", "run_task_kwargs": kwargs, "__version__": "1.4.1"});
    FlowRunSpec { run_config, ..FlowRunSpec::default() }
}

/// A definition whose container for the flow says this too.
fn of_container(more: Value) -> Value {
    let mut container = json!({"name": "flow", "image": "mine:1"});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"networkMode": "awsvpc", "cpu": 256, "memory": 512, "containerDefinitions": [container]})
}

/// Definitions, and what botocore says of them.
fn wrong_definitions() -> Vec<(Value, &'static str)> {
    let mut wrong = vec![(
        json!({"Family": "mine", "ContainerDefinitions": [{"Name": "flow", "Image": "mine:1"}]}),
        "Unknown parameter in input: \"Family\", must be one of: family, ",
    )];
    let with = |key: &str, value: Value| {
        let mut definition = of_container(json!({}));
        definition[key] = value;
        definition
    };
    let ephemeral = "Unknown parameter in input: \"ephemeral_storage\", must be one of: ";
    wrong.push((with("ephemeral_storage", json!({"sizeInGiB": 50})), ephemeral));
    let size = "Invalid type for parameter ephemeralStorage.sizeInGiB, value: 50, type: <class 'str'>, valid types: <class 'int'>";
    wrong.push((with("ephemeralStorage", json!({"sizeInGiB": "50"})), size));
    let mut described = of_container(json!({}));
    for (key, value) in [("taskDefinitionArn", json!("arn")), ("revision", json!(7)), ("status", json!("ACTIVE"))] {
        described[key] = value;
    }
    wrong.push((json!({"taskDefinition": described, "tags": []}), "Unknown parameter in input: \"taskDefinition\""));
    wrong.push((described, "Unknown parameter in input: \"revision\", must be one of: "));
    for (container, sentence) in [
        (
            json!({"secret": [{"name": "A", "valueFrom": "a"}]}),
            "Unknown parameter in containerDefinitions[0]: \"secret\"",
        ),
        (json!({"resourceRequirements": [{"type": "GPU", "value": 1}]}), ".resourceRequirements[0].value, value: 1"),
        (json!({"mountPoints": [{"readOnly": "false"}]}), ".mountPoints[0].readOnly, value: false"),
        (json!({"portMappings": [{"containerPort": "8080"}]}), ".portMappings[0].containerPort, value: 8080"),
        (json!({"healthCheck": {"command": "curl x"}}), ".healthCheck.command, value: curl x, type: <class 'str'>"),
    ] {
        wrong.push((of_container(container), sentence));
    }
    wrong
}

#[tokio::test]
async fn wrong_shapes_in_a_runs_configuration_fail_it_before_anything_is_registered() {
    let deployment = Deployment::with_agent(json!({})).await;
    let wrong = wrong_definitions();
    let bad: Vec<_> =
        wrong.iter().map(|(definition, _)| deployment.schedule(with_definition(definition.clone()))).collect();
    let network = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": true}}});
    let bad_request = deployment.schedule(with_kwargs(network));
    let good = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ok"], ids(etl, "launched")), (&json!(true), vec![good]), "{report:#}");
    assert_eq!(ids(etl, "failed").len(), bad.len() + 1, "{report:#}");
    for (id, (definition, sentence)) in bad.iter().zip(&wrong) {
        let run = deployment.world.flow_run(id).unwrap();
        let message = run.current().unwrap().message().unwrap();
        assert!(
            message.starts_with("Parameter validation failed:\n") && message.contains(sentence),
            "{definition}: {message}"
        );
        let names_the_way_out = message.contains("botocore ") && message.contains("`unknown_members: send`");
        assert_eq!(names_the_way_out, message.contains("Unknown parameter"), "{message}");
    }
    let run = deployment.world.flow_run(&bad_request).unwrap();
    assert!(run.current().unwrap().message().unwrap().contains(
        "Invalid type for parameter networkConfiguration.awsvpcConfiguration.assignPublicIp, value: True, \
         type: <class 'bool'>, valid types: <class 'str'>"
    ));
    assert_eq!(deployment.world.count("ecs", "RegisterTaskDefinition"), 1, "the good one's");
    assert_eq!(deployment.world.count("ecs", "RunTask"), 1);
}

/// The poll fails for this reason, and no run notices.
async fn is_the_agents_trouble(deployment: &Deployment, words: &[&str]) {
    let run = deployment.schedule(FlowRunSpec::default());
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ok"], &etl["error_kind"]), (&json!(false), &json!("configuration")), "{report:#}");
    let error = etl["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
    assert_eq!(deployment.state_of(&run), "Scheduled");
    assert_eq!(deployment.world.count("ecs", "*"), 0);
}

#[tokio::test]
async fn wrong_shapes_in_the_agents_configuration_fail_the_poll_and_no_run() {
    let network = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": true}}});
    let deployment = Deployment::with_agent(json!({"run_task_kwargs": network})).await;
    let place =
        "`run_task_kwargs.networkConfiguration.awsvpcConfiguration.assignPublicIp`: found a truth value; allowed: text";
    is_the_agents_trouble(&deployment, &["/psa/test/config/etl", place]).await;
    let definition = json!({"containerDefinitions": [{"Name": "flow", "image": "i"}]});
    let deployment = Deployment::with_agent(json!({"task_definition": definition})).await;
    let place = "`task_definition.containerDefinitions[0].Name`: found an unknown member (did you mean `name`?)";
    is_the_agents_trouble(&deployment, &[place, "botocore ", "`unknown_members: send`"]).await;
}

#[tokio::test]
async fn wrong_shapes_behind_the_agents_paths_fail_the_poll_and_behind_a_runs_path_the_run() {
    let put = |deployment: &Deployment, key: &str, body: &str| deployment.world.lock().s3.put("bucket", key, body);
    let deployment = Deployment::with_agent(json!({"task_definition_path": "s3://bucket/d.yaml"})).await;
    put(&deployment, "d.yaml", "containerDefinitions: [{name: flow, portMappings: [{containerPort: '8080'}]}]");
    let place = "`containerDefinitions[0].portMappings[0].containerPort`: found a text; allowed: a whole number";
    is_the_agents_trouble(&deployment, &["task_definition_path", "s3://bucket/d.yaml", place]).await;
    let deployment = Deployment::with_agent(json!({"run_task_kwargs_path": "s3://bucket/k.yaml"})).await;
    put(&deployment, "k.yaml", "{count: '1', taskDefinition: mine}");
    let words = ["run_task_kwargs_path", "`count`: found a text", "`taskDefinition`: found a task definition"];
    is_the_agents_trouble(&deployment, &words).await;

    let deployment = Deployment::with_agent(json!({})).await;
    put(
        &deployment,
        "d.yaml",
        "containerDefinitions: [{name: flow, image: i, portMappings: [{containerPort: '8080'}]}]",
    );
    let run_config = json!({"type": "ECSRun", "task_definition_path": "s3://bucket/d.yaml", "__version__": "1.4.1"});
    let bad = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "failed"), [bad], "{report:#}");
}

#[tokio::test]
async fn unknown_members_are_sent_where_the_agent_says_so() {
    let mut definition = of_container(json!({"newOfContainer": {"a": 1}}));
    definition["newOfDefinition"] = json!([true]);
    let kwargs = json!({"newOfRequest": "x", "tags": [{"key": "team", "newOfTag": null}]});
    let extra = json!({"unknown_members": "send", "task_definition": definition, "run_task_kwargs": kwargs});
    let deployment = Deployment::with_agent(extra).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
    let sent = |operation: &str| -> Value {
        serde_json::from_str(&deployment.world.requests("ecs", operation)[0].body).unwrap()
    };
    let registered = sent("RegisterTaskDefinition");
    assert_eq!(registered["newOfDefinition"], json!([true]));
    assert_eq!(registered["containerDefinitions"][0]["newOfContainer"], json!({"a": 1}));
    let asked = sent("RunTask");
    assert_eq!((&asked["newOfRequest"], &asked["tags"]), (&json!("x"), &json!([{"key": "team", "newOfTag": null}])));
}
