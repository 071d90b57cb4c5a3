//! The seam to a Prefect API: what one poll asks of it and tells it. One implementation per generation of Prefect.

use crate::launch::{LaunchSpec, Place};
use crate::state::{ErrorKind, Registration};
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
    /// than this may be left out, others are not.
    fn standing(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> impl Future<Output = Result<Standing<Self::Detail>, ApiError>> + Send;

    /// Reads runs again: after a hold, or to resolve a claim whose answer was lost. One entry per id, in order.
    fn reread(&self, flow_run_ids: &[String]) -> impl Future<Output = Result<Vec<Option<RunNow>>, ApiError>> + Send;

    /// The launches of runs: task definition and `RunTask` request. Loads what the runs refer to (templates), then
    /// renders purely. One entry per run, in order.
    fn render(&self, runs: &[&DueRun<Self::Detail>])
    -> impl Future<Output = Vec<Result<Rendered, RenderError>>> + Send;

    /// Claims runs in as few requests as the API allows. One entry per claim, in order.
    fn claim(&self, claims: &[Claim<'_, Self::Detail>]) -> impl Future<Output = Vec<Claimed>> + Send;

    /// Writes down which task a run has, where the API has a place for it (Prefect 2 and 3: `infrastructure_pid`). Best
    /// effort: what fails is only logged, since the task is found by its `startedBy` too.
    fn record_task(&self, run: &DueRun<Self::Detail>, task: &TaskOfRun) -> impl Future<Output = ()> + Send;

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

    /// Tells others of launched runs (Prefect 2 and 3: events and labels). Best effort, off the launch path: it comes
    /// when everything else is done, and ends by itself when it takes too long.
    fn announce(&self, launched: &[(DueRun<Self::Detail>, TaskOfRun)]) -> impl Future<Output = ()> + Send;
}

/// What is asked and told of a run whose task has changed, besides what a poll does.
pub trait TaskWatch: Orchestrator {
    /// The run as it is now; `None` = the API does not know it.
    fn watch(&self, flow_run_id: &str) -> impl Future<Output = Result<Option<Watched<Self::Detail>>, ApiError>> + Send;

    /// Ends a run whose task is dead as Failed (Prefect 1) or Crashed (2/3). To be called right after
    /// [`TaskWatch::watch`]; a run that the API itself protects is left as it is: [`ApiError::NotOurs`].
    fn end_dead(&self, run: &DueRun<Self::Detail>, message: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Says that the run's task waits for its start, where the API has a state for it (Prefect 3).
    fn propose_pending(
        &self,
        run: &DueRun<Self::Detail>,
        message: &str,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Posts an event, where the API takes events (Prefect 2 and 3).
    fn post_event(&self, event: &Value) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// A run as it is now, for whoever looks after its task.
#[derive(Debug, Clone)]
pub struct Watched<D> {
    /// The run, with the epoch and token of its current claim.
    pub run: DueRun<D>,
    /// The mark of its claim, if it is one of this agent's.
    pub mark: Option<Mark>,
    /// How far it is.
    pub now: crate::task_events::run::Run,
}

/// How claims are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Claims of one request, 1 or more.
    pub claims: usize,
    /// Requests' worth of runs that are claimed and launched side by side, 1 or more.
    pub at_once: usize,
}

/// An orchestrator that can say what its writes would be: the bodies as they would be sent, without headers. Pure.
pub trait Rehearsable: Orchestrator {
    /// The requests of [`Orchestrator::claim`].
    fn claim_requests(&self, claims: &[Claim<'_, Self::Detail>]) -> Vec<Value>;

    /// The requests of [`Orchestrator::give_back`], for runs whose claims were accepted.
    fn give_back_requests(&self, runs: &[GiveBack<'_, Self::Detail>], now: OffsetDateTime) -> Vec<Value>;

    /// The requests of [`Orchestrator::fail`], for runs whose claims were accepted.
    fn fail_requests(&self, runs: &[Ending<'_, Self::Detail>]) -> Vec<Value>;

    /// The requests of [`Orchestrator::record_task`].
    fn record_requests(&self, run: &DueRun<Self::Detail>, task: &TaskOfRun) -> Vec<Value>;

    /// The requests of [`Orchestrator::cancelled`], for runs that are still being cancelled.
    fn cancelled_requests(&self, runs: &[Ending<'_, Self::Detail>]) -> Vec<Value>;

    /// The requests of [`Orchestrator::log`].
    fn log_requests(&self, lines: &[RunLog]) -> Vec<Value>;

    /// The requests of [`Orchestrator::announce`].
    fn announce_requests(&self, launched: &[(DueRun<Self::Detail>, TaskOfRun)]) -> Vec<Value>;
}

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
pub struct Standing<D> {
    /// Claims of this agent whose runs have not begun.
    pub claimed: Vec<ClaimedRun<D>>,
    /// Claims of others: without our mark, or with another agent's. Only counted.
    pub foreign: usize,
    /// Runs that are being cancelled, or were a short while ago.
    pub cancelling: Vec<CancellingRun<D>>,
}

impl<D> Default for Standing<D> {
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
    /// ARN of its task, as far as Prefect knows one (see [`Orchestrator::record_task`]); may be that of an earlier turn.
    pub recorded_task: Option<String>,
}

/// A run that a user cancelled.
#[derive(Debug, Clone)]
pub struct CancellingRun<D> {
    /// The run.
    pub run: DueRun<D>,
    /// When it got into this state.
    pub since: OffsetDateTime,
    /// Its task, where Prefect knows it.
    pub task: Option<TaskOfRun>,
    /// It is Cancelled already: only a task that lives on is to be stopped.
    pub is_over: bool,
    /// The flow has begun at some time, so that it may be ending by itself.
    pub has_started: bool,
}

/// A run's task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOfRun {
    /// Where it runs.
    pub place: Place,
    /// ARN of the task.
    pub task_arn: String,
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
    /// The cluster the launch goes to, [`Mark::DEFAULT_CLUSTER`] when none is configured; empty = not known.
    pub cluster: String,
}

impl Mark {
    /// Where ECS looks when a request names no cluster.
    pub const DEFAULT_CLUSTER: &str = "default";

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
    /// Epoch it would have if it were due; equal to the observed one iff nothing changed.
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

/// A run's launch, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The launch.
    pub spec: LaunchSpec,
    /// What a person should know about it; the same words for the same cause.
    pub warning: Option<String>,
}

/// Why a run has no launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// Never, as the run stands.
    Refused(RunRefusal),
    /// What the run belongs to is gone: it is ended as Cancelled, with this message.
    Gone(String),
    /// Not now: something it refers to cannot be read at the moment.
    NotNow(String),
}

/// A run that cannot be launched because of what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunRefusal(pub String);

/// What went wrong in talking to a Prefect API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// Nothing was sent: no connection.
    #[error("cannot connect to the Prefect API at {api}: {reason}")]
    Unreachable {
        /// The API's base URL.
        api: String,
        /// What the network said.
        reason: String,
    },
    /// Sent, but no complete answer came: the outcome is unknown.
    #[error("no answer from the Prefect API: {0}")]
    NoAnswer(String),
    /// The key or token was refused.
    #[error("the Prefect API refused the credentials: {0}")]
    Unauthorised(String),
    /// Too many requests.
    #[error("the Prefect API asks for fewer requests (HTTP 429)")]
    Throttled {
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Another HTTP status than success.
    #[error("the Prefect API answered HTTP {status}: {text}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The first characters of the body.
        text: String,
    },
    /// An answer that is no JSON, or not of the promised shape.
    #[error("the Prefect API's answer cannot be understood: {0}")]
    Malformed(String),
    /// The API understood and said no: its errors (GraphQL errors, REST detail).
    #[error("the Prefect API refused the request: {message}")]
    Refused {
        /// The first error's text.
        message: String,
        /// All of it.
        errors: Value,
    },
    /// The run is not our claim any more, so it was left as it is.
    #[error("{0}; left as it is")]
    NotOurs(String),
    /// What the configuration says does not fit what the API says.
    #[error("{0}")]
    Configuration(String),
}

impl ApiError {
    /// The kind of trouble, for the report and for health.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer(_) => ErrorKind::ApiUnreachable,
            Self::Unauthorised(_) => ErrorKind::Unauthorised,
            Self::Throttled { .. } => ErrorKind::Throttled,
            Self::Status { .. } | Self::Malformed(_) | Self::Refused { .. } | Self::NotOurs(_) => ErrorKind::ApiError,
            Self::Configuration(_) => ErrorKind::Configuration,
        }
    }
}
