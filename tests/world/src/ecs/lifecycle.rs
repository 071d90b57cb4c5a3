//! The lives of tasks: what a test, time, or `StopTask` makes of them.

use super::{Ecs, Lifecycle, Task, flow_run, listing::page};
use crate::{World, answer::ServiceError, route::Scope, world::epoch_seconds};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;

/// Why a task stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// `stopCode`, e.g. `EssentialContainerExited`, `TaskFailedToStart`, `SpotInterruption`.
    pub code: String,
    /// `stoppedReason`
    pub reason: String,
    /// `exitCode` of all containers; none: they never ran.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// `reason` of all containers.
    #[serde(default)]
    pub container_reason: Option<String>,
}

impl Stop {
    /// An essential container ended.
    pub fn exited(exit_code: i64) -> Self {
        let reason = "Essential container in task exited".to_owned();
        Self { code: "EssentialContainerExited".to_owned(), reason, exit_code: Some(exit_code), container_reason: None }
    }

    /// The task never came to run.
    pub fn failed_to_start(reason: &str) -> Self {
        Self {
            code: "TaskFailedToStart".to_owned(),
            reason: reason.to_owned(),
            exit_code: None,
            container_reason: None,
        }
    }
}

impl Task {
    fn set_status(&mut self, status: &str, now: OffsetDateTime) {
        status.clone_into(&mut self.last_status);
        self.version += 1;
        self.changed_at = now;
        if status == "PENDING" {
            self.pull_started_at = self.pull_started_at.or(Some(now));
        }
        if status == "RUNNING" {
            self.pull_stopped_at = self.pull_stopped_at.or(self.pull_started_at.map(|_| now));
            self.started_at = self.started_at.or(Some(now));
        }
        if matches!(status, "DEACTIVATING" | "STOPPING" | "DEPROVISIONING" | "STOPPED") {
            "STOPPED".clone_into(&mut self.desired_status);
        }
        if status == "STOPPED" {
            self.stopped_at = self.stopped_at.or(Some(now));
        }
    }

    /// It is to stop for this reason, and goes on until it does.
    fn is_to_stop(&mut self, stop: Stop) {
        if self.desired_status == "STOPPED" {
            return;
        }
        "STOPPED".clone_into(&mut self.desired_status);
        self.stop_code = Some(stop.code);
        self.stopped_reason = Some(stop.reason);
    }

    pub(super) fn stop(&mut self, stop: &Stop, now: OffsetDateTime) {
        if self.last_status == "STOPPED" {
            return;
        }
        self.stop_code = Some(stop.code.clone());
        self.stopped_reason = Some(stop.reason.clone());
        for container in &mut self.containers {
            container.exit_code = stop.exit_code;
            container.reason.clone_from(&stop.container_reason);
        }
        self.set_status("STOPPED", now);
    }
}

impl Ecs {
    /// A task by ARN, changeable.
    pub fn task_mut(&mut self, arn: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.arn == arn)
    }

    pub(super) fn stop_task(
        &mut self,
        scope: &Scope,
        input: &Value,
        now: OffsetDateTime,
    ) -> Result<Value, ServiceError> {
        let cluster = self.cluster(scope, input)?;
        let reference = input["task"].as_str().unwrap_or_default();
        let arn = self
            .tasks
            .iter()
            .find(|task| is_in(task, &cluster, reference) && !task.is_forgotten(now))
            .map(|task| task.arn.clone());
        let Some(arn) = arn else {
            return Err(ServiceError::new("InvalidParameterException", "The referenced task was not found."));
        };
        self.processes.end(&arn);
        let reason =
            input["reason"].as_str().filter(|reason| !reason.is_empty()).unwrap_or("Task stopped by user").to_owned();
        let later = self.options.stops_later;
        let Some(task) = self.task_mut(&arn) else { return Ok(json!({})) };
        let exit_code = (task.last_status == "RUNNING").then_some(137);
        let stop = Stop { code: "UserInitiated".to_owned(), reason, exit_code, container_reason: None };
        if later {
            task.is_to_stop(stop);
        } else {
            task.stop(&stop, now);
        }
        Ok(json!({"task": task.describe(true)}))
    }

    pub(super) fn describe_tasks(
        &self,
        scope: &Scope,
        input: &Value,
        now: OffsetDateTime,
    ) -> Result<Value, ServiceError> {
        let cluster = self.cluster(scope, input)?;
        let wanted: Vec<&str> = input["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if wanted.is_empty() || wanted.len() > 100 {
            return Err(ServiceError::new("InvalidParameterException", "Tasks must have between 1 and 100 entries."));
        }
        let with_tags = input["include"].as_array().is_some_and(|include| include.contains(&json!("TAGS")));
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for reference in wanted {
            if let Some(task) =
                self.tasks.iter().find(|task| is_in(task, &cluster, reference) && task.is_described(now))
            {
                tasks.push(task.describe(with_tags));
            } else {
                let arn =
                    if reference.starts_with("arn:") { reference.to_owned() } else { task_arn(&cluster, reference) };
                failures.push(json!({"arn": arn, "reason": "MISSING"}));
            }
        }
        Ok(json!({"tasks": tasks, "failures": failures}))
    }

    pub(super) fn list_tasks(&self, scope: &Scope, input: &Value, now: OffsetDateTime) -> Result<Value, ServiceError> {
        let cluster = self.cluster(scope, input)?;
        let started_by = input["startedBy"].as_str();
        if started_by.is_some()
            && ["family", "serviceName", "containerInstance"].iter().any(|key| !input[*key].is_null())
        {
            return Err(ServiceError::new("InvalidParameterException", "startedBy must be the only filter."));
        }
        let desired = input["desiredStatus"].as_str().unwrap_or("RUNNING");
        if started_by.is_some() && desired == "STOPPED" && !self.options.lists_stopped_by_started_by {
            return Err(ServiceError::new("InvalidParameterException", "startedBy must be the only filter."));
        }
        let family = input["family"].as_str().map(|family| format!("task-definition/{family}:"));
        let listed = |task: &&Task| {
            task.cluster_arn == cluster
                && !task.is_forgotten(now)
                && task.listed_from <= now
                && task.desired_status == desired
                && started_by.is_none_or(|wanted| task.started_by.as_deref() == Some(wanted))
                && family.as_ref().is_none_or(|family| task.definition_arn.contains(family.as_str()))
        };
        let arns: Vec<Value> = self.tasks.iter().filter(listed).map(|task| json!(task.arn)).collect();
        page("taskArns", &arns, input)
    }
}

