//! Log lines and events: written down as they come.

use super::{
    answer::{Answer, Outcome, invalid},
    fields::Fields,
    filters::Page,
    routes::Call,
};
use serde_json::{Value, json};

fn entries(body: &Value) -> Outcome<Vec<(usize, &Value)>> {
    let list = body.as_array();
    let list = list.ok_or_else(|| invalid("list_type", &["body".into()], "Input should be a valid list", body))?;
    Ok(list.iter().enumerate().collect())
}

/// `POST /logs/`. Only Prefect Cloud takes the id of a worker.
pub(super) fn create_logs(call: &mut Call<'_>) -> Outcome {
    let mut known = vec!["name", "level", "message", "timestamp", "flow_run_id", "task_run_id"];
    if call.prefect3.switches.cloud {
        known.push("worker_id");
    }
    for (index, line) in entries(call.body)? {
        let fields = Fields::at(line, vec!["body".into(), json!(index)])?.only(&known)?;
        fields.required_text("name")?;
        fields.required("level")?;
        fields.integer("level", i64::MIN)?;
        fields.required_text("message")?;
        fields.required("timestamp")?;
        fields.time("timestamp")?;
        fields.id("flow_run_id")?;
    }
    call.prefect3.logs.extend(call.body.as_array().into_iter().flatten().cloned());
    Ok(Answer::json(201, Value::Null))
}

/// `POST /logs/filter`: the lines of one or more flow runs, by time.
pub(super) fn filter_logs(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let (mut runs, mut least, mut most) = (None, i64::MIN, i64::MAX);
    if let Some(filter) = fields.child("logs")? {
        runs = filter.child("flow_run_id")?.map(|runs| runs.ids("any_")).transpose()?.flatten();
        if let Some(level) = filter.child("level")? {
            least = level.integer("ge_", i64::MIN)?.unwrap_or(least);
            most = level.integer("le_", i64::MIN)?.unwrap_or(most);
        }
    }
    let wanted = |line: &&Value| {
        let has_level = line["level"].as_i64().is_some_and(|level| (least..=most).contains(&level));
        has_level
            && runs
                .as_ref()
                .is_none_or(|runs| line["flow_run_id"].as_str().is_some_and(|id| runs.iter().any(|run| run == id)))
    };
    let now = call.prefect3.show(call.now);
    let row = |(number, line): (usize, &Value)| {
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &number.to_be_bytes());
        let mut row = json!({"id": id.to_string(), "created": now, "updated": now});
        for key in ["name", "level", "message", "timestamp", "flow_run_id", "task_run_id"] {
            row[key] = line[key].clone();
        }
        row
    };
    let mut lines: Vec<(usize, &Value)> =
        call.prefect3.logs.iter().enumerate().filter(|(_, line)| wanted(line)).collect();
    lines.sort_by_key(|(_, line)| line["timestamp"].as_str().and_then(super::times::parse));
    Ok(Answer::ok(page.of(lines, row)))
}

/// `POST /events`
pub(super) fn create_events(call: &mut Call<'_>) -> Outcome {
    for (index, event) in entries(call.body)? {
        let fields = Fields::at(event, vec!["body".into(), json!(index)])?;
        fields.required("occurred")?;
        fields.time("occurred")?;
        fields.required_text("event")?;
        fields.required("resource")?;
        if event["resource"]["prefect.resource.id"].is_null() {
            let message = "Value error, Resources must include the prefect.resource.id label";
            return Err(fields.refuse("resource", "value_error", message));
        }
        let unrelated = |one: &Value| one["prefect.resource.role"].is_null();
        if event["related"].as_array().is_some_and(|related| related.iter().any(unrelated)) {
            let message = "Value error, Related Resources must include the prefect.resource.role label";
            return Err(fields.refuse("related", "value_error", message));
        }
        fields.required("id")?;
        fields.id("id")?;
    }
    call.prefect3.events.extend(call.body.as_array().into_iter().flatten().cloned());
    Ok(Answer::empty())
}
