//! References to blocks and variables of the workspace: which ones a configuration holds, and their values put in.

use super::template::{self, BLOCKS, Placeholder, PlaceholderKind, VARIABLES, placeholders, substitute, whole};
use crate::model::RunRefusal;
use crate::python_text::{is_true, text, text_repr, type_name};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A block document that a configuration refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockReference {
    /// `{{ prefect.blocks.<type slug>.<name> }}`.
    Named {
        /// Slug of the block's type.
        type_slug: String,
        /// The document's name.
        name: String,
    },
    /// `{"$ref": {"block_document_id": …}}`.
    Id(String),
}

/// What was read: the document's `data`; `None` = there is no such document.
pub type Blocks = BTreeMap<BlockReference, Option<Map<String, Value>>>;

/// What was read: the variable's value; `None` = there is no such variable.
pub type Variables = BTreeMap<String, Option<Value>>;

/// The block documents that a configuration refers to.
pub fn block_references(configuration: &Map<String, Value>) -> BTreeSet<BlockReference> {
    let mut found = BTreeSet::new();
    configuration.values().for_each(|value| find_blocks(value, &mut found));
    found
}

fn find_blocks(value: &Value, found: &mut BTreeSet<BlockReference>) {
    match value {
        Value::String(text) => {
            found.extend(placeholders(text).filter_map(|placeholder| Some(block(&placeholder)?.0)));
        }
        Value::Array(items) => items.iter().for_each(|item| find_blocks(item, found)),
        Value::Object(map) => match document_id(map) {
            Some(id) => {
                found.insert(BlockReference::Id(id));
            }
            None => map.values().for_each(|value| find_blocks(value, found)),
        },
        _ => {}
    }
}

/// The document that a block placeholder names, and the path inside of it.
fn block(placeholder: &Placeholder<'_>) -> Option<(BlockReference, Option<String>)> {
    if placeholder.kind() != PlaceholderKind::Block {
        return None;
    }
    let name = placeholder.name.replace(BLOCKS, "");
    let mut parts = name.splitn(3, '.').map(str::to_owned);
    let reference = BlockReference::Named { type_slug: parts.next()?, name: parts.next()? };
    Some((reference, parts.next()))
}

fn document_id(map: &Map<String, Value>) -> Option<String> {
    map.get("$ref")?.get("block_document_id").filter(|id| is_true(id)).map(text)
}

/// The configuration with the values of its blocks.
///
/// A text that is one reference becomes the value with its type; inside other text the value must be a scalar. What is
/// put in is not searched for further blocks. Refused for documents that are not there, malformed references, and paths
/// that lead nowhere.
pub fn resolve_blocks(configuration: &Map<String, Value>, blocks: &Blocks) -> Result<Map<String, Value>, RunRefusal> {
    each(configuration, |value| resolve_block(value, blocks))
}

fn each(
    map: &Map<String, Value>,
    resolve: impl Fn(&Value) -> Result<Value, RunRefusal>,
) -> Result<Map<String, Value>, RunRefusal> {
    map.iter().map(|(key, value)| Ok((key.clone(), resolve(value)?))).collect()
}

fn resolve_block(value: &Value, blocks: &Blocks) -> Result<Value, RunRefusal> {
    match value {
        Value::String(template) => match whole(template) {
            Some(placeholder) if placeholder.kind() == PlaceholderKind::Block => {
                block_value(&placeholder, template, blocks)
            }
            _ => inline_blocks(template, blocks),
        },
        Value::Array(items) => items.iter().map(|item| resolve_block(item, blocks)).collect(),
        Value::Object(map) => match document_id(map) {
            Some(id) => document(&BlockReference::Id(id), blocks).cloned().map(Value::Object),
            None => each(map, |value| resolve_block(value, blocks)).map(Value::Object),
        },
        other => Ok(other.clone()),
    }
}

