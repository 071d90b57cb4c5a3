//! Attempts to get round the guardrails. Each is refused by the rule that it is meant for.

use super::*;

mod containers;

use containers::{commands, machines, secrets, variables};

struct Attempt {
    what: &'static str,
    launch: Launch,
    rule: Rule,
}

const CONTAINER: &str = "RegisterTaskDefinition/containerDefinitions/0";
const SIDECAR: &str = "RegisterTaskDefinition/containerDefinitions/1";
const OVERRIDE: &str = "RunTask/overrides/containerOverrides/0";
const NEW_OVERRIDE: &str = "RunTask/overrides/containerOverrides/+";
const NETWORK: &str = "RunTask/networkConfiguration/awsvpcConfiguration";

fn change(what: &'static str, place: &str, value: Value, rule: Rule) -> Attempt {
    Attempt { what, launch: Launch::with(&[(place, value)]), rule }
}

fn at(base: &str, rest: &str) -> String {
    format!("{base}/{rest}")
}

fn named(changes: &[(&str, Value)]) -> Launch {
    Launch { origin: DefinitionOrigin::Named("other:7".into()), ..Launch::with(changes) }
}

fn images() -> Vec<Attempt> {
    let of = |what, image: String| change(what, &at(CONTAINER, "image"), json!(image), Rule::Images);
    let good = image("etl");
    vec![
        of("another image", "evil/x:1".into()),
        of("the registry in capitals", good.replace("dkr", "DKR")),
        of("the repository in capitals", good.replace("flows", "Flows")),
        of("a registry whose name begins like it", good.replace("amazonaws.com", "amazonaws.com.evil.io")),
        of("the allowed name as a path of another registry", format!("evil.io/{good}")),
        of("another account", good.replace("123456789012", "999999999999")),
        of("out of the allowed path", good.replace("flows/etl", "flows/../other/etl")),
        of("a letter that looks alike", good.replace("flows", "fl\u{43e}ws")),
        of("a full-width slash", good.replace("flows/", "flows\u{ff0f}")),
        of("a host in capitals", "Evil/x:1".into()),
        of("a blank in front", format!(" {good}")),
        of("a second line", format!("{good}\nevil/x")),
        change("a sidecar of another image", &at(SIDECAR, "image"), json!("evil/x:1"), Rule::Images),
        change(
            "a third container",
            "RegisterTaskDefinition/containerDefinitions/+",
            json!({"name": "prefect", "image": "evil/x"}),
            Rule::Images,
        ),
        change(
            "a tag in place of a digest",
            &at(CONTAINER, "image"),
            json!(format!("{REGISTRY}/flows/etl:1")),
            Rule::ImageDigest,
        ),
        change(
            "half a digest",
            &at(SIDECAR, "image"),
            json!(format!("{REGISTRY}/flows/etl@sha256:aa")),
            Rule::ImageDigest,
        ),
        change(
            "a password for a registry that is somebody else's",
            &at(CONTAINER, "repositoryCredentials/credentialsParameter"),
            json!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:registry"),
            Rule::Secrets,
        ),
    ]
}

