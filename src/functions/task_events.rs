//! The `task-events` function: an event of a task that changed its state → its flow run.

use crate::aws::ecs::TaggedTask;
use crate::aws::{AgentAws, AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{
    AgentConfig, ConfigErrors, Environment, Generation, LoadedAgent, Parameter, Prefect1Config, Root, load,
};
use crate::poll::{PrefectKit, Unassembled};
use crate::prefect3::api::version_of;
use crate::task_events::decision::Rules;
use crate::task_events::event::{Ignored, TaskEvent};
use crate::task_events::perform::{Known, Performer, Told, Trouble};
use crate::task_events::run::Generation as Watched;
use crate::task_events::whose::{self, Candidate, Owner};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// A warm process reads configuration and secrets again after this long.
const CACHED_FOR: Duration = Duration::from_mins(5);
/// What is not understood by what was read longer ago than this is looked at with what is configured now. Not sooner:
/// where the tasks of all workers are watched, many events are nobody's.
const FRESH_FOR: Duration = Duration::from_secs(20);

/// What tells Prefect about tasks that died.
pub struct TaskEventsFunction<C> {
    root: Root,
    aws: Arc<AwsClients>,
    environment: Environment,
    clock: C,
    agents: Mutex<Option<(OffsetDateTime, Arc<Vec<LoadedAgent>>)>>,
}

/// Why an event is delivered again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TaskEventsError {
    /// The parameters cannot be read.
    #[error("the parameters cannot be read: {0}")]
    Parameters(AwsError),
    /// The agent's way to its Prefect API cannot be built.
    #[error("agent {agent}: {error}")]
    Agent {
        /// The agent.
        agent: String,
        /// Why.
        error: Unassembled,
    },
    /// Prefect or AWS had trouble.
    #[error("agent {agent}: {error}")]
    Trouble {
        /// The agent.
        agent: String,
        /// What it was.
        error: Trouble,
    },
    /// Its configuration is wrong at the moment.
    #[error("agent {agent}: {error}")]
    Configuration {
        /// The agent.
        agent: String,
        /// What is wrong.
        error: ConfigErrors,
    },
    /// The task cannot be described, so that nobody knows whose it is.
    #[error("the task cannot be described: {0}")]
    Task(AwsError),
}

impl<C: Clock + Clone> TaskEventsFunction<C> {
    /// Reads nothing yet.
    pub fn new(root: Root, aws: Arc<AwsClients>, environment: Environment, clock: C) -> Self {
        Self { root, aws, environment, clock, agents: Mutex::default() }
    }

