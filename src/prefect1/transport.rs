//! GraphQL over HTTP: headers, time limits, small retries of reads, answers, and errors without secrets.

use super::queries::GraphqlDocument;
use crate::clock::Now;
use crate::config::{AgentSecrets, Backend, Rules, StoredSecret};
use crate::http::{self, Http, SendError};
use crate::model::{ApiError, in_words};
use crate::redaction::Redaction;
use crate::transport::retries::{self, Again, Attempt};
use crate::transport::shape::{self, at, described, items_at};
use crate::transport::{self, Deadline, REQUEST_TIMEOUT, header, unprintable, without_userinfo};
use crate::transport::{excerpt, location, not_json, redirected};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::Instant;

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

    /// Sends what changes nothing, or nothing when repeated: again as [`retries::repeat`] says, also after `API_ERROR`.
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
        let attempt = || self.attempt(sender, document);
        retries::repeat(retries::PAUSES_OF_PREFECT_1, &self.deadline, patience, attempt).await.0.answer
    }

    /// Sends a write, once, unless there were too many requests: such a one was not carried out, and is sent again when
    /// it may be, if that is soon.
    pub(super) async fn write(
        &self,
        sender: Sender<'_>,
        document: &GraphqlDocument,
    ) -> Result<GraphqlAnswer, ApiError> {
        retries::write(&self.deadline, || self.attempt(sender, document)).await
    }

    /// One exchange.
    async fn attempt(&self, sender: Sender<'_>, document: &GraphqlDocument) -> Attempt<GraphqlAnswer> {
        let tried = match self.exchange(sender, document).await {
            Ok((answer, asked)) => Attempt::answered(answer, asked),
            Err(ExchangeError::Sending(error)) => Attempt::unanswered(error, &self.shown_url),
            Err(ExchangeError::Api(error)) => Attempt::answered(Err(error), None),
        };
        let passing = tried.passing || tried.answer.as_ref().is_ok_and(GraphqlAnswer::is_api_error);
        Attempt { answer: self.redacted(tried.answer), passing, ..tried }
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
        let read = |body: &Bytes| read_answer(status, again, body);
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
        transport::add_headers(&mut headers, &self.further);
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
    transport::authorization(&format!("Bearer {}", credential.expose_secret().trim()))
}

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod tests;

// What a GraphQL answer says. Errors are looked for on every status; `data` may be partly null.

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
pub(super) fn read_answer(status: u16, again: Again, body: &[u8]) -> Result<GraphqlAnswer, ApiError> {
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

// Which secret goes into `Authorization`.

/// An API key, else, for Prefect 0.15 only, a legacy token, else nothing.
pub(super) struct Credential {
    api_key: Option<SecretString>,
    auth_token: Option<SecretString>,
    backend: Backend,
}

impl Credential {
    /// Empty secrets count as none.
    pub(super) fn choose(secrets: &AgentSecrets, rules: Rules, backend: Backend) -> Self {
        let auth_token = secrets.auth_token.as_ref().filter(|_| rules == Rules::V0_15);
        Self { api_key: present(secrets.api_key.as_ref()), auth_token: present(auth_token), backend }
    }

    /// The API key.
    pub(super) fn api_key(&self) -> Option<&SecretString> {
        self.api_key.as_ref()
    }

    /// The legacy token, also when a key beats it.
    pub(super) fn auth_token(&self) -> Option<&SecretString> {
        self.auth_token.as_ref()
    }

    /// What goes into `Authorization`.
    pub(super) fn secret(&self) -> Option<&SecretString> {
        self.api_key.as_ref().or(self.auth_token.as_ref())
    }

    /// Nothing goes into `Authorization`.
    pub(super) fn is_none(&self) -> bool {
        self.secret().is_none()
    }

    /// Token mode: Prefect Cloud knows the tenant by the token.
    pub(super) fn is_token(&self) -> bool {
        self.backend == Backend::Cloud && self.api_key.is_none() && self.auth_token.is_some()
    }
}

fn present(secret: Option<&StoredSecret>) -> Option<SecretString> {
    secret.map(|secret| secret.value.clone()).filter(|value| !value.expose_secret().trim().is_empty())
}
