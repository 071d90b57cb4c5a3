//! GraphQL over HTTP: headers, time limits, small retries of reads, and errors without secrets.

use super::answer::{self, Answer, GraphqlError};
use super::document::Document;
use crate::http_client::{self, SendError};
use crate::orchestrator::ApiError;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time that one request may take at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Pauses before the repetitions of a read.
const READ_RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// A shorter secret is not looked for in texts: it would blank ordinary words.
const MIN_REDACTED: usize = 6;

const TENANT_HEADER: &str = "x-prefect-tenant-id";
const CORE_VERSION_HEADER: &str = "x-prefect-core-version";
const AGENT_ID_HEADER: &str = "x-prefect-agent-id";

/// Whom a request comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sender<'a> {
    /// Only with an API key.
    pub tenant_id: Option<&'a str>,
    /// Known after registration.
    pub agent_id: Option<&'a str>,
}

/// The way to one Prefect API with one credential.
pub(super) struct Transport {
    client: reqwest::Client,
    url: String,
    shown_url: String,
    authorization: Option<HeaderValue>,
    credential: Option<SecretString>,
    core_version: &'static str,
    deadline: Mutex<Option<Instant>>,
}

impl Transport {
    /// `api` is the base URL without a trailing slash; `credential` an API key or a token.
    pub(super) fn new(
        client: reqwest::Client,
        api: &str,
        credential: Option<SecretString>,
        core_version: &'static str,
    ) -> Result<Self, ApiError> {
        let authorization = credential.as_ref().map(authorization).transpose()?;
        let (url, shown_url) = (api.to_owned(), without_userinfo(api));
        Ok(Self { client, url, shown_url, authorization, credential, core_version, deadline: Mutex::new(None) })
    }

    /// No request goes on beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// Opens a connection ahead of its first use, if that takes a TLS handshake. It says nothing of who asks, any answer
    /// will do, and so will none.
    pub(super) async fn warm_up(&self) {
        if !self.url.starts_with("https:") {
            return;
        }
        let asked = self.client.get(&self.url).timeout(REQUEST_TIMEOUT).send().await.map_err(http_client::classify);
        let answered = match asked {
            // Read to its end, so that the connection can be used again.
            Ok(response) => http_client::body(response).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::debug!(api = self.shown_url, ?error, "no connection yet");
        }
    }

    /// Sends what changes nothing, or nothing when repeated. Repeated up to twice, at once, after a failed or broken
    /// connection, 502, 503, 504 and `API_ERROR`; never after "too many requests".
    pub(super) async fn read(&self, sender: Sender<'_>, document: &Document) -> Result<Answer, ApiError> {
        for pause in READ_RETRIES {
            let (answer, again) = self.attempt(sender, document).await;
            if !again || self.time_left().is_none_or(|left| left <= pause) {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
        self.attempt(sender, document).await.0
    }

    /// Sends a write, once.
    pub(super) async fn write(&self, sender: Sender<'_>, document: &Document) -> Result<Answer, ApiError> {
        self.attempt(sender, document).await.0
    }

    /// One exchange, and whether a read may be repeated.
    async fn attempt(&self, sender: Sender<'_>, document: &Document) -> (Result<Answer, ApiError>, bool) {
        let (answer, again) = match self.exchange(sender, document).await {
            Ok(answer) => {
                let again = answer.is_api_error();
                (Ok(answer), again)
            }
            Err(Trouble::Sending(error)) => {
                let again = matches!(error, SendError::NotSent(_) | SendError::NoAnswer { timed_out: false, .. });
                (Err(self.explain(error)), again)
            }
            Err(Trouble::Api(error)) => {
                let again = matches!(error, ApiError::Status { status: 502..=504, .. });
                (Err(error), again)
            }
        };
        (self.redacted(answer), again)
    }

    async fn exchange(&self, sender: Sender<'_>, document: &Document) -> Result<Answer, Trouble> {
        let left = self.time_left().ok_or_else(|| Trouble::Sending(SendError::NotSent("no time is left".into())))?;
        let request = self
            .client
            .post(&self.url)
            .headers(self.headers(sender)?)
            .timeout(left.min(REQUEST_TIMEOUT))
            .body(document.body().to_string());
        let response = request.send().await.map_err(|error| Trouble::Sending(http_client::classify(error)))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = http_client::body(response).await.map_err(Trouble::Sending)?;
        answer::read(status, retry_after, &body).map_err(Trouble::Api)
    }

    fn headers(&self, sender: Sender<'_>) -> Result<HeaderMap, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CORE_VERSION_HEADER, HeaderValue::from_static(self.core_version));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in [(TENANT_HEADER, sender.tenant_id), (AGENT_ID_HEADER, sender.agent_id)] {
            if let Some(value) = value {
                headers.insert(name, header(value).ok_or_else(|| Trouble::Api(unprintable(name)))?);
            }
        }
        Ok(headers)
    }

    /// `None` = the time is up.
    fn time_left(&self) -> Option<Duration> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        match deadline {
            None => Some(REQUEST_TIMEOUT),
            Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
        }
    }

