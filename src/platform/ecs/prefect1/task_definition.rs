//! The task definition of a flow run: its template, its image, its container.

use super::Template;
use super::{EcsRunConfig, load};
use crate::config::{LaunchType, Rules};
use crate::flow_run::prefect1::storage::{self, Storage};
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
use crate::model::RunRefusal;
use crate::platform::ecs::Definition;
use crate::python_text::slug;
use crate::python_text::{accident, is_true, repr, text, type_name};
use serde_json::{Map, Value, json};

/// Longest family name that ECS takes, without our prefix.
const FAMILY_PREFIX: &str = "prefect-";
const LONGEST_SLUG: usize = 255 - FAMILY_PREFIX.len();

/// The role of tasks in a definition and in overrides.
pub(super) const TASK_ROLE: &str = "taskRoleArn";
/// The role that pulls images and reads secrets, in a definition and in overrides.
pub(super) const EXECUTION_ROLE: &str = "executionRoleArn";

/// The definition the run's task is started from.
pub(super) fn definition(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    template: Template<'_>,
) -> Result<Definition, RunRefusal> {
    match &run_config.task_definition_arn {
        Some(name) => existing(agent, run, run_config, name),
        None => own(agent, run, run_config, template).map(Definition::Own),
    }
}

fn existing(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    name: &str,
) -> Result<Definition, RunRefusal> {
    if let Storage::Docker(_) = storage::load(&run.flow.storage, agent.rules)? {
        return Err(RunRefusal("Cannot provide `task_definition_arn` when using `Docker` storage".into()));
    }
    let is_unset = |role: &Option<String>| role.as_ref().is_none_or(String::is_empty);
    let roles = [(TASK_ROLE, &run_config.task_role_arn), (EXECUTION_ROLE, &run_config.execution_role_arn)];
    let definition_roles = match agent.rules {
        Rules::V0_15 => Vec::new(),
        Rules::V1 => roles.into_iter().filter(|(_, role)| is_unset(role)).map(|(key, _)| key).collect(),
    };
    Ok(Definition::Existing { name: name.to_owned(), definition_roles })
}

fn own(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    template: Template<'_>,
) -> Result<Map<String, Value>, RunRefusal> {
    let mut body = base(agent, run, run_config, template)?;
    body.insert("family".into(), json!(format!("{FAMILY_PREFIX}{}", slug(&run.flow.name, LONGEST_SLUG))));
    add_tags(&mut body, run)?;

    let (container, was_there) = flow_container(&mut body, "containerDefinitions")?;
    let image = flow_image(agent, run, run_config, container.get("image"))?;
    // The Python agent appends a copy of its container to a list that is written in the run config, and then completes
    // the original: what is registered stays bare, and ECS refuses it for want of an image. Guessing better would make
    // the same flow behave differently here and there.
    if was_there || run_config.task_definition.as_ref().is_none_or(|given| !is_true(given)) {
        container.insert("image".into(), image.clone());
        let variables = Map::from_iter([("PREFECT__CONTEXT__IMAGE".to_owned(), image)]);
        set_environment(container, &variables)?;
    }

    make_text(&mut body, "cpu");
    make_text(&mut body, "memory");
    set_execution_role(&mut body, agent, run_config);
    if let Some(launch_type) = launch_type(agent).filter(|_| !body.contains_key("requiresCompatibilities")) {
        body.insert("requiresCompatibilities".into(), json!([launch_type.as_str()]));
    }
    Ok(body)
}

/// The template: in the run config, at its path, the agent's, or the built-in one.
fn base(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    template: Template<'_>,
) -> Result<Map<String, Value>, RunRefusal> {
    match &run_config.task_definition {
        Some(Value::Object(body)) if !body.is_empty() => return Ok(body.clone()),
        Some(other) if is_true(other) => {
            let python = format!("'{}' object does not support item assignment", type_name(other));
            return Err(accident(format!("`task_definition` must be an object, not {}", repr(other)), python));
        }
        _ => {}
    }
    match (&run_config.task_definition_path, template) {
        (Some(_), Some(loaded)) => return Ok(loaded.clone()),
        (Some(path), None) => {
            template_path(agent, run)?;
            return Err(RunRefusal(format!("The task definition at {path} was not loaded")));
        }
        (None, _) => {}
    }
    Ok(agent.task_definition.clone().unwrap_or_else(built_in))
}

