//! What was observed of one flow run: by Prefect, by ECS, and by what the agent wrote down. Nothing here decides.

use crate::health::status::AgentHealth;
use crate::model::{Generation, Run};
use crate::orchestrator::Mark;
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

/// A run as Prefect has it.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Id, as Prefect spells it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of its state, as Prefect shows it.
    pub state: String,
    /// Message of its state.
    pub message: Option<String>,
    /// When it got into its state.
    pub since: Option<OffsetDateTime>,
    /// How far it is.
    pub run: Run,
    /// What kind of waiting it is, of a run that waits.
    pub waits: Waits,
    /// The mark of the claim that it is in, or of the one that was given back to its state; ours only.
    pub mark: Option<Mark>,
    /// The name of the worker that took it, where it says so.
    pub worker: Option<String>,
    /// When it is to start, of a run that waits; of a Running one of Prefect 1, when its task runs are.
    pub due_at: Option<OffsetDateTime>,
    /// It brings AWS credentials along, so that its tasks may be where the agent's own do not reach.
    pub has_own_credentials: bool,
    /// What its states were, the oldest first.
    pub states: Vec<StateFacts>,
    /// Why polls of this agent do not find it although its time has come; the most lasting first.
    pub barriers: Vec<Barrier>,
    /// What could not be asked, and why.
    pub unknown: Vec<String>,
}

/// What a run that is not claimed waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Its time: polls look for it.
    Scheduled,
    /// A slot under a concurrency limit, after which Prefect schedules it anew.
    Slot,
    /// A person.
    Paused,
    /// Something that no agent launches.
    Other,
}

/// One state of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StateFacts {
    /// When the run got into it.
    pub at: Option<OffsetDateTime>,
    /// Its name.
    pub name: String,
    /// Its message.
    pub message: Option<String>,
    /// For when it schedules the run.
    pub scheduled_for: Option<OffsetDateTime>,
    /// A claim, as opposed to what else may carry a mark.
    pub is_claim: bool,
    /// The mark in it.
    pub mark: Option<Mark>,
    /// The mark is this agent's.
    pub is_ours: bool,
}

/// Why a due run is not found by this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barrier {
    /// Prefect 2 and 3: it belongs to no work pool: somebody's process runs it (`serve`, a call).
    NoPool,
    /// Prefect 2 and 3: it is another pool's.
    OtherPool {
        /// The run's.
        pool: String,
        /// The agent's.
        served: String,
    },
    /// Prefect 2 and 3: it is in a queue that the agent does not serve.
    OtherQueue {
        /// The run's.
        queue: String,
        /// The agent's.
        served: Vec<String>,
    },
    /// Prefect 1: its labels are not the agent's.
    Labels {
        /// The run's.
        run: Vec<String>,
        /// The agent's.
        agent: Vec<String>,
    },
    /// Prefect 1: it belongs to another tenant.
    OtherTenant,
    /// Prefect 2 and 3: the process that ran it retries it itself.
    RetriedInProcess,
    /// The pool is paused.
    PoolPaused(String),
    /// The queue is paused.
    QueuePaused(String),
    /// So many runs of the pool are claimed or run, and no more may.
    PoolFull(Slots),
    /// The same of the queue.
    QueueFull(Slots),
    /// The deployment allows no run at all.
    DeploymentClosed,
}

impl Barrier {
    /// It is not this agent's run, as opposed to one that must wait.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::NoPool
            | Self::OtherPool { .. }
            | Self::OtherQueue { .. }
            | Self::Labels { .. }
            | Self::OtherTenant
            | Self::RetriedInProcess => true,
            Self::PoolPaused(_)
            | Self::QueuePaused(_)
            | Self::PoolFull(_)
            | Self::QueueFull(_)
            | Self::DeploymentClosed => false,
        }
    }
}

/// A concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Of what.
    pub name: String,
    /// How many are taken.
    pub taken: u64,
    /// How many there are.
    pub limit: u64,
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
