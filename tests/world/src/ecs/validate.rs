//! What ECS refuses by looking at the request alone.

use super::{Definition, fargate};
use crate::answer::ServiceError;
use serde_json::Value;

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameterException", message)
}

fn client(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ClientException", message)
}

/// A JSON number or truth value where the model has a string.
fn string(value: &Value) -> Result<(), ServiceError> {
    let found = match value {
        Value::Null | Value::String(_) => return Ok(()),
        Value::Number(_) => "NUMBER_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Array(_) | Value::Object(_) => "Start of structure or map found where not expected.",
    };
    let message =
        if found.contains(' ') { found.to_owned() } else { format!("{found} can not be converted to a String") };
    Err(ServiceError::new("SerializationException", message))
}

fn strings(value: &Value, keys: &[&str]) -> Result<(), ServiceError> {
    keys.iter().try_for_each(|key| string(&value[*key]))
}

/// A JSON string where the model has an integer.
fn integers(value: &Value, keys: &[&str]) -> Result<(), ServiceError> {
    for key in keys {
        if !value[*key].is_null() && !value[*key].is_i64() {
            return Err(ServiceError::new("SerializationException", "STRING_VALUE can not be converted to an Integer"));
        }
    }
    Ok(())
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn tags(input: &Value) -> Result<(), ServiceError> {
    for tag in entries(input, "tags") {
        strings(tag, &["key", "value"])?;
        let (key, value) = (tag["key"].as_str().unwrap_or_default(), tag["value"].as_str().unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid("Tag keys have 1 to 128 characters, values up to 256."));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys cannot start with aws:"));
        }
    }
    if entries(input, "tags").count() > 50 { Err(invalid("The maximum number of tags is 50.")) } else { Ok(()) }
}

/// Checks a `RunTask` without knowing its task definition.
pub(super) fn run_task(input: &Value) -> Result<(), ServiceError> {
    let names = [
        "cluster",
        "taskDefinition",
        "launchType",
        "startedBy",
        "clientToken",
        "group",
        "platformVersion",
        "propagateTags",
        "referenceId",
    ];
    strings(input, &names)?;
    integers(input, &["count"])?;
    strings(&input["overrides"], &["cpu", "memory", "taskRoleArn", "executionRoleArn"])?;
    for container in entries(&input["overrides"], "containerOverrides") {
        strings(container, &["name"])?;
        integers(container, &["cpu", "memory", "memoryReservation"])?;
        entries(container, "command").try_for_each(string)?;
        entries(container, "environment").try_for_each(|entry| strings(entry, &["name", "value"]))?;
    }
    tags(input)?;
    if input["taskDefinition"].as_str().is_none_or(str::is_empty) {
        return Err(invalid("TaskDefinition can not be blank."));
    }
    if !(1..=10).contains(&input["count"].as_i64().unwrap_or(1)) {
        return Err(invalid("Count must be between 1 and 10."));
    }
    if !input["launchType"].is_null() && entries(input, "capacityProviderStrategy").next().is_some() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    match input["launchType"].as_str() {
        None | Some("FARGATE" | "EC2" | "EXTERNAL" | "MANAGED_INSTANCES") => {}
        Some(other) => {
            return Err(invalid(format!("Launch type should be one of [EC2,FARGATE,EXTERNAL], was {other}")));
        }
    }
    if input["propagateTags"] == "SERVICE" {
        return Err(invalid("PropagateTags SERVICE is not supported for RunTask."));
    }
    let started_by = input["startedBy"].as_str().unwrap_or_default();
    if started_by.len() > 128 || !started_by.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_'))
    {
        return Err(invalid(
            "startedBy can have at most 128 letters, numbers, hyphens, forward slashes and underscores.",
        ));
    }
    let token = input["clientToken"].as_str().unwrap_or_default();
    if token.len() > 64 || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(invalid("clientToken can have at most 64 ASCII characters in the range of 33-126."));
    }
    Ok(())
}

