//! The `task-events` function: an event of a task that changed its state → its flow run.

mod agents;
mod answer;
mod queue;
mod told;

pub use answer::{EventAnswer, TaskEventsError};
pub use told::Measured;

use crate::aws::{AgentAws, AwsClients};
use crate::clock::Clock;
use crate::config::{AgentConfig, Environment, GenerationConfig, Root};
use crate::panics::{caught, lock};
use crate::prefect3::version_of;
use crate::redaction::Redaction;
use crate::task_events::decision::DecisionRules;
use crate::task_events::event::{self, Ignored, NotAnEvent, TaskEvent};
use crate::task_events::perform::{Known, Performer, Told};
use crate::task_events::queue::messages;
use crate::task_events::task_owner::{self, Owner};
use agents::owner_of;
use agents::{Agents, AgentsReader};
use agents::{Api, Apis};
use answer::answer_to_all;
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;
use told::Deaths;

/// A warm process reads configuration and secrets again after this long.
const CACHED_FOR: Duration = Duration::from_mins(5);
/// What is not understood by what was read longer ago than this is looked at with what is configured now. Not sooner:
/// where the tasks of all workers are watched, many events are nobody's.
const FRESH_FOR: Duration = Duration::from_secs(20);
/// Kept back from the end of an invocation, so that an error goes back to Lambda instead of nothing.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What tells Prefect about tasks that died.
pub struct TaskEventsFunction<C> {
    root: Root,
    aws: Arc<AwsClients>,
    clock: C,
    redaction: Redaction,
    agents: AgentsReader,
    apis: Apis<C>,
    measured: std::sync::Mutex<Vec<Measured>>,
    deaths: std::sync::Mutex<Deaths>,
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
        let agents = AgentsReader::new(root.clone(), Arc::clone(&aws), environment, redaction.clone());
        let apis = Apis::new(root.clone(), Arc::clone(&aws), clock.clone(), redaction.clone());
        Self {
            root,
            aws,
            clock,
            redaction,
            agents,
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
        let mut agents = self.agents.read(CACHED_FOR, self.clock.now()).await?;
        let mut found = owner_of(&event.event, &agents, &self.aws, self.clock.now()).await;
        // An agent may be younger than what is kept, or be mended by now.
        let kept_for = match found {
            Ok(Err(_)) => Some(FRESH_FOR),
            Err(TaskEventsError::Configuration { .. }) => Some(Duration::ZERO),
            _ => None,
        };
        if let Some(kept_for) = kept_for {
            agents = self.agents.read(kept_for, self.clock.now()).await?;
            found = owner_of(&event.event, &agents, &self.aws, self.clock.now()).await;
        }
        let (owner, known) = match found? {
            Ok(found) => found,
            Err(ignored) => return Ok(ignore(&ignored)),
        };
        // Only a task's end is sent again: that it waits or runs is told at once or not at all.
        if event.event.is_stopped() && event.event.task.started_by.is_none() && event.event.tags.is_none() {
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
        let config = agents.config(told.agent.as_deref().unwrap_or_default());
        let cost = told::cost_of(event, config);
        lock(&self.measured).extend(told::measured(event, &told, &cost));
        lock(&self.deaths).note(event, &told, self.clock.now());
        self.deregister(event, &known, &agents, &mut told).await;
        told::log(event, &known, &told, config, &cost);
        Ok(told)
    }

    /// What was measured since this was asked last.
    pub fn take_measured(&self) -> Vec<Measured> {
        std::mem::take(&mut *lock(&self.measured))
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
                let renewed = self.agents.read(Duration::ZERO, self.clock.now()).await?;
                if renewed.named(name).is_none() {
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
        let Some(agent) = agents.named(name) else { return Ok(None) };
        let Ok((config, secrets)) = &agent.result else { return Ok(None) };
        let aws = self.aws.for_agent(event.event.region.as_deref(), config.role_to_assume().as_ref()).await;
        let api = self.apis.of(agent, (config, secrets), (agents.read_at, event.deadline)).await?;
        let told = match &*api {
            Api::One(one) => self.performer(&**one, (&aws, event.end), config).tell(&event.event, owner, known).await,
            Api::Three(three) => {
                self.performer(&**three, (&aws, event.end), config).tell(&event.event, owner, known).await
            }
        };
        told.map_err(|error| TaskEventsError::Performing { agent: name.to_owned(), error })
    }

    fn performer<'a, O>(
        &'a self,
        orchestrator: &'a O,
        (aws, end): (&'a AgentAws, OffsetDateTime),
        config: &'a AgentConfig,
    ) -> Performer<'a, O, C> {
        let prefect_version = match &config.generation {
            GenerationConfig::One(_) => "",
            GenerationConfig::Three(three) => version_of(three.rules),
        };
        let rules = DecisionRules { prefect_version, ..DecisionRules::of(config) };
        let (clock, agent) = (&self.clock, config.agent.as_str());
        Performer { orchestrator, ecs: &aws.ecs, logs: &aws.logs, clock, end, agent, rules }
    }

    /// A definition that a worker registered for this task alone. Best effort.
    async fn deregister(&self, event: &TaskEvent, known: &Known, agents: &Agents, told: &mut Told) {
        let candidates = agents.candidates();
        let Some(arn) = task_owner::definition_to_deregister(event, &known.tags, &candidates) else { return };
        let config = told.agent.as_deref().and_then(|agent| agents.config(agent));
        let aws = self.aws.for_agent(event.region.as_deref(), agents.role(config, event).as_ref()).await;
        match aws.ecs.deregister_task_definition(arn).await {
            Ok(()) => told.done.push("definition deregistered"),
            Err(error) => tracing::warn!(task_definition = arn, %error, "the task definition was not deregistered"),
        }
    }
}

fn ignore(ignored: &Ignored) -> Told {
    tracing::info!(why = ignored.0, "task event ignored");
    Told { why: ignored.0.clone(), ..Told::default() }
}
