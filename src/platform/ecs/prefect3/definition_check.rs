//! Whether a task definition fits the launch.

use super::configuration::{Configuration, filled};
use crate::model::RunRefusal;
use crate::python_text::text_repr;
use serde_json::{Map, Value};

/// Whether the definition requires EC2.
pub(super) fn requires_ec2(definition: &Map<String, Value>) -> bool {
    requires(definition, "EC2") == Some(true)
}

/// Whether a compatibility is required; `None` = the definition requires none.
fn requires(definition: &Map<String, Value>, compatibility: &str) -> Option<bool> {
    let list = definition.get("requiresCompatibilities")?.as_array()?;
    Some(list.iter().any(|entry| entry == compatibility))
}

/// Refuses a definition, ours or one that exists, that the launch's configuration cannot use.
pub(super) fn check(configuration: &Configuration, definition: &Map<String, Value>) -> Result<(), RunRefusal> {
    let logs = configuration.configure_cloudwatch_logs == Some(true);
    if logs && filled(definition.get("executionRoleArn")).is_none() {
        return Err(RunRefusal(
            "ValueError: An execution role arn must be set on the task definition to use `configure_cloudwatch_logs` or \
             `stream_logs` but no execution role was found on the task definition."
                .into(),
        ));
    }
    let request = &configuration.task_run_request;
    let given = filled(request.get("launchType")).and_then(Value::as_str);
    let has_strategy = filled(request.get("capacityProviderStrategy")).is_some();
    let launch_type = match given {
        None if has_strategy || requires_ec2(definition) => return Ok(()),
        Some(launch_type) if has_strategy && launch_type != "FARGATE_SPOT" => return Ok(()),
        given => given.unwrap_or("FARGATE"),
    };
    if launch_type != "EC2" && requires(definition, "FARGATE") == Some(false) {
        let launch_type = text_repr(launch_type);
        return Err(RunRefusal(format!(
            "ValueError: Task definition does not have 'FARGATE' in 'requiresCompatibilities' and cannot be used with \
             launch type {launch_type}"
        )));
    }
    let network_mode = definition.get("networkMode").and_then(Value::as_str).unwrap_or("awsvpc");
    if matches!(launch_type, "FARGATE" | "FARGATE_SPOT") && network_mode != "awsvpc" {
        let (mode, launch_type) = (text_repr(network_mode), text_repr(launch_type));
        return Err(RunRefusal(format!(
            "ValueError: Found network mode {mode} which is not compatible with launch type {launch_type}. Use either \
             the 'EC2' launch type or the 'awsvpc' network mode."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