    fn explain(&self, error: SendError) -> ApiError {
        match error {
            SendError::Impossible(reason) => ApiError::Configuration(format!("api: {}: {reason}", self.shown_url)),
            SendError::NotSent(reason) => ApiError::Unreachable { api: self.shown_url.clone(), reason },
            SendError::NoAnswer { reason, timed_out: true } => ApiError::NoAnswer(format!("timed out: {reason}")),
            SendError::NoAnswer { reason, .. } => ApiError::NoAnswer(reason),
            SendError::TooLong => ApiError::Malformed("longer than 20 MiB".into()),
        }
    }

    /// The same, with the credential blanked wherever a server or proxy echoed it in an error.
    fn redacted(&self, answer: Result<Answer, ApiError>) -> Result<Answer, ApiError> {
        let secret = self.credential.as_ref().map(|credential| credential.expose_secret().trim());
        let Some(secret) = secret.filter(|secret| secret.len() >= MIN_REDACTED) else { return answer };
        let clean = |text: String| text.replace(secret, "[redacted]");
        match answer {
            Ok(answer) => {
                let errors = answer.errors.into_iter().map(|error| GraphqlError {
                    message: clean(error.message),
                    raw: clean_value(error.raw, &clean),
                    ..error
                });
                Ok(Answer { data: answer.data, errors: errors.collect() })
            }
            Err(ApiError::Unreachable { api, reason }) => Err(ApiError::Unreachable { api, reason: clean(reason) }),
            Err(ApiError::NoAnswer(text)) => Err(ApiError::NoAnswer(clean(text))),
            Err(ApiError::Unauthorised(text)) => Err(ApiError::Unauthorised(clean(text))),
            Err(ApiError::Status { status, text }) => Err(ApiError::Status { status, text: clean(text) }),
            Err(ApiError::Malformed(text)) => Err(ApiError::Malformed(clean(text))),
            Err(ApiError::Refused { message, errors }) => {
                Err(ApiError::Refused { message: clean(message), errors: clean_value(errors, &clean) })
            }
            Err(ApiError::Configuration(text)) => Err(ApiError::Configuration(clean(text))),
            Err(error @ (ApiError::Throttled { .. } | ApiError::NotOurs(_))) => Err(error),
        }
    }
}

/// Why there is no [`Answer`].
enum Trouble {
    Sending(SendError),
    Api(ApiError),
}

fn authorization(credential: &SecretString) -> Result<HeaderValue, ApiError> {
    let value = format!("Bearer {}", credential.expose_secret().trim());
    let mut value = header(&value).ok_or_else(|| unprintable("authorization"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).ok()
}

/// Names the header, never its value.
fn unprintable(name: &str) -> ApiError {
    ApiError::Configuration(format!(
        "what is configured for the HTTP header {name} holds characters no header may have"
    ))
}

/// `Retry-After` in seconds; dates are not worth the trouble.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A URL for people: without `user:password@` and query.
fn without_userinfo(api: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(api) else { return "the configured URL".into() };
    // A URL that cannot have a user has none to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn clean_value(value: Value, clean: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.into_iter().map(|item| clean_value(item, clean)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (key, clean_value(item, clean))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
