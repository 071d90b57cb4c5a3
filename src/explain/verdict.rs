//! Pure: how a run stands, what happens next and when, and what to do about it. Whose a run is, when a claim is an
//! orphan, what a dead task leads to and how an agent is: each is asked of the rule by which it is done.

use super::facts::{AgentView, Barrier, Facts, RunFacts, TaskFacts, Waits};
use super::story::quoted;
use super::words::{clock, relative, span};
use crate::health::status::{AgentHealth, AgentStatus, is_recent};
use crate::model::run::{ClaimedBy, Generation, Phase};
use crate::platform::LiveDeployment;
use crate::platform::ecs::launcher::progress;
use crate::poll::cancel::decide as decide_about_cancelled;
use crate::poll::recover::{ClaimDeployments, found, is_orphan};
use crate::task_events::decision::{self, Action, DecisionRules, Look, Observation};
use crate::task_events::diagnosis::{Cause, Diagnosis};
use crate::task_events::task_owner::{LaunchedBy, Owner, Tags};
use serde::Serialize;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// An event of a task that stopped longer ago than this does not come any more.
const EVENT_PATIENCE: time::Duration = time::Duration::minutes(3);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has a final state.
    Ended,
    /// Its flow runs.
    Running,
    /// It is claimed, and has its task.
    Launched,
    /// It is claimed, and its task is about to stop.
    TaskStopping,
    /// Its task has stopped, and Prefect does not know yet.
    TaskDied,
    /// It is claimed, and has no task.
    ClaimedWithoutTask,
    /// It is claimed; whether it has a task could not be asked.
    Claimed,
    /// Another agent or a worker has claimed it.
    ClaimedElsewhere,
    /// It is being cancelled.
    Cancelling,
    /// It waits for a person.
    Paused,
    /// It is not this agent's.
    NotOurs,
    /// It is in a state that no agent launches.
    NotScheduled,
    /// It was given back and waits for its next turn.
    GivenBack,
    /// It waits for a slot under a concurrency limit.
    WaitsForSlot,
    /// Its time has not come.
    ScheduledLater,
    /// It is due, and Prefect does not hand it out.
    HeldBack,
    /// It is due, and its agent is not to poll: disabled, or out of polls.
    AgentOff,
    /// It is due, and its agent does not poll well.
    AgentFailing,
    /// It is due, and the next poll finds it.
    Due,
    /// It is due, and the last poll left it.
    LeftByPoll,
    /// Prefect could not be asked.
    Unknown,
}

/// What is to be said of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How it stands.
    pub standing: Standing,
    /// The same in a sentence.
    pub now: String,
    /// What happens next, by itself.
    pub next: Option<String>,
    /// When, as far as that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
    /// What to do.
    pub advice: Option<String>,
    /// What else stands in its way.
    pub also: Vec<String>,
}

impl Verdict {
    fn new(standing: Standing, now: impl Into<String>) -> Self {
        Self { standing, now: now.into(), next: None, next_at: None, advice: None, also: Vec::new() }
    }

    fn next(mut self, next: impl Into<String>, at: Option<OffsetDateTime>) -> Self {
        (self.next, self.next_at) = (Some(next.into()), at);
        self
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Tells how the run stands.
pub fn verdict(facts: &Facts) -> Verdict {
    let run = match &facts.run {
        Ok(run) => run,
        Err(why) => return prefect_unknown(facts, why),
    };
    let about = About { facts, run };
    match run.run.phase {
        Phase::Ended => about.ended(),
        Phase::Running => about.running(),
        Phase::Cancelling => about.cancelling(),
        Phase::Claimed => about.claimed(),
        Phase::Waiting => about.waiting(),
    }
}

fn prefect_unknown(facts: &Facts, why: &str) -> Verdict {
    let tasks = facts.tasks.found.len();
    let seen = match tasks {
        0 => "no task of it was seen".to_owned(),
        1 => "ECS knows one task of it".to_owned(),
        _ => format!("ECS knows {tasks} tasks of it"),
    };
    let verdict = Verdict::new(Standing::Unknown, format!("Prefect could not be asked about the run; {seen}"));
    verdict.advice(format!("see that this machine reaches the API with the agent's key: {why}"))
}

struct About<'a> {
    facts: &'a Facts,
    run: &'a RunFacts,
}

impl<'a> About<'a> {
    fn since(&self) -> String {
        self.run.since.map_or_else(String::new, |since| format!(" {}", relative(since, self.facts.now)))
    }

    fn for_so_long(&self) -> String {
        self.run.since.map_or_else(String::new, |since| format!(" for {}", span(self.facts.now - since)))
    }

