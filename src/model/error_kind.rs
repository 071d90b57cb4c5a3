//! What kind of trouble a poll had.

use serde::{Deserialize, Serialize};

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
