//! What is to be done about a run whose task changed: a pure function of the event and of what was seen of the run.
//!
//! What has no effect, whatever the event says: late, repeated and reordered events, tasks of an earlier turn of the run,
//! and runs that ended, wait or are paused. A run that was decided about is one of those from then on, so that the same
//! event decides nothing more.

use super::event::TaskEvent;
use super::observer::replicated;
use super::task_owner::{LaunchedBy, Owner, Tags};
use crate::config::AgentConfig;
use crate::model::{ClaimedBy, Generation, Phase, Run};
use crate::orchestrator::LogLevel;
use crate::platform::launch::{AfterLaunch, give_back_delay};
use crate::platform::{LaunchOutcome, TransientCause};
use crate::task_events::diagnosis::{Cause, Diagnosis, flow_container};
use crate::task_events::event::Container;
use crate::task_events::observer;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// A process writes its run's final state before it exits; what takes longer than this does not come any more.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// One thing to do, in this order. All but [`Action::PostEvent`] and [`Action::LookAgain`] are for the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Prefect 2 and 3: an entry of `POST /events`. Best effort.
    PostEvent(Value),
    /// Prefect 2 and 3: propose PENDING, named `InfrastructurePending`. Best effort: older servers refuse it.
    ProposePending {
        /// Message of the state.
        message: String,
    },
    /// Failed (Prefect 1) or CRASHED (2 and 3).
    End {
        /// Message of the state.
        message: String,
    },
    /// Cancelled, whatever Prefect's rules say: a user wanted it, and nothing runs any more.
    Cancelled {
        /// Message of the state.
        message: String,
    },
    /// Scheduled again: a new turn. Of a task retry (Prefect 1), the task runs that are still claimed.
    GiveBack {
        /// For people: why.
        reason: String,
        /// Whether it was for want of capacity.
        for_capacity: bool,
        /// Due again this much later.
        delay: Duration,
    },
    /// Read the run again after this time, and decide with [`Look::Second`].
    LookAgain(Duration),
    /// A line in the run's log. Best effort.
    Log {
        /// Severity.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// The last lines of the container's own log into the run's log. Best effort; not when Prefect has just refused the
    /// run's end, since then it is further than was seen.
    ForwardLogs {
        /// The container; `None` = the flow's by name in the task definition, or the only one there.
        container: Option<String>,
        /// This many lines at most, at least 1.
        max_lines: u32,
    },
}

/// What is to be done, and why (for the function's own log).
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is to be done, in order.
    pub actions: Vec<Action>,
    /// Why.
    pub why: String,
}

/// How often the run has been looked at for this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Once.
    First,
    /// Again, after [`Action::LookAgain`].
    Second,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The time.
    pub now: OffsetDateTime,
    /// Tags of the task; empty when they cannot be read any more.
    pub tags: &'a Tags,
    /// The run; `None` = there is none, or it was not looked for because [`needs_run`] says so.
    pub run: Option<&'a Run>,
    /// `version` of the task as ECS describes it now, if it was asked.
    pub task_version: Option<i64>,
    /// Which look this is.
    pub look: Look,
}

/// What the run's agent is configured to.
#[derive(Debug, Clone, Copy)]
pub struct DecisionRules<'a> {
    /// Which Prefect it speaks to.
    pub generation: Generation,
    /// Launches of one run at most.
    pub max_launch_attempts: u32,
    /// Lines of a container's log to forward; 0 = none.
    pub forward_log_lines: u32,
    /// Version of Prefect that events of the worker carry, e.g. `3.8.8`.
    pub prefect_version: &'a str,
}

impl DecisionRules<'_> {
    /// The rules of an agent that posts no events of a worker.
    pub fn of(config: &AgentConfig) -> Self {
        Self {
            generation: config.generation.generation(),
            max_launch_attempts: config.max_launch_attempts,
            forward_log_lines: config.forward_log_lines,
            prefect_version: "",
        }
    }
}

/// Whether the run matters for what is decided about this event.
pub fn needs_run(event: &TaskEvent, generation: Generation) -> bool {
    event.is_stopped() || (event.is_waiting() && generation == Generation::TwoOrThree)
}

/// Decides.
pub fn decide(event: &TaskEvent, owner: &Owner, seen: &Observation<'_>, rules: &DecisionRules<'_>) -> Decision {
    let mut decision = match seen.run {
        _ if !needs_run(event, rules.generation) => {
            nothing(format!("a task that is {} needs nothing", event.last_status))
        }
        None => nothing("Prefect does not know the flow run"),
        Some(run) => about_run(event, owner, run, seen, rules),
    };
    if seen.look == Look::First && rules.generation == Generation::TwoOrThree {
        let post = replicated(event, &owner.flow_run_id, seen.tags, rules.prefect_version, seen.now);
        decision.actions.splice(0..0, post.map(Action::PostEvent));
    }
    decision
}

