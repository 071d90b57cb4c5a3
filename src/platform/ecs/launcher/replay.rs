//! `RunTask`, once: replays of the same bytes while nobody knows, and what a replay's tasks are.

use super::EcsLauncher;
use crate::aws::AwsError;
use crate::aws::ecs::Task;
use crate::clock::Clock;
use crate::platform::ecs::PreparedLaunch;
use crate::platform::ecs::outcome::{Origin, Verdict, classify};
use crate::platform::{LaunchOutcome, TransientCause};
use serde_json::Value;
use std::future::Future;
use std::time::Duration;
use time::OffsetDateTime;

/// How often a request without an answer is sent again.
const REPLAYS: u32 = 2;

/// How often tasks are looked at that ECS does not show yet.
const LOOKS: u32 = 3;

/// Clocks of ours and of AWS differ by less.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Pause before the second try; each further one is longer by as much.
const PAUSE: Duration = Duration::from_millis(250);

impl<C: Clock> EcsLauncher<C> {
    /// Sends the request, again while its outcome is unknown, until `deadline`. What few launches come to is boxed: a
    /// hundred are in flight at once, and each would hold room for it.
    pub(super) async fn run_task_once(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        let origin = Origin {
            flow_run_id: &launch.flow_run_id,
            run_sets: &launch.run_sets,
            run_task: &launch.run_task,
            words: launch.words,
        };
        // Why it is not known whether an earlier try started the task.
        let mut doubt: Option<String> = None;
        for replay in 0..=REPLAYS {
            if replay > 0 && !self.pause(replay, deadline).await {
                break;
            }
            if !self.rate.wait(&self.clock, deadline).await {
                break;
            }
            let sent_at = self.clock.now();
            let answer = self.within(deadline, self.ecs.run_task(&launch.run_task)).await;
            match classify(answer, &origin) {
                Verdict::Task(task) => {
                    let may_be_known = doubt.is_some() || is_older(&task, sent_at);
                    return Box::pin(self.settle(launch, task, may_be_known, deadline)).await;
                }
                Verdict::AlreadyStarted(arns) => return Box::pin(self.adopt(launch, &arns, None, deadline)).await,
                Verdict::NoTask(LaunchOutcome::Unknown(reason)) => doubt = Some(reason),
                // A replay that does not get through, or that is refused for the agent's own sake, says nothing about
                // the try before it.
                Verdict::NoTask(LaunchOutcome::Transient { reason, .. } | LaunchOutcome::AgentTrouble(reason))
                    if doubt.is_some() =>
                {
                    doubt = doubt.map(|first| format!("{first}; then {reason}"));
                }
                Verdict::NoTask(outcome) => return outcome,
            }
        }
        match doubt {
            Some(doubt) => Box::pin(self.ask_by_started_by(launch, doubt, deadline)).await,
            None => no_time(),
        }
    }

    /// Whether the run has a task, where no answer to `RunTask` says so. A task of an earlier turn would have kept the run
    /// from being launched: what lives now was started by this token.
    async fn ask_by_started_by(
        &self,
        launch: &PreparedLaunch,
        doubt: String,
        deadline: OffsetDateTime,
    ) -> LaunchOutcome {
        let started_by = launch.run_task.get("startedBy").and_then(Value::as_str).unwrap_or_default();
        let remaining = Duration::try_from(deadline - self.clock.now()).unwrap_or_default();
        if started_by.is_empty() || remaining.is_zero() {
            return LaunchOutcome::Unknown(doubt);
        }
        let look = self.find_live_tasks(&launch.target, started_by);
        let found = match tokio::time::timeout(remaining, look).await {
            Ok(Ok(found)) => found.deployments,
            Ok(Err(outcome)) => return LaunchOutcome::Unknown(format!("{doubt}; then {}", outcome.text())),
            Err(_) => return LaunchOutcome::Unknown(doubt),
        };
        match found.into_iter().find(|task| !task.is_stopping) {
            Some(task) => LaunchOutcome::Adopted { id: task.id },
            // ECS shows tasks a little after they are started: the next poll asks again.
            None => LaunchOutcome::Unknown(format!("{doubt}; ECS lists no task of the flow run yet")),
        }
    }

