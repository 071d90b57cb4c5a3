//! The report of a poll: what people and tests look at. Its field names are fixed.

use crate::model::ErrorKind;
use crate::redaction::Redaction;
use serde::Serialize;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The report of one invocation, by agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// One entry per polled agent.
    pub agents: BTreeMap<String, AgentReport>,
}

impl Report {
    /// Whether no agent's own poll failed. Maintenance of Prefect is no failure: nobody here can do anything about it.
    pub fn ok(&self) -> bool {
        !self.agents.values().any(AgentReport::failed_itself)
    }
}

/// What one poll of one agent did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AgentReport {
    /// The poll itself worked; single runs may still have failed.
    pub ok: bool,
    /// Why it did not, for people; never a secret.
    pub error: Option<String>,
    /// The kind of `error`.
    pub error_kind: Option<ErrorKind>,
    /// With kind `maintenance`: until when, as Prefect announces it.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<OffsetDateTime>,
    /// Number of this poll.
    pub poll: u64,
    /// `max_polls` is reached: nothing was polled.
    pub stopped: bool,
    /// `enabled: false`: nothing was polled.
    pub disabled: bool,
    /// Due runs found.
    pub ready: usize,
    /// Runs that have a task now.
    pub launched: Vec<LaunchedRun>,
    /// Runs left for a later poll.
    pub deferred: Vec<WithReason>,
    /// Runs that are not ours to launch.
    pub skipped: Vec<WithReason>,
    /// Runs that failed for good.
    pub failed: Vec<WithReason>,
    /// Orphaned claims that were finished.
    pub recovered: Vec<Recovered>,
    /// Runs that a user cancelled, and that are over now.
    pub cancelled: Vec<WithReason>,
    /// Claims of others seen.
    pub foreign_pending: usize,
    /// Requests that were answered with "too many".
    pub throttled: usize,
    /// Labels and tasks of launched runs that could not be written down yet (Prefect 2 and 3): a warm process does it
    /// with its next poll.
    pub untold: usize,
    /// What may need a person: unknown backend settings, keys delivered in the environment.
    pub warnings: Vec<String>,
    /// How long the poll took, milliseconds.
    pub duration_ms: u64,
}

impl AgentReport {
    /// The same without secrets, in all that is said for people.
    #[must_use]
    pub fn without(mut self, redaction: &Redaction) -> Self {
        let Self { error, deferred, skipped, failed, cancelled, warnings, .. } = &mut self;
        let reasons = [deferred, skipped, failed, cancelled].into_iter().flatten().map(|run| &mut run.reason);
        for text in error.iter_mut().chain(reasons).chain(warnings) {
            *text = redaction.text(std::mem::take(text));
        }
        self
    }

    /// Its own poll did not work, and not because Prefect is in maintenance.
    pub fn failed_itself(&self) -> bool {
        !self.ok && self.error_kind != Some(ErrorKind::Maintenance)
    }
}

/// A run that has a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaunchedRun {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// ARN of its task.
    pub task_arn: String,
    /// The task existed already.
    pub adopted: bool,
}

/// A run and why it went this way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WithReason {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// For people.
    pub reason: String,
}

/// An orphaned claim that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// ARN of its task.
    pub task_arn: String,
}
