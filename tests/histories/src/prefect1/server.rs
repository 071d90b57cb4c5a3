//! The states of flow runs, as the server keeps them.

use crate::run::{End, Phase, RunId};
use prefect_serverless_agent::orchestrator::Mark;
use std::collections::{BTreeMap, BTreeSet};
use time::{Duration, OffsetDateTime};

/// A run that was Submitted is not Submitted again for so long, as far as this server process remembers.
const LOCK: Duration = Duration::seconds(30);

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Prefect Cloud's version locking: a state with another version than the run's is refused.
    pub version_locking: bool,
    /// Prefect Server's lock of Submitted runs; not with several replicas.
    pub lock: bool,
    /// Prefect Cloud's limit of runs of a flow at the same time.
    pub limit: Option<usize>,
    /// It refuses the agent's own query of due runs, so that the queue is asked as Python's agents do.
    pub queue_only: bool,
}

/// Type of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Prefect's own names.
pub enum Kind {
    Scheduled,
    Retrying,
    Paused,
    Queued,
    Submitted,
    Running,
    Cancelling,
    Cancelled,
    Success,
    Failed,
}

impl Kind {
    /// A final state.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Success | Self::Failed)
    }

    /// As the API spells it.
    pub fn text(self) -> String {
        format!("{self:?}")
    }
}

/// A state.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its type.
    pub kind: Kind,
    /// When what waits is due.
    pub start_time: Option<OffsetDateTime>,
    /// Our mark in its context.
    pub mark: Option<Mark>,
    /// The state within a Submitted one.
    pub inner: Option<Box<State>>,
}

impl State {
    /// A state without more to say.
    pub fn plain(kind: Kind) -> Self {
        Self { kind, start_time: None, mark: None, inner: None }
    }

    /// Scheduled for this time.
    pub fn scheduled(start_time: OffsetDateTime) -> Self {
        Self { start_time: Some(start_time), ..Self::plain(Kind::Scheduled) }
    }

    /// Submitted, around what was received.
    pub fn submitted(received: &State, mark: Option<Mark>) -> Self {
        Self { mark, inner: Some(Box::new(received.clone())), ..Self::plain(Kind::Submitted) }
    }
}

/// A task run.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRun {
    /// Its id.
    pub id: String,
    /// Counts its states.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// When it got into its state.
    pub since: OffsetDateTime,
}

/// A flow run.
#[derive(Debug, Clone)]
pub struct FlowRun {
    /// Counts its states.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// When it got into its state.
    pub since: OffsetDateTime,
    /// Its last sign of life.
    pub heartbeat: OffsetDateTime,
    /// When its flow began, if ever.
    pub started: Option<OffsetDateTime>,
    /// When it was Submitted last, or one of its task runs.
    pub submitted_at: Option<OffsetDateTime>,
    /// How often Lazarus brought it back.
    pub resurrections: u32,
    /// Its task runs, as far as they matter.
    pub task_runs: Vec<TaskRun>,
    /// Whose marks its states had so far.
    pub marked_by: BTreeSet<String>,
    /// How it ended, if it did.
    pub end: Option<End>,
}

/// A state to set.
#[derive(Debug, Clone)]
pub struct SetState {
    /// The flow run.
    pub run: RunId,
    /// One of its task runs, if it is that one's state.
    pub task_run: Option<String>,
    /// The version that is expected, if any.
    pub version: Option<i64>,
    /// The state.
    pub state: State,
}

/// What the server says to a state that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is set.
    Success,
    /// Queued was set instead.
    Queued,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// What kind it is.
    pub rules: Rules,
    /// Its flow runs.
    pub runs: BTreeMap<RunId, FlowRun>,
    /// Submitted runs, and when this process saw that. Lost when it ends.
    locks: BTreeMap<RunId, OffsetDateTime>,
}

impl Server {
    /// An empty one.
    pub fn new(rules: Rules) -> Self {
        Self { rules, runs: BTreeMap::new(), locks: BTreeMap::new() }
    }

    /// A new run, due at this time.
    pub fn schedule(&mut self, run: RunId, start_time: OffsetDateTime, now: OffsetDateTime) {
        let row = FlowRun {
            version: 1,
            state: State::scheduled(start_time),
            since: now,
            heartbeat: now,
            started: None,
            submitted_at: None,
            resurrections: 0,
            task_runs: Vec::new(),
            marked_by: BTreeSet::new(),
            end: None,
        };
        self.runs.insert(run, row);
    }

