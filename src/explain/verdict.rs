//! Pure: how a run stands, what happens next and when, and what to do about it. Whose a run is, when a claim is an
//! orphan, what a dead task leads to and how an agent is: each is asked of the rule by which it is done.

mod begun;
mod polls;
#[cfg(test)]
mod tests;
mod waiting;

use super::facts::{Facts, TaskFacts};
use super::words::{clock, relative, span};
use crate::model::Phase;
use crate::orchestrator::run_facts::RunFacts;
use crate::platform::LiveDeployment;
use crate::platform::ecs::launcher::progress;
use crate::task_events::diagnosis::Diagnosis;
use crate::task_events::task_owner::LaunchedBy;
use serde::Serialize;
use time::OffsetDateTime;

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
    /// It is due, and Prefect is in maintenance.
    Maintenance,
    /// It is due, and the last poll of an agent that is well had trouble.
    BadPoll,
    /// It is due, and the next poll finds it.
    Due,
    /// It is due, and the last poll left it.
    LeftByPoll,
    /// Prefect could not be asked.
    Unknown,
}

/// What is to be said of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunVerdict {
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

impl RunVerdict {
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
pub fn verdict(facts: &Facts) -> RunVerdict {
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

fn prefect_unknown(facts: &Facts, why: &str) -> RunVerdict {
    let tasks = facts.tasks.found.len();
    let seen = match tasks {
        0 => "no task of it was seen".to_owned(),
        1 => "ECS knows one task of it".to_owned(),
        _ => format!("ECS knows {tasks} tasks of it"),
    };
    let verdict = RunVerdict::new(Standing::Unknown, format!("Prefect could not be asked about the run; {seen}"));
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
        let ours = crate::platform::started_by(&self.facts.agent.config.agent, &self.run.id);
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

    /// Whether all its tasks are known.
    fn knows_tasks(&self) -> bool {
        self.facts.tasks.unknown.is_empty()
    }

    fn diagnosis(&self, task: &TaskFacts) -> Diagnosis {
        Diagnosis::of(&task.task, self.facts.agent.generation())
    }

    fn relative(&self, at: OffsetDateTime) -> String {
        relative(at, self.facts.now)
    }

    fn clock(&self, at: OffsetDateTime) -> String {
        clock(at, self.facts.now)
    }
}
