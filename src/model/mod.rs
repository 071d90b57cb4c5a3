//! The nouns that all modules share. Nothing here imports another module.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;
use time::OffsetDateTime;

/// A JSON object, its keys in the order in which they came.
pub(crate) type Object = Map<String, Value>;

/// A role that an agent launches with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleToAssume {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for besides: no secret, but what keeps an account from being confused for another.
    pub external_id: Option<String>,
}

/// What kind of trouble a poll had: safe to show to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The configuration is wrong.
    Configuration,
    /// The Prefect API cannot be reached or does not answer.
    ApiUnreachable,
    /// The Prefect API refused the credentials.
    Unauthorised,
    /// The Prefect API asks for fewer requests.
    Throttled,
    /// Prefect is in maintenance: nobody's failure.
    Maintenance,
    /// The Prefect API answered with an error.
    ApiError,
    /// AWS refused the agent's own calls (permissions, cluster, network, credentials).
    Aws,
    /// What starts flow runs on this machine refused the agent itself.
    Platform,
    /// Parameter Store could not be read or written.
    ParameterStore,
    /// No time was left.
    Deadline,
    /// A bug of this program.
    Internal,
}

impl ErrorKind {
    /// Its name, as statuses and reports are written with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::ApiUnreachable => "api-unreachable",
            Self::Unauthorised => "unauthorised",
            Self::Throttled => "throttled",
            Self::Maintenance => "maintenance",
            Self::ApiError => "api-error",
            Self::Aws => "aws",
            Self::Platform => "platform",
            Self::ParameterStore => "parameter-store",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
        }
    }

    /// Trouble that maintenance explains: what is on the other side of the API.
    pub fn is_explained_by_maintenance(self) -> bool {
        matches!(self, Self::ApiUnreachable | Self::Throttled | Self::ApiError | Self::Deadline)
    }
}

/// Why an agent cannot be set up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SetupError {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

/// What went wrong in talking to a Prefect API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// Nothing was sent: no connection.
    #[error("cannot connect to the Prefect API at {api}: {reason}")]
    Unreachable {
        /// The API's base URL.
        api: String,
        /// What the network said.
        reason: String,
    },
    /// Sent, but no complete answer came: the outcome is unknown.
    #[error("no answer from the Prefect API: {0}")]
    NoAnswer(String),
    /// The key or token was refused.
    #[error("the Prefect API refused the credentials: {0}")]
    Unauthorised(String),
    /// Nothing was sent: the invocation's time is up.
    #[error("no time was left in this invocation to ask the Prefect API")]
    NoTime,
    /// Too many requests.
    #[error("the Prefect API asks for fewer requests (HTTP 429){}", in_words(*.retry_after))]
    Throttled {
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Prefect said that it is in maintenance.
    #[error("Prefect is in maintenance (HTTP {status}){}", in_words(*.retry_after))]
    Maintenance {
        /// HTTP status.
        status: u16,
        /// The answer's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Another HTTP status than success.
    #[error("the Prefect API answered HTTP {status}: {text}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The first characters of the body.
        text: String,
    },
    /// An answer that is no JSON, or not of the promised shape.
    #[error("the Prefect API's answer cannot be understood: {0}")]
    Malformed(String),
    /// The API understood and said no: its errors (GraphQL errors, REST detail).
    #[error("the Prefect API refused the request: {message}")]
    Refused {
        /// The first error's text.
        message: String,
        /// All of it.
        errors: Value,
    },
    /// The run is not our claim any more, so it was left as it is.
    #[error("{0}; left as it is")]
    NotOurs(String),
    /// What the configuration says does not fit what the API says.
    #[error("{0}")]
    Configuration(String),
}

impl ApiError {
    /// The kind of trouble, for the report and for health.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer(_) => ErrorKind::ApiUnreachable,
            Self::Unauthorised(_) => ErrorKind::Unauthorised,
            Self::NoTime => ErrorKind::Deadline,
            Self::Throttled { .. } => ErrorKind::Throttled,
            Self::Maintenance { .. } => ErrorKind::Maintenance,
            Self::Status { .. } | Self::Malformed(_) | Self::Refused { .. } | Self::NotOurs(_) => ErrorKind::ApiError,
            Self::Configuration(_) => ErrorKind::Configuration,
        }
    }

    /// Whether what was asked for is certain not to have been done. What is not certain is unknown, not undone.
    pub fn is_certainly_not_done(&self) -> bool {
        match self {
            // A client error or an unfollowed redirect is said before anything is done; a time-out that a server (408) or
            // a gateway (499, 5xx) tells of may come after it.
            Self::Status { status, .. } => (300..500).contains(status) && !matches!(status, 408 | 499),
            Self::NoAnswer(_) | Self::Malformed(_) => false,
            Self::Unreachable { .. }
            | Self::NoTime
            // Whoever is in maintenance does nothing. A claim that was made all the same is finished like any without a
            // task.
            | Self::Maintenance { .. }
            | Self::Unauthorised(_)
            | Self::Throttled { .. }
            | Self::Refused { .. }
            | Self::NotOurs(_)
            | Self::Configuration(_) => true,
        }
    }
}

