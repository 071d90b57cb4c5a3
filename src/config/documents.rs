//! Text → document, and the shape of the documents that launches build upon.

use super::errors::{ConfigErrors, Problem};
use super::values::{kind, path_key};
use super::yaml::{self, parse};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Which document a configuration refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// A task definition, in the spelling of `RegisterTaskDefinition`.
    TaskDefinition,
    /// Keyword arguments of `RunTask`.
    RunTaskKwargs,
}

/// Reads a document that lies elsewhere (what `task_definition_path` or `run_task_kwargs_path` names); `path` is named
/// in the errors.
pub fn read_document(which: DocumentKind, path: &str, text: &str) -> Result<Map<String, Value>, ConfigErrors> {
    let read = yaml::mapping(text, None).and_then(|document| match shape(which, &document) {
        problems if problems.is_empty() => Ok(document),
        problems => Err(problems),
    });
    read.map_err(|problems| ConfigErrors { parameter: path.to_owned(), problems })
}

/// A document that lies elsewhere, whatever it is, if it means to this program what it means to Prefect's Python. What is
/// wrong with it, else, as a sentence.
pub fn read_yaml(text: &str) -> Result<Value, String> {
    yaml::value(text, None).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join(". ")
    })
}

/// The plain values of `env_vars` as they are written: `1.10` is a number to YAML, but the text `1.10` to a person.
pub(super) fn written_variables(text: &str) -> HashMap<String, String> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        env_vars: HashMap<String, String>,
    }
    // A document that cannot be read this way has other values in it, and those are refused anyway.
    parse::<Written>(text).map(|written| written.env_vars).unwrap_or_default()
}

/// What is wrong with the shape of a document, as far as launches merge into it; AWS checks the rest.
pub(super) fn shape(which: DocumentKind, document: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    match which {
        DocumentKind::TaskDefinition => {
            containers(document, "containerDefinitions", "", &mut problems);
            list_of_mappings(document, "tags", "", &mut problems);
        }
        DocumentKind::RunTaskKwargs => {
            match document.get("overrides") {
                None | Some(Value::Null) => {}
                Some(Value::Object(overrides)) => {
                    containers(overrides, "containerOverrides", "overrides", &mut problems);
                }
                Some(other) => problems.push(Problem::at("overrides", kind(other), "a mapping")),
            }
            list_of_mappings(document, "capacityProviderStrategy", "", &mut problems);
            list_of_mappings(document, "tags", "", &mut problems);
            if let Some(other) = document.get("networkConfiguration").filter(|v| !v.is_object() && !v.is_null()) {
                problems.push(Problem::at("networkConfiguration", kind(other), "a mapping"));
            }
        }
    }
    problems
}

/// A list of containers, each with a list of environment variables.
fn containers(holder: &Map<String, Value>, key: &str, base: &str, problems: &mut Vec<Problem>) {
    let path = Problem::at(key, "", "").under(base).path;
    for (index, container) in list_of_mappings(holder, key, base, problems) {
        list_of_mappings(container, "environment", &format!("{path}[{index}]"), problems);
        if let Some(other) = container.get("name").filter(|name| !name.is_string() && !name.is_null()) {
            problems.push(Problem::at(format!("{path}[{index}].name"), kind(other), "text"));
        }
    }
}

/// The mappings of a list; what is not one is a problem.
fn list_of_mappings<'a>(
    holder: &'a Map<String, Value>,
    key: &str,
    base: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(usize, &'a Map<String, Value>)> {
    let path = Problem::at(path_key(key), "", "").under(base).path;
    let items = match holder.get(key) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            problems.push(Problem::at(path, kind(other), "a list of mappings"));
            return Vec::new();
        }
    };
    let mut mappings = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::Object(map) => mappings.push((index, map)),
            other => problems.push(Problem::at(format!("{path}[{index}]"), kind(other), "a mapping")),
        }
    }
    mappings
}
