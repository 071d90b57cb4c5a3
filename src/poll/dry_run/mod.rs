//! A poll that writes nothing: what it would write is recorded instead. The poll itself does not know.
//!
//! It works where requests leave ([`crate::http`]): what changes nothing goes on to the network, everything else is
//! recorded and answered as by whoever accepts it ([`writes`]: pure). What is read afterwards
//! shows the states that were recorded, and nothing waits on the clock.

#[cfg(test)]
mod tests;
mod writes;

use crate::clock::Clock;
use crate::http::{Answer, Exchange, Http, Request, SendError};
use crate::panics::lock;
use crate::redaction::Redaction;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use time::OffsetDateTime;

/// A request that would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedRequest {
    /// The agent that would send it.
    pub agent: String,
    /// `prefect` or `ecs`.
    pub service: &'static str,
    /// `claim`, `record-task`, `give-back`, `fail`, `cancelled`, `log` and `announce` (Prefect); ECS's own names.
    pub operation: String,
    /// The runs it belongs to are held until then; `null` = it would be sent at once.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// The body as it would be sent, with secrets replaced by `[redacted]`. Names that only the answer to an earlier
    /// request would tell (ARNs) stand in square brackets.
    pub body: Value,
}

/// Where the requests of a dry run are noted; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<PlannedRequest>>>);

impl Record {
    /// What was noted since the last call, by agent, in the order in which it would be sent.
    pub fn take(&self) -> Vec<PlannedRequest> {
        let mut requests = std::mem::take(&mut *lock(&self.0));
        requests.sort_by(|a, b| (&a.agent, a.not_before).cmp(&(&b.agent, b.not_before)));
        requests
    }

    fn push(&self, request: PlannedRequest) {
        lock(&self.0).push(request);
    }
}

/// A clock on which waiting is over at once: a dry run shows held launches without holding them.
#[derive(Debug, Clone)]
pub struct Unhurried<C>(pub(super) C);

impl<C: Clock> Clock for Unhurried<C> {
    fn now(&self) -> OffsetDateTime {
        self.0.now()
    }

    async fn sleep_until(&self, _instant: OffsetDateTime) {}
}

// What an agent's requests pass: reads go on, writes end here.

/// Whose requests they are.
#[derive(Debug)]
pub(super) enum RecordedService {
    /// AWS; only ECS is ever asked to change anything.
    Aws,
    /// Prefect 0.15 and 1.
    Prefect1,
    /// Prefect 2 and 3.
    Prefect3 {
        /// Base URL of the API, without a trailing slash.
        api: String,
    },
}

impl RecordedService {
    /// Its name in the record.
    fn name(&self) -> &'static str {
        if let Self::Aws = self { "ecs" } else { "prefect" }
    }

    /// What a request would change; `None` = nothing.
    fn write(&self, request: &Request) -> Option<Write> {
        match self {
            Self::Aws => writes::to_ecs(request),
            Self::Prefect1 => writes::to_prefect1(request),
            Self::Prefect3 { api } => writes::to_prefect3(request, api),
        }
    }
}

/// A request that would change something.
#[derive(Debug, Clone, PartialEq, Default)]
struct Write {
    /// What the record calls it.
    operation: String,
    /// What is shown of it.
    body: Value,
    /// The answer of whoever accepts it.
    answer: Value,
    /// What it belongs to, and may be held with: ids of runs, the token of a launch.
    of: Vec<String>,
    /// What is due at a time, by the same names.
    due: Vec<(String, OffsetDateTime)>,
    /// States that are set, by the ids of their runs.
    states: Vec<(String, Value)>,
}

/// Notes one agent's requests, without its secrets.
#[derive(Debug)]
pub(super) struct Recorder {
    agent: String,
    record: Record,
    redaction: Redaction,
    /// Runs that start later are held.
    began: OffsetDateTime,
    /// Until when runs are held, by flow run id and by `clientToken`.
    held: Mutex<HashMap<String, OffsetDateTime>>,
    /// The states that runs would be in, by their ids.
    states: Mutex<HashMap<String, Value>>,
}

impl Recorder {
    pub(super) fn new(agent: &str, record: Record, redaction: Redaction, began: OffsetDateTime) -> Self {
        Self { agent: agent.to_owned(), record, redaction, began, held: Mutex::default(), states: Mutex::default() }
    }

    /// The way of the agent's requests to this service, before `http`.
    pub(super) fn before(self: &Arc<Self>, http: Http, service: RecordedService) -> Http {
        Http::over(Recording { recorder: Arc::clone(self), service, http })
    }

    /// Notes a write; what is answered.
    fn note(&self, service: &'static str, write: Write) -> Answer {
        let Write { operation, body, answer, of, due, states } = write;
        let mut held = lock(&self.held);
        held.extend(due.into_iter().filter(|(_, at)| *at > self.began));
        let not_before = of.iter().filter_map(|name| held.get(name).copied()).max();
        lock(&self.states).extend(states);
        let body = self.redaction.shown(body);
        self.record.push(PlannedRequest { agent: self.agent.clone(), service, operation, not_before, body });
        Answer { status: 200, headers: HeaderMap::new(), body: answer.to_string().into() }
    }

    /// An answer as it would be after the writes so far: what is about to be overwritten is read again before.
    fn after_writes(&self, answer: Answer) -> Answer {
        let states = lock(&self.states);
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(mut body) if !states.is_empty() => {
                overlay(&mut body, &states);
                Answer { body: body.to_string().into(), ..answer }
            }
            _ => answer,
        }
    }
}

/// Puts runs, wherever they stand, into these states.
fn overlay(value: &mut Value, states: &HashMap<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| overlay(item, states)),
        Value::Object(row) => {
            row.values_mut().for_each(|item| overlay(item, states));
            let Some(state) = row.get("id").and_then(Value::as_str).and_then(|id| states.get(id)) else { return };
            // Prefect 1 calls the state so, and its type `state`.
            let (state, kind) = (state.clone(), state.get("type").cloned());
            if let Some(serialized) = row.get_mut("serialized_state") {
                *serialized = state;
                row.entry("state").and_modify(|known| *known = kind.unwrap_or_default());
            } else {
                row.entry("state").and_modify(|known| *known = state);
            }
        }
        _ => {}
    }
}

/// The recorder before a way.
#[derive(Debug)]
struct Recording {
    recorder: Arc<Recorder>,
    service: RecordedService,
    http: Http,
}

impl Exchange for Recording {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>> {
        Box::pin(async move {
            match self.service.write(&request) {
                Some(write) => Ok(self.recorder.note(self.service.name(), write)),
                None => Ok(self.recorder.after_writes(self.http.send(request).await?)),
            }
        })
    }
}

/// The JSON of a request.
fn body_of(request: &Request) -> Value {
    request.body.as_ref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
}

/// What the record calls a request that sets a state of this type.
fn setting(state: &Value) -> String {
    let operation = match state.get("type").and_then(Value::as_str) {
        Some("Submitted" | "PENDING") => "claim",
        Some("Failed" | "CRASHED") => "fail",
        Some("Cancelled" | "CANCELLED") => "cancelled",
        _ => "give-back",
    };
    operation.to_owned()
}