    /// A task in an answer. The first answer's is new, unless it is older than the request, or stopping already: then
    /// an earlier request with this token started it, and the answer may tell of it as it was then.
    async fn settle(
        &self,
        launch: &PreparedLaunch,
        task: Task,
        may_be_known: bool,
        deadline: OffsetDateTime,
    ) -> LaunchOutcome {
        if may_be_known || is_ending(&task) {
            self.adopt(launch, std::slice::from_ref(&task.task_arn), Some(&task), deadline).await
        } else {
            LaunchOutcome::Started { id: task.task_arn }
        }
    }

    /// Looks at the tasks that the token has started: one that lives is adopted. `answered`: the one that an answer to
    /// `RunTask` described.
    async fn adopt(
        &self,
        launch: &PreparedLaunch,
        arns: &[String],
        answered: Option<&Task>,
        deadline: OffsetDateTime,
    ) -> LaunchOutcome {
        let cluster = launch.run_task.get("cluster").and_then(Value::as_str);
        let mut trouble = String::from("ECS does not show it yet");
        for look in 0..LOOKS {
            if look > 0 && !self.pause(look, deadline).await {
                break;
            }
            match self.within(deadline, self.ecs.describe_tasks(cluster, arns)).await {
                Ok(tasks) if !tasks.is_empty() => return live_or_dead(&tasks),
                // Tasks are shown a little after they are started.
                Ok(_) => {}
                Err(error) => trouble = error.to_string(),
            }
        }
        match answered {
            Some(task) if !is_ending(task) => LaunchOutcome::Adopted { id: task.task_arn.clone() },
            Some(task) => live_or_dead(std::slice::from_ref(task)),
            None => LaunchOutcome::Unknown(format!(
                "this launch has started {} already, but what became of it is not known: {trouble}",
                arns.join(", ")
            )),
        }
    }

    /// Waits before the next try; `false` = no time for one.
    async fn pause(&self, tries: u32, deadline: OffsetDateTime) -> bool {
        let instant = self.clock.now() + PAUSE * tries;
        let has_time = instant < deadline;
        if has_time {
            self.clock.sleep_until(instant).await;
        }
        has_time
    }

    /// What is not answered by `deadline` is not known.
    async fn within<T>(
        &self,
        deadline: OffsetDateTime,
        call: impl Future<Output = Result<T, AwsError>> + Send,
    ) -> Result<T, AwsError> {
        let remaining = Duration::try_from(deadline - self.clock.now()).unwrap_or_default();
        let timed_out = |_| Err(AwsError::NoAnswer("no answer before the deadline".into()));
        tokio::time::timeout(remaining, call).await.unwrap_or_else(timed_out)
    }
}

/// Whether a task was created before the request was sent, beyond what clocks differ by.
fn is_older(task: &Task, sent_at: OffsetDateTime) -> bool {
    task.created_at.is_some_and(|created_at| created_at + CLOCK_SKEW < sent_at)
}

fn no_time() -> LaunchOutcome {
    LaunchOutcome::Transient {
        reason: "No time was left to start the task: launch_rate allows no more launches before the deadline".into(),
        cause: TransientCause::NoTime,
    }
}

fn is_ending(task: &Task) -> bool {
    task.desired_status == "STOPPED"
        || matches!(task.last_status.as_str(), "STOPPED" | "STOPPING" | "DEACTIVATING" | "DEPROVISIONING")
}

fn live_or_dead(tasks: &[Task]) -> LaunchOutcome {
    if let Some(task) = tasks.iter().find(|task| !is_ending(task)) {
        return LaunchOutcome::Adopted { id: task.task_arn.clone() };
    }
    let first = tasks.first();
    let reason = first.and_then(|task| match (&task.stop_code, &task.stopped_reason) {
        (Some(code), Some(reason)) => Some(format!("{code}: {reason}")),
        (code, reason) => code.clone().or_else(|| reason.clone()),
    });
    let id = first.map(|task| task.task_arn.clone()).unwrap_or_default();
    LaunchOutcome::Dead {
        reason: format!(
            "Task {id} stopped before the flow run began: {}",
            reason.unwrap_or_else(|| "ECS gives no reason".into())
        ),
        id,
    }
}
