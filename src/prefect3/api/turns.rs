//! Whether a SCHEDULED run is still in the turn in which it was seen. Pure.
//!
//! A turn is one scheduled time of one SCHEDULED spell. States that say the same again have ids of their own: the server's
//! Late service writes one at any moment, also between two requests of a poll. A claim is named by the state that the run
//! was seen in, whichever of its turn's states that was, so two invocations that saw different ones name their claims
//! differently: the server lets only the first of them pass, and the second finds a claim that is not its own.

use time::OffsetDateTime;

/// The state that a run was seen in, and its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenState {
    state_id: String,
    turn: Option<ScheduledTurn>,
}

/// What a state that says the same again leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScheduledTurn {
    pub(super) scheduled: OffsetDateTime,
    /// A flow that has begun since was another spell.
    pub(super) run_count: u64,
    /// So was one that was given a task.
    pub(super) pid: Option<String>,
}

impl SeenState {
    /// What is seen of a run.
    pub(super) fn new(state_id: &str, turn: Option<ScheduledTurn>) -> Self {
        Self { state_id: state_id.to_owned(), turn }
    }

    /// Whether what is seen `now` is the same turn, or, of a run that is not due, the very same state. `is_given_back`: its
    /// state holds a mark, which only a claim that is over leaves in a SCHEDULED state: another spell, also if the time
    /// were the same.
    pub(super) fn is_same_turn(&self, now: &Self, is_given_back: bool) -> bool {
        now.state_id == self.state_id || (self.turn.is_some() && self.turn == now.turn && !is_given_back)
    }
}

#[cfg(test)]
mod tests;
