//! What the ways to both Prefect APIs have in common: time limits, pauses, headers, errors.

pub(crate) mod errors;
pub(crate) mod headers;
pub(crate) mod shape;

use crate::panics::lock;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The time that one request may take at most.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

// Until when requests may go on.

/// The end of an invocation's requests.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Mutex<Option<Instant>>);

impl Deadline {
    /// No request goes on beyond `deadline`; `None` = as long as a request may take.
    pub(crate) fn set(&self, deadline: Option<Instant>) {
        *lock(&self.0) = deadline;
    }

    /// How long there is; `None` = the time is up.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let deadline = *lock(&self.0);
        match deadline {
            None => Some(REQUEST_TIMEOUT),
            Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
        }
    }
}
