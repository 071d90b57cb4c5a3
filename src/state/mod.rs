//! What is remembered in Parameter Store between invocations: the poll counter and the status.

mod delays;
pub mod polls;
pub mod status;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What `{root}/state/{agent}/status` holds. Written by a poll at its end, read by health.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// When the last poll ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_poll: Option<OffsetDateTime>,
    /// When the last poll that succeeded ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_success: Option<OffsetDateTime>,
    /// How many polls there were: the poll counter with `max_polls`, else counted on from the last status.
    #[serde(default)]
    pub polls: u64,
    /// `max_polls` was reached.
    #[serde(default)]
    pub stopped: bool,
    /// Kind of the last poll's error.
    #[serde(default)]
    pub error: Option<ErrorKind>,
    /// Until when Prefect is in maintenance, as the last poll that heard of it was told.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<OffsetDateTime>,
    /// Counts of the last poll.
    #[serde(default)]
    pub counts: Counts,
    /// The remembered registration.
    #[serde(default)]
    pub registration: Option<Registration>,
}

/// How many runs of a poll went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Due runs found.
    pub ready: u64,
    /// Launched or adopted.
    pub launched: u64,
    /// Left for a later poll.
    pub deferred: u64,
    /// Failed for good.
    pub failed: u64,
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
