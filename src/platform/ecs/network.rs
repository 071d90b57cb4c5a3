//! The network of tasks for which nobody configured one: all subnets of the default VPC.

use super::LaunchOutcome;
use serde_json::{Value, json};

/// ECS takes at most this many subnets.
const SUBNETS_MAX: usize = 16;

/// `networkConfiguration` with these subnets, in their order, and a public address: without one a task in a public
/// subnet could not pull its image.
pub fn default_network(subnets: &[String]) -> Value {
    let subnets: Vec<&String> = subnets.iter().take(SUBNETS_MAX).collect();
    json!({"awsvpcConfiguration": {"subnets": subnets, "assignPublicIp": "ENABLED"}})
}

/// There is no default VPC, or it has no subnets (`missing` says which): it would hit every run of the agent.
pub fn no_default_network(missing: &str) -> LaunchOutcome {
    LaunchOutcome::AgentTrouble(format!(
        "Failed to infer default networkConfiguration, please explicitly configure using `--run-task-kwargs` ({missing}). \
         Set `networkConfiguration` in `run_task_kwargs` of the agent's configuration, e.g. \
         run_task_kwargs: {{networkConfiguration: {{awsvpcConfiguration: {{subnets: [subnet-…], assignPublicIp: ENABLED}}}}}}"
    ))
}

#[cfg(test)]
mod tests;
