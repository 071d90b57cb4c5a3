//! Which secrets a process knows, and from where. Pure.

use super::Redaction;
use crate::config::{AgentSecrets, Environment, LoadedAgent, Parameter, Root};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

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
            self.know(in_url(&config.api));
        }
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
                at(data, path, &mut |value| super::forms::leaves(value, &mut keep));
            }
        }
        // A schema without secrets says nothing of them.
        None if fields.is_some() => {}
        _ => super::forms::leaves(data, &mut keep),
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
