//! The forms in which a text may have a secret. Pure.

use crate::slug::tag_slug;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::cmp::Reverse;

/// Secrets of so many characters are looked for everywhere.
const LONG: usize = 6;
/// Shorter ones only where they are words of their own, down to this.
const WORD: usize = 3;
/// Parts between white space are looked for from here on: a text may have a line or a word of a secret.
const PART: usize = 8;

/// One form of a secret. The longest come first.
#[derive(Debug, Clone)]
pub(super) struct Form(SecretString);

impl Form {
    pub(super) fn of(text: &str) -> Self {
        Self(text.into())
    }

    pub(super) fn text(&self) -> &str {
        self.0.expose_secret()
    }

    pub(super) fn is_long(&self) -> bool {
        self.text().chars().nth(LONG - 1).is_some()
    }

    pub(super) fn is_word(&self) -> bool {
        !self.is_long() && self.text().chars().nth(WORD - 1).is_some()
    }

    fn key(&self) -> (Reverse<usize>, &str) {
        (Reverse(self.text().len()), self.text())
    }
}

impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Form {}

impl PartialOrd for Form {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Form {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// The forms of a secret, without white space at its ends: as it is, as it is written inside JSON and debug texts, in
/// one line, in base64, in a URL, in a tag, its longer parts between white space; and if it is a JSON object or list, the
/// texts in it.
pub(super) fn forms(secret: &SecretString) -> Vec<Form> {
    let text = secret.expose_secret().trim();
    let mut forms = Vec::new();
    collect(text, &mut forms);
    if text.starts_with(['{', '[']) {
        leaves(&serde_json::from_str(text).unwrap_or_default(), &mut |leaf| collect(leaf, &mut forms));
    }
    forms
}

fn collect(text: &str, forms: &mut Vec<Form>) {
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    forms.push(Form::of(text));
    let words: Vec<&str> = text.split_whitespace().collect();
    let others = [
        within_quotes(&Value::from(text).to_string()),
        within_quotes(&format!("{text:?}")),
        words.join(" "),
        aws_smithy_types::base64::encode(text).trim_end_matches('=').to_owned(),
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        tag_slug(text),
    ];
    // A short secret has its other forms too; those are looked for only where they are long enough to be told.
    forms.extend(others.iter().map(|other| Form::of(other)).filter(Form::is_long));
    if words.len() > 1 {
        let long = words.iter().filter(|word| word.chars().nth(PART - 1).is_some());
        forms.extend(long.map(|word| Form::of(word)));
    }
}

fn within_quotes(text: &str) -> String {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
}

/// The texts in a value, and its numbers as texts.
pub(super) fn leaves(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Number(number) => found(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(map) => map.values().for_each(|item| leaves(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether what stands at `index` is no part of a longer word.
pub(super) fn is_word_at(text: &str, index: usize, length: usize) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let before = text.get(..index).and_then(|before| before.chars().next_back());
    let after = text.get(index + length..).and_then(|after| after.chars().next());
    !is_letter(before) && !is_letter(after)
}