    fn launched_by(&self, task: &TaskFacts) -> LaunchedBy {
        let ours = crate::platform::started_by(&self.facts.agent.name, &self.run.id);
        if task.task.task.started_by.as_ref() == Some(&ours) { LaunchedBy::Here } else { LaunchedBy::ByWorker }
    }

    /// The newest task of the run's current turn.
    fn task(&self) -> Option<&'a TaskFacts> {
        let is_current = |task: &&TaskFacts| !self.run.run.is_of_earlier_turn(&task.task, self.launched_by(task));
        self.facts.tasks.found.iter().rev().find(is_current)
    }

    fn live(&self) -> Vec<LiveDeployment> {
        let lives = self.facts.tasks.found.iter().filter(|task| !task.task.is_stopped());
        let live = lives.map(|task| LiveDeployment {
            id: task.task.task_arn.clone(),
            progress: progress(&task.task.last_status),
            is_stopping: task.task.task.desired_status.as_deref() == Some("STOPPED"),
        });
        live.collect()
    }

    fn diagnosis(&self, task: &TaskFacts) -> Diagnosis {
        Diagnosis::of(&task.task, self.facts.agent.generation)
    }

    fn ended(&self) -> Verdict {
        let RunFacts { state, message, .. } = self.run;
        let said = message.as_deref().filter(|said| !said.is_empty());
        let said = said.map(|said| format!(": {}", quoted(said))).unwrap_or_default();
        let verdict = Verdict::new(Standing::Ended, format!("It ended as {state}{}{said}", self.since()));
        let died = self.task().filter(|task| task.task.is_stopped()).map(|task| self.diagnosis(task));
        match died.filter(|died| !matches!(died.cause, Cause::ExitedWithZero)) {
            Some(died) if is_bad_end(state) => verdict.advice(format!("{} {}", died.sentence, died.remedy)),
            _ => verdict,
        }
    }

