#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;

fn made(given: Value, definition: Value) -> Result<(Value, Option<NetworkLookup>), String> {
    let mut given = given;
    given["task_definition"] = json!({"family": "f"});
    let given = given.as_object().unwrap();
    let configuration = Configuration::new(given, given).map_err(|refusal| refusal.0)?;
    let request = super::request(&configuration, definition.as_object().unwrap()).map_err(|refusal| refusal.0)?;
    Ok((Value::Object(request.body), request.network))
}

#[test]
fn launch_type_and_strategy_exclude_each_other() {
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let own = json!([{"capacityProvider": "c"}]);
    let ec2 = json!({"requiresCompatibilities": ["EC2"]});
    for (request, definition, expected) in [
        (json!({}), json!({}), json!({"launchType": "FARGATE"})),
        (json!({"launchType": ""}), ec2.clone(), json!({})),
        (json!({"launchType": "EC2"}), ec2, json!({"launchType": "EC2"})),
        (json!({"launchType": "FARGATE_SPOT"}), json!({}), json!({"capacityProviderStrategy": spot})),
        (
            json!({"launchType": "FARGATE", "capacityProviderStrategy": own}),
            json!({}),
            json!({"capacityProviderStrategy": own}),
        ),
    ] {
        assert_eq!(made(json!({"task_run_request": request}), definition).unwrap().0, expected, "{request}");
    }
}

#[test]
fn networks_are_looked_up_only_for_awsvpc() {
    let awsvpc = json!({"networkMode": "awsvpc"});
    let configured = json!({"awsvpcConfiguration": {"subnets": ["s"]}});
    let look_up = |given: Value| made(given, awsvpc.clone()).unwrap().1;
    assert_eq!(look_up(json!({})), Some(NetworkLookup::DefaultVpc));
    assert_eq!(look_up(json!({"vpc_id": "v"})), Some(NetworkLookup::Vpc("v".into())));
    assert_eq!(look_up(json!({"task_run_request": {"networkConfiguration": configured}})), None);
    assert_eq!(made(json!({"vpc_id": "v"}), json!({"networkMode": "bridge"})).unwrap().1, None);
    let custom = json!({"vpc_id": "v", "network_configuration": {"subnets": ["a"], "securityGroups": ["g"]},
        "task_run_request": {"networkConfiguration": configured}});
    let (body, network) = made(custom, awsvpc.clone()).unwrap();
    assert_eq!(network, Some(NetworkLookup::Check { vpc_id: "v".into(), subnets: json!(["a"]) }));
    let expected = json!({"awsvpcConfiguration": {"subnets": ["a"], "securityGroups": ["g"]}});
    assert_eq!(body["networkConfiguration"], expected);
}

#[test]
fn command_and_environment_go_to_the_container_of_the_flow() {
    let given = json!({
        "command": "run 'it all'", "env": {"A": "env", "B": "env"},
        "task_run_request": {"overrides": {"cpu": 512, "memory": "", "containerOverrides": [
            {"command": "lost", "environment": [{"name": "A", "value": "template"}, {"name": "T", "value": "t"}, {"name": "N", "value": null}, {"name": "E"}],
                "cpu": "512", "memory": 5},
            {"name": "side", "command": "a 'b c'", "environment": {"X": "1", "N": null}},
        ]}},
    });
    let definition = json!({"containerDefinitions": [{"name": "app"}]});
    let expected = json!({"cpu": "512", "memory": "", "containerOverrides": [
        {"name": "app", "command": ["run", "it all"], "cpu": 512, "memory": 5, "environment": [
            {"name": "T", "value": "t"}, {"name": "E"}, {"name": "A", "value": "env"}, {"name": "B", "value": "env"}]},
        {"name": "side", "command": ["a", "b c"], "environment": [{"name": "X", "value": "1"}]},
    ]});
    assert_eq!(made(given, definition).unwrap().0["overrides"], expected);
}

#[test]
fn without_an_override_for_it_the_flow_gets_nothing() {
    let given =
        |overrides: Value| json!({"command": "x", "env": {"A": "1"}, "task_run_request": {"overrides": overrides}});
    let overrides = |given: Value| made(given, json!({})).unwrap().0["overrides"]["containerOverrides"].clone();
    assert_eq!(overrides(given(json!({}))), json!([]));
    let expected = json!([{"name": "side", "environment": []}]);
    assert_eq!(overrides(given(json!({"containerOverrides": [{"name": "side"}]}))), expected);
    assert_eq!(made(json!({}), json!({})).unwrap().0.get("overrides"), None);
}

#[test]
fn the_cluster_of_the_configuration_fills_a_gap() {
    let cluster = |request: Value| made(json!({"cluster": "c", "task_run_request": request}), json!({})).unwrap().0;
    assert_eq!(cluster(json!({"cluster": null}))["cluster"], "c");
    assert_eq!(cluster(json!({"cluster": "own"}))["cluster"], "own");
}
