//! An agent's own documents: text → document, and each against the shape of the request that it becomes a part of. What is
//! wrong there is the agent's trouble, and no run's.

use super::reader::{ConfigErrors, Problem};
use super::values::{kind, path_key};
use super::yaml::{self, parse};
use crate::ecs_model::{self, MemberType, Operation, ShapeError, UnknownMembers};
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

/// Checks a document that lies elsewhere (what `task_definition_path` or `run_task_kwargs_path` names); `path` is named
/// in the errors.
pub fn check_document(
    which: DocumentKind,
    path: &str,
    document: &Map<String, Value>,
    unknown: UnknownMembers,
) -> Result<(), ConfigErrors> {
    match problems(which, document, unknown) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(ConfigErrors { parameter: path.to_owned(), problems }),
    }
}

/// What is wrong with the shape of a document.
pub(super) fn problems(which: DocumentKind, document: &Map<String, Value>, unknown: UnknownMembers) -> Vec<Problem> {
    let (operation, ours): (_, &[&str]) = match which {
        DocumentKind::TaskDefinition => (Operation::RegisterTaskDefinition, &["family", "containerDefinitions"]),
        DocumentKind::RunTaskKwargs => (Operation::RunTask, &["taskDefinition"]),
    };
    let found = ecs_model::check(operation, document, ours, unknown);
    let more = found.more;
    let kept = found.first.into_iter().filter(|problem| !is_mended(which, document, problem));
    let mut problems: Vec<Problem> = kept.map(|problem| in_words(which, problem)).collect();
    if more > 0 && !problems.is_empty() {
        problems.push(Problem::here(format!("{more} wrong places more"), "what is allowed at the places above"));
    }
    problems.extend(nameless_variables(which, document));
    if which == DocumentKind::RunTaskKwargs && document.contains_key("taskDefinition") {
        let allowed = "nothing: the task definition comes from `task_definition`, or from a run's own configuration";
        problems.push(Problem::at("taskDefinition", "a task definition", allowed));
    }
    problems
}

/// Whether Prefect's agent makes something good of what is wrong here, or puts something else in its place.
fn is_mended(which: DocumentKind, document: &Map<String, Value>, problem: &ecs_model::ShapeProblem<'_>) -> bool {
    let ShapeError::Type { value, .. } = &problem.trouble else { return false };
    let sizes = match which {
        DocumentKind::TaskDefinition => ["cpu", "memory"],
        DocumentKind::RunTaskKwargs => ["overrides.cpu", "overrides.memory"],
    };
    let in_flow = || problem.path.strip_prefix(&flow_container(which, document)?.0)?.strip_prefix('.');
    match problem.path.as_str() {
        "networkConfiguration" => value.is_null(),
        "clientToken" | "startedBy" => true,
        path if sizes.contains(&path) => value.is_number(),
        _ => match in_flow() {
            Some(path) if path.split('[').next() == Some("command") => which == DocumentKind::RunTaskKwargs,
            Some("environment") => value.as_object().is_some_and(Map::is_empty) || value.as_str() == Some(""),
            _ => false,
        },
    }
}

/// Variables of the container `flow` that have no name: ECS would take them, but Prefect's agent stumbles over them.
fn nameless_variables(which: DocumentKind, document: &Map<String, Value>) -> Vec<Problem> {
    let Some((path, flow)) = flow_container(which, document) else { return Vec::new() };
    let entries = flow.get("environment").and_then(Value::as_array).into_iter().flatten().enumerate();
    let nameless = entries.filter(|(_, entry)| entry.as_object().is_some_and(|entry| !entry.contains_key("name")));
    nameless.map(|(at, _)| Problem::at(format!("{path}.environment[{at}].name"), "nothing", "text")).collect()
}

/// The container that runs the flow, if the document has it, and where.
fn flow_container(which: DocumentKind, document: &Map<String, Value>) -> Option<(String, &Value)> {
    let (path, containers) = match which {
        DocumentKind::TaskDefinition => ("containerDefinitions", document.get("containerDefinitions")),
        DocumentKind::RunTaskKwargs => {
            ("overrides.containerOverrides", document.get("overrides").and_then(|all| all.get("containerOverrides")))
        }
    };
    let mut containers = containers?.as_array()?.iter().enumerate();
    let (at, flow) = containers.find(|(_, container)| container.get("name").and_then(Value::as_str) == Some("flow"))?;
    Some((format!("{path}[{at}]"), flow))
}

fn in_words(which: DocumentKind, problem: ecs_model::ShapeProblem<'_>) -> Problem {
    let path = problem.path;
    let below = |name: &str| Problem::at(path_key(name), "", "").under(&path).path;
    match problem.trouble {
        ShapeError::Unknown { name, known } => {
            let found = match ecs_model::near(name, &known) {
                Some(near) => format!("an unknown member (did you mean `{near}`?)"),
                None if which == DocumentKind::TaskDefinition && path.is_empty() && name == "taskDefinition" => {
                    "an answer of describe-task-definition (take what is below `taskDefinition`)".to_owned()
                }
                None if path.is_empty() && ecs_model::is_said_by_aws(name) => {
                    "what AWS says of a registered definition (leave it out)".to_owned()
                }
                None => "an unknown member".to_owned(),
            };
            let (known, botocore) = (known.join(", "), ecs_model::botocore());
            let allowed = format!(
                "{known} (as botocore {botocore} knows them; `unknown_members: send` sends what AWS has added since)"
            );
            Problem::at(below(name), found, allowed)
        }
        ShapeError::Missing { name, kind } => Problem::at(below(name), "nothing", words(kind)),
        ShapeError::Type { value, kind: wanted } => Problem::at(path, kind(value), words(wanted)),
        ShapeError::Length { length, least } => {
            Problem::at(path, format!("a length of {length}"), format!("a length of at least {least}"))
        }
        ShapeError::Value { value, least } => {
            Problem::at(path, format!("the number {value}"), format!("at least {least}"))
        }
        ShapeError::Union { given, members } => {
            Problem::at(path, format!("{given} members"), format!("exactly one of {}", members.join(", ")))
        }
    }
}

fn words(kind: MemberType) -> &'static str {
    match kind {
        MemberType::Text => "text (numbers and truth values in quotes)",
        MemberType::Integer => "a whole number, not in quotes",
        MemberType::Boolean => "true or false, not in quotes",
        MemberType::List => "a list",
        MemberType::Mapping => "a mapping",
    }
}
