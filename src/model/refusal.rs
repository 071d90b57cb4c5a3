//! Why a run is not launched.

use super::ApiError;

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
