//! Why a run is never launched.

/// A run that cannot be launched because of what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunRefusal(pub String);
