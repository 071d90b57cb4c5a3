#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::platform::ecs::NetworkLookup;
use crate::survey::{Home, Reach};
use serde_json::json;

fn home() -> Home {
    Home::new(Ok("123456789012".into()), "eu-west-1")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn launch(definition: Value, run_task: Value) -> RenderedLaunch {
    RenderedLaunch {
        place: home().place(),
        definition: SurveyedDefinition::Register(object(definition)),
        run_task: object(run_task),
        network: None,
        flow_container: "prefect".into(),
        deregisters: false,
        warning: None,
        differences: None,
        judgement: None,
    }
}

fn needs(launches: &[(&str, RenderedLaunch)]) -> Needs {
    let mut needs = Needs::default();
    for (asker, launch) in launches {
        needs.add(asker, launch);
    }
    needs
}

fn only(needs: &Needs) -> &PlaceNeeds {
    assert_eq!(needs.places.len(), 1);
    needs.places.values().next().unwrap()
}

fn keys(asked: &Asked) -> Vec<&str> {
    asked.keys().map(String::as_str).collect()
}

/// What a stock pool's run looks like, with roles and logs as Prefect's own template has them.
fn stock() -> RenderedLaunch {
    launch(
        json!({
            "family": "prefect_ecs", "cpu": "1024", "memory": "2048",
            "executionRoleArn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
            "containerDefinitions": [{
                "name": "prefect", "image": "prefecthq/prefect:3-latest",
                "logConfiguration": {"logDriver": "awslogs", "options": {
                    "awslogs-group": "prefect", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "x"
                }},
                "secrets": [{"name": "DB", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/db"}],
            }],
        }),
        json!({
            "cluster": "flows", "launchType": "FARGATE",
            "overrides": {"cpu": "512", "taskRoleArn": "flow-role", "containerOverrides": [{"name": "prefect"}]},
        }),
    )
}

#[test]
fn names_become_arns_of_the_account_and_region_and_what_is_overridden_counts_beside_what_it_overrides() {
    let needs = needs(&[("etl/daily", stock())]);
    let place = only(&needs);
    assert_eq!(keys(&place.clusters), ["arn:aws:ecs:eu-west-1:123456789012:cluster/flows"]);
    assert_eq!(keys(&place.task_roles), ["arn:aws:iam::123456789012:role/flow-role"]);
    assert_eq!(keys(&place.execution_roles), ["arn:aws:iam::123456789012:role/ecsTaskExecutionRole"]);
    assert!(place.created_log_groups.is_empty());
    assert_eq!(keys(&place.log_groups), ["arn:aws:logs:eu-west-1:123456789012:log-group:prefect"]);
    assert_eq!(keys(&place.read_log_groups), ["arn:aws:logs:eu-west-1:123456789012:log-group:prefect"]);
    assert_eq!(keys(&place.images), ["prefecthq/prefect:3-latest"]);
    assert_eq!(keys(&place.secrets), ["arn:aws:ssm:eu-west-1:123456789012:parameter/db"]);
    assert_eq!(keys(&place.sizes), ["512/2048"]);
    assert_eq!(keys(&place.launch_types), ["FARGATE"]);
    assert_eq!(place.clusters.values().next().unwrap().iter().collect::<Vec<_>>(), ["etl/daily"]);
}

#[test]
fn a_definition_that_is_to_be_deregistered_is_taken_down_by_its_family() {
    let mut launch = stock();
    assert!(of_launch("a", &launch).deregistered.is_empty());
    launch.deregisters = true;
    let SurveyedDefinition::Register(definition) = &mut launch.definition else { panic!("{launch:?}") };
    definition.insert("family".into(), json!("prefect-etl"));
    assert_eq!(keys(&of_launch("a", &launch).deregistered), ["prefect-etl"]);
}

#[test]
fn the_role_that_starts_a_task_is_the_override() {
    let mut launch = stock();
    let of_definition = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";
    assert_eq!(execution_role(&launch).as_deref(), Some(of_definition));
    launch.run_task = object(json!({"overrides": {"executionRoleArn": "other"}}));
    assert_eq!(execution_role(&launch).as_deref(), Some("arn:aws:iam::123456789012:role/other"));
    let both = of_launch("a", &launch).execution_roles;
    assert_eq!(keys(&both), [of_definition, "arn:aws:iam::123456789012:role/other"], "both have to be passed");
}

#[test]
fn what_several_ask_for_is_there_once_with_all_of_them() {
    let needs = needs(&[("a", stock()), ("b", stock())]);
    let askers: Vec<_> = only(&needs).execution_roles.values().flatten().collect();
    assert_eq!(askers, ["a", "b"]);
}

#[test]
fn where_nothing_is_named_it_is_the_default_cluster_and_the_default_vpc() {
    let mut bare = launch(json!({}), json!({}));
    bare.network = Some(NetworkLookup::DefaultVpc);
    let needs = needs(&[("a", bare)]);
    let place = only(&needs);
    assert_eq!(keys(&place.clusters), ["arn:aws:ecs:eu-west-1:123456789012:cluster/default"]);
    assert_eq!(keys(&place.vpcs), ["default"]);
    assert!(place.task_roles.is_empty() && place.log_groups.is_empty() && place.sizes.is_empty());
}

#[test]
fn networks_and_capacity_are_taken_down() {
    let run_task = json!({
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}, {"capacityProvider": "gpu"}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"]}},
    });
    let needs = needs(&[("a", launch(json!({}), run_task))]);
    let place = only(&needs);
    assert_eq!(keys(&place.capacity_providers), ["FARGATE_SPOT", "gpu"]);
    assert_eq!((keys(&place.subnets), keys(&place.security_groups)), (vec!["subnet-1", "subnet-2"], vec!["sg-1"]));
}

#[test]
fn a_definition_that_cannot_be_described_is_told_of() {
    let mut named = launch(json!({}), json!({}));
    named.definition = SurveyedDefinition::Named { name: "fam:3".into(), described: Err("denied".into()) };
    let needs = needs(&[("a", named)]);
    let place = only(&needs);
    assert_eq!(keys(&place.task_definitions), ["fam:3"]);
    assert_eq!(place.unknown_definitions.get("fam:3").map(ToString::to_string).as_deref(), Some("denied"));
}

#[test]
fn an_account_that_is_not_known_makes_no_arns_up() {
    let mut launch = stock();
    launch.place.account = None;
    let needs = needs(&[("a", launch)]);
    assert_eq!(keys(&only(&needs).clusters), ["cluster/flows"]);
    assert_eq!(keys(&only(&needs).task_roles), ["role/flow-role"]);
}

#[test]
fn what_runs_elsewhere_is_kept_apart_and_the_functions_assume_the_first_role_of_a_chain() {
    let mut elsewhere = stock();
    let role = |name: &str| format!("arn:aws:iam::210987654321:role/{name}");
    elsewhere.place = LaunchPlace {
        account: Some("210987654321".into()),
        region: "us-east-1".into(),
        reach: Reach::Run(vec![role("first"), role("second")]),
    };
    let needs = needs(&[("here", stock()), ("there", elsewhere)]);
    assert_eq!(needs.own().count(), 1);
    assert_eq!(keys(&needs.assumed_roles()), [role("first")]);
    assert_eq!(keys(&needs.accounts()), ["123456789012", "210987654321"]);
}

#[test]
fn documents_that_lie_in_aws_are_taken_down_as_they_are_read() {
    let mut needs = Needs::default();
    for path in ["s3://bucket/a/b.yaml", "ssm://team/x", "ssm://plain", "https://h/x", "/etc/x.yaml", "-----BEGIN"] {
        needs.refers(Some(path), "task_definition_path");
    }
    assert_eq!(keys(&needs.s3_objects), ["bucket/a/b.yaml"]);
    assert_eq!(keys(&needs.parameters), ["/team/x", "plain"]);
}

#[test]
fn what_two_agents_ask_for_is_merged_place_by_place() {
    let mut one = needs(&[("a", stock())]);
    let mut far = stock();
    far.place.region = "us-east-1".into();
    let mut other = needs(&[("b", stock()), ("c", far)]);
    other.refers(Some("s3://bucket/x"), "b");
    one.merge(other);
    assert_eq!(one.places.len(), 2);
    let here = &one.places[&home().place()];
    assert_eq!(here.execution_roles.values().flatten().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(keys(&one.s3_objects), ["bucket/x"]);
}
