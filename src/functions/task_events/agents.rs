//! The configured agents and their ways to their Prefect APIs, kept by a warm process: connections are opened once, not for
//! every event. And whose task an event is of: what its signature says, or its tags, which ECS is asked for.

use super::answer::TaskEventsError;
use crate::aws::AwsClients;
use crate::aws::ecs::TaggedTask;
use crate::clock::Clock;
use crate::config::{AgentConfig, AgentSecrets, Environment, GenerationConfig, LoadedAgent, Parameter, Root, load};
use crate::model::RoleToAssume;
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::prefect1::Prefect1;
use crate::prefect3::Prefect3;
use crate::redaction::Redaction;
use crate::task_events::event::{Ignored, TaskEvent};
use crate::task_events::perform::Known;
use crate::task_events::task_owner::{self, Owner, OwnerCandidate};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

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
    pub(super) fn role(&self, own: Option<&AgentConfig>, event: &TaskEvent) -> Option<RoleToAssume> {
        let own = own.and_then(AgentConfig::role_to_assume);
        let mut roles = self.all.iter().filter_map(|agent| agent.result.as_ref().ok()?.0.role_to_assume());
        let reaches = |role: &RoleToAssume| {
            event.account.as_deref().is_some_and(|account| role.arn.split(':').nth(4) == Some(account))
        };
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

/// ECS tells of a stopped task for an hour at least; somewhat before that, its silence says that there was none.
const REMEMBERED: Duration = Duration::from_mins(55);

/// The owner and what is known of the task, or why it is nobody's.
type Found = Result<(Owner, Known), Ignored>;

/// Whose task it is, and what its tags are where somebody needs them.
pub(super) async fn owner_of(
    event: &TaskEvent,
    agents: &Agents,
    aws: &AwsClients,
    now: OffsetDateTime,
) -> Result<Found, TaskEventsError> {
    let owner = match task_owner::by_started_by(event, &agents.candidates()) {
        Ok(owner) => owner,
        Err(ignored) => return Ok(Err(ignored)),
    };
    if let Some(owner) = &owner {
        // An agent that is there and cannot be made is no stranger: the event is worth another delivery.
        let is_owner = |name: &str| owner.agents.iter().any(|agent| agent == name);
        if let Some(broken) = agents.broken(is_owner) {
            return Err(broken);
        }
    }
    let config = owner.as_ref().and_then(|owner| agents.config(owner.agents.first()?));
    if config.is_some_and(|config| matches!(config.generation, GenerationConfig::One(_))) {
        // Prefect 1 knows nothing of a task's tags.
        return Ok(owner.map(|owner| (owner, Known::default())).ok_or_else(|| Ignored("nobody's task".into())));
    }
    if let Some(tags) = &event.tags {
        return with_owner(owner, Known { tags: tags.clone(), version: None }, agents);
    }
    let aws = aws.for_agent(event.region.as_deref(), agents.role(config, event).as_ref()).await;
    let described = aws.ecs.describe_tagged_task(event.task.cluster_arn.as_deref(), &event.task_arn).await;
    let TaggedTask { version, tags } = match described {
        Ok(Some(task)) => task,
        Ok(None) if owner.is_none() && is_forgotten(event, now) => return Err(TaskEventsError::Forgotten),
        Ok(None) => TaggedTask::default(),
        // Tags only add to what is told of a task of ours.
        Err(error) if owner.is_some() => {
            tracing::warn!(task_arn = event.task_arn, %error, "the task's tags cannot be read");
            TaggedTask::default()
        }
        Err(error) => return Err(TaskEventsError::Task(error)),
    };
    with_owner(owner, Known { tags, version }, agents)
}

/// Whether ECS may know nothing of a task that was there: it tells of stopped ones for an hour.
fn is_forgotten(event: &TaskEvent, now: OffsetDateTime) -> bool {
    let stopped_at = event.task.stopped_at.or(event.time);
    event.is_stopped() && stopped_at.is_some_and(|stopped_at| now - stopped_at >= REMEMBERED)
}

/// Whose task it is, by its tags where nothing else tells. Which pool an agent serves whose configuration is wrong, nobody
/// knows at the moment: the event is worth another delivery.
fn with_owner(owner: Option<Owner>, known: Known, agents: &Agents) -> Result<Found, TaskEventsError> {
    match owner.map_or_else(|| task_owner::by_tags(&known.tags, &agents.candidates()), Ok) {
        Ok(owner) => Ok(Ok((owner, known))),
        Err(ignored) if task_owner::is_of_a_flow_run(&known.tags) => match agents.broken(|_| true) {
            Some(broken) => Err(broken),
            None => Ok(Err(ignored)),
        },
        Err(ignored) => Ok(Err(ignored)),
    }
}
