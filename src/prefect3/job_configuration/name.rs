//! The name of a flow run's infrastructure.

use super::template::{Values, apply};
use super::{FlowRunContext, Generation, WorkerSettings};
use crate::python_text::{is_true, text};
use serde_json::{Map, Value, json};

/// The configured name, in Prefect 3 a template about flow and flow run; else the flow run's.
pub(crate) fn run_name(worker: &WorkerSettings, run: &FlowRunContext<'_>, configured: Option<String>) -> String {
    let configured = configured.filter(|name| !name.is_empty());
    let rendered = match (worker.generation, configured) {
        (Generation::Three, Some(template)) => {
            let context = context(run);
            let values = Values { variables: &context, environment: &worker.process_environment };
            // A name that is nothing but a missing value stays as it is written; one that is nothing at all counts as none.
            match apply(&json!(template), &values) {
                Some(name) => is_true(&name).then(|| text(&name)),
                None => Some(template),
            }
        }
        (_, configured) => configured,
    };
    rendered.filter(|name| !name.is_empty()).unwrap_or_else(|| run.flow_run.name.clone())
}

fn context(run: &FlowRunContext<'_>) -> Map<String, Value> {
    let mut flow = run.flow.others.clone();
    flow.extend([("id".to_owned(), json!(run.flow.id)), ("name".to_owned(), json!(run.flow.name))]);
    let mut flow_run = run.flow_run.others.clone();
    flow_run.extend([
        ("id".to_owned(), json!(run.flow_run.id)),
        ("name".to_owned(), json!(run.flow_run.name)),
        ("flow_id".to_owned(), json!(run.flow_run.flow_id)),
        ("deployment_id".to_owned(), json!(run.flow_run.deployment_id)),
        ("job_variables".to_owned(), json!(run.flow_run.job_variables)),
    ]);
    Map::from_iter([("ctx".to_owned(), json!({"flow": flow, "flow_run": flow_run}))])
}