    /// The process ends and another takes over: locks are forgotten.
    pub fn restart(&mut self) {
        self.locks.clear();
    }

    /// Sets a state; the server's words when it refuses.
    pub fn set(&mut self, set: &SetState, now: OffsetDateTime) -> Result<Status, String> {
        match &set.task_run {
            None => self.set_flow_run(set, now),
            Some(id) => self.set_task_run(set, id, now),
        }
    }

    fn set_flow_run(&mut self, set: &SetState, now: OffsetDateTime) -> Result<Status, String> {
        let rules = self.rules;
        let full = rules.limit.is_some_and(|limit| self.in_progress(set.run) >= limit);
        let locked = self.locks.get(&set.run).is_some_and(|since| now - *since < LOCK);
        let row = self.runs.get_mut(&set.run).ok_or("State update failed: no such flow run.")?;
        if rules.version_locking && set.version.is_some_and(|version| version != row.version) {
            return Err("State update failed: version locking.".into());
        }
        let submits = set.state.kind == Kind::Submitted;
        if submits && rules.lock && locked {
            return Err("State update failed: this run has already been submitted.".into());
        }
        if submits && full {
            row.put(State { kind: Kind::Queued, inner: None, ..set.state.clone() }, now);
            return Ok(Status::Queued);
        }
        row.put(set.state.clone(), now);
        if submits {
            self.locks.insert(set.run, now);
        }
        Ok(Status::Success)
    }

    fn set_task_run(&mut self, set: &SetState, id: &str, now: OffsetDateTime) -> Result<Status, String> {
        let rules = self.rules;
        let row = self.runs.get_mut(&set.run).ok_or("State update failed: no such flow run.")?;
        let marks = set.state.mark.as_ref().map(|mark| mark.agent.clone());
        let task_run = row.task_runs.iter_mut().find(|task_run| task_run.id == id);
        let task_run = task_run.ok_or("State update failed: no such task run.")?;
        if rules.version_locking && set.version.is_some_and(|version| version != task_run.version) {
            return Err("State update failed: version locking.".into());
        }
        task_run.version += 1;
        task_run.since = now;
        task_run.state = set.state.clone();
        row.marked_by.extend(marks);
        if set.state.kind == Kind::Submitted {
            row.submitted_at = Some(now);
        }
        Ok(Status::Success)
    }

    /// Other runs that count for the limit.
    fn in_progress(&self, run: RunId) -> usize {
        let counts = |row: &FlowRun| matches!(row.state.kind, Kind::Submitted | Kind::Running);
        self.runs.iter().filter(|(id, row)| **id != run && counts(row)).count()
    }

    /// How far a run is.
    pub fn phase(&self, run: RunId) -> Option<Phase> {
        let row = self.runs.get(&run)?;
        Some(match row.state.kind {
            Kind::Scheduled => Phase::Scheduled(row.state.start_time.unwrap_or(row.since)),
            Kind::Retrying | Kind::Paused | Kind::Queued => Phase::Waiting,
            Kind::Submitted => Phase::Claimed(row.state.mark.clone()),
            Kind::Running => {
                let claimed = row.task_runs.iter().filter(|task_run| task_run.state.kind == Kind::Submitted);
                Phase::Running(claimed.filter_map(|task_run| task_run.state.mark.clone()).collect())
            }
            Kind::Cancelling => Phase::Cancelling,
            Kind::Cancelled => Phase::Ended(End::Cancelled),
            Kind::Success | Kind::Failed => Phase::Ended(row.end.unwrap_or(End::ByItself)),
        })
    }
}

impl FlowRun {
    /// Counts its states and those of its task runs.
    pub fn states(&self) -> i64 {
        self.version + self.task_runs.iter().map(|task_run| task_run.version).sum::<i64>()
    }

    /// Puts a state over the present one.
    pub fn put(&mut self, state: State, now: OffsetDateTime) {
        self.version += 1;
        self.since = now;
        self.end = None;
        match state.kind {
            Kind::Running => {
                self.started = self.started.or(Some(now));
                self.heartbeat = now;
            }
            Kind::Submitted => {
                self.submitted_at = Some(now);
                self.heartbeat = now;
            }
            _ => {}
        }
        self.marked_by.extend(state.mark.as_ref().map(|mark| mark.agent.clone()));
        self.state = state;
    }

    /// Ends, and says how.
    pub fn end(&mut self, kind: Kind, end: End, now: OffsetDateTime) {
        self.put(State::plain(kind), now);
        self.end = Some(end);
    }
}
