//! What the ways to both Prefect APIs have in common: time limits, pauses, headers, errors.

pub(crate) mod again;
pub(crate) mod deadline;
pub(crate) mod errors;
pub(crate) mod headers;
pub(crate) mod shape;

pub(crate) use deadline::Deadline;

use std::time::Duration;

/// The time that one request may take at most.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
