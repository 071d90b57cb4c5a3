//! Checks of serialised Prefect objects, with the messages of the library (marshmallow) that Prefect loads them with.

use crate::model::RunRefusal;
use crate::python_text::{repr, text, text_repr};
use serde_json::{Map, Value};

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldType {
    /// Text.
    Text,
    /// A boolean, also as the usual words and 0 or 1.
    Flag,
    /// A whole number, also as text.
    Integer,
    /// A list of texts.
    TextList,
    /// An object with any values.
    Mapping,
    /// An object whose values are texts.
    TextMapping,
    /// An object whose values are not null.
    ValueMapping,
    /// Anything.
    Json,
}

/// A field of a serialised object; it may always be left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaField {
    /// Key.
    pub(crate) name: &'static str,
    /// Allowed values.
    pub(crate) kind: FieldType,
    /// `null` is allowed.
    pub(crate) nullable: bool,
}

/// A field that must not be null.
pub(crate) const fn required(name: &'static str, kind: FieldType) -> SchemaField {
    SchemaField { name, kind, nullable: false }
}

/// A field that may be null.
pub(crate) const fn optional(name: &'static str, kind: FieldType) -> SchemaField {
    SchemaField { name, kind, nullable: true }
}

/// The fields that run configs of every type have.
pub(crate) const COMMON: [SchemaField; 2] =
    [optional("env", FieldType::Mapping), required("labels", FieldType::TextList)];

/// The object and its `type`, which tells which fields it has.
pub(crate) fn typed_object(value: &Value) -> Result<(&Map<String, Value>, &str), RunRefusal> {
    let Value::Object(map) = value else {
        let message = format!("Invalid data type: {}", text(value));
        return Err(RunRefusal(format!("{{'_schema': {}}}", text_repr(&message))));
    };
    match map.get("type") {
        None | Some(Value::Null) => Err(type_error("Missing data for required field.")),
        Some(Value::String(name)) => Ok((map, name)),
        Some(unhashable @ (Value::Array(_) | Value::Object(_))) => {
            Err(type_error(&format!("Invalid value: {}", repr(unhashable))))
        }
        Some(other) => Err(unsupported_type(&repr(other))),
    }
}

/// The refusal of a `type` that this Prefect does not know.
pub(crate) fn unsupported_type(name: &str) -> RunRefusal {
    type_error(&format!("Unsupported value: {name}"))
}

fn type_error(message: &str) -> RunRefusal {
    RunRefusal(format!("{{'type': [{}]}}", text_repr(message)))
}

/// Checks every field that is present; unknown keys are ignored. The refusal names all wrong fields.
pub(crate) fn check(object: &Map<String, Value>, fields: &[SchemaField]) -> Result<(), RunRefusal> {
    let errors: Vec<String> = fields
        .iter()
        .filter_map(|field| Some(format!("'{}': {}", field.name, error(object.get(field.name)?, *field)?)))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(RunRefusal(format!("{{{}}}", errors.join(", ")))) }
}

fn error(value: &Value, field: SchemaField) -> Option<String> {
    let wrong = |message: &str| Some(format!("['{message}']"));
    match (field.kind, value) {
        (_, Value::Null) => {
            if field.nullable {
                None
            } else {
                wrong("Field may not be null.")
            }
        }
        (FieldType::Json, _) | (FieldType::Text, Value::String(_)) | (FieldType::Mapping, Value::Object(_)) => None,
        (FieldType::Text, _) => wrong("Not a valid string."),
        (FieldType::Flag, flag) => {
            if is_flag(flag) {
                None
            } else {
                wrong("Not a valid boolean.")
            }
        }
        (FieldType::Integer, number) => {
            if is_integer(number) {
                None
            } else {
                wrong("Not a valid integer.")
            }
        }
        (FieldType::TextList, Value::Array(items)) => {
            let item = |(index, item)| Some(format!("{index}: {}", error(item, required("", FieldType::Text))?));
            nested(items.iter().enumerate().filter_map(item))
        }
        (FieldType::TextList, _) => wrong("Not a valid list."),
        (FieldType::TextMapping, Value::Object(map)) => entries(map, FieldType::Text),
        (FieldType::ValueMapping, Value::Object(map)) => entries(map, FieldType::Json),
        (FieldType::Mapping | FieldType::TextMapping | FieldType::ValueMapping, _) => {
            wrong("Not a valid mapping type.")
        }
    }
}

fn entries(map: &Map<String, Value>, kind: FieldType) -> Option<String> {
    nested(map.iter().filter_map(|(key, value)| {
        Some(format!("{}: {{'value': {}}}", text_repr(key), error(value, required("", kind))?))
    }))
}

fn nested(errors: impl Iterator<Item = String>) -> Option<String> {
    let errors: Vec<_> = errors.collect();
    if errors.is_empty() { None } else { Some(format!("{{{}}}", errors.join(", "))) }
}

fn is_flag(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => ["0", "1", "0.0", "1.0"].contains(&&*number.to_string()),
        Value::String(word) => {
            let lower = word.to_ascii_lowercase();
            let is_known = ["t", "true", "on", "y", "yes", "1", "f", "false", "off", "n", "no", "0"].contains(&&*lower);
            // Only all small, all capital and capitalised words are known.
            is_known
                && word.chars().skip(1).all(|c| c.is_ascii_uppercase() == ends_upper(word))
                && !(ends_upper(word) && word.starts_with(|c: char| c.is_ascii_lowercase()))
        }
        _ => false,
    }
}

fn ends_upper(word: &str) -> bool {
    word.ends_with(|c: char| c.is_ascii_uppercase())
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(digits) => digits.trim().parse::<i64>().is_ok(),
        _ => false,
    }
}
