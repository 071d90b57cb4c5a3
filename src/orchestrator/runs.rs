//! What passes through the seam: due runs, claims, what became of them.

use crate::model::ApiError;
use std::time::Duration;
use time::OffsetDateTime;

/// The times of one look at the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The time of the look.
    pub now: OffsetDateTime,
    /// Runs that start up to here are asked for.
    pub before: OffsetDateTime,
}

/// One answer of the queue.
#[derive(Debug, Clone)]
pub struct DuePage<D> {
    /// Runs in the order of their start time.
    pub runs: Vec<DueRun<D>>,
    /// Rows that are due but cannot be understood: the run's id (as far as known) and why.
    pub unreadable: Vec<(String, String)>,
    /// The answer was a full page: there may be more.
    pub full: bool,
    /// The runs are known, but the request that keeps the agent alive in Prefect's eyes failed: launches go on, the
    /// poll reports trouble.
    pub queue_error: Option<ApiError>,
}

/// A flow run that is due, as the planner needs to know it.
#[derive(Debug, Clone)]
pub struct DueRun<D> {
    /// Id of the flow run (a UUID in text).
    pub flow_run_id: String,
    /// Name of the flow run, for people.
    pub name: String,
    /// Never launched before this time.
    pub start_time: OffsetDateTime,
    /// Names this turn of the run: a new state that makes the run due again has a new epoch.
    pub epoch: String,
    /// `clientToken` of this turn's launch: a function of run and epoch.
    pub token: String,
    /// Whether an earlier epoch may have a task.
    pub has_history: bool,
    /// A Running run whose tasks are due to be retried (Prefect 1): an earlier task that runs is left alone.
    pub is_task_retry: bool,
    /// How many launches of this run were given back before.
    pub attempts: u32,
    /// How many of those were refusals for want of capacity.
    pub capacity_refusals: u32,
    /// What only this generation knows.
    pub detail: D,
}

/// What stands between a queue and the end of its runs.
#[derive(Debug, Clone)]
pub struct OutstandingClaims<D> {
    /// Claims of this agent whose runs have not begun.
    pub claimed: Vec<ClaimedRun<D>>,
    /// Claims of others: without our mark, or with another agent's. Only counted.
    pub foreign: usize,
    /// Runs that are being cancelled, or were a short while ago.
    pub cancelling: Vec<CancellingRun<D>>,
}

impl<D> Default for OutstandingClaims<D> {
    fn default() -> Self {
        Self { claimed: Vec::new(), foreign: 0, cancelling: Vec::new() }
    }
}

/// A run that this agent has claimed and that has not begun.
#[derive(Debug, Clone)]
pub struct ClaimedRun<D> {
    /// The run, with the epoch and token of its claim.
    pub run: DueRun<D>,
    /// The mark of its claim.
    pub mark: Mark,
    /// When it was claimed.
    pub since: OffsetDateTime,
    /// Its `infrastructure_pid`, as far as Prefect knows one (see [`super::Orchestrator::record_pid`]); may be that of an
    /// earlier turn.
    pub pid: Option<String>,
}

/// A run that a user cancelled.
#[derive(Debug, Clone)]
pub struct CancellingRun<D> {
    /// The run.
    pub run: DueRun<D>,
    /// When it got into this state.
    pub since: OffsetDateTime,
    /// Its `infrastructure_pid`, where Prefect knows it.
    pub pid: Option<String>,
    /// Name of the place that its claim went to, where only the claim tells.
    pub place: Option<String>,
    /// It is Cancelled already: only a task that lives on is to be stopped.
    pub is_over: bool,
    /// The flow has begun at some time, so that it may be ending by itself.
    pub has_started: bool,
}

/// The mark that a claim leaves on a run, so that later polls know it as ours.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// `<root>/<agent>`.
    pub agent: String,
    /// Epoch of the claimed turn.
    pub epoch: String,
    /// Number of this launch attempt, from 1.
    pub attempt: u32,
    /// Earlier refusals for want of capacity.
    #[serde(default)]
    pub capacity_refusals: u32,
    /// The launch's `clientToken`.
    pub token: String,
    /// Name of the place that the launch goes to: a cluster, a host. Empty = not known.
    #[serde(rename = "cluster")]
    pub place: String,
}

impl Mark {
    /// The field that holds a mark, in whatever a state has room for.
    pub const KEY: &str = "prefect_serverless_agent";

    /// Whether the mark found on a run stems from the same claim as this one. Numbers of attempts do not matter: the
    /// token names run and epoch.
    pub fn is_claim_of(&self, found: Option<&Self>) -> bool {
        found.is_some_and(|found| found.agent == self.agent && found.token == self.token)
    }
}

/// A claim to make.
#[derive(Debug)]
pub struct Claim<'a, D> {
    /// The run.
    pub run: &'a DueRun<D>,
    /// Our mark.
    pub mark: &'a Mark,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Ours: launch it.
    Ours,
    /// Refused, with the reason (another agent, cancelled, a concurrency limit): not an error, never launched.
    Refused(String),
    /// The answer was lost or unclear: read the run back.
    Unknown(String),
    /// The API was certain that nothing was written (unauthorised, throttled, not sent): nothing is claimed.
    NotMade(ApiError),
}

/// A run's state right now.
#[derive(Debug, Clone, PartialEq)]
pub struct RunNow {
    /// Epoch it would have if it were due; equal to the observed one iff it is the same turn still, whatever the API
    /// wrote that says the same again.
    pub epoch: String,
    /// State type as Prefect spells it.
    pub state: String,
    /// The mark in its current claim, if any.
    pub mark: Option<Mark>,
}

/// A claimed run to give back.
#[derive(Debug)]
pub struct GiveBack<'a, D> {
    /// The run.
    pub run: &'a DueRun<D>,
    /// The mark of the claim that is given back.
    pub mark: &'a Mark,
    /// For people: why.
    pub reason: String,
    /// Whether it was refused for want of capacity.
    pub for_capacity: bool,
    /// Due again this much later.
    pub delay: Duration,
}

/// A claimed run to end.
#[derive(Debug)]
pub struct Ending<'a, D> {
    /// The run.
    pub run: &'a DueRun<D>,
    /// For people: why, and what to do about it.
    pub message: String,
}

/// A line for a flow run's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLog {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// Severity.
    pub level: LogLevel,
    /// The line.
    pub message: String,
}

/// Severities of Prefect's log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What happened.
    Info,
    /// What may need a person.
    Warning,
    /// What went wrong.
    Error,
}
