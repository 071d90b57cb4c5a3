#![allow(clippy::unwrap_used)]
use super::super::testing::{agents, launch, survey};
use super::*;
use serde_json::json;

fn wishes(definition: &Value, run_task: &Value, key: &str) -> Wishes {
    let agents = agents("prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n");
    let (config, _) = agents.first().unwrap().result.as_ref().unwrap();
    of(&[(config, &survey(launch(definition, run_task)))], key)
}

#[test]
fn images_of_ecr_are_taken_apart() {
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let parts = |image: &str| Registry::of(image).map(|registry| (registry.repository, registry.tag, registry.digest));
    let tag = |tag: &str| Some(tag.to_owned());
    for (image, expected) in [
        (format!("{host}/flows:1"), Some(("flows".to_owned(), tag("1"), None))),
        (format!("{host}/team/flows"), Some(("team/flows".to_owned(), tag("latest"), None))),
        (format!("{host}/flows@sha256:ab"), Some(("flows".to_owned(), None, tag("sha256:ab")))),
        (format!("{host}/flows:1@sha256:ab"), Some(("flows".to_owned(), None, tag("sha256:ab")))),
        (
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/flows:1".into(),
            Some(("flows".to_owned(), tag("1"), None)),
        ),
        ("prefecthq/prefect:3-latest".into(), None),
        ("public.ecr.aws/prefect/prefect:3".into(), None),
        ("localhost:5000/flows:1".into(), None),
        ("ecr".into(), None),
    ] {
        assert_eq!(parts(&image), expected, "{image}");
    }
}

#[test]
fn a_launch_tells_what_it_needs() {
    let definition = json!({
        "family": "flows", "cpu": "256", "memory": "512", "executionRoleArn": "execution",
        "runtimePlatform": {"cpuArchitecture": "ARM64"},
        "containerDefinitions": [
            {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/flows:1",
             "secrets": [{"name": "A", "valueFrom": "/psa/test/secrets/etl/api-key"},
                         {"name": "B", "valueFrom": "arn:aws:secretsmanager:us-east-1:1:secret:b-x1:key::"}],
             "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "prefect", "awslogs-create-group": "true"}}},
            {"image": "busybox", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "other"}}}],
    });
    let run_task = json!({
        "cluster": "prefect", "launchType": "FARGATE",
        "overrides": {"cpu": "512", "memory": "1024", "taskRoleArn": "arn:aws:iam::123456789012:role/task"},
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s-b", "s-a"], "securityGroups": ["sg"], "assignPublicIp": "DISABLED"}},
    });
    let wishes = wishes(&definition, &run_task, "arn:key");
    let arn = |service: &str, rest: &str| format!("arn:aws:{service}:us-east-1:123456789012:{rest}");
    let execution = "arn:aws:iam::123456789012:role/execution";
    assert_eq!(wishes.providers.keys().collect::<Vec<_>>(), [&arn("ecs", "cluster/prefect")]);
    assert_eq!(
        wishes.fargate_sizes.keys().collect::<Vec<_>>(),
        [&("512".to_owned(), "1024".to_owned())],
        "overrides count"
    );
    assert_eq!(wishes.roles.iter().collect::<Vec<_>>(), [execution, "arn:aws:iam::123456789012:role/task"]);
    assert!(wishes.images.keys().all(|image| image.architecture == "arm64") && wishes.images.len() == 2);
    assert_eq!(wishes.log_groups.iter().collect::<Vec<_>>(), [&arn("logs", "log-group:other")]);
    let may: Vec<(&str, &str)> =
        wishes.execution[execution].iter().map(|(action, resource)| (action.as_str(), resource.as_str())).collect();
    let repository = arn("ecr", "repository/flows");
    let (key, group) = (arn("ssm", "parameter/psa/test/secrets/etl/api-key"), arn("logs", "log-group:prefect"));
    for wanted in [
        ("ecr:GetAuthorizationToken", "*"),
        ("ecr:BatchGetImage", repository.as_str()),
        ("logs:CreateLogGroup", group.as_str()),
        ("ssm:GetParameters", key.as_str()),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:1:secret:b-x1"),
        ("kms:Decrypt", "arn:key"),
    ] {
        assert!(may.contains(&wanted), "{wanted:?}: {may:?}");
    }
    let network = wishes.networks.keys().next().unwrap();
    assert_eq!(network.subnets, Subnets::Named(vec!["s-a".into(), "s-b".into()]));
    assert_eq!((network.is_public, network.secrets, network.uses), (false, (true, true), (true, true)));
}

#[test]
fn a_launch_on_instances_has_no_size_of_fargate() {
    let definition = json!({"family": "flows", "cpu": "100", "memory": "100"});
    for (run_task, on_fargate) in [
        (json!({"launchType": "EC2"}), false),
        (json!({"capacityProviderStrategy": [{"capacityProvider": "gpu"}]}), false),
        (json!({"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]}), true),
    ] {
        assert_eq!(!wishes(&definition, &run_task, "").fargate_sizes.is_empty(), on_fargate, "{run_task}");
    }
}

#[test]
fn what_is_launched_with_other_credentials_is_elsewhere() {
    let agents = agents("prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n");
    let (config, _) = agents.first().unwrap().result.as_ref().unwrap();
    let mut elsewhere = launch(&json!({"family": "flows"}), &json!({"cluster": "c"}));
    let rendered = elsewhere.rendered.as_mut().unwrap();
    rendered.place.reach = Reach::Agent("arn:aws:iam::210987654321:role/r".into());
    rendered.place.account = Some("210987654321".into());
    let wishes = of(&[(config, &survey(elsewhere))], "");
    assert_eq!(wishes.elsewhere.keys().collect::<Vec<_>>(), ["210987654321"]);
    assert!(wishes.providers.is_empty() && wishes.networks.is_empty());
}
