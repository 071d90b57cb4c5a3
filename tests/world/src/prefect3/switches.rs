//! How the API behaves.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whose API it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// Prefect 2.10, in addition: states keep no `transition_id`, and flow runs have no job variables of their own.
    TwoTen,
    /// Prefect 2.20: no labels, no states below Pending, no concurrency limits of deployments, nobody ends a run that
    /// stays Cancelling, and a Cancelled run is not started again; deployments call their job variables
    /// `infra_overrides`.
    Two,
    /// Prefect 3.8.
    #[default]
    Three,
}

impl Generation {
    /// Whether it is one of Prefect 2.
    pub fn is_two(self) -> bool {
        matches!(self, Self::TwoTen | Self::Two)
    }

    /// The version that the server tells.
    pub fn version(self) -> &'static str {
        match self {
            Self::TwoTen => "2.10.21",
            Self::Two => "2.20.27",
            Self::Three => "3.8.8",
        }
    }
}

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Everybody.
    #[default]
    None,
    /// Self-hosted servers: `Authorization: Basic` with this text in base64.
    Basic {
        /// `user:password`
        auth_string: String,
    },
    /// Prefect Cloud: `Authorization: Bearer` with one of these keys.
    Keys {
        /// The keys.
        keys: Vec<String>,
    },
}

/// A database that takes few writes at once, as `SQLite` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Busy {
    /// So many writes at once are taken; a further one is answered 503 and has no effect.
    pub at_once: usize,
    /// How long a write takes, milliseconds.
    pub ms: u64,
}

/// How the API behaves. Every member has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, named in the control API")]
pub struct Switches {
    /// Whose API it is.
    pub generation: Generation,
    /// Prefect Cloud: heartbeats may ask for the worker's id, log lines may name their worker, no CSRF, and no service
    /// that ends what stays Cancelling.
    pub cloud: bool,
    /// Who may ask.
    pub auth: Auth,
    /// Whether writes need a CSRF token.
    pub csrf: bool,
    /// Whether the database takes few writes at once.
    pub busy: Option<Busy>,
    /// Whether labels can be written.
    pub labels: bool,
    /// Whether Pending runs may move on to named states below Pending, e.g. `Submitting`.
    pub sub_states: bool,
    /// Whether a heartbeat on Prefect Cloud may ask for the worker's id.
    pub return_id: bool,
    /// Whether the server's services run: before every request they do what was due.
    pub services: bool,
    /// The most rows of one answer, and the default.
    pub api_limit: i64,
    /// A Scheduled run that is so late is marked Late, seconds.
    pub late_after_seconds: i64,
    /// A run that stays Cancelling for so long is Cancelled, seconds; none: never.
    pub cancelling_timeout_seconds: Option<i64>,
    /// A run that found no slot of its deployment asks again after so long, seconds.
    pub slot_wait_seconds: i64,
    /// For how long a slot is held without renewal, seconds.
    pub lease_seconds: i64,
    /// Requests in whose very moment the Late service is at work.
    pub late: Option<LateBefore>,
    /// Requests that fail without effect; the first rule that matches is used.
    pub fail: Vec<FailRule>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            generation: Generation::Three,
            cloud: false,
            auth: Auth::None,
            csrf: false,
            busy: None,
            labels: true,
            sub_states: true,
            return_id: true,
            services: true,
            api_limit: 200,
            late_after_seconds: 15,
            cancelling_timeout_seconds: Some(300),
            slot_wait_seconds: 30,
            lease_seconds: 300,
            late: None,
            fail: Vec::new(),
        }
    }
}

fn forever() -> u32 {
    u32::MAX
}

/// A moment in which the Late service is at work, however little the runs are late: before each of these requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateBefore {
    /// The operation's name, e.g. `set_state`.
    pub operation: String,
    /// Only requests whose path and query, or whose body, contain this, e.g. the id of a run.
    #[serde(default)]
    pub contains: String,
}

/// A request that is answered otherwise and has no effect: rate limits, maintenance, one run that always fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRule {
    /// The operation's name, e.g. `set_state`; `*` for any.
    pub operation: String,
    /// Only requests whose path and query, or whose body, contain this, e.g. the id of a run.
    #[serde(default)]
    pub contains: String,
    /// The status, e.g. 429.
    pub status: u16,
    /// The JSON body.
    #[serde(default)]
    pub body: Value,
    /// Headers, e.g. `Retry-After`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How often; default for ever.
    #[serde(default = "forever")]
    pub times: u32,
}

impl LateBefore {
    /// Before such requests.
    pub fn new(operation: &str, contains: &str) -> Self {
        Self { operation: operation.to_owned(), contains: contains.to_owned() }
    }

    pub(super) fn is_before(&self, operation: &str, request: &str) -> bool {
        self.operation == operation && request.contains(&self.contains)
    }
}

impl FailRule {
    /// Answers every such request with a status and a body like the server's own.
    pub fn new(operation: &str, status: u16) -> Self {
        let body = serde_json::json!({"exception_message": "Service Unavailable"});
        Self {
            operation: operation.to_owned(),
            contains: String::new(),
            status,
            body,
            headers: BTreeMap::new(),
            times: forever(),
        }
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Only requests whose path, query or body contain this.
    #[must_use]
    pub fn when_contains(mut self, text: &str) -> Self {
        text.clone_into(&mut self.contains);
        self
    }

    /// With a header, e.g. `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }
}
