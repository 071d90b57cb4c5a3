//! One invocation of the function `task-events`: the real clients and core, with nothing but a [`Port`] behind them.

use crate::call::Generation;
use crate::config::Config;
use crate::port::Port;
use crate::process::{AGENT, aws, prefect1, prefect3};
use prefect_serverless_agent::aws::AgentAws;
use prefect_serverless_agent::clock::Clock;
use prefect_serverless_agent::config::AgentConfig;
use prefect_serverless_agent::model::run::Generation as Watched;
use prefect_serverless_agent::orchestrator::TaskWatch;
use prefect_serverless_agent::prefect3::api::version_of;
use prefect_serverless_agent::task_events::decision::DecisionRules;
use prefect_serverless_agent::task_events::event::TaskEvent;
use prefect_serverless_agent::task_events::perform::{Known, Performer};
use prefect_serverless_agent::task_events::task_owner::{self, OwnerCandidate};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use world::prefect3::POOL;

/// Lambda tries an asynchronous invocation again after one minute, then after two.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_mins(1), Duration::from_mins(2)];

/// How long one invocation has.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Handles one event, again when it did not come to its end.
pub async fn handle(port: Port, generation: Generation, event: Value) {
    for pause in TRIES {
        tokio::time::sleep(pause).await;
        let told = tokio::time::timeout(TIMEOUT, told(&port, generation, &event)).await;
        let said = told.unwrap_or_else(|_| Err("no time was left".into()));
        let (actor, task) = (port.actor, event["resources"][0].clone());
        port.world().audit.note(|| format!("{actor:?} tells of task {task}: {said:?}"));
        if said.is_ok() {
            return;
        }
    }
}

/// What was done; an error is worth another try.
async fn told(port: &Port, generation: Generation, event: &Value) -> Result<String, String> {
    let event = match TaskEvent::read(event) {
        Ok(event) => event,
        Err(ignored) => return Ok(ignored.0),
    };
    let config = port.world().config.clone();
    let (config, secrets) = Config::of_agent(&config, generation, None)?;
    let own = aws(port)?.for_agent(event.region.as_deref(), None).await;
    let deadline = Some(Instant::now() + TIMEOUT);
    match generation {
        Generation::One => {
            let prefect = prefect1(port, (&config, &secrets), true)?;
            prefect.set_deadline(deadline);
            told_by(&prefect, port, (&own, &config), &event, (Watched::One, None)).await
        }
        Generation::Three => {
            let prefect = prefect3(port, (&config, &secrets), format!("{:?}", port.actor), true)?;
            prefect.set_deadline(deadline);
            told_by(&prefect, port, (&own, &config), &event, (Watched::TwoOrThree, Some(POOL))).await
        }
    }
}

async fn told_by<O: TaskWatch>(
    orchestrator: &O,
    port: &Port,
    (aws, config): (&AgentAws, &AgentConfig),
    event: &TaskEvent,
    (generation, work_pool): (Watched, Option<&str>),
) -> Result<String, String> {
    let candidates = [OwnerCandidate { agent: AGENT, work_pool }];
    let owner = match task_owner::by_started_by(event, &candidates) {
        Ok(owner) => owner,
        Err(ignored) => return Ok(ignored.0),
    };
    let mut known = Known::default();
    if work_pool.is_some() {
        let described = aws.ecs.describe_tagged_task(event.task.cluster_arn.as_deref(), &event.task_arn).await;
        match described {
            Ok(task) => {
                let task = task.unwrap_or_default();
                known = Known { tags: task.tags, version: task.version };
            }
            // Tags only add to what is told of a task of ours.
            Err(_) if owner.is_some() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let owner = match owner.map_or_else(|| task_owner::by_tags(&known.tags, &candidates), Ok) {
        Ok(owner) => owner,
        Err(ignored) => return Ok(ignored.0),
    };
    let prefect_version = match &config.generation {
        prefect_serverless_agent::config::GenerationConfig::One(_) => "",
        prefect_serverless_agent::config::GenerationConfig::Three(three) => version_of(three.rules),
    };
    let rules = DecisionRules {
        generation,
        max_launch_attempts: config.max_launch_attempts,
        forward_log_lines: config.forward_log_lines,
        prefect_version,
    };
    let (clock, end) = (&port.clock, port.clock.now() + TIMEOUT);
    let performer = Performer { orchestrator, ecs: &aws.ecs, logs: &aws.logs, clock, end, agent: AGENT, rules };
    let told = performer.tell(event, &owner, &known).await;
    told.map(|told| format!("{told:?}")).map_err(|trouble| trouble.to_string())
}
