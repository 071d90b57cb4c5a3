//! What must not be shown, in one place: whatever leaves the process passes it.
//!
//! One [`Redaction`] belongs to a process, and its clones share what they know. Secrets are made known where they are
//! read: the parameters below `secrets/`, the environment, the API's URL ([`known`]), and what the blocks of a run's
//! template bring in. It stands where something is said: log lines and panics (`telemetry`), the report, the
//! answers and errors of the functions, the command's output, dry runs, and the messages of states and run logs that are
//! sent to Prefect. Requests themselves are never altered: a secret goes where it belongs.
//!
//! What counts as a secret in a text: six characters or more, wherever they stand, in each of the forms that a text may
//! have them in ([`forms`]). A shorter one would blank ordinary words; it is only looked for in the bodies of a dry run,
//! where it must be a word of its own (three characters or more) or a whole value.

pub mod known;
#[cfg(test)]
mod tests;

use crate::model::ApiError;
use bytes::Bytes;
use known::{Form, forms, is_word_at};
use secrecy::SecretString;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// What an excerpt ends with when it was cut, maybe in the middle of a secret.
pub(crate) const CUT: char = '…';

/// So much of the beginning of a secret is blanked where a text was cut.
const SHORTEST_BEGINNING: usize = 6;

/// Fields of a log line that no secret gets into, and that must stay as they are for the line to be understood.
const FIXED_FIELDS: [&str; 3] = ["timestamp", "level", "target"];

/// What must not be shown; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Redaction(Arc<RwLock<KnownSecret>>);

#[derive(Debug, Default)]
struct KnownSecret {
    /// Known for the life of the process, in all their forms.
    lasting: BTreeSet<Form>,
    /// What the runs of each agent's current poll bring along.
    brought: HashMap<String, BTreeSet<Form>>,
    /// All of them. The longest come first: of one that contains another nothing may be left.
    all: BTreeSet<Form>,
}

impl Redaction {
    /// Makes secrets known for as long as the process lives.
    pub fn know(&self, secrets: impl IntoIterator<Item = SecretString>) {
        self.add(secrets, |known| &mut known.lasting);
    }

    /// Makes secrets known that runs of an agent bring along, until [`Redaction::forget`].
    pub(crate) fn bring(&self, agent: &str, secrets: impl IntoIterator<Item = SecretString>) {
        self.add(secrets, |known| known.brought.entry(agent.to_owned()).or_default());
    }

