//! Runs of Prefect 1 that a person cancels: their tasks are stopped, and they end as Cancelled.

use crate::prefect::{Phase, Prefect, Run, time_passes};
use crate::support::{Deployment, agent, ids, poll};
use serde_json::{Value, json};
use std::time::Duration;
use world::ecs::Task;
use world::{Fault, FaultKind, LambdaProcess};

struct Scene {
    deployment: Deployment,
    function: LambdaProcess,
}

impl Scene {
    async fn new() -> Self {
        let deployment = Prefect::One.deployment(json!({})).await;
        let function = deployment.poll_function().await;
        Self { deployment, function }
    }

    async fn poll(&self) -> Value {
        agent(&poll(&self.function).await, "etl").clone()
    }

    /// A run of ours with a task, which `status` says more of.
    async fn launched(&self, status: &str) -> (String, String) {
        let run = Prefect::One.due_run(&self.deployment.world);
        let report = self.poll().await;
        assert_eq!(ids(&report, "launched"), [run.clone()], "{report:#}");
        let task = report["launched"][0]["task_arn"].as_str().unwrap().to_owned();
        self.deployment.world.ecs_set_status(&task, status);
        if status == "RUNNING" {
            self.bring(&run, Phase::Running);
        }
        (run, task)
    }

    fn bring(&self, run: &str, phase: Phase) {
        Prefect::One.bring(&self.deployment.world, run, phase);
    }

    fn run(&self, id: &str) -> Run {
        Prefect::One.run(&self.deployment.world, id)
    }

    fn task(&self, arn: &str) -> Task {
        self.deployment.world.ecs_tasks().into_iter().find(|task| task.arn == arn).unwrap()
    }

    /// Whether the run is Cancelled and its task was stopped by us.
    fn is_over(&self, run: &str, task: &str) {
        let (run, task) = (self.run(run), self.task(task));
        assert_eq!((run.phase, task.desired_status.as_str()), (Phase::Cancelled, "STOPPED"), "{run:?} {task:?}");
        assert_eq!(task.stopped_reason.as_deref(), Some("The flow run was cancelled"));
    }
}

#[tokio::test]
async fn a_task_that_has_not_begun_is_stopped_at_once() {
    for status in ["PROVISIONING", "PENDING", "ACTIVATING"] {
        let scene = Scene::new().await;
        let (run, task) = scene.launched(status).await;
        scene.bring(&run, Phase::Cancelling);
        let report = scene.poll().await;
        assert_eq!(ids(&report, "cancelled"), [run.clone()], "{status}: {report:#}");
        scene.is_over(&run, &task);
        assert!(scene.run(&run).message.contains(&task), "{:?}", scene.run(&run));
        let report = scene.poll().await;
        assert_eq!((ids(&report, "cancelled").len(), scene.run(&run).history.len()), (0, 4), "once: {report:#}");
    }
}

#[tokio::test]
async fn its_task_is_looked_for_where_its_claim_went_whatever_is_configured_by_now() {
    let mut scene = Scene::new().await;
    let (run, task) = scene.launched("PENDING").await;
    Prefect::One.agent(&scene.deployment, "etl", json!({"cluster": "another"}));
    scene.function = scene.deployment.poll_function().await;
    scene.bring(&run, Phase::Cancelling);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    scene.is_over(&run, &task);
}

#[tokio::test]
async fn a_flow_that_runs_gets_its_time_and_then_its_task_is_stopped() {
    let scene = Scene::new().await;
    let (run, task) = scene.launched("RUNNING").await;
    scene.bring(&run, Phase::Cancelling);
    for seconds in [0, 80] {
        time_passes(&scene.deployment.world, seconds);
        let report = scene.poll().await;
        assert_eq!((scene.run(&run).phase, report["ok"].clone()), (Phase::Cancelling, json!(true)), "{report:#}");
        assert_eq!(scene.task(&task).desired_status, "RUNNING");
    }
    time_passes(&scene.deployment.world, 11);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    scene.is_over(&run, &task);
}

