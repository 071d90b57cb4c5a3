//! Task definitions are reused: registered once per content, found again by the next process, never deregistered.

use crate::support::{Deployment, agent, ids, poll, run_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::ecs::Task;
use world::prefect1::{FlowRunSpec, FlowSpec};

fn of_flow(name: &str) -> FlowRunSpec {
    FlowRunSpec { flow: FlowSpec { name: name.to_owned(), ..FlowSpec::default() }, ..FlowRunSpec::default() }
}

fn with_image(image: &str) -> FlowRunSpec {
    FlowRunSpec {
        run_config: json!({"type": "ECSRun", "image": image, "__version__": "1.4.1"}),
        ..FlowRunSpec::default()
    }
}

fn definitions(deployment: &Deployment) -> BTreeSet<String> {
    deployment.world.ecs_tasks().into_iter().map(|task| task.definition_arn).collect()
}

fn registrations(deployment: &Deployment) -> usize {
    deployment.world.count("ecs", "RegisterTaskDefinition")
}

#[tokio::test]
async fn many_runs_of_one_flow_register_one_definition() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    deployment.schedule_many(25);
    deployment.poll().await;
    assert_eq!((registrations(&deployment), definitions(&deployment).len()), (1, 1));
    assert_eq!(deployment.world.ecs_tasks().len(), 25);
    assert_eq!(deployment.world.count("ecs", "DeregisterTaskDefinition"), 0);
}

#[tokio::test]
async fn the_next_cold_process_finds_the_definition() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    assert_eq!((registrations(&deployment), definitions(&deployment).len()), (1, 1));
    assert_eq!(deployment.world.ecs_tasks().len(), 2);
}

#[tokio::test]
async fn run_configurations_of_one_flow_alternate_without_registering_again() {
    let deployment = Deployment::with_agent(json!({})).await;
    for round in 0..3 {
        for image in ["one", "two", "three"] {
            deployment.schedule(with_image(image));
        }
        let report = deployment.poll().await;
        assert_eq!(ids(agent(&report, "etl"), "launched").len(), 3, "round {round}: {report:#}");
    }
    assert_eq!((registrations(&deployment), definitions(&deployment).len()), (3, 3));
}

#[tokio::test]
async fn every_flow_has_a_family_of_its_own() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(of_flow("Load Data"));
    deployment.schedule(of_flow("clean_up"));
    deployment.poll().await;
    let families: BTreeSet<_> =
        deployment.world.lock().ecs.definitions.iter().map(|definition| definition.family.clone()).collect();
    assert_eq!(families, BTreeSet::from(["prefect-load-data".to_owned(), "prefect-clean-up".to_owned()]));
}

#[tokio::test]
async fn a_definition_that_somebody_deregistered_is_registered_again_in_the_same_poll() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    let function = deployment.poll_function().await;
    poll(&function).await;
    deployment.world.lock().ecs.definitions[0].active = false;
    deployment.world.lock().ecs.definitions[0].description["status"] = json!("INACTIVE");
    let second = deployment.schedule(FlowRunSpec::default());
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [second], "{report:#}");
    assert_eq!((registrations(&deployment), definitions(&deployment).len()), (2, 2));
}

fn task_of<'a>(tasks: &'a [Task], run: &str) -> &'a Task {
    tasks.iter().find(|task| run_of(task) == run).expect("no task for the run")
}

/// The definition of a run's task, as ECS describes it.
fn definition_of(deployment: &Deployment, run: &str) -> Value {
    let tasks = deployment.world.ecs_tasks();
    let arn = &task_of(&tasks, run).definition_arn;
    let state = deployment.world.lock();
    state.ecs.definitions.iter().find(|definition| definition.arn == *arn).unwrap().description.clone()
}

#[tokio::test]
async fn a_run_may_name_a_definition_that_exists() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(with_image("base"));
    deployment.poll().await;
    let arn = deployment.world.ecs_tasks()[0].definition_arn.clone();
    let run_config = json!({"type": "ECSRun", "task_definition_arn": arn, "__version__": "1.4.1"});
    let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
    assert_eq!(deployment.world.ecs_tasks()[1].definition_arn, arn);
    assert_eq!(registrations(&deployment), 1);
}

#[tokio::test]
async fn a_definition_that_does_not_exist_fails_the_run_and_no_other() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run_config = json!({"type": "ECSRun", "task_definition_arn": "nobodys:7", "__version__": "1.4.1"});
    let bad = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let good = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "launched"), ids(etl, "failed")), (vec![good], vec![bad.clone()]), "{report:#}");
    let run = deployment.world.flow_run(&bad).unwrap();
    assert_eq!(run.state(), "Failed");
    assert!(run.current().unwrap().message().unwrap().contains("nobodys:7"));
}

#[tokio::test]
async fn roles_and_sizes_go_where_they_belong() {
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let extra = json!({"execution_role_arn": role("execution"), "task_role_arn": role("task")});
    let deployment = Deployment::with_agent(extra).await;
    let run_config = json!({
        "type": "ECSRun", "cpu": "2 vcpu", "memory": "4 GB", "task_role_arn": role("of-the-run"),
        "__version__": "1.4.1",
    });
    let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    deployment.poll().await;
    let tasks = deployment.world.ecs_tasks();
    let task = task_of(&tasks, &run);
    let overrides = &task.request["overrides"];
    assert_eq!(overrides["taskRoleArn"], json!(role("of-the-run")), "the run's role beats the agent's: {overrides}");
    assert_eq!((&overrides["cpu"], &overrides["memory"]), (&json!("2 vcpu"), &json!("4 GB")), "{overrides}");
    assert_eq!(definition_of(&deployment, &run)["executionRoleArn"], json!(role("execution")));
}

#[tokio::test]
async fn a_capacity_provider_takes_the_place_of_the_launch_type() {
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-mine"]}});
    let kwargs = json!({"capacityProviderStrategy": strategy, "networkConfiguration": network});
    let deployment = Deployment::with_agent(json!({"run_task_kwargs": kwargs})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
    let request = &deployment.world.ecs_tasks()[0].request;
    assert_eq!((&request["capacityProviderStrategy"], &request["launchType"]), (&strategy, &Value::Null));
}

#[tokio::test]
async fn tasks_go_to_the_configured_cluster() {
    let deployment = Deployment::with_agent(json!({"cluster": "flows"})).await;
    let cluster = deployment.world.ecs_cluster("flows");
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    assert_eq!(deployment.world.ecs_tasks()[0].cluster_arn, cluster);
}
