//! The seam to a Prefect API: what one poll asks of it and tells it. One implementation per generation of Prefect.

pub use crate::model::{ApiError, RenderError, RunRefusal};
pub use crate::platform::RunDescription;

pub mod run_facts;

use crate::model::Registration;
use serde_json::Value;
use std::future::Future;
use std::time::Duration;
use time::OffsetDateTime;

/// What Prefect calls the process that polls: an API that knows due flow runs and keeps their states.
///
/// Contract for implementors: no method repeats a write whose outcome is unknown, unless it names itself so that the API
/// carries it out once; [`Orchestrator::claim`] says [`Claimed::Unknown`] instead and the caller resolves it with
/// [`Orchestrator::reread`].
pub trait Orchestrator: Send + Sync {
    /// What this generation of Prefect says about a due run beyond [`DueRun`]'s own fields.
    type Detail: Clone + Send + Sync + 'static;

    /// How claims are sent best.
    fn batching(&self) -> Batching;

    /// Makes this agent known, once per process: look-ups, registration, settings kept in the backend.
    /// `remembered` is what an earlier process registered; it is used when it still fits.
    fn connect(
        &self,
        remembered: Option<&Registration>,
    ) -> impl Future<Output = Result<Option<Registration>, ApiError>> + Send;

    /// Asks for runs due up to `window.before`, and keeps the agent alive in Prefect's eyes.
    fn due_runs(&self, window: &Window) -> impl Future<Output = Result<DuePage<Self::Detail>, ApiError>> + Send;

    /// Asks for claims that stand and for runs that are being cancelled, beside the queue. `orphan_after`: claims younger
    /// than this may be left out (see [`is_orphan`]), others are not.
    fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> impl Future<Output = Result<OutstandingClaims<Self::Detail>, ApiError>> + Send;

    /// Reads runs again: after a hold, or to resolve a claim whose answer was lost. One entry per run, in order.
    fn reread(
        &self,
        runs: &[&DueRun<Self::Detail>],
    ) -> impl Future<Output = Result<Vec<Option<RunNow>>, ApiError>> + Send;

    /// What a platform launches the runs from, or why they have no launch. Reads what they refer to. One entry per run, in
    /// order.
    fn describe(
        &self,
        runs: &[&DueRun<Self::Detail>],
    ) -> impl Future<Output = Vec<Result<RunDescription, RenderError>>> + Send;

