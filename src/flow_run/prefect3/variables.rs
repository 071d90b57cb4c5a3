//! From a work pool's template and the job variables of deployment and flow run to a job configuration.

use super::template::{self, Values, apply};
use super::{Generation, WorkerSettings};
use crate::model::{Object, RunRefusal};
use crate::python_text::{is_true, type_name};
use serde_json::Value;

/// The job configuration before references to blocks and variables are resolved: defaults of the template's variables,
/// job variables on top of them, both put into the template.
pub(crate) fn populate(
    worker: &WorkerSettings,
    base_job_template: &Object,
    job_variables: Object,
) -> Result<Object, RunRefusal> {
    let mut configuration = object(base_job_template.get("job_configuration"));
    let mut variables = defaults(base_job_template);
    if let Some(env) = variables.get("env").filter(|env| is_true(env)) {
        let merged = match configuration.get("env") {
            Some(Value::Object(base)) => Value::Object(union(base, env)?),
            _ => env.clone(),
        };
        configuration.insert("env".into(), merged);
    }
    let job_variables = match worker.generation {
        Generation::Two => job_variables,
        Generation::Three => nested(job_variables)?,
    };
    variables.extend(job_variables);
    if let (Some(Value::Object(base)), Some(env)) = (configuration.get("env"), variables.get("env"))
        && is_true(env)
    {
        let merged = union(base, env)?;
        configuration.insert("env".into(), Value::Object(merged));
    }
    let values = Values { variables: &variables, environment: &worker.process_environment };
    let configuration = configuration.iter().filter_map(|(key, value)| Some((key.clone(), apply(value, &values)?)));
    Ok(configuration.collect())
}

fn object(value: Option<&Value>) -> Object {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Defaults of the template's variables; `null` is none.
fn defaults(base_job_template: &Object) -> Object {
    let properties = base_job_template.get("variables").and_then(|variables| variables.get("properties"));
    let properties = properties.and_then(Value::as_object).into_iter().flatten();
    properties
        .filter_map(|(name, schema)| Some((name.clone(), schema.get("default")?.clone())))
        .filter(|(_, default)| !default.is_null())
        .collect()
}

/// Job variables of a run: the flow run's replace the deployment's, key by key. Only `env` is merged.
pub(crate) fn job_variables(deployment: Option<&Object>, flow_run: Option<&Object>) -> Result<Object, RunRefusal> {
    let mut variables = deployment.cloned().unwrap_or_default();
    let mut over = flow_run.cloned().unwrap_or_default();
    if let Some(Value::Object(env)) = variables.get_mut("env")
        && let Some(more) = over.shift_remove("env")
    {
        update(env, &more)?;
    }
    variables.extend(over);
    Ok(variables)
}

/// `dict.update`.
fn update(env: &mut Object, more: &Value) -> Result<(), RunRefusal> {
    let refused = |kind: &str, text: String| Err(RunRefusal(format!("{kind}: {text}")));
    match more {
        Value::Object(more) => {
            env.extend(more.clone());
            Ok(())
        }
        Value::String(_) | Value::Array(_) if !is_true(more) => Ok(()),
        Value::String(_) => {
            refused("ValueError", "dictionary update sequence element #0 has length 1; 2 is required".into())
        }
        other => refused("TypeError", format!("'{}' object is not iterable", type_name(other))),
    }
}

/// `base | over`.
fn union(base: &Object, over: &Value) -> Result<Object, RunRefusal> {
    let Value::Object(over) = over else {
        let kind = type_name(over);
        return Err(RunRefusal(format!("TypeError: unsupported operand type(s) for |: 'dict' and '{kind}'")));
    };
    let mut merged = base.clone();
    merged.extend(over.clone());
    Ok(merged)
}

/// Keys like `env.FOO` become nested objects. Keys without a dot are merged over them, so they win.
fn nested(variables: Object) -> Result<Object, RunRefusal> {
    let (dotted, plain): (Vec<_>, Vec<_>) = variables.into_iter().partition(|(key, _)| key.contains('.'));
    let mut out = Object::new();
    for (path, value) in dotted {
        template::set_value_at(&mut out, &path, value)?;
    }
    for (key, value) in plain {
        let merged = match (out.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(base)), Value::Object(over)) => Value::Object(template::deep_merge(base, over)),
            (_, value) => value,
        };
        out.insert(key, merged);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
