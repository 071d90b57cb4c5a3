//! What an HTTP answer says. Pure.

use crate::orchestrator::ApiError;
use crate::transport::again::{Again, in_words};
use crate::transport::errors::excerpt;
use bytes::Bytes;
use serde_json::Value;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer(Bytes);

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.0).map_err(|_| ApiError::Malformed(format!("no JSON: {}", excerpt(&self.0))))
    }

    /// The body as a JSON list.
    pub(super) fn list(&self) -> Result<Vec<Value>, ApiError> {
        match self.json()? {
            Value::Array(items) => Ok(items),
            _ => Err(ApiError::Malformed(format!("no list: {}", excerpt(&self.0)))),
        }
    }

    /// The body as a text: a JSON string, or as it is.
    pub(super) fn text(&self) -> String {
        match self.json() {
            Ok(Value::String(text)) => text,
            _ => String::from_utf8_lossy(&self.0).trim().to_owned(),
        }
    }
}

/// Reads an HTTP answer. `again`: what its headers say of when to come again.
pub(super) fn read(status: u16, again: Again, body: Bytes) -> Result<Answer, ApiError> {
    if (200..300).contains(&status) {
        return Ok(Answer(body));
    }
    let retry_after = again.retry_after;
    if again.maintenance {
        return Err(ApiError::Maintenance { status, retry_after });
    }
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let said = json.as_ref().and_then(reason);
    let text = || said.clone().unwrap_or_else(|| excerpt(&body));
    Err(match status {
        429 => ApiError::Throttled { retry_after },
        401 | 403 => ApiError::Unauthorised(format!("HTTP {status}: {}", text())),
        ..=399 | 404 | 405 | 408 | 500.. => ApiError::Status { status, text: text() + &in_words(retry_after) },
        _ => match said.clone() {
            Some(message) => ApiError::Refused { message, errors: json.unwrap_or_default() },
            None => ApiError::Status { status, text: text() },
        },
    })
}

/// What a body says of what is wrong: `detail` (a text, or a list of problems) or `exception_message`, with details.
fn reason(body: &Value) -> Option<String> {
    let problem = |problem: &Value| {
        let place = problem["loc"].as_array().into_iter().flatten().map(|part| match part {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let place = place.collect::<Vec<_>>().join(".");
        let said = problem["msg"].as_str().map_or_else(|| problem.to_string(), str::to_owned);
        if place.is_empty() { said } else { format!("{place}: {said}") }
    };
    let list = |value: &Value| Some(value.as_array()?.iter().map(problem).collect::<Vec<_>>().join("; "));
    let message = body["exception_message"].as_str();
    match (body["detail"].as_str().or(message), list(&body["detail"]).or_else(|| list(&body["exception_detail"]))) {
        (Some(said), Some(details)) => Some(format!("{said} {details}")),
        (Some(said), None) => Some(said.to_owned()),
        (None, details) => details,
    }
}

/// Whether what was asked for is not there.
pub(super) fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status: 404, .. })
}

/// Whether the server has no such route: an older one, or no Prefect API at all.
pub(super) fn is_no_route(error: &ApiError) -> bool {
    match error {
        ApiError::Status { status: 404, text } => text == "Not Found",
        ApiError::Status { status, .. } => *status == 405,
        _ => false,
    }
}

/// Whether the server is certain not to have done what was asked.
pub(super) fn is_refused(error: &ApiError) -> bool {
    match error {
        ApiError::Status { status, .. } => *status < 500,
        ApiError::NoAnswer(_) | ApiError::Malformed(_) => false,
        ApiError::Unreachable { .. }
        | ApiError::NoTime
        // Whoever is in maintenance does nothing. A claim that was made all the same is finished like any without a task.
        | ApiError::Maintenance { .. }
        | ApiError::Unauthorised(_)
        | ApiError::Throttled { .. }
        | ApiError::Refused { .. }
        | ApiError::NotOurs(_)
        | ApiError::Configuration(_) => true,
    }
}

#[cfg(test)]
mod tests;
