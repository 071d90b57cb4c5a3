//! The placeholder engine: `{{ name }}` in the texts of a job template, and places inside a value: `a.b[0].c`.

use super::{Generation, WorkerSettings};
use crate::model::{Object, RunRefusal};
use crate::python_text::{is_true, list_text, text, type_name};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

#[cfg(test)]
mod variables_tests;

/// Prefix of a reference to a block document.
pub(crate) const BLOCKS: &str = "prefect.blocks.";
/// Prefix of a reference to a variable.
pub(crate) const VARIABLES: &str = "prefect.variables.";

/// One `{{ name }}` of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placeholder<'a> {
    /// What stands in the text, braces included.
    pub(crate) written: &'a str,
    /// What is between the braces.
    pub(crate) name: &'a str,
}

/// What a placeholder stands for, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceholderKind {
    /// A job variable.
    Standard,
    /// A block document.
    Block,
    /// A variable of the workspace.
    Variable,
    /// An environment variable of the process.
    Environment,
}

impl Placeholder<'_> {
    pub(crate) fn kind(&self) -> PlaceholderKind {
        if self.name.starts_with(BLOCKS) {
            PlaceholderKind::Block
        } else if self.name.starts_with(VARIABLES) {
            PlaceholderKind::Variable
        } else if self.name.starts_with('$') {
            PlaceholderKind::Environment
        } else {
            PlaceholderKind::Standard
        }
    }
}

/// A text taken apart: plain parts and placeholders, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Plain(&'a str),
    Placeholder(Placeholder<'a>),
}

/// Takes a text apart. All parts together are the text.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut searched = 0;
    while let Some(at) = rest[searched..].find("{{").map(|at| at + searched) {
        let (plain, candidate) = rest.split_at(at);
        if let Some(placeholder) = placeholder_at_start(candidate) {
            if !plain.is_empty() {
                parts.push(Part::Plain(plain));
            }
            parts.push(Part::Placeholder(placeholder));
            rest = &candidate[placeholder.written.len()..];
            searched = 0;
        } else {
            // `{{{ a }}` holds a placeholder one brace later.
            searched = at + 1;
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Plain(rest));
    }
    parts
}

fn placeholder_at_start(text: &str) -> Option<Placeholder<'_>> {
    let inside = text.strip_prefix("{{")?.trim_start_matches(is_space);
    let end = inside.find(|c| !is_name(c))?;
    let (name, after) = inside.split_at(end);
    let rest = after.trim_start_matches(is_space).strip_prefix("}}")?;
    let written = text.get(..text.len() - rest.len())?;
    (!name.is_empty()).then_some(Placeholder { written, name })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']' | '$')
}

/// Whitespace as Python's regular expressions know it: also the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The placeholder that is all of a text.
pub(crate) fn whole(text: &str) -> Option<Placeholder<'_>> {
    match parts(text).as_slice() {
        [Part::Placeholder(placeholder)] => Some(*placeholder),
        _ => None,
    }
}

/// The placeholders of a text.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = Placeholder<'_>> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Placeholder(placeholder) => Some(placeholder),
        Part::Plain(_) => None,
    })
}

/// The text with each placeholder replaced by what `replace` gives; `None` leaves it as it is written. What is put in
/// is not looked at again.
pub(crate) fn substitute<E>(
    text: &str,
    mut replace: impl FnMut(&Placeholder<'_>) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Plain(plain) => out.push_str(plain),
            Part::Placeholder(placeholder) => match replace(&placeholder)? {
                Some(value) => out.push_str(&value),
                None => out.push_str(placeholder.written),
            },
        }
    }
    Ok(out)
}

/// What placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// Job variables.
    pub(crate) variables: &'a Map<String, Value>,
    /// The environment of the process.
    pub(crate) environment: &'a BTreeMap<String, String>,
}

