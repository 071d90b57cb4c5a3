//! What guardrails must not get in the way of.

use super::*;

fn allowed(what: &str, launch: &Launch, guardrails: &Guardrails) {
    let found = launch.judged(guardrails);
    assert!(found.is_empty(), "{what}: {}", judging::sentence(&found));
}

#[test]
fn what_is_allowed_is_allowed_however_it_is_written() {
    let digest = format!("sha256:{}", "A".repeat(64));
    for (what, changes) in [
        ("a modest launch", vec![]),
        (
            "a tag beside the digest",
            vec![(
                "RegisterTaskDefinition/containerDefinitions/0/image",
                json!(format!("{REGISTRY}/flows/a:1@{digest}")),
            )],
        ),
        (
            "the most of everything",
            vec![("RunTask/overrides/cpu", json!("4 vCPU")), ("RunTask/overrides/memory", json!("8GB"))],
        ),
        (
            "more in the definition than in the override",
            vec![("RegisterTaskDefinition/cpu", json!("16384")), ("RunTask/overrides/cpu", json!("256"))],
        ),
        (
            "two small tasks",
            vec![("RunTask/count", json!(2)), ("RegisterTaskDefinition/ephemeralStorage/sizeInGiB", json!(21))],
        ),
        (
            "a cluster by its ARN",
            vec![("RunTask/cluster", json!("arn:aws:ecs:eu-west-1:123456789012:cluster/batch-7"))],
        ),
        ("a cluster by its name, allowed by its ARN", vec![("RunTask/cluster", json!("batch-7"))]),
        ("no task role", vec![("RunTask/overrides/taskRoleArn", json!(null))]),
        ("an execution role by its name", vec![("RegisterTaskDefinition/executionRoleArn", json!("flows-execution"))]),
        (
            "Spot",
            vec![
                ("RunTask/launchType", json!(null)),
                ("RunTask/capacityProviderStrategy", json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}])),
            ],
        ),
        (
            "no word about addresses",
            vec![("RunTask/networkConfiguration/awsvpcConfiguration/assignPublicIp", json!(null))],
        ),
        (
            "two subnets",
            vec![("RunTask/networkConfiguration/awsvpcConfiguration/subnets", json!(["subnet-a", "subnet-b"]))],
        ),
        (
            "an allowed secret",
            vec![(
                "RegisterTaskDefinition/containerDefinitions/0/secrets",
                json!([
            {"name": "KEY", "valueFrom": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:flows/db-AbCdEf:password::"},
            {"name": "OTHER", "valueFrom": "/flows/key"}]),
            )],
        ),
        (
            "variables of the run's own",
            vec![("RunTask/overrides/containerOverrides/0/environment/+", json!({"name": "MY_AWS", "value": "x"}))],
        ),
        (
            "harmless members",
            vec![
                ("RunTask/tags", json!([{"key": "a", "value": "b"}])),
                ("RunTask/enableExecuteCommand", json!(true)),
                ("RegisterTaskDefinition/runtimePlatform", json!({"cpuArchitecture": "ARM64"})),
                ("RegisterTaskDefinition/pidMode", json!("task")),
                (
                    "RegisterTaskDefinition/containerDefinitions/0/logConfiguration",
                    json!({"logDriver": "awslogs", "options": {"awslogs-group": "prefect"}}),
                ),
                ("RegisterTaskDefinition/containerDefinitions/0/dockerLabels", json!({"any": "label"})),
                (
                    "RegisterTaskDefinition/containerDefinitions/0/linuxParameters",
                    json!({"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": true}),
                ),
            ],
        ),
        ("an empty command", vec![("RegisterTaskDefinition/containerDefinitions/1/command", json!([]))]),
        (
            "a command that Prefect's own replaces",
            vec![("RegisterTaskDefinition/containerDefinitions/0/command", json!(["python", "x.py"]))],
        ),
    ] {
        allowed(what, &Launch::with(&changes), &strict());
    }
}

