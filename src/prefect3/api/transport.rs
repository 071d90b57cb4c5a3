//! REST over HTTP: headers, few requests at once, time limits, small repetitions, and errors without secrets.

use super::answer::{self, JsonAnswer};
use super::credential::Credential;
use super::csrf::{self, CLIENT_HEADER, Csrf, TOKEN_HEADER};
use super::requests::{self, ApiRequest};
use crate::clock::Now;
use crate::http::{self, Http, SendError};
use crate::model::ApiError;
use crate::redaction::Redaction;
use crate::transport::errors::{Again, explain, is_passing, location, pause, redirected};
use crate::transport::headers::{self, header, without_userinfo};
use crate::transport::shape::text_at;
use crate::transport::{Deadline, REQUEST_TIMEOUT};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests of one agent that are on their way at once. A server on `SQLite` gets nothing done faster with more; an idle
/// poll has five.
const IN_FLIGHT: usize = 6;
/// A write is not held up for longer.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Pauses before repetitions. `SQLite` servers answer 503 while their database is locked.
const REPETITIONS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];

const API_VERSION_HEADER: &str = "x-prefect-api-version";
/// The version that all servers of Prefect 2 and 3 speak.
const API_VERSION: HeaderValue = HeaderValue::from_static("0.8.4");
const WORKER_NAME_HEADER: &str = "x-prefect-worker-name";

/// The way to one Prefect API with one credential.
pub(super) struct RestTransport {
    http: Http,
    api: String,
    shown_api: String,
    headers: HeaderMap,
    /// Those of them that people configured.
    further: HeaderMap,
    redaction: Redaction,
    deadline: Deadline,
    now: Now,
    csrf: Csrf,
    slots: Semaphore,
}

/// What became of a request that may be repeated.
#[derive(Debug, PartialEq)]
pub(super) struct Sent {
    /// The last answer.
    pub answer: Result<JsonAnswer, ApiError>,
    /// An earlier try may have had its effect.
    pub repeated: bool,
    /// The API says that there is nothing of that name.
    pub is_absent: bool,
}

