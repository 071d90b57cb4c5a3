//! All agents of a deployment, side by side, and what a warm process keeps of them.

use super::agent::{Agent, Counter, Invocation};
use super::assembly::{Kit, Unassembled};
use super::report::{AgentReport, Report};
use crate::aws::{AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{AgentConfig, AgentSecrets, Environment, LoadedAgent, Root, from_file, load};
use crate::documents::LocalFiles;
use crate::state::polls::PollCounter;
use crate::state::status;
use crate::state::{ErrorKind, Status};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// A warm process reads configuration and secrets again after this long.
const CACHED_FOR: Duration = Duration::from_mins(5);

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
    /// There is nothing to poll.
    #[error("no agent is configured: write one to the parameter {0}/config/<agent>")]
    NoAgents(String),
    /// The event names an agent that is not configured.
    #[error("there is no agent {name:?}; configured are: {known}")]
    UnknownAgent {
        /// The name.
        name: String,
        /// The configured names.
        known: String,
    },
}

/// A deployment: where its agents are configured, and what this process keeps of them.
pub struct Deployment<C> {
    source: Source,
    environment: Environment,
    aws: Arc<AwsClients>,
    clock: C,
    read_only: bool,
    warm: Mutex<Warm<C>>,
}

/// What is kept between invocations.
struct Warm<C> {
    loaded_at: Option<OffsetDateTime>,
    slots: BTreeMap<String, Slot<C>>,
}

/// One configured agent.
struct Slot<C> {
    /// What the agent was assembled from; `None` when its configuration is wrong.
    made_of: Option<(AgentConfig, AgentSecrets)>,
    agent: Result<Arc<Agent<C>>, Unassembled>,
    enabled: bool,
}

impl<C> Clone for Slot<C> {
    fn clone(&self) -> Self {
        Self { made_of: self.made_of.clone(), agent: self.agent.clone(), enabled: self.enabled }
    }
}

impl<C: Clock + Clone> Deployment<C> {
    /// Reads nothing yet.
    pub fn new(source: Source, environment: Environment, aws: Arc<AwsClients>, clock: C) -> Self {
        let warm = Mutex::new(Warm { loaded_at: None, slots: BTreeMap::new() });
        Self { source, environment, aws, clock, read_only: false, warm }
    }

    /// The same, registering and writing nothing anywhere.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The name under which the deployment appears in metrics.
    pub fn name(&self) -> &str {
        match &self.source {
            Source::Parameters(root) => root.as_str(),
            Source::File { path, .. } => path,
        }
    }

    /// Reads the configuration and builds the agents ahead of the first poll. What goes wrong shows when polling.
    pub async fn warm_up(&self) {
        if let Err(error) = self.slots(false).await {
            tracing::warn!(%error, "warm-up did not finish");
        }
    }

    /// The agents that are configured well and enabled, for whoever asks more of them than a poll.
    pub async fn agents(&self, selection: &Selection) -> Result<Vec<Arc<Agent<C>>>, PollError> {
        let slots = self.selected(selection, false).await?;
        Ok(slots.into_values().filter(|slot| slot.enabled).filter_map(|slot| slot.agent.ok()).collect())
    }

    /// One poll iteration for the selected agents, side by side.
    pub async fn poll(&self, selection: &Selection, invocation: &Invocation) -> Result<Report, PollError> {
        let slots = self.selected(selection, false).await?;
        let polls = slots.into_iter().map(|(name, slot)| async move {
            let report = self.poll_agent(&name, slot, invocation).await;
            (name, report)
        });
        Ok(Report { agents: join_all(polls).await.into_iter().collect() })
    }

    async fn poll_agent(&self, name: &str, slot: Slot<C>, invocation: &Invocation) -> AgentReport {
        if !slot.enabled {
            return AgentReport { ok: true, disabled: true, ..AgentReport::default() };
        }
        let agent = match slot.agent {
            Ok(agent) => agent,
            Err(trouble) => return self.not_polled(name, trouble).await,
        };
        let mut report = agent.poll(invocation, None).await;
        let mut polled_by = Arc::clone(&agent);
        if report.error_kind == Some(ErrorKind::Unauthorised)
            && report.launched.is_empty()
            && let Some(renewed) = self.renewed(name, &agent).await
        {
            // The key was replaced while this process was warm: the poll is made with the new one.
            report = renewed.poll(invocation, (report.poll > 0).then_some(report.poll)).await;
            polled_by = renewed;
        }
        if !report.stopped {
            self.write_status(name, &polled_by.status()).await;
        }
        report
    }

    /// The report of an agent that cannot even be built. Its status tells health of it.
    async fn not_polled(&self, name: &str, trouble: Unassembled) -> AgentReport {
        let mut known = match &self.source {
            Source::Parameters(root) => status::read(&self.aws.ssm, root.as_str(), name).await.ok().flatten(),
            Source::File { .. } => None,
        }
        .unwrap_or_default();
        known.last_poll = Some(self.clock.now());
        known.error = Some(trouble.kind);
        self.write_status(name, &known).await;
        let error = Some(trouble.message);
        AgentReport { error, error_kind: Some(trouble.kind), poll: known.polls, ..AgentReport::default() }
    }

