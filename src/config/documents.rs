//! Text → document.

use super::errors::{Parsed, refuse};
use super::values::kind;
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

/// A YAML or JSON text (JSON is YAML) that is one mapping.
pub(super) fn mapping(text: &str) -> Parsed<Map<String, Value>> {
    match parse::<Value>(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => refuse(kind(&other), "a mapping (`key: value` lines, or a JSON object)"),
        Err(found) => refuse(found, "one YAML or JSON document"),
    }
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

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        // YAML 1.2: `on`, `no` and `y` are texts; numbers that lose something when read as such are texts too.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // The text around an error may hold values that nobody should print.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| format!(" (line {}, column {})", at.line(), at.column()));
        let message = error.without_snippet().to_string();
        let place = place.filter(|_| !message.contains("line "));
        format!("a text that cannot be read: {message}{}", place.unwrap_or_default())
    })
}