fn sizes() -> Vec<Attempt> {
    let cpu = |what, value| change(what, "RunTask/overrides/cpu", value, Rule::Cpu);
    let memory = |what, value| change(what, "RunTask/overrides/memory", value, Rule::Memory);
    vec![
        cpu("more CPU, as an override", json!("8192")),
        change("more CPU, in the definition", "RegisterTaskDefinition/cpu", json!("8192"), Rule::Cpu),
        cpu("more CPU, in vCPUs", json!("8 vCPU")),
        cpu("more CPU, in capitals", json!("16VCPU")),
        cpu("a number that no integer holds", json!("99999999999999999999999999")),
        cpu("a number with an exponent", json!("1e9")),
        cpu("digits of another script", json!("\u{ff18}192")),
        cpu("a negative number", json!("-1")),
        memory("more memory, in GB", json!("64 GB")),
        memory("more memory, after blanks", json!("  65536")),
        memory("a unit that ECS does not know", json!("1 TB")),
        memory("thousands with a comma", json!("65,536")),
        change("more memory, in the definition", "RegisterTaskDefinition/memory", json!("9 GB"), Rule::Memory),
        change("more memory of a container", &at(SIDECAR, "memory"), json!(16384), Rule::Memory),
        change("more memory that is reserved", &at(SIDECAR, "memoryReservation"), json!(16384), Rule::Memory),
        change("more memory of a container, as an override", &at(OVERRIDE, "memory"), json!(16384), Rule::Memory),
        change("more reserved memory, as an override", &at(OVERRIDE, "memoryReservation"), json!(16384), Rule::Memory),
        change("more CPU of a container", &at(SIDECAR, "cpu"), json!(8192), Rule::Cpu),
        change(
            "more CPU of a container that does not exist",
            NEW_OVERRIDE,
            json!({"name": "nobody", "cpu": 8192}),
            Rule::Cpu,
        ),
        Attempt {
            what: "containers that are small each",
            launch: Launch::with(&[
                ("RegisterTaskDefinition/memory", Value::Null),
                (&at(CONTAINER, "memory"), json!(6000)),
                (&at(SIDECAR, "memory"), json!(6000)),
            ]),
            rule: Rule::Memory,
        },
        Attempt {
            what: "memory that is reserved and has no limit",
            launch: Launch::with(&[
                ("RegisterTaskDefinition/memory", Value::Null),
                (&at(CONTAINER, "memory"), json!(512)),
                (&at(SIDECAR, "memoryReservation"), json!(512)),
            ]),
            rule: Rule::Memory,
        },
        change("ten tasks for one", "RunTask/count", json!(10), Rule::Cpu),
        change("tasks beyond all numbers", "RunTask/count", json!(u64::MAX), Rule::Memory),
        change(
            "more room on disk",
            "RegisterTaskDefinition/ephemeralStorage/sizeInGiB",
            json!(200),
            Rule::EphemeralStorage,
        ),
        change(
            "more room on disk, as an override",
            "RunTask/overrides/ephemeralStorage/sizeInGiB",
            json!(200),
            Rule::EphemeralStorage,
        ),
    ]
}

fn places() -> Vec<Attempt> {
    let cluster = |what, value: &str| change(what, "RunTask/cluster", json!(value), Rule::Clusters);
    let of_network = |what, place: &str, value, rule| change(what, &at(NETWORK, place), value, rule);
    let foreign = Launch { names_are_ours: false, ..Launch::with(&[("RunTask/cluster", json!("batch-1"))]) };
    vec![
        cluster("another cluster", "other"),
        cluster("the cluster in capitals", "Prefect"),
        cluster("no cluster: the default one", ""),
        cluster("the ARN of another account's cluster", "arn:aws:ecs:eu-west-1:999999999999:cluster/batch-1"),
        cluster("something in an ARN that is no cluster", "arn:aws:ecs:eu-west-1:123456789012:service/prefect"),
        Attempt { what: "a name that means another account's cluster", launch: foreign, rule: Rule::Clusters },
        of_network("another subnet beside an allowed one", "subnets/+", json!("subnet-z"), Rule::Subnets),
        of_network("a subnet in capitals", "subnets/0", json!("SUBNET-A"), Rule::Subnets),
        of_network("another security group", "securityGroups/0", json!("sg-open"), Rule::SecurityGroups),
        of_network("no security group: the VPC's own", "securityGroups", json!([]), Rule::SecurityGroups),
        of_network("a public address", "assignPublicIp", json!("ENABLED"), Rule::PublicIp),
        of_network("a public address in small letters", "assignPublicIp", json!("enabled"), Rule::PublicIp),
        of_network("a private address in other letters", "assignPublicIp", json!("disabled "), Rule::PublicIp),
        change("instances of the account", "RunTask/launchType", json!("EC2"), Rule::LaunchTypes),
        change("the launch type in small letters", "RunTask/launchType", json!("fargate"), Rule::LaunchTypes),
        change("the cluster's own default", "RunTask/launchType", json!(""), Rule::CapacityProviders),
        change(
            "another capacity provider",
            "RunTask/capacityProviderStrategy",
            json!([{"capacityProvider": "FARGATE"}, {"capacityProvider": "gpu-instances", "weight": 1}]),
            Rule::CapacityProviders,
        ),
        change("the network of the machine", "RegisterTaskDefinition/networkMode", json!("host"), Rule::NetworkModes),
        change(
            "no network mode: AWS takes bridge",
            "RegisterTaskDefinition/networkMode",
            Value::Null,
            Rule::NetworkModes,
        ),
    ]
}