/// What AWS adds to the description of a definition asks for nothing.
#[test]
fn a_described_definition_may_say_what_aws_says_of_all() {
    let changes = [
        ("RegisterTaskDefinition/taskDefinitionArn", json!("arn:aws:ecs:eu-west-1:1:task-definition/x:1")),
        ("RegisterTaskDefinition/revision", json!(1)),
        ("RegisterTaskDefinition/status", json!("ACTIVE")),
        ("RegisterTaskDefinition/requiresAttributes", json!([{"name": "x"}])),
        ("RegisterTaskDefinition/compatibilities", json!(["FARGATE"])),
        ("RegisterTaskDefinition/somethingNew", json!(false)),
        ("RegisterTaskDefinition/containerDefinitions/0/somethingNew", json!([])),
        // The role is overridden, and nobody passes it.
        ("RegisterTaskDefinition/taskRoleArn", json!("admin")),
    ];
    let origin = DefinitionOrigin::Named("x".into());
    let launch = Launch { origin, ..Launch::with(&changes) };
    allowed("described", &launch, &Guardrails { task_definitions: DefinitionRule::Named, ..strict() });
}

#[test]
fn what_the_agent_inferred_is_not_judged_and_a_vpc_that_was_chosen_is() {
    let inferred = json!({"subnets": ["subnet-z"], "securityGroups": [], "assignPublicIp": "ENABLED"});
    let launch = |network| Launch {
        network,
        ..Launch::with(&[("RunTask/networkConfiguration/awsvpcConfiguration", inferred.clone())])
    };
    allowed("inferred", &launch(NetworkOrigin::Inferred), &strict());
    let rules =
        |launch: Launch| -> Vec<Rule> { launch.judged(&strict()).iter().map(|violation| violation.rule).collect() };
    assert_eq!(rules(launch(NetworkOrigin::OfVpc)), [Rule::Subnets, Rule::SecurityGroups]);
    assert_eq!(rules(launch(NetworkOrigin::Brought)), [Rule::Subnets, Rule::SecurityGroups, Rule::PublicIp]);
}

#[test]
fn each_definition_rule_allows_what_it_says() {
    use DefinitionOrigin::{Brought, Named, Own, OwnInFamily};
    let family = || OwnInFamily("etl".into());
    let name = || Named("etl:1".into());
    for (rule, allowed) in [
        (DefinitionRule::Own, vec![Own]),
        (DefinitionRule::Named, vec![Own, name()]),
        (DefinitionRule::Any, vec![Own, name(), family(), Brought]),
    ] {
        let guardrails = Guardrails { task_definitions: rule, ..strict() };
        for origin in [Own, name(), family(), Brought] {
            let launch = Launch { origin: origin.clone(), ..Launch::with(&[]) };
            assert_eq!(launch.judged(&guardrails).is_empty(), allowed.contains(&origin), "{rule:?} {origin:?}");
        }
    }
}

#[test]
fn without_a_rule_of_their_own_capacity_providers_are_what_they_provide() {
    let guardrails = Guardrails { capacity_providers: None, ..strict() };
    let with = |provider: &str| {
        let strategy = json!([{"capacityProvider": provider}]);
        Launch::with(&[("RunTask/launchType", json!(null)), ("RunTask/capacityProviderStrategy", strategy)])
    };
    allowed("Fargate", &with("FARGATE_SPOT"), &guardrails);
    assert_eq!(with("my-instances").judged(&guardrails)[0].rule, Rule::LaunchTypes);
    let nothing = Launch::with(&[("RunTask/launchType", json!(null))]);
    assert_eq!(nothing.judged(&guardrails)[0].rule, Rule::LaunchTypes);
    allowed("default", &nothing, &Guardrails { launch_types: Some(globs(&["FARGATE", "default"])), ..guardrails });
}

#[test]
fn what_no_rule_bounds_is_allowed_but_for_what_nobody_knows() {
    let wild = Launch::with(&[
        ("RegisterTaskDefinition/containerDefinitions/0/image", json!("evil/x")),
        ("RegisterTaskDefinition/containerDefinitions/0/privileged", json!(true)),
        ("RunTask/overrides/taskRoleArn", json!("admin")),
        ("RunTask/count", json!(10)),
    ]);
    allowed("everything", &wild, &Guardrails::default());
    let unknown = Launch::with(&[("RunTask/somethingNew", json!(1))]);
    assert_eq!(unknown.judged(&Guardrails::default())[0].rule, Rule::Members);
}
