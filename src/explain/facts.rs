//! What was observed of one flow run: by Prefect, by ECS, and by what the agent wrote down. Nothing here decides.

use crate::health::status::AgentHealth;
use crate::model::Generation;
use crate::orchestrator::run_facts::RunFacts;
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::LogStream;
use std::time::Duration;
use time::OffsetDateTime;

/// All that is known of a run when its story is told.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When it was observed.
    pub now: OffsetDateTime,
    /// Id of the flow run.
    pub flow_run_id: String,
    /// The agent that was asked.
    pub agent: AgentView,
    /// The run; `Err` = Prefect could not be asked, and why.
    pub run: Result<RunFacts, String>,
    /// Its tasks.
    pub tasks: Tasks,
}

/// The tasks of a run, as far as ECS was asked.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// Those that ECS still knows, the oldest first.
    pub found: Vec<TaskFacts>,
    /// What could not be asked, and why. With any of these, that nothing was found proves nothing.
    pub unknown: Vec<String>,
    /// There was no reason to ask: the run was never claimed.
    pub not_asked: bool,
}

/// What matters of an agent.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// Its name in the deployment.
    pub name: String,
    /// Whose rules hold.
    pub generation: Generation,
    /// Which Prefect, as its configuration spells it: `3`, `2`, `1`, `0.15`.
    pub prefect: &'static str,
    /// How long a poll looks ahead.
    pub prefetch: Duration,
    /// Period of the schedule.
    pub poll_interval: Duration,
    /// A claim without a task is finished after so long.
    pub orphan_after: Duration,
    /// Launches of one run at most.
    pub max_launch_attempts: u32,
    /// A cancelled flow gets so long to end by itself.
    pub cancel_grace: Duration,
    /// Lines of a dead container's log that are forwarded.
    pub forward_log_lines: u32,
    /// Polls before it stops.
    pub max_polls: Option<u64>,
    /// Runs that the last poll left for a later one.
    pub deferred: Option<u64>,
    /// How it is, as the health page judges it; `None` = it is configured by a file, and nothing is remembered, or what is
    /// could not be read.
    pub health: Option<AgentHealth>,
    /// The root of the deployment's parameters.
    pub root: Option<String>,
}

/// A task of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFacts {
    /// The task, as an event about it would tell.
    pub task: TaskEvent,
    /// When the pull of its images began.
    pub pull_started_at: Option<OffsetDateTime>,
    /// When its images were there.
    pub pull_stopped_at: Option<OffsetDateTime>,
    /// The log of the flow's container, where its definition names one.
    pub log: Option<LogStream>,
}
