//! Rows → due runs, claims and whose they are, runs as they are now: as the agent reads them.

use super::server::{FlowRun, Kind, State};
use crate::process::MARKED_AS;
use crate::run::RunId;
use prefect_serverless_agent::orchestrator::{DueRun, Mark, RunNow};
use time::OffsetDateTime;

/// What Prefect 3 says about a due run.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The run.
    pub run: RunId,
    /// The state that it was seen in.
    pub(super) seen: Seen,
}

/// The state that a run was seen in, and what a state that says the same again leaves as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    state_id: Option<u64>,
    turn: Option<(Option<OffsetDateTime>, u32, Option<String>)>,
}

impl Seen {
    /// What is seen of a run.
    pub(super) fn of(row: &FlowRun) -> Self {
        let turn = (row.kind() == Kind::Scheduled).then(|| (row.next, row.run_count, row.pid.clone()));
        Self { state_id: row.state().map(|state| state.id), turn }
    }

    /// Whether this is the same turn, or, of a run that is not due, the very same state.
    pub(super) fn is_same_turn(&self, now: &FlowRun) -> bool {
        let is_given_back = now.state().is_some_and(|state| state.mark.is_some());
        let other = Self::of(now);
        self.state_id == other.state_id || (self.turn.is_some() && self.turn == other.turn && !is_given_back)
    }
}

/// Whose claim a PENDING run is in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Whose {
    /// Ours, and since when.
    Ours(Mark, OffsetDateTime),
    /// Another's.
    Foreign,
    /// The state does not tell; the run's history does.
    Untold,
}

/// The name of the claim of a run that was seen in this state.
pub(super) fn epoch(run: RunId, state_id: u64) -> String {
    format!("{MARKED_AS}-{}-{state_id}", run.0).replace('/', "-")
}

/// The run as the planner knows it.
pub(super) fn turn(
    run: RunId,
    row: &FlowRun,
    epoch: String,
    start_time: OffsetDateTime,
    (attempts, capacity_refusals): (u32, u32),
) -> DueRun<Detail> {
    let id = run.to_string();
    let name = row.state().map_or("", |state| state.name);
    let moved = row.next != Some(row.expected);
    DueRun {
        name: id.clone(),
        flow_run_id: id,
        start_time,
        token: epoch.clone(),
        epoch,
        has_history: row.run_count > 0 || row.pid.is_some() || name == "AwaitingRetry" || moved,
        is_task_retry: false,
        attempts,
        capacity_refusals,
        detail: Detail { run, seen: Seen::of(row) },
    }
}

/// By the current state of a PENDING run alone.
pub(super) fn by_state(state: &State) -> Whose {
    if state.name != "Pending" {
        return Whose::Untold;
    }
    marked(state).unwrap_or(Whose::Foreign)
}

/// By all of a run's states.
pub(super) fn by_history(states: &[State]) -> Whose {
    let Some(place) = states.iter().rposition(|state| state.name == "Pending") else { return Whose::Foreign };
    let (claim, later) = (&states[place], &states[place..]);
    if let Some(over) = later.iter().rposition(|state| state.kind != Kind::Pending) {
        if later[over].kind != Kind::Scheduled {
            return Whose::Foreign;
        }
        return told_too_late(&later[over + 1..]);
    }
    marked(claim).unwrap_or(Whose::Foreign)
}

/// States over a claim that is over already: `task-events` told of the claim's task too late.
fn told_too_late(states: &[State]) -> Whose {
    match states.last() {
        Some(newest) if states.iter().all(|state| marked(state).is_some()) => marked(newest).unwrap_or(Whose::Foreign),
        _ => Whose::Foreign,
    }
}

fn marked(claim: &State) -> Option<Whose> {
    let mark = claim.mark.as_ref().filter(|mark| mark.agent == MARKED_AS)?;
    Some(Whose::Ours(mark.clone(), claim.at))
}

/// `transition_id` of the claim that a run is in, if it is in one.
pub(super) fn claim_of(row: &FlowRun) -> Option<String> {
    if row.kind() != Kind::Pending {
        return None;
    }
    row.states.iter().rev().find(|state| state.name == "Pending")?.transition_id.clone()
}

/// A run as it is now.
pub(super) fn run_now(seen: &DueRun<Detail>, row: &FlowRun) -> Option<RunNow> {
    let state = row.state()?;
    let mark = claim_of(row).map(|claim| Mark {
        agent: MARKED_AS.to_owned(),
        epoch: claim.clone(),
        attempt: state.mark.as_ref().map_or(1, |mark| mark.attempt),
        capacity_refusals: 0,
        token: claim,
        cluster: String::new(),
    });
    let is_same_turn = seen.detail.seen.is_same_turn(row);
    let epoch = if is_same_turn { seen.epoch.clone() } else { epoch(seen.detail.run, state.id) };
    Some(RunNow { epoch, state: format!("{:?}", state.kind), mark })
}
