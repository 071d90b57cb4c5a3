//! REST over HTTP: headers, few requests at once, time limits, small repetitions, and errors without secrets.

use super::answer::{self, Answer};
use super::credential::Credential;
use super::csrf::{self, CLIENT_HEADER, Csrf, TOKEN_HEADER};
use super::requests::{self, Request};
use crate::http_client::{self, SendError};
use crate::orchestrator::ApiError;
use crate::transport::errors::{explain, is_passing};
use crate::transport::headers::{self, header, retry_after, values_of, without_userinfo};
use crate::transport::shape::text_at;
use crate::transport::{Deadline, REQUEST_TIMEOUT, Redaction, warm_up};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests of one agent that are on their way at once. A server on `SQLite` gets nothing done faster with more; an idle
/// poll has five.
const IN_FLIGHT: usize = 6;
/// Pauses before repetitions. `SQLite` servers answer 503 while their database is locked.
const REPETITIONS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];

const API_VERSION_HEADER: &str = "x-prefect-api-version";
/// The version that all servers of Prefect 2 and 3 speak.
const API_VERSION: HeaderValue = HeaderValue::from_static("0.8.4");
const WORKER_NAME_HEADER: &str = "x-prefect-worker-name";

/// The way to one Prefect API with one credential.
pub(super) struct Transport {
    client: reqwest::Client,
    api: String,
    shown_api: String,
    headers: HeaderMap,
    /// Those of them that people configured.
    further: HeaderMap,
    redaction: Redaction,
    deadline: Deadline,
    csrf: Csrf,
    slots: Semaphore,
}

/// What became of a request that may be repeated.
#[derive(Debug, PartialEq)]
pub(super) struct Sent {
    /// The last answer.
    pub answer: Result<Answer, ApiError>,
    /// An earlier try may have had its effect.
    pub repeated: bool,
    /// The API says that there is nothing of that name.
    pub is_absent: bool,
}

