//! What was observed of one flow run: by Prefect, by ECS, and by what the agent wrote down. Nothing here decides.

use crate::config::AgentConfig;
use crate::health::status::AgentHealth;
use crate::model::Generation;
use crate::orchestrator::run_facts::RunFacts;
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::LogStream;
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
}

/// What matters of an agent.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// Its configuration.
    pub config: AgentConfig,
    /// Polls before it stops, after settings kept in the backend.
    pub max_polls: Option<u64>,
    /// Runs that the last poll left for a later one.
    pub deferred: Option<u64>,
    /// How it is, as the health page judges it; `None` = it is configured by a file, and nothing is remembered, or what is
    /// could not be read.
    pub health: Option<AgentHealth>,
    /// The root of the deployment's parameters.
    pub root: Option<String>,
}

impl AgentView {
    /// Whose rules hold.
    pub fn generation(&self) -> Generation {
        self.config.generation.generation()
    }
}

/// A task of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFacts {
    /// The task, as an event about it would tell.
    pub task: TaskEvent,
    /// When its images were there.
    pub pull_stopped_at: Option<OffsetDateTime>,
    /// The log of the flow's container, where its definition names one.
    pub log: Option<LogStream>,
}