fn task_arn(cluster_arn: &str, id: &str) -> String {
    format!("{}/{id}", cluster_arn.replacen(":cluster/", ":task/", 1))
}

/// Whether a task is in the cluster and is meant by an ARN or an id.
fn is_in(task: &Task, cluster: &str, reference: &str) -> bool {
    task.cluster_arn == cluster && (task.arn == reference || task.arn.rsplit('/').next() == Some(reference))
}

impl World {
    /// Gives a task another `lastStatus`; false when there is no such task.
    pub fn ecs_set_status(&self, arn: &str, status: &str) -> bool {
        self.change_task(arn, |task, now| task.set_status(status, now))
    }

    /// Stops a task; false when there is no such task.
    pub fn ecs_stop(&self, arn: &str, stop: &Stop) -> bool {
        self.change_task(arn, |task, now| task.stop(stop, now))
    }

    /// Makes a task older than it is; false when there is no such task.
    pub fn ecs_age(&self, arn: &str, by: Duration) -> bool {
        let mut state = self.lock();
        let Some(task) = state.ecs.task_mut(arn) else { return false };
        task.created_at -= by;
        let seconds = epoch_seconds(task.created_at);
        state.ecs.tokens.set_created_at(arn, seconds);
        true
    }

    pub(super) fn change_task(&self, arn: &str, change: impl FnOnce(&mut Task, OffsetDateTime)) -> bool {
        let mut state = self.lock();
        let now = state.now();
        let Some(task) = state.ecs.task_mut(arn) else { return false };
        change(task, now);
        drop(state);
        self.notify();
        true
    }

    /// Gives a task another status unless it has stopped; false when it has, or is gone.
    pub(super) fn proceed(&self, arn: &str, status: &str) -> bool {
        let mut live = false;
        self.change_task(arn, |task, now| {
            live = task.desired_status == "RUNNING";
            if live {
                task.set_status(status, now);
            }
        });
        live
    }
}

/// Lets a task live by itself.
pub(super) fn start(world: &World, arn: &str, lifecycle: Lifecycle) {
    let (world, arn) = (world.clone(), arn.to_owned());
    tokio::spawn(async move {
        for status in ["PENDING", "RUNNING"] {
            tokio::time::sleep(Duration::from_millis(lifecycle.step_ms)).await;
            if !world.proceed(&arn, status) {
                return;
            }
        }
        let flow_runs = world.lock().ecs.options.flow_runs;
        if flow_runs && let Some(exit_code) = flow_run::begin(&world, &arn).await {
            world.ecs_stop(&arn, &Stop::exited(exit_code));
            return;
        }
        if let Some(run_ms) = lifecycle.run_ms {
            tokio::time::sleep(Duration::from_millis(run_ms)).await;
            if flow_runs {
                flow_run::end(&world, &arn);
            }
            world.ecs_stop(&arn, &Stop::exited(0));
        }
    });
}
