//! Runs that are claimed, run, are being cancelled or have ended.

use super::waiting::block_text;
use super::{About, RunVerdict, Standing};
use crate::clock::after;
use crate::explain::story::quoted;
use crate::explain::words::{relative, span};
use crate::model::{ClaimedBy, Generation, Phase, RunEnd};
use crate::orchestrator::run_facts::{BlockReason, RunFacts};
use crate::orchestrator::{CANCELLED_MEMORY, is_orphan};
use crate::platform::LiveDeployment;
use crate::poll::cancel::{self, CancelDecision, is_patient};
use crate::poll::lost::STANDS_FOR;
use crate::poll::prepare::{Earlier, decide_on_earlier};
use crate::poll::recover::{ClaimDeployments, found};
use crate::task_events::decision::{self, Action, DecisionRules, Look, Observation};
use crate::task_events::diagnosis::Cause;
use crate::task_events::task_owner::EVENT_PATIENCE;
use crate::task_events::task_owner::{LaunchedBy, Owner, Tags};
use time::OffsetDateTime;

/// What is said of a flow that nobody here need look after.
const THE_FLOW_ENDS: &str = "the flow itself says how it ends";

impl About<'_> {
    pub(super) fn ended(&self) -> RunVerdict {
        let RunFacts { state, message, .. } = self.run;
        let said = message.as_deref().filter(|said| !said.is_empty());
        let said = said.map(|said| format!(": {}", quoted(said))).unwrap_or_default();
        let verdict = RunVerdict::new(Standing::Ended, format!("It ended as {state}{}{said}", self.since()));
        if let Some(lives) = self.lives_on(&verdict) {
            return lives;
        }
        let died = self.task().filter(|task| task.task.is_stopped()).map(|task| self.diagnosis(task));
        let is_bad = self.run.end == Some(RunEnd::Badly);
        match died.filter(|died| is_bad && !matches!(died.cause, Cause::ExitedWithZero)) {
            // As a rule the message says what happened.
            Some(died) if verdict.now.contains(&died.sentence) => verdict.advice(died.remedy.into_owned()),
            Some(died) => verdict.advice(format!("{} {}", died.sentence, died.remedy)),
            None => verdict,
        }
    }

    /// Of a run that was cancelled and has a task that lives all the same.
    fn lives_on(&self, ended: &RunVerdict) -> Option<RunVerdict> {
        let is_cancelled = self.run.end == Some(RunEnd::Cancelled);
        let (since, live) = (self.run.since.filter(|_| is_cancelled)?, self.live());
        let task = live.iter().find(|one| !one.is_stopping)?;
        let text = format!("{}, and its task {} lives", ended.now, task.id);
        let verdict = RunVerdict::new(Standing::Ended, text);
        let (now, grace) = (self.facts.now, self.facts.agent.config.cancel_grace);
        if now - since > CANCELLED_MEMORY || self.why_not_cancelled().is_some() {
            return Some(verdict.advice("stop it by hand (`aws ecs stop-task`): no poll of this agent does"));
        }
        let patient = is_patient(self.run.run.has_run, since, now, grace);
        let ends = after(since, grace);
        let (next, from) = if cancel::decide(&live, patient).stop.is_empty() {
            (format!("its flow may end by itself until {}; then a poll stops its task", self.clock(ends)), ends)
        } else {
            ("the next poll stops its task".to_owned(), now)
        };
        Some(self.unless_agent_is_off(verdict.next(next, self.next_poll(from))))
    }

    pub(super) fn running(&self) -> RunVerdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let verdict = RunVerdict::new(Standing::Running, format!("Its flow has been running{}", self.for_so_long()));
        match self.run.due_at {
            Some(at) if self.run.run.waits_for_task_runs => self.taken_up(verdict, at),
            _ => verdict.next(THE_FLOW_ENDS, None),
        }
    }

    /// Of a run whose task runs wait for a process, and are due then.
    fn taken_up(&self, mut verdict: RunVerdict, at: OffsetDateTime) -> RunVerdict {
        let due = format!("task runs of it wait, which are due {}", self.relative(at));
        if let Some(reason) = self.run.block_reasons.first() {
            verdict.also.push(format!("{due}: no poll of this agent takes them up, {}", block_text(reason).0));
            return verdict.next(THE_FLOW_ENDS, None);
        }
        let next = match decide_on_earlier(&self.live(), true, "task").earlier {
            // Only its process can take them up while it lives.
            Earlier::Wait(why) => return verdict.next(format!("{due}; {why}"), None),
            Earlier::Adopt(arn) => format!("{due}: a poll after that takes its task {arn} for them"),
            Earlier::None if self.knows_tasks() => {
                format!("a poll starts it again for its task runs, which are due {}", self.relative(at))
            }
            Earlier::None => format!("{due}: a poll starts it again for them, if no task of it still runs"),
        };
        self.unless_agent_is_off(verdict.next(next, self.next_poll(at)))
    }

    pub(super) fn cancelling(&self) -> RunVerdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let text = format!("It has been cancelling{}", self.for_so_long());
        if let Some(why) = self.why_not_cancelled() {
            let text = format!("{text}, and no poll of this agent stops its task: {why}");
            let advice = "let whoever launched it end it, or set its state to Cancelled";
            return RunVerdict::new(Standing::Cancelling, text).advice(advice);
        }
        let verdict = RunVerdict::new(Standing::Cancelling, text);
        let (now, grace) = (self.facts.now, self.facts.agent.config.cancel_grace);
        let live = self.live();
        let since = self.run.since.unwrap_or(now);
        let decision = cancel::decide(&live, is_patient(self.run.run.has_run, since, now, grace));
        let ends = after(since, grace);
        let later = self.done_about(&cancel::decide(&live, false), &live);
        let (next, from) = if decision.ends {
            (format!("the next poll {}", self.done_about(&decision, &live)), now)
        } else if decision.stop.is_empty() {
            (format!("its flow may end by itself until {}; then a poll {later}", self.clock(ends)), ends)
        } else {
            let other = format!("the other may end by itself until {}; then a poll {later}", self.clock(ends));
            (format!("the next poll stops its task that has not begun; {other}"), now)
        };
        self.unless_agent_is_off(verdict.next(next, self.next_poll(from)))
    }

    /// Why polls of this agent do nothing about it although it is being cancelled.
    fn why_not_cancelled(&self) -> Option<String> {
        if let Some(reason) = self.run.block_reasons.iter().find(|reason| reason.spares_cancelled()) {
            return Some(block_text(reason).0);
        }
        // By their marks polls know what they may stop in Prefect 1, which has neither pools nor pids.
        let is_others = self.facts.agent.generation() == Generation::One && !self.run.was_ours;
        if is_others {
            return Some("this agent has never claimed it".to_owned());
        }
        self.run.since.is_none().then(|| "Prefect does not say since when".to_owned())
    }

    /// What a poll does about a cancelled run.
    fn done_about(&self, decision: &CancelDecision, live: &[LiveDeployment]) -> &'static str {
        if !decision.stop.is_empty() {
            "stops its task and ends it"
        } else if !self.knows_tasks() {
            "stops its task, if one runs, and ends it"
        } else if live.is_empty() {
            "ends it as cancelled: no task runs"
        } else {
            "ends it as cancelled: its task is stopping already"
        }
    }

    /// Of a run whose current task has stopped: what `task-events` makes of that.
    pub(super) fn dead(&self) -> Option<RunVerdict> {
        let task = self.task().filter(|task| task.task.is_stopped())?;
        let agent = &self.facts.agent;
        let owner = Owner {
            flow_run_id: self.run.id.clone(),
            agents: vec![agent.config.agent.clone()],
            launched: self.launched_by(task),
        };
        let seen = Observation {
            now: self.facts.now,
            tags: &Tags::new(),
            run: Some(&self.run.run),
            task_version: None,
            look: Look::Second,
        };
        let decision = decision::decide(&task.task, &owner, &seen, &DecisionRules::of(&agent.config));
        let dead = match agent.generation() {
            Generation::One => "Failed",
            Generation::TwoOrThree => "Crashed",
        };
        let next = decision.actions.iter().find_map(|action| match action {
            Action::GiveBack { delay, .. } => {
                let delay = time::Duration::try_from(*delay).unwrap_or_default();
                Some(format!("gives the run back; it is due again {} after that", span(delay)))
            }
            Action::End { .. } => Some(format!("ends the run as {dead}")),
            Action::Cancelled { .. } => Some("ends the run as cancelled".to_owned()),
            _ => None,
        });
        // Otherwise its end means nothing for the run.
        let next = next?;
        let diagnosis = self.diagnosis(task);
        let stopped = task.task.task.stopped_at;
        let when = stopped.map(|at| format!(" {}", relative(at, self.facts.now))).unwrap_or_default();
        let now = format!("Its task stopped{when}, and Prefect has not been told yet: {}", diagnosis.sentence);
        let is_overdue = stopped.is_some_and(|at| self.facts.now - at > EVENT_PATIENCE);
        let verdict = RunVerdict::new(Standing::TaskDied, now);
        let verdict = match self.looked_after_from(owner.launched).filter(|_| is_overdue) {
            Some(from) if from > self.facts.now => {
                let next = format!("a poll after {} {next}, if task-events does not", self.clock(from));
                self.unless_agent_is_off(verdict.next(next, self.next_poll(from)))
            }
            Some(from) => self.unless_agent_is_off(verdict.next(format!("the next poll {next}"), self.next_poll(from))),
            None => verdict.next(format!("task-events {next}"), None),
        };
        let remedy = diagnosis.remedy.into_owned();
        Some(if is_overdue {
            let events = "No event of the task's end has come through for minutes: see the rules of the stack, the log of \
                          the function task-events and the queue of its failures";
            verdict.advice(format!("{remedy} {events}"))
        } else {
            verdict.advice(remedy)
        })
    }

    /// From when on polls look whether the run's task lives; `None` = they do not.
    fn looked_after_from(&self, launched: LaunchedBy) -> Option<OffsetDateTime> {
        let run = self.run;
        let is_ours = launched == LaunchedBy::Here && run.run.claimed_by == ClaimedBy::Us;
        let is_looked_after = is_ours
            && self.facts.agent.generation() == Generation::TwoOrThree
            && run.run.phase == Phase::Running
            && !run
                .block_reasons
                .iter()
                .any(|reason| matches!(reason, BlockReason::NoPool | BlockReason::OtherPool { .. }));
        is_looked_after.then(|| run.since.map(|since| after(since, STANDS_FOR)))?
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
            .map(|mark| format!(" (attempt {} of {})", mark.attempt, self.facts.agent.config.max_launch_attempts));
        let attempt = attempt.unwrap_or_default();
        let since = self.run.run.claimed_at.or(self.run.since);
        let ago = since.map(|since| format!(" {}", relative(since, self.facts.now))).unwrap_or_default();
        let found = found(&self.live());
        let unseen = self.run.block_reasons.iter().find(|reason| reason.is_out_of_sight());
        if let (ClaimDeployments::Nothing, Some(reason)) = (&found, unseen) {
            let (text, advice) = block_text(reason);
            let now = format!("It was claimed{ago}{attempt}, and no poll of this agent finishes the claim: {text}");
            let standing = if self.knows_tasks() { Standing::ClaimedWithoutTask } else { Standing::Claimed };
            return RunVerdict::new(standing, now).advice(advice);
        }
        match found {
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
            ClaimDeployments::Nothing if !self.knows_tasks() => {
                let now = format!("It was claimed{ago}{attempt}; whether it has a task could not be asked");
                let next = "without a task, a poll finishes the claim";
                self.unless_agent_is_off(RunVerdict::new(Standing::Claimed, now).next(next, self.when_orphan(since)))
            }
            ClaimDeployments::Nothing => {
                let now = format!("It was claimed{ago}{attempt}, and has no task");
                let is_old =
                    since.is_some_and(|at| is_orphan(self.facts.now, at, self.facts.agent.config.orphan_after));
                let at = self.when_orphan(since);
                let next = match since {
                    Some(since) if !is_old => {
                        let from = self.clock(after(since, self.facts.agent.config.orphan_after));
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
        self.next_poll(since.map_or(self.facts.now, |since| after(since, self.facts.agent.config.orphan_after)))
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
