//! From a flow run to its launch: the rules of Prefect 1's `ECSAgent`, pure.

mod run_config;
mod run_task;
mod task_definition;
#[cfg(test)]
mod tests;

pub use super::request::request_problems;
pub use task_definition::{TemplatePath, TemplatePlace, template_path};

use super::LaunchSpec;
use super::worker::WorkerPart;
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
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
    let run_config = run_config::load(agent, run)?;
    let definition = task_definition::definition(agent, run, &run_config, template)?;
    let request = run_task::run_task(agent, run, &run_config, &definition)?;
    Ok(LaunchSpec {
        definition,
        run_task: request.body,
        infer_network: request.infer_network,
        key_variables: request.key_variables,
        run_sets: run_config::run_sets(&run_config),
        worker: WorkerPart::default(),
        pending_delivery: None,
    })
}