    /// Claims runs in as few requests as the API allows. One entry per claim, in order.
    fn claim(&self, claims: &[Claim<'_, Self::Detail>]) -> impl Future<Output = Vec<Claimed>> + Send;

    /// Writes down the `infrastructure_pid` of a run, where the API has a place for it (Prefect 2 and 3). Best effort: what
    /// fails comes again with [`Orchestrator::announce`], and the platform finds what it started without it too.
    fn record_pid(&self, run: &DueRun<Self::Detail>, pid: &str) -> impl Future<Output = ()> + Send;

    /// Gives claimed runs back as Scheduled, to be taken again `delay` later. One entry per run, in order. A run that
    /// is no longer our claim (cancelled, ended, another agent's) is left as it is: [`ApiError::NotOurs`].
    fn give_back(
        &self,
        runs: &[GiveBack<'_, Self::Detail>],
        now: OffsetDateTime,
    ) -> impl Future<Output = Vec<Result<(), ApiError>>> + Send;

    /// Ends claimed runs as Failed (Prefect 1) or Crashed (2/3), each with its message. One entry per run, in order. A
    /// run that ended, is paused or is being cancelled is left as it is: [`ApiError::NotOurs`].
    fn fail(&self, runs: &[Ending<'_, Self::Detail>]) -> impl Future<Output = Vec<Result<(), ApiError>>> + Send;

    /// Ends runs as Cancelled that are being cancelled, or that are [`RenderError::Gone`] and still due, each with its
    /// message. One entry per run, in order. Any other run is left as it is: [`ApiError::NotOurs`].
    fn cancelled(&self, runs: &[Ending<'_, Self::Detail>]) -> impl Future<Output = Vec<Result<(), ApiError>>> + Send;

    /// Writes lines to the runs' logs. Best effort: callers ignore the outcome except for logging it.
    fn log(&self, lines: &[RunLog]) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Tells others of launched runs and their pids (Prefect 2 and 3: events and labels), and what earlier polls of this process did not
    /// come to. Best effort, off the launch path: it comes when everything else is done, and ends by itself before the
    /// invocation's time is up. How many writes are left, for a later poll of this process or for good.
    fn announce(&self, launched: &[(DueRun<Self::Detail>, String)]) -> impl Future<Output = usize> + Send;
}

/// What is asked and told of a run whose task has changed, besides what a poll does.
pub trait TaskWatch: Orchestrator {
    /// The run as it is now; `None` = the API does not know it.
    fn watch(&self, flow_run_id: &str) -> impl Future<Output = Result<Option<Watched<Self::Detail>>, ApiError>> + Send;

    /// Ends a run whose task is dead as Failed (Prefect 1) or Crashed (2/3). To be called right after
    /// [`TaskWatch::watch`]; a run that the API itself protects is left as it is: [`ApiError::NotOurs`].
    fn end_dead(&self, run: &DueRun<Self::Detail>, message: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Says that the run's task waits for its start, where the API has a state for it (Prefect 3). `mark`: that of the
    /// claim, if it is ours. Should the claim be given back in this very moment, the API takes the state all the same;
    /// the mark is what later polls know it by.
    fn propose_pending(
        &self,
        run: &DueRun<Self::Detail>,
        mark: Option<&Mark>,
        message: &str,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Posts an event, where the API takes events (Prefect 2 and 3).
    fn post_event(&self, event: &Value) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Runs that have been running since before `since`, whoever launched them: a page of them, from the `offset`-th on.
    /// `None` = this API itself ends runs that give no sign of life (Prefect 1).
    fn long_running(
        &self,
        since: OffsetDateTime,
        offset: usize,
    ) -> impl Future<Output = Result<Option<RunningPage>, ApiError>> + Send {
        let _ = (since, offset);
        async { Ok(None) }
    }
}

/// Some of the runs that have been running for long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunningPage {
    /// The runs.
    pub runs: Vec<RunningRun>,
    /// So many rows a full page has.
    pub rows: usize,
    /// It was full: there may be more.
    pub is_full: bool,
}

/// A run whose flow has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRun {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// Names the state that it is in.
    pub state_id: String,
    /// Its `infrastructure_pid`, as far as Prefect knows one.
    pub pid: Option<String>,
}

/// A run as it is now, for whoever looks after its task.
#[derive(Debug, Clone)]
pub struct Watched<D> {
    /// The run, with the epoch and token of its current claim.
    pub run: DueRun<D>,
    /// The mark of its claim, if it is one of this agent's.
    pub mark: Option<Mark>,
    /// Name of the place that its newest claim went to, also when its flow has begun since; `None` = not known.
    pub claimed_place: Option<String>,
    /// How far it is.
    pub now: crate::model::Run,
}

/// How claims are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Claims of one request, 1 or more.
    pub claims: usize,
    /// Requests' worth of runs that are claimed and launched side by side, 1 or more.
    pub at_once: usize,
}

// What passes through the seam: due runs, claims, what became of them.

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
    /// When Prefect wants it to start, where it says so: what its lateness is reckoned from.
    pub scheduled_for: Option<OffsetDateTime>,
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
    /// Its `infrastructure_pid`, as far as Prefect knows one (see [`Orchestrator::record_pid`]); may be that of an
    /// earlier turn.
    pub pid: Option<String>,
}

/// A run that has been Cancelled for longer than this has no task that somebody forgot.
pub const CANCELLED_MEMORY: Duration = Duration::from_mins(15);

/// Whether a claim without a begun flow is old enough to be looked after, and to be counted as outstanding.
pub fn is_orphan(now: OffsetDateTime, claimed_at: OffsetDateTime, orphan_after: Duration) -> bool {
    now - claimed_at >= orphan_after
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
