//! The REST API of Prefect 2 and 3, served as a worker of one `ecs` work pool.
//!
//! | part | what happens there |
//! |---|---|
//! | `transport` | one request: headers, few at once, time limits, repetitions; its answer: JSON, or an error without secrets |
//! | `requests` | what is sent (pure) |
//! | `states` | rows → flow runs and their states; what is the same turn; the states that are proposed (pure) |
//! | `claims`, `names` | whose a claim is; epochs and other names that follow from what they name (pure) |
//! | `pool`, `records` | the jobs of due runs, and what they need: the pool, flows and deployments, blocks and variables |
//! | `telling`, `announce` | what is to be told of launched runs and was not yet; events and labels |
//! | `survey` | a pool and all that runs in it, for people who set an agent up or examine it |
//! | `connecting` | the webhook block and the automation that poke this deployment |
//! | `queue`, `reading`, `writes`, `explaining` | the conversations |

mod announce;
mod claims;
mod connecting;
mod explaining;
mod names;
mod pool;
mod queue;
mod reading;
mod records;
mod requests;
mod states;
mod survey;
mod telling;
#[cfg(test)]
mod test_support;
mod transport;
mod writes;

use crate::clock::Now;
use crate::config::{AgentConfig, AgentSecrets, Prefect3Config, WorkerRules};
use crate::flow_run::prefect3::FlowRun;
use crate::http::Http;
use crate::model::{ApiError, Registration};
use crate::orchestrator::{
    Batching, Claim, Claimed, DuePage, DueRun, Ending, GiveBack, Mark, Orchestrator, OutstandingClaims, RenderError,
    RunDescription, RunLog, RunNow, RunningPage, TaskWatch, Watched, Window,
};
use crate::panics::lock;
use crate::platform::WorkPoolType;
use crate::redaction::Redaction;
use crate::transport::further_headers;
use announce::Unserved;
use claims::Claimant;
pub use connecting::{Connected, Disconnected, Done, SeenConnection};
use names::Names;
use pool::Pool;
use queue::Pages;
use queue::Verdicts;
use records::Records;
use serde_json::Value;
use states::{Author, SeenState};
use std::sync::{Arc, Mutex};
use std::time::Duration;
pub use survey::{
    ListedPool, PoolSurvey, SurveyedDeployment, SurveyedPool, SurveyedQueue, SurveyedWorker, Unlisted, WorkPools,
};
use telling::Untold;
use time::OffsetDateTime;
use tokio::time::Instant;
use transport::{Credential, RestTransport};
use writes::Refusals;

/// Version of Prefect whose worker an agent stands for: the one that it does as, to the letter. For Prefect 3 that is the
/// worker that wrote the golden cases, for Prefect 2 the last there was. Tags of tasks (`prefect.io/version`) and events
/// (`prefect.version`) carry it. It is neither the server's version, which may be any that is supported, nor that of the
/// flow's image.
pub fn version_of(rules: WorkerRules) -> &'static str {
    match rules {
        WorkerRules::Two => "2.20.27",
        WorkerRules::Three => "3.8.8",
    }
}

/// The configuration of an agent of Prefect 2 or 3.
pub type Config = AgentConfig<Prefect3Config>;

/// What one agent needs to serve its work pool.
pub struct Setup {
    /// Its configuration.
    pub config: Config,
    /// Its secrets.
    pub secrets: AgentSecrets,
    /// `<root>/<agent>`: what the poll compares marks with.
    pub marked_as: String,
    /// Names the agent and its deployment, here and in every other account: its claims are known by it.
    pub identity: String,
    /// Names this process, among all of them.
    pub session: String,
    /// Where tasks are launched unless their credentials say otherwise.
    pub region: String,
    /// The type of its work pool.
    pub pool_type: WorkPoolType,
    /// What must not be shown.
    pub redaction: Redaction,
    /// Tells the time.
    pub now: Now,
    /// Nothing is written and the agent shows no sign of life: for a dry run.
    pub read_only: bool,
}

/// What Prefect 2 and 3 say about a due run.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The run as the API describes it.
    pub flow_run: Arc<FlowRun>,
    /// The state that it was seen in.
    seen: SeenState,
}

/// Prefect 2 and 3 as an [`Orchestrator`]: one agent and its work pool.
pub struct Prefect3 {
    config: Config,
    redaction: Redaction,
    credential: Credential,
    marked_as: String,
    names: Names,
    session: String,
    region: String,
    pool_type: WorkPoolType,
    now: Now,
    read_only: bool,
    transport: RestTransport,
    /// Held while the pool is read, so that it is read once.
    pool: tokio::sync::Mutex<Pool>,
    /// What a person should know about the pool.
    warnings: Mutex<Vec<String>>,
    records: Records,
    pages: Mutex<Pages>,
    /// Only Prefect Cloud gives one.
    worker_id: Mutex<Option<String>>,
    verdicts: Verdicts,
    unserved: Unserved,
    untold: Untold,
    refusals: Refusals,
}

