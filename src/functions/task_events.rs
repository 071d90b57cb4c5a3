//! The `task-events` function: an event of a task that changed its state → its flow run.

mod answer;
mod apis;
mod deaths;
mod queue;

pub use answer::{EventAnswer, TaskEventsError};

use crate::aws::ecs::TaggedTask;
use crate::aws::{AgentAws, AwsClients};
use crate::clock::Clock;
use crate::config::{AgentConfig, Environment, GenerationConfig, LoadedAgent, Parameter, Root, load};
use crate::costs::{Estimate, Names, NoEstimate, estimate};
use crate::model::Generation as Watched;
use crate::panics::{caught, lock};
use crate::prefect3::version_of;
use crate::redaction::Redaction;
use crate::task_events::decision::DecisionRules;
use crate::task_events::event::{self, Ignored, NotAnEvent, TaskEvent};
use crate::task_events::perform::{Known, Performer, Told};
use crate::task_events::queue::messages;
use crate::task_events::task_owner::{self, Owner, OwnerCandidate};
use crate::telemetry::metrics::Metric;
use answer::answer_to_all;
use apis::{Api, Apis};
use deaths::Deaths;
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A warm process reads configuration and secrets again after this long.
const CACHED_FOR: Duration = Duration::from_mins(5);
/// What is not understood by what was read longer ago than this is looked at with what is configured now. Not sooner:
/// where the tasks of all workers are watched, many events are nobody's.
const FRESH_FOR: Duration = Duration::from_secs(20);
/// ECS tells of a stopped task for an hour at least; somewhat before that, its silence says that there was none.
const REMEMBERED: Duration = Duration::from_mins(55);
/// Kept back from the end of an invocation, so that an error goes back to Lambda instead of nothing.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What tells Prefect about tasks that died.
pub struct TaskEventsFunction<C> {
    root: Root,
    aws: Arc<AwsClients>,
    environment: Environment,
    clock: C,
    redaction: Redaction,
    agents: Mutex<Option<Agents>>,
    apis: Apis<C>,
    measured: std::sync::Mutex<Vec<Measured>>,
    deaths: std::sync::Mutex<Deaths>,
}

/// A value of a metric that an event told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The agent whose run it was.
    pub agent: Option<String>,
    /// What was measured.
    pub metric: Metric,
    /// The value, in the metric's unit.
    pub value: f64,
    /// When it was so.
    pub at: OffsetDateTime,
}

/// The configured agents, and when they were read.
#[derive(Clone)]
struct Agents {
    read_at: OffsetDateTime,
    all: Arc<Vec<LoadedAgent>>,
}

/// One event, and what is left of the invocation for it.
struct Bounded {
    event: TaskEvent,
    end: OffsetDateTime,
    deadline: Instant,
    /// The task's tags, once they are known, where nothing else tells whose it is.
    tags: OnceLock<BTreeMap<String, String>>,
}

/// An event that can be told.
struct NumberedEvent {
    /// Its place among all.
    number: usize,
    event: Value,
    read: TaskEvent,
}

/// What came of one event.
struct Attempt {
    /// Names it in an error; may be empty.
    name: String,
    told: Result<Told, TaskEventsError>,
    /// The event with what ECS will have forgotten by the next try.
    with_tags: Option<Value>,
}

impl<C: Clock + Clone> TaskEventsFunction<C> {
    /// Reads nothing yet. `redaction` comes to know all secrets that are read.
    pub fn new(root: Root, aws: Arc<AwsClients>, environment: Environment, clock: C, redaction: Redaction) -> Self {
        let apis = Apis::new(root.clone(), Arc::clone(&aws), clock.clone(), redaction.clone());
        Self {
            root,
            aws,
            environment,
            clock,
            redaction,
            agents: Mutex::default(),
            apis,
            measured: std::sync::Mutex::default(),
            deaths: std::sync::Mutex::default(),
        }
    }

