//! The GraphQL API: transport, start-up, the queue, states, logs.
//!
//! | part | what happens there |
//! |---|---|
//! | `transport` | one request: headers, time limits, retries of reads; its answer: data, and errors without secrets |
//! | `queries` | what is sent (pure) |
//! | `states` | rows → due runs, epochs, runs as they are now; the states that are set, and what may be overwritten (pure) |
//! | `start_up`, `queue`, `writes`, `watch`, `survey` | the conversations |

mod queries;
mod queue;
mod start_up;
mod states;
mod survey;
mod transport;
mod watch;
mod writes;

pub use survey::LastRuns;

use crate::clock::Now;
use crate::config::{AgentConfig, AgentSecrets, Prefect1Config};
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
use crate::http::Http;
use crate::model::{ApiError, Registration};
use crate::orchestrator::{
    Batching, Claim, Claimed, DuePage, DueRun, Ending, GiveBack, Mark, Orchestrator, OutstandingClaims, RenderError,
    RunDescription, RunLog, RunNow, TaskWatch, Watched, Window,
};
use crate::panics::lock;
use crate::redaction::Redaction;
use crate::transport::further_headers;
use queries::Scope;
use serde_json::{Map, Value};
use states::Observed;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use transport::{Credential, GraphqlTransport, Sender};

/// The states in which a run or task run waits for its time.
const SCHEDULED_LIKE: [&str; 5] = ["Scheduled", "Retrying", "Paused", "Resume", "Queued"];

/// The configuration of an agent of Prefect 0.15 or 1.
pub type Config = AgentConfig<Prefect1Config>;

/// Puts settings kept in the backend into a configuration; returns what a person should know (unknown settings).
pub type ApplySettings = fn(&mut Config, &Value) -> Vec<String>;

/// What one agent needs to talk to its Prefect API.
pub struct Setup {
    /// Its configuration.
    pub config: Config,
    /// Its secrets.
    pub secrets: AgentSecrets,
    /// `<root>/<agent>`: what its claims are marked with.
    pub marked_as: String,
    /// How settings kept in the backend are honoured.
    pub apply_settings: ApplySettings,
    /// Tells the time.
    pub now: Now,
    /// What must not be shown.
    pub redaction: Redaction,
    /// Nothing is registered and the agent shows no sign of life: for a dry run.
    pub read_only: bool,
}

/// What Prefect 1 says about a due run.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The run as the API describes it. The task runs of a Running run are the due ones.
    pub flow_run: Arc<FlowRun>,
}

/// Prefect 0.15 and 1 as an [`Orchestrator`]: one agent and its API.
pub struct Prefect1 {
    config: Config,
    marked_as: String,
    credential: Credential,
    transport: GraphqlTransport,
    apply_settings: ApplySettings,
    read_only: bool,
    session: Mutex<Arc<Session>>,
    refused_until: Mutex<Option<OffsetDateTime>>,
    observed: Mutex<HashMap<String, Observed>>,
    /// Runs of the full pages so far: held ones and those that cannot be launched now must not hide the others.
    shown: Mutex<Vec<String>>,
}

/// Who we are to the API, since the last start-up.
struct Session {
    config: Arc<Config>,
    settings: Arc<AgentSettings>,
    tenant_id: Option<String>,
    agent_id: Option<String>,
    warnings: Vec<String>,
}

impl Session {
    fn new(
        config: Config,
        tenant_id: Option<String>,
        agent_id: Option<String>,
        warnings: Vec<String>,
        credential: &Credential,
    ) -> Self {
        let one = &config.generation;
        let settings = AgentSettings {
            rules: one.rules,
            backend: one.backend,
            api: config.api.clone(),
            api_key: credential.api_key().cloned(),
            auth_token: credential.auth_token().cloned(),
            tenant_id: tenant_id.clone(),
            labels: one.labels.clone(),
            env_vars: config.env_vars.clone(),
            no_cloud_logs: one.no_cloud_logs,
            logging_level: one.logging_level.clone(),
            cluster: one.cluster.clone(),
            launch_type: one.launch_type,
            task_role_arn: one.task_role_arn.clone(),
            execution_role_arn: one.execution_role_arn.clone(),
            task_definition: None,
            run_task_kwargs: Map::new(),
        };
        Self { config: Arc::new(config), settings: Arc::new(settings), tenant_id, agent_id, warnings }
    }

    fn scope(&self) -> Scope {
        Scope { tenant_id: self.tenant_id.clone(), labels: self.config.generation.labels.clone() }
    }
}