fn inline_blocks(template: &str, blocks: &Blocks) -> Result<Value, RunRefusal> {
    let replaced = substitute(template, |placeholder| {
        if placeholder.kind() != PlaceholderKind::Block {
            return Ok(None);
        }
        match block_value(placeholder, template, blocks)? {
            value @ (Value::Object(_) | Value::Array(_)) => Err(RunRefusal(format!(
                "ValueError: Invalid template: {}. Block placeholder {} resolved to a {}, which cannot be used for \
                 inline string substitution. Resolve a scalar attribute instead (e.g., '.value' or '.url').",
                text_repr(template),
                text_repr(placeholder.written),
                type_name(&value),
            ))),
            scalar => Ok(Some(text(&scalar))),
        }
    })?;
    Ok(Value::String(replaced))
}

fn block_value(placeholder: &Placeholder<'_>, template: &str, blocks: &Blocks) -> Result<Value, RunRefusal> {
    let Some((reference, path)) = block(placeholder) else {
        return Err(RunRefusal(format!(
            "ValueError: Invalid block placeholder format: {}. Expected format: \
             prefect.blocks.<block-type-slug>.<block-document-name>",
            format_args!("'{}'", placeholder.name),
        )));
    };
    let data = document(&reference, blocks)?;
    let names_value = path.as_deref().is_some_and(|path| {
        path.strip_prefix("value").is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    // Documents of system blocks hold nothing but a value, which is what is meant.
    let unwrapped = data.get("value").filter(|_| data.len() == 1 && !names_value);
    let Some(path) = path else {
        return Ok(unwrapped.cloned().unwrap_or_else(|| Value::Object(data.clone())));
    };
    let found = match unwrapped {
        None => template::value_at(data, &path),
        Some(value) => template::value_in(value, &path),
    };
    found.ok_or_else(|| {
        RunRefusal(format!(
            "ValueError: Invalid template: {}. Could not resolve the keypath in the block document data.",
            text_repr(template)
        ))
    })
}

fn document<'a>(reference: &BlockReference, blocks: &'a Blocks) -> Result<&'a Map<String, Value>, RunRefusal> {
    blocks.get(reference).and_then(Option::as_ref).ok_or_else(|| {
        let which = match reference {
            BlockReference::Named { type_slug, name } => format!("'{name}' of type '{type_slug}'"),
            BlockReference::Id(id) => format!("ID '{id}'"),
        };
        RunRefusal(format!(
            "ObjectNotFound: Block not found: {which}. This block was referenced in your deployment or work pool \
             configuration but no longer exists. It may have been deleted. Please check your configuration or create a \
             new block."
        ))
    })
}

/// Names of the variables that a configuration refers to. Blocks are resolved first: their values may hold some.
pub fn variable_names(configuration: &Map<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    configuration.values().for_each(|value| find_variables(value, &mut found));
    found
}

fn find_variables(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => found.extend(placeholders(text).filter_map(|placeholder| variable(&placeholder))),
        Value::Array(items) => items.iter().for_each(|item| find_variables(item, found)),
        Value::Object(map) => map.values().for_each(|value| find_variables(value, found)),
        _ => {}
    }
}

fn variable(placeholder: &Placeholder<'_>) -> Option<String> {
    (placeholder.kind() == PlaceholderKind::Variable).then(|| placeholder.name.replace(VARIABLES, ""))
}

/// The configuration with the values of its variables: a text that is one reference becomes the value with its type,
/// inside other text it is written as Python does. A variable that is not there is an empty text.
pub fn resolve_variables(configuration: &Map<String, Value>, variables: &Variables) -> Map<String, Value> {
    configuration.iter().map(|(key, value)| (key.clone(), resolve_variable(value, variables))).collect()
}

fn resolve_variable(value: &Value, variables: &Variables) -> Value {
    let read = |name: &str| variables.get(name).and_then(Option::as_ref);
    match value {
        Value::String(template) => {
            if let Some(name) = whole(template).as_ref().and_then(variable) {
                return read(&name).cloned().unwrap_or_else(|| Value::String(String::new()));
            }
            let replaced = substitute(template, |placeholder| {
                let value = |name: String| read(&name).map(text).unwrap_or_default();
                Ok::<_, std::convert::Infallible>(variable(placeholder).map(value))
            });
            match replaced {
                Ok(text) => Value::String(text),
                Err(never) => match never {},
            }
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| resolve_variable(item, variables)).collect()),
        Value::Object(map) => Value::Object(resolve_variables(map, variables)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
