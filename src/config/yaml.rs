//! YAML and JSON texts → values, and what is wrong with a text in words for people.
//!
//! YAML 1.2 is read, with words refused that YAML 1.1 takes for something else: see `ambiguity`.

mod ambiguity;
#[cfg(test)]
mod tests;

use super::reader::{Parsed, refuse};
use super::values::kind;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, UserMessageFormatter};

/// A YAML or JSON text that is one mapping and means the same to Prefect's Python. `as_written`: the key at its top whose
/// values are texts as they stand there.
pub(super) fn mapping(text: &str, as_written: Option<&str>) -> Parsed<Map<String, Value>> {
    match value(text, as_written)? {
        Value::Object(map) => Ok(map),
        other => refuse(kind(&other), "a mapping (`key: value` lines, or a JSON object)"),
    }
}

/// The same, whatever it is.
pub(super) fn value(text: &str, as_written: Option<&str>) -> Parsed<Value> {
    let value = read(text).or_else(|found| refuse(found, "one YAML or JSON document"))?;
    // JSON has one meaning only.
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match ambiguity::problems(text, as_written) {
        problems if problems.is_empty() || is_json() => Ok(value),
        problems => Err(problems),
    }
}

/// A text as a value, whatever it is.
fn read(text: &str) -> Result<Value, String> {
    parse(text)
}

/// Reads a text (JSON is YAML), or says what was found instead of one document.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        // YAML 1.2: `on`, `no` and `y` are texts; numbers that lose something when read as such are texts too.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // The text around an error may hold values that nobody should print.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| format!("line {}, column {}: ", at.line(), at.column()));
        format!("a text that cannot be read: {}{}", place.unwrap_or_default(), in_words(error.without_snippet()))
    })
}

/// An error without the words of the library that found it.
fn in_words(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {} twice", super::values::quoted(key)),
        Error::DuplicateMappingKey { key: None, .. } => "a key twice".to_owned(),
        Error::MultipleDocuments { .. } => "a second document: one `---` too many".to_owned(),
        Error::Eof { .. } => "its end, where more was to come".to_owned(),
        Error::UnknownAnchor { .. } => {
            "an alias without its anchor (put a text that begins with `*` in quotes)".to_owned()
        }
        Error::NullIntoString { .. } => "nothing (null) where a text belongs: put `null` and `~` in quotes".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "`<<` with something that is no mapping".to_owned(),
        Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::BytesNotSupportedMissingBinaryTag { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            "a tag (`!…`) that has no meaning here: write the value without it".to_owned()
        }
        Error::NonFiniteFloat { .. } => "a number that is none or too large (put a text in quotes)".to_owned(),
        Error::Budget { breach, .. } => too_much(breach),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "aliases (`*name`) that come to far too much".to_owned(),
        Error::AliasError { error, .. } => in_words(error),
        other => plain(&other.render_with_formatter(&UserMessageFormatter)),
    }
}

fn too_much(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => "values nested too deep".to_owned(),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => "too many values for one document".to_owned(),
        BudgetBreach::Documents { .. } => "too many documents: it must be one".to_owned(),
        _ => "more than one document may hold".to_owned(),
    }
}

/// What the library says to people, without the place, which was told before.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    match message.rfind(" at line ").or_else(|| message.rfind(" (line ")) {
        Some(end) => message.get(..end).unwrap_or(message).to_owned(),
        None => message.to_owned(),
    }
}
