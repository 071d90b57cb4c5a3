//! Prefect's `StateSchema`: what the server makes of a state that it is sent.
//!
//! It loads the state with its own version of Prefect and writes it again, so unknown keys get lost, missing ones get
//! their defaults, and `__version__` becomes the server's.

use super::{SERVER_VERSION, failure::Failure, times};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

const MAX_BYTES: usize = 1_000_000;

/// States of a run that is to start, some day.
pub(super) const SCHEDULED: [&str; 5] = ["Scheduled", "Paused", "Resume", "Retrying", "Queued"];
/// States that wrap another one.
const META: [&str; 3] = ["Submitted", "ClientFailed", "Queued"];
const FINISHED: [&str; 11] = [
    "Finished",
    "Success",
    "Cached",
    "Looped",
    "Mapped",
    "Failed",
    "TimedOut",
    "TriggerFailed",
    "ValidationFailed",
    "Skipped",
    "Cancelled",
];
const OTHERS: [&str; 5] = ["State", "Pending", "Submitted", "ClientFailed", "Running"];

/// Whether a run in this state has ended.
pub(super) fn is_finished(kind: &str) -> bool {
    FINISHED.contains(&kind)
}

/// Whether a run in this state waits for its start time.
pub(super) fn is_scheduled(kind: &str) -> bool {
    SCHEDULED.contains(&kind)
}

fn is_known(kind: &str) -> bool {
    is_finished(kind) || is_scheduled(kind) || OTHERS.contains(&kind) || kind == "Cancelling"
}

/// Loads a state and writes it again; the failure's message is the library's text.
pub(super) fn load(given: &Value, now: OffsetDateTime) -> Result<Value, Failure> {
    if given.to_string().len() > MAX_BYTES {
        return Err(Failure::new("State payload is too large."));
    }
    load_any(given, now).map_err(Failure::new)
}

fn load_any(given: &Value, now: OffsetDateTime) -> Result<Value, String> {
    let object = given.as_object().ok_or("{'_schema': ['Invalid input type.']}")?;
    let kind = match object.get("type") {
        None => return Err("{'type': ['Missing data for required field.']}".to_owned()),
        Some(Value::String(kind)) if is_known(kind) => kind.as_str(),
        Some(other) => {
            let shown = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            return Err(format!("{{'type': ['Unsupported value: {shown}']}}"));
        }
    };
    let mut state = Map::new();
    state.insert("type".to_owned(), kind.into());
    state.insert("message".to_owned(), text(object, "message")?);
    state.insert("context".to_owned(), dict(object, "context")?);
    state.insert("cached_inputs".to_owned(), dict(object, "cached_inputs")?);
    let result = object.get("_result").filter(|result| result["type"].is_string()).cloned();
    state.insert(
        "_result".to_owned(),
        result.unwrap_or_else(|| json!({"type": "NoResultType", "__version__": SERVER_VERSION})),
    );
    state.insert("__version__".to_owned(), SERVER_VERSION.into());
    if is_scheduled(kind) {
        state.insert("start_time".to_owned(), start_time(object.get("start_time"), now)?);
    }
    if META.contains(&kind) {
        let inner = object.get("state").filter(|inner| !inner.is_null());
        state.insert("state".to_owned(), inner.map_or(Ok(Value::Null), |inner| load_any(inner, now))?);
    }
    for (owner, key) in [("Retrying", "run_count"), ("Looped", "loop_count"), ("Mapped", "n_map_states")] {
        if kind == owner {
            state.insert(key.to_owned(), object.get(key).cloned().unwrap_or_default());
        }
    }
    Ok(Value::Object(state))
}

fn text(object: &Map<String, Value>, key: &str) -> Result<Value, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::String(text)) => Ok(text.as_str().into()),
        Some(_) => Err(format!("{{'{key}': ['Not a valid string.']}}")),
    }
}

fn dict(object: &Map<String, Value>, key: &str) -> Result<Value, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(json!({})),
        Some(Value::Object(dict)) => Ok(Value::Object(dict.clone())),
        Some(_) => Err(format!("{{'{key}': ['Not a valid mapping type.']}}")),
    }
}

/// A missing start time is now; the offset is kept.
fn start_time(given: Option<&Value>, now: OffsetDateTime) -> Result<Value, String> {
    match given {
        None | Some(Value::Null) => Ok(times::format(now).into()),
        Some(given) => {
            let parsed = given.as_str().and_then(times::parse);
            parsed.map(|at| times::format(at).into()).ok_or("{'start_time': ['Not a valid datetime.']}".to_owned())
        }
    }
}
