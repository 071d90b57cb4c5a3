//! Prefect's documented environment variables, as fallbacks of an agent's keys.

use super::Environment;
use super::errors::{Parsed, Problem, refuse};
use super::literal::Literal;
use super::values::{push_new, quoted, variable_name};

/// API key.
pub(super) const API_KEY: &str = "PREFECT__CLOUD__API_KEY";
/// API key of Prefect 2 and 3.
pub(super) const WORKER_API_KEY: &str = "PREFECT_API_KEY";
/// `user:password` of Prefect 2 and 3.
pub(super) const AUTH_STRING: &str = "PREFECT_API_AUTH_STRING";
/// Further headers of every request, a JSON object.
pub(super) const CLIENT_HEADERS: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";
/// Base URL of the API of Prefect 2 and 3.
pub(super) const API_URL: &str = "PREFECT_API_URL";
/// Legacy token of Prefect 0.15.
pub(super) const AUTH_TOKEN: &str = "PREFECT__CLOUD__AGENT__AUTH_TOKEN";
/// Tenant.
pub(super) const TENANT_ID: &str = "PREFECT__CLOUD__TENANT_ID";
/// Base URL of the API.
pub(super) const API: &str = "PREFECT__CLOUD__API";
/// The agent's name in Prefect.
pub(super) const NAME: &str = "PREFECT__CLOUD__AGENT__NAME";
/// Labels.
pub(super) const LABELS: &str = "PREFECT__CLOUD__AGENT__LABELS";
/// Environment of the flow runs; also the prefix of `…__<NAME>`.
pub(super) const ENV_VARS: &str = "PREFECT__CLOUD__AGENT__ENV_VARS";
/// Whether flow runs send their logs to the API.
pub(super) const SEND_FLOW_RUN_LOGS: &str = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS";
/// Log level of the flow runs.
pub(super) const LOGGING_LEVEL: &str = "PREFECT__LOGGING__LEVEL";
/// `cloud` or `server`.
pub(super) const BACKEND: &str = "PREFECT__BACKEND";
/// Base URL of a Prefect Server.
pub(super) const SERVER_ENDPOINT: &str = "PREFECT__SERVER__ENDPOINT";
/// Address of a Prefect Server, with scheme and without port.
pub(super) const SERVER_HOST: &str = "PREFECT__SERVER__HOST";
/// Port of a Prefect Server.
pub(super) const SERVER_PORT: &str = "PREFECT__SERVER__PORT";

/// Labels: a Python or JSON list, comma separated words, or one word, which is the one label.
pub(super) fn labels(text: &str) -> Parsed<Vec<String>> {
    const ALLOWED: &str = "a list of texts (\"['a', 'b']\"), comma separated labels, or one label";
    let mut labels = Vec::new();
    if !text.starts_with(['[', '(', '{', '\'', '"']) {
        for label in text.split(',').map(str::trim).filter(|label| !label.is_empty()) {
            push_new(&mut labels, label.to_owned());
        }
        return if labels.is_empty() { refuse(found(text), ALLOWED) } else { Ok(labels) };
    }
    let items = match Literal::read(text) {
        Some(Literal::List(items)) => items,
        Some(one @ Literal::Text(_)) => vec![one],
        // What Python and JSON call an empty dict can only be meant as an empty set here.
        Some(Literal::Map(pairs)) if pairs.is_empty() => Vec::new(),
        _ => return refuse(found(text), ALLOWED),
    };
    for item in items {
        match item {
            Literal::Text(label) if !label.trim().is_empty() => push_new(&mut labels, label),
            _ => return refuse(found(text), ALLOWED),
        }
    }
    Ok(labels)
}

fn found(text: &str) -> String {
    format!("the text {}", quoted(text))
}

/// `true` or `false`, in any case and in the other spellings people use.
pub(super) fn flag(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => refuse(found(text), "true or false"),
    }
}

/// The environment of the flow runs: a Python dict or JSON object, then one variable each as
/// `PREFECT__CLOUD__AGENT__ENV_VARS__<NAME>`, with `<NAME>` in lower case as Prefect does. `None` = nothing is set.
/// Values are never shown.
pub(super) fn env_vars(environment: &Environment) -> Option<Parsed<Vec<(String, String)>>> {
    let dict = environment.get(ENV_VARS).map(|text| text.trim()).filter(|text| !text.is_empty());
    let prefix = format!("{ENV_VARS}__");
    let mut single: Vec<(String, &str)> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_lowercase(), value.as_str())))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    if dict.is_none() && single.is_empty() {
        return None;
    }
    // The environment has no order: the names' own order makes the result the same each time.
    single.sort_unstable();
    let mut variables = match dict.map(dict_of_texts).transpose() {
        Ok(variables) => variables.unwrap_or_default(),
        Err(problems) => return Some(Err(problems)),
    };
    for (name, value) in single {
        set(&mut variables, name, value.to_owned());
    }
    Some(Ok(variables))
}

fn dict_of_texts(text: &str) -> Parsed<Vec<(String, String)>> {
    let Some(Literal::Map(pairs)) = Literal::read(text) else {
        return refuse("a text that is none", "a mapping (\"{'NAME': 'value'}\") or a JSON object");
    };
    let mut variables = Vec::with_capacity(pairs.len());
    let mut problems = Vec::new();
    for (name, value) in pairs {
        let null = value.is_null();
        match (name, value) {
            (Literal::Text(name), Literal::Text(value) | Literal::Word(value)) if !null => {
                problems.extend(variable_name(&name).err());
                set(&mut variables, name, value);
            }
            (Literal::Text(name), _) => problems.push(Problem::at(format!("[{}]", quoted(&name)), "no text", "text")),
            _ => problems.push(Problem::here("a name that is no text", "text")),
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// Sets a variable; a later value replaces an earlier one in its place.
fn set(variables: &mut Vec<(String, String)>, name: String, value: String) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name, value)),
    }
}