impl Prefect3 {
    /// Sends nothing. Fails when key, auth string or API cannot be put into a request.
    pub fn new(setup: Setup, http: Http) -> Result<Self, ApiError> {
        let Setup { config, secrets, marked_as, identity, session, region, pool_type, redaction, now, read_only } =
            setup;
        redaction.know_agent(&secrets);
        let (credential, names) = (Credential::of(&secrets), Names::new(identity));
        let csrf_client = names.csrf_client(&session);
        let further = further_headers(&secrets)?;
        let kept = (redaction.clone(), Arc::clone(&now));
        let transport = RestTransport::new(http, &config.api, &credential, further, &config.name, csrf_client, kept)?;
        Ok(Self {
            config,
            redaction,
            credential,
            marked_as,
            names,
            session,
            region,
            pool_type,
            now,
            read_only,
            transport,
            pool: tokio::sync::Mutex::default(),
            warnings: Mutex::default(),
            records: Records::default(),
            pages: Mutex::default(),
            worker_id: Mutex::default(),
            verdicts: Verdicts::default(),
            unserved: Unserved::default(),
            untold: Untold::default(),
            refusals: Refusals::default(),
        })
    }

    /// No request goes on beyond `deadline`; each takes 15 s at most. To be set for every invocation, with which the
    /// queue begins anew.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        *lock(&self.pages) = Pages::default();
        self.records.begin_poll();
        self.redaction.forget(&self.config.agent);
        self.transport.set_deadline(deadline);
    }

    /// Opens a connection to an API that speaks TLS. Best effort: nothing is lost when it fails.
    pub async fn warm_up(&self) {
        self.transport.warm_up().await;
    }

    /// Polls before the agent stops.
    pub fn max_polls(&self) -> Option<u64> {
        self.config.max_polls
    }

    /// What a person should know about the work pool, once it was read.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// Name of the work pool.
    fn work_pool(&self) -> &str {
        &self.config.generation.work_pool
    }

    /// Whose marks the states carry.
    fn author(&self) -> Author<'_> {
        Author { identity: self.names.identity(), session: &self.session }
    }

    fn claimant(&self) -> Claimant<'_> {
        Claimant { names: &self.names, marked_as: &self.marked_as }
    }

    fn worker_id(&self) -> Option<String> {
        lock(&self.worker_id).clone()
    }
}

/// What a method does stands under the same name in the file of its step, as a method of [`Prefect3`] itself: that is
/// what is called here.
impl Orchestrator for Prefect3 {
    type Detail = Detail;

    /// A claim is a request. A run waits for its own claim and task only: few are ever claimed and not launched. In a dry
    /// run they come one after the other, so that what it shows has an order.
    fn batching(&self) -> Batching {
        Batching { claims: 1, at_once: if self.read_only { 1 } else { 12 } }
    }

    async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        Ok(self.known_worker(remembered).await)
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        self.due_runs(window).await
    }

    async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<Detail>, ApiError> {
        self.outstanding_claims(now, orphan_after).await
    }

    async fn reread(&self, runs: &[&DueRun<Detail>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        self.reread(runs).await
    }

    async fn describe(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<RunDescription, RenderError>> {
        self.describe(runs).await
    }

    async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        self.claim(claims).await
    }

    async fn record_pid(&self, run: &DueRun<Detail>, pid: &str) {
        self.record_pid(run, pid).await;
    }

    async fn give_back(&self, runs: &[GiveBack<'_, Detail>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        self.give_back(runs, now).await
    }

    async fn fail(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.fail(runs).await
    }

    async fn cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.cancelled(runs).await
    }

    async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        self.log(lines).await
    }

    async fn announce(&self, launched: &[(DueRun<Detail>, String)]) -> usize {
        self.announce(launched).await
    }
}

impl TaskWatch for Prefect3 {
    async fn long_running(&self, since: OffsetDateTime, offset: usize) -> Result<Option<RunningPage>, ApiError> {
        self.long_running(since, offset).await.map(Some)
    }

    async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        self.watch(flow_run_id).await
    }

    async fn end_dead(&self, run: &DueRun<Detail>, message: &str) -> Result<(), ApiError> {
        self.end_dead(run, message).await
    }

    async fn propose_pending(&self, run: &DueRun<Detail>, mark: Option<&Mark>, message: &str) -> Result<(), ApiError> {
        self.propose_pending(run, mark, message).await
    }

    async fn post_event(&self, event: &Value) -> Result<(), ApiError> {
        self.post_event(event).await
    }
}
