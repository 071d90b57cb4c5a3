//! What the worker makes of the errors of `RunTask`: sentences for the usual ones.

use crate::python_text::{repr, text_repr};
use serde_json::{Map, Value};

/// The worker's text for a failed `RunTask`, exception type first. `text` is what the exception says, e.g. `An error
/// occurred (ClientException) when calling the RunTask operation: TaskDefinition is inactive` or `Failed to run ECS
/// task: AGENT`; `run_task` is the body that was sent.
pub fn run_task_failure(exception: &str, text: &str, run_task: &Map<String, Value>) -> String {
    let lower = text.to_lowercase();
    let cluster = || run_task.get("cluster").map_or_else(|| text_repr("default"), repr);
    let is_ec2 = run_task.get("launchType").and_then(Value::as_str) == Some("EC2");
    let said = if text.contains("ClusterNotFoundException") {
        format!(", cluster {} not found. Confirm that the cluster is configured in your region.", cluster())
    } else if text.contains("No Container Instances") && is_ec2 {
        format!(
            ", cluster {} does not appear to have any container instances associated with it. Confirm that you have EC2 \
             container instances available.",
            cluster()
        )
    } else if text.contains("TaskDefinition is inactive") {
        ", the task definition is inactive. Re-register the task definition or remove the `task_definition_arn` from \
         your work pool configuration to allow Prefect to register a new task definition automatically."
            .into()
    } else if lower.contains("no capacity") || lower.contains("capacity provider") {
        " due to a capacity provider error. Verify that your Fargate or EC2 capacity providers are correctly configured \
         for the cluster and that the requested capacity is available."
            .into()
    } else if text.contains("InvalidParameterException")
        && ["subnet", "security group", "network"].iter().any(|word| lower.contains(word))
    {
        " due to a network configuration error. Verify the subnets and security groups in your work pool's network \
         configuration are valid and belong to the expected VPC."
            .into()
    } else {
        return format!("{exception}: {text}");
    };
    format!("RuntimeError: Failed to run ECS task{said}")
}

#[cfg(test)]
mod tests;
