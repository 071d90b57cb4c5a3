//! The environment of a flow run.

use super::{FlowRunContext, Generation, WorkerSettings};
use crate::model::RunRefusal;
use crate::python_text::{text, type_name};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// The agent's settings, what names the run, then what the configuration says; null removes a variable. A variable that
/// is replaced keeps its place.
pub(crate) fn environment(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    configured: &Map<String, Value>,
) -> Map<String, Value> {
    let mut env = Map::new();
    for (name, value) in &worker.base_environment {
        env.insert(name.clone(), value.expose_secret().into());
    }
    for (name, value) in attribution(worker, run) {
        env.insert(name.into(), value.into());
    }
    env.extend(configured.clone());
    env.retain(|_, value| !value.is_null());
    env
}

/// What names the flow run, and since Prefect 3 who runs what.
fn attribution<'a>(worker: &'a WorkerSettings, run: &FlowRunContext<'a>) -> Vec<(&'static str, &'a str)> {
    let mut env = vec![("PREFECT__FLOW_RUN_ID", run.flow_run.id.as_str())];
    if worker.generation == Generation::Two {
        return env;
    }
    let deployment_name = run.deployment.map(|deployment| deployment.name.as_str());
    let known = [
        ("PREFECT__WORKER_ID", worker.worker_id.as_deref()),
        ("PREFECT__WORKER_NAME", Some(worker.worker_name.as_str())),
        ("PREFECT__FLOW_ID", Some(run.flow_run.flow_id.as_str())),
        ("PREFECT__FLOW_NAME", Some(run.flow.name.as_str()).filter(|name| !name.is_empty())),
        ("PREFECT__DEPLOYMENT_ID", run.flow_run.deployment_id.as_deref()),
        ("PREFECT__DEPLOYMENT_NAME", deployment_name.filter(|name| !name.is_empty())),
    ];
    env.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
    env
}

/// The `env` of a configuration: values as Python writes them; null stays.
pub(crate) fn configured_environment(value: Option<&Value>) -> Result<Map<String, Value>, RunRefusal> {
    let spell = |value: &Value| if value.is_null() { Value::Null } else { Value::String(text(value)) };
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(env)) => Ok(env.iter().map(|(name, value)| (name.clone(), spell(value))).collect()),
        Some(other) => {
            Err(RunRefusal(format!("AttributeError: '{}' object has no attribute 'items'", type_name(other))))
        }
    }
}
