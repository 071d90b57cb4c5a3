//! REST over HTTP: headers, few requests at once, time limits, small repetitions, answers, and errors without secrets.

use super::requests::{self, ApiRequest};
use crate::clock::Now;
use crate::config::{AgentSecrets, StoredSecret};
use crate::http::{self, Http, SendError};
use crate::model::{ApiError, in_words};
use crate::panics::lock;
use crate::redaction::Redaction;
use crate::transport::retries::{self, Again, Attempt};
use crate::transport::shape::{self, at, items_at, text_at};
use crate::transport::{self, Deadline, REQUEST_TIMEOUT, header, without_userinfo};
use crate::transport::{excerpt, location, not_json, redirected};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Requests of one agent that are on their way at once. A server on `SQLite` gets nothing done faster with more; an idle
/// poll has five.
const IN_FLIGHT: usize = 6;

/// Bytes of a flow run's parameters that are held at most.
const MAX_PARAMETERS: usize = 8 * 1024;

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
        transport::add_headers(&mut headers, &further);
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

    /// Sends what changes nothing when it is repeated: again as [`retries::repeat`] says.
    pub(super) async fn repeatable(&self, request: &ApiRequest) -> Sent {
        let attempt = || self.attempt(request);
        let pauses = retries::PAUSES_OF_PREFECT_2_AND_3;
        let (last, repeated) = retries::repeat(pauses, &self.deadline, request.patience, attempt).await;
        let (answer, is_absent) = match last.answer {
            Ok(Reply::Json(answer)) => (Ok(answer), false),
            Ok(Reply::Absent(error)) => (Err(error), true),
            Err(error) => (Err(error), false),
        };
        Sent { answer, repeated, is_absent }
    }

    /// Sends a write, once, unless there were too many requests: such a one was not carried out, and is sent again when
    /// it may be, if that is soon.
    pub(super) async fn write(&self, request: &ApiRequest) -> Result<JsonAnswer, ApiError> {
        match retries::write(&self.deadline, || self.attempt(request)).await? {
            Reply::Json(answer) => Ok(answer),
            Reply::Absent(error) => Err(error),
        }
    }

    /// One exchange.
    async fn attempt(&self, request: &ApiRequest) -> Attempt<Reply> {
        let (tried, is_absent) = match self.exchange(request).await {
            Ok(raw) => {
                let is_absent = says_absent(raw.status, &raw.body);
                let (answer, asked) = self.read_raw(raw, &request.path);
                (Attempt::answered(answer, asked), is_absent)
            }
            Err(error) => (Attempt::unanswered(error, &self.shown_api), false),
        };
        let Attempt { answer, passing, asked } = tried;
        let answer = match answer {
            Ok(answer) => Ok(Reply::Json(answer.to(request.method.as_str(), &request.path))),
            Err(error) if is_absent => Ok(Reply::Absent(self.redaction.error(error))),
            Err(error) => Err(self.redaction.error(error)),
        };
        Attempt { answer, passing, asked }
    }

    /// What an answer says, and when to come again.
    fn read_raw(&self, raw: Raw, path: &str) -> (Result<JsonAnswer, ApiError>, Option<Duration>) {
        if let Some(location) = raw.location {
            return (Err(redirected(raw.status, &location, &self.api, path)), None);
        }
        // One that is quoted in an error is without secrets before it is.
        let read = |body: &Bytes| read_answer(raw.status, raw.again, body.clone());
        (read(&raw.body).or_else(|_| read(&self.redaction.answer(&raw.body))), raw.again.retry_after)
    }

    /// A request, with a CSRF token if the server turned out to want one.
    async fn exchange(&self, request: &ApiRequest) -> Result<Raw, SendError> {
        let token = self.csrf.token().filter(|_| request.method != Method::GET);
        let raw = self.send(request, token.as_ref()).await?;
        if request.method == Method::GET || !is_csrf_asked_for(raw.status, &raw.body) {
            return Ok(raw);
        }
        match self.new_token(token.as_ref()).await? {
            Ok(token) => self.send(request, Some(&token)).await,
            // The server has none to give, and so means something else.
            Err(refusal) if is_without_csrf(refusal.status) => Ok(raw),
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

/// What an API has to say.
enum Reply {
    /// What was asked for, or what was done.
    Json(JsonAnswer),
    /// There is nothing of that name; as an error.
    Absent(ApiError),
}

/// An answer as it came.
struct Raw {
    status: u16,
    again: Again,
    /// Where a redirect leads that is not followed.
    location: Option<String>,
    body: Bytes,
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod credential_tests;
#[cfg(test)]
mod tests;

// What an HTTP answer says. Pure.

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

    /// The body as a JSON list, its rows without what is long and needed by nobody (see [`row`]).
    pub(super) fn list(&self) -> Result<Vec<Value>, ApiError> {
        let rows: serde_json::Result<Vec<&RawValue>> = serde_json::from_slice(&self.body);
        let rows = rows.and_then(|rows| rows.into_iter().map(|text| row(text, true)).collect());
        // What cannot be read so is read as a whole: that says best what is wrong.
        rows.or_else(|_| shape::list(self.json()?).map_err(|why| self.odd(&why)))
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

/// A row of a list. As JSON values a flow run's parameters take a dozen times the memory of their text, and may have 512 kB:
/// longer ones than [`MAX_PARAMETERS`] are left out. Only a run's name can refer to them. `is_outer`: the run may be a field of
/// it, as in a queue's rows; not deeper, however deep an answer is.
fn row(text: &RawValue, is_outer: bool) -> serde_json::Result<Value> {
    let text = text.get();
    if text.len() <= MAX_PARAMETERS || !text.starts_with('{') {
        return serde_json::from_str(text);
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let fields = fields.into_iter().filter(|(name, value)| name != "parameters" || value.get().len() <= MAX_PARAMETERS);
    let fields = fields.map(|(name, value)| {
        let is_run = is_outer && name == "flow_run";
        let value = if is_run { row(value, false)? } else { serde_json::from_str(value.get())? };
        Ok((name, value))
    });
    fields.collect::<serde_json::Result<Map<_, _>>>().map(Value::Object)
}

/// Reads an HTTP answer. `again`: what its headers say of when to come again.
fn read_answer(status: u16, again: Again, body: Bytes) -> Result<JsonAnswer, ApiError> {
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
        ..=399 | 404 | 405 | 408 | 499.. => ApiError::Status { status, text: text() + &in_words(retry_after) },
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
fn says_absent(status: u16, body: &[u8]) -> bool {
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

// What goes into `Authorization`.

/// The agent's API key and auth string; empty ones count as none.
#[derive(Debug, Clone, Default)]
pub(super) struct Credential {
    /// API key of Prefect Cloud, or of what stands before a server.
    pub api_key: Option<SecretString>,
    /// `user:password` of a self-hosted server; it beats the key.
    pub auth_string: Option<SecretString>,
    /// Further headers, as flow runs get them: a JSON object.
    pub client_headers: Option<SecretString>,
}

impl Credential {
    pub(super) fn of(secrets: &AgentSecrets) -> Self {
        Self {
            api_key: present(secrets.api_key.as_ref()),
            auth_string: present(secrets.auth_string.as_ref()),
            client_headers: secrets.client_headers.as_ref().map(|headers| headers.stored.value.clone()),
        }
    }

    /// The header's value.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, ApiError> {
        let value = match (&self.auth_string, &self.api_key) {
            (Some(auth_string), _) => format!("Basic {}", encoded(auth_string)),
            (None, Some(key)) => format!("Bearer {}", key.expose_secret()),
            (None, None) => return Ok(None),
        };
        transport::authorization(&value).map(Some)
    }
}

fn encoded(auth_string: &SecretString) -> String {
    aws_smithy_types::base64::encode(auth_string.expose_secret())
}

fn present(secret: Option<&StoredSecret>) -> Option<SecretString> {
    let trimmed = secret?.value.expose_secret().trim();
    (!trimmed.is_empty()).then(|| trimmed.into())
}

// The token that a self-hosted server may ask for with every write. It is fetched only once a server has asked.

/// Header of the token.
const TOKEN_HEADER: &str = "prefect-csrf-token";
/// Header of the client that the token was given to.
const CLIENT_HEADER: &str = "prefect-csrf-client";

/// The token of this process. The server gives each client one; a new one makes the old one void.
#[derive(Debug)]
struct Csrf {
    /// The client's id.
    pub client: String,
    token: Mutex<Option<HeaderValue>>,
    /// Held while a token is fetched.
    pub fetching: tokio::sync::Mutex<()>,
}

impl Csrf {
    pub(super) fn new(client: String) -> Self {
        Self { client, token: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The token, if the server has asked for one.
    pub(super) fn token(&self) -> Option<HeaderValue> {
        lock(&self.token).clone()
    }

    pub(super) fn set(&self, token: HeaderValue) {
        *lock(&self.token) = Some(token);
    }
}

/// Whether this answer to a request for a token says that the server has none to give: it does not use them (422), or is
/// too old to (404, 405). A 200 without a token is as good.
fn is_without_csrf(status: u16) -> bool {
    matches!(status, 200..=299 | 404 | 405 | 422)
}

/// Whether a refusal asks for a token, or for a new one. Such a request was not looked at any further.
fn is_csrf_asked_for(status: u16, body: &[u8]) -> bool {
    let said = String::from_utf8_lossy(body);
    status == 403 && (said.contains("CSRF token") || said.contains("Missing client identifier"))
}
