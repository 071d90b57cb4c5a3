//! Secrets blanked wherever a server or a proxy echoes them.

use crate::orchestrator::ApiError;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A shorter secret is not looked for in texts: it would blank ordinary words.
const MIN_REDACTED: usize = 6;

/// What must not be shown.
#[derive(Debug, Default)]
pub(crate) struct Redaction(Vec<SecretString>);

impl Redaction {
    /// Blanks these, without white space at their ends.
    pub(crate) fn of(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let trimmed = secrets.into_iter().map(|secret| SecretString::from(secret.expose_secret().trim()));
        let mut secrets: Vec<_> = trimmed.filter(|secret| secret.expose_secret().len() >= MIN_REDACTED).collect();
        // One that contains another goes first, so that nothing of it is left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(secrets)
    }

    /// A text without them.
    pub(crate) fn text(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| text.replace(secret.expose_secret(), "[redacted]"))
    }

    /// A value without them; names of fields stay.
    pub(crate) fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| (key, self.value(item))).collect(),
            other => other,
        }
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
}
