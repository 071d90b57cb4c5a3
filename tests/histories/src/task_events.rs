//! One invocation of the function `task-events`: the real core, between the simulated Prefect and the simulated ECS.

use crate::audit::MAX_LAUNCH_ATTEMPTS;
use crate::call::{Call, Generation};
use crate::ecs::{SimEcs, log_error};
use crate::mail::Letter;
use crate::port::Port;
use crate::process::AGENT;
use crate::run::Config;
use crate::{prefect1, prefect3};
use prefect_serverless_agent::aws::AwsError;
use prefect_serverless_agent::clock::Clock;
use prefect_serverless_agent::model::run::Generation as Watched;
use prefect_serverless_agent::orchestrator::TaskWatch;
use prefect_serverless_agent::task_events::decision::DecisionRules;
use prefect_serverless_agent::task_events::perform::{Known, LogCalls, Performer};
use std::sync::Arc;
use std::time::Duration;

/// Lambda tries an asynchronous invocation again after one minute, then after two.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_mins(1), Duration::from_mins(2)];

/// How long one invocation has.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Lines of a container's log.
const LOG_LINES: u32 = 5;

struct SimLogs(Port);

impl LogCalls for SimLogs {
    async fn last_lines(&self, _: Option<&str>, _: &str, _: &str, _: u32) -> Result<Vec<String>, AwsError> {
        self.0.call(Call::ContainerLog, |_| vec!["Traceback".to_owned()]).await.map_err(|(fault, _)| log_error(fault))
    }
}

/// Handles one event, again when it did not come to its end. Whether it did in the end.
pub async fn handle(port: Port, generation: Generation, letter: Letter) -> bool {
    for pause in TRIES {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let config = Arc::new(Config::default());
        let done = match generation {
            Generation::One => told(&prefect1::Client::new(port.clone(), config), &port, Watched::One, &letter).await,
            Generation::Three => {
                told(&prefect3::Client::new(port.clone(), config), &port, Watched::TwoOrThree, &letter).await
            }
        };
        if done {
            return true;
        }
    }
    false
}

async fn told<O: TaskWatch>(orchestrator: &O, port: &Port, generation: Watched, letter: &Letter) -> bool {
    let rules = DecisionRules {
        generation,
        max_launch_attempts: MAX_LAUNCH_ATTEMPTS,
        forward_log_lines: LOG_LINES,
        prefect_version: "3.8.8",
    };
    let (ecs, logs) = (SimEcs(port.clone()), SimLogs(port.clone()));
    let end = port.clock.now() + TIMEOUT;
    let performer = Performer { orchestrator, ecs: &ecs, logs: &logs, clock: &port.clock, end, agent: AGENT, rules };
    let version = port.world().ecs.tasks.get(letter.task).map(|task| task.version);
    let told = performer.tell(&letter.event, &letter.owner, &Known { version, ..Known::default() }).await;
    port.world().audit.note(|| format!("{:?} tells of task {}: {told:?}", port.actor, letter.task));
    told.is_ok()
}