fn about_run(
    event: &TaskEvent,
    owner: &Owner,
    run: &Run,
    seen: &Observation<'_>,
    rules: &DecisionRules<'_>,
) -> Decision {
    match run.phase {
        Phase::Ended => nothing("the flow run has ended"),
        Phase::Waiting => nothing("the flow run is scheduled or paused"),
        _ if run.is_of_earlier_turn(event, owner.launched) => nothing("the task is of an earlier turn of the flow run"),
        // Two deployments may have agents of one name. Whoever claimed the run looks after it.
        Phase::Claimed if owner.launched == LaunchedBy::Here && run.claimed_by == ClaimedBy::AnotherAgent => {
            nothing("the flow run is claimed by another agent, which looks after it")
        }
        _ if event.is_stopped() => Stopped { event, owner, run, look: seen.look, rules }.decide(),
        Phase::Claimed if is_out_of_order(event, seen.task_version) => nothing("the task has changed again since"),
        Phase::Claimed => {
            let message = format!("ECS task is {}.", event.last_status.to_lowercase());
            Decision { actions: vec![Action::ProposePending { message }], why: "the task waits for its start".into() }
        }
        Phase::Running | Phase::Cancelling => nothing("the flow run is further than its task"),
    }
}

fn is_out_of_order(event: &TaskEvent, version_now: Option<i64>) -> bool {
    event.task.version.zip(version_now).is_some_and(|(event, now)| event < now)
}

fn nothing(why: impl Into<String>) -> Decision {
    Decision { actions: Vec::new(), why: why.into() }
}

#[cfg(test)]
mod tests;

// What is to be done about a run whose current task has stopped while Prefect thinks that it is claimed or runs.

/// A run and its task, which has stopped. The run has not ended and the task is of its current turn.
struct Stopped<'a> {
    event: &'a TaskEvent,
    owner: &'a Owner,
    run: &'a Run,
    look: Look,
    rules: &'a DecisionRules<'a>,
}

