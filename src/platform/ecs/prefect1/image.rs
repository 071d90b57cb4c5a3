//! Which image a flow runs in.

use super::run_config::EcsRunConfig;
use crate::model::RunRefusal;
use crate::prefect1::flow_run::storage::{self, Storage};
use crate::prefect1::flow_run::{AgentSettings, FlowRun};
use serde_json::Value;

/// The image of Docker storage, else the run config's, else the template's, else Prefect's own for the flow's version.
///
/// A value of another type than text can only come from the template.
pub(super) fn flow_image(
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
