//! What becomes of tasks: the fake of ECS keeps them, and here is decided how they live.

use crate::rng::Rng;
use crate::run::RunId;
use time::{Duration, OffsetDateTime};
use world::ecs::Stop;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has not begun.
    Starting,
    /// Its containers run.
    Running,
    /// It has stopped.
    Stopped,
}

/// What becomes of a task once its flow could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The flow ends well.
    Succeeds,
    /// The flow ends, not well.
    Fails,
    /// The container dies before the flow begins.
    DiesBefore,
    /// The container dies while the flow runs.
    DiesWithin,
    /// It never starts: no network, no image.
    NeverStarts,
    /// The flow goes on without a sign of life.
    Hangs,
    /// Prefect 1: a task of the flow is to be retried so much later that the process ends.
    RetriesLater,
}

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Seconds from its start until it runs, or until it is given up.
    pub starts_after: u64,
    /// Seconds the flow takes, or lives.
    pub takes: u64,
    /// How it goes on.
    pub then: Then,
}

/// How fates are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    /// So many of a thousand tasks come to harm.
    pub harm: u64,
    /// Flows have tasks that are retried later (Prefect 1).
    pub retries: bool,
    /// Most of the harm comes while the flow runs.
    pub within: bool,
}

impl Fates {
    /// The next one.
    pub fn next(self, rng: &mut Rng) -> Fate {
        // Fargate is never quicker than this, and seldom slower than two minutes.
        let starts_after = rng.between(35, 120);
        let takes = rng.between(5, 400);
        let then = if rng.chance(self.harm) {
            let kind = if self.within && rng.chance(700) { 2 } else { rng.below(if self.retries { 7 } else { 6 }) };
            match kind {
                0 => Then::Fails,
                1 => Then::DiesBefore,
                2 => Then::DiesWithin,
                3 | 4 => Then::NeverStarts,
                5 => Then::Hangs,
                _ => Then::RetriesLater,
            }
        } else {
            Then::Succeeds
        };
        // A task that gets no network or image is given up late; one without a healthy host waits very long.
        let starts_after = if then == Then::NeverStarts { rng.between(10, 900) } else { starts_after };
        Fate { starts_after, takes, then }
    }
}

/// A task.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is for itself")]
pub struct Task {
    /// Place among all tasks.
    pub index: usize,
    /// `taskArn`
    pub arn: String,
    /// `clusterArn`
    pub cluster: String,
    /// `clientToken` of its request; Python agents give none.
    pub token: Option<String>,
    /// The run it is for.
    pub run: RunId,
    /// Whether this program started it.
    pub is_ours: bool,
    /// `createdAt`
    pub created_at: OffsetDateTime,
    /// From when on `ListTasks` shows it.
    pub listed_from: OffsetDateTime,
    /// How far it is.
    pub status: Status,
    /// It is to stop.
    pub is_ending: bool,
    /// How it stops, where that is decided.
    pub stop: Option<Stop>,
    /// What becomes of it.
    pub fate: Fate,
    /// The flow's process runs, and gives signs of life.
    pub runs_flow: bool,
    /// The flow's process has asked whether to begin.
    pub has_asked: bool,
}

impl Task {
    /// It runs, or will.
    pub fn is_live(&self) -> bool {
        self.status != Status::Stopped && !self.is_ending
    }

    /// How it stops when nothing else was decided: it never started, or ended by itself.
    pub fn stops(&self) -> Stop {
        match (&self.stop, self.status) {
            (Some(stop), _) => stop.clone(),
            (None, Status::Starting) => Stop::failed_to_start(match self.fate.takes % 3 {
                0 => "Timeout waiting for network interface provisioning to complete.",
                1 => "CannotPullContainerError: pull image manifest has been retried 5 time(s): not found",
                _ => "Capacity is unavailable at this time. Please try again later or in a different availability zone",
            }),
            (None, _) => Stop::exited(0),
        }
    }
}

/// Something that happens to a task by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It has a network.
    Pending(usize),
    /// Its containers run.
    Running(usize),
    /// The flow's process asks Prefect whether to begin.
    Begins(usize),
    /// The flow's process comes to its end.
    Ends(usize),
    /// It has stopped.
    Stopped(usize),
}

/// Seconds as a span.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
