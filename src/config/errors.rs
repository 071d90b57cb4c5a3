//! What is wrong with a configuration: every place of it, in one message.

use std::borrow::Cow;
use std::fmt;

/// So many wrong places are told in one message: who has mended these sees the rest.
const MAX_TOLD: usize = 20;
/// A longer part of a message is cut.
const MAX_CHARACTERS: usize = 1000;

/// One wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a key path such as `run_task_kwargs.overrides`, an environment variable, the name of a secret, or
    /// empty for the text as a whole.
    pub path: String,
    /// What is there, for people; never a secret.
    pub found: String,
    /// What may be there instead.
    pub allowed: String,
}

impl Problem {
    /// A problem of the place at hand; [`Problem::under`] says which place that is.
    pub(super) fn here(found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::at("", found, allowed)
    }

    /// A problem of the place `path`.
    pub(super) fn at(path: impl Into<String>, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { path: path.into(), found: found.into(), allowed: allowed.into() }
    }

    /// The same problem seen from the mapping or list that holds the place: `base` + `[0]`, `base` + `.key`.
    pub(super) fn under(mut self, base: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => base.to_owned(),
            rest if rest.starts_with('[') || base.is_empty() => format!("{base}{rest}"),
            rest => format!("{base}.{rest}"),
        };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", short(&self.path))?;
        }
        write!(f, "found {}; allowed: {}", short(&self.found), short(&self.allowed))
    }
}

/// A text as a message can bear it.
fn short(text: &str) -> Cow<'_, str> {
    if text.chars().nth(MAX_CHARACTERS).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(MAX_CHARACTERS).chain(['…']).collect())
}

/// All that is wrong with one agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the parameter, or path of the file.
    pub parameter: String,
    /// Every wrong place; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return write!(f, "the configuration {} is wrong: {only}", self.parameter);
        }
        write!(f, "the configuration {} is wrong in {} places:", self.parameter, self.problems.len())?;
        for (index, problem) in self.problems.iter().take(MAX_TOLD).enumerate() {
            write!(f, "{} ({}) {problem}", if index == 0 { "" } else { "." }, index + 1)?;
        }
        match self.problems.len().saturating_sub(MAX_TOLD) {
            0 => Ok(()),
            more => write!(f, ". And {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// Several results at once: all values, or all problems.
pub(super) type Parsed<T> = Result<T, Vec<Problem>>;

/// One problem of the place at hand, as the result of a parser.
pub(super) fn refuse<T>(found: impl Into<String>, allowed: impl Into<String>) -> Parsed<T> {
    Err(vec![Problem::here(found, allowed)])
}