    fn running(&self) -> Verdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let verdict = Verdict::new(Standing::Running, format!("Its flow has been running{}", self.for_so_long()));
        match self.run.due_at {
            Some(at) if self.run.run.waits_for_task_runs => {
                let next = format!("a poll starts it again for its task runs, which are due {}", self.relative(at));
                verdict.next(next, Some(at))
            }
            _ => verdict.next("the flow itself says how it ends", None),
        }
    }

    fn cancelling(&self) -> Verdict {
        if let Some(dead) = self.dead() {
            return dead;
        }
        let agent = &self.facts.agent;
        let verdict = Verdict::new(Standing::Cancelling, format!("It has been cancelling{}", self.for_so_long()));
        let ends = self.run.since.map(|since| since + agent.cancel_grace);
        // As the polls reckon it.
        let patient = self.run.run.has_run && ends.is_some_and(|ends| self.facts.now < ends);
        let decision = decide_about_cancelled(&self.live(), patient);
        let (at, verdict) = match ends.filter(|_| patient && decision.stop.is_empty()) {
            Some(ends) => {
                let next = format!("its flow may end by itself until {}; then a poll stops its task", self.clock(ends));
                (self.next_poll(ends), verdict.next(next, None))
            }
            None if decision.stop.is_empty() => {
                (self.next_poll(self.facts.now), verdict.next("the next poll ends it as cancelled: no task runs", None))
            }
            None => (self.next_poll(self.facts.now), verdict.next("the next poll stops its task and ends it", None)),
        };
        self.unless_agent_is_off(Verdict { next_at: at, ..verdict })
    }

    /// Of a run whose current task has stopped: what `task-events` makes of that.
    fn dead(&self) -> Option<Verdict> {
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
        let verdict = Verdict::new(Standing::TaskDied, now).next(next, None);
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

    fn claimed(&self) -> Verdict {
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
                Verdict::new(Standing::Launched, now).next(next, None)
            }
            ClaimDeployments::Ending(arn) => {
                let now = format!("It was claimed{ago}{attempt}, and its task {arn} is about to stop");
                Verdict::new(Standing::TaskStopping, now)
                    .next("task-events says what follows when it has stopped", None)
            }
            ClaimDeployments::Nothing if !self.facts.tasks.unknown.is_empty() => {
                let now = format!("It was claimed{ago}{attempt}; whether it has a task could not be asked");
                let next = "without a task, a poll finishes the claim";
                self.unless_agent_is_off(Verdict::new(Standing::Claimed, now).next(next, self.when_orphan(since)))
            }
            ClaimDeployments::Nothing => {
                let now = format!("It was claimed{ago}{attempt}, and has no task");
                let is_old = since.is_some_and(|at| is_orphan(self.facts.now, at, self.facts.agent.orphan_after));
                let at = self.when_orphan(since);
                let next = match since {
                    Some(since) if !is_old => {
                        let from = self.clock(since + self.facts.agent.orphan_after);
                        format!("the next poll after {from} finishes the claim: the task is started, or found")
                    }
                    _ => "the next poll finishes the claim: the task is started, or found".to_owned(),
                };
                self.unless_agent_is_off(Verdict::new(Standing::ClaimedWithoutTask, now).next(next, at))
            }
        }
    }

    /// The poll that finds a claim old enough to be finished.
    fn when_orphan(&self, since: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        self.next_poll(since.map_or(self.facts.now, |since| since + self.facts.agent.orphan_after))
    }

    fn claimed_elsewhere(&self) -> Verdict {
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
        Verdict::new(Standing::ClaimedElsewhere, now).advice(advice)
    }

    fn waiting(&self) -> Verdict {
        let mut verdict = self.waits_for();
        let said: Vec<String> = self.run.barriers.iter().map(|barrier| barrier_text(barrier).0).collect();
        let is_told = |text: &String| verdict.now.contains(text.as_str());
        let mut also: Vec<String> = said.into_iter().filter(|text| !is_told(text)).collect();
        if !matches!(
            verdict.standing,
            Standing::AgentOff | Standing::AgentFailing | Standing::NotOurs | Standing::Paused
        ) {
            also.extend(self.agent_trouble().map(|(_, text, _)| text));
        }
        verdict.also = also;
        verdict
    }

    fn waits_for(&self) -> Verdict {
        let RunFacts { state, waits, due_at, .. } = self.run;
        let now = self.facts.now;
        if let Some(barrier) = self.run.barriers.iter().find(|barrier| barrier.is_foreign()) {
            let (text, advice) = barrier_text(barrier);
            return Verdict::new(Standing::NotOurs, format!("It is not this agent's: {text}")).advice(advice);
        }
        match waits {
            Waits::Paused => {
                let text = format!("It has been paused{}", self.for_so_long());
                return Verdict::new(Standing::Paused, text).next("nothing, until somebody resumes it", None);
            }
            Waits::Other => {
                let text = format!("It is {state}{}: agents launch what is Scheduled", self.for_so_long());
                return Verdict::new(Standing::NotScheduled, text);
            }
            Waits::Scheduled | Waits::Slot => {}
        }
        if let Some(off) = self.agent_trouble().filter(|(standing, ..)| *standing == Standing::AgentOff) {
            let (standing, text, advice) = off;
            return Verdict::new(standing, format!("{}, but {text}", self.when_due())).advice(advice);
        }
        if *waits == Waits::Slot {
            let said = self.run.message.as_deref().map(|said| format!(" ({})", quoted(said))).unwrap_or_default();
            let text = format!("Prefect lets it wait for a slot of a concurrency limit{said}");
            let verdict =
                Verdict::new(Standing::WaitsForSlot, text).advice("raise the limit, or wait for other runs to end");
            return match due_at {
                Some(at) => {
                    let next = format!("it is tried again {}", self.relative(*at));
                    verdict.next(next, self.next_poll(*at))
                }
                None => verdict,
            };
        }
        match *due_at {
            Some(at) if at > now => self.later(at),
            _ => self.due(),
        }
    }

    /// Its time has not come.
    fn later(&self, at: OffsetDateTime) -> Verdict {
        let agent = &self.facts.agent;
        let again = format!("it is due again {}, at {}", self.relative(at), self.clock(at));
        if let Some(mark) = &self.run.mark {
            let said = self.run.message.as_deref().map(quoted).unwrap_or_default();
            let attempt = format!("after attempt {} of {}", mark.attempt, agent.max_launch_attempts);
            let text = format!("It was given back{} {attempt}: {said}", self.since());
            // What was given back waits for its whole time.
            let verdict = Verdict::new(Standing::GivenBack, text).next(again, self.next_poll(at));
            let is_short = mark.capacity_refusals > 0;
            return if is_short {
                verdict.advice(format!(
                    "nothing, if it passes: {} of its attempts found no capacity; spot_fallback_after decides when \
                     on-demand capacity is used instead of Spot",
                    mark.capacity_refusals
                ))
            } else {
                verdict
            };
        }
        let text = format!("It is scheduled for {} ({})", self.clock(at), self.relative(at));
        let from = at - agent.prefetch;
        let ahead = agent.prefetch.as_secs();
        let next = match agent.generation {
            _ if agent.prefetch.is_zero() => "the first poll after that launches it".to_owned(),
            Generation::One => {
                format!("polls look {ahead} s ahead: one that sees it holds it, and launches it at that time")
            }
            Generation::TwoOrThree => format!("polls look {ahead} s ahead: the first that sees it launches it"),
        };
        Verdict::new(Standing::ScheduledLater, text).next(next, self.next_poll(from))
    }

    fn when_due(&self) -> String {
        match self.run.due_at {
            Some(at) if at <= self.facts.now => format!("It has been due for {}", span(self.facts.now - at)),
            Some(at) => format!("It is scheduled for {} ({})", self.clock(at), self.relative(at)),
            None => "It is due".to_owned(),
        }
    }

    /// Its time has come.
    fn due(&self) -> Verdict {
        if let Some(barrier) = self.run.barriers.first() {
            let (text, advice) = barrier_text(barrier);
            let now = format!("{}, but {text}", self.when_due());
            let next = "the first poll after that has changed takes it";
            return Verdict::new(Standing::HeldBack, now).next(next, None).advice(advice);
        }
        if let Some((standing, text, advice)) = self.agent_trouble() {
            return Verdict::new(standing, format!("{}, but {text}", self.when_due())).advice(advice);
        }
        let agent = &self.facts.agent;
        let polled = agent.health.as_ref().and_then(|health| health.last_poll);
        let at = self.next_poll(self.facts.now);
        let left = polled.zip(self.run.due_at.or(self.run.since)).filter(|(polled, due)| {
            // A poll ends some seconds after it has looked; what came meanwhile it cannot have seen.
            *polled - time::Duration::seconds(15) > *due
        });
        if let Some((polled, _)) = left {
            let others = match agent.deferred {
                Some(count) if count > 0 => format!("; it left {count} runs for later"),
                _ => String::new(),
            };
            let text = format!(
                "{}, and the last poll, {}, did not take it{others}",
                self.when_due(),
                relative(polled, self.facts.now)
            );
            let advice = "see `deferred` and `skipped` in the poll's report (the poll function's log, or `poll --dry-run`): \
                          they say why, e.g. `limit`, `launch_rate`, the end of the invocation";
            return Verdict::new(Standing::LeftByPoll, text).next("the next poll tries again", at).advice(advice);
        }
        let next =
            if agent.health.is_some() { "the next poll launches it" } else { "the agent's next poll launches it" };
        Verdict::new(Standing::Due, self.when_due()).next(next, at)
    }

    /// Why the agent does not poll, or not well: by its health. With what to do.
    fn agent_trouble(&self) -> Option<(Standing, String, String)> {
        let agent = &self.facts.agent;
        let health = agent.health.as_ref()?;
        let name = &agent.name;
        let last =
            |at: Option<OffsetDateTime>| at.map_or_else(|| "never".to_owned(), |at| relative(at, self.facts.now));
        match health.status {
            AgentStatus::Ok | AgentStatus::Starting => None,
            AgentStatus::Disabled => Some((
                Standing::AgentOff,
                format!("agent {name} has `enabled: false`"),
                "set `enabled: true`, or let another agent serve the run".to_owned(),
            )),
            AgentStatus::Stopped => {
                let most = agent.max_polls.map(|most| format!(" of {most}")).unwrap_or_default();
                let root = agent.root.as_deref().unwrap_or("{root}");
                Some((
                    Standing::AgentOff,
                    format!("agent {name} has had its max_polls{most}"),
                    format!("raise max_polls, or delete the parameter {root}/state/{name}/polls to count anew"),
                ))
            }
            AgentStatus::Maintenance => {
                let until = health.maintenance_until.map(|at| format!(" until {}", self.clock(at))).unwrap_or_default();
                Some((
                    Standing::AgentFailing,
                    format!("Prefect is in maintenance{until}"),
                    "wait: the first poll after it takes the run".to_owned(),
                ))
            }
            AgentStatus::Failing if is_recent(health.last_poll, agent.poll_interval, self.facts.now) => {
                Some((Standing::AgentFailing, failing(name, health), "see the poll function's log".to_owned()))
            }
            AgentStatus::Failing => Some((
                Standing::AgentFailing,
                format!("agent {name} has not polled lately: its last poll was {}", last(health.last_poll)),
                "see that the schedule is ENABLED and starts the function poll, and what that one's log says; `start` \
                 or `poll` do the same from here"
                    .to_owned(),
            )),
        }
    }

    /// What a poll is to do does not happen while its agent does not poll.
    fn unless_agent_is_off(&self, mut verdict: Verdict) -> Verdict {
        if let Some((_, text, advice)) = self.agent_trouble() {
            verdict.also.push(format!("no poll does so now: {text}"));
            verdict.next_at = None;
            verdict.advice.get_or_insert(advice);
        }
        verdict
    }

    /// When the first poll from then on begins, if the agent goes on as it does.
    fn next_poll(&self, not_before: OffsetDateTime) -> Option<OffsetDateTime> {
        next_poll(&self.facts.agent, self.facts.now, not_before)
    }

    fn relative(&self, at: OffsetDateTime) -> String {
        relative(at, self.facts.now)
    }

    fn clock(&self, at: OffsetDateTime) -> String {
        clock(at, self.facts.now)
    }
}

