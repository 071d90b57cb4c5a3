//! The life of a task.

use super::Ecs;
use crate::rng::Rng;
use crate::run::RunId;
use time::{Duration, OffsetDateTime};

/// `lastStatus`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Getting its network.
    Provisioning,
    /// Getting its image.
    Pending,
    /// Its containers run.
    Running,
    /// It has stopped.
    Stopped,
}

impl Status {
    /// As ECS spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
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
}

impl Fates {
    /// The next one.
    pub fn next(self, rng: &mut Rng) -> Fate {
        // Fargate is never quicker than this, and seldom slower than two minutes.
        let starts_after = rng.between(35, 120);
        let takes = rng.between(5, 400);
        let then = if rng.chance(self.harm) {
            match rng.below(if self.retries { 7 } else { 6 }) {
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
pub struct Task {
    /// Place among all tasks.
    pub index: usize,
    /// `taskArn`
    pub arn: String,
    /// Name of its cluster.
    pub cluster: String,
    /// `startedBy`; Python agents give none.
    pub started_by: Option<String>,
    /// `clientToken` of its request; Python agents give none.
    pub token: Option<String>,
    /// The run it is for.
    pub run: RunId,
    /// `createdAt`
    pub created_at: OffsetDateTime,
    /// From when on `ListTasks` shows it.
    pub listed_from: OffsetDateTime,
    /// From when on `DescribeTasks` shows it.
    pub described_from: OffsetDateTime,
    /// `lastStatus`
    pub status: Status,
    /// Its `desiredStatus` is `STOPPED`.
    pub is_ending: bool,
    /// When it stopped.
    pub stopped_at: Option<OffsetDateTime>,
    /// When its containers had started.
    pub started_at: Option<OffsetDateTime>,
    /// `stopCode`
    pub stop_code: &'static str,
    /// `stoppedReason`
    pub stopped_reason: &'static str,
    /// What its container exited with; `None` = it never ran, or nobody saw it end.
    pub exit_code: Option<i64>,
    /// Counts its changes.
    pub version: i64,
    /// What becomes of it.
    pub fate: Fate,
    /// The flow's process runs, and gives signs of life.
    pub runs_flow: bool,
}

impl Task {
    /// Whether this program started it.
    pub fn is_ours(&self) -> bool {
        self.started_by.is_some()
    }

    /// It gets into this state.
    pub(crate) fn changes(&mut self, status: Status) {
        self.status = status;
        self.version += 1;
    }

    /// Says why, if it stops by itself before anything of it ran.
    pub(crate) fn never_starts(&mut self) {
        if self.started_at.is_some() || self.is_ending || self.stop_code == "SpotInterruption" {
            return;
        }
        self.stop_code = "TaskFailedToStart";
        self.stopped_reason = match self.fate.takes % 3 {
            0 => "Timeout waiting for network interface provisioning to complete.",
            1 => "CannotPullContainerError: pull image manifest has been retried 5 time(s): not found",
            _ => "Capacity is unavailable at this time. Please try again later or in a different availability zone",
        };
    }

    /// It runs, or will.
    pub fn is_live(&self) -> bool {
        self.status != Status::Stopped && !self.is_ending
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

impl Ecs {
    /// Starts a task. What will happen to it comes back.
    pub(super) fn start(&mut self, mut task: Task, now: OffsetDateTime) -> Vec<(OffsetDateTime, Event)> {
        let index = self.tasks.len();
        task.index = index;
        let lag =
            |rng: &mut Rng, most: u64| Duration::milliseconds(i64::try_from(rng.below(most + 1)).unwrap_or_default());
        task.listed_from = now + lag(&mut self.rng, self.rules.lag);
        task.described_from = now + lag(&mut self.rng, self.rules.lag);
        let fate = task.fate;
        self.by_run.entry(task.run).or_default().push(index);
        self.tasks.push(task);
        let starts = now + seconds(fate.starts_after);
        let pending = (now + seconds(fate.starts_after.min(5)), Event::Pending(index));
        match fate.then {
            Then::NeverStarts => vec![pending, (starts, Event::Stopped(index))],
            _ => vec![pending, (starts, Event::Running(index))],
        }
    }

    /// Asks a task to stop. What will happen to it comes back.
    pub(crate) fn stop(&mut self, index: usize, now: OffsetDateTime) -> Option<(OffsetDateTime, Event)> {
        let task = self.tasks.get_mut(index).filter(|task| task.status != Status::Stopped && !task.is_ending)?;
        task.is_ending = true;
        task.stop_code = "UserInitiated";
        task.stopped_reason = "Task stopped by user";
        task.exit_code = (task.status == Status::Running).then_some(137);
        let most = if task.status == Status::Running { 45 } else { 10 };
        Some((now + seconds(self.rng.between(1, most)), Event::Stopped(index)))
    }
}

/// Seconds as a span.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
