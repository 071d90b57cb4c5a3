//! The nouns that all modules share. Nothing here imports another module.

pub mod run;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// A JSON object, its keys in the order in which they came.
pub(crate) type Object = Map<String, Value>;

/// What kind of trouble a poll had: safe to show to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The configuration is wrong.
    Configuration,
    /// The Prefect API cannot be reached or does not answer.
    ApiUnreachable,
    /// The Prefect API refused the credentials.
    Unauthorised,
    /// The Prefect API asks for fewer requests.
    Throttled,
    /// Prefect is in maintenance: nobody's failure.
    Maintenance,
    /// The Prefect API answered with an error.
    ApiError,
    /// AWS refused the agent's own calls (permissions, cluster, network, credentials).
    Aws,
    /// What starts flow runs on this machine refused the agent itself.
    Platform,
    /// Parameter Store could not be read or written.
    ParameterStore,
    /// No time was left.
    Deadline,
    /// A bug of this program.
    Internal,
}

impl ErrorKind {
    /// Trouble that maintenance explains: what is on the other side of the API.
    pub fn is_explained_by_maintenance(self) -> bool {
        matches!(self, Self::ApiUnreachable | Self::Throttled | Self::ApiError | Self::Deadline)
    }
}

/// Why an agent cannot be set up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SetupError {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

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

    /// Whether what was asked for is certain not to have been done. What is not certain is unknown, not undone.
    pub fn is_certainly_not_done(&self) -> bool {
        match self {
            // A client error or an unfollowed redirect is said before anything is done; a time-out that a server (408) or
            // a gateway (499, 5xx) tells of may come after it.
            Self::Status { status, .. } => (300..500).contains(status) && !matches!(status, 408 | 499),
            Self::NoAnswer(_) | Self::Malformed(_) => false,
            Self::Unreachable { .. }
            | Self::NoTime
            // Whoever is in maintenance does nothing. A claim that was made all the same is finished like any without a
            // task.
            | Self::Maintenance { .. }
            | Self::Unauthorised(_)
            | Self::Throttled { .. }
            | Self::Refused { .. }
            | Self::NotOurs(_)
            | Self::Configuration(_) => true,
        }
    }
}

/// For messages: `, and wants to be asked again in 7 s`.
pub(crate) fn in_words(retry_after: Option<Duration>) -> String {
    let words = |asked: Duration| format!(", and wants to be asked again in {} s", asked.as_secs_f64().ceil());
    retry_after.map(words).unwrap_or_default()
}

/// A run that cannot be launched because of what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunRefusal(pub String);

/// Why a run has no launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// Never, as the run stands.
    Refused(RunRefusal),
    /// What the run belongs to is gone: it is ended as Cancelled, with this message.
    Gone(String),
    /// Not now: something it refers to cannot be read at the moment.
    NotNow(String),
    /// Not now: what the API says of something that it refers to cannot be understood. That is the agent's trouble.
    NotUnderstood(String),
}

impl RenderError {
    /// `what` could not be read.
    pub fn unread(what: &str, error: &ApiError) -> Self {
        let reason = format!("{what} cannot be read: {error}");
        if matches!(error, ApiError::Malformed(_)) { Self::NotUnderstood(reason) } else { Self::NotNow(reason) }
    }
}

/// An agent's registration with Prefect, and what it was registered for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Id that the API gave the agent.
    pub agent_id: String,
    /// Tenant it was registered with; `None` in token mode.
    pub tenant_id: Option<String>,
    /// Fingerprint of all that makes the identity (API, name, type, labels, version, configuration id, key); never a secret itself.
    pub identity: String,
    /// Settings fetched from the backend for `agent_config_id`, honoured until fetched again.
    #[serde(default)]
    pub settings: Option<serde_json::Value>,
}
