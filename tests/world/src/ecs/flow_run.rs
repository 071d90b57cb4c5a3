//! What a task's container does to its Prefect 3 flow run, when tasks live by themselves.

use super::Task;
use crate::{
    World,
    prefect3::{StateType, container::Started},
};
use std::time::Duration;

/// The flow run that a task's overrides name.
fn id_of(task: &Task) -> Option<String> {
    let overrides = task.request["overrides"]["containerOverrides"].as_array()?;
    let mut variables = overrides.iter().filter_map(|one| one["environment"].as_array()).flatten();
    variables
        .find(|entry| entry["name"] == "PREFECT__FLOW_RUN_ID")
        .and_then(|entry| entry["value"].as_str().map(str::to_owned))
}

fn live_id(world: &World, arn: &str) -> Option<String> {
    let state = world.lock();
    let task = state.ecs.tasks.iter().find(|task| task.arn == arn && task.desired_status == "RUNNING")?;
    id_of(task)
}

/// Begins the task's flow run, waiting for its time as the real process does. The exit code, when the process ends
/// at once.
pub(super) async fn begin(world: &World, arn: &str) -> Option<i64> {
    let id = live_id(world, arn)?;
    let mut waited = false;
    loop {
        let now = world.lock().now();
        let started = world
            .prefect3(|prefect3| if waited { prefect3.go_on(&id, now) } else { prefect3.start_container(&id, now) });
        match started {
            Ok(Started::Yes) => return None,
            Ok(Started::No(_)) => return Some(0),
            Err(_) => return Some(1),
            Ok(Started::Wait(seconds)) => {
                let due = now + time::Duration::seconds(seconds);
                let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                world.wait_until(limit, |state| state.now() >= due).await;
                live_id(world, arn)?;
                waited = true;
            }
        }
    }
}

/// Completes the task's flow run, unless the task was stopped meanwhile.
pub(super) fn end(world: &World, arn: &str) {
    let Some(id) = live_id(world, arn) else { return };
    let now = world.lock().now();
    // The server may say no, e.g. to a run that is being cancelled: then its state stays.
    let _ = world.prefect3(|prefect3| prefect3.finish_container(&id, StateType::Completed, None, now));
}
