//! What became of aliased writes: each alias has its own data or its own error.

use super::queries::alias;
use super::transport::{GraphqlAnswer, GraphqlError, refused};
use crate::model::ApiError;
use crate::orchestrator::Claimed;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;

/// Characters of a status that nobody knows.
const MAX_STATUS_CHARS: usize = 40;

/// What became of one state.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// Set.
    Done,
    /// Prefect Cloud stored Queued instead: a concurrency limit.
    Queued(String),
    /// Refused by the server's locks and rules: not set.
    Refused(ApiError),
    /// Not set, for certain: the request was not carried out.
    NotMade(ApiError),
    /// Perhaps set.
    Unknown(ApiError),
}

/// What became of a document's `count` states.
pub(super) fn of_document(answer: Result<GraphqlAnswer, ApiError>, count: usize) -> Vec<Written> {
    match answer {
        Err(error) => vec![of_error(error); count],
        Ok(answer) if answer.is_validation() => vec![Written::NotMade(refused(&answer.errors)); count],
        Ok(answer) => (0..count).map(|index| of_alias(&answer, &alias(index), count)).collect(),
    }
}

/// A request that failed as a whole.
fn of_error(error: ApiError) -> Written {
    let not_made = match &error {
        ApiError::Unreachable { .. }
        | ApiError::NoTime
        // Whoever is in maintenance does nothing. A claim that was made all the same is finished like any without a task.
        | ApiError::Maintenance { .. }
        | ApiError::Unauthorised(_)
        | ApiError::Throttled { .. }
        | ApiError::Refused { .. }
        | ApiError::NotOurs(_)
        | ApiError::Configuration(_) => true,
        // A client error or an unfollowed redirect is said before anything is done; a time-out of a gateway is not.
        ApiError::Status { status, .. } => (300..500).contains(status) && !matches!(status, 408 | 499),
        ApiError::NoAnswer(_) | ApiError::Malformed(_) => false,
    };
    if not_made { Written::NotMade(error) } else { Written::Unknown(error) }
}

fn of_alias(answer: &GraphqlAnswer, alias: &str, count: usize) -> Written {
    let data = answer.data.get(alias).unwrap_or(&Value::Null);
    if let Some(state) = items_at(data, &["states"]).first() {
        return of_status(state);
    }
    let own = |error: &&GraphqlError| match &error.alias {
        Some(path) => path == alias,
        // An error without a path belongs to the only field there is, else to nobody in particular.
        None => count == 1,
    };
    match answer.errors.iter().find(own) {
        Some(error) if is_refusal(error) => Written::Refused(refused(std::slice::from_ref(error))),
        Some(error) => Written::Unknown(refused(std::slice::from_ref(error))),
        None if answer.errors.is_empty() => Written::Unknown(ApiError::Malformed(format!("`{alias}` is missing"))),
        None => Written::Unknown(refused(&answer.errors)),
    }
}

fn of_status(state: &Value) -> Written {
    let message = text_at(state, &["message"]);
    match text_at(state, &["status"]) {
        Some("SUCCESS") => Written::Done,
        Some("QUEUED") => Written::Queued(match message {
            Some(message) => format!("queued by a concurrency limit: {message}"),
            None => "queued by a concurrency limit".into(),
        }),
        status => {
            let status: String = status.unwrap_or("missing").chars().take(MAX_STATUS_CHARS).collect();
            Written::Unknown(ApiError::Malformed(format!("status {status}")))
        }
    }
}

/// Whether the server refused a state because the run's version is another by now.
pub(super) fn is_version_lock(error: &ApiError) -> bool {
    let code =
        |entry: &Value| entry.pointer("/extensions/code").and_then(Value::as_str) == Some("VERSION_LOCKING_ERROR");
    matches!(error, ApiError::Refused { errors, .. } if errors.as_array().is_some_and(|errors| errors.iter().any(code)))
}

/// Another agent has it, its version changed, or there is no such run.
fn is_refusal(error: &GraphqlError) -> bool {
    error.code.as_deref() == Some("VERSION_LOCKING_ERROR") || error.message.contains("State update failed")
}

impl Written {
    /// As the outcome of a claim of one state.
    pub(super) fn claimed(&self) -> Claimed {
        match self {
            Self::Done => Claimed::Ours,
            Self::Queued(reason) => Claimed::Refused(reason.clone()),
            Self::Refused(error) => Claimed::Refused(text(error)),
            Self::NotMade(error) => Claimed::NotMade(error.clone()),
            Self::Unknown(error) => Claimed::Unknown(error.to_string()),
        }
    }

    /// As the outcome of a write that is only good when it was carried out.
    pub(super) fn result(self) -> Result<(), ApiError> {
        match self {
            Self::Done => Ok(()),
            Self::Queued(message) => Err(ApiError::Refused { message, errors: Value::Null }),
            Self::Refused(error) | Self::NotMade(error) | Self::Unknown(error) => Err(error),
        }
    }
}

/// A refusal in the server's own words.
fn text(error: &ApiError) -> String {
    match error {
        ApiError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The claim of a run out of the claims of its states.
///
/// One task run that is ours is enough: the flow run's process takes up its other tasks by itself. The claim keeps the
/// epoch that was observed, of which the mark tells, also when only some task runs could be claimed.
pub(super) fn merged(states: &[Claimed]) -> Claimed {
    let rank = |claimed: &&Claimed| match claimed {
        Claimed::Ours => 3,
        Claimed::Unknown(_) => 2,
        Claimed::NotMade(_) => 1,
        Claimed::Refused(_) => 0,
    };
    // The first of the highest rank: its reason is the one to tell.
    let best = states.iter().rev().max_by_key(rank);
    best.cloned().unwrap_or_else(|| Claimed::Refused("no task run is due any more".into()))
}

#[cfg(test)]
mod tests;
