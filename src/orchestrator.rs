//! The seam to a Prefect API: what one poll asks of it and tells it. One implementation per generation of Prefect.

mod runs;

pub use crate::model::{ApiError, RenderError, RunRefusal};
pub use crate::platform::RunDescription;
pub use runs::{
    CancellingRun, Claim, Claimed, ClaimedRun, DuePage, DueRun, Ending, GiveBack, LogLevel, Mark, OutstandingClaims,
    RunLog, RunNow, Window,
};

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
    /// than this may be left out, others are not.
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
    pub now: crate::model::run::Run,
}

/// How claims are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Claims of one request, 1 or more.
    pub claims: usize,
    /// Requests' worth of runs that are claimed and launched side by side, 1 or more.
    pub at_once: usize,
}
