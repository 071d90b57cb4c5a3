//! The states of flow runs, and the rules by which the server takes them.

use crate::gate::ActorId;
use crate::run::{End, Phase, RunId};
use prefect_serverless_agent::orchestrator::Mark;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// What waits for a concurrency slot asks again so much later.
const SLOT_DELAY: Duration = Duration::seconds(30);

/// Type of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Prefect's own names.
pub enum Kind {
    Scheduled,
    Pending,
    Running,
    Paused,
    Cancelling,
    Cancelled,
    Completed,
    Failed,
    Crashed,
}

impl Kind {
    /// A final state.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed | Self::Failed | Self::Crashed)
    }
}

/// A state.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its id: unlike any other's.
    pub id: u64,
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// Since when.
    pub at: OffsetDateTime,
    /// When what is scheduled is due.
    pub scheduled: Option<OffsetDateTime>,
    /// `state_details.transition_id`
    pub transition_id: Option<String>,
    /// The mark in its `data`.
    pub mark: Option<Mark>,
    /// Which process wrote it there.
    pub author: Option<ActorId>,
}

/// A proposed state.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// When what is scheduled is due.
    pub scheduled: Option<OffsetDateTime>,
    /// `state_details.transition_id`
    pub transition_id: Option<String>,
    /// The mark in its `data`.
    pub mark: Option<Mark>,
    /// Which process writes it there.
    pub author: Option<ActorId>,
}

impl Proposal {
    /// A state without more to say.
    pub fn plain(kind: Kind, name: &'static str) -> Self {
        Self { kind, name, scheduled: None, transition_id: None, mark: None, author: None }
    }
}

/// What the server says to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the state now.
    Accept,
    /// It is the state already, by the same proposal of this process.
    Replayed(Option<ActorId>),
    /// It is not, and perhaps another is.
    Reject,
    /// It is not.
    Abort,
}

/// A flow run.
#[derive(Debug, Clone)]
pub struct FlowRun {
    /// All its states, the newest last. Never empty.
    pub states: Vec<State>,
    /// `expected_start_time`
    pub expected: OffsetDateTime,
    /// `next_scheduled_start_time`
    pub next: Option<OffsetDateTime>,
    /// `run_count`
    pub run_count: u32,
    /// `infrastructure_pid`: the ARN of a task.
    pub pid: Option<String>,
    /// How it ended, if it did.
    pub end: Option<End>,
}

/// A server.
#[derive(Debug, Default)]
pub struct Server {
    /// Its flow runs.
    pub runs: BTreeMap<RunId, FlowRun>,
    /// Runs of the deployment at the same time.
    pub limit: Option<usize>,
    states: u64,
}

impl FlowRun {
    /// The newest state; `None` never is.
    pub fn state(&self) -> Option<&State> {
        self.states.last()
    }

    /// Type of the newest state.
    pub fn kind(&self) -> Kind {
        self.state().map_or(Kind::Crashed, |state| state.kind)
    }
}

impl Server {
    /// A new run, due at this time.
    pub fn schedule(&mut self, run: RunId, at: OffsetDateTime, now: OffsetDateTime) {
        let row = FlowRun { states: Vec::new(), expected: at, next: None, run_count: 0, pid: None, end: None };
        self.runs.insert(run, row);
        self.put(run, Proposal { scheduled: Some(at), ..Proposal::plain(Kind::Scheduled, "Scheduled") }, now);
    }

    /// Proposes a state.
    pub fn propose(&mut self, run: RunId, proposal: Proposal, now: OffsetDateTime) -> Option<Verdict> {
        let row = self.runs.get(&run)?;
        let state = row.state()?;
        let same = proposal.transition_id.is_some() && state.transition_id == proposal.transition_id;
        if same && state.kind == proposal.kind {
            return Some(Verdict::Replayed(state.author));
        }
        let verdict = rule(state, &proposal, row.pid.is_some());
        match verdict {
            Verdict::Accept if self.is_full(run, &proposal) => {
                let waits = Proposal::plain(Kind::Scheduled, "AwaitingConcurrencySlot");
                self.put(run, Proposal { scheduled: Some(now + SLOT_DELAY), ..waits }, now);
                return Some(Verdict::Reject);
            }
            Verdict::Accept => self.put(run, proposal, now),
            Verdict::Reject if proposal.kind == Kind::Cancelling && state.kind != Kind::Cancelling => {
                self.put(run, Proposal::plain(Kind::Cancelled, "Cancelled"), now);
            }
            _ => {}
        }
        Some(verdict)
    }

    /// Puts a state over the present one, whatever the rules say.
    pub fn put(&mut self, run: RunId, proposal: Proposal, now: OffsetDateTime) {
        self.states += 1;
        let Some(row) = self.runs.get_mut(&run) else { return };
        let Proposal { kind, name, scheduled, transition_id, mark, author } = proposal;
        if kind == Kind::Scheduled {
            row.next = Some(scheduled.unwrap_or(now));
        }
        if kind == Kind::Running {
            row.run_count += 1;
        }
        row.end = None;
        row.states.push(State { id: self.states, kind, name, at: now, scheduled, transition_id, mark, author });
    }

    fn is_full(&self, run: RunId, proposal: &Proposal) -> bool {
        let counts = |(id, row): (&RunId, &FlowRun)| *id != run && matches!(row.kind(), Kind::Pending | Kind::Running);
        proposal.name == "Pending"
            && self.limit.is_some_and(|limit| self.runs.iter().filter(|row| counts(*row)).count() >= limit)
    }

    /// How far a run is.
    pub fn phase(&self, run: RunId) -> Option<Phase> {
        let row = self.runs.get(&run)?;
        let state = row.state()?;
        Some(match state.kind {
            Kind::Scheduled => Phase::Scheduled(row.next.unwrap_or(state.at)),
            Kind::Paused => Phase::Waiting,
            Kind::Pending => {
                let claim = row.states.iter().rev().find(|state| state.name == "Pending");
                Phase::Claimed(claim.and_then(|state| state.mark.clone()))
            }
            Kind::Running => Phase::Running(Vec::new()),
            Kind::Cancelling => Phase::Cancelling,
            Kind::Cancelled => Phase::Ended(End::Cancelled),
            Kind::Completed | Kind::Failed | Kind::Crashed => Phase::Ended(row.end.unwrap_or(End::ByItself)),
        })
    }
}

/// What a real server says, by type and name.
fn rule(state: &State, proposal: &Proposal, has_pid: bool) -> Verdict {
    use Kind::{Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled};
    match (state.kind, proposal.kind) {
        (Scheduled, Cancelling) if has_pid => Verdict::Accept,
        (Pending, Pending) if proposal.name != "Pending" && proposal.name != state.name => Verdict::Accept,
        (Cancelling, Cancelled) => Verdict::Accept,
        (Scheduled, Cancelling) | (Paused, Pending) | (Cancelling, _) => Verdict::Reject,
        (Pending | Running | Cancelled, Pending) | (Cancelled | Completed | Failed | Crashed, Cancelling | Crashed) => {
            Verdict::Abort
        }
        _ => Verdict::Accept,
    }
}
