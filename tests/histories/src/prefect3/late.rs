//! The Late service at work between two requests: states that say the same again, each with an id of its own.

use super::server::{Kind, Proposal, Server};
use crate::rng::Rng;
use crate::run::RunId;
use time::OffsetDateTime;

/// When it is at work besides the rounds of all services, however little a run is late.
#[derive(Debug, Clone)]
pub enum Late {
    /// Not at all.
    Never,
    /// In the moment in which this request arrives, counted from 0.
    Before(usize),
    /// In the moments in which so many of a thousand requests arrive.
    Random(Rng, u64),
}

impl Late {
    /// Whether it is, as a request arrives.
    pub fn comes(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Before(left) => {
                let comes = *left == 0;
                *self = left.checked_sub(1).map_or(Self::Never, Self::Before);
                comes
            }
            Self::Random(rng, per_mille) => rng.chance(*per_mille),
        }
    }
}

impl Server {
    /// What is scheduled is said to be once more, for the same time. What was given back keeps its name and data.
    pub fn says_again(&mut self, now: OffsetDateTime) {
        let is_due = |run: &RunId| {
            let state = self.runs.get(run).and_then(|row| row.state());
            state.is_some_and(|state| state.kind == Kind::Scheduled && matches!(state.name, "Scheduled" | "Late"))
        };
        let runs: Vec<RunId> = self.runs.keys().copied().filter(is_due).collect();
        for run in runs {
            let scheduled = self.runs.get(&run).and_then(|row| row.next);
            self.put(run, Proposal { scheduled, ..Proposal::plain(Kind::Scheduled, "Late") }, now);
        }
    }
}