fn built_in() -> Map<String, Value> {
    Map::from_iter([
        ("networkMode".to_owned(), json!("awsvpc")),
        ("cpu".to_owned(), json!(1024)),
        ("memory".to_owned(), json!(2048)),
        ("containerDefinitions".to_owned(), json!([{ "name": "flow" }])),
    ])
}

fn add_tags(body: &mut Map<String, Value>, run: &FlowRun) -> Result<(), RunRefusal> {
    let tags = body.entry("tags").or_insert_with(|| json!([]));
    let Value::Array(tags) = tags else {
        let python = format!("'{}' object has no attribute 'extend'", type_name(tags));
        return Err(accident(format!("`tags` must be a list, not {}", repr(tags)), python));
    };
    tags.push(json!({ "key": "prefect:flow-id", "value": run.flow.id }));
    tags.push(json!({ "key": "prefect:flow-version", "value": text(&run.flow.version) }));
    Ok(())
}

/// Makes a number text, as ECS wants `cpu` and `memory` of tasks. What is neither stays as it is written, and is refused
/// as such.
pub(super) fn make_text(body: &mut Map<String, Value>, key: &str) {
    if let Some(value) = body.get_mut(key).filter(|value| value.is_number()) {
        *value = Value::String(text(value));
    }
}

/// Fargate needs the execution role in the definition. Prefect 0.15 lets the agent's win over the template's.
fn set_execution_role(body: &mut Map<String, Value>, agent: &AgentSettings, run_config: &EcsRunConfig) {
    if agent.rules == Rules::V1 && body.contains_key(EXECUTION_ROLE) {
        return;
    }
    let configured = first_set([&run_config.execution_role_arn, &agent.execution_role_arn]);
    if let Some(role) = configured {
        body.insert(EXECUTION_ROLE.into(), json!(role));
    }
}

/// The first text that is not empty.
pub(super) fn first_set<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> Option<&'a str> {
    texts.into_iter().flatten().map(String::as_str).find(|text| !text.is_empty())
}

/// The agent's launch type: Fargate unless configured, or, since 1.4, unless a capacity provider strategy decides.
pub(super) fn launch_type(agent: &AgentSettings) -> Option<LaunchType> {
    match agent.rules {
        Rules::V1 if has_strategy(&agent.run_task_kwargs) => agent.launch_type,
        _ => Some(agent.launch_type.unwrap_or(LaunchType::Fargate)),
    }
}

/// Whether `run_task` arguments name capacity providers.
pub(super) fn has_strategy(run_task: &Map<String, Value>) -> bool {
    run_task.get("capacityProviderStrategy").is_some_and(is_true)
}

// Which image a flow runs in.

/// The image of Docker storage, else the run config's, else the template's, else Prefect's own for the flow's version.
///
/// A value of another type than text can only come from the template.
fn flow_image(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    template_image: Option<&Value>,
) -> Result<Value, RunRefusal> {
    if let Storage::Docker(docker) = storage::load(&run.flow.storage, agent.rules)? {
        return docker.image().map(Value::String);
    }
    if let Some(image) = &run_config.image {
        return Ok(Value::String(image.clone()));
    }
    if let Some(image) = template_image.filter(|image| !image.is_null()) {
        return Ok(image.clone());
    }
    let version = run.flow.core_version.as_deref().filter(|version| !version.is_empty()).unwrap_or("latest");
    let released = version.split('+').next().unwrap_or(version);
    Ok(Value::String(format!("prefecthq/prefect:{released}")))
}

// Where a run's task definition template lies.

/// A template that has to be loaded before the run's launch can be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatePath {
    /// As the run config says it.
    pub written: String,
    /// What it means.
    pub place: TemplatePlace,
}

/// Where a template lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePlace {
    /// A file on the agent's machine (`agent://`, `file://`, `local://` or a bare path): its path there.
    AgentFile(String),
    /// `s3://bucket/key`, `http(s)://…` or `ssm://name`, as written.
    Remote,
}

/// The template that `run` needs; `None` if it needs none.
///
/// The refusal says why the run config, or its path's scheme, cannot be used.
pub fn template_path(agent: &AgentSettings, run: &FlowRun) -> Result<Option<TemplatePath>, RunRefusal> {
    let config = load(agent, run)?;
    config.task_definition_path.map(|path| classify(path, agent.rules)).transpose()
}