impl Stopped<'_> {
    fn decide(&self) -> Decision {
        if self.run.phase == Phase::Cancelling {
            return self.cancelled();
        }
        let diagnosis = Diagnosis::of(self.event, self.rules.generation);
        let too_early = if self.has_failed() { self.unclear() } else { self.exited_with_zero() };
        too_early
            .or_else(|| self.settlement(&diagnosis))
            .unwrap_or_else(|| self.end(self.message(&diagnosis), &diagnosis))
    }

    /// The process ended well and Prefect does not know. Prefect 1: a run that waits for its task runs goes on later, in
    /// another task. Prefect 2 and 3: its last words may still be on their way.
    fn exited_with_zero(&self) -> Option<Decision> {
        match self.rules.generation {
            Generation::One => self
                .run
                .waits_for_task_runs
                .then(|| nothing("its process ended as it should: the flow run goes on when its task runs are due")),
            Generation::TwoOrThree => self.look_again("its container exited with 0 and the flow run has not ended"),
        }
    }

    /// Some containers failed and others did not, and the flow may have been in either.
    fn unclear(&self) -> Option<Decision> {
        let some_ended_well = self.event.task.containers.iter().any(|container| container.exit_code == Some(0));
        let is_unclear = self.flow_container().is_none() && some_ended_well;
        self.look_again("it is not known which container ran the flow").filter(|_| is_unclear)
    }

    fn look_again(&self, why: &str) -> Option<Decision> {
        let decision = || Decision { actions: vec![Action::LookAgain(SECOND_LOOK)], why: why.to_owned() };
        (self.look == Look::First).then(decision)
    }

    /// A claim of ours whose task died before the flow began gets another turn when that can help, but not for ever.
    fn settlement(&self, diagnosis: &Diagnosis) -> Option<Decision> {
        let is_ours = self.owner.launched == LaunchedBy::Here && self.run.phase == Phase::Claimed;
        let attempt = self.run.attempt.filter(|_| is_ours && diagnosis.can_pass)?;
        let cause = if diagnosis.cause == Cause::Capacity { TransientCause::Capacity } else { TransientCause::Server };
        let task_arn = &self.event.task_arn;
        let reason = format!("Task {task_arn} stopped before the flow run began: {}", diagnosis.sentence);
        let outcome = LaunchOutcome::Transient { reason, cause };
        match AfterLaunch::of(outcome, attempt, self.rules.max_launch_attempts) {
            AfterLaunch::GiveBack { reason, for_capacity, .. } => {
                let message = format!("Not launched yet, tried again: {reason}");
                let delay = give_back_delay(attempt);
                Some(Decision {
                    actions: vec![
                        Action::GiveBack { reason, for_capacity, delay },
                        Action::Log { level: LogLevel::Warning, message },
                    ],
                    why: "its task died before the flow began, and another may live".into(),
                })
            }
            AfterLaunch::Fail(story) => Some(self.end(format!("{story} {}", diagnosis.remedy), diagnosis)),
            AfterLaunch::Launched { .. } | AfterLaunch::Leave(_) => None,
        }
    }

    fn end(&self, message: String, diagnosis: &Diagnosis) -> Decision {
        let (level, line) = match self.rules.generation {
            Generation::One => (LogLevel::Error, message.clone()),
            Generation::TwoOrThree if self.observer_misleads(diagnosis) => (LogLevel::Error, line(diagnosis).1),
            Generation::TwoOrThree => self.observers_line().unwrap_or_else(|| line(diagnosis)),
        };
        let mut actions = vec![Action::End { message }, Action::Log { level, message: line }];
        actions.extend(self.forward());
        Decision { actions, why: format!("its task has stopped: {}", diagnosis.summary()) }
    }

    /// Message of the state. Of a worker's task, in the words of its own observer wherever that has any.
    fn message(&self, diagnosis: &Diagnosis) -> String {
        let failed = self.failed();
        let observer_knows = !failed.is_empty() || self.event.task.stop_code.as_deref() == Some("TaskFailedToStart");
        if self.owner.launched == LaunchedBy::ByWorker && self.has_failed() && observer_knows {
            return observer::crash_message(self.event, &failed);
        }
        format!("{} {} Task: {}", diagnosis.sentence, diagnosis.remedy, self.event.task_arn)
    }

    /// The user's wish comes true. Nothing is said about how the containers of our tasks ended: we stopped them.
    fn cancelled(&self) -> Decision {
        let message = format!("Cancelled, and its task {} has stopped.", self.event.task_arn);
        let mut actions = vec![Action::Cancelled { message }];
        if self.owner.launched == LaunchedBy::ByWorker && self.has_failed() {
            let diagnosis = Diagnosis::of(self.event, self.rules.generation);
            let line = if self.observer_misleads(&diagnosis) { Some(line(&diagnosis)) } else { self.observers_line() };
            actions.extend(line.map(|(level, message)| Action::Log { level, message }));
            actions.extend(self.forward());
        }
        Decision { actions, why: "it was cancelled, and its task has stopped".into() }
    }

    /// Whether the observer's words about exit codes hide what is known. Without codes it says nothing that is wrong.
    fn observer_misleads(&self, diagnosis: &Diagnosis) -> bool {
        diagnosis.knows_better() && self.event.task.containers.iter().any(|container| container.exit_code.is_some())
    }

    fn observers_line(&self) -> Option<(LogLevel, String)> {
        observer::log_line(self.event).filter(|_| self.has_failed())
    }

    /// Of a container whose flow never ran, since that one could not tell Prefect anything.
    fn forward(&self) -> Option<Action> {
        let never_ran = match self.run.phase {
            Phase::Claimed => true,
            Phase::Cancelling => !self.run.has_run,
            Phase::Waiting | Phase::Running | Phase::Ended => false,
        };
        let container = self.flow_container().map(|container| container.name.clone());
        let is_known = container.is_some() || self.event.task.containers.is_empty();
        let max_lines = self.rules.forward_log_lines;
        let container = container.flatten();
        (never_ran && is_known && max_lines > 0).then_some(Action::ForwardLogs { container, max_lines })
    }

    fn flow_container(&self) -> Option<&Container> {
        flow_container(self.event, self.rules.generation)
    }

    /// The containers that count and ended otherwise than with 0: the flow's, or all where that is not known.
    fn failed(&self) -> Vec<&Container> {
        let containers = self.flow_container().map_or(self.event.task.containers.as_slice(), std::slice::from_ref);
        containers.iter().filter(|container| container.exit_code != Some(0)).collect()
    }

    /// A task without containers never got as far as having any.
    fn has_failed(&self) -> bool {
        !self.failed().is_empty() || self.event.task.containers.is_empty()
    }
}

fn line(diagnosis: &Diagnosis) -> (LogLevel, String) {
    let level = if diagnosis.can_pass { LogLevel::Warning } else { LogLevel::Error };
    (level, observer::line(diagnosis.summary(), &diagnosis.sentence, &diagnosis.remedy))
}
