//! Runs that are claimed, run, are being cancelled or have ended.

use super::{About, RunVerdict, Standing};
use crate::clock::after;
use crate::explain::story::quoted;
use crate::explain::words::{relative, span};
use crate::model::{ClaimedBy, Generation};
use crate::orchestrator::run_facts::RunFacts;
use crate::poll::cancel::decide as decide_about_cancelled;
use crate::poll::recover::{ClaimDeployments, found, is_orphan};
use crate::task_events::decision::{self, Action, DecisionRules, Look, Observation};
use crate::task_events::diagnosis::Cause;
use crate::task_events::task_owner::{Owner, Tags};
use time::OffsetDateTime;

/// An event of a task that stopped longer ago than this does not come any more.
const EVENT_PATIENCE: time::Duration = time::Duration::minutes(3);

impl About<'_> {
    pub(super) fn ended(&self) -> RunVerdict {
        let RunFacts { state, message, .. } = self.run;
        let said = message.as_deref().filter(|said| !said.is_empty());
        let said = said.map(|said| format!(": {}", quoted(said))).unwrap_or_default();
        let verdict = RunVerdict::new(Standing::Ended, format!("It ended as {state}{}{said}", self.since()));
        let died = self.task().filter(|task| task.task.is_stopped()).map(|task| self.diagnosis(task));
        match died.filter(|died| !matches!(died.cause, Cause::ExitedWithZero)) {
            // As a rule the message says what happened.
            Some(died) if is_bad_end(state) && verdict.now.contains(&died.sentence) => {
                verdict.advice(died.remedy.into_owned())
            }
            Some(died) if is_bad_end(state) => verdict.advice(format!("{} {}", died.sentence, died.remedy)),
            _ => verdict,
        }
    }

    pub(super) fn running(&self) -> RunVerdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let verdict = RunVerdict::new(Standing::Running, format!("Its flow has been running{}", self.for_so_long()));
        match self.run.due_at {
            Some(at) if self.run.run.waits_for_task_runs => {
                let next = format!("a poll starts it again for its task runs, which are due {}", self.relative(at));
                verdict.next(next, Some(at))
            }
            _ => verdict.next("the flow itself says how it ends", None),
        }
    }

    pub(super) fn cancelling(&self) -> RunVerdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let agent = &self.facts.agent;
        let verdict = RunVerdict::new(Standing::Cancelling, format!("It has been cancelling{}", self.for_so_long()));
        let ends = self.run.since.map(|since| after(since, agent.cancel_grace));
        // As the polls reckon it.
        let patient = self.run.run.has_run && ends.is_some_and(|ends| self.facts.now < ends);
        let decision = decide_about_cancelled(&self.live(), patient);
        let (at, verdict) = match ends.filter(|_| patient && decision.stop.is_empty()) {
            Some(ends) => {
                let next = format!("its flow may end by itself until {}; then a poll stops its task", self.clock(ends));
                (self.next_poll(ends), verdict.next(next, None))
            }
            None if decision.stop.is_empty() && !self.facts.tasks.unknown.is_empty() => (
                self.next_poll(self.facts.now),
                verdict.next("the next poll stops its task, if one runs, and ends it", None),
            ),
            None if decision.stop.is_empty() => {
                (self.next_poll(self.facts.now), verdict.next("the next poll ends it as cancelled: no task runs", None))
            }
            None => (self.next_poll(self.facts.now), verdict.next("the next poll stops its task and ends it", None)),
        };
        self.unless_agent_is_off(RunVerdict { next_at: at, ..verdict })
    }

    /// Of a run whose current task has stopped: what `task-events` makes of that.
    pub(super) fn dead(&self) -> Option<RunVerdict> {
        let task = self.task().filter(|task| task.task.is_stopped())?;
        let agent = &self.facts.agent;
        let owner = Owner {
            flow_run_id: self.run.id.clone(),
            agents: vec![agent.name.clone()],
            launched: self.launched_by(task),
        };
        let seen = Observation {
            now: self.facts.now,
            tags: &Tags::new(),
            run: Some(&self.run.run),
            task_version: None,
            look: Look::Second,
        };
        let rules = DecisionRules {
            generation: agent.generation,
            max_launch_attempts: agent.max_launch_attempts,
            forward_log_lines: agent.forward_log_lines,
            prefect_version: "",
        };
        let decision = decision::decide(&task.task, &owner, &seen, &rules);
        let dead = match agent.generation {
            Generation::One => "Failed",
            Generation::TwoOrThree => "Crashed",
        };
        let next = decision.actions.iter().find_map(|action| match action {
            Action::GiveBack { delay, .. } => {
                let delay = time::Duration::try_from(*delay).unwrap_or_default();
                Some(format!("task-events gives the run back; it is due again {} after that", span(delay)))
            }
            Action::End { .. } => Some(format!("task-events ends the run as {dead}")),
            Action::Cancelled { .. } => Some("task-events ends the run as cancelled".to_owned()),
            _ => None,
        });
        // Otherwise its end means nothing for the run.
        let next = next?;
        let diagnosis = self.diagnosis(task);
        let stopped = task.task.task.stopped_at;
        let when = stopped.map(|at| format!(" {}", relative(at, self.facts.now))).unwrap_or_default();
        let now = format!("Its task stopped{when}, and Prefect has not been told yet: {}", diagnosis.sentence);
        let verdict = RunVerdict::new(Standing::TaskDied, now).next(next, None);
        let is_overdue = stopped.is_some_and(|at| self.facts.now - at > EVENT_PATIENCE);
        let remedy = diagnosis.remedy.into_owned();
        Some(if is_overdue {
            let events = "No event of the task's end has come through for minutes: see the rules of the stack, the log of \
                          the function task-events and the queue of its failures";
            verdict.advice(format!("{remedy} {events}"))
        } else {
            verdict.advice(remedy)
        })
    }

    pub(super) fn claimed(&self) -> RunVerdict {
        if self.run.run.claimed_by != ClaimedBy::Us {
            return self.claimed_elsewhere();
        }
        if let Some(dead) = self.dead() {
            return dead;
        }
        let attempt = self
            .run
            .mark
            .as_ref()
            .map(|mark| format!(" (attempt {} of {})", mark.attempt, self.facts.agent.max_launch_attempts));
        let attempt = attempt.unwrap_or_default();
        let since = self.run.run.claimed_at.or(self.run.since);
        let ago = since.map(|since| format!(" {}", relative(since, self.facts.now))).unwrap_or_default();
        match found(&self.live()) {
            ClaimDeployments::Lives(arn) => {
                let task = self.facts.tasks.found.iter().find(|task| task.task.task_arn == arn);
                let status = task.map(|task| task.task.last_status.as_str()).unwrap_or_default();
                let now = format!("It was claimed{ago}{attempt}, and its task is {status}");
                let next = "the flow says that it runs once its container has begun";
                RunVerdict::new(Standing::Launched, now).next(next, None)
            }
            ClaimDeployments::Ending(arn) => {
                let now = format!("It was claimed{ago}{attempt}, and its task {arn} is about to stop");
                RunVerdict::new(Standing::TaskStopping, now)
                    .next("task-events says what follows when it has stopped", None)
            }
            ClaimDeployments::Nothing if !self.facts.tasks.unknown.is_empty() => {
                let now = format!("It was claimed{ago}{attempt}; whether it has a task could not be asked");
                let next = "without a task, a poll finishes the claim";
                self.unless_agent_is_off(RunVerdict::new(Standing::Claimed, now).next(next, self.when_orphan(since)))
            }
            ClaimDeployments::Nothing => {
                let now = format!("It was claimed{ago}{attempt}, and has no task");
                let is_old = since.is_some_and(|at| is_orphan(self.facts.now, at, self.facts.agent.orphan_after));
                let at = self.when_orphan(since);
                let next = match since {
                    Some(since) if !is_old => {
                        let from = self.clock(after(since, self.facts.agent.orphan_after));
                        format!("the next poll after {from} finishes the claim: the task is started, or found")
                    }
                    _ => "the next poll finishes the claim: the task is started, or found".to_owned(),
                };
                self.unless_agent_is_off(RunVerdict::new(Standing::ClaimedWithoutTask, now).next(next, at))
            }
        }
    }

    /// The poll that finds a claim old enough to be finished.
    pub(super) fn when_orphan(&self, since: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        self.next_poll(since.map_or(self.facts.now, |since| after(since, self.facts.agent.orphan_after)))
    }

    pub(super) fn claimed_elsewhere(&self) -> RunVerdict {
        let newest = self.run.states.iter().rev().find(|state| state.is_claim);
        let who = match newest.and_then(|state| state.mark.as_ref()) {
            Some(mark) => format!("the agent {}", mark.agent),
            None => match &self.run.worker {
                Some(worker) => format!("the worker {worker}"),
                None => "another worker or agent of this pool, or by a person's hand".to_owned(),
            },
        };
        let now = format!("It was claimed{} by {who}: this agent leaves it alone", self.since());
        let advice =
            "ask whoever runs that one; where nobody does, set the run's state to Scheduled and a poll takes it";
        RunVerdict::new(Standing::ClaimedElsewhere, now).advice(advice)
    }
}

/// The states of a run that ended as it should not.
fn is_bad_end(state: &str) -> bool {
    !matches!(state, "Completed" | "Success" | "Cached" | "Skipped" | "Cancelled")
}
