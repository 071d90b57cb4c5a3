//! How the API behaves.

use serde::{Deserialize, Serialize};

/// Whose API it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Prefect Cloud 1: API keys and tokens.
    #[default]
    Cloud,
    /// Prefect Server: no authentication, no `auth_info`.
    Server,
}

/// How the API behaves. Every member has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, named in the control API")]
pub struct Switches {
    /// Whose API it is.
    pub backend: Backend,
    /// Unknown keys are answered with status 200 instead of 401.
    pub unauthenticated_is_200: bool,
    /// The type `jsonb_comparison_exp` has no `_contained_in`, so documents that use it are refused.
    pub without_contained_in: bool,
    /// A `flow_run` document longer than so many bytes, variables included, is refused.
    pub max_flow_run_query: Option<usize>,
    /// A state that comes with a version other than its run's is refused, for every flow.
    pub version_locking: bool,
    /// So many runs may be Submitted or Running; a further one is stored as Queued and answered `QUEUED`.
    pub flow_concurrency: Option<usize>,
    /// For so long a Submitted run refuses another Submitted, seconds.
    pub submitted_lock_seconds: f64,
    /// The queue reads so many of the oldest due runs before it looks at labels.
    pub queue_rows: usize,
    /// The queue answers at most so many ids.
    pub queue_ids: usize,
    /// Logs are refused: `success` is false.
    pub logs_refused: bool,
    /// Hasura cannot be reached.
    pub hasura_down: bool,
    /// Prefect's own service behind the gateway cannot be reached; Hasura's tables can.
    pub service_down: bool,
    /// Root fields that fail without effect; the first that matches a field is used.
    pub fail: Vec<FailRule>,
    /// Parts of the data that are answered as null although the field had its effect.
    pub nulls: Vec<NullRule>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            backend: Backend::Cloud,
            unauthenticated_is_200: false,
            without_contained_in: false,
            max_flow_run_query: None,
            version_locking: false,
            flow_concurrency: None,
            submitted_lock_seconds: 30.0,
            queue_rows: 75,
            queue_ids: 25,
            logs_refused: false,
            hasura_down: false,
            service_down: false,
            fail: Vec::new(),
            nulls: Vec::new(),
        }
    }
}

fn forever() -> u32 {
    u32::MAX
}

fn internal() -> String {
    super::failure::INTERNAL.to_owned()
}

/// A root field that fails without effect; the other fields of the document are not disturbed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailRule {
    /// The field's name, e.g. `set_flow_run_states`.
    pub field: String,
    /// Only fields whose arguments, as JSON text, contain this, e.g. the id of a run.
    #[serde(default)]
    pub contains: String,
    /// The error's message.
    pub message: String,
    /// The error's code.
    #[serde(default = "internal")]
    pub code: String,
    /// How often; default for ever.
    #[serde(default = "forever")]
    pub times: u32,
}

impl FailRule {
    /// Fails every such field.
    pub fn new(field: &str, message: &str) -> Self {
        Self {
            field: field.to_owned(),
            contains: String::new(),
            message: message.to_owned(),
            code: internal(),
            times: forever(),
        }
    }
}

/// A part of the data that is answered as null although the field had its effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NullRule {
    /// Keys (aliases, where there are any) and indexes joined by `.`, `*` for any, e.g. `flow_run.*.flow`; empty for
    /// the whole of `data`. Absent paths are left alone.
    pub path: String,
    /// The message of an error that goes with it; none leaves a null without an error.
    #[serde(default)]
    pub error: Option<String>,
    /// How many answers; default for ever.
    #[serde(default = "forever")]
    pub times: u32,
}

impl NullRule {
    /// Nulls it in every answer.
    pub fn new(path: &str, error: Option<&str>) -> Self {
        Self { path: path.to_owned(), error: error.map(str::to_owned), times: forever() }
    }
}
