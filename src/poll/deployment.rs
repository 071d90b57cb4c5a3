//! All agents of a deployment: which of them are polled, side by side, and what a warm process keeps of them.

use super::agent::remember;
use super::agent::{Agent, Counter, Invocation, Overrides};
use super::build::{AgentBuilder, Identity, PrefectBuilder, SharedNetwork};
use super::dry_run::{Record, RecordedService, Recorder, Unhurried};
use super::report::{AgentReport, Report};
use crate::aws::{AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{
    AgentConfig, AgentSecrets, Environment, LoadedAgent, Parameter, Root, UnknownAgent, from_file, load,
};
use crate::documents::LocalFiles;
use crate::health::AgentFacts;
use crate::health::status::ConfiguredAgent;
use crate::model::{ErrorKind, SetupError};
use crate::panics::caught;
use crate::platform::AgentPlatform;
use crate::redaction::Redaction;
use crate::state::polls::PollCounter;
use crate::state::{Status, status};
use futures_util::future::{Either, join, join_all, select};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// A warm process reads configuration and secrets again after this long.
pub const CACHED_FOR: Duration = Duration::from_mins(5);

/// A deployment: where its agents are configured, and what this process keeps of them.
pub struct Deployment<P, C: Clock + Clone> {
    source: Source,
    environment: Environment,
    aws: Arc<AwsClients>,
    clock: C,
    redaction: Redaction,
    overrides: Overrides,
    /// Set for a dry run: where its requests are noted.
    dry_run: Option<Record>,
    warm: Mutex<Warm<P, C>>,
}

/// What is kept between invocations.
struct Warm<P, C: Clock + Clone> {
    loaded_at: Option<OffsetDateTime>,
    /// The parameters below the root that are secrets, as they were read last.
    secrets: Vec<Parameter>,
    slots: BTreeMap<String, Slot<P, C>>,
}

/// One configured agent.
struct Slot<P, C: Clock + Clone> {
    /// What the agent was assembled from; `None` when its configuration is wrong.
    made_of: Option<(AgentConfig, AgentSecrets)>,
    agent: Result<Arc<Agent<P, C>>, SetupError>,
    enabled: bool,
}

impl<P, C: Clock + Clone> Clone for Slot<P, C> {
    fn clone(&self) -> Self {
        Self { made_of: self.made_of.clone(), agent: self.agent.clone(), enabled: self.enabled }
    }
}

impl<P: AgentPlatform<C>, C: Clock + Clone> Slot<P, C> {
    fn facts(&self, since: OffsetDateTime) -> AgentFacts {
        let (status, max_polls) = match &self.agent {
            Ok(agent) => (agent.status(), agent.max_polls()),
            Err(trouble) => (Status { last_poll: Some(since), error: Some(trouble.kind), ..Status::default() }, None),
        };
        let configuration = self.made_of.as_ref().map(|(config, _)| ConfiguredAgent::of(config, max_polls));
        // What an earlier process wrote down says nothing about this one.
        let status = Some(status).filter(|status| status.last_poll.is_some_and(|last_poll| last_poll >= since));
        AgentFacts { configuration, configured_at: Some(since), status, deaths: Vec::new() }
    }
}

impl<P: AgentPlatform<C>, C: Clock + Clone> Deployment<P, C> {
    /// Reads nothing yet. `redaction` comes to know all secrets that are read, and the reports are without them.
    pub fn new(source: Source, environment: Environment, aws: Arc<AwsClients>, clock: C, redaction: Redaction) -> Self {
        let warm = Mutex::new(Warm { loaded_at: None, secrets: Vec::new(), slots: BTreeMap::new() });
        Self { source, environment, aws, clock, redaction, overrides: Overrides::default(), dry_run: None, warm }
    }

    /// The same, registering and writing nothing anywhere: what polls would send to launch runs is noted in `record`.
    #[must_use]
    pub fn dry_run<Q: AgentPlatform<Unhurried<C>>>(self, record: Record) -> Deployment<Q, Unhurried<C>> {
        let Self { source, environment, aws, clock, redaction, overrides, .. } = self;
        let dry_run = Deployment::new(source, environment, aws, Unhurried(clock), redaction);
        Deployment { overrides, dry_run: Some(record), ..dry_run }
    }

    /// The same, with what the command line knows better than the agents' configurations.
    #[must_use]
    pub fn overriding(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// The name under which the deployment appears in metrics.
    pub fn name(&self) -> &str {
        match &self.source {
            Source::Parameters(root) => root.as_str(),
            Source::File { path, .. } => path,
        }
    }

    /// The root of its parameters, if it has one.
    pub fn root(&self) -> Option<&str> {
        if let Source::Parameters(root) = &self.source { Some(root.as_str()) } else { None }
    }

    /// Reads the configuration, builds the agents and opens their connections ahead of the first poll: Init has more
    /// of a processor than a small function's invocations. What goes wrong shows when polling.
    pub async fn warm_up(&self) {
        match self.agents(&Selection::All).await {
            Ok(agents) => {
                join_all(agents.iter().map(|agent| join(agent.prefect.warm_up(), agent.platform.warm_up()))).await;
            }
            Err(error) => tracing::warn!(%error, "warm-up did not finish"),
        }
    }

    /// The agents that are configured well and enabled, for whoever asks more of them than a poll.
    pub async fn agents(&self, selection: &Selection) -> Result<Vec<Arc<Agent<P, C>>>, PollError> {
        let slots = self.selected(selection, false).await?;
        Ok(slots.into_values().filter(|slot| slot.enabled).filter_map(|slot| slot.agent.ok()).collect())
    }

    /// What is known of the selected agents in this process, for health. `since`: when the process began. Those that
    /// have not ended a poll yet are starting.
    pub async fn facts(&self, selection: &Selection, since: OffsetDateTime) -> BTreeMap<String, AgentFacts> {
        let warm = self.warm.lock().await;
        let is_selected = |name: &String| match selection {
            Selection::All => true,
            Selection::Agents(names) => names.contains(name),
        };
        let selected = warm.slots.iter().filter(|(name, _)| is_selected(name));
        selected.map(|(name, slot)| (name.clone(), slot.facts(since))).collect()
    }

    /// One poll iteration for the selected agents, side by side.
    pub async fn poll(&self, selection: &Selection, invocation: &Invocation) -> Result<Report, PollError> {
        let selected = self.before(invocation.end_of_polls(), self.selected(selection, false)).await;
        let slots = selected.unwrap_or_else(|| Err(PollError::Deadline(self.name().to_owned())))?;
        let has_statuses = matches!(self.source, Source::Parameters(_)) && self.dry_run.is_none();
        let polls = slots.into_iter().map(|(name, slot)| async move {
            // Whatever one agent's poll ends in, the others go on.
            let report = caught(self.poll_agent(&name, slot, invocation)).await.unwrap_or_else(|panic| AgentReport {
                error: Some(panic.to_string()),
                error_kind: Some(ErrorKind::Internal),
                ..AgentReport::default()
            });
            if report.error_kind == Some(ErrorKind::Internal) {
                self.forget(&name).await;
            }
            (name, report.without(&self.redaction))
        });
        let polls = pin!(join_all(polls));
        // The statuses go where a warm process has read nothing for a while: its connection is opened while Prefect is
        // asked, and nobody waits for it.
        let opened = pin!(async {
            if has_statuses {
                self.aws.open_parameter_store().await;
            }
        });
        let agents = match select(polls, opened).await {
            Either::Left((agents, _)) => agents,
            Either::Right(((), polls)) => polls.await,
        };
        Ok(Report { agents: agents.into_iter().collect() })
    }

    /// Nobody knows in what state a panic leaves an agent: the next poll assembles it anew. An agent of a file is kept:
    /// only the process counts its polls.
    async fn forget(&self, name: &str) {
        if let Source::Parameters(_) = self.source {
            let mut warm = self.warm.lock().await;
            warm.slots.remove(name);
            warm.loaded_at = None;
        }
    }

    async fn poll_agent(&self, name: &str, slot: Slot<P, C>, invocation: &Invocation) -> AgentReport {
        if !slot.enabled {
            return AgentReport { ok: true, disabled: true, ..AgentReport::default() };
        }
        let agent = match slot.agent {
            Ok(agent) => agent,
            Err(trouble) => return self.not_polled(name, trouble, invocation).await,
        };
        let (mut report, number) = agent.poll(invocation, None).await;
        let mut polled_by = Arc::clone(&agent);
        if report.error_kind == Some(ErrorKind::Unauthorised)
            && report.launched.is_empty()
            && let Some(Some(renewed)) = self.before(invocation.end_of_polls(), self.renewed(name, &agent)).await
        {
            // The key was replaced while this process was warm: the poll is made with the new one.
            (report, _) = renewed.poll(invocation, number).await;
            polled_by = renewed;
        }
        if !report.stopped {
            if invocation.is_poked {
                polled_by.was_poked();
            }
            polled_by.judge(&mut report);
            polled_by.keep_recent(&report.clone().without(&self.redaction));
            self.write_status(name, &polled_by.status(), invocation).await;
        }
        report
    }

    /// The report of an agent that cannot even be built. Its status tells health of it.
    async fn not_polled(&self, name: &str, trouble: SetupError, invocation: &Invocation) -> AgentReport {
        let known = match &self.source {
            Source::Parameters(root) => {
                let known = status::read(&self.aws.ssm, root.as_str(), name);
                self.before(invocation.end_of_polls(), known).await
            }
            Source::File { .. } => None,
        };
        let error = Some(trouble.message.clone());
        let mut report =
            AgentReport { error, error_kind: Some(trouble.kind), is_failing: true, ..AgentReport::default() };
        // What cannot be read is not written over: it tells of the last success and of the registration.
        if let Some(Ok(known)) = known {
            let mut known = known.unwrap_or_default();
            let now = self.clock.now();
            report.poll = known.polls;
            report.is_newly_failing = known.failing_since.is_none();
            known.failing_since.get_or_insert(now);
            known.last_poll = Some(now);
            if invocation.is_poked {
                known.last_poked = Some(now);
            }
            known.error = Some(trouble.kind);
            known.maintenance_until = None;
            let failed = AgentReport { error_kind: Some(trouble.kind), ..AgentReport::default() };
            remember(&mut known.recent, &failed, self.clock.now());
            self.write_status(name, &known, invocation).await;
        }
        report
    }

    /// What ends before `instant`.
    async fn before<T>(&self, instant: OffsetDateTime, work: impl Future<Output = T>) -> Option<T> {
        let left = Duration::try_from(instant - self.clock.now()).unwrap_or_default();
        tokio::time::timeout(left, work).await.ok()
    }

    async fn write_status(&self, name: &str, status: &Status, invocation: &Invocation) {
        if self.dry_run.is_some() {
            return;
        }
        let Source::Parameters(root) = &self.source else { return };
        let written = status::write(&self.aws.ssm, root.as_str(), name, status, &invocation.request_id);
        let error = match self.before(invocation.end_of_statuses(), written).await {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "no time was left".to_owned(),
        };
        tracing::warn!(agent = name, error, "the status was not written: health will call the agent failing");
    }

    /// The agent with secrets read afresh, if they differ.
    async fn renewed(&self, name: &str, agent: &Arc<Agent<P, C>>) -> Option<Arc<Agent<P, C>>> {
        let slots = self.slots(true).await.ok()?;
        let renewed = slots.get(name)?.agent.clone().ok()?;
        (!Arc::ptr_eq(&renewed, agent)).then_some(renewed)
    }

    async fn selected(&self, selection: &Selection, afresh: bool) -> Result<BTreeMap<String, Slot<P, C>>, PollError> {
        let mut slots = self.slots(afresh).await?;
        if slots.is_empty() {
            return Err(PollError::NoAgents(self.name().to_owned()));
        }
        if let Selection::Agents(names) = selection {
            if !afresh && names.iter().any(|name| !slots.contains_key(name)) {
                // It may have been configured since.
                slots = self.slots(true).await?;
            }
            UnknownAgent::among(names, slots.keys())?;
            slots.retain(|name, _| names.contains(name));
        }
        Ok(slots)
    }

    /// The configured agents, read again when what is kept is too old, or when asked to.
    async fn slots(&self, afresh: bool) -> Result<BTreeMap<String, Slot<P, C>>, PollError> {
        let mut warm = self.warm.lock().await;
        let now = self.clock.now();
        let fresh = warm.loaded_at.is_some_and(|loaded_at| now - loaded_at < CACHED_FOR);
        if fresh && !afresh {
            return Ok(warm.slots.clone());
        }
        let (loaded, statuses) = self.load(&mut warm.secrets).await?;
        let slots = loaded.into_iter().map(|loaded| {
            let known = warm.slots.get(&loaded.agent).cloned();
            let status = statuses.get(&loaded.agent).cloned().unwrap_or_default();
            async {
                let name = loaded.agent.clone();
                let slot = caught(self.slot(loaded, known, status)).await.unwrap_or_else(|panic| Slot {
                    made_of: None,
                    agent: Err(SetupError { kind: ErrorKind::Internal, message: panic.to_string() }),
                    enabled: true,
                });
                (name, slot)
            }
        });
        warm.slots = join_all(slots).await.into_iter().collect();
        // An agent that could not be built is tried again at the next poll; so is a deployment without any, which waits
        // for its first configuration.
        let whole = !warm.slots.is_empty() && warm.slots.values().all(|slot| slot.agent.is_ok() || !slot.enabled);
        warm.loaded_at = whole.then_some(now);
        Ok(warm.slots.clone())
    }

    async fn load(
        &self,
        known: &mut Vec<Parameter>,
    ) -> Result<(Vec<LoadedAgent>, BTreeMap<String, Status>), PollError> {
        match &self.source {
            Source::File { path, text } => {
                let agents = vec![from_file(text, path, &self.environment)];
                self.redaction.know_agents(&agents);
                Ok((agents, BTreeMap::new()))
            }
            Source::Parameters(root) => {
                let ssm = &self.aws.ssm;
                let (config, secrets, state) = (root.config(), root.secrets(), root.state());
                let (mut parameters, secrets, state) = tokio::try_join!(
                    ssm.parameters_by_path(&config, true, false),
                    ssm.secrets_by_path(&secrets, known),
                    ssm.parameters_by_path(&state, true, false),
                )
                .map_err(|error| PollError::Parameters { root: root.as_str().to_owned(), error })?;
                parameters.extend(secrets.iter().cloned());
                *known = secrets;
                self.redaction.know_parameters(root, &parameters);
                let loaded = load(root, &parameters, &self.environment);
                self.redaction.know_agents(&loaded.agents);
                for warning in &loaded.warnings {
                    tracing::warn!(warning, "configuration");
                }
                Ok((loaded.agents, status::by_agent(root, &state)))
            }
        }
    }

    async fn slot(&self, loaded: LoadedAgent, known: Option<Slot<P, C>>, status: Status) -> Slot<P, C> {
        let (config, secrets) = match loaded.result {
            Ok(made_of) => made_of,
            Err(errors) => {
                let trouble = SetupError { kind: ErrorKind::Configuration, message: errors.to_string() };
                return Slot { made_of: None, agent: Err(trouble), enabled: true };
            }
        };
        let enabled = config.enabled;
        if let Some(Slot { agent: Ok(agent), .. }) = &known {
            agent.learn(status.clone());
        }
        let unchanged = known.filter(|known| {
            let is_made_of = |made_of: &(AgentConfig, AgentSecrets)| made_of.0 == config && made_of.1.is_same(&secrets);
            known.agent.is_ok() && known.made_of.as_ref().is_some_and(is_made_of)
        });
        // Documents that lie elsewhere may have changed: such an agent is assembled anew.
        if let Some(known) = unchanged.clone().filter(|_| !config.refers_elsewhere()) {
            return known;
        }
        let recorder = self.dry_run.as_ref().map(|record| {
            Arc::new(Recorder::new(&loaded.agent, record.clone(), self.redaction.clone(), self.clock.now()))
        });
        let aws = match &recorder {
            Some(recorder) => Arc::new(self.aws.through(|http| recorder.before(http, RecordedService::Aws))),
            None => Arc::clone(&self.aws),
        };
        let prefect = PrefectBuilder {
            environment: self.environment.clone(),
            aws,
            clock: self.clock.clone(),
            secrets: secrets.clone(),
            redaction: self.redaction.clone(),
            identity: Identity {
                parameter_arn: loaded.arn,
                marked_as: P::marked_as(self.name(), &loaded.agent),
                root: self.root().map(Root::new),
            },
            local_files: match &self.source {
                Source::Parameters(_) => LocalFiles::Refused,
                Source::File { .. } => LocalFiles::Allowed,
            },
            read_only: recorder.is_some(),
            recorder,
            network: SharedNetwork::default(),
        };
        let builder = AgentBuilder {
            prefect,
            config: config.clone(),
            counter: self.counter(&loaded.agent),
            status,
            overrides: self.overrides,
        };
        match (builder.build::<P>().await, unchanged) {
            // What lies elsewhere is out of reach for the moment: as it was known it is better than no poll.
            (Err(SetupError { kind: ErrorKind::Aws, message }), Some(known)) => {
                tracing::warn!(agent = loaded.agent, error = message, "polling with the documents read before");
                known
            }
            (agent, _) => Slot { made_of: Some((config, secrets)), agent: agent.map(Arc::new), enabled },
        }
    }

    fn counter(&self, agent: &str) -> Counter {
        match &self.source {
            Source::Parameters(root) => {
                let counter = PollCounter::new(self.aws.ssm.clone(), root.as_str(), agent);
                if self.dry_run.is_some() { Counter::Look(counter) } else { Counter::Parameter(counter) }
            }
            Source::File { .. } => Counter::Process(AtomicU64::new(0)),
        }
    }
}

// What is polled, and why nothing was.

/// Where agents are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Parameter Store, below this root.
    Parameters(Root),
    /// A file, for the command line: one agent, nothing remembered between processes.
    File {
        /// Path of the file.
        path: String,
        /// Its text.
        text: String,
    },
}

/// Which agents to poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// These, by name.
    Agents(Vec<String>),
}

/// Why nothing was polled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The parameters cannot be read.
    #[error("the parameters below {root} cannot be read: {error}")]
    Parameters {
        /// Parameter root.
        root: String,
        /// What AWS said.
        error: AwsError,
    },
    /// The parameters and what they refer to could not be read in time.
    #[error("no time was left to poll: the parameters below {0}, or what they refer to, took too long to read")]
    Deadline(String),
    /// There is nothing to poll.
    #[error("no agent is configured: write one to the parameter {0}/config/<agent>")]
    NoAgents(String),
    /// The event names an agent that is not configured.
    #[error(transparent)]
    UnknownAgent(#[from] UnknownAgent),
}
