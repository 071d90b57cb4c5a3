//! What the stories start from: an agent `etl`, the functions `poll` and `task-events`, warm.

use crate::prefect::{Phase, Prefect, Run};
use crate::support::{DEADLINE, Deployment, agent, ids, poll};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use world::ecs::{Stop, Task};
use world::{InvokeError, LambdaProcess, World};

/// A deployment under test.
pub(super) struct Scene {
    pub(super) prefect: Prefect,
    pub(super) deployment: Deployment,
    poll: LambdaProcess,
    pub(super) task_events: LambdaProcess,
}

impl Scene {
    pub(super) async fn new(prefect: Prefect) -> Self {
        Self::with(prefect, json!({})).await
    }

    /// `extra` is merged into the configuration of `etl`.
    pub(super) async fn with(prefect: Prefect, extra: Value) -> Self {
        let deployment = prefect.deployment(extra).await;
        let poll = deployment.poll_function().await;
        let task_events = deployment.options("task-events").env("RUST_LOG", "trace").start().await.unwrap();
        Self { prefect, deployment, poll, task_events }
    }

    pub(super) fn world(&self) -> &World {
        &self.deployment.world
    }

    /// One poll; the report of `etl`.
    pub(super) async fn poll(&self) -> Value {
        agent(&poll(&self.poll).await, "etl").clone()
    }

    /// From now on the agent launches in another cluster.
    pub(super) fn moves_to(&self, cluster: &str) {
        self.world().ecs_cluster(cluster);
        match self.prefect {
            Prefect::One => self.prefect.agent(&self.deployment, "etl", json!({"cluster": cluster})),
            Prefect::Three => self.world().prefect3(|prefect3| {
                let variables = json!({"cluster": cluster}).as_object().unwrap().clone();
                prefect3.deployments.iter_mut().for_each(|deployment| deployment.job_variables.clone_from(&variables));
            }),
        }
    }

    /// A run with its task.
    pub(super) async fn launched(&self) -> (String, String) {
        let run = self.prefect.due_run(self.world());
        let task = self.launch(&run).await;
        (run, task)
    }

    /// A run that runs, with its task.
    pub(super) async fn running(&self) -> (String, String) {
        let (run, task) = self.launched().await;
        self.begin(&run, &task);
        (run, task)
    }

    /// Launches a run that waits, when its time has come; ARN of its new task.
    pub(super) async fn launch(&self, run: &str) -> String {
        let wait = self.run(run).waits_until.map_or(0.0, |start| (start - OffsetDateTime::now_utc()).as_seconds_f64());
        if wait > 0.0 {
            self.world().grow_older(Duration::from_secs_f64(wait));
        }
        let report = self.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{report:#}");
        report["launched"][0]["task_arn"].as_str().unwrap().to_owned()
    }

    /// The container begins, and the flow in it.
    pub(super) fn begin(&self, run: &str, task: &str) {
        self.world().ecs_set_status(task, "RUNNING");
        self.prefect.bring(self.world(), run, Phase::Running);
    }

    /// A task stops, and its event comes; what the function answers.
    pub(super) async fn stops(&self, task: &str, stop: &Stop) -> Value {
        assert!(self.world().ecs_stop(task, stop));
        self.event(task).await
    }

    /// The event of a task as it is comes; what the function answers.
    pub(super) async fn event(&self, task: &str) -> Value {
        self.told(self.world().task_event(task)).await
    }

    /// An event comes; what the function answers.
    pub(super) async fn told(&self, event: Value) -> Value {
        match self.deliver(event).await {
            Ok(told) => told,
            Err(error) => panic!("{error:?}\nits log:\n{}", self.task_events.stdout()),
        }
    }

    pub(super) async fn deliver(&self, event: Value) -> Result<Value, InvokeError> {
        self.task_events.invoke(event, DEADLINE).await
    }

    pub(super) fn run(&self, id: &str) -> Run {
        self.prefect.run(self.world(), id)
    }

    pub(super) fn phase(&self, id: &str) -> Phase {
        self.run(id).phase
    }

    /// The lines of a run's log that came with a level.
    pub(super) fn log(&self, id: &str, level: &str) -> Vec<String> {
        let lines = self.prefect.log(self.world(), id).into_iter();
        lines.filter(|(known, _)| known == level).map(|(_, line)| line).collect()
    }

    pub(super) fn tasks(&self) -> Vec<Task> {
        self.world().ecs_tasks()
    }

    pub(super) fn task(&self, arn: &str) -> Task {
        self.tasks().into_iter().find(|task| task.arn == arn).unwrap()
    }

    /// The container that runs the flow.
    pub(super) fn container(&self) -> &'static str {
        match self.prefect {
            Prefect::One => "flow",
            Prefect::Three => "prefect",
        }
    }

    /// Fails unless a run is as it was, and no line was added to its log.
    pub(super) fn is_unchanged(&self, before: &Before) {
        let (run, log) = (self.run(&before.run.id), self.prefect.log(self.world(), &before.run.id));
        let seen = |run: &Run| (run.history.clone(), run.message.clone(), run.pid.clone());
        assert_eq!((seen(&run), log), (seen(&before.run), before.log.clone()), "{:?}", self.prefect);
    }

    /// What is to stay as it is.
    pub(super) fn before(&self, id: &str) -> Before {
        Before { run: self.run(id), log: self.prefect.log(self.world(), id) }
    }
}

/// A run and its log at some time.
pub(super) struct Before {
    run: Run,
    log: Vec<(String, String)>,
}

/// What was done, as the function says.
pub(super) fn done(told: &Value) -> Vec<&str> {
    told["done"].as_array().unwrap_or_else(|| panic!("{told}")).iter().map(|done| done.as_str().unwrap()).collect()
}
