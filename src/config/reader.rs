//! Reads a document key by key. What is asked for is what is known: the reader itself reports every other key and what
//! may have been meant, so that the list of known keys cannot drift from the code that reads them.
//! What is wrong is collected: every place of a configuration, told in one message.

use super::Environment;
use super::values::path_key;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use strsim::osa_distance;

/// So many unknown keys get a hint what they may mean.
const MAX_HINTS: usize = 20;

/// What was found for one setting.
#[derive(Debug, PartialEq)]
pub(super) enum KeyValue<T> {
    /// Written nowhere.
    Absent,
    /// Written as null.
    Null,
    /// Written, and right.
    Is(T),
    /// Written, and wrong: its problems are noted.
    Wrong,
}

impl<T> KeyValue<T> {
    /// The value; null counts as not written.
    pub(super) fn ok(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    /// The value or the default; null counts as not written.
    pub(super) fn or(self, default: impl Into<T>) -> T {
        self.ok().unwrap_or_else(|| default.into())
    }

    /// The value of a setting for which null means "none of it".
    pub(super) fn nullable(self, default: Option<T>) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Null => None,
            Self::Absent | Self::Wrong => default,
        }
    }

    /// Nothing is written: a fallback decides.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Absent | Self::Null)
    }
}

/// A document that is being read.
pub(super) struct Reader<'a> {
    document: &'a Map<String, Value>,
    environment: &'a Environment,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Map<String, Value>, environment: &'a Environment) -> Self {
        Self { document, environment, known: Vec::new(), problems: Vec::new() }
    }

    /// Reads one key.
    pub(super) fn key<T>(&mut self, key: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> KeyValue<T> {
        self.known.push(key);
        match self.document.get(key) {
            None => KeyValue::Absent,
            Some(Value::Null) => KeyValue::Null,
            Some(value) => self.parsed(key, parse(value)),
        }
    }

    /// Where the key is not written, an environment variable decides; an empty one counts as not set.
    pub(super) fn fallback<T>(
        &mut self,
        setting: KeyValue<T>,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> KeyValue<T> {
        match self.variable(variable).filter(|_| setting.is_open()) {
            Some(text) => self.parsed(variable, parse(text)),
            None => setting,
        }
    }

    /// Reads one key that must be written.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Parsed<String>,
        allowed: &str,
    ) -> String {
        let setting = self.key(key, parse);
        self.demand(key, setting, allowed)
    }

    /// A setting that must be there.
    pub(super) fn demand(&mut self, key: &'static str, setting: KeyValue<String>, allowed: &str) -> String {
        if setting.is_open() {
            self.problems.push(Problem::at(key, "nothing", allowed));
        }
        setting.or("")
    }

    /// Takes a result, noting its problems under `base`.
    pub(super) fn parsed<T>(&mut self, base: &str, parsed: Parsed<T>) -> KeyValue<T> {
        match parsed {
            Ok(value) => KeyValue::Is(value),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| problem.under(base)));
                KeyValue::Wrong
            }
        }
    }

    /// The value of an environment variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// All environment variables.
    pub(super) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Keys that exist, but not here: known, and refused with `allowed` where `refused` says so.
    pub(super) fn elsewhere(&mut self, keys: &[&'static str], refused: bool, found: &str, allowed: &str) {
        for key in keys {
            self.known.push(key);
            if refused && self.document.contains_key(*key) {
                self.problems.push(Problem::at(*key, found, allowed));
            }
        }
    }

    /// Two keys of which only one may be written.
    pub(super) fn not_both(&mut self, one: &'static str, other: &'static str) {
        let written = |key: &str| self.document.get(key).is_some_and(|value| !value.is_null());
        if written(one) && written(other) {
            let found = format!("both `{one}` and `{other}`");
            self.problems.push(Problem::at(other, found, "only one of the two"));
        }
    }

    /// A key that says nothing without another.
    pub(super) fn only_with(&mut self, one: &'static str, other: &'static str) {
        let written = |key: &str| self.document.get(key).is_some_and(|value| !value.is_null());
        if written(one) && !written(other) {
            let found = format!("`{one}` without `{other}`");
            self.problems.push(Problem::at(one, found, format!("nothing without `{other}`")));
        }
    }

    /// Every problem of the document, the keys nobody asked for among them. Their values are never shown.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.extend(unknown_keys(self.document, &self.known, "the keys of an agent's configuration"));
        self.problems
    }
}

/// The keys of a mapping that are not known, each with what may have been meant.
pub(super) fn unknown(written: &Map<String, Value>, known: &[&'static str]) -> Vec<Problem> {
    unknown_keys(written, known, &known.join(", "))
}

/// `allowed`: for people.
fn unknown_keys(written: &Map<String, Value>, known: &[&'static str], allowed: &str) -> Vec<Problem> {
    let unknown = written.keys().filter(|key| !known.contains(&key.as_str()));
    let problem = |(index, key): (usize, &String)| {
        // Hints take their time, and nobody reads more of them.
        let found = if index < MAX_HINTS { unknown_key(key, known) } else { "an unknown key".to_owned() };
        Problem::at(path_key(key), found, allowed)
    };
    unknown.enumerate().map(problem).collect()
}

// What somebody may have meant who wrote an unknown key.

/// Names of the Python agent's options and of similar things, and what they are called here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("agent_name", "name"),
    ("endpoint", "api"),
    ("env", "env_vars"),
    ("log_level", "logging_level"),
    ("region", "region_name"),
];

/// A longer key resembles none.
const LONGEST_KEY: usize = 100;

/// Keys that people write for a secret.
const SECRETS: &[&str] = &["key", "api_key", "token", "auth_token", "auth_string", "poke_token", "page_token"];

/// Describes an unknown key, with a hint where one can be given.
fn unknown_key(key: &str, known: &[&'static str]) -> String {
    if key.len() > LONGEST_KEY {
        return "an unknown key".to_owned();
    }
    let plain = plain(key);
    if SECRETS.iter().any(|secret| self::plain(secret) == plain) {
        return "an unknown key (a secret is a SecureString parameter of its own, or an environment variable)"
            .to_owned();
    }
    let renamed = OTHER_NAMES.iter().find(|(other, _)| self::plain(other) == plain).map(|(_, name)| *name);
    match renamed.or_else(|| nearest(&plain, known)) {
        Some(name) => format!("an unknown key (did you mean `{name}`?)"),
        None => "an unknown key".to_owned(),
    }
}

/// A key without case and separators: `maxPolls` and `max-polls` are `maxpolls`.
fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The known key that begins like this, else the one with the fewest edits, if these are few.
fn nearest(plain_key: &str, known: &[&'static str]) -> Option<&'static str> {
    let begins = |name: &&&'static str| plain_key.chars().count() >= 4 && plain(name).starts_with(plain_key);
    if let Some(name) = known.iter().find(begins) {
        return Some(name);
    }
    let allowed = (plain_key.chars().count() / 3).min(3);
    let candidates = known.iter().map(|name| (osa_distance(plain_key, &plain(name)), *name));
    candidates.min().filter(|(edits, _)| *edits <= allowed).map(|(_, name)| name)
}

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