/// When an agent's first poll from `not_before` on begins, if it goes on as it does; `None` = it does not poll, or nobody
/// knows since when.
fn next_poll(agent: &AgentView, now: OffsetDateTime, not_before: OffsetDateTime) -> Option<OffsetDateTime> {
    let health = agent.health.as_ref().filter(|health| health.status == AgentStatus::Ok)?;
    let (last, interval) = (health.last_poll?, time::Duration::try_from(agent.poll_interval).ok()?);
    if !interval.is_positive() {
        return None;
    }
    let from = now.max(not_before);
    let periods = ((from - last).as_seconds_f64() / interval.as_seconds_f64()).ceil().max(1.0);
    Some(last + interval * periods)
}

fn failing(name: &str, health: &AgentHealth) -> String {
    let kind = health.error.and_then(|kind| serde_json::to_value(kind).ok());
    let kind = kind.as_ref().and_then(serde_json::Value::as_str).map(|kind| format!(" ({kind})")).unwrap_or_default();
    format!("the polls of agent {name} fail{kind}")
}

/// The states of a run that ended as it should not.
fn is_bad_end(state: &str) -> bool {
    !matches!(state, "Completed" | "Success" | "Cached" | "Skipped" | "Cancelled")
}

/// A barrier in a sentence, and what to do about it.
fn barrier_text(barrier: &Barrier) -> (String, String) {
    let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match barrier {
        Barrier::NoPool => (
            "the run belongs to no work pool; the process that created or serves it runs it".to_owned(),
            "deploy its flow to a work pool, where an agent should run it".to_owned(),
        ),
        Barrier::OtherPool { pool, served } => (
            format!("its deployment is of work pool `{pool}`, and the agent serves `{served}`"),
            format!("see that a worker or an agent serves `{pool}`, or move the deployment"),
        ),
        Barrier::OtherQueue { queue, served } => (
            format!("queue `{queue}` is not among work_queues ({})", list(served)),
            format!("add `{queue}` to work_queues, or leave work_queues out to serve them all"),
        ),
        Barrier::Labels { run, agent } if run.is_empty() => (
            format!("it has no labels, and the agent has {}: unlabelled runs are for unlabelled agents", list(agent)),
            "label the flow, or let an agent without labels poll".to_owned(),
        ),
        Barrier::Labels { run, agent } => {
            let missing: Vec<String> = run.iter().filter(|label| !agent.contains(label)).cloned().collect();
            let has = if agent.is_empty() { "none".to_owned() } else { list(agent) };
            (
                format!("its labels do not match: the agent lacks {} (it has {has})", list(&missing)),
                format!("add {} to the agent's labels, or take them from the run", list(&missing)),
            )
        }
        Barrier::OtherTenant => (
            "it belongs to another tenant than the agent's".to_owned(),
            "see tenant_id and the API key of the agent".to_owned(),
        ),
        Barrier::RetriedInProcess => (
            "the process that ran it retries it itself".to_owned(),
            "see whether that process still lives; else set the run's state to Scheduled".to_owned(),
        ),
        Barrier::PoolPaused(pool) => {
            (format!("work pool `{pool}` is paused"), format!("prefect work-pool resume '{pool}'"))
        }
        Barrier::QueuePaused(queue) => {
            (format!("queue `{queue}` is paused"), format!("prefect work-queue resume '{queue}' --pool POOL"))
        }
        Barrier::PoolFull(slots) => (
            format!("work pool `{}` is full: {} of {} slots are taken", slots.name, slots.taken, slots.limit),
            "wait for its runs to end, or raise the pool's concurrency limit; runs that are stuck in Pending take slots too"
                .to_owned(),
        ),
        Barrier::QueueFull(slots) => (
            format!("queue `{}` is full: {} of {} slots are taken", slots.name, slots.taken, slots.limit),
            "wait for its runs to end, or raise the queue's concurrency limit; runs that are stuck in Pending take slots too"
                .to_owned(),
        ),
        Barrier::DeploymentClosed => (
            "the concurrency limit of its deployment is 0".to_owned(),
            "raise the deployment's concurrency limit".to_owned(),
        ),
    }
}
