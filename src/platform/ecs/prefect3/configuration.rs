//! The job configuration: typed and checked, its credentials too.

use crate::flow_run::prefect3::configured_environment;
use crate::flow_run::prefect3::validation::{self, Validator};
use crate::model::RunRefusal;
use crate::platform::ecs::target::AwsCredentials;
use crate::python_text::is_true;
use secrecy::SecretString;
use serde_json::{Map, Value};

/// The fields of a job configuration, in the order in which the worker declares them.
const FIELDS: [&str; 22] = [
    "command",
    "env",
    "labels",
    "name",
    "aws_credentials",
    "task_definition",
    "task_run_request",
    "configure_cloudwatch_logs",
    "cloudwatch_logs_options",
    "cloudwatch_logs_prefix",
    "network_configuration",
    "stream_output",
    "task_start_timeout_seconds",
    "task_watch_poll_interval",
    "auto_deregister_task_definition",
    "vpc_id",
    "container_name",
    "cluster",
    "match_latest_revision_in_family",
    "prefect_api_key_secret_arn",
    "prefect_api_auth_string_secret_arn",
    "execution_role_arn",
];

/// Variable that holds the API key.
pub(super) const API_KEY: &str = "PREFECT_API_KEY";
/// Variable that holds the basic-auth string.
pub(super) const AUTH_STRING: &str = "PREFECT_API_AUTH_STRING";
/// Name of the container that runs the flow, where none is given.
pub(super) const DEFAULT_CONTAINER: &str = "prefect";

/// What a work pool's template and the job variables say about a launch. Unknown fields are ignored, and so are those
/// that only older workers looked at (`stream_output`, `task_start_timeout_seconds`, `task_watch_poll_interval`).
#[derive(Clone)]
#[expect(clippy::struct_field_names, reason = "they are Prefect's names")]
pub(super) struct Configuration {
    pub(super) command: Option<String>,
    /// Texts, or null for variables to be removed.
    pub(super) env: Map<String, Value>,
    /// Texts.
    pub(super) labels: Map<String, Value>,
    pub(super) name: Option<String>,
    pub(super) aws_credentials: AwsCredentials,
    pub(super) task_definition: Map<String, Value>,
    pub(super) task_run_request: Map<String, Value>,
    pub(super) configure_cloudwatch_logs: Option<bool>,
    /// Texts.
    pub(super) cloudwatch_logs_options: Map<String, Value>,
    pub(super) cloudwatch_logs_prefix: Option<String>,
    pub(super) network_configuration: Map<String, Value>,
    pub(super) auto_deregister_task_definition: bool,
    pub(super) vpc_id: Option<String>,
    pub(super) container_name: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) match_latest_revision_in_family: bool,
    pub(super) prefect_api_key_secret_arn: Option<String>,
    pub(super) prefect_api_auth_string_secret_arn: Option<String>,
    pub(super) execution_role_arn: Option<String>,
}

impl Configuration {
    /// `resolved` is complete; `populated` is the same before references were resolved, which is what messages show:
    /// they must not tell the values of blocks.
    pub(super) fn new(resolved: &Map<String, Value>, populated: &Map<String, Value>) -> Result<Self, RunRefusal> {
        let mut reader = Validator::new(resolved, populated);
        let mut configuration = Self {
            command: reader.text("command").filter(|command| !command.is_empty()),
            env: configured_environment(resolved.get("env"))?,
            labels: reader.texts("labels"),
            name: reader.text("name"),
            aws_credentials: read_credentials(&mut reader),
            task_definition: reader.object("task_definition"),
            task_run_request: reader.object("task_run_request"),
            configure_cloudwatch_logs: reader.optional_flag("configure_cloudwatch_logs"),
            cloudwatch_logs_options: reader.texts("cloudwatch_logs_options"),
            cloudwatch_logs_prefix: reader.text("cloudwatch_logs_prefix"),
            network_configuration: reader.object("network_configuration"),
            auto_deregister_task_definition: reader.flag("auto_deregister_task_definition"),
            vpc_id: reader.text("vpc_id"),
            container_name: reader.text("container_name"),
            cluster: reader.text("cluster"),
            match_latest_revision_in_family: reader.flag("match_latest_revision_in_family"),
            prefect_api_key_secret_arn: reader.text("prefect_api_key_secret_arn"),
            prefect_api_auth_string_secret_arn: reader.text("prefect_api_auth_string_secret_arn"),
            execution_role_arn: reader.text("execution_role_arn"),
        };
        reader.finish()?;
        if configuration.container_name.is_none() {
            configuration.container_name = container_of(&configuration.task_definition);
        }
        match configuration.contradiction() {
            None => Ok(configuration),
            Some(message) => Err(validation::whole(message, &in_order(populated))),
        }
    }