    /// Handles what the function is given: a batch of the queue, an event, or envelopes with some. An event of a task that
    /// is none of ours is no error; trouble that may pass is, and so is what is no event, so that it is delivered again
    /// and kept. `deadline`: when the invocation is killed.
    pub async fn handle(&self, given: &Value, deadline: OffsetDateTime) -> Result<EventAnswer, TaskEventsError> {
        let end = deadline - LAST_WORDS;
        let answer = if let Some(messages) = messages(given) {
            Ok(EventAnswer::Batch(self.tell_messages(&messages, end).await))
        } else {
            let attempts = self.tell_each(event::events(given), end).await;
            answer_to_all(attempts.into_iter().map(|attempt| (attempt.name, attempt.told)).collect())
        };
        self.write_deaths(end).await;
        answer
    }

    /// Events of one task are told one after the other, those of several tasks side by side.
    async fn tell_each(&self, events: Vec<Result<Value, NotAnEvent>>, end: OffsetDateTime) -> Vec<Attempt> {
        let mut tasks: Vec<(String, Vec<NumberedEvent>)> = Vec::new();
        let mut attempts: Vec<(usize, Attempt)> = Vec::new();
        let settled = |told| Attempt { name: String::new(), told, with_tags: None };
        for (number, event) in events.into_iter().enumerate() {
            match event.map(|event| (TaskEvent::read(&event), event)) {
                Err(error) => attempts.push((number, settled(Err(error.into())))),
                Ok((Err(ignored), _)) => attempts.push((number, settled(Ok(ignore(&ignored))))),
                Ok((Ok(read), event)) => match tasks.iter_mut().find(|(task, _)| *task == read.task_arn) {
                    Some((_, events)) => events.push(NumberedEvent { number, event, read }),
                    None => tasks.push((read.task_arn.clone(), vec![NumberedEvent { number, event, read }])),
                },
            }
        }
        let of_tasks = tasks.into_iter().map(|(task_arn, events)| async move {
            let mut attempts = Vec::with_capacity(events.len());
            for NumberedEvent { number, event, read } in events {
                let (told, tags) = self.bounded(read, end).await;
                let with_tags = tags.filter(|_| told.is_err()).map(|tags| TaskEvent::with_tags(&event, &tags));
                attempts.push((number, Attempt { name: format!(" (task {task_arn})"), told, with_tags }));
            }
            attempts
        });
        attempts.extend(join_all(of_tasks).await.into_iter().flatten());
        attempts.sort_by_key(|(number, _)| *number);
        attempts.into_iter().map(|(_, attempt)| attempt).collect()
    }

    /// Better an error than to be killed: it says what went wrong, and the event is delivered again. Beside it, the task's
    /// tags where they were asked for and only they tell whose it is.
    async fn bounded(
        &self,
        event: TaskEvent,
        end: OffsetDateTime,
    ) -> (Result<Told, TaskEventsError>, Option<BTreeMap<String, String>>) {
        let left = Duration::try_from(end - self.clock.now()).unwrap_or_default();
        let event = Bounded { event, end, deadline: Instant::now() + left, tags: OnceLock::new() };
        // A panic, too, is one event's trouble.
        let told = tokio::time::timeout(left, caught(self.tell_all(&event))).await;
        let told = match told {
            Ok(Ok(told)) => told,
            Ok(Err(panic)) => Err(TaskEventsError::Panic(panic)),
            Err(_) => Err(TaskEventsError::Deadline),
        };
        (told, event.tags.into_inner())
    }

