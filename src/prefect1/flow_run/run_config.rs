//! The run config of a flow run, of whichever type.

use super::FlowRun;
use super::schema::{typed_object, unsupported_type};
use crate::config::Rules;
use crate::model::RunRefusal;
use serde_json::{Map, Value};

/// A run config that an agent can run, not checked yet.
pub(crate) enum RunConfig<'a> {
    /// There is none: the agent's defaults.
    Default,
    /// A `UniversalRun`, for any agent.
    Universal(&'a Map<String, Value>),
    /// Of the agent's own type.
    Own(&'a Map<String, Value>),
}

/// The run config of `run`, for an agent whose own type is `own`.
pub(crate) fn run_config<'a>(rules: Rules, run: &'a FlowRun, own: &str) -> Result<RunConfig<'a>, RunRefusal> {
    if run.run_config.is_null() {
        return match rules {
            Rules::V0_15 if !run.flow.environment.is_null() => Err(RunRefusal(
                "This flow was registered with an `environment` and without a `run_config`, which this agent cannot run: \
                 register it again with Prefect 0.14 or newer"
                    .into(),
            )),
            _ => Ok(RunConfig::Default),
        };
    }
    let (object, kind) = typed_object(&run.run_config)?;
    match kind {
        kind if kind == own => Ok(RunConfig::Own(object)),
        "UniversalRun" => Ok(RunConfig::Universal(object)),
        "ECSRun" | "DockerRun" | "KubernetesRun" | "LocalRun" => Err(wrong_type(run, kind, own)),
        "VertexRun" if rules == Rules::V1 => Err(wrong_type(run, kind, own)),
        unknown => Err(unsupported_type(unknown)),
    }
}

fn wrong_type(run: &FlowRun, kind: &str, own: &str) -> RunRefusal {
    RunRefusal(format!("Flow run {} has a `run_config` of type `{kind}`, only `{own}` is supported", run.id))
}
