//! The poll counter of `max_polls`: a parameter whose version is the number of polls.
//!
//! Parameter Store has no compare-and-swap, but every write takes the next version, also when writes overlap. So a
//! poll takes its number by writing; the value written, the invocation's request id, tells afterwards whose a version
//! is when the answer was lost.

use super::delays;
use crate::aws::AwsError;
use crate::aws::ssm::{HistoryEntry, Ssm};
use crate::config::{Parameter, Root};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// The counter of one agent.
#[derive(Debug, Clone)]
pub struct PollCounter {
    ssm: Ssm,
    name: String,
}

/// Whether an agent may poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollNumber {
    /// It may; this is the poll's number, from 1.
    Poll(u64),
    /// `max_polls` was reached; the counter stands here.
    Stopped(u64),
}

/// Name of an agent's counter parameter.
pub fn parameter_name(root: &str, agent: &str) -> String {
    format!("{root}/state/{agent}/polls")
}

/// What to do about an agent that has had its `max_polls`. `root`: of its parameters, if it has one.
pub fn advice_when_stopped(root: Option<&str>, agent: &str) -> String {
    match root {
        Some(root) => format!("raise max_polls, or delete the parameter {} to count anew", parameter_name(root, agent)),
        None => "raise max_polls".to_owned(),
    }
}

/// How many polls were counted, by agent, from the parameters below `{root}/state`.
pub fn by_agent(root: &Root, parameters: &[Parameter]) -> BTreeMap<String, u64> {
    let state = root.state() + "/";
    let polls_of = |parameter: &Parameter| {
        let agent = parameter.name.strip_prefix(&state)?.strip_suffix("/polls")?;
        Some((agent.to_owned(), number(parameter.version)))
    };
    parameters.iter().filter_map(polls_of).collect()
}

/// How often a number is asked for again: concurrent writes of one parameter refuse each other, and those of many agents
/// are throttled. For about ten seconds; the poll's own time limit may end it before.
const REPETITIONS: u32 = 9;

impl PollCounter {
    /// The counter `{root}/state/{agent}/polls`.
    pub fn new(ssm: Ssm, root: &str, agent: &str) -> Self {
        Self { ssm, name: parameter_name(root, agent) }
    }

    /// The number of polls so far: the parameter's version, 0 without the parameter. Never from a cache.
    pub async fn polls(&self) -> Result<u64, AwsError> {
        let parameter = self.ssm.get_parameter(&self.name, false).await?;
        Ok(parameter.map_or(0, |parameter| number(parameter.version)))
    }

    /// Takes the number of a poll, unless `max_polls` is reached. An error means: no number, no poll.
    /// `request_id` must name this invocation.
    pub async fn claim(&self, max_polls: u64, request_id: &str) -> Result<PollNumber, AwsError> {
        if max_polls == 0 {
            return Ok(PollNumber::Stopped(0));
        }
        let before = self.polls().await?;
        if before >= max_polls {
            return Ok(PollNumber::Stopped(before));
        }
        let taken = self.take_number(before, request_id).await?;
        Ok(if taken > max_polls { PollNumber::Stopped(taken) } else { PollNumber::Poll(taken) })
    }

    async fn take_number(&self, before: u64, request_id: &str) -> Result<u64, AwsError> {
        let mut delays = delays(&format!("{request_id} {}", self.name), REPETITIONS);
        loop {
            let error = match self.ssm.put_parameter(&self.name, request_id, true).await {
                Ok(version) => return Ok(number(version)),
                Err(error) => error,
            };
            let next = after_failure(&error);
            if next == AfterWrite::LookBack {
                let history = self.ssm.parameter_history(&self.name).await;
                if let Some(version) = written_by(request_id, before, &known(history)?) {
                    return Ok(version);
                }
            }
            match delays.next() {
                Some(delay) if next != AfterWrite::GiveUp => tokio::time::sleep(delay).await,
                _ => return Err(error),
            }
        }
    }
}

/// What to do after a write that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterWrite {
    /// Nothing was written: write again.
    WriteAgain,
    /// It may have been written: look whose the versions are, then write again.
    LookBack,
    /// Writing again cannot help.
    GiveUp,
}

fn after_failure(error: &AwsError) -> AfterWrite {
    match error {
        error if error.is_throttled() => AfterWrite::WriteAgain,
        AwsError::NotSent(_) => AfterWrite::WriteAgain,
        AwsError::NoAnswer(_) | AwsError::Malformed(_) | AwsError::Answer { status: 500.., .. } => AfterWrite::LookBack,
        AwsError::Credentials(_) | AwsError::Answer { .. } => AfterWrite::GiveUp,
    }
}

/// The first version after `before` that this request wrote. Older ones do not count: a repeated event comes with the
/// request id of its first delivery.
fn written_by(request_id: &str, before: u64, history: &[HistoryEntry]) -> Option<u64> {
    let ours = history.iter().filter(|entry| entry.value == request_id).map(|entry| number(entry.version));
    ours.filter(|version| *version > before).min()
}

/// No parameter, no history.
fn known(history: Result<Vec<HistoryEntry>, AwsError>) -> Result<Vec<HistoryEntry>, AwsError> {
    match history {
        Err(error) if error.is_parameter_not_found() => Ok(Vec::new()),
        history => history,
    }
}

fn number(version: i64) -> u64 {
    u64::try_from(version).unwrap_or_default()
}
