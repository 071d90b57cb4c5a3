//! What a Prefect API answers when a call goes wrong.

use crate::call::Call;
use crate::fault::{Fault, Kind};
use crate::port::Arrival;
use crate::run::RunId;
use prefect_serverless_agent::orchestrator::{ApiError, Claimed};
use serde_json::Value;

/// The fault as the client says it. What the call did all the same does not matter to a reader.
pub(crate) fn api_error<T>((fault, _): (Fault, Option<T>)) -> ApiError {
    error(fault)
}

/// The fault as the client says it.
pub(crate) fn error(fault: Fault) -> ApiError {
    match fault.kind {
        Kind::NotSent => ApiError::Unreachable { api: "http://prefect".into(), reason: "connection refused".into() },
        Kind::Timeout | Kind::Slow => ApiError::NoAnswer("timed out".into()),
        Kind::Dropped => ApiError::NoAnswer("connection reset".into()),
        Kind::TooMany | Kind::Disguised => ApiError::Throttled { retry_after: None },
        Kind::ServerError => ApiError::Status { status: 503, text: "Service Unavailable".into() },
        Kind::Html => ApiError::Malformed("<html>".into()),
        Kind::Malformed | Kind::SaysNothing => ApiError::Malformed("expected value at line 1 column 1".into()),
        Kind::Conflict | Kind::NoCapacity | Kind::Failures => refused("State update failed: it has another version."),
        Kind::Unauthorised => ApiError::Unauthorised("UNAUTHENTICATED".into()),
    }
}

/// The API said no.
pub(crate) fn refused(message: &str) -> ApiError {
    ApiError::Refused { message: message.to_owned(), errors: Value::Null }
}

/// A claim whose request went wrong.
pub(crate) fn claimed(fault: Fault) -> Claimed {
    let error = error(fault);
    match fault.kind {
        Kind::NotSent | Kind::TooMany | Kind::Unauthorised => Claimed::NotMade(error),
        Kind::Conflict => Claimed::Refused(error.to_string()),
        _ => Claimed::Unknown(error.to_string()),
    }
}

impl Arrival<'_> {
    /// The process learns how far these runs are that are due.
    pub fn saw(&mut self, runs: &[RunId]) {
        for run in runs {
            let version = self.world.version(*run);
            let is_cancelled = self.world.phase(*run).is_some_and(|phase| phase.is_cancelled());
            self.world.audit.saw(self.actor, *run, version, self.now, is_cancelled);
        }
    }

    /// The process looks at these runs by this call, to change them.
    pub fn looks_at(&mut self, call: Call, runs: &[RunId]) {
        if call == Call::Reread {
            return self.saw(runs);
        }
        for run in runs {
            let version = self.world.version(*run);
            self.world.audit.looked_at(self.actor, *run, version, self.now);
        }
    }

    /// How many of so many changes are carried out.
    pub fn of(&self, changes: usize) -> usize {
        if self.half { changes / 2 } else { changes }
    }
}