impl Prefect1 {
    /// Sends nothing. Fails when key, token or API cannot be put into a request.
    pub fn new(setup: Setup, http: Http) -> Result<Self, ApiError> {
        let Setup { config, secrets, marked_as, apply_settings, redaction, now, read_only } = setup;
        redaction.know_agent(&secrets);
        let one = &config.generation;
        let credential = Credential::choose(&secrets, one.rules, one.backend);
        let further = further_headers(&secrets)?;
        let version = one.rules.core_version();
        let transport =
            GraphqlTransport::new(http, &config.api, credential.secret(), further, version, (redaction, now))?;
        let tenant_id = one.tenant_id.clone().filter(|_| !credential.is_token());
        let session = Session::new(config.clone(), tenant_id, None, Vec::new(), &credential);
        Ok(Self {
            config,
            marked_as,
            credential,
            transport,
            apply_settings,
            read_only,
            session: Mutex::new(Arc::new(session)),
            refused_until: Mutex::new(None),
            observed: Mutex::new(HashMap::new()),
            shown: Mutex::new(Vec::new()),
        })
    }

    /// No request goes on beyond `deadline`; each takes 15 s at most. To be set for every invocation, with which
    /// the queue begins anew.
    pub fn set_deadline(&self, deadline: Option<tokio::time::Instant>) {
        lock(&self.shown).clear();
        self.transport.set_deadline(deadline);
    }

    /// Opens a connection to an API that speaks TLS. Best effort: nothing is lost when it fails.
    pub async fn warm_up(&self) {
        self.transport.warm_up().await;
    }

    /// The configuration with the settings kept in the backend, after [`Orchestrator::connect`].
    pub fn effective_config(&self) -> Arc<Config> {
        self.session().config.clone()
    }

    /// What a person should know about the settings kept in the backend, after [`Orchestrator::connect`].
    pub fn warnings(&self) -> Vec<String> {
        self.session().warnings.clone()
    }

    fn session(&self) -> Arc<Session> {
        lock(&self.session).clone()
    }

    fn set_session(&self, session: Arc<Session>) {
        *lock(&self.session) = session;
    }

    fn sender<'a>(&self, session: &'a Session) -> Sender<'a> {
        // The server fails to read the queue for an agent id that is no UUID, and takes the id as a sign of life.
        let is_usable = |id: &&str| !self.read_only && uuid::Uuid::try_parse(id).is_ok();
        let agent_id = session.agent_id.as_deref().filter(is_usable);
        Sender { tenant_id: self.tenant_header(session.tenant_id.as_deref()), agent_id }
    }

    /// The tenant goes with API keys only.
    fn tenant_header<'a>(&self, tenant_id: Option<&'a str>) -> Option<&'a str> {
        tenant_id.filter(|_| self.credential.api_key().is_some())
    }
}

/// What a method does stands under the same name in the file of its step, as a method of [`Prefect1`] itself: that is
/// what is called here.
impl Orchestrator for Prefect1 {
    type Detail = Detail;

    /// Claims of many runs are aliased fields of one document.
    fn batching(&self) -> Batching {
        Batching { claims: 100, at_once: 1 }
    }

    async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        self.connect(remembered).await
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
        let ids: Vec<String> = runs.iter().map(|run| run.flow_run_id.clone()).collect();
        self.reread_ids(&ids).await
    }

    async fn describe(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<RunDescription, RenderError>> {
        let settings = &self.session().settings;
        let described =
            |run: &&DueRun<Detail>| Ok(RunDescription::One(Arc::clone(settings), Arc::clone(&run.detail.flow_run)));
        runs.iter().map(described).collect()
    }

    async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        self.claim(claims).await
    }

    /// Prefect 1 has no place for it.
    async fn record_pid(&self, _: &DueRun<Detail>, _: &str) {}

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

    /// Prefect 1 tells nobody.
    async fn announce(&self, _: &[(DueRun<Detail>, String)]) -> usize {
        0
    }
}

impl TaskWatch for Prefect1 {
    async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        self.watch(flow_run_id).await
    }

    async fn end_dead(&self, run: &DueRun<Detail>, message: &str) -> Result<(), ApiError> {
        self.end_dead(&run.flow_run_id, message).await
    }

    /// Prefect 1 has no state for it.
    async fn propose_pending(&self, _: &DueRun<Detail>, _: Option<&Mark>, _: &str) -> Result<(), ApiError> {
        Ok(())
    }

    /// Prefect 1 takes no events.
    async fn post_event(&self, _: &Value) -> Result<(), ApiError> {
        Ok(())
    }
}

#[cfg(test)]
mod test_support;
