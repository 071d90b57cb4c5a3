//! Flow runs that are due become tasks, once, with few requests.

use crate::support::{Deployment, agent, ids, poll};
use serde_json::json;
use world::prefect1::FlowRunSpec;

#[tokio::test]
async fn a_due_flow_run_becomes_one_task_and_says_so_in_its_log() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), std::slice::from_ref(&run), "{report:#}");
    assert_eq!(deployment.state_of(&run), "Submitted");
    let tasks = deployment.world.ecs_tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(etl["launched"][0]["task_arn"], json!(tasks[0].arn));
    assert_eq!(deployment.world.flow_run(&run).unwrap().history(), ["Scheduled", "Submitted"]);
    let log = deployment.world.flow_run_logs(&run);
    assert_eq!(log[0].message.clone().unwrap(), format!("Submitted for execution: Task {}", tasks[0].arn));
}

#[tokio::test]
async fn an_idle_poll_of_a_warm_function_asks_prefect_once() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = deployment.poll_function().await;
    poll(&function).await;
    let before = deployment.world.count("prefect1", "flow_run");
    let report = poll(&function).await;
    assert_eq!(agent(&report, "etl")["ready"], json!(0));
    assert_eq!(deployment.world.count("prefect1", "flow_run") - before, 1);
    assert_eq!(
        deployment.world.count("prefect1", "get_runs_in_queue"),
        2,
        "it keeps the agent alive, beside the query"
    );
    assert_eq!(deployment.world.count("prefect1", "register_agent"), 1);
}
