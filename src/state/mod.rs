//! What is remembered in Parameter Store between invocations: the poll counter and the status.

mod delays;
pub mod polls;
pub mod status;

pub use crate::model::{ErrorKind, Registration};
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
