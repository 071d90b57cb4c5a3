//! The journal: every request that came in, in order.

use crate::world::epoch_seconds;
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use std::time::Instant;
use time::OffsetDateTime;

/// One request, and the status of its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Milliseconds since the world was served.
    pub at_ms: f64,
    /// Milliseconds since 1970, by the machine's clock: for scripts that started a process themselves.
    pub at_epoch_ms: f64,
    /// `prefect1`, `prefect3`, `ecs`, `ssm`, `logs`, `sqs`, `ec2`, `sts`, `s3` or `lambda`; `unknown` for what no fake serves.
    pub service: String,
    /// The operation's name, e.g. `RunTask`; for Prefect 1 the root fields of the GraphQL document, each once,
    /// in order, joined by `,`.
    pub operation: String,
    /// Method, path and query, e.g. `POST /`.
    pub line: String,
    /// Names in lower case, `authorization` included.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// The answer's status; none while it is under way, and when the connection was cut instead.
    pub status: Option<u16>,
    /// Milliseconds since the world was served, when the answer was ready.
    pub answered_ms: Option<f64>,
    /// The connection's number, from 1.
    pub connection: u64,
}

impl Request {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Whether the request is of this operation; `"*"` is any, and one root field of a GraphQL document is enough.
    pub fn is(&self, service: &str, operation: &str) -> bool {
        matches(service, &self.service)
            && (operation == "*"
                || self.operation.split(',').any(|one| one == operation)
                || self.operation == operation)
    }
}

fn matches(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

/// All requests, oldest first.
pub struct Journal {
    started: Instant,
    requests: Vec<Request>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { started: Instant::now(), requests: Vec::new() }
    }
}

impl Journal {
    /// Starts the clock anew and forgets all requests.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Forgets the requests; the clock goes on.
    pub fn clear(&mut self) {
        self.requests.clear();
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0
    }

    /// The moment from which [`Request::at_ms`] counts.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// All requests, oldest first.
    pub fn all(&self) -> &[Request] {
        &self.requests
    }

    /// The requests of one service and operation; `"*"` means any.
    pub fn matching(&self, service: &str, operation: &str) -> Vec<Request> {
        self.requests.iter().filter(|request| request.is(service, operation)).cloned().collect()
    }

    /// Writes a request down; the number it returns is for [`Journal::finish`].
    pub fn begin(&mut self, mut request: Request) -> usize {
        request.at_ms = self.elapsed_ms();
        request.at_epoch_ms = epoch_seconds(OffsetDateTime::now_utc()) * 1000.0;
        self.requests.push(request);
        self.requests.len() - 1
    }

    /// Adds the answer's status, none when the connection was cut.
    pub fn finish(&mut self, number: usize, status: Option<u16>) {
        let now = self.elapsed_ms();
        if let Some(request) = self.requests.get_mut(number) {
            request.status = status;
            request.answered_ms = Some(now);
        }
    }
}

/// Header names and values as text.
pub fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}
