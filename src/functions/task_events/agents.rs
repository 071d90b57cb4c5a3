//! The configured agents, kept by a warm process.

use super::answer::TaskEventsError;
use crate::aws::AwsClients;
use crate::config::{AgentConfig, Environment, GenerationConfig, LoadedAgent, Parameter, Root, load};
use crate::redaction::Redaction;
use crate::task_events::event::TaskEvent;
use crate::task_events::task_owner::OwnerCandidate;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// The configured agents, and when they were read.
#[derive(Clone)]
pub(super) struct Agents {
    pub(super) read_at: OffsetDateTime,
    all: Arc<Vec<LoadedAgent>>,
    secrets: Arc<Vec<Parameter>>,
}

impl Agents {
    /// The agent of this name.
    pub(super) fn named(&self, name: &str) -> Option<&LoadedAgent> {
        self.all.iter().find(|agent| agent.agent == name)
    }

    /// The agent's configuration, if it is right.
    pub(super) fn config(&self, name: &str) -> Option<&AgentConfig> {
        self.named(name)?.result.as_ref().ok().map(|(config, _)| config)
    }

    /// Those whose task it may be.
    pub(super) fn candidates(&self) -> Vec<OwnerCandidate<'_>> {
        self.all.iter().map(candidate).collect()
    }

    /// What is wrong with the configuration of one of those agents, if something is.
    pub(super) fn broken(&self, is_meant: impl Fn(&str) -> bool) -> Option<TaskEventsError> {
        let mut meant = self.all.iter().filter(|agent| is_meant(&agent.agent));
        meant.find_map(|agent| {
            let error = agent.result.as_ref().err()?.clone();
            Some(TaskEventsError::Configuration { agent: agent.agent.clone(), error })
        })
    }

    /// The role that reaches the task: the agent's own, or one by which some agent launches in the task's account.
    pub(super) fn role<'a>(&'a self, own: Option<&'a AgentConfig>, event: &TaskEvent) -> Option<&'a str> {
        let own = own.and_then(|config| config.assume_role_arn.as_deref());
        let mut roles = self.all.iter().filter_map(|agent| agent.result.as_ref().ok()?.0.assume_role_arn.as_deref());
        let reaches =
            |role: &&str| event.account.as_deref().is_some_and(|account| role.split(':').nth(4) == Some(account));
        own.or_else(|| roles.find(reaches))
    }
}

/// An agent that is configured wrongly is a candidate for its own tasks, but serves no pool.
fn candidate(agent: &LoadedAgent) -> OwnerCandidate<'_> {
    let work_pool = match agent.result.as_ref().map(|(config, _)| &config.generation) {
        Ok(GenerationConfig::Three(three)) => Some(three.work_pool.as_str()),
        Ok(GenerationConfig::One(_)) | Err(_) => None,
    };
    OwnerCandidate { agent: &agent.agent, work_pool }
}

/// Reads the configured agents, and keeps them.
pub(super) struct AgentsReader {
    root: Root,
    aws: Arc<AwsClients>,
    environment: Environment,
    redaction: Redaction,
    kept: Mutex<Option<Agents>>,
}

impl AgentsReader {
    pub(super) fn new(root: Root, aws: Arc<AwsClients>, environment: Environment, redaction: Redaction) -> Self {
        Self { root, aws, environment, redaction, kept: Mutex::default() }
    }

    /// The configured agents, read again when what is kept is older than this.
    pub(super) async fn read(&self, kept_for: Duration, now: OffsetDateTime) -> Result<Agents, TaskEventsError> {
        let mut kept = self.kept.lock().await;
        if let Some(agents) = kept.as_ref().filter(|agents| now - agents.read_at < kept_for) {
            return Ok(agents.clone());
        }
        let (config, secrets) = (self.root.config(), self.root.secrets());
        let known = kept.as_ref().map(|agents| Arc::clone(&agents.secrets)).unwrap_or_default();
        let read = tokio::try_join!(
            self.aws.ssm.parameters_by_path(&config, true, false),
            self.aws.ssm.secrets_by_path(&secrets, &known),
        );
        let (config, secrets) = read.map_err(TaskEventsError::Parameters)?;
        let parameters: Vec<Parameter> = config.into_iter().chain(secrets.iter().cloned()).collect();
        self.redaction.know_parameters(&self.root, &parameters);
        let all = Arc::new(load(&self.root, &parameters, &self.environment).agents);
        self.redaction.know_agents(&all);
        let agents = Agents { read_at: now, all, secrets: Arc::new(secrets) };
        *kept = Some(agents.clone());
        Ok(agents)
    }
}