/// For messages: `, and wants to be asked again in 7 s`.
pub(crate) fn in_words(retry_after: Option<Duration>) -> String {
    let words = |asked: Duration| format!(", and wants to be asked again in {} s", asked.as_secs_f64().ceil());
    retry_after.map(words).unwrap_or_default()
}

/// A run that cannot be launched because of what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunRefusal(pub String);

/// Why a run has no launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// Never, as the run stands.
    Refused(RunRefusal),
    /// What the run belongs to is gone: it is ended as Cancelled, with this message.
    Gone(String),
    /// Not now: something it refers to cannot be read at the moment.
    NotNow(String),
    /// Not now: what the API says of something that it refers to cannot be understood. That is the agent's trouble.
    NotUnderstood(String),
}

impl RenderError {
    /// `what` could not be read.
    pub fn unread(what: &str, error: &ApiError) -> Self {
        let reason = format!("{what} cannot be read: {error}");
        if matches!(error, ApiError::Malformed(_)) { Self::NotUnderstood(reason) } else { Self::NotNow(reason) }
    }
}

/// An agent's registration with Prefect, and what it was registered for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Id that the API gave the agent.
    pub agent_id: String,
    /// Tenant it was registered with; `None` in token mode.
    pub tenant_id: Option<String>,
    /// Fingerprint of all that makes the identity (API, name, type, labels, version, configuration id, key); never a secret itself.
    pub identity: String,
    /// Settings fetched from the backend for `agent_config_id`, honoured until fetched again.
    #[serde(default)]
    pub settings: Option<serde_json::Value>,
}

// A flow run as Prefect has it now: the same for all generations of Prefect.

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Prefect 0.15 and 1: a dead run is Failed.
    One,
    /// Prefect 2 and 3: a dead run is CRASHED; events and sub-states tell of its task.
    TwoOrThree,
}

/// A flow run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How far it is.
    pub phase: Phase,
    /// When its current turn was claimed. Prefect 1: time of the newest Submitted among the states of the flow run and,
    /// for a task retry, of its task runs. Prefect 2 and 3: time of the newest state *named* Pending, also when a
    /// sub-state or RUNNING has come since. `None` = unknown.
    pub claimed_at: Option<OffsetDateTime>,
    /// Prefect 2 and 3: as its platform wrote it down (ECS: `<cluster>::<task ARN>`); may be that of an earlier turn.
    pub infrastructure_pid: Option<String>,
    /// Number of the launch attempt in the mark of its claim, from 1; `None` = it is in no claim of ours.
    pub attempt: Option<u32>,
    /// Whose its newest claim is, also when its flow has begun since.
    pub claimed_by: ClaimedBy,
    /// Whether its flow ever ran, also in an earlier turn.
    pub has_run: bool,
    /// Prefect 1: a task run waits (see [`is_waiting_task_run`]), so that the flow's process may end although the run
    /// goes on.
    pub waits_for_task_runs: bool,
}

/// Whose a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimedBy {
    /// The agent's that was asked.
    Us,
    /// Another agent's of this program: its mark says so.
    AnotherAgent,
    /// Not known: a Python agent's, or there is none.
    Unknown,
}

impl ClaimedBy {
    /// By whether the agent in a claim's mark is the one that was asked; `None` = there is no mark.
    pub fn of_mark(is_ours: Option<bool>) -> Self {
        match is_ours {
            Some(true) => Self::Us,
            Some(false) => Self::AnotherAgent,
            None => Self::Unknown,
        }
    }
}

/// How far a flow run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody's now: scheduled, to be retried, queued, paused. Also every state that is not known here.
    Waiting,
    /// Claimed for launch; its flow has not begun in this turn.
    Claimed,
    /// Its flow runs.
    Running,
    /// A user cancelled it; that is not finished.
    Cancelling,
    /// It has a final state.
    Ended,
}

impl Phase {
    /// Of a flow run of Prefect 1. `has_claimed_task_runs`: a task run of it is Submitted with our mark, which is how a
    /// retry of tasks is claimed while the flow run stays Running.
    pub fn of_prefect_1(state: &str, has_claimed_task_runs: bool) -> Self {
        match state {
            "Submitted" => Self::Claimed,
            "Running" if has_claimed_task_runs => Self::Claimed,
            "Running" => Self::Running,
            "Cancelling" => Self::Cancelling,
            "Cancelled" | "Success" | "Failed" | "TimedOut" | "Finished" | "Skipped" | "Cached" | "Mapped"
            | "Looped" | "TriggerFailed" | "ValidationFailed" => Self::Ended,
            _ => Self::Waiting,
        }
    }

