//! What must hold at every single step, whatever happens. Said in the world's terms: nothing here knows how a poll works.

mod launches;
mod reports;
mod writes;

pub use writes::{WATCH_WINDOW, Write, Wrote};

use crate::gate::ActorId;
use crate::run::RunId;
use crate::table::{Count, Tally};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use time::OffsetDateTime;

/// What was seen so far, and what of it should not have been.
#[derive(Debug, Default)]
pub struct Audit {
    /// What should not have happened, in words.
    pub violations: Vec<String>,
    /// What happened, where somebody wants to know.
    pub story: Option<Vec<String>>,
    /// What is counted.
    pub tally: Tally,
    /// What those who claim know of each run: the number of its states, and when it was read.
    seen: BTreeMap<(ActorId, RunId), (u64, OffsetDateTime)>,
    /// The same, of runs that could be claimed when they were read: that one cannot be any more is also read by the part
    /// of a process that cancels.
    claimable: BTreeMap<(ActorId, RunId), (u64, OffsetDateTime)>,
    /// What those who change it in another way know, who look at it for that alone: other parts of the same process.
    looks: BTreeMap<(ActorId, RunId), (u64, OffsetDateTime)>,
    /// Claims that Prefect took, by run and token: when the run was due, and when it was read before its first claim.
    claims: BTreeMap<(RunId, String), (OffsetDateTime, OffsetDateTime)>,
    /// When each run was scheduled anew by somebody else.
    anew: BTreeMap<RunId, OffsetDateTime>,
    /// Each run's last claim that was given back: by whom, when, and when it had been due.
    given_back: BTreeMap<RunId, GivenBack>,
    /// When each process looked for tasks of each run.
    looked: BTreeMap<(ActorId, RunId), OffsetDateTime>,
    /// The launch of each run that each process claimed or asked for last, since its invocation began.
    launching: BTreeMap<(ActorId, RunId), String>,
    /// Tokens with which each run was tried, since it was scheduled anew.
    tried: BTreeMap<RunId, BTreeSet<String>>,
    /// Runs that were scheduled anew while something was written of them that was decided on before: earlier attempts
    /// go on to count.
    carried: BTreeSet<RunId>,
    /// What each token was sent with, by cluster (tokens are good for one) and by the image, which every configuration
    /// has its own of: the request without its definition, and what that says.
    bodies: HashMap<(String, String, String), String>,
}

/// A claim that was given back.
#[derive(Debug, Clone, Copy)]
struct GivenBack {
    by: ActorId,
    at: OffsetDateTime,
    due: OffsetDateTime,
}

impl Audit {
    /// Something happened.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    /// Something happened that should not have.
    pub fn violated(&mut self, what: String) {
        self.note(|| format!("VIOLATION: {what}"));
        self.tally.add(Count::Violations, 1);
        self.violations.push(what);
    }

    /// A process read a run that was due, which had so many states then.
    pub fn saw(&mut self, actor: ActorId, run: RunId, version: u64, now: OffsetDateTime, is_cancelled: bool) {
        self.seen.insert((actor, run), (version, now));
        if !is_cancelled {
            self.claimable.insert((actor, run), (version, now));
        }
    }

    /// A process read a run to change it.
    pub fn looked_at(&mut self, actor: ActorId, run: RunId, version: u64, now: OffsetDateTime) {
        self.looks.insert((actor, run), (version, now));
    }

    /// An invocation begins.
    pub fn invoked(&mut self, actor: ActorId) {
        self.launching.retain(|(other, _), _| *other != actor);
    }

    /// Somebody else scheduled the run anew, without a word of earlier attempts.
    pub fn begins_anew(&mut self, run: RunId, now: OffsetDateTime) {
        self.tried.remove(&run);
        self.carried.remove(&run);
        self.anew.insert(run, now);
    }

    /// A process asked ECS for the tasks of a run.
    pub fn looked(&mut self, actor: ActorId, run: RunId, now: OffsetDateTime) {
        self.looked.insert((actor, run), now);
    }
}
