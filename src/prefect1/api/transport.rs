//! GraphQL over HTTP: headers, time limits, small retries of reads, and errors without secrets.

use super::answer::{self, Answer, GraphqlError};
use super::document::Document;
use crate::http_client::{self, SendError};
use crate::orchestrator::ApiError;
use crate::transport::errors::{explain, is_passing};
use crate::transport::headers::{self, header, retry_after, unprintable, values_of, without_userinfo};
use crate::transport::{Deadline, REQUEST_TIMEOUT, Redaction, warm_up};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tokio::time::Instant;

/// Pauses before the repetitions of a read.
const READ_RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

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
    /// Headers of every request that people configured.
    further: HeaderMap,
    redaction: Redaction,
    core_version: &'static str,
    deadline: Deadline,
}

impl Transport {
    /// `api` is the base URL without a trailing slash; `credential` an API key or a token; `further`: headers of every
    /// request that people configured.
    pub(super) fn new(
        client: reqwest::Client,
        api: &str,
        credential: Option<SecretString>,
        further: HeaderMap,
        core_version: &'static str,
    ) -> Result<Self, ApiError> {
        let authorization = credential.as_ref().map(authorization).transpose()?;
        let (url, shown_url) = (api.to_owned(), without_userinfo(api));
        let redaction = Redaction::of(credential.into_iter().chain(values_of(&further)));
        let deadline = Deadline::default();
        Ok(Self { client, url, shown_url, authorization, further, redaction, core_version, deadline })
    }

    /// No request goes on beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Opens a connection ahead of its first use; see [`warm_up`].
    pub(super) async fn warm_up(&self) {
        warm_up(&self.client, &self.url, &self.shown_url, &self.further).await;
    }

    /// Sends what changes nothing, or nothing when repeated. Repeated up to twice, at once, after a failed or broken
    /// connection, 502, 503, 504 and `API_ERROR`; never after "too many requests".
    pub(super) async fn read(&self, sender: Sender<'_>, document: &Document) -> Result<Answer, ApiError> {
        for pause in READ_RETRIES {
            let (answer, again) = self.attempt(sender, document).await;
            if !again || self.deadline.time_left().is_none_or(|left| left <= pause) {
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
                let again = is_passing(&error);
                (Err(explain(error, &self.shown_url)), again)
            }
            Err(Trouble::Api(error)) => {
                let again = matches!(error, ApiError::Status { status: 502..=504, .. });
                (Err(error), again)
            }
        };
        (self.redacted(answer), again)
    }

    async fn exchange(&self, sender: Sender<'_>, document: &Document) -> Result<Answer, Trouble> {
        let left =
            self.deadline.time_left().ok_or_else(|| Trouble::Sending(SendError::NotSent("no time is left".into())))?;
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
        headers::add(&mut headers, &self.further);
        Ok(headers)
    }

    /// The same, with the credential blanked wherever a server or proxy echoed it in an error.
    fn redacted(&self, answer: Result<Answer, ApiError>) -> Result<Answer, ApiError> {
        let Answer { data, errors } = answer.map_err(|error| self.redaction.error(error))?;
        let clean = |error: GraphqlError| GraphqlError {
            message: self.redaction.text(error.message),
            raw: self.redaction.value(error.raw),
            ..error
        };
        Ok(Answer { data, errors: errors.into_iter().map(clean).collect() })
    }
}

/// Why there is no [`Answer`].
enum Trouble {
    Sending(SendError),
    Api(ApiError),
}

fn authorization(credential: &SecretString) -> Result<HeaderValue, ApiError> {
    headers::authorization(&format!("Bearer {}", credential.expose_secret().trim()))
}

#[cfg(test)]
mod tests;
