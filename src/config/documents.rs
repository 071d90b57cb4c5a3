//! Text → document.

use super::yaml::{self, parse};
use serde::Deserialize;
use serde_json::Value;
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