    async fn write_status(&self, name: &str, status: &Status) {
        if self.read_only {
            return;
        }
        if let Source::Parameters(root) = &self.source
            && let Err(error) = status::write(&self.aws.ssm, root.as_str(), name, status).await
        {
            tracing::warn!(agent = name, %error, "the status was not written: health will call the agent failing");
        }
    }

    /// The agent with secrets read afresh, if they differ.
    async fn renewed(&self, name: &str, agent: &Arc<Agent<C>>) -> Option<Arc<Agent<C>>> {
        let slots = self.slots(true).await.ok()?;
        let renewed = slots.get(name)?.agent.clone().ok()?;
        (!Arc::ptr_eq(&renewed, agent)).then_some(renewed)
    }

    async fn selected(&self, selection: &Selection, afresh: bool) -> Result<BTreeMap<String, Slot<C>>, PollError> {
        let mut slots = self.slots(afresh).await?;
        if slots.is_empty() {
            return Err(PollError::NoAgents(self.name().to_owned()));
        }
        if let Selection::Agents(names) = selection {
            if let Some(name) = names.iter().find(|name| !slots.contains_key(*name)) {
                let known = slots.into_keys().collect::<Vec<_>>().join(", ");
                return Err(PollError::UnknownAgent { name: name.clone(), known });
            }
            slots.retain(|name, _| names.contains(name));
        }
        Ok(slots)
    }

    /// The configured agents, read again when what is kept is too old, or when asked to.
    async fn slots(&self, afresh: bool) -> Result<BTreeMap<String, Slot<C>>, PollError> {
        let mut warm = self.warm.lock().await;
        let now = self.clock.now();
        let fresh = warm.loaded_at.is_some_and(|loaded_at| now - loaded_at < CACHED_FOR);
        if fresh && !afresh {
            return Ok(warm.slots.clone());
        }
        let (loaded, statuses) = self.load().await?;
        let slots = loaded.into_iter().map(|loaded| {
            let known = warm.slots.get(&loaded.agent).cloned();
            let status = statuses.get(&loaded.agent).cloned().unwrap_or_default();
            async { (loaded.agent.clone(), self.slot(loaded, known, status).await) }
        });
        warm.slots = join_all(slots).await.into_iter().collect();
        // An agent that could not be built is tried again at the next poll; so is a deployment without any, which waits
        // for its first configuration.
        let whole = !warm.slots.is_empty() && warm.slots.values().all(|slot| slot.agent.is_ok() || !slot.enabled);
        warm.loaded_at = whole.then_some(now);
        Ok(warm.slots.clone())
    }

    async fn load(&self) -> Result<(Vec<LoadedAgent>, BTreeMap<String, Status>), PollError> {
        match &self.source {
            Source::File { path, text } => Ok((vec![from_file(text, path, &self.environment)], BTreeMap::new())),
            Source::Parameters(root) => {
                let ssm = &self.aws.ssm;
                let (config, secrets, state) = (root.config(), root.secrets(), root.state());
                let (mut parameters, secrets, state) = tokio::try_join!(
                    ssm.parameters_by_path(&config, true, false),
                    ssm.parameters_by_path(&secrets, true, true),
                    ssm.parameters_by_path(&state, true, false),
                )
                .map_err(|error| PollError::Parameters { root: root.as_str().to_owned(), error })?;
                parameters.extend(secrets);
                let loaded = load(root, &parameters, &self.environment);
                for warning in &loaded.warnings {
                    tracing::warn!(warning, "configuration");
                }
                Ok((loaded.agents, status::by_agent(root, &state)))
            }
        }
    }

    async fn slot(&self, loaded: LoadedAgent, known: Option<Slot<C>>, status: Status) -> Slot<C> {
        let (config, secrets) = match loaded.result {
            Ok(made_of) => made_of,
            Err(errors) => {
                let trouble = Unassembled { kind: ErrorKind::Configuration, message: errors.to_string() };
                return Slot { made_of: None, agent: Err(trouble), enabled: true };
            }
        };
        let enabled = config.enabled;
        if let Some(known) = known
            && known.agent.is_ok()
            && known.made_of.as_ref().is_some_and(|made_of| is_same(made_of, &config, &secrets))
        {
            return known;
        }
        let kit = Kit {
            aws: Arc::clone(&self.aws),
            clock: self.clock.clone(),
            config: config.clone(),
            secrets: secrets.clone(),
            marked_as: format!("{}/{}", self.name(), loaded.agent),
            counter: self.counter(&loaded.agent),
            status,
            local_files: match &self.source {
                Source::Parameters(_) => LocalFiles::Refused,
                Source::File { .. } => LocalFiles::Allowed,
            },
            read_only: self.read_only,
        };
        Slot { made_of: Some((config, secrets)), agent: kit.assemble().await.map(Arc::new), enabled }
    }

    fn counter(&self, agent: &str) -> Counter {
        match &self.source {
            Source::Parameters(root) => {
                Counter::Parameter(PollCounter::new(self.aws.ssm.clone(), root.as_str(), agent))
            }
            Source::File { .. } => Counter::Process(AtomicU64::new(0)),
        }
    }
}

/// Whether an agent was assembled from the same. Documents that lie elsewhere may have changed: such an agent is
/// assembled anew.
fn is_same(made_of: &(AgentConfig, AgentSecrets), config: &AgentConfig, secrets: &AgentSecrets) -> bool {
    made_of.0 == *config && made_of.1.is_same(secrets) && !config.refers_elsewhere()
}
