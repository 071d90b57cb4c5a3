#![allow(clippy::unwrap_used)]
use super::super::testing::{agents, launch, survey};
use super::*;
use crate::survey::{SurveyedDefinition, SurveyedLaunch};
use serde_json::json;

const SECRETS: OwnSecrets<'static> =
    OwnSecrets { path: "/psa/test/secrets", key: "arn:aws:kms:us-east-1:123456789012:key/k" };

fn of_launches(launches: Vec<SurveyedLaunch>) -> Wishes {
    let agents = agents("prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n");
    let (config, _) = agents.first().unwrap().result.as_ref().unwrap();
    let surveys: Vec<Survey> = launches.into_iter().map(survey).collect();
    of(&surveys.iter().map(|survey| (config, survey)).collect::<Vec<_>>(), SECRETS)
}

fn wishes(definition: &Value, run_task: &Value) -> Wishes {
    of_launches(vec![launch(definition, run_task)])
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
fn an_image_that_names_no_registry_is_of_docker_hub() {
    for image in ["busybox", "prefecthq/prefect:3-latest", "docker.io/prefecthq/prefect", "index.docker.io/library/x"] {
        assert!(is_of_docker_hub(image), "{image}");
    }
    for image in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flows:1",
        "public.ecr.aws/prefect/prefect:3",
        "ghcr.io/a/b",
        "localhost/flows",
        "registry:5000/flows",
    ] {
        assert!(!is_of_docker_hub(image), "{image}");
    }
}

