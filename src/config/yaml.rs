//! YAML and JSON texts → values, and what is wrong with a text in words for people.

use serde::de::DeserializeOwned;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, UserMessageFormatter};

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
