//! What the ways to both Prefect APIs have in common: time limits, repetitions, headers, errors.

pub(crate) mod errors;
pub(crate) mod retries;
pub(crate) mod shape;

use crate::config::AgentSecrets;
use crate::model::ApiError;
use crate::panics::lock;
use reqwest::header::{HeaderMap, HeaderValue};
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