    /// Handles one event. What is none of ours is no error; trouble that may pass is, so that Lambda tries again.
    pub async fn handle(&self, event: &Value) -> Result<Told, TaskEventsError> {
        let event = match TaskEvent::read(event) {
            Ok(event) => event,
            Err(ignored) => return Ok(ignore(&ignored)),
        };
        let mut agents = self.agents(CACHED_FOR).await?;
        let mut found = self.owner(&event, &agents).await;
        // An agent may be younger than what is kept, or be mended by now.
        let kept_for = match found {
            Ok(Err(_)) => Some(FRESH_FOR),
            Err(TaskEventsError::Configuration { .. }) => Some(Duration::ZERO),
            _ => None,
        };
        if let Some(kept_for) = kept_for {
            agents = self.agents(kept_for).await?;
            found = self.owner(&event, &agents).await;
        }
        let (owner, known) = match found? {
            Ok(found) => found,
            Err(ignored) => return Ok(ignore(&ignored)),
        };
        let mut told = Told { flow_run_id: Some(owner.flow_run_id.clone()), ..Told::default() };
        told.why = "no agent's Prefect knows the flow run".into();
        let mut trouble = None;
        for name in &owner.agents {
            let Some(agent) = agents.iter().find(|agent| agent.agent == *name) else { continue };
            match self.tell(&event, &owner, &known, agent).await {
                Ok(Some(by_agent)) => {
                    (told, trouble) = (by_agent, None);
                    break;
                }
                Ok(None) => {}
                // One agent's trouble does not keep another from being asked.
                Err(error) => trouble = Some(error),
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.deregister(&event, &known, &agents, &mut told).await;
        tracing::info!(task_arn = event.task_arn, status = event.last_status, told = %serde_json::json!(told), "task event");
        Ok(told)
    }

    /// Whose task it is, and what its tags are where somebody needs them.
    async fn owner(
        &self,
        event: &TaskEvent,
        agents: &[LoadedAgent],
    ) -> Result<Result<(Owner, Known), Ignored>, TaskEventsError> {
        let candidates = candidates(agents);
        let owner = match whose::by_started_by(event, &candidates) {
            Ok(Some(owner)) => {
                // An agent that is there and cannot be made is no stranger: the event is worth another delivery.
                let broken = |agent: &LoadedAgent| Some((agent.agent.clone(), agent.result.as_ref().err()?.clone()));
                if let Some((agent, error)) =
                    agents.iter().filter(|agent| owner.agents.contains(&agent.agent)).find_map(broken)
                {
                    return Err(TaskEventsError::Configuration { agent, error });
                }
                Some(owner)
            }
            Ok(None) => None,
            Err(ignored) => return Ok(Err(ignored)),
        };
        let config = owner.as_ref().and_then(|owner| config_of(agents, owner.agents.first()?));
        if config.is_some_and(|config| matches!(config.generation, Generation::One(_))) {
            // Prefect 1 knows nothing of a task's tags.
            return Ok(owner.map(|owner| (owner, Known::default())).ok_or_else(|| Ignored("nobody's task".into())));
        }
        let aws = self.aws_of(event, config, agents).await;
        let described = aws.ecs.describe_tagged_task(event.task.cluster_arn.as_deref(), &event.task_arn).await;
        let TaggedTask { version, tags } = match described {
            Ok(task) => task.unwrap_or_default(),
            // Tags only add to what is told of a task of ours.
            Err(error) if owner.is_some() => {
                tracing::warn!(task_arn = event.task_arn, %error, "the task's tags cannot be read");
                TaggedTask::default()
            }
            Err(error) => return Err(TaskEventsError::Task(error)),
        };
        let known = Known { tags, version };
        Ok(match owner {
            Some(owner) => Ok((owner, known)),
            None => whose::by_tags(&known.tags, &candidates).map(|owner| (owner, known)),
        })
    }

    /// Tells one agent's Prefect. A key that was replaced while this process was warm is read again.
    async fn tell(
        &self,
        event: &TaskEvent,
        owner: &Owner,
        known: &Known,
        agent: &LoadedAgent,
    ) -> Result<Option<Told>, TaskEventsError> {
        match self.tell_with(event, owner, known, agent).await {
            Err(error) if is_unauthorised(&error) => {
                let agents = self.agents(Duration::ZERO).await?;
                match agents.iter().find(|renewed| renewed.agent == agent.agent) {
                    Some(renewed) => self.tell_with(event, owner, known, renewed).await,
                    None => Err(error),
                }
            }
            told => told,
        }
    }

    async fn tell_with(
        &self,
        event: &TaskEvent,
        owner: &Owner,
        known: &Known,
        agent: &LoadedAgent,
    ) -> Result<Option<Told>, TaskEventsError> {
        let name = agent.agent.clone();
        let Ok((config, secrets)) = &agent.result else { return Ok(None) };
        let aws = self.aws_of(event, Some(config), &[]).await;
        let kit = PrefectKit::of_parameter(Arc::clone(&self.aws), self.clock.clone(), &self.root, agent, secrets);
        let trouble = |error| TaskEventsError::Trouble { agent: name.clone(), error };
        let unassembled = |error| TaskEventsError::Agent { agent: name.clone(), error };
        let told = match &config.generation {
            Generation::One(one) => {
                // Nothing is launched here, so nothing that launches are made of is read.
                let one = Prefect1Config { task_definition: None, run_task_kwargs: None, ..one.clone() };
                let orchestrator = kit.prefect1(config, &one).await.map_err(unassembled)?;
                let performer = self.performer(&orchestrator, &aws, config, Watched::One, "");
                performer.tell(event, owner, known).await
            }
            Generation::Three(three) => {
                let orchestrator = kit.prefect3(config, three, &aws.region).await.map_err(unassembled)?;
                let performer =
                    self.performer(&orchestrator, &aws, config, Watched::TwoOrThree, version_of(three.rules));
                performer.tell(event, owner, known).await
            }
        };
        told.map_err(trouble)
    }

    fn performer<'a, O>(
        &'a self,
        orchestrator: &'a O,
        aws: &'a AgentAws,
        config: &'a AgentConfig,
        generation: Watched,
        prefect_version: &'a str,
    ) -> Performer<'a, O, crate::aws::ecs::Ecs, crate::aws::logs::Logs, C> {
        let rules = Rules {
            generation,
            max_launch_attempts: config.max_launch_attempts,
            forward_log_lines: config.forward_log_lines,
            prefect_version,
        };
        Performer { orchestrator, ecs: &aws.ecs, logs: &aws.logs, clock: &self.clock, agent: &config.agent, rules }
    }