impl RestTransport {
    /// `api` is the base URL without a trailing slash; `further`: headers of every request that people configured;
    /// `csrf_client` names this process.
    pub(super) fn new(
        http: Http,
        api: &str,
        credential: &Credential,
        further: HeaderMap,
        worker_name: &str,
        csrf_client: String,
        (redaction, now): (Redaction, Now),
    ) -> Result<Self, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(API_VERSION_HEADER, API_VERSION);
        // For the server's log only: a name that no header can have is left out.
        headers.extend(header(worker_name).map(|name| (::http::HeaderName::from_static(WORKER_NAME_HEADER), name)));
        headers.extend(credential.header()?.map(|value| (AUTHORIZATION, value)));
        headers::add(&mut headers, &further);
        Ok(Self {
            http,
            api: api.to_owned(),
            shown_api: without_userinfo(api),
            headers,
            further,
            redaction,
            deadline: Deadline::default(),
            now,
            csrf: Csrf::new(csrf_client),
            slots: Semaphore::new(IN_FLIGHT),
        })
    }

    /// No request goes on beyond `deadline`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// How long requests may go on; `None` = the time is up.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline.time_left()
    }

    /// Opens a connection ahead of its first use; see [`Http::warm_up`].
    pub(super) async fn warm_up(&self) {
        self.http.warm_up(&self.api, &self.shown_api, self.further.clone(), REQUEST_TIMEOUT).await;
    }

    /// Sends what changes nothing. Repeated like [`RestTransport::repeatable`].
    pub(super) async fn read(&self, request: &ApiRequest) -> Result<JsonAnswer, ApiError> {
        self.repeatable(request).await.answer
    }

    /// Sends what changes nothing when it is repeated. Repeated up to four times after a failed or broken connection,
    /// 502, 503 and 504, and after whatever says when to come again, then; never when that is too late.
    pub(super) async fn repeatable(&self, request: &ApiRequest) -> Sent {
        let mut repeated = false;
        for usual in REPETITIONS {
            let Attempt { answer, passing, asked, is_absent } = self.attempt(request).await;
            let Err(error) = &answer else { return Sent { answer, repeated, is_absent } };
            let Some(pause) = self.pause(usual, passing, asked, request.patience) else {
                return Sent { answer, repeated, is_absent };
            };
            repeated |= !was_never_done(error);
            tokio::time::sleep(pause).await;
        }
        let Attempt { answer, is_absent, .. } = self.attempt(request).await;
        Sent { answer, repeated, is_absent }
    }

    /// Sends a write, once, unless there were too many requests: such a one was not carried out, and is sent again when
    /// it may be, if that is soon.
    pub(super) async fn write(&self, request: &ApiRequest) -> Result<JsonAnswer, ApiError> {
        let Attempt { answer, asked, .. } = self.attempt(request).await;
        match &answer {
            Err(error) if was_never_done(error) => match self.pause(Duration::ZERO, false, asked, Some(WRITE_PATIENCE))
            {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return answer,
            },
            _ => return answer,
        }
        self.attempt(request).await.answer
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

    /// One exchange.
    async fn attempt(&self, request: &ApiRequest) -> Attempt {
        let raw = match self.exchange(request).await {
            Ok(raw) => raw,
            Err(error) => {
                let passing = is_passing(&error);
                let error = self.redaction.error(explain(error, &self.shown_api));
                return Attempt { answer: Err(error), passing, asked: None, is_absent: false };
            }
        };
        let is_absent = answer::says_absent(raw.status, &raw.body);
        match self.read_raw(raw, &request.path) {
            (Ok(answer), _) => {
                let answer = answer.to(request.method.as_str(), &request.path);
                Attempt { answer: Ok(answer), passing: false, asked: None, is_absent }
            }
            (Err(error), asked) => {
                let passing = matches!(error, ApiError::Status { status: 502..=504, .. });
                Attempt { answer: Err(self.redaction.error(error)), passing, asked, is_absent }
            }
        }
    }

    /// What an answer says, and when to come again.
    fn read_raw(&self, raw: Raw, path: &str) -> (Result<JsonAnswer, ApiError>, Option<Duration>) {
        if let Some(location) = raw.location {
            return (Err(redirected(raw.status, &location, &self.api, path)), None);
        }
        // One that is quoted in an error is without secrets before it is.
        let read = |body: &Bytes| answer::read(raw.status, raw.again, body.clone());
        (read(&raw.body).or_else(|_| read(&self.redaction.answer(&raw.body))), raw.again.retry_after)
    }

    /// A request, with a CSRF token if the server turned out to want one.
    async fn exchange(&self, request: &ApiRequest) -> Result<Raw, SendError> {
        let token = self.csrf.token().filter(|_| request.method != Method::GET);
        let raw = self.send(request, token.as_ref()).await?;
        if request.method == Method::GET || !csrf::is_asked_for(raw.status, &raw.body) {
            return Ok(raw);
        }
        match self.new_token(token.as_ref()).await? {
            Ok(token) => self.send(request, Some(&token)).await,
            // The server has none to give, and so means something else.
            Err(refusal) if csrf::is_without(refusal.status) => Ok(raw),
            // A server asks for its token before it looks at the credential: what became of the request for one says
            // what is wrong.
            Err(refusal) => Ok(refusal),
        }
    }

    /// Another token than the one the server refused; or what it answered instead.
    async fn new_token(&self, refused: Option<&HeaderValue>) -> Result<Result<HeaderValue, Raw>, SendError> {
        let _fetching = self.csrf.fetching.lock().await;
        if let Some(token) = self.csrf.token().filter(|token| Some(token) != refused) {
            // Another request got one meanwhile.
            return Ok(Ok(token));
        }
        let raw = self.send(&requests::csrf_token(&self.csrf.client), None).await?;
        let said: serde_json::Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        let token = text_at(&said, &["token"]).and_then(header);
        let Some(mut token) = token.filter(|_| raw.status == 200) else { return Ok(Err(raw)) };
        token.set_sensitive(true);
        self.csrf.set(token.clone());
        Ok(Ok(token))
    }

    async fn send(&self, request: &ApiRequest, token: Option<&HeaderValue>) -> Result<Raw, SendError> {
        let too_late = || SendError::NoTime;
        let left = self.deadline.time_left().ok_or_else(too_late)?;
        let slot = tokio::time::timeout(left, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| too_late())?.map_err(|_| too_late())?;
        let left = self.deadline.time_left().ok_or_else(too_late)?;
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.insert(TOKEN_HEADER, token.clone());
            headers.extend(header(&self.csrf.client).map(|id| (::http::HeaderName::from_static(CLIENT_HEADER), id)));
        }
        let url = format!("{}{}", self.api, request.path);
        let body = request.body.as_ref().map(|body| {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            self.redaction.said(body).into()
        });
        let (method, timeout) = (request.method.clone(), left.min(REQUEST_TIMEOUT));
        let answer = self.http.send(http::Request { method, url, headers, body, timeout }).await?;
        let again = Again::read(answer.status, &answer.headers, (self.now)());
        Ok(Raw { status: answer.status, again, location: location(&answer), body: answer.body })
    }
}

/// What became of one exchange.
struct Attempt {
    answer: Result<JsonAnswer, ApiError>,
    /// Its trouble may pass.
    passing: bool,
    /// How much later it is to be repeated, if the answer says so.
    asked: Option<Duration>,
    is_absent: bool,
}

/// An answer as it came.
struct Raw {
    status: u16,
    again: Again,
    /// Where a redirect leads that is not followed.
    location: Option<String>,
    body: Bytes,
}

/// Whether a request is certain to have had no effect, so that a repetition is none.
fn was_never_done(error: &ApiError) -> bool {
    matches!(error, ApiError::Unreachable { .. } | ApiError::Throttled { .. } | ApiError::Maintenance { .. })
}

#[cfg(test)]
mod tests;