fn roles() -> Vec<Attempt> {
    let role = |what, value: &str| change(what, "RunTask/overrides/taskRoleArn", json!(value), Rule::TaskRoles);
    vec![
        role("another role", "arn:aws:iam::123456789012:role/admin"),
        role("a role by its name", "admin"),
        role("a role in capitals", "arn:aws:iam::123456789012:role/Flows/etl"),
        role("a role of another account", "arn:aws:iam::999999999999:role/flows/etl"),
        role("a role whose path begins like it", "arn:aws:iam::123456789012:role/flows-admin"),
        role("a role in a part of the ARN that has none", "arn:aws:iam:x:123456789012:role/flows/etl"),
        Attempt {
            what: "the definition's role, where nothing overrides it",
            launch: Launch::with(&[
                ("RunTask/overrides/taskRoleArn", Value::Null),
                ("RegisterTaskDefinition/taskRoleArn", json!("arn:aws:iam::123456789012:role/admin")),
            ]),
            rule: Rule::TaskRoles,
        },
        change(
            "a role that is passed to be overridden",
            "RegisterTaskDefinition/taskRoleArn",
            json!("admin"),
            Rule::TaskRoles,
        ),
        change(
            "another execution role",
            "RunTask/overrides/executionRoleArn",
            json!("admin-execution"),
            Rule::ExecutionRoles,
        ),
        change(
            "another execution role, in the definition",
            "RegisterTaskDefinition/executionRoleArn",
            json!("arn:aws:iam::123456789012:role/flows-execution/admin"),
            Rule::ExecutionRoles,
        ),
        change(
            "a role for a disk",
            "RunTask/volumeConfigurations",
            json!([{"name": "data", "managedEBSVolume": {"roleArn": "admin"}}]),
            Rule::ExecutionRoles,
        ),
    ]
}

fn definitions() -> Vec<Attempt> {
    let origin =
        |what, origin| Attempt { what, launch: Launch { origin, ..Launch::with(&[]) }, rule: Rule::TaskDefinitions };
    let of_named = |what, place: &str, value, rule| Attempt { what, launch: named(&[(place, value)]), rule };
    vec![
        origin(
            "a definition by its ARN",
            DefinitionOrigin::Named("arn:aws:ecs:eu-west-1:1:task-definition/x:1".into()),
        ),
        origin("a definition of the run's own", DefinitionOrigin::Brought),
        origin("a revision of another family", DefinitionOrigin::OwnInFamily("prod-service".into())),
        of_named("an image of a definition by its ARN", &at(SIDECAR, "image"), json!("evil/x"), Rule::Images),
        of_named(
            "a secret of a definition by its ARN",
            &at(CONTAINER, "secrets"),
            json!([{"name": "KEY", "valueFrom": "/other/key"}]),
            Rule::Secrets,
        ),
        of_named(
            "a role of a definition by its ARN",
            "RegisterTaskDefinition/executionRoleArn",
            json!("admin"),
            Rule::ExecutionRoles,
        ),
        of_named("a member that a newer AWS says of a definition", &at(CONTAINER, "gpuShare"), json!(1), Rule::Members),
        change("a member that a newer AWS takes", "RunTask/runAsRoot", json!(true), Rule::Members),
        change("the same in a container", &at(CONTAINER, "hostAccess"), json!(false), Rule::Members),
        change("the same in an override", &at(OVERRIDE, "image"), json!("evil/x"), Rule::Members),
        change(
            "containers as a mapping",
            "RegisterTaskDefinition/containerDefinitions",
            json!({"0": {"image": "evil/x"}}),
            Rule::Members,
        ),
        change("overrides as a text", "RunTask/overrides", json!("{\"taskRoleArn\": \"admin\"}"), Rule::Members),
        change("a variable as a mapping", &at(CONTAINER, "environment"), json!({"AWS_PROFILE": "x"}), Rule::Members),
        change("a truth value as a text", &at(CONTAINER, "privileged"), json!("true"), Rule::Privileged),
        change("the number of tasks as a text", "RunTask/count", json!("10"), Rule::Members),
    ]
}