    /// The clients that reach the task: in its region, and where an agent launches in the task's account by a role, with
    /// that role.
    async fn aws_of(&self, event: &TaskEvent, config: Option<&AgentConfig>, agents: &[LoadedAgent]) -> Arc<AgentAws> {
        let own_role = config.and_then(|config| config.assume_role_arn.as_deref());
        let mut roles = agents.iter().filter_map(|agent| agent.result.as_ref().ok()?.0.assume_role_arn.as_deref());
        let reaches =
            |role: &&str| event.account.as_deref().is_some_and(|account| role.split(':').nth(4) == Some(account));
        let role = own_role.or_else(|| roles.find(reaches));
        self.aws.for_agent(event.region.as_deref(), role).await
    }

    /// A definition that a worker registered for this task alone. Best effort.
    async fn deregister(&self, event: &TaskEvent, known: &Known, agents: &[LoadedAgent], told: &mut Told) {
        let candidates = candidates(agents);
        let Some(arn) = whose::definition_to_deregister(event, &known.tags, &candidates) else { return };
        let config = told.agent.as_ref().and_then(|agent| config_of(agents, agent));
        let aws = self.aws_of(event, config, agents).await;
        match aws.ecs.deregister_task_definition(arn).await {
            Ok(()) => told.done.push("definition deregistered"),
            Err(error) => tracing::warn!(task_definition = arn, %error, "the task definition was not deregistered"),
        }
    }

    /// The configured agents, read again when what is kept is older than this.
    async fn agents(&self, kept_for: Duration) -> Result<Arc<Vec<LoadedAgent>>, TaskEventsError> {
        let mut kept = self.agents.lock().await;
        let now = self.clock.now();
        if let Some((_, agents)) = kept.as_ref().filter(|(at, _)| now - *at < kept_for) {
            return Ok(Arc::clone(agents));
        }
        let (config, secrets) = (self.root.config(), self.root.secrets());
        let read = tokio::try_join!(
            self.aws.ssm.parameters_by_path(&config, true, false),
            self.aws.ssm.parameters_by_path(&secrets, true, true),
        );
        let (config, secrets) = read.map_err(TaskEventsError::Parameters)?;
        let parameters: Vec<Parameter> = config.into_iter().chain(secrets).collect();
        let agents = Arc::new(load(&self.root, &parameters, &self.environment).agents);
        *kept = Some((now, Arc::clone(&agents)));
        Ok(agents)
    }
}

fn ignore(ignored: &Ignored) -> Told {
    tracing::info!(why = ignored.0, "task event ignored");
    Told { why: ignored.0.clone(), ..Told::default() }
}

fn config_of<'a>(agents: &'a [LoadedAgent], name: &str) -> Option<&'a AgentConfig> {
    let agent = agents.iter().find(|agent| agent.agent == name)?;
    agent.result.as_ref().ok().map(|(config, _)| config)
}

fn candidates(agents: &[LoadedAgent]) -> Vec<Candidate<'_>> {
    agents.iter().map(candidate).collect()
}

/// An agent that is configured wrongly is a candidate for its own tasks, but serves no pool.
fn candidate(agent: &LoadedAgent) -> Candidate<'_> {
    let work_pool = match agent.result.as_ref().map(|(config, _)| &config.generation) {
        Ok(Generation::Three(three)) => Some(three.work_pool.as_str()),
        Ok(Generation::One(_)) | Err(_) => None,
    };
    Candidate { agent: &agent.agent, work_pool }
}

fn is_unauthorised(error: &TaskEventsError) -> bool {
    matches!(
        error,
        TaskEventsError::Trouble { error: Trouble::Api(crate::orchestrator::ApiError::Unauthorised(_)), .. }
    )
}