/// Checks the overrides of a `RunTask` against the definition it runs.
pub(super) fn overrides(definition: &Definition, input: &Value) -> Result<(), ServiceError> {
    let overrides = &input["overrides"];
    if !overrides.is_null() && overrides.to_string().chars().count() > 8192 {
        return Err(invalid("Container Overrides length must be at most 8192"));
    }
    for container in entries(overrides, "containerOverrides") {
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("Container override name can not be blank."));
        }
        if definition.container(name).is_none() {
            return Err(invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    let bad =
        |key: &str, units: fn(&str) -> Option<u32>| overrides[key].as_str().is_some_and(|text| units(text).is_none());
    if bad("cpu", fargate::cpu_units) {
        return Err(invalid("Invalid 'cpu' setting for task."));
    }
    if bad("memory", fargate::memory_mib) {
        return Err(invalid("Invalid 'memory' setting for task."));
    }
    Ok(())
}

/// Checks a `RegisterTaskDefinition`.
pub(super) fn definition(input: &Value) -> Result<(), ServiceError> {
    strings(input, &["family", "taskRoleArn", "executionRoleArn", "networkMode", "cpu", "memory"])?;
    tags(input)?;
    let family = input["family"].as_str().unwrap_or_default();
    if family.is_empty() {
        return Err(client("Family should not be null or empty."));
    }
    if family.len() > 255 || !family.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(client("Family contains invalid characters."));
    }
    if entries(input, "containerDefinitions").next().is_none() {
        return Err(client("Container list cannot be empty."));
    }
    entries(input, "containerDefinitions").try_for_each(|one| container(one, input))?;
    if entries(input, "requiresCompatibilities").any(|one| one == "FARGATE") {
        fargate_definition(input)?;
    }
    Ok(())
}

fn container(container: &Value, definition: &Value) -> Result<(), ServiceError> {
    strings(container, &["name", "image"])?;
    integers(container, &["cpu", "memory", "memoryReservation"])?;
    entries(container, "command").try_for_each(string)?;
    entries(container, "environment").try_for_each(|entry| strings(entry, &["name", "value"]))?;
    let text = |key: &str| container[key].as_str().unwrap_or_default();
    let name = text("name");
    if name.is_empty() {
        return Err(client("Container.name should not be null or empty."));
    }
    if text("image").is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    if text("image").chars().any(char::is_whitespace) {
        return Err(client("Container.image contains invalid characters."));
    }
    if definition["memory"].is_null() && container["memory"].is_null() && container["memoryReservation"].is_null() {
        return Err(client(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    if entries(container, "secrets").next().is_some()
        && definition["executionRoleArn"].as_str().is_none_or(str::is_empty)
    {
        return Err(client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ));
    }
    let twice = entries(container, "secrets")
        .any(|secret| entries(container, "environment").any(|entry| entry["name"] == secret["name"]));
    if twice {
        return Err(client(
            "The secret name must be unique and not shared with any new or existing environment variables set on the container.",
        ));
    }
    Ok(())
}

fn fargate_definition(input: &Value) -> Result<(), ServiceError> {
    if input["networkMode"] != "awsvpc" {
        return Err(client("Fargate only supports network mode 'awsvpc'."));
    }
    let size = |key: &str| input[key].as_str();
    let (Some(cpu), Some(memory)) = (size("cpu"), size("memory")) else {
        return Err(client("Fargate requires that 'cpu' and 'memory' be defined at the task level."));
    };
    let cpu = fargate::cpu_units(cpu).ok_or_else(|| client("Invalid 'cpu' setting for task."))?;
    let memory = fargate::memory_mib(memory).ok_or_else(|| client("Invalid 'memory' setting for task."))?;
    if !fargate::exists(cpu, memory) {
        return Err(client("No Fargate configuration exists for given values."));
    }
    if input["executionRoleArn"].as_str().is_some_and(|role| !role.is_empty()) {
        return Ok(());
    }
    for container in entries(input, "containerDefinitions") {
        if container["logConfiguration"]["logDriver"] == "awslogs" {
            return Err(client(
                "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
            ));
        }
        if container["image"].as_str().is_some_and(|image| image.contains(".dkr.ecr.")) {
            return Err(client("Fargate requires task definition to have execution role ARN to support ECR images."));
        }
    }
    Ok(())
}
