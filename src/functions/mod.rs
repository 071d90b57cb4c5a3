//! The Lambda functions: events in, answers out. Told apart by the function's handler, as its environment says.

pub mod check;
pub mod health;
pub mod poke;
pub mod poll;
pub mod task_events;

use crate::config::{Environment, Root};
use crate::http::Options;
use crate::http::{Http, Request};
use crate::panics::caught;
use crate::redaction::Redaction;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use std::time::Duration;

/// How an invocation fails: as Lambda's `errorType` and `errorMessage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationError {
    /// `PollFailed`, `ConfigurationError` when there was nothing to poll, `BadEvent`, `TaskEventFailed`, `Panicked`.
    pub error_type: &'static str,
    /// A sentence; of a failed poll the report as JSON text.
    pub error_message: String,
    /// The log says it already.
    is_logged: bool,
}

impl InvocationError {
    /// One that the log does not tell of yet.
    pub fn new(error_type: &'static str, error_message: impl Into<String>) -> Self {
        Self { error_type, error_message: error_message.into(), is_logged: false }
    }

    /// One whose whole story is a line of the log, without secrets.
    pub fn logged(error_type: &'static str, error_message: impl Into<String>) -> Self {
        Self { is_logged: true, ..Self::new(error_type, error_message) }
    }
}

/// What goes back to Lambda, or why nothing does: without secrets, and said in the log once. A panic is an error like
/// any other.
pub async fn guarded(
    redaction: &Redaction,
    work: impl Future<Output = Result<serde_json::Value, InvocationError>>,
) -> Result<serde_json::Value, InvocationError> {
    match caught(work).await {
        Ok(Ok(answer)) => Ok(redaction.value(answer)),
        // The report is without secrets, and its text must stay JSON.
        Ok(Err(failure)) if failure.is_logged => Err(failure),
        Ok(Err(InvocationError { error_type, error_message, .. })) => {
            tracing::error!(error_type, error = error_message, "the invocation failed");
            Err(InvocationError::new(error_type, redaction.text(error_message)))
        }
        // The hook for panics has logged it.
        Err(panic) => Err(InvocationError::logged("Panicked", panic.to_string())),
    }
}

/// Which function this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// Started by the schedule, by hand, by a poke: one poll iteration.
    Poll,
    /// Started by its Function URL.
    Health,
    /// Started by its Function URL, by Prefect: somebody's run is due.
    Poke,
    /// Started by `EventBridge` when a task changes its state.
    TaskEvents,
    /// Started by `prefect-serverless-agent check --remote`.
    Check,
}

/// Why a function cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The handler names no function of ours.
    #[error("unknown handler {0:?}: set the function's Handler to poll, health, poke, task-events or check")]
    Handler(String),
    /// The functions need to know where their parameters are.
    #[error(
        "PARAMETER_ROOT is not set: the functions read their configuration below it, e.g. /prefect-serverless-agent/prod"
    )]
    Root,
    /// The root is too long for what is named after it.
    #[error("PARAMETER_ROOT has {0} characters: at most {max} are possible", max = Root::LONGEST)]
    LongRoot(usize),
}

impl Handler {
    /// What `_HANDLER` asks for. What packaging tools put there by default means `poll`.
    pub fn from_environment(environment: &Environment) -> Result<Self, StartError> {
        match environment.get("_HANDLER").map(String::as_str) {
            None | Some("" | "bootstrap" | "lambda" | "poll") => Ok(Self::Poll),
            Some("health") => Ok(Self::Health),
            Some("poke") => Ok(Self::Poke),
            Some("task-events") => Ok(Self::TaskEvents),
            Some("check") => Ok(Self::Check),
            Some(other) => Err(StartError::Handler(other.to_owned())),
        }
    }
}

/// The parameter root that the environment names.
pub fn parameter_root(environment: &Environment) -> Result<Root, StartError> {
    let root = environment.get("PARAMETER_ROOT").map(|root| Root::new(root)).filter(|root| !root.as_str().is_empty());
    let root = root.ok_or(StartError::Root)?;
    root.excessive_length().map_or(Ok(root.clone()), |length| Err(StartError::LongRoot(length)))
}

// A function that cannot start says so to Lambda, whose own words would be "exit status 1".

/// What Lambda calls such an error.
const ERROR_TYPE: &str = "Runtime.ConfigurationError";

/// Init has ten seconds, and Lambda answers at once.
const LIMIT: Duration = Duration::from_secs(1);

/// Tells Lambda's runtime API (`host:port`) why there is no function. Best effort: the log has the sentence too.
pub async fn tell_init_error(runtime_api: &str, message: &str) {
    let Ok(http) = Http::network(Options::AWS, None) else { return };
    let body = json!({"errorType": ERROR_TYPE, "errorMessage": message, "stackTrace": []}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("lambda-runtime-function-error-type", HeaderValue::from_static(ERROR_TYPE));
    let url = format!("http://{runtime_api}/2018-06-01/runtime/init/error");
    let request = Request { method: Method::POST, url, headers, body: Some(body.into()), timeout: LIMIT };
    if let Err(error) = http.send(request).await {
        tracing::debug!(%error, "Lambda was not told");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_handler_tells_the_functions_apart() {
        for (handler, expected) in [
            ("poll", Handler::Poll),
            ("bootstrap", Handler::Poll),
            ("lambda", Handler::Poll),
            ("health", Handler::Health),
            ("poke", Handler::Poke),
            ("task-events", Handler::TaskEvents),
        ] {
            assert_eq!(Handler::from_environment(&environment(&[("_HANDLER", handler)])), Ok(expected));
        }
        assert_eq!(Handler::from_environment(&environment(&[])), Ok(Handler::Poll));
        let error = Handler::from_environment(&environment(&[("_HANDLER", "index.handler")])).unwrap_err();
        assert!(error.to_string().contains("index.handler"), "{error}");
    }

    #[test]
    fn without_a_parameter_root_nothing_starts() {
        assert_eq!(parameter_root(&environment(&[("PARAMETER_ROOT", "/psa/prod/")])).unwrap().as_str(), "/psa/prod");
        for missing in [environment(&[]), environment(&[("PARAMETER_ROOT", "")])] {
            assert_eq!(parameter_root(&missing), Err(StartError::Root));
        }
    }

    #[test]
    fn a_root_that_iam_paths_could_not_hold_is_refused() {
        let longest = format!("/{}", "a".repeat(Root::LONGEST - 1));
        assert_eq!(parameter_root(&environment(&[("PARAMETER_ROOT", &longest)])).unwrap().as_str(), longest);
        let error = parameter_root(&environment(&[("PARAMETER_ROOT", &format!("{longest}b"))])).unwrap_err();
        assert_eq!(error.to_string(), "PARAMETER_ROOT has 401 characters: at most 400 are possible");
    }
}