fn classify(written: String, rules: Rules) -> Result<TemplatePath, RunRefusal> {
    let (scheme, rest) = split_scheme(&written);
    let place = match (scheme.as_str(), rules) {
        ("" | "file" | "local" | "agent", _) => TemplatePlace::AgentFile(path_of(rest).to_owned()),
        ("s3" | "http" | "https" | "ssm", _) => TemplatePlace::Remote,
        ("gcs", _) | ("gs", Rules::V1) => {
            return Err(RunRefusal(format!(
                "Task definitions on Google Cloud Storage are not supported ({written}): put the template on s3://, \
                 https:// or ssm://, or into the run config's `task_definition`"
            )));
        }
        _ => return Err(RunRefusal(format!("Unsupported file scheme {written}"))),
    };
    Ok(TemplatePath { written, place })
}

/// The scheme in small letters, empty if there is none, and what follows its colon.
fn split_scheme(path: &str) -> (String, &str) {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    match path.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), path),
    }
}

/// What follows `//host`, without query and fragment.
fn path_of(rest: &str) -> &str {
    let path = match rest.strip_prefix("//") {
        Some(authority) => authority.find(['/', '?', '#']).map_or("", |at| &authority[at..]),
        None => rest,
    };
    path.find(['?', '#']).map_or(path, |end| &path[..end])
}

// What task definitions and overrides have in common: a list of named containers with environments.

/// Name of the container that runs the flow.
const FLOW: &str = "flow";

/// The first container named `flow` of `parent[key]`, and whether it was there; it and the list are made where they
/// are missing.
pub(super) fn flow_container<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> Result<(&'a mut Map<String, Value>, bool), RunRefusal> {
    let list = parent.entry(key).or_insert_with(|| json!([]));
    let Value::Array(containers) = list else {
        let python = format!("'{}' object is not iterable", type_name(list));
        return Err(accident(format!("`{key}` must be a list, not {}", repr(list)), python));
    };
    let mut found = None;
    for (index, container) in containers.iter().enumerate() {
        let name = object(container, &format!("{key}[{index}]"), "get")?.get("name");
        if name.and_then(Value::as_str) == Some(FLOW) {
            found = Some(index);
            break;
        }
    }
    let index = found.unwrap_or(containers.len());
    if found.is_none() {
        containers.push(json!({ "name": FLOW }));
    }
    match containers.get_mut(index) {
        Some(Value::Object(container)) => Ok((container, found.is_some())),
        _ => Err(RunRefusal(format!("`{key}` has no container `{FLOW}`"))),
    }
}

/// Makes the environment of `container`: all of `variables`, then its own entries of other names.
pub(super) fn set_environment(
    container: &mut Map<String, Value>,
    variables: &Map<String, Value>,
) -> Result<(), RunRefusal> {
    let mut entries: Vec<Value> =
        variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    for entry in own_entries(container.get("environment"))? {
        let Value::Object(fields) = entry else {
            let python = format!("'{}' object is not subscriptable", type_name(entry));
            return Err(accident(format!("An entry of `environment` must be an object, not {}", repr(entry)), python));
        };
        let Some(name) = fields.get("name") else {
            return Err(accident(format!("An entry of `environment` has no name ({})", repr(entry)), "'name'"));
        };
        if name.as_str().is_none_or(|name| !variables.contains_key(name)) {
            entries.push(entry.clone());
        }
    }
    container.insert("environment".into(), Value::Array(entries));
    Ok(())
}

fn own_entries(environment: Option<&Value>) -> Result<&[Value], RunRefusal> {
    match environment {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(Value::Object(map)) if map.is_empty() => Ok(&[]),
        Some(Value::String(text)) if text.is_empty() => Ok(&[]),
        Some(other) => {
            let python = format!("'{}' object is not iterable", type_name(other));
            Err(accident(format!("`environment` must be a list, not {}", repr(other)), python))
        }
    }
}

/// `value` as an object; `place` says where it is, `attribute` what Python would have asked it for.
pub(super) fn object<'a>(value: &'a Value, place: &str, attribute: &str) -> Result<&'a Map<String, Value>, RunRefusal> {
    value.as_object().ok_or_else(|| no_object(value, place, attribute))
}

/// As [`object`], to be changed.
pub(super) fn object_mut<'a>(
    value: &'a mut Value,
    place: &str,
    attribute: &str,
) -> Result<&'a mut Map<String, Value>, RunRefusal> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(no_object(other, place, attribute)),
    }
}

fn no_object(value: &Value, place: &str, attribute: &str) -> RunRefusal {
    let python = format!("'{}' object has no attribute '{attribute}'", type_name(value));
    accident(format!("`{place}` must be an object, not {}", repr(value)), python)
}
