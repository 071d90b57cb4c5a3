//! What became of a flow run, as the server tells it.

use super::server::Server;
use crate::Error;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use world::ecs::Task;

/// A flow run.
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Name of its deployment.
    pub(crate) deployment: String,
    /// `name=value`, separated by commas.
    pub(crate) parameters: String,
    /// When it is to start.
    pub(crate) due: Option<OffsetDateTime>,
    /// When it was claimed.
    pub(crate) claimed: Option<OffsetDateTime>,
    /// When its task was started.
    pub(crate) task: Option<OffsetDateTime>,
    /// When its flow began.
    pub(crate) running: Option<OffsetDateTime>,
    /// When it came to the state that it is in.
    pub(crate) ended: Option<OffsetDateTime>,
    /// Type of the state that it is in.
    pub(crate) state: String,
    /// The state's message.
    pub(crate) message: String,
}

/// How a flow run should end: state and what its message says.
#[derive(Clone, Copy)]
pub(crate) struct Expected(pub(crate) &'static str, pub(crate) &'static str);

impl Expected {
    /// By what its deployment does.
    pub(crate) fn of(deployment: &str) -> Self {
        match deployment {
            "fragile" => Self("FAILED", "there is no such table: orders_2019"),
            "hungry" => Self("CRASHED", "137"),
            _ => Self("COMPLETED", ""),
        }
    }

    /// When a user cancels it before its task began.
    pub(crate) const CANCELLED: Self = Self("CANCELLED", "");

    /// What is wrong.
    pub(crate) fn wrong(self, run: &Run) -> Option<String> {
        let Self(state, message) = self;
        if run.state != state {
            return Some(format!("it should be {state}, and is {}: {}", run.state, run.message));
        }
        (!run.message.contains(message))
            .then(|| format!("its message should say {message:?}, and is {:?}", run.message))
    }
}

impl Run {
    /// Reads it.
    pub(crate) async fn read(server: &Server, id: &str, task: Option<&Task>) -> Result<Self, Error> {
        let run = server.get(&format!("/flow_runs/{id}")).await?;
        let states = server.get(&format!("/flow_run_states/?flow_run_id={id}")).await?;
        let states: Vec<&Value> = states.as_array().into_iter().flatten().collect();
        let first =
            |kind: &str| states.iter().filter(|state| state["type"] == kind).filter_map(|state| at(state)).min();
        let deployment = server.deployments.iter().find(|(_, id)| run["deployment_id"] == id.as_str());
        Ok(Self {
            id: id.to_owned(),
            name: text(&run["name"]),
            deployment: deployment.map(|(name, _)| name.clone()).unwrap_or_default(),
            parameters: parameters(&run["parameters"]),
            due: instant(&run["expected_start_time"]),
            claimed: first("PENDING"),
            task: task.map(|task| task.created_at),
            running: first("RUNNING"),
            ended: at(&run["state"]),
            state: text(&run["state"]["type"]),
            message: text(&run["state"]["message"]),
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn instant(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

fn at(state: &Value) -> Option<OffsetDateTime> {
    instant(&state["timestamp"])
}

fn parameters(given: &Value) -> String {
    let given = given.as_object().into_iter().flatten();
    let shown = given.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}