    /// Tells the one of the agents whose run it is.
    async fn tell_all(&self, event: &Bounded) -> Result<Told, TaskEventsError> {
        let mut agents = self.agents(CACHED_FOR).await?;
        let mut found = self.owner(&event.event, &agents.all).await;
        // An agent may be younger than what is kept, or be mended by now.
        let kept_for = match found {
            Ok(Err(_)) => Some(FRESH_FOR),
            Err(TaskEventsError::Configuration { .. }) => Some(Duration::ZERO),
            _ => None,
        };
        if let Some(kept_for) = kept_for {
            agents = self.agents(kept_for).await?;
            found = self.owner(&event.event, &agents.all).await;
        }
        let (owner, known) = match found? {
            Ok(found) => found,
            Err(ignored) => return Ok(ignore(&ignored)),
        };
        if event.event.task.started_by.is_none() && event.event.tags.is_none() {
            // Set once: this runs once for an event.
            let _ = event.tags.set(known.tags.clone());
        }
        let mut told = Told { flow_run_id: Some(owner.flow_run_id.clone()), ..Told::default() };
        told.why = "no agent's Prefect knows the flow run".into();
        let mut trouble = None;
        for name in &owner.agents {
            match self.tell(event, &owner, &known, (&agents, name)).await {
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
        let event = &event.event;
        let config = config_of(&agents.all, told.agent.as_deref().unwrap_or_default());
        // Of an agent's own tasks that have stopped.
        let cost = config.filter(|_| event.is_stopped()).map(|config| estimate(event, config.prices.as_ref()));
        let cost = cost.as_ref().map(Result::as_ref);
        self.measure(event, &told, cost.and_then(Result::ok));
        lock(&self.deaths).note(event, &told, self.clock.now());
        self.deregister(event, &known, &agents.all, &mut told).await;
        log_event(event, &known, &told, (config, cost));
        Ok(told)
    }

    /// What was measured since this was asked last.
    pub fn take_measured(&self) -> Vec<Measured> {
        std::mem::take(&mut *lock(&self.measured))
    }

    /// Keeps what an event that was told says in figures, for the metrics.
    fn measure(&self, event: &TaskEvent, told: &Told, cost: Option<&Estimate>) {
        let measured = |metric, value, at| Measured { agent: told.agent.clone(), metric, value, at };
        let due_to_running = event.task.started_at.zip(told.due_to_running_ms).map(|(started_at, milliseconds)| {
            measured(Metric::DueToRunning, Duration::from_millis(milliseconds).as_secs_f64(), started_at)
        });
        let cost = event
            .task
            .stopped_at
            .zip(cost)
            .map(|(stopped_at, cost)| measured(Metric::EstimatedCost, cost.usd(), stopped_at));
        lock(&self.measured).extend(due_to_running.into_iter().chain(cost));
    }

    /// Whose task it is, and what its tags are where somebody needs them.
    async fn owner(
        &self,
        event: &TaskEvent,
        agents: &[LoadedAgent],
    ) -> Result<Result<(Owner, Known), Ignored>, TaskEventsError> {
        let candidates = candidates(agents);
        let owner = match task_owner::by_started_by(event, &candidates) {
            Ok(Some(owner)) => {
                // An agent that is there and cannot be made is no stranger: the event is worth another delivery.
                let broken = agents.iter().filter(|agent| owner.agents.contains(&agent.agent)).find_map(broken);
                if let Some(broken) = broken {
                    return Err(broken);
                }
                Some(owner)
            }
            Ok(None) => None,
            Err(ignored) => return Ok(Err(ignored)),
        };
        let config = owner.as_ref().and_then(|owner| config_of(agents, owner.agents.first()?));
        if config.is_some_and(|config| matches!(config.generation, GenerationConfig::One(_))) {
            // Prefect 1 knows nothing of a task's tags.
            return Ok(owner.map(|owner| (owner, Known::default())).ok_or_else(|| Ignored("nobody's task".into())));
        }
        if let Some(tags) = &event.tags {
            let known = Known { tags: tags.clone(), version: None };
            return with_owner(owner, known, agents);
        }
        let aws = self.aws_of(event, config, agents).await;
        let described = aws.ecs.describe_tagged_task(event.task.cluster_arn.as_deref(), &event.task_arn).await;
        let TaggedTask { version, tags } = match described {
            Ok(Some(task)) => task,
            Ok(None) if owner.is_none() && self.is_forgotten(event) => return Err(TaskEventsError::Forgotten),
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
    fn is_forgotten(&self, event: &TaskEvent) -> bool {
        let stopped_at = event.task.stopped_at.or(event.time);
        event.is_stopped() && stopped_at.is_some_and(|stopped_at| self.clock.now() - stopped_at >= REMEMBERED)
    }

    /// Tells one agent's Prefect. A key that was replaced while this process was warm is read again.
    async fn tell(
        &self,
        event: &Bounded,
        owner: &Owner,
        known: &Known,
        (agents, name): (&Agents, &str),
    ) -> Result<Option<Told>, TaskEventsError> {
        match self.tell_with(event, owner, known, (agents, name)).await {
            Err(error) if error.is_unauthorised() => {
                let renewed = self.agents(Duration::ZERO).await?;
                if renewed.all.iter().all(|agent| agent.agent != name) {
                    return Err(error);
                }
                self.tell_with(event, owner, known, (&renewed, name)).await
            }
            told => told,
        }
    }

    async fn tell_with(
        &self,
        event: &Bounded,
        owner: &Owner,
        known: &Known,
        (agents, name): (&Agents, &str),
    ) -> Result<Option<Told>, TaskEventsError> {
        let Some(agent) = agents.all.iter().find(|agent| agent.agent == name) else { return Ok(None) };
        let Ok((config, secrets)) = &agent.result else { return Ok(None) };
        let aws = self.aws_of(&event.event, Some(config), &[]).await;
        let api = self.apis.of(agent, (config, secrets), (agents.read_at, event.deadline)).await?;
        let told = match &*api {
            Api::One(one) => {
                let performer = self.performer(&**one, (&aws, event.end), config, Watched::One);
                performer.tell(&event.event, owner, known).await
            }
            Api::Three(three) => {
                let performer = self.performer(&**three, (&aws, event.end), config, Watched::TwoOrThree);
                performer.tell(&event.event, owner, known).await
            }
        };
        told.map_err(|error| TaskEventsError::Performing { agent: name.to_owned(), error })
    }

    fn performer<'a, O>(
        &'a self,
        orchestrator: &'a O,
        (aws, end): (&'a AgentAws, OffsetDateTime),
        config: &'a AgentConfig,
        generation: Watched,
    ) -> Performer<'a, O, C> {
        let prefect_version = match &config.generation {
            GenerationConfig::One(_) => "",
            GenerationConfig::Three(three) => version_of(three.rules),
        };
        let rules = DecisionRules {
            generation,
            max_launch_attempts: config.max_launch_attempts,
            forward_log_lines: config.forward_log_lines,
            prefect_version,
        };
        let (clock, agent) = (&self.clock, config.agent.as_str());
        Performer { orchestrator, ecs: &aws.ecs, logs: &aws.logs, clock, end, agent, rules }
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
        let Some(arn) = task_owner::definition_to_deregister(event, &known.tags, &candidates) else { return };
        let config = told.agent.as_ref().and_then(|agent| config_of(agents, agent));
        let aws = self.aws_of(event, config, agents).await;
        match aws.ecs.deregister_task_definition(arn).await {
            Ok(()) => told.done.push("definition deregistered"),
            Err(error) => tracing::warn!(task_definition = arn, %error, "the task definition was not deregistered"),
        }
    }

    /// The configured agents, read again when what is kept is older than this.
    async fn agents(&self, kept_for: Duration) -> Result<Agents, TaskEventsError> {
        let mut kept = self.agents.lock().await;
        let now = self.clock.now();
        if let Some(agents) = kept.as_ref().filter(|agents| now - agents.read_at < kept_for) {
            return Ok(agents.clone());
        }
        let (config, secrets) = (self.root.config(), self.root.secrets());
        let read = tokio::try_join!(
            self.aws.ssm.parameters_by_path(&config, true, false),
            self.aws.ssm.parameters_by_path(&secrets, true, true),
        );
        let (config, secrets) = read.map_err(TaskEventsError::Parameters)?;
        let parameters: Vec<Parameter> = config.into_iter().chain(secrets).collect();
        self.redaction.know_parameters(&self.root, &parameters);
        let all = Arc::new(load(&self.root, &parameters, &self.environment).agents);
        self.redaction.know_agents(&all);
        let agents = Agents { read_at: now, all };
        *kept = Some(agents.clone());
        Ok(agents)
    }
}

fn ignore(ignored: &Ignored) -> Told {
    tracing::info!(why = ignored.0, "task event ignored");
    Told { why: ignored.0.clone(), ..Told::default() }
}

/// What is wrong with the agent's configuration, if something is.
fn broken(agent: &LoadedAgent) -> Option<TaskEventsError> {
    let error = agent.result.as_ref().err()?.clone();
    Some(TaskEventsError::Configuration { agent: agent.agent.clone(), error })
}

/// Whose task it is, by its tags where nothing else tells. Which pool an agent serves whose configuration is wrong, nobody
/// knows at the moment: the event is worth another delivery.
fn with_owner(
    owner: Option<Owner>,
    known: Known,
    agents: &[LoadedAgent],
) -> Result<Result<(Owner, Known), Ignored>, TaskEventsError> {
    match owner.map_or_else(|| task_owner::by_tags(&known.tags, &candidates(agents)), Ok) {
        Ok(owner) => Ok(Ok((owner, known))),
        Err(ignored) if task_owner::is_of_a_flow_run(&known.tags) => match agents.iter().find_map(broken) {
            Some(broken) => Err(broken),
            None => Ok(Err(ignored)),
        },
        Err(ignored) => Ok(Err(ignored)),
    }
}

/// The line of the log that says what came of an event. Where the task has stopped it says what the task cost, with the names
/// by which that is added up (see [`crate::costs::query`]).
fn log_event(
    event: &TaskEvent,
    known: &Known,
    told: &Told,
    (config, cost): (Option<&AgentConfig>, Option<Result<&Estimate, &NoEstimate>>),
) {
    let usage = cost.and_then(|cost| Some(&cost.ok()?.usage));
    let names = config.map(|config| match &config.generation {
        GenerationConfig::One(_) => Names::of(event, &known.tags, None),
        GenerationConfig::Three(three) => Names::of(event, &known.tags, Some(&three.work_pool)),
    });
    let names = names.unwrap_or_default();
    tracing::info!(
        task_arn = event.task_arn,
        status = event.last_status,
        told = %serde_json::json!(told),
        agent = told.agent,
        flow_run_id = told.flow_run_id,
        // For queries; what was done is one of few words.
        done = if told.done.is_empty() { "nothing".to_owned() } else { told.done.join(", ") },
        due_to_running_ms = told.due_to_running_ms,
        flow = names.flow,
        deployment = names.deployment,
        work_pool = names.work_pool,
        estimated_cost = cost.and_then(|cost| Some(cost.ok()?.usd())),
        no_estimate = cost.and_then(|cost| Some(cost.err()?.to_string())),
        billed_seconds = usage.map(|usage| usage.billed_seconds),
        cpu_units = usage.map(|usage| usage.cpu_units),
        memory_mib = usage.map(|usage| usage.memory_mib),
        platform = usage.map(|usage| usage.platform.name()),
        capacity = usage.map(|usage| usage.capacity.name()),
        "task event"
    );
}

fn config_of<'a>(agents: &'a [LoadedAgent], name: &str) -> Option<&'a AgentConfig> {
    let agent = agents.iter().find(|agent| agent.agent == name)?;
    agent.result.as_ref().ok().map(|(config, _)| config)
}

fn candidates(agents: &[LoadedAgent]) -> Vec<OwnerCandidate<'_>> {
    agents.iter().map(candidate).collect()
}

/// An agent that is configured wrongly is a candidate for its own tasks, but serves no pool.
fn candidate(agent: &LoadedAgent) -> OwnerCandidate<'_> {
    let work_pool = match agent.result.as_ref().map(|(config, _)| &config.generation) {
        Ok(GenerationConfig::Three(three)) => Some(three.work_pool.as_str()),
        Ok(GenerationConfig::One(_)) | Err(_) => None,
    };
    OwnerCandidate { agent: &agent.agent, work_pool }
}
