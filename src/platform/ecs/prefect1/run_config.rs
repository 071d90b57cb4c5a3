//! The run config of a flow run.

use crate::config::Rules;
use crate::model::RunRefusal;
use crate::prefect1::flow_run::schema::FieldType::{Json, Mapping, Text, TextList};
use crate::prefect1::flow_run::schema::{SchemaField, check, optional, required, typed_object, unsupported_type};
use crate::prefect1::flow_run::{AgentSettings, FlowRun};
use serde_json::{Map, Value};

/// An `ECSRun`; all of it may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunConfig {
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

const COMMON: [SchemaField; 2] = [optional("env", Mapping), required("labels", TextList)];
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
pub(super) fn load(agent: &AgentSettings, run: &FlowRun) -> Result<RunConfig, RunRefusal> {
    if run.run_config.is_null() {
        return match agent.rules {
            Rules::V0_15 if !run.flow.environment.is_null() => Err(RunRefusal(
                "This flow was registered with an `environment` and without a `run_config`, which an ECS agent cannot \
                 run: register it again with Prefect 0.14 or newer"
                    .into(),
            )),
            _ => Ok(RunConfig::default()),
        };
    }
    let (object, kind) = typed_object(&run.run_config)?;
    match kind {
        "ECSRun" => ecs_run(object),
        "UniversalRun" => {
            check(object, &COMMON)?;
            Ok(RunConfig { env: env(object), ..RunConfig::default() })
        }
        "DockerRun" | "KubernetesRun" | "LocalRun" => Err(wrong_type(run, kind)),
        "VertexRun" if agent.rules == Rules::V1 => Err(wrong_type(run, kind)),
        unknown => Err(unsupported_type(unknown)),
    }
}

fn wrong_type(run: &FlowRun, kind: &str) -> RunRefusal {
    RunRefusal(format!("Flow run {} has a `run_config` of type `{kind}`, only `ECSRun` is supported", run.id))
}

fn ecs_run(object: &Map<String, Value>) -> Result<RunConfig, RunRefusal> {
    check(object, &ECS)?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let json = |key: &str| object.get(key).filter(|value| !value.is_null()).cloned();
    let config = RunConfig {
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
fn check_combination(config: &RunConfig) -> Result<(), RunRefusal> {
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
