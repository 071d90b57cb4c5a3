#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn all_subnets_in_their_order_with_a_public_address() {
    let subnets = ["subnet-2".to_owned(), "subnet-1".to_owned()];
    let expected = json!({"awsvpcConfiguration": {"subnets": ["subnet-2", "subnet-1"], "assignPublicIp": "ENABLED"}});
    assert_eq!(default_network(&subnets), expected);
}

#[test]
fn not_more_subnets_than_ecs_takes() {
    let subnets: Vec<String> = (0..20).map(|n| format!("subnet-{n}")).collect();
    let network = default_network(&subnets);
    assert_eq!(network["awsvpcConfiguration"]["subnets"].as_array().unwrap().len(), 16);
}

#[test]
fn no_network_keeps_the_python_text_and_names_the_key() {
    let LaunchOutcome::AgentTrouble(text) = no_default_network("the region has no default VPC") else {
        panic!("it is the agent's trouble")
    };
    let python = "Failed to infer default networkConfiguration, please explicitly configure using `--run-task-kwargs`";
    assert!(text.starts_with(python), "{text}");
    assert!(text.contains("no default VPC") && text.contains("run_task_kwargs: {networkConfiguration:"), "{text}");
}
