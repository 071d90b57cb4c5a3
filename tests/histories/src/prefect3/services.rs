//! What changes runs besides agents: the server's own services, people, observers, and the flows themselves.

use super::server::{Kind, Proposal, Server, Verdict};
use crate::run::{End, RunId};
use time::{Duration, OffsetDateTime};

/// What is scheduled and this late is called Late.
const LATE: Duration = Duration::seconds(15);

/// What is being cancelled for so long is Cancelled.
const CANCELLING: Duration = Duration::seconds(300);

/// How often a container's process asks again while the server tells it to wait.
const PATIENCE: Duration = Duration::hours(1);

impl Server {
    /// One round of the server's services.
    pub fn services(&mut self, now: OffsetDateTime) {
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for run in runs {
            let Some(row) = self.runs.get(&run) else { continue };
            let Some(state) = row.state() else { continue };
            if state.kind == Kind::Scheduled
                && state.name == "Scheduled"
                && row.next.is_some_and(|next| now - next > LATE)
            {
                // A new state, without the data of the old one.
                let late = Proposal { scheduled: row.next, ..Proposal::plain(Kind::Scheduled, "Late") };
                self.put(run, late, now);
            } else if state.kind == Kind::Cancelling && now - state.at >= CANCELLING {
                self.put(run, Proposal::plain(Kind::Cancelled, "Cancelled"), now);
            }
        }
    }

    /// A user cancels.
    pub fn cancel(&mut self, run: RunId, now: OffsetDateTime) -> bool {
        let verdict = self.propose(run, Proposal::plain(Kind::Cancelling, "Cancelling"), now);
        matches!(verdict, Some(Verdict::Accept | Verdict::Reject))
    }

    /// A user sets a state by hand.
    pub fn set_by_hand(&mut self, run: RunId, proposal: Proposal, now: OffsetDateTime) {
        self.put(run, proposal, now);
    }

    /// An observer of somebody else's tells that the run's task waits.
    pub fn observe(&mut self, run: RunId, now: OffsetDateTime) {
        if self.runs.get(&run).is_some_and(|row| row.kind() == Kind::Pending) {
            self.propose(run, Proposal::plain(Kind::Pending, "InfrastructurePending"), now);
        }
    }

    /// The flow's process begins, at this time or later. `None`: it ends at once, since the run is not to be run.
    pub fn begin_flow(&mut self, run: RunId, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let row = self.runs.get(&run)?;
        match row.kind() {
            Kind::Scheduled if row.next.is_some_and(|next| next > now) => {
                let next = row.next.filter(|next| *next - now < PATIENCE);
                return next.map(|next| next + Duration::seconds(1));
            }
            Kind::Scheduled | Kind::Pending | Kind::Running => {}
            Kind::Paused | Kind::Cancelling | Kind::Cancelled | Kind::Completed | Kind::Failed | Kind::Crashed => {
                return None;
            }
        }
        self.put(run, Proposal::plain(Kind::Running, "Running"), now);
        Some(now)
    }

    /// The flow ends, well or not.
    pub fn end_flow(&mut self, run: RunId, well: bool, now: OffsetDateTime) {
        let proposal =
            if well { Proposal::plain(Kind::Completed, "Completed") } else { Proposal::plain(Kind::Failed, "Failed") };
        if self.runs.get(&run).is_some_and(|row| !row.kind().has_ended() && row.kind() != Kind::Paused) {
            self.propose(run, proposal, now);
        }
    }

    /// Notes how a run ended.
    pub fn ended(&mut self, run: RunId, end: End) {
        if let Some(row) = self.runs.get_mut(&run) {
            row.end = Some(end);
        }
    }
}
