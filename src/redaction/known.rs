//! Which secrets a process knows, from where, and in which forms a text may have them. Pure.

use super::Redaction;
use crate::config::{AgentSecrets, Environment, LoadedAgent, Parameter, Root};
use crate::python_text::tag_slug;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::cmp::Reverse;

/// Variables whose values are secrets: Prefect's, and those that AWS credentials come from.
const VARIABLES: [&str; 9] = [
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT__CLOUD__API_KEY",
    "PREFECT__CLOUD__AUTH_TOKEN",
    "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];

/// The keys of AWS in blocks: not all of them are secret in Prefect's eyes.
const AWS_KEYS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];

/// Keys of a configuration that hold variables of flow runs.
pub(crate) const VARIABLES_OF_RUNS: [&str; 2] = ["env_vars", "worker_env"];

/// Whether a variable is a secret: by its name, or because a password is in its value.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase();
    ["PASSWORD", "SECRET", "TOKEN", "_KEY", "CONNECTION_URL"].iter().any(|end| name.ends_with(end))
        || reqwest::Url::parse(value).is_ok_and(|url| url.password().is_some())
}

impl Redaction {
    /// Knows the secrets of the environment.
    pub fn of_environment(environment: &Environment) -> Self {
        let redaction = Self::default();
        let values = VARIABLES.iter().filter_map(|name| environment.get(*name));
        redaction.know(values.flat_map(|value| with_password(&SecretString::from(value.as_str()))));
        redaction
    }

    /// Makes known what a deployment's parameters hold: everything below `secrets/`, whether an agent uses it or not.
    pub(crate) fn know_parameters(&self, root: &Root, parameters: &[Parameter]) {
        let secrets = root.secrets() + "/";
        let secret = parameters.iter().filter(|parameter| parameter.name.starts_with(&secrets));
        self.know(secret.flat_map(|parameter| {
            if parameter.name.ends_with("/auth-string") {
                with_password(&parameter.value)
            } else {
                vec![parameter.value.clone()]
            }
        }));
    }

    /// Makes known what agents use, wherever it came from, and what stands in the URLs of their APIs.
    pub(crate) fn know_agents(&self, agents: &[LoadedAgent]) {
        for (config, secrets) in agents.iter().filter_map(|agent| agent.result.as_ref().ok()) {
            self.know_agent(secrets);
            self.know_api(&config.api);
        }
    }

    /// Makes known what stands in the URL of an API.
    fn know_api(&self, api: &str) {
        self.know(in_url(api));
    }

    /// Makes known what a configuration says that is a secret, though it should not stand there: the password in the URL of
    /// its API, and variables of flow runs.
    pub(crate) fn know_configuration(&self, configuration: &Value) {
        self.know_api(configuration.get("api").and_then(Value::as_str).unwrap_or_default());
        let variables = VARIABLES_OF_RUNS.iter().filter_map(|key| configuration.get(key)?.as_object()).flatten();
        let texts = variables.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let secrets = texts.filter(|(name, value)| is_secret(name, value));
        self.know(secrets.flat_map(|(_, value)| [vec![SecretString::from(value)], in_url(value)]).flatten());
    }

    /// Makes known what an agent uses.
    pub(crate) fn know_agent(&self, secrets: &AgentSecrets) {
        self.know(secrets.iter().map(|secret| secret.value.clone()).chain(secrets.header_values().cloned()));
        self.know(secrets.auth_string.iter().flat_map(|secret| with_password(&secret.value)));
    }
}

/// A secret, and the password in it if it is `user:password`.
fn with_password(secret: &SecretString) -> Vec<SecretString> {
    let password = secret.expose_secret().trim().split_once(':').map(|(_, password)| SecretString::from(password));
    [Some(secret.clone()), password].into_iter().flatten().collect()
}

/// Password of a URL, and what goes into `Authorization` for it.
fn in_url(api: &str) -> Vec<SecretString> {
    let Ok(url) = reqwest::Url::parse(api) else { return Vec::new() };
    let Some(password) = url.password() else { return Vec::new() };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let both = format!("{}:{}", decoded(url.username()), decoded(password));
    [password.to_owned(), decoded(password), both].map(SecretString::from).into()
}

/// The secret values of a block document as the API answers it: what its schema calls secret, and the keys of AWS
/// wherever they stand. Where the answer does not tell the schema, all values are secret.
pub(crate) fn secrets_of_block(document: &Map<String, Value>) -> Vec<SecretString> {
    let Some(data) = document.get("data") else { return Vec::new() };
    let mut found = Vec::new();
    let mut keep = |text: &str| found.push(SecretString::from(text));
    let fields = document.get("block_schema").and_then(|schema| schema.get("fields")).and_then(Value::as_object);
    match fields.and_then(|fields| fields.get("secret_fields")).map(|paths| paths.as_array()) {
        Some(Some(paths)) => {
            for path in paths.iter().filter_map(Value::as_str) {
                at(data, path, &mut |value| leaves(value, &mut keep));
            }
        }
        // A schema without secrets says nothing of them.
        None if fields.is_some() => {}
        _ => leaves(data, &mut keep),
    }
    aws_keys(data, &mut keep);
    found
}

/// The values at a dotted path; `*` is every key, and lists are gone through.
fn at(value: &Value, path: &str, found: &mut impl FnMut(&Value)) {
    if let Value::Array(items) = value {
        for item in items {
            at(item, path, found);
        }
        return;
    }
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Value::Object(map) = value else { return };
    for (_, inner) in map.iter().filter(|(key, _)| first == "*" || *key == first) {
        match rest {
            Some(rest) => at(inner, rest, found),
            None => found(inner),
        }
    }
}

/// The keys of AWS wherever they stand in a run's configuration, also where no block brings them.
pub(crate) fn aws_keys_of(configuration: &Map<String, Value>) -> Vec<SecretString> {
    let mut found = Vec::new();
    configuration.iter().for_each(|(key, value)| aws_key(key, value, &mut |text| found.push(SecretString::from(text))));
    found
}

fn aws_key(key: &str, value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if AWS_KEYS.contains(&key) => found(text),
        other => aws_keys(other, found),
    }
}

fn aws_keys(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| aws_keys(item, found)),
        Value::Object(map) => map.iter().for_each(|(key, inner)| aws_key(key, inner, found)),
        _ => {}
    }
}

// The forms in which a text may have a secret. Pure.

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
fn leaves(value: &Value, found: &mut impl FnMut(&str)) {
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
