//! States of flow runs.

use super::{Generation, answer::Outcome, fields::Fields, times};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// The type of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum StateType {
    Scheduled,
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
    Crashed,
    Paused,
    Cancelling,
}

const TYPES: [(StateType, &str, &str); 9] = [
    (StateType::Scheduled, "SCHEDULED", "Scheduled"),
    (StateType::Pending, "PENDING", "Pending"),
    (StateType::Running, "RUNNING", "Running"),
    (StateType::Completed, "COMPLETED", "Completed"),
    (StateType::Failed, "FAILED", "Failed"),
    (StateType::Cancelled, "CANCELLED", "Cancelled"),
    (StateType::Crashed, "CRASHED", "Crashed"),
    (StateType::Paused, "PAUSED", "Paused"),
    (StateType::Cancelling, "CANCELLING", "Cancelling"),
];

/// What the server says to a type that it does not know.
pub(super) const UNKNOWN_TYPE: &str = "Input should be 'SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', \
                                       'CANCELLED', 'CRASHED', 'PAUSED' or 'CANCELLING'";

impl StateType {
    /// By its name in the API, e.g. `PENDING`.
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|(_, known, _)| *known == name).map(|(kind, _, _)| *kind)
    }

    fn entry(self) -> (&'static str, &'static str) {
        TYPES.iter().find(|(kind, _, _)| *kind == self).map_or(("", ""), |(_, name, title)| (name, title))
    }

    /// Its name in the API, e.g. `PENDING`.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// The name of a state of this type that was given none, e.g. `Pending`.
    pub fn title(self) -> &'static str {
        self.entry().1
    }

    /// Whether a run in it has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Crashed)
    }
}

/// A state of a flow run.
#[derive(Clone, Debug)]
pub struct RunState {
    /// UUID, version 7.
    pub id: String,
    /// The type.
    pub kind: StateType,
    /// The name, e.g. `Late` or `Submitting`.
    pub name: String,
    /// When it was set.
    pub timestamp: OffsetDateTime,
    /// The message.
    pub message: Option<String>,
    /// The data, e.g. of a result.
    pub data: Value,
    /// More.
    pub details: StateDetails,
}

/// What states carry beside the message: what the server's rules look at, and the rest.
#[derive(Clone, Debug, Default)]
pub struct StateDetails {
    /// The run.
    pub flow_run_id: Option<String>,
    /// When the run is to start.
    pub scheduled_time: Option<OffsetDateTime>,
    /// The client's name of the transition that made the state.
    pub transition_id: Option<String>,
    /// Until when a pause may last.
    pub pause_timeout: Option<OffsetDateTime>,
    /// Whether the pause gives the infrastructure up.
    pub pause_reschedule: bool,
    /// The pause's name.
    pub pause_key: Option<String>,
    /// The hold on a slot of the deployment's concurrency limit.
    pub deployment_concurrency_lease_id: Option<String>,
    /// The other members, as given.
    pub rest: Map<String, Value>,
}

const DETAILS: [&str; 18] = [
    "flow_run_id",
    "task_run_id",
    "child_flow_run_id",
    "scheduled_time",
    "cache_key",
    "cache_expiration",
    "deferred",
    "untrackable_result",
    "pause_timeout",
    "pause_reschedule",
    "pause_key",
    "run_input_keyset",
    "refresh_cache",
    "retriable",
    "transition_id",
    "task_parameters_id",
    "traceparent",
    "deployment_concurrency_lease_id",
];

/// What Prefect 2 does not have of [`DETAILS`].
const LATER: [&str; 3] = ["deferred", "traceparent", "deployment_concurrency_lease_id"];

/// What Prefect 2.10 does not have, either.
const LATER_THAN_2_10: [&str; 4] = ["run_input_keyset", "retriable", "transition_id", "task_parameters_id"];

impl StateDetails {
    fn read(fields: &Fields<'_>) -> Outcome<Self> {
        let mut rest = Map::new();
        for key in DETAILS {
            if fields.has(key) {
                rest.insert(key.to_owned(), fields.get(key).cloned().unwrap_or_default());
            }
        }
        Ok(Self {
            flow_run_id: fields.id("flow_run_id")?,
            scheduled_time: fields.time("scheduled_time")?,
            transition_id: fields.id("transition_id")?,
            pause_timeout: fields.time("pause_timeout")?,
            pause_reschedule: fields.boolean("pause_reschedule")?.unwrap_or_default(),
            pause_key: fields.text("pause_key")?,
            deployment_concurrency_lease_id: fields.id("deployment_concurrency_lease_id")?,
            rest,
        })
    }

    fn row(&self, generation: Generation) -> Value {
        let known = DETAILS
            .iter()
            .filter(|key| !generation.is_two() || !LATER.contains(key))
            .filter(|key| generation != Generation::TwoTen || !LATER_THAN_2_10.contains(key));
        let member = |key: &&str| {
            let value = match *key {
                "flow_run_id" => json!(self.flow_run_id),
                "scheduled_time" => times::json(self.scheduled_time, generation),
                "transition_id" => json!(self.transition_id),
                "pause_timeout" => times::json(self.pause_timeout, generation),
                "pause_reschedule" => json!(self.pause_reschedule),
                "pause_key" => json!(self.pause_key),
                "deployment_concurrency_lease_id" => json!(self.deployment_concurrency_lease_id),
                "deferred" | "untrackable_result" => self.rest.get(*key).cloned().unwrap_or(json!(false)),
                key => self.rest.get(key).cloned().unwrap_or_default(),
            };
            ((*key).to_owned(), value)
        };
        known.map(member).collect()
    }
}

impl RunState {
    /// A state without more.
    pub fn new(kind: StateType, now: OffsetDateTime) -> Self {
        let mut state = Self {
            id: times::new_id_at(now),
            kind,
            name: kind.title().to_owned(),
            timestamp: now,
            message: None,
            data: Value::Null,
            details: StateDetails::default(),
        };
        state.schedule(now);
        state
    }

    /// With another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With a message.
    #[must_use]
    pub fn saying(mut self, message: &str) -> Self {
        self.message = Some(message.to_owned());
        self
    }

    /// With a time to start at.
    #[must_use]
    pub fn starting(mut self, at: OffsetDateTime) -> Self {
        self.details.scheduled_time = Some(at);
        self
    }

    /// A Scheduled state without a time is due now.
    fn schedule(&mut self, now: OffsetDateTime) {
        if self.kind == StateType::Scheduled {
            self.details.scheduled_time.get_or_insert(now);
        }
    }

    /// Reads the state that a request proposes.
    pub(super) fn read(fields: Fields<'_>, now: OffsetDateTime) -> Outcome<Self> {
        let fields = fields.only(&["type", "name", "message", "data", "state_details"])?;
        let kind = fields.required("type")?.as_str().and_then(StateType::named);
        let kind = kind.ok_or_else(|| fields.refuse("type", "enum", UNKNOWN_TYPE))?;
        let mut state = Self::new(kind, now);
        if let Some(name) = fields.text("name")? {
            state.name = name;
        }
        state.message = fields.text("message")?;
        state.data = fields.get("data").cloned().unwrap_or_default();
        if let Some(details) = fields.solid_child("state_details")? {
            state.details = StateDetails::read(&details)?;
        }
        state.schedule(now);
        Ok(state)
    }

    /// The state's row.
    pub(super) fn row(&self, generation: Generation) -> Value {
        json!({
            "id": self.id,
            "type": self.kind.name(),
            "name": self.name,
            "timestamp": times::show(self.timestamp, generation),
            "message": self.message,
            "data": self.data,
            "state_details": self.details.row(generation),
        })
    }
}