impl Transport {
    /// `api` is the base URL without a trailing slash; `further`: headers of every request that people configured;
    /// `csrf_client` names this process.
    pub(super) fn new(
        client: reqwest::Client,
        api: &str,
        credential: &Credential,
        further: HeaderMap,
        worker_name: &str,
        csrf_client: String,
    ) -> Result<Self, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(API_VERSION_HEADER, API_VERSION);
        // For the server's log only: a name that no header can have is left out.
        headers.extend(header(worker_name).map(|name| (http::HeaderName::from_static(WORKER_NAME_HEADER), name)));
        headers.extend(credential.header()?.map(|value| (AUTHORIZATION, value)));
        headers::add(&mut headers, &further);
        Ok(Self {
            client,
            api: api.to_owned(),
            shown_api: without_userinfo(api),
            headers,
            redaction: Redaction::of(credential.secrets().into_iter().chain(values_of(&further))),
            further,
            deadline: Deadline::default(),
            csrf: Csrf::new(csrf_client),
            slots: Semaphore::new(IN_FLIGHT),
        })
    }

    /// No request goes on beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Opens a connection ahead of its first use; see [`warm_up`].
    pub(super) async fn warm_up(&self) {
        warm_up(&self.client, &self.api, &self.shown_api, &self.further).await;
    }

    /// Sends what changes nothing. Repeated like [`Transport::repeatable`].
    pub(super) async fn read(&self, request: &Request) -> Result<Answer, ApiError> {
        self.repeatable(request).await.answer
    }

    /// Sends what changes nothing when it is repeated. Repeated up to four times after a failed or broken connection,
    /// 502, 503 and 504; never after "too many requests", and never when the time was up.
    pub(super) async fn repeatable(&self, request: &Request) -> Sent {
        let mut repeated = false;
        for pause in REPETITIONS {
            let Attempt { answer, again, is_absent } = self.attempt(request).await;
            if !again || self.deadline.time_left().is_none_or(|left| left <= pause) {
                return Sent { answer, repeated, is_absent };
            }
            repeated |= !matches!(answer, Err(ApiError::Unreachable { .. }));
            tokio::time::sleep(pause).await;
        }
        let Attempt { answer, is_absent, .. } = self.attempt(request).await;
        Sent { answer, repeated, is_absent }
    }

    /// Sends a write, once.
    pub(super) async fn write(&self, request: &Request) -> Result<Answer, ApiError> {
        self.attempt(request).await.answer
    }

    /// One exchange.
    async fn attempt(&self, request: &Request) -> Attempt {
        let raw = match self.exchange(request).await {
            Ok(raw) => raw,
            Err(error) => {
                let again = is_passing(&error);
                let error = self.redaction.error(explain(error, &self.shown_api));
                return Attempt { answer: Err(error), again, is_absent: false };
            }
        };
        let is_absent = answer::says_absent(raw.status, &raw.body);
        match answer::read(raw.status, raw.retry_after, raw.body) {
            Ok(answer) => {
                let answer = answer.to(request.method.as_str(), &request.path);
                Attempt { answer: Ok(answer), again: false, is_absent }
            }
            Err(error) => {
                let again = matches!(error, ApiError::Status { status: 502..=504, .. });
                Attempt { answer: Err(self.redaction.error(error)), again, is_absent }
            }
        }
    }

    /// A request, with a CSRF token if the server turned out to want one.
    async fn exchange(&self, request: &Request) -> Result<Raw, SendError> {
        let token = self.csrf.token().filter(|_| request.method != Method::GET);
        let raw = self.send(request, token.as_ref()).await?;
        if request.method == Method::GET || !csrf::is_asked_for(raw.status, &raw.body) {
            return Ok(raw);
        }
        match self.new_token(token.as_ref()).await? {
            Some(token) => self.send(request, Some(&token)).await,
            None => Ok(raw),
        }
    }

    /// Another token than the one the server refused; `None` = it gives none.
    async fn new_token(&self, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>, SendError> {
        let _fetching = self.csrf.fetching.lock().await;
        if let Some(token) = self.csrf.token().filter(|token| Some(token) != refused) {
            // Another request got one meanwhile.
            return Ok(Some(token));
        }
        let raw = self.send(&requests::csrf_token(&self.csrf.client), None).await?;
        let said: serde_json::Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        let token = text_at(&said, &["token"]).and_then(header).filter(|_| raw.status == 200);
        let Some(mut token) = token else { return Ok(None) };
        token.set_sensitive(true);
        self.csrf.set(token.clone());
        Ok(Some(token))
    }

    async fn send(&self, request: &Request, token: Option<&HeaderValue>) -> Result<Raw, SendError> {
        let too_late = || SendError::NotSent("no time is left".into());
        let left = self.deadline.time_left().ok_or_else(too_late)?;
        let slot = tokio::time::timeout(left, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| too_late())?.map_err(|_| too_late())?;
        let left = self.deadline.time_left().ok_or_else(too_late)?;
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.insert(TOKEN_HEADER, token.clone());
            headers.extend(header(&self.csrf.client).map(|id| (http::HeaderName::from_static(CLIENT_HEADER), id)));
        }
        let url = format!("{}{}", self.api, request.path);
        let mut builder = self.client.request(request.method.clone(), url).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let sent = builder.timeout(left.min(REQUEST_TIMEOUT)).send().await;
        let response = sent.map_err(http_client::classify)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        Ok(Raw { status, retry_after, body: http_client::body(response).await? })
    }
}

/// What became of one exchange.
struct Attempt {
    answer: Result<Answer, ApiError>,
    /// It may be repeated.
    again: bool,
    is_absent: bool,
}

/// An answer as it came.
struct Raw {
    status: u16,
    retry_after: Option<Duration>,
    body: Bytes,
}

#[cfg(test)]
mod tests;
