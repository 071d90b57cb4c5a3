//! `prefect-serverless-agent costs`: what the function `task-events` wrote down of stopped tasks, added up.

use super::check::scene::{LOG_GROUP, STACK, Scene};
use super::process::{Ended, agent, end};
use crate::prefect::Prefect;
use crate::support::{DEADLINE, Deployment, ROOT};
use serde_json::{Value, json};
use world::ecs::Stop;
use world::route::Scope;
use world::{Fault, FaultKind};

impl Scene {
    async fn costs(&self, line: &str) -> Ended {
        end(agent(&self.deployment, &format!("costs --root {ROOT} {line}"))).await
    }

    fn logs(&self, lines: &[Value]) {
        self.deployment.world.log_lines(LOG_GROUP, "2026/11/30/[$LATEST]0123", lines.iter().map(Value::to_string));
    }
}

/// A line of the function about a task that has stopped.
fn line(task: &str, deployment: Option<&str>, cost: Result<f64, &str>) -> Value {
    let mut line = json!({
        "level": "INFO", "message": "task event", "task_arn": task, "status": "STOPPED", "agent": "etl",
        "flow_run_id": format!("run-of-{task}"), "flow": "extract", "work_pool": "ecs",
    });
    if let Some(deployment) = deployment {
        line["deployment"] = json!(deployment);
    }
    match cost {
        Ok(cost) => (line["estimated_cost"], line["billed_seconds"]) = (json!(cost), json!(1800)),
        Err(why) => line["no_estimate"] = json!(why),
    }
    line
}

#[tokio::test]
async fn runs_are_added_up_by_deployment_flow_and_pool_and_each_task_once() {
    let scene = Scene::healthy().await;
    scene.logs(&[
        line("a", Some("nightly"), Ok(0.25)),
        line("a", Some("nightly"), Ok(0.25)),
        line("b", Some("nightly"), Ok(1.0)),
        line("c", Some("hourly"), Ok(0.5)),
        line("d", None, Err("Fargate Spot has no fixed price")),
        json!({"message": "task event ignored", "why": "nobody's task"}),
    ]);
    let ended = scene.costs("").await.well();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "DEPLOYMENT  RUNS  TASKS  BILLED  USD",
            "nightly     2     2      1.00 h  1.25",
            "hourly      1     1      0.50 h  0.5000",
            "–           1     1      –       –",
            "total       4     4      1.50 h  1.75 and more",
        ],
        "{ended:?}"
    );
    assert!(lines[5].starts_with("1 task without an estimate is not in the sum"), "{ended:?}");
    for (by, name) in [("flow", "extract"), ("pool", "ecs"), ("agent", "etl")] {
        let told = scene.costs(&format!("--by {by} --since 24h --json")).await.well().json();
        assert_eq!((told["by"].as_str(), told["costs"].as_array().unwrap().len()), (Some(by), 1), "{told}");
        assert_eq!((&told["costs"][0]["name"], &told["costs"][0]["estimated_cost"]), (&json!(name), &json!(1.75)));
        assert_eq!(told["total"]["without_estimate"], 1, "{told}");
    }
}

#[tokio::test]
async fn what_is_older_is_not_in_it_and_a_log_that_is_kept_shorter_says_so() {
    let scene = Scene::healthy().await;
    scene.logs(&[line("a", Some("nightly"), Ok(0.25))]);
    scene.deployment.world.advance(std::time::Duration::from_secs(7200));
    scene.account(|state| {
        let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
        stack.parameters.insert("LogRetentionDays".into(), "3".into());
    });
    // The command's own clock is not the world's: what was written two hours from now is not in it yet.
    scene.logs(&[line("b", Some("nightly"), Ok(5.0))]);
    let ended = scene.costs("--since 4d").await.well();
    assert!(ended.stdout.contains("total       1     1      0.50 h  0.2500"), "{ended:?}");
    assert!(ended.stderr.contains("the log is kept for 3 days only"), "{ended:?}");
    let ended = scene.costs("--since 3d").await.well();
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn trouble_says_what_to_do() {
    let scene = Scene::healthy().await;
    let ended = scene.costs("").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("the stack's log group is gone"), "{ended:?}");
    scene.deployment.world.lock().logs.create_group(&Scope::default(), LOG_GROUP);
    let ended = scene.costs("").await.well();
    assert_eq!(ended.stdout, "No task of a flow run has stopped in that time.\n");
    let refused = |code: &str| FaultKind::AwsError { status: 400, code: code.into(), message: "no".into() };
    for (operation, code, advice) in [
        ("StartQuery", "AccessDeniedException", "allow logs:StartQuery"),
        ("GetQueryResults", "AccessDeniedException", "allow logs:StartQuery"),
        ("StartQuery", "LimitExceededException", "too many queries run"),
    ] {
        scene.deployment.world.lock().faults.clear();
        scene.deployment.world.fault(Fault::new("logs", operation, refused(code)).always());
        let ended = scene.costs("").await;
        assert!(ended.code == Some(1) && ended.stderr.contains(advice), "{operation} {code}: {ended:?}");
    }
    let ended = scene.costs("--since forever").await;
    assert!(ended.code == Some(2) && ended.stderr.contains("such as 24h or 7d"), "{ended:?}");
}

/// A poll, a task that stops, and its event: what the real function writes is what the real command adds up.
#[tokio::test]
async fn what_the_function_writes_of_a_stopped_task_is_what_the_command_adds_up() {
    for prefect in Prefect::BOTH {
        let scene = Scene::healthy().await;
        let deployment: &Deployment = &scene.deployment;
        let world = &deployment.world;
        let prices = json!({"prices": {"fargate": {"x86_64": {"vcpu_hour": 60, "gb_hour": 6}}}});
        let other = prefect.deployment(prices).await;
        let run = prefect.due_run(&other.world);
        let report = other.poll().await;
        let task = report["agents"]["etl"]["launched"][0]["task_arn"].as_str().unwrap().to_owned();
        other.world.ecs_set_status(&task, "RUNNING");
        assert!(other.world.ecs_stop(&task, &Stop::exited(0)));
        let function = other.options("task-events").start().await.unwrap();
        function.invoke(other.world.task_event(&task), DEADLINE).await.unwrap();
        let written = function.stdout();
        let told: Vec<Value> = written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let told: Vec<&Value> = told.iter().filter(|line| line["message"] == "task event").collect();
        assert_eq!(told.len(), 1, "{written}");
        let size = other.world.task_event(&task)["detail"].clone();
        let of = |key: &str| size[key].as_str().unwrap().parse::<f64>().unwrap() / 1024.0;
        // A minute is the least.
        let expected = of("cpu") + of("memory") / 10.0;
        let cost = told[0]["estimated_cost"].as_f64().unwrap();
        assert!((cost - expected).abs() < 1e-6, "{prefect:?}: {cost} is not {expected}: {written}");
        assert_eq!((&told[0]["billed_seconds"], &told[0]["flow_run_id"]), (&json!(60), &json!(run)), "{written}");
        assert_eq!((&told[0]["agent"], told[0]["flow"].is_string()), (&json!("etl"), true), "{prefect:?}: {written}");

        world.log_lines(LOG_GROUP, "stream", written.lines());
        let sum = scene.costs("--by agent --json").await.well().json();
        assert_eq!((&sum["costs"][0]["name"], &sum["total"]["tasks"]), (&json!("etl"), &json!(1)), "{sum}");
        assert!((sum["total"]["estimated_cost"].as_f64().unwrap() - expected).abs() < 1e-6, "{sum}");
    }
}
