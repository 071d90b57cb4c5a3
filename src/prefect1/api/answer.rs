//! What a GraphQL answer says. Errors are looked for on every status; `data` may be partly null.

use crate::model::{ApiError, in_words};
use crate::transport::errors::{Again, excerpt, not_json};
use crate::transport::shape::{self, at, described, items_at};
use serde_json::{Map, Value};

/// Characters of an error's message at most.
const MAX_MESSAGE_CHARS: usize = 2000;

/// A successful HTTP answer: data and errors may both be there, one error per refused field.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct GraphqlAnswer {
    /// Fields by alias; a refused field is null or missing.
    pub data: Map<String, Value>,
    /// What was refused.
    pub errors: Vec<GraphqlError>,
}

/// One entry of `errors`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GraphqlError {
    /// For people.
    pub message: String,
    /// `extensions.code`.
    pub code: Option<String>,
    /// First segment of `path`: the alias of the refused field.
    pub alias: Option<String>,
    /// The whole entry.
    pub raw: Value,
}

impl GraphqlError {
    fn read(raw: &Value) -> Self {
        let message = raw.get("message").and_then(Value::as_str).map_or_else(|| raw.to_string(), str::to_owned);
        let message = message.chars().take(MAX_MESSAGE_CHARS).collect();
        let code = at(raw, &["extensions", "code"]).and_then(Value::as_str).map(str::to_owned);
        let alias = items_at(raw, &["path"]).first().and_then(Value::as_str).map(str::to_owned);
        Self { message, code, alias, raw: raw.clone() }
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    fn is_authentication(&self) -> bool {
        self.has_code(&["UNAUTHENTICATED"])
            || self.message.contains("UNAUTHENTICATED")
            || self.message.contains("Malformed Authorization header")
    }
}

impl GraphqlAnswer {
    /// The list in the only field of a request, or in one of several.
    pub(super) fn list(&self, name: &str) -> Result<&[Value], ApiError> {
        let value = self.field(name)?;
        let odd =
            || ApiError::Malformed(format!("`{name}`: a list was expected, but it is {}", described(Some(value))));
        value.as_array().map(Vec::as_slice).ok_or_else(odd)
    }

    /// The value of the only field of a request; any error, or null, is a failure.
    pub(super) fn field(&self, name: &str) -> Result<&Value, ApiError> {
        if !self.errors.is_empty() {
            return Err(refused(&self.errors));
        }
        match self.data.get(name) {
            Some(value) if !value.is_null() => Ok(value),
            _ => Err(ApiError::Malformed(format!("`{name}` is missing"))),
        }
    }

    /// The server had trouble of its own: the same request may work a moment later.
    pub(super) fn is_api_error(&self) -> bool {
        self.errors.iter().any(|error| error.has_code(&["API_ERROR"]))
    }

    /// The document itself was refused, so that nothing of it was carried out.
    pub(super) fn is_validation(&self) -> bool {
        const CODES: &[&str] = &["GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT"];
        self.has_no_data() && self.errors.iter().any(|error| error.alias.is_none() && error.has_code(CODES))
    }

    fn has_no_data(&self) -> bool {
        self.data.values().all(Value::is_null)
    }
}

/// The error of an answer that refused.
pub(super) fn refused(errors: &[GraphqlError]) -> ApiError {
    let message = errors.first().map_or_else(String::new, |error| error.message.clone());
    ApiError::Refused { message, errors: Value::Array(errors.iter().map(|error| error.raw.clone()).collect()) }
}

/// Reads an HTTP answer. `again`: what its headers say of when to come again.
pub(super) fn read(status: u16, again: Again, body: &[u8]) -> Result<GraphqlAnswer, ApiError> {
    let retry_after = again.retry_after;
    if again.maintenance {
        return Err(ApiError::Maintenance { status, retry_after });
    }
    if status == 429 {
        return Err(ApiError::Throttled { retry_after });
    }
    let json = serde_json::from_slice::<Value>(body).map_err(|error| not_json(body, &error)).and_then(shape::object);
    let errors = json.as_ref().map(errors_of).unwrap_or_default();
    let text = || errors.first().map_or_else(|| excerpt(body), |error| error.message.clone());
    if matches!(status, 401 | 403) {
        return Err(ApiError::Unauthorised(format!("HTTP {status}: {}", text())));
    }
    if !(200..300).contains(&status) {
        let no_credentials = errors.iter().find(|error| error.is_authentication());
        return Err(match no_credentials {
            Some(error) => ApiError::Unauthorised(error.message.clone()),
            None if (400..500).contains(&status) && !errors.is_empty() => refused(&errors),
            None => ApiError::Status { status, text: text() + &in_words(retry_after) },
        });
    }
    let data = match json.map_err(ApiError::Malformed)?.shift_remove("data") {
        Some(Value::Object(data)) => data,
        None | Some(Value::Null) if !errors.is_empty() => Map::new(),
        None | Some(Value::Null) => return Err(ApiError::Malformed("neither `data` nor `errors`".into())),
        other => return Err(ApiError::Malformed(format!("`data` is {}", described(other.as_ref())))),
    };
    let answer = GraphqlAnswer { data, errors };
    // Where some fields have data the credentials were good enough, whatever the text of another field's error says.
    match answer.errors.iter().find(|error| error.is_authentication()) {
        Some(error) if answer.has_no_data() => Err(ApiError::Unauthorised(error.message.clone())),
        _ => Ok(answer),
    }
}

/// `errors` as a list, also when it is a lone object or text.
fn errors_of(json: &Map<String, Value>) -> Vec<GraphqlError> {
    match json.get("errors") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(errors)) => errors.iter().map(GraphqlError::read).collect(),
        Some(other) => vec![GraphqlError::read(other)],
    }
}

#[cfg(test)]
mod tests;
