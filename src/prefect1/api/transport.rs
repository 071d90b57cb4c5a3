//! GraphQL over HTTP: headers, time limits, small retries of reads, and errors without secrets.

use super::answer::{self, GraphqlAnswer, GraphqlError};
use super::document::GraphqlDocument;
use crate::clock::Now;
use crate::http::{self, Http, SendError};
use crate::model::ApiError;
use crate::redaction::Redaction;
use crate::transport::errors::{Again, explain, is_passing, location, pause, redirected};
use crate::transport::headers::{self, header, unprintable, without_userinfo};
use crate::transport::{Deadline, REQUEST_TIMEOUT};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tokio::time::Instant;

/// A write is not held up for longer.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
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
pub(super) struct GraphqlTransport {
    http: Http,
    url: String,
    shown_url: String,
    authorization: Option<HeaderValue>,
    /// Headers of every request that people configured.
    further: HeaderMap,
    redaction: Redaction,
    core_version: &'static str,
    deadline: Deadline,
    now: Now,
}

impl GraphqlTransport {
    /// `api` is the base URL without a trailing slash; `credential` an API key or a token; `further`: headers of every
    /// request that people configured.
    pub(super) fn new(
        http: Http,
        api: &str,
        credential: Option<&SecretString>,
        further: HeaderMap,
        core_version: &'static str,
        (redaction, now): (Redaction, Now),
    ) -> Result<Self, ApiError> {
        let authorization = credential.map(authorization).transpose()?;
        let (url, shown_url) = (api.to_owned(), without_userinfo(api));
        let deadline = Deadline::default();
        Ok(Self { http, url, shown_url, authorization, further, redaction, core_version, deadline, now })
    }

    /// No request goes on beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Opens a connection ahead of its first use; see [`Http::warm_up`].
    pub(super) async fn warm_up(&self) {
        self.http.warm_up(&self.url, &self.shown_url, self.further.clone(), REQUEST_TIMEOUT).await;
    }

    /// Sends what changes nothing, or nothing when repeated. Repeated up to twice, at once, after a failed or broken
    /// connection, 502, 503, 504 and `API_ERROR`, and after whatever says when to come again, then; never when that is
    /// too late.
    pub(super) async fn read(&self, sender: Sender<'_>, document: &GraphqlDocument) -> Result<GraphqlAnswer, ApiError> {
        self.read_within(sender, document, None).await
    }

    /// As [`GraphqlTransport::read`], for something that is of no use after `patience`.
    pub(super) async fn read_within(
        &self,
        sender: Sender<'_>,
        document: &GraphqlDocument,
        patience: Option<Duration>,
    ) -> Result<GraphqlAnswer, ApiError> {
        for usual in READ_RETRIES {
            let (answer, passing, asked) = self.attempt(sender, document).await;
            let Some(pause) = self.pause(usual, passing, asked, patience) else { return answer };
            tokio::time::sleep(pause).await;
        }
        self.attempt(sender, document).await.0
    }

    /// Sends a write, once, unless there were too many requests: such a one was not carried out, and is sent again when
    /// it may be, if that is soon.
    pub(super) async fn write(
        &self,
        sender: Sender<'_>,
        document: &GraphqlDocument,
    ) -> Result<GraphqlAnswer, ApiError> {
        let (answer, _, asked) = self.attempt(sender, document).await;
        let never_done = matches!(answer, Err(ApiError::Throttled { .. } | ApiError::Maintenance { .. }));
        match self.pause(Duration::ZERO, false, asked, Some(WRITE_PATIENCE)).filter(|_| never_done) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return answer,
        }
        self.attempt(sender, document).await.0
    }

    /// How long to wait before a request is sent again, if it is.
    fn pause(
        &self,
        usual: Duration,
        passing: bool,
        asked: Option<Duration>,
        patience: Option<Duration>,
    ) -> Option<Duration> {
        let left = self.deadline.time_left()?;
        pause(usual, passing, asked, patience.map_or(left, |patience| left.min(patience)))
    }

    /// One exchange; whether its trouble may pass, and how much later it is to be repeated, if the answer says so.
    async fn attempt(
        &self,
        sender: Sender<'_>,
        document: &GraphqlDocument,
    ) -> (Result<GraphqlAnswer, ApiError>, bool, Option<Duration>) {
        let (answer, passing, asked) = match self.exchange(sender, document).await {
            Ok((Ok(answer), _)) => {
                let passing = answer.is_api_error();
                (Ok(answer), passing, None)
            }
            Ok((Err(error), asked)) => {
                let passing = matches!(error, ApiError::Status { status: 502..=504, .. });
                (Err(error), passing, asked)
            }
            Err(ExchangeError::Sending(error)) => {
                let passing = is_passing(&error);
                (Err(explain(error, &self.shown_url)), passing, None)
            }
            Err(ExchangeError::Api(error)) => (Err(error), false, None),
        };
        (self.redacted(answer), passing, asked)
    }

    /// What was answered, and when to come again.
    async fn exchange(
        &self,
        sender: Sender<'_>,
        document: &GraphqlDocument,
    ) -> Result<(Result<GraphqlAnswer, ApiError>, Option<Duration>), ExchangeError> {
        let left = self.deadline.time_left().ok_or(ExchangeError::Sending(SendError::NoTime))?;
        let request = http::Request {
            method: Method::POST,
            url: self.url.clone(),
            headers: self.headers(sender)?,
            body: Some(self.redaction.said(&document.body()).into()),
            timeout: left.min(REQUEST_TIMEOUT),
        };
        let answer = self.http.send(request).await.map_err(ExchangeError::Sending)?;
        let again = Again::read(answer.status, &answer.headers, (self.now)());
        let (status, location, body) = (answer.status, location(&answer), answer.body);
        if let Some(location) = location {
            return Ok((Err(redirected(status, &location, &self.url, "")), None));
        }
        // An answer that is quoted in an error is without secrets before it is.
        let read = |body: &Bytes| answer::read(status, again, body);
        Ok((read(&body).or_else(|_| read(&self.redaction.answer(&body))), again.retry_after))
    }

    fn headers(&self, sender: Sender<'_>) -> Result<HeaderMap, ExchangeError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CORE_VERSION_HEADER, HeaderValue::from_static(self.core_version));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in [(TENANT_HEADER, sender.tenant_id), (AGENT_ID_HEADER, sender.agent_id)] {
            if let Some(value) = value {
                headers.insert(name, header(value).ok_or_else(|| ExchangeError::Api(unprintable(name)))?);
            }
        }
        headers::add(&mut headers, &self.further);
        Ok(headers)
    }

    /// The same, with the credential blanked wherever a server or proxy echoed it in an error.
    fn redacted(&self, answer: Result<GraphqlAnswer, ApiError>) -> Result<GraphqlAnswer, ApiError> {
        let GraphqlAnswer { data, errors } = answer.map_err(|error| self.redaction.error(error))?;
        let clean = |error: GraphqlError| GraphqlError {
            message: self.redaction.text(error.message),
            raw: self.redaction.value(error.raw),
            ..error
        };
        Ok(GraphqlAnswer { data, errors: errors.into_iter().map(clean).collect() })
    }
}

/// Why there is no [`GraphqlAnswer`].
enum ExchangeError {
    Sending(SendError),
    Api(ApiError),
}

fn authorization(credential: &SecretString) -> Result<HeaderValue, ApiError> {
    headers::authorization(&format!("Bearer {}", credential.expose_secret().trim()))
}

#[cfg(test)]
mod tests;
