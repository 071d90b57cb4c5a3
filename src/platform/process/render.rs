//! From a flow run to its process: the rules of Prefect 1's `LocalAgent` and of the process worker of Prefect 2 and 3. Pure.

use super::supervisor::ProcessOrder;
use crate::model::RunRefusal;
use crate::platform::RunDescription;
use crate::prefect1::flow_run::storage::{self, Storage};
use crate::prefect1::flow_run::{
    AgentSettings, FlowRun, RunConfig, flow_run_command, flow_run_environment, run_config, schema,
};
use crate::prefect3::job_configuration::validation::Validator;
use crate::prefect3::job_configuration::{FlowRunJob, command, configured_environment, environment};
use crate::python_text::text;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the agent's own surroundings add.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The directory that the agent runs in.
    pub(super) working_dir: String,
    /// The agent's own `PYTHONPATH`.
    pub(super) python_path: Option<String>,
}

/// The process of a run. A run of Prefect 2 or 3 without a directory gets a new one.
pub(super) fn order(run: &RunDescription, around: &Surroundings) -> Result<ProcessOrder, RunRefusal> {
    match run {
        RunDescription::One(agent, run) => of_prefect_1(agent, run, around),
        RunDescription::Three(job) => of_prefect_3(job),
    }
}

fn of_prefect_1(agent: &AgentSettings, run: &FlowRun, around: &Surroundings) -> Result<ProcessOrder, RunRefusal> {
    if let Storage::Docker(_) = storage::load(&run.flow.storage, agent.rules)? {
        return Err(RunRefusal("Unsupported Storage type: Docker".into()));
    }
    let none = Map::new();
    let (config, working_dir) = match run_config(agent.rules, run, "LocalRun")? {
        RunConfig::Default => (&none, None),
        RunConfig::Universal(config) => {
            schema::check(config, &schema::COMMON)?;
            (config, None)
        }
        RunConfig::Own(config) => {
            schema::check(config, &[schema::COMMON[0], schema::COMMON[1], WORKING_DIR])?;
            (config, config.get("working_dir").and_then(Value::as_str).filter(|path| !path.is_empty()))
        }
    };
    let run_env = config.get("env").and_then(Value::as_object).unwrap_or(&none);
    let mut env = vec![("PYTHONPATH".to_owned(), python_path(working_dir, around))];
    let variables = flow_run_environment(agent, run, run_env);
    env.extend(variables.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), text(value))));
    Ok(ProcessOrder {
        command: flow_run_command(run.flow.core_version.as_deref(), agent.rules)?
            .split(' ')
            .map(str::to_owned)
            .collect(),
        env: env.into_iter().collect(),
        working_dir: working_dir.map(str::to_owned),
        needs_directory: false,
        stream_output: false,
    })
}

const WORKING_DIR: schema::SchemaField = schema::optional("working_dir", schema::FieldType::Text);

fn python_path(working_dir: Option<&str>, around: &Surroundings) -> String {
    let first = working_dir.unwrap_or(&around.working_dir);
    match around.python_path.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => format!("{first}:{path}"),
        None => first.to_owned(),
    }
}

fn of_prefect_3(job: &FlowRunJob) -> Result<ProcessOrder, RunRefusal> {
    let mut reader = Validator::new(&job.resolved, &job.populated);
    let configured = reader.text("command").filter(|command| !command.is_empty());
    let streams =
        job.resolved.get("stream_output").is_none_or(|value| !value.is_boolean()) || reader.flag("stream_output");
    let working_dir = reader.text("working_dir").filter(|path| !path.is_empty());
    reader.finish()?;
    let env = environment(&job.worker, &job.context(), &configured_environment(job.resolved.get("env"))?);
    let command = configured.unwrap_or_else(|| command::default(&job.worker).to_owned());
    Ok(ProcessOrder {
        command: command::split(&command)?,
        env: env.iter().map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>(),
        needs_directory: working_dir.is_none(),
        working_dir,
        stream_output: streams,
    })
}
