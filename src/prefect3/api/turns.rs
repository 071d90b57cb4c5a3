//! Whether a SCHEDULED run is still in the turn in which it was seen. Pure.
//!
//! A turn is one scheduled time of one SCHEDULED spell. States that say the same again have ids of their own: the server's
//! Late service writes one at any moment, also between two requests of a poll. A claim is named by the state that the run
//! was seen in, whichever of its turn's states that was, so two invocations that saw different ones name their claims
//! differently: the server lets only the first of them pass, and the second finds a claim that is not its own.

use super::runs::Row;
use serde_json::Value;
use time::OffsetDateTime;

/// The state that a run was seen in, and its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    state_id: String,
    turn: Option<Turn>,
}

/// What a state that says the same again leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    scheduled: OffsetDateTime,
    /// A flow that has begun since was another spell.
    run_count: u64,
    /// So was one that was given a task.
    pid: Option<String>,
}

impl Seen {
    /// What is seen of a run.
    pub(super) fn of(run: &Row) -> Self {
        Self { state_id: run.state_id.clone(), turn: Turn::of(run) }
    }

    /// Whether this is the same turn, or, of a run that is not due, the very same state.
    pub(super) fn is_same_turn(&self, now: &Row) -> bool {
        if now.state_id == self.state_id {
            return true;
        }
        // Only a claim that is over leaves a mark in a SCHEDULED state: another spell, also if the time were the same.
        let is_given_back = now.state.as_ref().is_some_and(|state| state.mark.is_some());
        self.turn.is_some() && self.turn == Turn::of(now) && !is_given_back
    }
}

impl Turn {
    fn of(run: &Row) -> Option<Self> {
        let scheduled = run.time("next_scheduled_start_time").filter(|_| run.kind() == "SCHEDULED")?;
        let run_count = run.flow_run.others.get("run_count").and_then(Value::as_u64).unwrap_or_default();
        Some(Self { scheduled, run_count, pid: run.pid().map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests;
