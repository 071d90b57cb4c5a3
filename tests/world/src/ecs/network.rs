//! Where tasks run: launch type and network, against what the definition asks for.

use super::{Definition, fargate};
use crate::answer::ServiceError;
use serde_json::Value;

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameterException", message)
}

/// Checks launch type, size and network configuration of a `RunTask`.
pub(super) fn check(definition: &Definition, input: &Value) -> Result<(), ServiceError> {
    let providers = input["capacityProviderStrategy"].as_array().into_iter().flatten();
    let on_fargate_providers = providers
        .clone()
        .any(|strategy| strategy["capacityProvider"].as_str().is_some_and(|name| name.starts_with("FARGATE")));
    let fargate = input["launchType"] == "FARGATE" || on_fargate_providers;
    if fargate && !definition.is_fargate() {
        let compatible = definition.description["requiresCompatibilities"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "FARGATE"));
        // A definition whose size is only given by overrides may still fit.
        if !(compatible && input["overrides"]["cpu"].is_string() && input["overrides"]["memory"].is_string()) {
            return Err(invalid("Task definition does not support launch_type FARGATE."));
        }
    }
    if fargate {
        size(definition, input)?;
    }
    vpc(definition, input)
}

fn size(definition: &Definition, input: &Value) -> Result<(), ServiceError> {
    let text = |key: &str| input["overrides"][key].as_str().unwrap_or_else(|| definition.text(key)).to_owned();
    let cpu = fargate::cpu_units(&text("cpu")).ok_or_else(|| invalid("Invalid 'cpu' setting for task."))?;
    let memory = fargate::memory_mib(&text("memory")).ok_or_else(|| invalid("Invalid 'memory' setting for task."))?;
    if fargate::exists(cpu, memory) {
        return Ok(());
    }
    Err(invalid(format!(
        "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation for the valid values."
    )))
}

fn vpc(definition: &Definition, input: &Value) -> Result<(), ServiceError> {
    let configuration = &input["networkConfiguration"]["awsvpcConfiguration"];
    let awsvpc = definition.text("networkMode") == "awsvpc";
    if configuration.is_null() {
        if awsvpc {
            return Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."));
        }
        return Ok(());
    }
    if !awsvpc {
        return Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."));
    }
    let count = |key: &str| configuration[key].as_array().map_or(0, Vec::len);
    match (count("subnets"), count("securityGroups")) {
        (0, _) => Err(invalid("subnets can not be empty.")),
        (17.., _) => Err(invalid("subnets can have at most 16 items.")),
        (_, 6..) => Err(invalid("securityGroups can have at most 5 items.")),
        _ => Ok(()),
    }
}
