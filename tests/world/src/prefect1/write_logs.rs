//! `write_run_logs`.

use super::{Log, execute::Context, failure::Failure, states, times};
use serde_json::{Value, json};

/// Stores log lines, all or none.
pub(super) fn write_run_logs(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    if context.prefect1.switches.logs_refused {
        return Ok(json!({"success": false, "error": null}));
    }
    let logs = input["logs"].as_array().into_iter().flatten().map(|line| log(context, line));
    let mut logs = logs.collect::<Result<Vec<Log>, Failure>>()?;
    context.prefect1.logs.append(&mut logs);
    Ok(json!({"success": true, "error": null}))
}

fn log(context: &Context<'_>, line: &Value) -> Result<Log, Failure> {
    let id = |key: &str| if line[key].is_null() { Ok(None) } else { states::input_uuid(line, key).map(Some) };
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    let timestamp = match &line["timestamp"] {
        Value::Null => context.now,
        given => given.as_str().and_then(times::parse).ok_or_else(|| {
            Failure::new(format!("Expected type DateTime, found {given}; Could not parse DateTime: {given}"))
        })?,
    };
    Ok(Log {
        flow_run_id: id("flow_run_id")?,
        task_run_id: id("task_run_id")?,
        timestamp,
        name: text("name"),
        level: text("level").unwrap_or_else(|| "INFO".to_owned()),
        message: text("message"),
        info: line["info"].clone(),
    })
}
