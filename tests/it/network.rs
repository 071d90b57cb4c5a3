//! Where tasks run when nobody says so: in the default VPC; without one the agent says what to do.

use crate::support::{DEADLINE, Deployment, agent, ids, poll, report_in};
use serde_json::json;
use world::ec2::Ec2;
use world::prefect1::FlowRunSpec;

fn without_default_vpc(deployment: &Deployment) {
    deployment.world.lock().ec2 = Ec2 { vpcs: Vec::new(), subnets: Vec::new(), ..Ec2::default() };
}

#[tokio::test]
async fn tasks_go_to_all_subnets_of_the_default_vpc() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule_many(5);
    deployment.poll().await;
    let network = json!({"awsvpcConfiguration": {
        "subnets": ["subnet-default-a", "subnet-default-b", "subnet-default-c"], "assignPublicIp": "ENABLED",
    }});
    for task in deployment.world.ecs_tasks() {
        assert_eq!(task.request["networkConfiguration"], network);
    }
    assert_eq!(deployment.world.count("ec2", "*"), 2, "looked up once for all runs");
}

#[tokio::test]
async fn a_configured_network_needs_no_look_up() {
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-mine"], "securityGroups": ["sg-mine"]}});
    let deployment = Deployment::with_agent(json!({"run_task_kwargs": {"networkConfiguration": network}})).await;
    without_default_vpc(&deployment);
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    assert_eq!(deployment.world.ecs_tasks()[0].request["networkConfiguration"], network);
    assert_eq!(deployment.world.count("ec2", "*"), 0);
}

#[tokio::test]
async fn without_a_default_vpc_the_agent_names_the_remedy_and_no_run_fails() {
    let deployment = Deployment::with_agent(json!({})).await;
    without_default_vpc(&deployment);
    let runs = deployment.schedule_many(3);
    let function = deployment.poll_function().await;
    let report = report_in(&function.invoke(json!({}), DEADLINE).await.unwrap_err());
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "aws", "{report:#}");
    let message = etl["error"].as_str().unwrap();
    assert!(message.contains("default VPC") && message.contains("run_task_kwargs"), "{message}");
    assert_eq!(ids(etl, "deferred"), runs);
    assert!(ids(etl, "failed").is_empty());
    for run in &runs {
        assert_eq!(deployment.world.flow_run(run).unwrap().history(), ["Scheduled"], "nothing was claimed");
    }

    deployment.world.lock().ec2 = Ec2::default();
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 3, "the warm function looks again: {report:#}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_the_agents_trouble_and_claims_are_given_back() {
    let deployment = Deployment::with_agent(json!({"cluster": "nowhere"})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "aws", "{report:#}");
    assert_eq!(ids(etl, "deferred"), std::slice::from_ref(&run));
    assert_eq!(deployment.world.flow_run(&run).unwrap().history(), ["Scheduled", "Submitted", "Scheduled"]);
}

#[tokio::test]
async fn an_agent_may_launch_in_another_region() {
    let deployment = Deployment::with_agent(json!({"region_name": "eu-west-1"})).await;
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    let arn = deployment.world.ecs_tasks()[0].arn.clone();
    assert!(arn.starts_with("arn:aws:ecs:eu-west-1:"), "{arn}");
}

#[tokio::test]
async fn an_agent_may_launch_in_another_account() {
    let role = "arn:aws:iam::210987654321:role/launcher";
    let deployment = Deployment::with_agent(json!({"assume_role_arn": role})).await;
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    let arn = deployment.world.ecs_tasks()[0].arn.clone();
    assert!(arn.contains(":210987654321:"), "{arn}");
    assert_eq!(deployment.world.lock().sts.sessions[0].role_arn, role);
}
