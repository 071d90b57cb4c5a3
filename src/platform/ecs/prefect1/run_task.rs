//! The `RunTask` request of a flow run.

use super::EcsRunConfig;
use super::task_definition::{
    EXECUTION_ROLE, TASK_ROLE, first_set, flow_container, has_strategy, launch_type, make_text, object, object_mut,
    set_environment,
};
use crate::config::{LaunchType, Rules};
use crate::flow_run::prefect1::{AgentSettings, FlowRun, flow_run_command, flow_run_environment, key_variables};
use crate::model::RunRefusal;
use crate::platform::ecs::Definition;
use crate::python_text::{accident, is_true, repr};
use serde_json::{Map, Value, json};

const NETWORK: &str = "networkConfiguration";
const STRATEGY: &str = "capacityProviderStrategy";
const LAUNCH_TYPE: &str = "launchType";
const OVERRIDES: &str = "overrides";
const CONTAINERS: &str = "containerOverrides";

/// A request and what else a launch must know of it.
pub(super) struct RunTask {
    /// The body.
    pub(super) body: Map<String, Value>,
    /// The network is to be inferred.
    pub(super) infer_network: bool,
    /// Variables that hold credentials.
    pub(super) key_variables: Vec<String>,
}

/// The request of `run` for a task of `definition`.
pub(super) fn run_task(
    agent: &AgentSettings,
    run: &FlowRun,
    run_config: &EcsRunConfig,
    definition: &Definition,
) -> Result<RunTask, RunRefusal> {
    let mut body = agent_defaults(agent);
    let agent_infers = infers_network(agent);
    if agent_infers || body.get(NETWORK).is_some_and(Value::is_null) {
        body.shift_remove(NETWORK);
    }
    if let Some(kwargs) = run_config.run_task_kwargs.as_ref().filter(|kwargs| is_true(kwargs)) {
        merge(&mut body, object(kwargs, "run_task_kwargs", "items")?, agent.rules)?;
    }
    set_overrides(&mut body, agent, run_config, definition)?;

    let overrides = overrides_of(&mut body)?;
    let (container, _) = flow_container(overrides, CONTAINERS)?;
    let command = flow_run_command(run.flow.core_version.as_deref(), agent.rules)?;
    container.insert("command".into(), json!(["/bin/sh", "-c", command]));
    let variables = flow_run_environment(agent, run, &run_config.env);
    set_environment(container, &variables)?;

    drop_ours(&mut body)?;
    let infer_network = agent_infers && !body.contains_key(NETWORK);
    Ok(RunTask { body, infer_network, key_variables: key_variables(&variables) })
}

fn agent_defaults(agent: &AgentSettings) -> Map<String, Value> {
    let mut body = agent.run_task_kwargs.clone();
    if let Some(launch_type) = launch_type(agent).filter(|_| agent.rules == Rules::V0_15 || !has_strategy(&body)) {
        body.insert(LAUNCH_TYPE.into(), json!(launch_type.as_str()));
    }
    if let Some(cluster) = agent.cluster.as_ref().filter(|cluster| !cluster.is_empty()) {
        body.insert("cluster".into(), json!(cluster));
    }
    body
}

/// Fargate needs a network; without one in the agent's arguments it is inferred.
fn infers_network(agent: &AgentSettings) -> bool {
    launch_type(agent) == Some(LaunchType::Fargate) && !agent.run_task_kwargs.get(NETWORK).is_some_and(is_true)
}

