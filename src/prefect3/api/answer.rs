//! What an HTTP answer says. Pure.

use crate::model::{ApiError, in_words};
use crate::transport::errors::{Again, excerpt, not_json};
use crate::transport::shape::{self, at, items_at};
use bytes::Bytes;
use serde_json::{Map, Value};

/// What a server says where it has no such route.
const NO_ROUTE: &str = "Not Found";
/// Characters of a server's reason at most.
const MAX_SAID_CHARS: usize = 2000;
/// Characters of a request's name in an error at most.
const MAX_ASKED_CHARS: usize = 200;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JsonAnswer {
    /// What was asked, for people: method and path.
    asked: String,
    body: Bytes,
}

impl JsonAnswer {
    /// The same, as the answer to this.
    pub(super) fn to(self, method: &str, path: &str) -> Self {
        Self { asked: format!("{method} {path}").chars().take(MAX_ASKED_CHARS).collect(), ..self }
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| self.odd(&not_json(&self.body, &error)))
    }

    /// The body as a JSON list.
    pub(super) fn list(&self) -> Result<Vec<Value>, ApiError> {
        shape::list(self.json()?).map_err(|why| self.odd(&why))
    }

    /// The body as a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, ApiError> {
        shape::object(self.json()?).map_err(|why| self.odd(&why))
    }

    /// The body as a text: a JSON string, or as it is.
    pub(super) fn text(&self) -> String {
        match self.json() {
            Ok(Value::String(text)) => text,
            _ => String::from_utf8_lossy(&self.body).trim().to_owned(),
        }
    }

    /// It is not what the API promises.
    pub(super) fn odd(&self, why: &str) -> ApiError {
        ApiError::Malformed(format!("{}: {why}", self.asked))
    }
}

/// Reads an HTTP answer. `again`: what its headers say of when to come again.
pub(super) fn read(status: u16, again: Again, body: Bytes) -> Result<JsonAnswer, ApiError> {
    if (200..300).contains(&status) {
        return Ok(JsonAnswer { asked: String::new(), body });
    }
    let retry_after = again.retry_after;
    if again.maintenance {
        return Err(ApiError::Maintenance { status, retry_after });
    }
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let said = json.as_ref().and_then(reason).map(|said| said.chars().take(MAX_SAID_CHARS).collect::<String>());
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
        let place = items_at(problem, &["loc"]).iter().map(|part| match part {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let place = place.collect::<Vec<_>>().join(".");
        let said = at(problem, &["msg"]).and_then(Value::as_str).map_or_else(|| problem.to_string(), str::to_owned);
        if place.is_empty() { said } else { format!("{place}: {said}") }
    };
    let list = |key: &str| Some(body.get(key)?.as_array()?.iter().map(problem).collect::<Vec<_>>().join("; "));
    let text = |key: &str| body.get(key)?.as_str();
    match (text("detail").or_else(|| text("exception_message")), list("detail").or_else(|| list("exception_detail"))) {
        (Some(said), Some(details)) => Some(format!("{said} {details}")),
        (Some(said), None) => Some(said.to_owned()),
        (None, details) => details,
    }
}

/// Whether the API itself says that there is nothing of that name. A proxy's page and a route that is not there say
/// nothing about it.
pub(super) fn says_absent(status: u16, body: &[u8]) -> bool {
    let said = || reason(&serde_json::from_slice(body).ok()?);
    status == 404 && said().is_some_and(|said| said != NO_ROUTE)
}

/// Whether what was asked for is not there.
pub(super) fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status: 404, .. })
}

/// Whether the server has no such route: an older one, or no Prefect API at all.
pub(super) fn is_no_route(error: &ApiError) -> bool {
    match error {
        ApiError::Status { status: 404, text } => text == NO_ROUTE,
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