    /// Forgets what the runs of an agent's last poll brought along: nothing is said of them any more.
    pub(crate) fn forget(&self, agent: &str) {
        if self.read().brought.contains_key(agent) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.brought.remove(agent);
            known.all = known.brought.values().fold(known.lasting.clone(), |all, brought| &all | brought);
        }
    }

    fn add(
        &self,
        secrets: impl IntoIterator<Item = SecretString>,
        place: impl Fn(&mut KnownSecret) -> &mut BTreeSet<Form>,
    ) {
        let new: BTreeSet<Form> = secrets.into_iter().flat_map(|secret| forms(&secret)).collect();
        if !new.is_empty() {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.all.extend(new.iter().cloned());
            place(&mut known).extend(new);
        }
    }

    /// A text without secrets.
    pub fn text(&self, text: impl Into<String>) -> String {
        let known = self.read();
        let text = known
            .long()
            .fold(text.into(), |text, form| if text.contains(form) { text.replace(form, REDACTED) } else { text });
        known.without_beginnings(text)
    }

    /// A value without secrets, all its texts as by [`Redaction::text`].
    pub fn value(&self, value: Value) -> Value {
        each(value, &|text| self.text(text))
    }

    /// The body of a request as a dry run shows it: short secrets and numbers are looked for too.
    pub(crate) fn shown(&self, value: Value) -> Value {
        match value {
            Value::Number(number) if self.read().is_secret(&number.to_string()) => Value::String(REDACTED.to_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.shown(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| (self.shown_text(key), self.shown(item))).collect(),
            Value::String(text) => Value::String(self.shown_text(text)),
            other => other,
        }
    }

    fn shown_text(&self, text: String) -> String {
        if self.read().is_secret(&text) {
            return REDACTED.to_owned();
        }
        let text = self.text(text);
        self.read().words().fold(text, without_word)
    }

    /// The body of a request to Prefect, without secrets in what is meant for people: the messages of states and of
    /// lines in a run's log. Everything else is sent as it is.
    pub(crate) fn said(&self, body: &Value) -> String {
        let text = body.to_string();
        if self.is_free_of_secrets(&text) { text } else { self.messages(body.clone()).to_string() }
    }

    fn messages(&self, value: Value) -> Value {
        let message = |key: String, item: Value| match item {
            Value::String(text) if key == "message" => (key, Value::String(self.text(text))),
            other => (key, self.messages(other)),
        };
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.messages(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| message(key, item)).collect(),
            other => other,
        }
    }

    /// An answer that an error is going to quote, without secrets: they are blanked before the quotation is cut.
    pub(crate) fn answer(&self, body: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(body);
        if self.is_free_of_secrets(&text) { body.clone() } else { self.text(text).into() }
    }

    /// A line of a log. In one that is a JSON object only texts are changed, so that it stays one.
    pub(crate) fn line<'l>(&self, line: &'l str) -> Cow<'l, str> {
        if self.is_free_of_secrets(line) {
            return Cow::Borrowed(line);
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return Cow::Owned(self.text(line)) };
        let field = |(key, value): (String, Value)| {
            let value = if FIXED_FIELDS.contains(&key.as_str()) { value } else { self.value(value) };
            (key, value)
        };
        let line: Value = fields.into_iter().map(field).collect();
        Cow::Owned(format!("{line}\n"))
    }

    /// An error without them.
    pub(crate) fn error(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Unreachable { api, reason } => ApiError::Unreachable { api, reason: self.text(reason) },
            ApiError::NoAnswer(text) => ApiError::NoAnswer(self.text(text)),
            ApiError::Unauthorised(text) => ApiError::Unauthorised(self.text(text)),
            ApiError::Status { status, text } => ApiError::Status { status, text: self.text(text) },
            ApiError::Malformed(text) => ApiError::Malformed(self.text(text)),
            ApiError::Refused { message, errors } => {
                ApiError::Refused { message: self.text(message), errors: self.value(errors) }
            }
            ApiError::Configuration(text) => ApiError::Configuration(self.text(text)),
            error @ (ApiError::Throttled { .. }
            | ApiError::Maintenance { .. }
            | ApiError::NoTime
            | ApiError::NotOurs(_)) => error,
        }
    }

    fn is_free_of_secrets(&self, text: &str) -> bool {
        !text.contains(CUT) && !self.read().long().any(|form| text.contains(form))
    }

    fn read(&self) -> RwLockReadGuard<'_, KnownSecret> {
        // What is behind the lock is valid after every statement.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownSecret {
    fn long(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|form| form.is_long()).map(Form::text)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|form| form.is_word()).map(Form::text)
    }

    /// Whether a text is a secret and nothing else.
    fn is_secret(&self, text: &str) -> bool {
        self.all.contains(&Form::of(text))
    }

    /// Where a text was cut, it may end in the beginning of a secret.
    fn without_beginnings(&self, mut text: String) -> String {
        let cuts: Vec<usize> = text.match_indices(CUT).map(|(index, _)| index).collect();
        for cut in cuts.into_iter().rev() {
            let Some(before) = text.get(..cut) else { continue };
            let longest = self.long().filter_map(|form| beginning_at_end(before, form)).max();
            if let Some(length) = longest {
                text.replace_range(cut - length..cut, REDACTED);
            }
        }
        text
    }
}

/// How many bytes at the end of a text are the beginning of this secret.
fn beginning_at_end(text: &str, form: &str) -> Option<usize> {
    let lengths = form.char_indices().map(|(index, _)| index).skip(SHORTEST_BEGINNING);
    lengths.filter(|length| form.get(..*length).is_some_and(|beginning| text.ends_with(beginning))).last()
}

/// The text without this word where it stands by itself.
fn without_word(text: String, word: &str) -> String {
    let places: Vec<usize> = text.match_indices(word).map(|(index, _)| index).collect();
    let alone = places.into_iter().rev().filter(|index| is_word_at(&text, *index, word.len()));
    let alone: Vec<usize> = alone.collect();
    alone.into_iter().fold(text, |mut text, index| {
        text.replace_range(index..index + word.len(), REDACTED);
        text
    })
}

fn each(value: Value, change: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.into_iter().map(|item| each(item, change)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (change(key), each(item, change))).collect(),
        other => other,
    }
}
