//! ECS and EC2: tasks, tokens, task definitions, and the calls to them.

mod answers;
mod calls;
mod definitions;
mod run_task;
mod tasks;
mod tokens;

pub(crate) use answers::log_error;

pub use calls::{SimEc2, SimEcs};
pub use definitions::Families;
pub use run_task::Refusal;
pub(crate) use run_task::fingerprint;
pub(crate) use tasks::seconds;
pub use tasks::{Event, Fate, Fates, Status, Task, Then};
pub use tokens::Tokens;

use crate::rng::Rng;
use crate::run::RunId;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// What ECS's documentation leaves open, and what it says about itself only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A token also stands for a refusal, not only for a request that started a task.
    pub remembers_refusals: bool,
    /// A replay's answer describes the task as it was when it was started.
    pub answers_as_then: bool,
    /// A new task is listed and described so many milliseconds later at most.
    pub lag: u64,
}

/// The account's ECS.
#[derive(Debug)]
pub struct Ecs {
    /// What is left open.
    pub rules: Rules,
    /// All tasks there ever were.
    pub tasks: Vec<Task>,
    /// Tokens.
    pub tokens: Tokens,
    /// Task definitions.
    pub families: Families,
    /// Capacity is refused until then; of Spot only, if so.
    pub shortage: Option<(OffsetDateTime, bool)>,
    /// What becomes of new tasks.
    pub fates: Fates,
    /// Chance of its own.
    pub rng: Rng,
    /// Tasks of each run.
    by_run: BTreeMap<RunId, Vec<usize>>,
}

impl Ecs {
    /// An empty one.
    pub fn new(rules: Rules, fates: Fates, rng: Rng) -> Self {
        Self {
            rules,
            tasks: Vec::new(),
            tokens: Tokens::default(),
            families: Families::default(),
            shortage: None,
            fates,
            rng,
            by_run: BTreeMap::new(),
        }
    }

    /// The tasks of a run, whoever started them.
    pub fn tasks_of(&self, run: RunId) -> impl Iterator<Item = &Task> {
        self.by_run.get(&run).into_iter().flatten().filter_map(|index| self.tasks.get(*index))
    }

    /// Whether the run has a task that has not stopped and is not to.
    pub fn has_live_task(&self, run: RunId) -> bool {
        self.tasks_of(run).any(Task::is_live)
    }

    /// Whether a process of the run's flow sends heartbeats.
    pub fn runs_flow(&self, run: RunId) -> bool {
        self.tasks_of(run).any(|task| task.runs_flow && task.status != Status::Stopped)
    }
}
