//! Earlier tasks of a flow run: finding and stopping them.

use super::EcsLauncher;
use crate::aws::AwsError;
use crate::aws::ecs::Task;
use crate::clock::Clock;
use crate::platform::ecs::LaunchTarget;
use crate::platform::ecs::listing::{is_about_cluster, refused, stopping_tasks};
use crate::platform::{LaunchOutcome, LiveDeployment, LiveDeployments, Progress};
use futures_util::future::try_join_all;

/// ECS describes at most this many tasks per call.
const DESCRIBE_MAX: usize = 100;

impl<C: Clock> EcsLauncher<C> {
    /// Tasks of `started_by` that have not stopped; none where there is no such cluster.
    pub(super) async fn find_live_tasks(
        &self,
        target: &LaunchTarget,
        started_by: &str,
    ) -> Result<LiveDeployments, LaunchOutcome> {
        let cluster = named(target);
        let running = match self.ecs.list_tasks(cluster, started_by).await {
            Ok(arns) => arns,
            // The launch itself will say so, to whoever named the cluster.
            Err(error) if is_about_cluster(&error) => return Ok(LiveDeployments::default()),
            Err(error) => return Err(refused("ListTasks", error, target)),
        };
        // A task that was asked to stop may run on for minutes, but is listed as one that is to be stopped. Asked second:
        // a task that is told to stop meanwhile is in both lists, and not in neither.
        let stopping = self.ecs.list_stopping_tasks(cluster, started_by).await;
        let (stopping, warning) = stopping_tasks(stopping).map_err(|error| refused("ListTasks", error, target))?;
        let arns: Vec<String> =
            running.iter().chain(stopping.iter().filter(|arn| !running.contains(arn))).cloned().collect();
        let pages = arns.chunks(DESCRIBE_MAX).map(|page| self.ecs.describe_tasks(cluster, page));
        let described = try_join_all(pages).await.map_err(|error| refused("DescribeTasks", error, target))?;
        let described: Vec<_> = described.into_iter().flatten().collect();
        let as_listed = |arn: String| match described.iter().find(|task| task.task_arn == arn) {
            Some(task) => live(task),
            // Listed as to be running, but too new to be described.
            None if running.contains(&arn) => {
                Some(LiveDeployment { id: arn, progress: Progress::Unknown, is_stopping: false })
            }
            // Listed as to be stopped, and forgotten: it has stopped.
            None => None,
        };
        Ok(LiveDeployments { deployments: arns.into_iter().filter_map(as_listed).collect(), warning })
    }

    /// One task that has not stopped; `None` where ECS knows of none.
    pub(super) async fn find_live_task(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
    ) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        match self.ecs.describe_tasks(named(target), &[task_arn.to_owned()]).await {
            Ok(tasks) => Ok(tasks.first().and_then(live)),
            Err(error) if is_about_cluster(&error) => Ok(None),
            Err(error) => Err(refused("DescribeTasks", error, target)),
        }
    }

    /// Asks a task to stop; one that ECS does not know has stopped.
    pub(super) async fn stop_task(
        &self,
        target: &LaunchTarget,
        task_arn: &str,
        reason: &str,
    ) -> Result<(), LaunchOutcome> {
        match self.ecs.stop_task(named(target), task_arn, reason).await {
            Err(AwsError::Answer { message, .. }) if message.to_lowercase().contains("task was not found") => Ok(()),
            Err(error) => Err(refused("StopTask", error, target)),
            Ok(()) => Ok(()),
        }
    }
}

fn live(task: &Task) -> Option<LiveDeployment> {
    (task.last_status != "STOPPED").then(|| LiveDeployment {
        id: task.task_arn.clone(),
        progress: progress(&task.last_status),
        is_stopping: task.desired_status == "STOPPED",
    })
}

fn progress(last_status: &str) -> Progress {
    match last_status {
        "PROVISIONING" | "PENDING" | "ACTIVATING" => Progress::Waiting,
        _ => Progress::Begun,
    }
}

fn named(target: &LaunchTarget) -> Option<&str> {
    (!target.cluster.is_empty()).then_some(target.cluster.as_str())
}