    /// The first rule that the configuration breaks.
    fn contradiction(&self) -> Option<&'static str> {
        let logs = self.configure_cloudwatch_logs == Some(true);
        let names_definition = filled(self.task_run_request.get("taskDefinition")).is_some();
        let containers = containers(&self.task_definition);
        if !names_definition && self.task_definition.is_empty() {
            Some("A task definition must be provided if a task definition ARN is not present on the task run request.")
        } else if !containers.is_empty() && containers.iter().all(|c| c.get("essential") == Some(&Value::Bool(false))) {
            Some("At least one container in the task definition must be marked as essential.")
        } else if logs
            && is_empty(self.execution_role_arn.as_ref())
            && !names_definition
            && filled(self.task_definition.get("executionRoleArn")).is_none()
        {
            Some("An `execution_role_arn` must be provided to use `configure_cloudwatch_logs` or `stream_logs`.")
        } else if !self.cloudwatch_logs_options.is_empty() && !logs {
            Some("`configure_cloudwatch_log` must be enabled to use `cloudwatch_logs_options`.")
        } else if !self.network_configuration.is_empty() && is_empty(self.vpc_id.as_ref()) {
            Some("You must provide a `vpc_id` to enable custom `network_configuration`.")
        } else {
            None
        }
    }
}

/// The value, unless it counts as nothing in Python.
pub(super) fn filled(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| is_true(value))
}

