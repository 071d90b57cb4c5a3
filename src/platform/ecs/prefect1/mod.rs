//! From a flow run to its launch: the rules of Prefect 1's `ECSAgent`, pure.

mod run_task;
mod task_definition;
#[cfg(test)]
mod tests;

pub use super::request::request_problems;
pub use task_definition::{TemplatePath, TemplatePlace, template_path};

use super::LaunchSpec;
use super::WorkerPart;
use crate::flow_run::prefect1::FieldType::{Json, Text};
use crate::flow_run::prefect1::{AgentSettings, FlowRun, RunConfig, run_config};
use crate::flow_run::prefect1::{COMMON, SchemaField, check, optional};
use crate::model::RunRefusal;
use serde_json::{Map, Value};

/// Template that a run config's `task_definition_path` names, loaded beforehand.
pub type Template<'a> = Option<&'a Map<String, Value>>;

/// The launch of a flow run, or why it cannot have one. `template` is what [`template_path`] asks for, loaded.
///
/// `run_task` of the answer is exactly what Prefect's own agent would send, also where a value has a type that ECS
/// refuses: [`request_problems`] finds those. If the definition exists already and `definition_roles` are named, the
/// roles of the described definition are still to be put into `run_task.overrides`.
pub fn launch_spec(agent: &AgentSettings, run: &FlowRun, template: Template<'_>) -> Result<LaunchSpec, RunRefusal> {
    let run_config = load(agent, run)?;
    let definition = task_definition::definition(agent, run, &run_config, template)?;
    let request = run_task::run_task(agent, run, &run_config, &definition)?;
    Ok(LaunchSpec {
        definition,
        run_task: request.body,
        infer_network: request.infer_network,
        key_variables: request.key_variables,
        run_sets: run_sets(&run_config),
        worker: WorkerPart::default(),
        pending_delivery: None,
        guard: None,
    })
}

/// Whether a run brings a task definition, in its run config or where that says.
pub(super) fn brings_definition(agent: &AgentSettings, run: &FlowRun) -> bool {
    let is_given = |definition: &Value| !matches!(definition, Value::Object(map) if map.is_empty());
    load(agent, run).is_ok_and(|config| {
        config.task_definition_path.is_some() || config.task_definition.as_ref().is_some_and(is_given)
    })
}

// The run config of a flow run, and what it decided about the launch.

/// An `ECSRun`; all of it may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EcsRunConfig {
    /// Environment; values are not necessarily text.
    pub(super) env: Map<String, Value>,
    /// A task definition in place, of any shape.
    pub(super) task_definition: Option<Value>,
    /// Where the task definition lies.
    pub(super) task_definition_path: Option<String>,
    /// ARN, family or `family:revision` of a registered task definition.
    pub(super) task_definition_arn: Option<String>,
    /// Image.
    pub(super) image: Option<String>,
    /// CPU units or `1 vcpu`.
    pub(super) cpu: Option<String>,
    /// MiB or `1 GB`.
    pub(super) memory: Option<String>,
    /// Task role.
    pub(super) task_role_arn: Option<String>,
    /// Execution role.
    pub(super) execution_role_arn: Option<String>,
    /// Keyword arguments of `RunTask`, of any shape.
    pub(super) run_task_kwargs: Option<Value>,
}

const ECS: [SchemaField; 11] = [
    COMMON[0],
    COMMON[1],
    optional("memory", Text),
    optional("cpu", Text),
    optional("task_definition_path", Text),
    optional("task_definition", Json),
    optional("task_definition_arn", Text),
    optional("image", Text),
    optional("task_role_arn", Text),
    optional("execution_role_arn", Text),
    optional("run_task_kwargs", Json),
];

/// The run config of `run`: the default one where it has none.
pub(super) fn load(agent: &AgentSettings, run: &FlowRun) -> Result<EcsRunConfig, RunRefusal> {
    match run_config(agent.rules, run, "ECSRun")? {
        RunConfig::Default => Ok(EcsRunConfig::default()),
        RunConfig::Own(object) => ecs_run(object),
        RunConfig::Universal(object) => {
            check(object, &COMMON)?;
            Ok(EcsRunConfig { env: env(object), ..EcsRunConfig::default() })
        }
    }
}

fn ecs_run(object: &Map<String, Value>) -> Result<EcsRunConfig, RunRefusal> {
    check(object, &ECS)?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let json = |key: &str| object.get(key).filter(|value| !value.is_null()).cloned();
    let config = EcsRunConfig {
        env: env(object),
        task_definition: json("task_definition"),
        task_definition_path: text("task_definition_path"),
        task_definition_arn: text("task_definition_arn"),
        image: text("image"),
        cpu: text("cpu"),
        memory: text("memory"),
        task_role_arn: text("task_role_arn"),
        execution_role_arn: text("execution_role_arn"),
        run_task_kwargs: json("run_task_kwargs"),
    };
    check_combination(&config)?;
    Ok(config)
}

/// An empty task definition counts as given.
fn check_combination(config: &EcsRunConfig) -> Result<(), RunRefusal> {
    let has_arn = config.task_definition_arn.is_some();
    let definitions = [config.task_definition.is_some(), config.task_definition_path.is_some(), has_arn];
    if definitions.iter().filter(|given| **given).count() > 1 {
        return Err(RunRefusal(
            "Can only provide one of `task_definition`, `task_definition_path`, or `task_definition_arn`".into(),
        ));
    }
    if has_arn && config.image.is_some() {
        return Err(RunRefusal(
            "Cannot provide both `task_definition_arn` and `image`, since an ECS task's `image` can only be configured \
             as part of the task definition"
                .into(),
        ));
    }
    Ok(())
}

fn env(object: &Map<String, Value>) -> Map<String, Value> {
    object.get("env").and_then(Value::as_object).cloned().unwrap_or_default()
}

// What a run's own configuration decided about its launch, as opposed to its agent's.

/// Top-level keys of `RunTask` that the run set, roles it named, and `taskDefinition` when it names or brings its own:
/// a refusal on account of one of them is the run's fault, not the agent's.
pub(super) fn run_sets(config: &EcsRunConfig) -> Vec<String> {
    let kwargs = config.run_task_kwargs.as_ref().and_then(Value::as_object);
    let mut sets: Vec<String> = kwargs.into_iter().flat_map(|kwargs| kwargs.keys().cloned()).collect();
    let own_definition = config.task_definition.is_some()
        || config.task_definition_path.is_some()
        || config.task_definition_arn.is_some();
    let named = [
        ("overrides.taskRoleArn", config.task_role_arn.is_some()),
        ("overrides.executionRoleArn", config.execution_role_arn.is_some()),
        ("taskDefinition", own_definition),
    ];
    sets.extend(named.into_iter().filter(|(_, set)| *set).map(|(key, _)| key.to_owned()));
    sets
}

#[cfg(test)]
mod run_config_tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_run_says_is_the_runs_and_nothing_else() {
        assert!(run_sets(&EcsRunConfig::default()).is_empty());
        let config = EcsRunConfig {
            run_task_kwargs: Some(json!({"cluster": "mine", "tags": []})),
            execution_role_arn: Some("role".into()),
            task_definition_arn: Some("family".into()),
            image: Some("image".into()),
            ..EcsRunConfig::default()
        };
        assert_eq!(run_sets(&config), ["cluster", "tags", "overrides.executionRoleArn", "taskDefinition"]);
    }
}