fn all_attempts() -> Vec<Attempt> {
    let groups = [images(), sizes(), places(), roles(), definitions(), commands(), variables(), secrets(), machines()];
    groups.into_iter().flatten().collect()
}

/// What is asked for in all of them.
pub(super) fn launches() -> impl Iterator<Item = (&'static str, Launch)> {
    all_attempts().into_iter().map(|Attempt { what, launch, .. }| (what, launch))
}

#[test]
fn no_attempt_gets_round_the_guardrails() {
    let (guardrails, attempts) = (strict(), all_attempts());
    assert!(attempts.len() >= 60, "{}", attempts.len());
    let (mut rows, mut open) = (Vec::new(), 0);
    for Attempt { what, launch, rule } in &attempts {
        let found = launch.judged(&guardrails);
        let is_refused = found.iter().any(|violation| violation.rule == *rule);
        open += usize::from(!is_refused);
        let rules: BTreeSet<&str> = found.iter().map(|violation| violation.rule.key()).collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        let sign = if is_refused { ' ' } else { '!' };
        rows.push(format!("{sign} {what:<60} | {:<20} | {}", rule.key(), rules.join(", ")));
    }
    let head = format!("  {:<60} | {:<20} | refused by", "attempt", "meant for");
    let table = format!("{open} of {} attempts get through:\n{head}\n{}", attempts.len(), rows.join("\n"));
    // Seen with --nocapture.
    println!("{table}");
    assert_eq!(open, 0, "{table}");
}

/// Nothing is judged by a rule on paper only.
#[test]
fn every_member_that_a_rule_judges_is_refused_by_it_somewhere() {
    let mut open: BTreeSet<(String, &str)> = super::super::members::decisions()
        .filter_map(|(path, decision)| match decision {
            Decision::Judged(rules) => Some(rules.iter().map(move |rule| (path.to_owned(), rule.key()))),
            _ => None,
        })
        .flatten()
        .collect();
    let providers_alone = Guardrails { launch_types: None, ..strict() };
    let launch_types_alone = Guardrails { capacity_providers: None, ..strict() };
    let no_volumes = Guardrails { volumes: Some(Vec::new()), ..strict() };
    for Attempt { launch, .. } in &all_attempts() {
        for guardrails in [strict(), providers_alone.clone(), launch_types_alone.clone(), no_volumes.clone()] {
            for violation in launch.judged(&guardrails) {
                open.remove(&(path_of(&violation.place), violation.rule.key()));
            }
        }
    }
    assert!(open.is_empty(), "judged by members.txt, and never refused:\n{open:#?}");
}

#[test]
fn the_sentence_names_rule_place_what_was_asked_and_what_is_allowed() {
    let changes =
        [("RunTask/overrides/taskRoleArn", json!("adm\u{456}n")), ("RunTask/cluster", json!("x".repeat(500)))];
    let found = Launch::with(&changes).judged(&strict());
    let sentence = judging::sentence(&found);
    assert!(
        sentence.contains("`task_roles`: adm\\u{456}n in RunTask.overrides.taskRoleArn (allowed: arn:aws:iam::"),
        "{sentence}"
    );
    assert!(sentence.contains("`clusters`: xxxx") && sentence.len() < 800, "{sentence}");
}

/// A rule that is written alone is not got round by what another rule would judge.
#[test]
fn instances_are_no_way_round_a_list_of_providers() {
    let guardrails = Guardrails { launch_types: None, capacity_providers: Some(globs(&["FARGATE_SPOT"])), ..strict() };
    for launch_type in ["EC2", "EXTERNAL", "MANAGED_INSTANCES", "FARGATE"] {
        let found = Launch::with(&[("RunTask/launchType", json!(launch_type))]).judged(&guardrails);
        assert_eq!(
            found.iter().map(|found| found.rule).collect::<Vec<_>>(),
            [Rule::CapacityProviders],
            "{launch_type}"
        );
    }
    let by_name = Guardrails { capacity_providers: Some(globs(&["FARGATE"])), ..guardrails };
    assert_eq!(Launch::with(&[]).judged(&by_name), []);
}