/// The template with its placeholders replaced, in one pass; `None` if it is a placeholder without a value.
///
/// A text that is one placeholder becomes the value with its type; without one, the key or list item that held it is
/// dropped. In any other text values appear as Python writes them, and missing ones as nothing. Environment variables
/// are always text. References to blocks and variables of the workspace stay as they are, and keys are no templates.
pub(crate) fn apply(template: &Value, values: &Values<'_>) -> Option<Value> {
    match template {
        Value::String(text) => apply_text(text, values),
        Value::Object(map) => Some(Value::Object(
            map.iter().filter_map(|(key, value)| Some((key.clone(), apply(value, values)?))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(|item| apply(item, values)).collect())),
        other => Some(other.clone()),
    }
}

fn apply_text(template: &str, values: &Values<'_>) -> Option<Value> {
    if let Some(placeholder) = whole(template)
        && placeholder.kind() == PlaceholderKind::Standard
    {
        return value_at(values.variables, placeholder.name);
    }
    let replaced = substitute(template, |placeholder| {
        Ok::<_, std::convert::Infallible>(match placeholder.kind() {
            PlaceholderKind::Standard => {
                Some(value_at(values.variables, placeholder.name).as_ref().map(text).unwrap_or_default())
            }
            PlaceholderKind::Environment => {
                let name = placeholder.name.trim_start_matches('$');
                Some(values.environment.get(name).cloned().unwrap_or_default())
            }
            PlaceholderKind::Block | PlaceholderKind::Variable => None,
        })
    });
    match replaced {
        Ok(text) => Some(Value::String(text)),
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod paths_tests;
#[cfg(test)]
mod tests;

// Places inside a value: `a.b[0].c`.

fn keys(path: &str) -> Vec<String> {
    path.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect()
}

/// What is at a path. Whole numbers are indices (negative ones count from the end), of texts too; they never name a key.
pub(crate) fn value_at(values: &Map<String, Value>, path: &str) -> Option<Value> {
    let mut keys = keys(path).into_iter();
    let first = keys.next().filter(|key| index_of_key(key).is_none())?;
    follow(values.get(&first)?, keys)
}

/// As [`value_at`], in a value of any type.
pub(crate) fn value_in(value: &Value, path: &str) -> Option<Value> {
    follow(value, keys(path).into_iter())
}

fn follow(value: &Value, keys: impl Iterator<Item = String>) -> Option<Value> {
    let mut here = Cow::Borrowed(value);
    for key in keys {
        here = match here {
            Cow::Borrowed(value) => step(value, &key)?,
            Cow::Owned(value) => Cow::Owned(step(&value, &key)?.into_owned()),
        };
    }
    Some(here.into_owned())
}

fn step<'a>(value: &'a Value, key: &str) -> Option<Cow<'a, Value>> {
    match (value, index_of_key(key)) {
        (Value::Object(map), None) => map.get(key).map(Cow::Borrowed),
        (Value::Array(items), Some(index)) => items.get(place(index, items.len())?).map(Cow::Borrowed),
        (Value::String(text), Some(index)) => {
            let character = text.chars().nth(place(index, text.chars().count())?)?;
            Some(Cow::Owned(Value::String(character.into())))
        }
        _ => None,
    }
}

/// A key that Python's `int` takes.
fn index_of_key(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let grouped = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if !grouped {
        return None;
    }
    // A number too large for a list is an index all the same: one that is not there.
    Some(key.replace('_', "").parse().unwrap_or(i64::MAX))
}

fn place(index: i64, length: usize) -> Option<usize> {
    let from_start = if index < 0 { i64::try_from(length).ok()?.checked_add(index)? } else { index };
    usize::try_from(from_start).ok().filter(|at| *at < length)
}

/// Puts a value at a path; objects on the way are made. Refused where something else is in the way.
pub(crate) fn set_value_at(values: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), RunRefusal> {
    let keys = keys(path);
    let Some((last, way)) = keys.split_last() else { return Ok(()) };
    let mut place = values;
    for key in way {
        let inner = place.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else {
            let path = list_text(&keys);
            return Err(RunRefusal(format!("TypeError: Key path exists and contains a non-dict value: {path}")));
        };
        place = inner;
    }
    place.insert(last.clone(), value);
    Ok(())
}

/// `over` on top of `base`: objects are merged all the way down, anything else replaces.
pub(crate) fn deep_merge(mut base: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in over {
        let merged = match (base.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(base)), Value::Object(over)) => Value::Object(deep_merge(base, over)),
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

// From a work pool's template and the job variables of deployment and flow run to a job configuration.

/// The job configuration before references to blocks and variables are resolved: defaults of the template's variables,
/// job variables on top of them, both put into the template.
pub(crate) fn populate_with(
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
        set_value_at(&mut out, &path, value)?;
    }
    for (key, value) in plain {
        let merged = match (out.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(base)), Value::Object(over)) => Value::Object(deep_merge(base, over)),
            (_, value) => value,
        };
        out.insert(key, merged);
    }
    Ok(out)
}
