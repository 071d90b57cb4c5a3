//! Flow runs, as both generations of Prefect and everybody else name them.

use serde_json::Value;
use std::fmt::{self, Display};
use time::OffsetDateTime;

/// A flow run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u32);

const PREFIX: &str = "00000000-0000-4000-8000-";

impl Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:012}", self.0)
    }
}

impl RunId {
    /// The run of this id.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }
}

/// What a run brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// It can be launched.
    Good,
    /// It cannot be rendered: it fails for what it says itself.
    Unrenderable,
    /// ECS refuses it for what it says itself.
    Unlaunchable,
    /// Prefect 3: its deployment was deleted; it ends as Cancelled.
    Gone,
}

impl Flavour {
    /// Whether it can never be launched.
    pub fn is_bad(self) -> bool {
        self != Self::Good
    }
}

/// How far a run is, whichever Prefect keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Due at this time, if nothing happens.
    Scheduled(OffsetDateTime),
    /// Waits for somebody: paused, queued by a limit.
    Waiting,
    /// Claimed for launch.
    Claimed(Held),
    /// Its flow runs. Prefect 1: the claims of its task runs.
    Running(Vec<Held>),
    /// A user cancelled it; that is not finished.
    Cancelling,
    /// It is Cancelled.
    Cancelled,
    /// It has another final state.
    Ended,
}

/// A claim that a run is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What its launch is named by; empty for claims of others that name none.
    pub token: String,
    /// Whether it carries a mark of the agent.
    pub is_ours: bool,
}

impl Phase {
    /// Cancelled, or about to be.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelling | Self::Cancelled)
    }
}

/// The variables that name a task's flow run, in Prefect 1 and 3.
const RUN_VARIABLES: [&str; 2] = ["PREFECT__CONTEXT__FLOW_RUN_ID", "PREFECT__FLOW_RUN_ID"];

/// The run that a task is started for, by the variable in its request.
pub fn run_of(request: &Value) -> Option<RunId> {
    let overrides = request["overrides"]["containerOverrides"].as_array()?;
    let mut variables = overrides.iter().filter_map(|container| container["environment"].as_array()).flatten();
    let named = variables.find(|variable| RUN_VARIABLES.iter().any(|name| variable["name"] == *name))?;
    RunId::parse(named["value"].as_str()?)
}