/// Not there, or an empty text.
pub(super) fn is_empty(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

/// The containers of a task definition.
pub(super) fn containers(task_definition: &Map<String, Value>) -> &[Value] {
    task_definition.get("containerDefinitions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The container that a task definition has for the flow: `prefect`, else its first one, if that has a name.
fn container_of(task_definition: &Map<String, Value>) -> Option<String> {
    let containers = containers(task_definition);
    let name = |container: &Value| container.get("name").and_then(Value::as_str).map(str::to_owned);
    if containers.iter().any(|container| name(container).as_deref() == Some(DEFAULT_CONTAINER)) {
        return Some(DEFAULT_CONTAINER.into());
    }
    containers.first().and_then(name)
}

/// Name of the container that runs the flow: the configured one, else what the definition has for it, else `prefect`.
pub(super) fn flow_container_name(configuration: &Configuration, definition: &Map<String, Value>) -> String {
    let name = configuration.container_name.clone().filter(|name| !name.is_empty());
    let name = name.or_else(|| container_of(definition).filter(|name| !name.is_empty()));
    name.unwrap_or_else(|| DEFAULT_CONTAINER.into())
}

/// Known fields as they are declared, then the others.
fn in_order(configuration: &Map<String, Value>) -> Map<String, Value> {
    let known = FIELDS.iter().filter_map(|field| configuration.get_key_value(*field));
    let others = configuration.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()));
    known.chain(others).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod credentials_tests;
#[cfg(test)]
mod tests;

// `aws_credentials` of a job configuration: the keys, the region and the role that a launch uses instead of the agent's.

/// Texts among the parameters of `AssumeRole`.
const ROLE_TEXTS: [&str; 6] =
    ["RoleSessionName", "Policy", "ExternalId", "SerialNumber", "TokenCode", "SourceIdentity"];
/// Lists among them.
const ROLE_LISTS: [&str; 4] = ["PolicyArns", "Tags", "TransitiveTagKeys", "ProvidedContexts"];

/// Reads the field `aws_credentials`; `null` is as good as nothing.
fn read_credentials(reader: &mut Validator<'_>) -> AwsCredentials {
    const FIELD: &str = "aws_credentials";
    let given = match reader.get(FIELD) {
        None | Some(Value::Null) => return AwsCredentials::default(),
        Some(Value::Object(given)) => given,
        Some(_) => {
            reader.wrong(FIELD, "model_type", "Input should be a valid dictionary or instance of AwsCredentials");
            return AwsCredentials::default();
        }
    };
    let nothing = Map::new();
    let mut shown = reader.shown(FIELD).and_then(Value::as_object).cloned().unwrap_or_default();
    for secret in ["aws_secret_access_key", "aws_session_token"] {
        shown.shift_remove(secret);
    }
    let mut inner = reader.inside(FIELD, given, &shown);
    let credentials = AwsCredentials {
        access_key_id: filled_text(inner.text("aws_access_key_id")),
        secret_access_key: filled_text(inner.text("aws_secret_access_key")).map(SecretString::from),
        session_token: filled_text(inner.text("aws_session_token")).map(SecretString::from),
        profile_name: filled_text(inner.text("profile_name")),
        region_name: filled_text(inner.text("region_name")),
        client_parameters: inner.object("aws_client_parameters"),
        set_by_run: Vec::new(),
        assume_role_arn: filled_text(inner.text("assume_role_arn")),
        assume_role_kwargs: match given.get("assume_role_kwargs") {
            None => Map::new(),
            Some(Value::Object(kwargs)) => {
                let shown = shown.get("assume_role_kwargs").and_then(Value::as_object).unwrap_or(&nothing);
                let mut role = inner.inside("assume_role_kwargs", kwargs, shown);
                let parameters = role_parameters(&mut role);
                inner.take(role);
                parameters
            }
            Some(_) => {
                let message = "Input should be a valid dictionary or instance of AssumeRoleParameters";
                inner.wrong("assume_role_kwargs", "model_type", message);
                Map::new()
            }
        },
    };
    reader.take(inner);
    credentials
}

fn filled_text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Known parameters that are not null.
fn role_parameters(reader: &mut Validator<'_>) -> Map<String, Value> {
    let mut parameters = Map::new();
    for key in ROLE_TEXTS {
        if let Some(text) = reader.text(key) {
            parameters.insert(key.into(), text.into());
        }
    }
    match reader.get("DurationSeconds") {
        None | Some(Value::Null) => {}
        Some(value) => match seconds(value) {
            Ok(seconds) => {
                parameters.insert("DurationSeconds".into(), seconds.into());
            }
            Err((kind, message)) => reader.wrong("DurationSeconds", kind, message),
        },
    }
    for key in ROLE_LISTS {
        match reader.get(key) {
            None | Some(Value::Null) => {}
            Some(list @ Value::Array(_)) => {
                parameters.insert(key.into(), list.clone());
            }
            Some(_) => reader.wrong(key, "list_type", "Input should be a valid list"),
        }
    }
    parameters
}

fn seconds(value: &Value) -> Result<i64, (&'static str, &'static str)> {
    let whole = |number: f64| format!("{number:.0}").parse::<i64>().ok().filter(|_| number.fract() == 0.0);
    match value {
        Value::Bool(flag) => Ok(i64::from(*flag)),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(whole))
            .ok_or(("int_from_float", "Input should be a valid integer, got a number with a fractional part")),
        Value::String(digits) => digits
            .trim()
            .parse()
            .map_err(|_| ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")),
        _ => Err(("int_type", "Input should be a valid integer")),
    }
}
