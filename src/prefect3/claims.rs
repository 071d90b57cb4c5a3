//! Whose claim a PENDING run is, and the names from which that follows. Pure.
//!
//! A claim of ours has a `transition_id` that follows from the SCHEDULED state before it, and our mark in its `data`.
//! Sub-states (`Submitting`, `InfrastructurePending`), which others may put over it, have no such id: then the run's
//! history tells.

use super::names::{Names, is_derived};
use super::states::{Row, State};
use crate::model::ClaimedBy;
use crate::orchestrator::Mark;
use time::OffsetDateTime;

/// Whose claim it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClaimOwner {
    /// Ours, and since when.
    Ours(Mark, OffsetDateTime),
    /// Another's.
    Foreign,
    /// The state does not tell; the run's history does.
    Untold,
}

/// Who asks: the names it gives, and `<root>/<agent>`, with which the poll compares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub names: &'a Names,
    pub marked_as: &'a str,
}

impl Claimant<'_> {
    /// By the current state of a PENDING run alone.
    pub(super) fn by_state(self, run: &Row) -> ClaimOwner {
        let Some(state) = &run.state else { return ClaimOwner::Untold };
        if !state.is_claim() {
            return ClaimOwner::Untold;
        }
        match (self.marked(state), &state.transition_id) {
            (Some(ours), _) => ours,
            // A server that drops `data` leaves the id, which only the state before the claim explains.
            (None, Some(id)) if state.mark.is_none() && is_derived(id) => ClaimOwner::Untold,
            _ => ClaimOwner::Foreign,
        }
    }

    /// By all of a run's states, in any order: those of the newest claim and before it.
    pub(super) fn by_history(self, flow_run_id: &str, states: &[State]) -> ClaimOwner {
        let Some(claim) = newest_claim(states) else { return ClaimOwner::Foreign };
        // Only what is SCHEDULED becomes Late: such a state was there before the claim, or another one stands between
        // them. The server dates a state when it begins to write it, and two of its processes need not agree.
        let ends = |state: &&State| state.kind != "PENDING" && !(state.kind == "SCHEDULED" && state.name == "Late");
        let after = states.iter().filter(|state| state.timestamp > claim.timestamp);
        if let Some(over) = after.filter(ends).max_by_key(|state| state.timestamp) {
            if over.kind != "SCHEDULED" {
                return ClaimOwner::Foreign;
            }
            return self.told_too_late(states.iter().filter(|state| state.timestamp > over.timestamp));
        }
        if let Some(ours) = self.marked(claim) {
            return ours;
        }
        let seen = self.seen_before(flow_run_id, states, claim);
        let (Some(id), Some(seen), Some(since)) = (&claim.transition_id, seen, claim.timestamp) else {
            return ClaimOwner::Foreign;
        };
        let (attempts, capacity_refusals) = attempts(seen);
        ClaimOwner::Ours(self.mark(id, attempts + 1, capacity_refusals), since)
    }

    /// The state from which a claim follows by its name alone, if it is ours. A run that is late gets another SCHEDULED
    /// state while we look: any of them may be the one we saw.
    fn seen_before<'s>(self, flow_run_id: &str, states: &'s [State], claim: &State) -> Option<&'s State> {
        let id = claim.transition_id.as_ref()?;
        let before = states.iter().filter(|state| state.kind == "SCHEDULED" && state.timestamp <= claim.timestamp);
        before.filter(|state| self.names.claim(flow_run_id, &state.id) == *id).max_by_key(|state| state.timestamp)
    }

    /// Whose the newest claim is, also when its flow has begun since.
    pub(super) fn claimed_by(self, flow_run_id: &str, states: &[State]) -> ClaimedBy {
        let Some(claim) = newest_claim(states) else { return ClaimedBy::Unknown };
        match &claim.mark {
            Some(mark) => ClaimedBy::of_mark(Some(mark.agent == self.names.identity())),
            None if self.seen_before(flow_run_id, states, claim).is_some() => ClaimedBy::Us,
            None => ClaimedBy::Unknown,
        }
    }

    /// By the states over a claim that is over already. `task-events` may have told of the claim's task in the very moment
    /// in which the claim was given back: then the run is PENDING, and nobody but us can know that nobody has claimed
    /// it. It is finished as the claim that it was. Anybody else's state is a claim of theirs.
    fn told_too_late<'s>(self, states: impl Iterator<Item = &'s State>) -> ClaimOwner {
        let is_ours = |mark: &Mark| mark.agent == self.names.identity();
        let mut newest: Option<(&Mark, OffsetDateTime)> = None;
        for state in states {
            match (&state.mark, state.timestamp) {
                (Some(mark), Some(at)) if is_ours(mark) && newest.is_none_or(|(_, newest)| at >= newest) => {
                    newest = Some((mark, at));
                }
                (Some(mark), Some(_)) if is_ours(mark) => {}
                _ => return ClaimOwner::Foreign,
            }
        }
        newest.map_or(ClaimOwner::Foreign, |(mark, at)| {
            ClaimOwner::Ours(Mark { agent: self.marked_as.to_owned(), ..mark.clone() }, at)
        })
    }

    /// By the mark in a claim.
    fn marked(self, claim: &State) -> Option<ClaimOwner> {
        let mark = claim.mark.as_ref()?;
        let is_ours = mark.agent == self.names.identity() && claim.made_by() == Some(&mark.token);
        let ours = Mark { agent: self.marked_as.to_owned(), ..mark.clone() };
        is_ours.then_some(ClaimOwner::Ours(ours, claim.timestamp?))
    }

    /// The mark that a claim with this `transition_id` would have if it were ours.
    pub(super) fn mark(self, transition_id: &str, attempt: u32, capacity_refusals: u32) -> Mark {
        Mark {
            agent: self.marked_as.to_owned(),
            epoch: transition_id.to_owned(),
            attempt,
            capacity_refusals,
            token: transition_id.to_owned(),
            place: String::new(),
        }
    }
}

/// The newest state that a claim wrote.
pub(super) fn newest_claim(states: &[State]) -> Option<&State> {
    states.iter().filter(|state| state.is_claim()).max_by_key(|state| state.timestamp)
}

/// Launches that were given back before a SCHEDULED state, and how many of them for want of capacity.
pub(super) fn attempts(scheduled: &State) -> (u32, u32) {
    scheduled.mark.as_ref().map_or((0, 0), |mark| (mark.attempt, mark.capacity_refusals))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod names_tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_the_same_for_the_same_and_different_for_everything_else() {
        let names = |identity: &str| Names::new(identity.to_owned());
        assert_eq!(names("a").claim("run", "state"), names("a").claim("run", "state"));
        let all = [
            names("a").claim("run", "state"),
            names("b").claim("run", "state"),
            names("a").claim("run", "state2"),
            names("a").claim("runs", "tate"),
            names("a\",\"run").claim("x", "state"),
            names("a").event("run", "state"),
            names("a").executed_event("run", "state"),
            names("a").end_of_claim("run", "state", ""),
            names("a").end_of_claim("run", "state", "Crashed"),
            names("a").csrf_client("run"),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn only_derived_ids_may_be_ours() {
        assert!(is_derived(&Names::new("a".into()).claim("run", "state")));
        for foreign in ["16c5f7ac-c5a4-4a0e-a26d-25cff0b2dfb8", "01a20411-6240-7d37-a705-fa8bc3845180", "", "x"] {
            assert!(!is_derived(foreign), "{foreign}");
        }
    }
}