/// Puts the arguments of a run config over the agent's.
///
/// Every key replaces wholly, except `overrides`, whose keys replace, except `containerOverrides`, which are paired by
/// name and whose keys replace.
pub(super) fn merge(
    body: &mut Map<String, Value>,
    kwargs: &Map<String, Value>,
    rules: Rules,
) -> Result<(), RunRefusal> {
    // ECS refuses a launch type beside a capacity provider strategy.
    if rules == Rules::V1 && kwargs.contains_key(STRATEGY) {
        body.shift_remove(LAUNCH_TYPE);
    }
    if rules == Rules::V1 && kwargs.contains_key(LAUNCH_TYPE) {
        body.shift_remove(STRATEGY);
    }
    for (key, value) in kwargs.iter().filter(|(key, _)| *key != OVERRIDES) {
        body.insert(key.clone(), value.clone());
    }
    let Some(given) = kwargs.get(OVERRIDES) else { return Ok(()) };
    let given = object(given, OVERRIDES, if is_true(given) { "items" } else { "get" })?;
    if given.is_empty() {
        return Ok(());
    }
    let overrides = overrides_of(body)?;
    for (key, value) in given.iter().filter(|(key, _)| *key != CONTAINERS) {
        overrides.insert(key.clone(), value.clone());
    }
    match given.get(CONTAINERS) {
        Some(containers) if is_true(containers) => merge_containers(overrides, containers),
        _ => Ok(()),
    }
}

fn merge_containers(overrides: &mut Map<String, Value>, given: &Value) -> Result<(), RunRefusal> {
    let list = overrides.entry(CONTAINERS).or_insert_with(|| json!([]));
    let (Value::Array(list), Value::Array(given)) = (list, given) else {
        return Err(RunRefusal(format!("`{OVERRIDES}.{CONTAINERS}` must be a list")));
    };
    for entry in given {
        let entry = object(entry, CONTAINERS, "get")?;
        let mut paired = None;
        for (index, container) in list.iter().enumerate() {
            if named_alike(object(container, CONTAINERS, "get")?, entry) {
                paired = Some(index);
                break;
            }
        }
        match paired.and_then(|index| list.get_mut(index)) {
            Some(container) => {
                let container = object_mut(container, CONTAINERS, "update")?;
                container.extend(entry.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            None => list.push(Value::Object(entry.clone())),
        }
    }
    Ok(())
}

/// No name and `null` are alike.
fn named_alike(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.get("name").unwrap_or(&Value::Null) == other.get("name").unwrap_or(&Value::Null)
}

fn overrides_of(body: &mut Map<String, Value>) -> Result<&mut Map<String, Value>, RunRefusal> {
    object_mut(body.entry(OVERRIDES).or_insert_with(|| json!({})), OVERRIDES, "setdefault")
}

fn set_overrides(
    body: &mut Map<String, Value>,
    agent: &AgentSettings,
    run_config: &EcsRunConfig,
    definition: &Definition,
) -> Result<(), RunRefusal> {
    let overrides = overrides_of(body)?;
    let roles = [
        (TASK_ROLE, &run_config.task_role_arn, &agent.task_role_arn),
        (EXECUTION_ROLE, &run_config.execution_role_arn, &agent.execution_role_arn),
    ];
    for (key, of_run, of_agent) in roles {
        let of_definition = role_in_definition(definition, key, agent.rules);
        let role = first_set([of_run]).map(|role| json!(role)).or(of_definition);
        if let Some(role) = role.or_else(|| first_set([of_agent]).map(|role| json!(role))) {
            overrides.insert(key.into(), role);
        }
    }
    for (key, of_run) in [("cpu", &run_config.cpu), ("memory", &run_config.memory)] {
        match first_set([of_run]) {
            Some(size) => {
                overrides.insert(key.into(), json!(size));
            }
            None => make_text(overrides, key),
        }
    }
    Ok(())
}

/// Since 1.0 the roles of the definition come before the agent's.
fn role_in_definition(definition: &Definition, key: &str, rules: Rules) -> Option<Value> {
    match (definition, rules) {
        (Definition::Own(body), Rules::V1) => body.get(key).filter(|role| is_true(role)).cloned(),
        _ => None,
    }
}

/// Takes out what names the launch: that is ours, so that a repeated request cannot start a second task.
fn drop_ours(body: &mut Map<String, Value>) -> Result<(), RunRefusal> {
    body.shift_remove("clientToken");
    body.shift_remove("startedBy");
    match body.get("taskDefinition") {
        None => Ok(()),
        Some(other) => Err(accident(
            format!("`run_task_kwargs` cannot choose the task definition ({}): use `task_definition_arn`", repr(other)),
            "got multiple values for keyword argument 'taskDefinition'",
        )),
    }
}
