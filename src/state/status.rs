//! The status parameter: written by a poll at its end, read by health and by the next cold start.

use super::{Counts, MAX_BYTES, Recent, Status, delays, escaped};
use crate::aws::AwsError;
use crate::aws::ssm::Ssm;
use crate::clock::that_can_be_shown;
use crate::config::{Parameter, Root};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[cfg(test)]
mod tests;

/// Name of an agent's status parameter.
pub fn parameter_name(root: &str, agent: &str) -> String {
    format!("{root}/state/{agent}/status")
}

/// What the agents' last polls wrote down, by agent, from the parameters below `{root}/state`.
pub fn by_agent(root: &Root, parameters: &[Parameter]) -> BTreeMap<String, Status> {
    let state = root.state() + "/";
    let status_of = |parameter: &Parameter| {
        let agent = parameter.name.strip_prefix(&state)?.strip_suffix("/status")?;
        Some((agent.to_owned(), parse(parameter.value.expose_secret())))
    };
    parameters.iter().filter_map(status_of).collect()
}

/// Reads `{root}/state/{agent}/status`; `None` when there is none yet.
pub async fn read(ssm: &Ssm, root: &str, agent: &str) -> Result<Option<Status>, AwsError> {
    let parameter = ssm.get_parameter(&parameter_name(root, agent), false).await?;
    Ok(parameter.map(|parameter| parse(parameter.value.expose_secret())))
}

/// How often a write is repeated: for about twenty seconds; the caller's time limit ends it before.
const REPETITIONS: u32 = 14;

/// Writes `{root}/state/{agent}/status`. Repeated while Parameter Store asks for patience or does not answer: the last
/// word counts, however often it is said. `request_id` must name this invocation; it tells writers apart.
pub async fn write(ssm: &Ssm, root: &str, agent: &str, status: &Status, request_id: &str) -> Result<(), AwsError> {
    let text = render(status).map_err(AwsError::NotSent)?;
    let name = parameter_name(root, agent);
    for delay in delays(&format!("{request_id} {name}"), REPETITIONS) {
        match ssm.put_parameter(&name, &text, true).await {
            Err(error) if may_pass(&error) => tokio::time::sleep(delay).await,
            settled => return settled.map(drop),
        }
    }
    ssm.put_parameter(&name, &text, true).await.map(drop)
}

fn may_pass(error: &AwsError) -> bool {
    match error {
        AwsError::NotSent(_) | AwsError::NoAnswer(_) | AwsError::Answer { status: 500.., .. } => true,
        error => error.is_throttled(),
    }
}

/// Understands what it can: fields that are missing, unknown or of another shape (another version of this program
/// wrote them) are as if never written.
pub fn parse(text: &str) -> Status {
    let fields: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let time = |key: &str| OffsetDateTime::parse(fields.get(key)?.as_str()?, &Rfc3339).ok().and_then(that_can_be_shown);
    let counts: Map<String, Value> = field(&fields, "counts").unwrap_or_default();
    let count = |key: &str| field(&counts, key).unwrap_or_default();
    Status {
        last_poll: time("last_poll"),
        last_success: time("last_success"),
        last_poked: time("last_poked"),
        polls: field(&fields, "polls").unwrap_or_default(),
        stopped: field(&fields, "stopped").unwrap_or_default(),
        error: field(&fields, "error"),
        maintenance_until: time("maintenance_until"),
        failing_since: time("failing_since"),
        counts: Counts {
            ready: count("ready"),
            launched: count("launched"),
            deferred: count("deferred"),
            failed: count("failed"),
        },
        oldest_due: time("oldest_due"),
        outstanding: field(&fields, "outstanding"),
        tasks: field(&fields, "tasks").unwrap_or_default(),
        registration: field(&fields, "registration"),
        recent: fields.get("recent").and_then(Value::as_object).map(Recent::parse).unwrap_or_default(),
    }
}

fn field<T: DeserializeOwned>(fields: &Map<String, Value>, key: &str) -> Option<T> {
    T::deserialize(fields.get(key)?).ok()
}

/// The JSON text of a status. What does not fit into a parameter is left out: first what happened lately, entry by entry,
/// then the fetched settings, then the registration. The latter can be had again, but for a request each.
pub fn render(status: &Status) -> Result<String, String> {
    let text = to_text(status)?;
    if text.len() <= MAX_BYTES {
        return Ok(text);
    }
    let mut smaller = status.clone();
    while smaller.recent.shrink() {
        let text = to_text(&smaller)?;
        if text.len() <= MAX_BYTES {
            return Ok(text);
        }
    }
    if let Some(registration) = &mut smaller.registration {
        registration.settings = None;
    }
    let text = to_text(&smaller)?;
    if text.len() <= MAX_BYTES {
        return Ok(text);
    }
    smaller.registration = None;
    to_text(&smaller)
}

fn to_text(status: &Status) -> Result<String, String> {
    serde_json::to_string(status).map(|text| escaped(&text)).map_err(|error| error.to_string())
}
