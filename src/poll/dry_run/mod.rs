//! A poll that writes nothing: what it would write is recorded instead. The poll itself does not know.
//!
//! It works where requests leave ([`crate::http`]): what changes nothing goes on to the network, everything else is
//! recorded and answered as by whoever accepts it (below: pure). What is read afterwards
//! shows the states that were recorded, and nothing waits on the clock.

#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::http::{Answer, Exchange, Http, Request, SendError};
use crate::orchestrator::Mark;
use crate::panics::lock;
use crate::python_text;
use crate::redaction::Redaction;
use crate::transport::shape::{at, items_at, text_at};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::{Map, Value, json};
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
            Self::Aws => to_ecs(request),
            Self::Prefect1 => to_prefect1(request),
            Self::Prefect3 { api } => to_prefect3(request, api),
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

// What ECS and Prefect would be asked to change. Pure.

/// The header that names the operation, and what its value begins with.
const TARGET: (&str, &str) = ("x-amz-target", "AmazonEC2ContainerServiceV20141113.");

/// What a request to AWS would change; `None` = nothing.
fn to_ecs(request: &Request) -> Option<Write> {
    let operation = request.headers.get(TARGET.0)?.to_str().ok()?.strip_prefix(TARGET.1)?;
    if operation.starts_with("Describe") || operation.starts_with("List") {
        return None;
    }
    let body = body_of(request);
    let text = |key: &str| text_at(&body, &[key]).unwrap_or_default();
    let answer = match operation {
        "RunTask" => {
            let task = json!({"taskArn": "[the task's ARN]", "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING"});
            json!({"tasks": [task], "failures": []})
        }
        "RegisterTaskDefinition" => {
            let arn = format!("[the ARN of the new revision of {}]", text("family"));
            json!({"taskDefinition": {"taskDefinitionArn": arn}})
        }
        _ => json!({}),
    };
    let (operation, of) = (operation.to_owned(), vec![text("clientToken").to_owned()]);
    Some(Write { operation, body, answer, of, ..Write::default() })
}

// What Prefect 0.15 and 1 would be asked to change.

/// What a request to the GraphQL API would change; `None` = nothing. Asking the queue is a mutation in name only.
fn to_prefect1(request: &Request) -> Option<Write> {
    let body = body_of(request);
    let query = text_at(&body, &["query"]).filter(|query| query.starts_with("mutation"))?;
    if query.contains("get_runs_in_queue(") {
        return None;
    }
    if query.contains("write_run_logs(") {
        let lines = items_at(&body, &["variables", "input", "logs"]);
        let of = lines.iter().filter_map(|line| Some(text_at(line, &["flow_run_id"])?.to_owned())).collect();
        let answer = json!({"data": {"write_run_logs": {"success": true}}});
        return Some(Write { operation: "log".into(), answer, of, body, ..Write::default() });
    }
    let variables = at(&body, &["variables"]).and_then(Value::as_object).into_iter().flatten();
    let set: Vec<_> = variables.clone().filter_map(|(_, input)| set_state(input)).collect();
    // The field `r0` is what becomes of the variable `i0`.
    let done = |name: &String| (name.replacen('i', "r", 1), json!({"states": [{"status": "SUCCESS"}]}));
    let data: Map<String, Value> = variables.map(|(name, _)| done(name)).collect();
    Some(Write {
        operation: set.first().map(|(_, state)| setting(state)).unwrap_or_default(),
        answer: json!({"data": data}),
        of: set.iter().map(|(id, _)| id.clone()).collect(),
        due: set.iter().filter_map(|(id, state)| claimed(id, state)).flatten().collect(),
        states: set,
        body,
    })
}

/// The run, or the task run, and its state.
fn set_state(input: &Value) -> Option<(String, Value)> {
    let item = items_at(input, &["states"]).first()?;
    let id = text_at(item, &["flow_run_id"]).or_else(|| text_at(item, &["task_run_id"]))?;
    Some((id.to_owned(), item.get("state")?.clone()))
}

/// When a claimed run is due, by its id and by the token of its launch: its claim is put around the state that it was
/// due in.
fn claimed(id: &str, state: &Value) -> Option<[(String, OffsetDateTime); 2]> {
    let start = python_text::parse_time(text_at(state, &["state", "start_time"])?)?;
    let token = text_at(state, &["context", Mark::KEY, "token"])?;
    Some([(id.to_owned(), start), (token.to_owned(), start)])
}

// What Prefect 2 and 3 would be asked to change.

/// What a request to the REST API at `api` would change; `None` = nothing.
fn to_prefect3(request: &Request, api: &str) -> Option<Write> {
    let path = request.url.strip_prefix(api).unwrap_or(&request.url);
    if request.method == Method::GET || path.ends_with("/filter") || path.ends_with("/get_scheduled_flow_runs") {
        return None;
    }
    let body = body_of(request);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (operation, states) = match (segments.as_slice(), body.get("state")) {
        (["flow_runs", run, "set_state"], Some(state)) => (setting(state), vec![((*run).to_owned(), state.clone())]),
        (["flow_runs", _], _) => ("record-task".to_owned(), Vec::new()),
        (["flow_runs", _, "labels"] | ["events"], _) => ("announce".to_owned(), Vec::new()),
        (["logs"], _) => ("log".to_owned(), Vec::new()),
        // Its body names method and path.
        _ => ("other".to_owned(), Vec::new()),
    };
    let answer = json!({"status": "ACCEPT", "state": body.get("state")});
    let body = json!({"method": request.method.as_str(), "path": path, "body": body});
    // Nothing is held: runs start early, and the server keeps their flows from running before their time.
    Some(Write { operation, body, answer, states, ..Write::default() })
}
