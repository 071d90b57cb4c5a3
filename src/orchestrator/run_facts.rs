//! What Prefect says of one flow run, for its story: its states, and what keeps it. Nothing here decides.

use super::Mark;
use crate::model::{Run, RunEnd};
use time::OffsetDateTime;

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
    /// How it ended, of a run that has.
    pub end: Option<RunEnd>,
    /// What kind of waiting it is, of a run that waits.
    pub waits: WaitReason,
    /// The mark of the claim that it is in, or of the one that was given back to its state; ours only.
    pub mark: Option<Mark>,
    /// This agent has claimed it, or task runs of it, at some time.
    pub was_ours: bool,
    /// The name of the worker that took it, where it says so.
    pub worker: Option<String>,
    /// When it is to start, of a run that waits; of a Running one of Prefect 1, when its task runs are.
    pub due_at: Option<OffsetDateTime>,
    /// It brings AWS credentials along, so that its tasks may be where the agent's own do not reach.
    pub has_own_credentials: bool,
    /// What its states were, the oldest first.
    pub states: Vec<StateFacts>,
    /// Why polls of this agent do not find it although its time has come; the most lasting first.
    pub block_reasons: Vec<BlockReason>,
    /// What could not be asked, and why.
    pub unknown: Vec<String>,
}

/// What a run that is not claimed waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
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
pub enum BlockReason {
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
    QueuePaused {
        /// The queue.
        queue: String,
        /// Its pool.
        pool: String,
    },
    /// So many runs of the pool are claimed or run, and no more may.
    PoolFull(SlotsTaken),
    /// The same of the queue.
    QueueFull(SlotsTaken),
    /// The deployment allows no run at all.
    DeploymentClosed,
}

impl BlockReason {
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
            | Self::QueuePaused { .. }
            | Self::PoolFull(_)
            | Self::QueueFull(_)
            | Self::DeploymentClosed => false,
        }
    }
}

impl BlockReason {
    /// Polls of this agent ask nothing about the run at all, not even once it is claimed.
    pub fn is_out_of_sight(&self) -> bool {
        match self {
            Self::NoPool | Self::OtherPool { .. } | Self::OtherTenant => true,
            Self::OtherQueue { .. }
            | Self::Labels { .. }
            | Self::RetriedInProcess
            | Self::PoolPaused(_)
            | Self::QueuePaused { .. }
            | Self::PoolFull(_)
            | Self::QueueFull(_)
            | Self::DeploymentClosed => false,
        }
    }

    /// Polls of this agent do not stop the run's task when it is cancelled. Labels do not matter for that.
    pub fn spares_cancelled(&self) -> bool {
        self.is_out_of_sight() || matches!(self, Self::OtherQueue { .. })
    }
}

/// A concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotsTaken {
    /// Of what.
    pub name: String,
    /// How many are taken.
    pub taken: u64,
    /// How many there are.
    pub limit: u64,
}
