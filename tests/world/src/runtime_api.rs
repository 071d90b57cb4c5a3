//! A Lambda Runtime API for one function process: it hands out events and takes the answers.

use crate::answer::{answer, json};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::HeaderValue,
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// Why an invocation failed, as Lambda's own answer has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvokeError {
    /// `errorType`, e.g. `PollFailed`; `Sandbox.Timedout` when no answer came in time, `Runtime.ExitError` when the
    /// process ended.
    pub error_type: String,
    /// `errorMessage`
    pub error_message: String,
}

impl InvokeError {
    /// An error of the platform.
    pub fn new(error_type: &str, error_message: impl Into<String>) -> Self {
        Self { error_type: error_type.to_owned(), error_message: error_message.into() }
    }
}

/// What an invocation came to.
pub type Invocation = Result<Value, InvokeError>;

/// The Runtime API on a port of its own. Dropping it stops it.
pub struct RuntimeApi {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    answers: HashMap<String, oneshot::Sender<Invocation>>,
    init_error: Option<InvokeError>,
    /// When the process first asked for an event.
    ready: Option<Instant>,
    /// How often the process asked for an event.
    asked: u64,
}

struct Event {
    id: String,
    body: String,
    deadline_ms: i128,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `found` gives something.
    async fn wait<T>(&self, mut found: impl FnMut(&mut Queue) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = found(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }
}

impl RuntimeApi {
    /// Serves on a free port of 127.0.0.1.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::clone(&shared));
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { addr, shared, task })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` takes: `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        self.addr.to_string()
    }

    /// Hands an event to the process and waits for its answer. The process is told `deadline`; a second later the
    /// invocation counts as timed out. An error of its Init is answered at once.
    pub async fn invoke(&self, event: Value, deadline: Duration) -> Invocation {
        let id = uuid::Uuid::new_v4().to_string();
        let (sender, receiver) = oneshot::channel();
        let deadline_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000
            + i128::try_from(deadline.as_millis()).unwrap_or(i128::MAX / 2);
        {
            let mut queue = self.shared.lock();
            if let Some(error) = &queue.init_error {
                return Err(error.clone());
            }
            queue.answers.insert(id.clone(), sender);
            queue.events.push_back(Event { id: id.clone(), body: event.to_string(), deadline_ms });
        }
        self.shared.changed.notify_waiters();
        let answer = tokio::time::timeout(deadline + Duration::from_secs(1), receiver).await;
        let mut queue = self.shared.lock();
        queue.answers.remove(&id);
        queue.events.retain(|event| event.id != id);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(queue.init_error.clone().unwrap_or_else(|| InvokeError::new("Runtime.ExitError", "no answer")))
            }
            Err(_) => Err(InvokeError::new(
                "Sandbox.Timedout",
                format!("Task timed out after {:.2} seconds", deadline.as_secs_f64()),
            )),
        }
    }

    /// Waits until the process first asks for an event, and says when it did; none when `limit` is over first.
    pub async fn ready(&self, limit: Duration) -> Option<Instant> {
        tokio::time::timeout(limit, self.shared.wait(|queue| queue.ready)).await.ok()
    }

    /// Waits until the process asked for an event more often than `times`; false when `limit` is over first.
    pub async fn asked_more_than(&self, times: u64, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.shared.wait(|queue| (queue.asked > times).then_some(()))).await.is_ok()
    }

    /// What the process told to be wrong during its Init.
    pub fn init_error(&self) -> Option<InvokeError> {
        self.shared.lock().init_error.clone()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    {
        let mut queue = shared.lock();
        queue.ready.get_or_insert_with(Instant::now);
        queue.asked += 1;
    }
    shared.changed.notify_waiters();
    let event = shared.wait(|queue| queue.events.pop_front()).await;
    let trace =
        format!("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent={};Sampled=0", &event.id[..16].replace('-', "0"));
    let mut response = answer(200, "application/json", event.body);
    let headers = [
        ("lambda-runtime-aws-request-id", event.id),
        ("lambda-runtime-deadline-ms", event.deadline_ms.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{}:{}:function:world", crate::REGION, crate::ACCOUNT),
        ),
        ("lambda-runtime-trace-id", trace),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn accept(shared: &Shared, id: &str, invocation: Invocation) -> Response {
    match shared.lock().answers.remove(id) {
        Some(sender) => {
            let _ = sender.send(invocation);
            json(202, &json!({"status": "OK"}))
        }
        None => json(400, &json!({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"})),
    }
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    let value =
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    accept(&shared, &id, Ok(value))
}

fn error_of(body: &Bytes) -> InvokeError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    InvokeError { error_type: text("errorType"), error_message: text("errorMessage") }
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    accept(&shared, &id, Err(error_of(&body)))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    {
        let mut queue = shared.lock();
        let error = error_of(&body);
        for (_, sender) in queue.answers.drain() {
            let _ = sender.send(Err(error.clone()));
        }
        queue.init_error = Some(error);
    }
    shared.changed.notify_waiters();
    json(202, &json!({"status": "OK"}))
}
