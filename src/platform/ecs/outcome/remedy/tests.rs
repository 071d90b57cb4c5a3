#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::platform::ecs::outcome::refusal;
use crate::platform::ecs::testing::refused;
use serde_json::Value;
use std::collections::BTreeSet;

fn told(words: Words, run_sets: &[&str], code: &str, message: &str) -> String {
    let run_sets: Vec<String> = run_sets.iter().map(|key| (*key).to_owned()).collect();
    let origin = Origin { run_sets: &run_sets, words, ..Origin::nobodys() };
    refusal("RunTask", refused(400, code, message), &origin).text().to_owned()
}

#[test]
fn remedies_speak_the_language_of_their_generation() {
    for (message, agent, worker) in [
        (
            "Fargate requires task definition to have execution role ARN to support ECR images.",
            "Set `execution_role_arn` in the run configuration",
            "Set `execution_role_arn` in the job variables",
        ),
        (
            "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
            "Set `execution_role_arn`",
            "Set `execution_role_arn`",
        ),
        ("Override for container named x is not a container", "`run_task_kwargs.overrides`", "`container_name`"),
        ("The subnet ID 'subnet-1' does not exist", "`networkConfiguration`", "`network_configuration`"),
        ("The security group 'sg-1' does not exist", "`networkConfiguration`", "`network_configuration`"),
        ("Network Configuration must be provided", "`networkConfiguration`", "`network_configuration`"),
        ("The specified capacity provider was not found", "`capacityProviderStrategy`", "`capacity_provider_strategy`"),
        ("Specifying both a launch type and capacity provider strategy is not supported", "Give either", "Give either"),
        ("Container.image contains invalid characters", "storage, `image`", "`image` in the job variables"),
        ("Something new", "run_config", "job variables"),
        (
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
            "more cpu than the task has",
            "more cpu than the task has",
        ),
        ("container cpu exceeds task cpu", "more cpu than the task has", "more cpu than the task has"),
        (
            "The 'memory' setting for container 'worker' is greater than for the task.",
            "more memory than the task has",
            "more memory than the task has",
        ),
        ("Invalid 'cpu' setting for task.", "cpu and memory pair", "cpu and memory pair"),
        (
            "The new ARN and resource ID format must be enabled to add tags to the task.",
            "`taskLongArnFormat`",
            "`taskLongArnFormat`",
        ),
        ("Long arn format must be used for tagging operations", "`taskLongArnFormat`", "`taskLongArnFormat`"),
    ] {
        let sets = ["networkConfiguration", "capacityProviderStrategy", "taskDefinition"];
        let told = |words| told(words, &sets, "ClientException", message);
        assert!(told(Words::Agent).contains(agent), "{}", told(Words::Agent));
        assert!(told(Words::Worker).contains(worker), "{}", told(Words::Worker));
    }
}

#[test]
fn a_worker_is_never_told_of_run_configurations() {
    for (_, advice) in REMEDIES.iter().chain(&BY_CODE) {
        let said = advice.to(Words::Worker);
        assert!(!said.contains("run_task_kwargs") && !said.contains("run_config"), "{said}");
        assert!(!said.contains("run configuration") && said.ends_with('.'), "{said}");
        assert!(!advice.to(Words::Agent).contains("job variables"), "{advice:?}");
    }
}

#[test]
fn who_may_not_is_told_of_permissions_and_not_of_the_runs_configuration() {
    for words in [Words::Agent, Words::Worker] {
        for sets in [&[][..], &["cluster"]] {
            let said = told(words, sets, "AccessDeniedException", "not authorized");
            assert!(
                said.contains("policy") && !said.contains("configuration") && !said.contains("job variables"),
                "{said}"
            );
        }
        let passing = "User: x is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/x";
        assert!(told(words, &[], "AccessDeniedException", passing).contains("`PassableRoleArns`"));
        assert!(told(words, &[], "UnrecognizedClientException", "").contains("credentials and region"));
    }
}

#[test]
fn the_account_s_setting_is_its_owners_matter_unless_the_run_brings_the_tags() {
    let message = "The new ARN and resource ID format must be enabled to add tags to the task. Opt in to the new format and try again.";
    for (sets, is_the_runs) in [(&[][..], false), (&["taskDefinition", "cluster"], false), (&["tags"], true)] {
        let run_sets: Vec<String> = sets.iter().map(|key| (*key).to_owned()).collect();
        let origin = Origin { run_sets: &run_sets, ..Origin::nobodys() };
        assert_eq!(origin.fault(400, "InvalidParameterException", message) == Fault::Run, is_the_runs, "{sets:?}");
    }
}

/// What stands between backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).flat_map(|name| name.split('.'))
}

/// All keys of an object and below.
fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                into.insert(key.clone());
                keys(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn what_remedies_name_exists() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    // The work pool as Prefect's own template has it.
    let templates = json(include_str!("../../../../../tests/golden/v3/_templates.json"));
    let mut of_worker = BTreeSet::new();
    keys(&templates["default"], &mut of_worker);
    // A run configuration with everything, and what the agent sent for it.
    let case = json(include_str!("../../../../../tests/golden/v1-1.4.1/ecsrun-everything.json"));
    let mut of_agent = BTreeSet::from(["cluster".to_owned()]);
    keys(&case["flow_run"]["run_config"], &mut of_agent);
    keys(&case["expected"], &mut of_agent);
    // Keys of ECS's requests, the template's parameters, and the name of the account's setting.
    let shapes = include_str!("../../../../ecs_model/shapes.txt");
    let template = include_str!("../../../../../template.yaml");
    let is_member = |line: &str, name: &str| line.split([' ', '!']).nth(1) == Some(name);
    let of_aws = |name: &str| name == "taskLongArnFormat" || shapes.lines().any(|line| is_member(line, name));
    let of_template = |name: &str| template.contains(&format!("\n  {name}:\n"));
    let others = [CALLER, DENIED, NOT_AWS, CONFIGURATION, KEYS];
    let all = REMEDIES.iter().chain(&BY_CODE).map(|(_, advice)| *advice).chain(others);
    let mut seen = 0;
    for advice in all {
        for (words, known) in [(Words::Agent, &of_agent), (Words::Worker, &of_worker)] {
            for name in named(advice.to(words)) {
                seen += 1;
                // Credentials of a run's own are a worker's; the sentence is the same for both.
                let is_known = known.contains(name) || of_worker.contains(name) && name != "run_task_kwargs";
                assert!(is_known || of_aws(name) || of_template(name), "`{name}` in {:?}", advice.to(words));
            }
        }
    }
    assert!(seen > 40, "{seen}");
}
