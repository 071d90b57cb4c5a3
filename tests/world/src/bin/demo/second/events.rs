//! `EventBridge`: tells the `task-events` function of every change of a task.

use super::cloud::Cloud;
use serde_json::Value;
use std::{collections::HashMap, time::Duration};
use tokio::sync::mpsc::UnboundedSender;
use world::{InvokeError, State, ecs::Task};

/// What an invocation has, as in the template.
const DEADLINE: Duration = Duration::from_mins(1);
/// How often an event is delivered, as in the template.
const ATTEMPTS: usize = 3;
/// How long it waits for news at a time.
const PATIENCE: Duration = Duration::from_mins(1);

/// Delivers one event after the other until one cannot be. Tasks whose end was told go to `stopped`.
pub(crate) async fn deliver(cloud: &Cloud, stopped: UnboundedSender<Task>) -> InvokeError {
    let mut told = HashMap::new();
    loop {
        cloud.aws.wait_until(PATIENCE, |state| news(state, &told).next().is_some()).await;
        let news: Vec<Task> = news(&cloud.aws.lock(), &told).cloned().collect();
        for task in news {
            if let Err(error) = handled(cloud, &task.event()).await {
                return error;
            }
            told.insert(task.arn.clone(), task.version);
            if task.last_status == "STOPPED" {
                // Nobody listens any more when the demo is about to end.
                let _ = stopped.send(task);
            }
        }
    }
}

/// Tasks that changed since their last event.
fn news<'a>(state: &'a State, told: &HashMap<String, u64>) -> impl Iterator<Item = &'a Task> {
    state.ecs.tasks.iter().filter(|task| told.get(&task.arn) != Some(&task.version))
}

async fn handled(cloud: &Cloud, event: &Value) -> Result<(), InvokeError> {
    let mut attempt = 1;
    loop {
        match cloud.task_events.invoke(event.clone(), DEADLINE).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}
