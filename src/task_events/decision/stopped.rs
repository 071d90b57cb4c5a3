//! What is to be done about a run whose current task has stopped while Prefect thinks that it is claimed or runs.

use super::{Action, Decision, DecisionRules, Look, SECOND_LOOK, nothing};
use crate::model::run::{Generation, Phase, Run};
use crate::orchestrator::LogLevel;
use crate::platform::outcome::{AfterLaunch, give_back_delay};
use crate::platform::{LaunchOutcome, TransientCause};
use crate::task_events::diagnosis::{Cause, Diagnosis, flow_container};
use crate::task_events::event::{Container, TaskEvent};
use crate::task_events::observer;
use crate::task_events::task_owner::{LaunchedBy, Owner};

/// A run and its task, which has stopped. The run has not ended and the task is of its current turn.
pub(super) struct Stopped<'a> {
    pub(super) event: &'a TaskEvent,
    pub(super) owner: &'a Owner,
    pub(super) run: &'a Run,
    pub(super) look: Look,
    pub(super) rules: &'a DecisionRules<'a>,
}

impl Stopped<'_> {
    pub(super) fn decide(&self) -> Decision {
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