#[test]
fn functions_are_put_where_the_stack_says() {
    let stack = |subnets: &str| Stack {
        name: "psa".into(),
        parameters: [("VpcSubnetIds".to_owned(), subnets.to_owned()), ("VpcSecurityGroupIds".into(), "sg-1".into())]
            .into(),
        ..Stack::default()
    };
    assert_eq!(of_functions(&stack(""), "eu-west-1"), None);
    let (network, _) = of_functions(&stack("subnet-a, subnet-b"), "eu-west-1").unwrap();
    assert_eq!(network.subnets, Subnets::Named(vec!["subnet-a".into(), "subnet-b".into()]));
    assert_eq!((network.security_groups, network.occupant), (vec!["sg-1".to_owned()], Occupant::Functions));
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
    let wishes = wishes(&definition, &run_task);
    let arn = |service: &str, rest: &str| format!("arn:aws:{service}:us-east-1:123456789012:{rest}");
    let execution = "arn:aws:iam::123456789012:role/execution";
    assert_eq!(wishes.providers.keys().collect::<Vec<_>>(), [&arn("ecs", "cluster/prefect")]);
    assert_eq!(sizes(&wishes), [("512", "1024", false)], "overrides count");
    assert_eq!(wishes.roles.keys().collect::<Vec<_>>(), [execution, "arn:aws:iam::123456789012:role/task"]);
    assert!(wishes.images.keys().all(|image| image.architecture == Some("arm64")) && wishes.images.len() == 2);
    assert_eq!(wishes.log_groups.iter().collect::<Vec<_>>(), [&arn("logs", "log-group:other")]);
    let may: Vec<(&str, &str)> =
        wishes.execution[execution].iter().map(|request| (request.action, request.resource.as_str())).collect();
    let repository = arn("ecr", "repository/flows");
    let (key, group) = (arn("ssm", "parameter/psa/test/secrets/etl/api-key"), arn("logs", "log-group:prefect"));
    for wanted in [
        ("ecr:GetAuthorizationToken", "*"),
        ("ecr:BatchGetImage", repository.as_str()),
        ("logs:CreateLogGroup", group.as_str()),
        ("ssm:GetParameters", key.as_str()),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:1:secret:b-x1"),
        ("kms:Decrypt", SECRETS.key),
    ] {
        assert!(may.contains(&wanted), "{wanted:?}: {may:?}");
    }
    let network = wishes.networks.keys().next().unwrap();
    assert_eq!(network.subnets, Subnets::Named(vec!["s-a".into(), "s-b".into()]));
    assert_eq!(network.occupant, Occupant::Tasks { is_public: false });
    assert_eq!(network.services, ["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "ssm"].into());
    assert_eq!(network.docker_hub_image.as_deref(), Some("busybox"));
}

/// CPU, memory, and whether it is spare capacity.
fn sizes(wishes: &Wishes) -> Vec<(&str, &str, bool)> {
    wishes.fargate.keys().map(|task| (task.cpu.as_str(), task.memory.as_str(), task.is_spot)).collect()
}

fn strategy(providers: &[&str]) -> Value {
    let entries: Vec<_> = providers.iter().map(|provider| json!({"capacityProvider": provider})).collect();
    json!({"capacityProviderStrategy": entries})
}

#[test]
fn a_launch_runs_on_fargate_where_it_says_so_itself() {
    let definition = json!({"family": "flows", "cpu": "100", "memory": "100"});
    for (run_task, spare) in [
        (json!({"launchType": "FARGATE"}), &[false][..]),
        (json!({"launchType": "EC2"}), &[]),
        (strategy(&["gpu"]), &[]),
        (strategy(&["FARGATE_SPOT"]), &[true]),
        (strategy(&["FARGATE", "FARGATE_SPOT"]), &[false, true]),
        // What the cluster does by default is the cluster's to say.
        (json!({}), &[]),
    ] {
        let wishes = wishes(&definition, &run_task);
        let expected: Vec<_> = spare.iter().map(|is_spot| ("100", "100", *is_spot)).collect();
        assert_eq!(sizes(&wishes), expected, "{run_task}");
    }
    let (mut fargate, mut instances) = (strategy(&["FARGATE"]), strategy(&["gpu"]));
    fargate["cluster"] = json!("one");
    instances["cluster"] = json!("one");
    let small = json!({"family": "flows", "cpu": 64, "memory": 64});
    let wishes = of_launches(vec![launch(&definition, &fargate), launch(&small, &instances)]);
    assert_eq!(sizes(&wishes), [("100", "100", false)], "another launch in the same cluster decides nothing");
}

#[test]
fn a_size_is_one_of_numbers_too_and_its_lack_is_known_where_the_definition_is() {
    let fargate = json!({"launchType": "FARGATE"});
    let of_numbers = wishes(&json!({"cpu": 256, "memory": 512}), &fargate);
    assert_eq!(sizes(&of_numbers), [("256", "512", false)]);
    assert_eq!(sizes(&wishes(&json!({"cpu": "256"}), &fargate)), [("", "", false)]);
    let mut unknown = launch(&json!({}), &fargate);
    unknown.rendered.as_mut().unwrap().definition =
        SurveyedDefinition::Named { name: "flows:1".into(), described: Err("denied".into()) };
    let wishes = of_launches(vec![unknown]);
    assert_eq!((sizes(&wishes), wishes.unknown_definitions.len()), (Vec::new(), 1));
}

#[test]
fn the_processor_is_known_where_it_is_said_or_fargates() {
    let (fargate, instances) = (json!({"launchType": "FARGATE"}), json!({"launchType": "EC2"}));
    for (run_task, said, expected) in [
        (&fargate, Value::Null, Some("amd64")),
        (&fargate, json!("X86_64"), Some("amd64")),
        (&fargate, json!("ARM64"), Some("arm64")),
        (&fargate, json!("RISCV"), None),
        (&instances, Value::Null, None),
        (&instances, json!("ARM64"), Some("arm64")),
    ] {
        let definition = json!({
            "containerDefinitions": [{"image": "flows"}], "runtimePlatform": {"cpuArchitecture": said},
        });
        let wishes = wishes(&definition, run_task);
        assert_eq!(wishes.images.keys().next().unwrap().architecture, expected, "{run_task} {said}");
    }
}

/// A key that other parameters are encrypted with is not known, and none is where there is none of the customer's.
#[test]
fn the_customers_key_guards_the_agents_own_secrets() {
    let decrypts = |secret: &str, own: OwnSecrets<'_>| {
        let definition = json!({
            "executionRoleArn": "execution",
            "containerDefinitions": [{"secrets": [{"name": "A", "valueFrom": secret}]}],
        });
        let rendered = launch(&definition, &json!({})).rendered.unwrap();
        let all = requests(&rendered.place, &of_launch("a", &rendered), own);
        all.into_iter()
            .find(|request| request.action == "kms:Decrypt")
            .map(|request| (request.resource, request.context))
    };
    let of_region = |region: &str| format!("arn:aws:ssm:{region}:123456789012:parameter/psa/test/secrets/etl/api-key");
    let via = |name: &str| Some((SECRETS.key.to_owned(), Some(("kms:ViaService", name.to_owned()))));
    let used = via("ssm.us-east-1.amazonaws.com");
    assert_eq!(decrypts("/psa/test/secrets/etl/api-key", SECRETS), used);
    assert_eq!(decrypts(&of_region("us-east-1"), SECRETS), used);
    assert_eq!(decrypts(&of_region("eu-west-1"), SECRETS), None, "keys do not leave their region");
    for other in ["/company/password", "/psa/test/secretsofothers/x", "arn:aws:secretsmanager:us-east-1:1:secret:b"] {
        assert_eq!(decrypts(other, SECRETS), None, "{other}");
    }
    for own in [OwnSecrets { key: "", ..SECRETS }, OwnSecrets { path: "", ..SECRETS }] {
        assert_eq!(decrypts("/psa/test/secrets/etl/api-key", own), None, "{own:?}");
    }
}

#[test]
fn what_is_launched_with_other_credentials_is_elsewhere() {
    let mut elsewhere = launch(&json!({"family": "flows"}), &json!({"cluster": "c"}));
    let rendered = elsewhere.rendered.as_mut().unwrap();
    rendered.place.reach = Reach::Agent("arn:aws:iam::210987654321:role/r".into());
    rendered.place.account = Some("210987654321".into());
    let wishes = of_launches(vec![elsewhere]);
    assert_eq!(wishes.elsewhere.keys().collect::<Vec<_>>(), ["210987654321"]);
    assert!(wishes.providers.is_empty() && wishes.networks.is_empty());
}
