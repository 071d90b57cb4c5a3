//! The agents' ways to their Prefect APIs, kept by a warm process: connections are opened once, not for every event.

use super::answer::TaskEventsError;
use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::{AgentConfig, AgentSecrets, GenerationConfig, LoadedAgent, Root};
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::prefect1::Prefect1;
use crate::prefect3::Prefect3;
use crate::redaction::Redaction;
use std::collections::HashMap;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// One agent's way to its Prefect API.
pub(super) enum Api {
    One(Box<Prefect1>),
    Three(Box<Prefect3>),
}

impl Api {
    /// No request goes on beyond `deadline`.
    fn set_deadline(&self, deadline: Instant) {
        match self {
            Self::One(one) => one.set_deadline(Some(deadline)),
            Self::Three(three) => three.set_deadline(Some(deadline)),
        }
    }
}

/// A way, and what it was made of.
struct CachedApi {
    config: AgentConfig,
    secrets: AgentSecrets,
    arn: Option<String>,
    /// When the parameters were read that it was made of.
    read_at: OffsetDateTime,
    api: Arc<Api>,
}

impl CachedApi {
    /// Whether a way made anew would be the same. Documents that lie elsewhere may have changed since.
    fn is_made_of(
        &self,
        agent: &LoadedAgent,
        (config, secrets): (&AgentConfig, &AgentSecrets),
        read: OffsetDateTime,
    ) -> bool {
        let is_the_same = self.config == *config && self.secrets.is_same(secrets) && self.arn == agent.arn;
        is_the_same && (self.read_at == read || !config.refers_elsewhere())
    }
}

/// The ways of all agents.
pub(super) struct Apis<C> {
    root: Root,
    aws: Arc<AwsClients>,
    clock: C,
    redaction: Redaction,
    /// By agent.
    kept: Mutex<HashMap<String, CachedApi>>,
}

impl<C: Clock + Clone> Apis<C> {
    pub(super) fn new(root: Root, aws: Arc<AwsClients>, clock: C, redaction: Redaction) -> Self {
        Self { root, aws, clock, redaction, kept: Mutex::default() }
    }

    /// An agent's way to its API, for requests up to `deadline`. `read_at`: when the agent's parameters were read.
    pub(super) async fn of(
        &self,
        agent: &LoadedAgent,
        (config, secrets): (&AgentConfig, &AgentSecrets),
        (read_at, deadline): (OffsetDateTime, Instant),
    ) -> Result<Arc<Api>, TaskEventsError> {
        let key = agent.agent.clone();
        // Held while one is made, so that events that come together share it.
        let mut kept = self.kept.lock().await;
        let known = kept.get(&key).filter(|known| known.is_made_of(agent, (config, secrets), read_at));
        let api = if let Some(known) = known {
            Arc::clone(&known.api)
        } else {
            let api = Arc::new(self.made(agent, (config, secrets)).await?);
            let (config, secrets, arn) = (config.clone(), secrets.clone(), agent.arn.clone());
            kept.insert(key, CachedApi { config, secrets, arn, read_at, api: Arc::clone(&api) });
            api
        };
        drop(kept);
        api.set_deadline(deadline);
        Ok(api)
    }

    async fn made(
        &self,
        agent: &LoadedAgent,
        (config, secrets): (&AgentConfig, &AgentSecrets),
    ) -> Result<Api, TaskEventsError> {
        let (aws, clock) = (Arc::clone(&self.aws), self.clock.clone());
        let builder =
            PrefectBuilder::of_parameter::<AgentEcs<C>>(aws, clock, &self.root, agent, secrets, &self.redaction);
        let made = match &config.generation {
            GenerationConfig::One(one) => builder.prefect1(config, one).await.map(|one| Api::One(Box::new(one))),
            GenerationConfig::Three(three) => {
                builder.prefect3(config, three).await.map(|three| Api::Three(Box::new(three)))
            }
        };
        made.map_err(|error| TaskEventsError::Agent { agent: agent.agent.clone(), error })
    }
}
