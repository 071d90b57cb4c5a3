//! Executes a document's fields in order; every alias for itself.

use super::{
    NullRule, Prefect1,
    auth::Caller,
    document::Document,
    failure::{self, Failure, Failures},
    flow_process, queue, register, rows, states, task_states, write_logs,
};
use apollo_compiler::{
    resolvers::{Execution, FieldError, ObjectValue, ResolveInfo, ResolvedValue},
    response::JsonMap,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use time::OffsetDateTime;

const MUTATIONS: [&str; 8] = [
    "register_agent",
    "get_runs_in_queue",
    "set_flow_run_states",
    "set_task_run_states",
    "write_run_logs",
    "update_flow_run_heartbeat",
    "update_task_run_heartbeat",
    "get_or_create_task_run_info",
];

/// What a field may use.
pub(super) struct Context<'a> {
    pub(super) prefect1: &'a mut Prefect1,
    pub(super) caller: &'a Caller,
    pub(super) now: OffsetDateTime,
}

/// Status and body of the answer.
pub(super) fn execute(
    prefect1: &mut Prefect1,
    caller: &Caller,
    now: OffsetDateTime,
    document: &Document,
) -> (u16, Value) {
    let mutation = document.executable.operations.get(None).is_ok_and(|operation| operation.is_mutation());
    let root = Root {
        type_name: if mutation { "Mutation" } else { "Query" },
        context: RefCell::new(Context { prefect1, caller, now }),
        failures: Failures::default(),
    };
    let result = Execution::new(document.schema, &document.executable)
        .coerced_variable_values(&document.variables)
        .enable_schema_introspection(true)
        .execute_sync(&root);
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            let error = error.to_graphql_error(&document.executable.sources);
            return (400, json!({"errors": [failure::request_error(failure::INTERNAL, &error)]}));
        }
    };
    let mut errors: Vec<Value> = response.errors.iter().map(|error| root.failures.render(error)).collect();
    let prefect1 = root.context.into_inner().prefect1;
    let mut data = response.data.map_or(Value::Null, |data| plain(&data));
    apply_nulls(&mut prefect1.switches.nulls, &mut data, &mut errors);
    let mut body = serde_json::Map::new();
    if !errors.is_empty() {
        body.insert("errors".to_owned(), errors.into());
    }
    if !(prefect1.switches.hasura_down && data.is_null()) {
        body.insert("data".to_owned(), data);
    }
    (200, Value::Object(body))
}

fn plain(data: &JsonMap) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}

fn apply_nulls(rules: &mut Vec<NullRule>, data: &mut Value, errors: &mut Vec<Value>) {
    for rule in rules.iter_mut() {
        let path: Vec<&str> = rule.path.split('.').filter(|part| !part.is_empty()).collect();
        if nullify(data, &path) {
            rule.times = rule.times.saturating_sub(1);
            if let Some(message) = &rule.error {
                errors.push(json!({
                    "message": message,
                    "path": path,
                    "extensions": {"code": failure::INTERNAL, "exception": {"message": message}},
                }));
            }
        }
    }
    rules.retain(|rule| rule.times > 0);
}

fn nullify(data: &mut Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return !std::mem::take(data).is_null();
    };
    let mut hit = false;
    match data {
        Value::Object(object) => {
            for (_, value) in object.iter_mut().filter(|(key, _)| *first == "*" || key == first) {
                hit |= nullify(value, rest);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                if *first == "*" || first.parse() == Ok(index) {
                    hit |= nullify(value, rest);
                }
            }
        }
        _ => {}
    }
    hit
}

struct Root<'a> {
    type_name: &'static str,
    context: RefCell<Context<'a>>,
    failures: Failures,
}

impl ObjectValue for Root<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let context = &mut *self.context.borrow_mut();
        let arguments = plain(info.arguments());
        let value = field(context, info, &arguments).map_err(|failure| self.failures.fail(info, failure))?;
        rows::resolved(info, &arguments, value, &self.failures)
    }
}

fn field(context: &mut Context<'_>, info: &ResolveInfo<'_>, arguments: &Value) -> Result<Value, Failure> {
    let name = info.field_name();
    ruled_out(context.prefect1, name, arguments)?;
    let input = &arguments["input"];
    match name {
        "hello" => Ok("👋".into()),
        "auth_info" => Ok(context.caller.auth_info()),
        "register_agent" => register::register_agent(context, input),
        "get_runs_in_queue" => queue::get_runs_in_queue(context, input),
        "set_flow_run_states" => states::set_flow_run_states(context, input),
        "set_task_run_states" => task_states::set_task_run_states(context, input),
        "write_run_logs" => write_logs::write_run_logs(context, input),
        "update_flow_run_heartbeat" => flow_process::update_flow_run_heartbeat(context, input),
        "update_task_run_heartbeat" => flow_process::update_task_run_heartbeat(context, input),
        "get_or_create_task_run_info" => flow_process::get_or_create_task_run_info(context, input),
        _ => rows::root(context, info, arguments),
    }
}

/// Fails what the switches say must fail.
fn ruled_out(prefect1: &mut Prefect1, name: &str, arguments: &Value) -> Result<(), Failure> {
    let switches = &mut prefect1.switches;
    if switches.service_down && (MUTATIONS.contains(&name) || name == "hello") {
        return Err(Failure::new(failure::SERVICE));
    }
    if switches.hasura_down && name != "hello" {
        return Err(Failure::new(failure::DATABASE));
    }
    if switches.fail.is_empty() {
        return Ok(());
    }
    let text = arguments.to_string();
    let Some(rule) = switches.fail.iter_mut().find(|rule| rule.field == name && text.contains(&rule.contains)) else {
        return Ok(());
    };
    rule.times = rule.times.saturating_sub(1);
    let failure = Failure::coded(&rule.code, &rule.message);
    switches.fail.retain(|rule| rule.times > 0);
    Err(failure)
}
