//! One process of a function, warm from its first invocation on: a real agent, or the real function `task-events`, with
//! nothing but a [`Port`] behind their clients.

use crate::clock::SimClock;
use crate::config::{Config, environment, root};
use crate::gate::ActorId;
use crate::port::{Port, Shared, aws};
use prefect_serverless_agent::functions::task_events::TaskEventsFunction;
use prefect_serverless_agent::platform::ecs::AgentEcs;
use prefect_serverless_agent::poll::deployment::CACHED_FOR;
use prefect_serverless_agent::poll::{Agent, AgentReport, Invocation};
use prefect_serverless_agent::redaction::Redaction;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// How long an invocation of `task-events` has.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// What goes on in a process; only polls have something to report.
pub type Work = Pin<Box<dyn Future<Output = Option<AgentReport>> + Send>>;

/// One process.
#[derive(Clone)]
pub struct Process {
    /// Its way to the world.
    pub port: Port,
    function: Function,
}

#[derive(Clone)]
enum Function {
    /// `poll`, with `RunTask` calls per second.
    Poll(Option<f64>, Arc<Mutex<Option<Made>>>),
    TaskEvents(Arc<TaskEventsFunction<SimClock>>),
}

/// What a process of `poll` keeps of its agent.
#[derive(Clone)]
struct Made {
    of: Config,
    read_at: OffsetDateTime,
    agent: Arc<Agent<AgentEcs<SimClock>, SimClock>>,
}

impl Process {
    /// A cold process of `poll`, whose clock is off by `skew` and which sends so many `RunTask` per second at most.
    pub fn of_poll(shared: &Arc<Shared>, actor: ActorId, skew: time::Duration, launch_rate: Option<f64>) -> Self {
        let port = Port::new(Arc::clone(shared), actor, skew);
        Self { port, function: Function::Poll(launch_rate, Arc::default()) }
    }

    /// A cold process of `task-events`.
    pub fn of_task_events(shared: &Arc<Shared>, actor: ActorId) -> Self {
        let port = Port::new(Arc::clone(shared), actor, time::Duration::ZERO);
        let environment = environment(port.world().config.cloud);
        let function = TaskEventsFunction::new(root(), aws(), environment, port.clock, Redaction::default());
        Self { port, function: Function::TaskEvents(Arc::new(function)) }
    }

    /// One invocation of `poll`, which is over after this long.
    pub fn poll(&self, time: Duration) -> Work {
        let process = self.clone();
        invocation(async move {
            let deadline = process.port.now() + time;
            let agent = match process.agent().await {
                Ok(agent) => agent,
                Err(error) => return Some(AgentReport { error: Some(error), ..AgentReport::default() }),
            };
            let invocation = Invocation { request_id: String::new(), deadline, is_poked: false };
            let (report, _) = Box::pin(agent.poll(&invocation, None)).await;
            process.port.world().written = agent.status();
            Some(report)
        })
    }

    /// The agent, made anew where its configuration was read too long ago and is another one by now.
    async fn agent(&self) -> Result<Arc<Agent<AgentEcs<SimClock>, SimClock>>, String> {
        let Function::Poll(launch_rate, made) = &self.function else { return Err("another function".into()) };
        let read_at = self.port.now();
        let known = made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (generation, of, status) = {
            let world = self.port.world();
            (world.generation, world.config.clone(), world.written.clone())
        };
        let agent = match known {
            Some(known) if read_at - known.read_at < CACHED_FOR => return Ok(known.agent),
            Some(known) if known.of == of => known.agent,
            _ => {
                let loaded = of.loaded(generation, *launch_rate);
                let made = Agent::of_parameter(aws(), self.port.clock, &root(), &loaded, status).await;
                Arc::new(made.map_err(|error| error.to_string())?)
            }
        };
        let kept = Made { of, read_at, agent: Arc::clone(&agent) };
        *made.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(agent)
    }

    /// Handles a batch of the queue; Lambda deletes what was told.
    pub fn tell(&self, batch: Value) -> Work {
        let Self { port, function } = self.clone();
        invocation(async move {
            let Function::TaskEvents(function) = function else { return None };
            let told = function.handle(&batch, port.now() + TIMEOUT).await;
            let answer = told.as_ref().ok().map(|answer| json!(answer));
            let mut world = port.world();
            world.audit.note(|| format!("{:?} tells of {}: {told:?}", port.actor, tasks_in(&batch).join(", ")));
            world.settle(&batch, answer.as_ref());
            None
        })
    }
}

/// ARNs of the tasks that a batch tells of.
fn tasks_in(batch: &Value) -> Vec<String> {
    let records = batch["Records"].as_array().into_iter().flatten();
    let task = |record: &Value| {
        let event: Value = serde_json::from_str(record["body"].as_str()?).ok()?;
        event["resources"][0].as_str().map(str::to_owned)
    };
    records.filter_map(task).collect()
}

/// Without tokio's budget: the driver polls many times before tokio has its turn again.
pub fn invocation(work: impl Future<Output = Option<AgentReport>> + Send + 'static) -> Work {
    Box::pin(tokio::task::unconstrained(work))
}
