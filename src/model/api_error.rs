//! What can go wrong in talking to a Prefect API.

use super::ErrorKind;
use serde_json::Value;
use std::time::Duration;

/// What went wrong in talking to a Prefect API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// Nothing was sent: no connection.
    #[error("cannot connect to the Prefect API at {api}: {reason}")]
    Unreachable {
        /// The API's base URL.
        api: String,
        /// What the network said.
        reason: String,
    },
    /// Sent, but no complete answer came: the outcome is unknown.
    #[error("no answer from the Prefect API: {0}")]
    NoAnswer(String),
    /// The key or token was refused.
    #[error("the Prefect API refused the credentials: {0}")]
    Unauthorised(String),
    /// Nothing was sent: the invocation's time is up.
    #[error("no time was left in this invocation to ask the Prefect API")]
    NoTime,
    /// Too many requests.
    #[error("the Prefect API asks for fewer requests (HTTP 429){}", in_words(*.retry_after))]
    Throttled {
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Prefect said that it is in maintenance.
    #[error("Prefect is in maintenance (HTTP {status}){}", in_words(*.retry_after))]
    Maintenance {
        /// HTTP status.
        status: u16,
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Another HTTP status than success.
    #[error("the Prefect API answered HTTP {status}: {text}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The first characters of the body.
        text: String,
    },
    /// An answer that is no JSON, or not of the promised shape.
    #[error("the Prefect API's answer cannot be understood: {0}")]
    Malformed(String),
    /// The API understood and said no: its errors (GraphQL errors, REST detail).
    #[error("the Prefect API refused the request: {message}")]
    Refused {
        /// The first error's text.
        message: String,
        /// All of it.
        errors: Value,
    },
    /// The run is not our claim any more, so it was left as it is.
    #[error("{0}; left as it is")]
    NotOurs(String),
    /// What the configuration says does not fit what the API says.
    #[error("{0}")]
    Configuration(String),
}

impl ApiError {
    /// The kind of trouble, for the report and for health.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer(_) => ErrorKind::ApiUnreachable,
            Self::Unauthorised(_) => ErrorKind::Unauthorised,
            Self::NoTime => ErrorKind::Deadline,
            Self::Throttled { .. } => ErrorKind::Throttled,
            Self::Maintenance { .. } => ErrorKind::Maintenance,
            Self::Status { .. } | Self::Malformed(_) | Self::Refused { .. } | Self::NotOurs(_) => ErrorKind::ApiError,
            Self::Configuration(_) => ErrorKind::Configuration,
        }
    }
}

/// For messages: `, and wants to be asked again in 7 s`.
pub(crate) fn in_words(retry_after: Option<Duration>) -> String {
    let words = |asked: Duration| format!(", and wants to be asked again in {} s", asked.as_secs_f64().ceil());
    retry_after.map(words).unwrap_or_default()
}