    /// Of a flow run of Prefect 2 or 3, by its `state_type`.
    pub fn of_prefect_3(state_type: &str) -> Self {
        match state_type {
            "PENDING" => Self::Claimed,
            "RUNNING" => Self::Running,
            "CANCELLING" => Self::Cancelling,
            "COMPLETED" | "FAILED" | "CRASHED" | "CANCELLED" => Self::Ended,
            _ => Self::Waiting,
        }
    }
}

/// How a flow run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// As it should.
    Well,
    /// As a user wanted it.
    Cancelled,
    /// In a failure.
    Badly,
}

impl RunEnd {
    /// Of a flow run of Prefect 1 that has ended, by its state.
    pub fn of_prefect_1(state: &str) -> Self {
        match state {
            "Success" | "Finished" | "Skipped" | "Cached" | "Mapped" | "Looped" => Self::Well,
            "Cancelled" => Self::Cancelled,
            _ => Self::Badly,
        }
    }

    /// Of a flow run of Prefect 2 or 3 that has ended, by its `state_type`.
    pub fn of_prefect_3(state_type: &str) -> Self {
        match state_type {
            "COMPLETED" => Self::Well,
            "CANCELLED" => Self::Cancelled,
            _ => Self::Badly,
        }
    }
}

/// Prefect 1: whether a task run in this state is taken up later by another process than the one that just ended.
pub fn is_waiting_task_run(state: &str) -> bool {
    matches!(state, "Scheduled" | "Retrying" | "Paused" | "Resume" | "Queued" | "Submitted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_trouble_are_named_as_they_are_written() {
        for kind in [
            ErrorKind::Configuration,
            ErrorKind::ApiUnreachable,
            ErrorKind::Unauthorised,
            ErrorKind::Throttled,
            ErrorKind::Maintenance,
            ErrorKind::ApiError,
            ErrorKind::Aws,
            ErrorKind::Platform,
            ErrorKind::ParameterStore,
            ErrorKind::Deadline,
            ErrorKind::Internal,
        ] {
            assert_eq!(serde_json::json!(kind), kind.name());
        }
    }

    #[test]
    fn phases_of_prefect_1() {
        let phase = |state| Phase::of_prefect_1(state, false);
        assert_eq!(phase("Submitted"), Phase::Claimed);
        assert_eq!(phase("Running"), Phase::Running);
        assert_eq!(Phase::of_prefect_1("Running", true), Phase::Claimed);
        assert_eq!(phase("Cancelling"), Phase::Cancelling);
        for state in ["Success", "Failed", "Cancelled", "TimedOut", "Skipped", "TriggerFailed", "ValidationFailed"] {
            assert_eq!(Phase::of_prefect_1(state, true), Phase::Ended, "{state}");
        }
        for state in ["Scheduled", "Queued", "Paused", "Resume", "Retrying", "Pending", "", "New in 1.5"] {
            assert_eq!(Phase::of_prefect_1(state, true), Phase::Waiting, "{state}");
        }
    }

    #[test]
    fn phases_of_prefect_3() {
        assert_eq!(Phase::of_prefect_3("PENDING"), Phase::Claimed);
        assert_eq!(Phase::of_prefect_3("RUNNING"), Phase::Running);
        assert_eq!(Phase::of_prefect_3("CANCELLING"), Phase::Cancelling);
        for state in ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"] {
            assert_eq!(Phase::of_prefect_3(state), Phase::Ended, "{state}");
        }
        for state in ["SCHEDULED", "PAUSED", "", "NEW"] {
            assert_eq!(Phase::of_prefect_3(state), Phase::Waiting, "{state}");
        }
    }

    #[test]
    fn ends_are_good_or_bad_by_their_type() {
        for state in ["Success", "Finished", "Skipped", "Cached", "Mapped", "Looped"] {
            assert_eq!(RunEnd::of_prefect_1(state), RunEnd::Well, "{state}");
        }
        for state in ["Failed", "TimedOut", "TriggerFailed", "ValidationFailed"] {
            assert_eq!(RunEnd::of_prefect_1(state), RunEnd::Badly, "{state}");
        }
        assert_eq!(RunEnd::of_prefect_1("Cancelled"), RunEnd::Cancelled);
        let ends = ["COMPLETED", "CANCELLED", "FAILED", "CRASHED"].map(RunEnd::of_prefect_3);
        assert_eq!(ends, [RunEnd::Well, RunEnd::Cancelled, RunEnd::Badly, RunEnd::Badly]);
    }

    #[test]
    fn task_runs_wait_for_another_process_or_they_do_not() {
        for state in ["Scheduled", "Retrying", "Paused", "Resume", "Queued", "Submitted"] {
            assert!(is_waiting_task_run(state), "{state}");
        }
        for state in ["Pending", "Running", "Success", "Failed", "Mapped", "Cached", ""] {
            assert!(!is_waiting_task_run(state), "{state}");
        }
    }
}