#[tokio::test]
async fn a_flow_that_ends_by_itself_in_its_time_is_left_alone() {
    let scene = Scene::new().await;
    let (run, task) = scene.launched("RUNNING").await;
    scene.bring(&run, Phase::Cancelling);
    scene.poll().await;
    scene.bring(&run, Phase::Cancelled);
    scene.deployment.world.ecs_stop(&task, &world::ecs::Stop::exited(0));
    time_passes(&scene.deployment.world, 91);
    let (before, report) = (scene.run(&run).history, scene.poll().await);
    assert_eq!((scene.run(&run).history, ids(&report, "cancelled").len()), (before, 0), "{report:#}");
    assert_eq!(scene.deployment.world.count("ecs", "StopTask"), 0);
}

#[tokio::test]
async fn the_task_of_a_run_that_is_cancelled_already_is_stopped_too() {
    for status in ["PENDING", "RUNNING"] {
        let scene = Scene::new().await;
        let (run, task) = scene.launched(status).await;
        scene.deployment.world.cancel_flow_run(&run).unwrap();
        // What runs may be ending by itself.
        time_passes(&scene.deployment.world, 91);
        let (before, report) = (scene.run(&run).history, scene.poll().await);
        scene.is_over(&run, &task);
        assert_eq!(scene.run(&run).history, before, "nothing more is written: {status}: {report:#}");
        assert_eq!(ids(&report, "cancelled"), [run.clone()], "and it is told: {status}: {report:#}");
        let report = scene.poll().await;
        assert_eq!(ids(&report, "cancelled"), [""; 0], "once: {status}: {report:#}");
    }
}

#[tokio::test]
async fn a_claim_that_never_got_a_task_ends_when_it_is_cancelled() {
    let scene = Scene::new().await;
    let run = Prefect::One.due_run(&scene.deployment.world);
    let world = &scene.deployment.world;
    world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).always());
    scene.poll().await;
    world.lock().faults.clear();
    assert_eq!(scene.run(&run).phase, Phase::Claimed);
    scene.bring(&run, Phase::Cancelling);
    time_passes(world, 601);
    let report = scene.poll().await;
    assert_eq!((ids(&report, "cancelled"), scene.run(&run).phase), (vec![run], Phase::Cancelled), "{report:#}");
    assert!(world.ecs_tasks().is_empty(), "it is not launched any more");
}

#[tokio::test]
async fn runs_that_this_agent_never_claimed_are_others_to_cancel() {
    let scene = Scene::new().await;
    Prefect::One.agent(&scene.deployment, "two", json!({}));
    let world = &scene.deployment.world;
    let theirs = Prefect::One.due_run(world);
    let report = scene.function.invoke(json!({"agents": ["two"]}), Duration::from_secs(40)).await.unwrap();
    assert_eq!(ids(agent(&report, "two"), "launched"), [theirs.clone()], "{report:#}");
    let python = Prefect::One.due_run(world);
    scene.bring(&python, Phase::Claimed);
    for run in [&theirs, &python] {
        scene.bring(run, Phase::Cancelling);
    }
    time_passes(world, 300);
    let report = scene.function.invoke(json!({"agents": ["etl"]}), Duration::from_secs(40)).await.unwrap();
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ok"], ids(etl, "cancelled").len()), (&json!(true), 0), "{report:#}");
    assert_eq!((scene.run(&theirs).phase, scene.run(&python).phase), (Phase::Cancelling, Phase::Cancelling));
    assert_eq!(world.count("ecs", "StopTask"), 0);
    // Each looks after its own.
    let report = scene.function.invoke(json!({"agents": ["two"]}), Duration::from_secs(40)).await.unwrap();
    assert_eq!(ids(agent(&report, "two"), "cancelled"), [theirs], "{report:#}");
    assert_eq!(scene.run(&python).phase, Phase::Cancelling, "a Python agent's, to the end");
}

#[tokio::test]
async fn a_task_that_cannot_be_stopped_is_tried_again_by_the_next_poll() {
    let scene = Scene::new().await;
    let (run, task) = scene.launched("PENDING").await;
    scene.bring(&run, Phase::Cancelling);
    scene.deployment.world.fault(Fault::new("ecs", "StopTask", FaultKind::Html { status: 500 }).always());
    let report = scene.poll().await;
    assert_eq!((scene.run(&run).phase, ids(&report, "cancelled").len()), (Phase::Cancelling, 0), "{report:#}");
    scene.deployment.world.lock().faults.clear();
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [run.clone()], "{report:#}");
    scene.is_over(&run, &task);
}
