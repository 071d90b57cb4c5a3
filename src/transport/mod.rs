//! What the ways to both Prefect APIs have in common: time limits, repetitions, headers, errors.

pub(crate) mod retries;
pub(crate) mod shape;

use crate::config::AgentSecrets;
use crate::http::{Answer, SendError};
use crate::model::ApiError;
use crate::panics::lock;
use crate::redaction::CUT;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use secrecy::ExposeSecret;
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

// Headers of a request, and URLs as people see them.

/// A value that a header may have.
pub(crate) fn header(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).ok()
}

/// `Authorization`; it shows in no debug text.
pub(crate) fn authorization(value: &str) -> Result<HeaderValue, ApiError> {
    let mut value = header(value).ok_or_else(|| unprintable("authorization"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Further headers that people configured; their values show in no debug text.
pub(crate) fn further_headers(secrets: &AgentSecrets) -> Result<HeaderMap, ApiError> {
    let mut headers = HeaderMap::new();
    for (name, value) in secrets.client_headers.iter().flat_map(|headers| &headers.headers) {
        let mut value = header(value.expose_secret()).ok_or_else(|| unprintable(name.as_str()))?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

/// Puts further headers in; they replace those of the same name, as in Prefect's own client.
pub(crate) fn add_headers(headers: &mut HeaderMap, further: &HeaderMap) {
    for (name, value) in further {
        headers.insert(name.clone(), value.clone());
    }
}

/// Names the header, never its value.
pub(crate) fn unprintable(name: &str) -> ApiError {
    ApiError::Configuration(format!(
        "what is configured for the HTTP header {name} holds characters no header may have"
    ))
}

/// A URL for people: without `user:password@` and query.
pub(crate) fn without_userinfo(api: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(api) else { return "the configured URL".into() };
    // A URL that cannot have a user has none to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

// What a failed exchange means to the one who asked.

/// How much of a body that is no JSON an error shows.
const EXCERPT_CHARS: usize = 300;

/// Why there is no answer. `shown` stands for the API's URL.
fn explain(error: SendError, shown: &str) -> ApiError {
    match error {
        SendError::Impossible(reason) => ApiError::Configuration(format!("api: {shown}: {reason}")),
        SendError::NoTime => ApiError::NoTime,
        SendError::NotSent(reason) => ApiError::Unreachable { api: shown.to_owned(), reason },
        SendError::NoAnswer { reason, timed_out: true } => ApiError::NoAnswer(format!("timed out: {reason}")),
        SendError::NoAnswer { reason, .. } => ApiError::NoAnswer(reason),
        SendError::TooLong(most) => ApiError::Malformed(format!("longer than {} MiB", most / 1024 / 1024)),
    }
}

/// Where an answer sends whoever asked, if it does so.
pub(crate) fn location(answer: &Answer) -> Option<String> {
    let location = answer.headers.get(LOCATION).filter(|_| (300..400).contains(&answer.status))?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// A redirect that is not followed: another host must not get the credential, and another method is another request.
/// `path` follows the API's URL in what was asked for.
pub(crate) fn redirected(status: u16, location: &str, api: &str, path: &str) -> ApiError {
    let asked = format!("{api}{path}");
    let target = Url::parse(&asked).and_then(|asked| asked.join(location));
    let Ok(target) = target else {
        let shown = without_userinfo(api);
        return ApiError::Configuration(format!("api: {shown} answers HTTP {status}, which leads nowhere"));
    };
    let (shown, target) = (without_userinfo(api), without_userinfo(target.as_str()));
    let path = path.split('?').next().unwrap_or_default();
    let moved = target.strip_suffix(path.trim_end_matches('/')).unwrap_or(&target);
    ApiError::Configuration(format!(
        "api: {shown} answers HTTP {status} and sends to {}. If the Prefect API is there now, write `api: {}`; if that is \
         a page to log in, whatever stands before the API does not let the agent in",
        bounded(&target),
        bounded(moved),
    ))
}

fn bounded(url: &str) -> String {
    url.chars().take(EXCERPT_CHARS).collect()
}

/// The beginning of a body, in one line. A cut is marked, so that the beginning of a secret before it can be told.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let beginning = body.get(..EXCERPT_CHARS * 4).unwrap_or(body);
    let text = String::from_utf8_lossy(beginning).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut excerpt: String = text.chars().take(EXCERPT_CHARS).collect();
    if excerpt.len() < text.len() || beginning.len() < body.len() {
        excerpt = excerpt.chars().take(EXCERPT_CHARS - 1).chain([CUT]).collect();
    } else if excerpt.is_empty() {
        excerpt.push_str("(empty body)");
    }
    excerpt
}

/// Why a body is no JSON. A page is quoted, since its text says who has answered. Whatever else came may hold secrets.
pub(crate) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'<') => format!("no JSON: {}", excerpt(body)),
        Some(_) => format!("broken JSON of {} bytes: {error}", body.len()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn only_a_page_is_quoted() {
        let said = |body: &[u8]| not_json(body, &serde_json::from_slice::<Value>(body).unwrap_err());
        assert_eq!(said(b" <h1>Sign in</h1>"), "no JSON: <h1>Sign in</h1>");
        assert_eq!(said(b""), "no JSON: (empty body)");
        for secret in [&b"{\"a\": \"hunter2"[..], b"\xff\xfe{\"a\": \"hunter2\"}", b"hunter2", b"[\"hunter2\"]]"] {
            let said = said(secret);
            assert!(said.starts_with("broken JSON of ") && !said.contains("hunter2"), "{said}");
        }
    }
}
