//! States that we set: never over what is not ours to change, as far as one can know.
//!
//! Between reading a run and writing its state lies a request's time, in which others may change it. Where a server takes
//! such a write all the same, nobody can help it; so what counts is whether the writer could have known.

use super::{Audit, GivenBack};
use crate::config::MAX_LAUNCH_ATTEMPTS;
use crate::gate::ActorId;
use crate::run::{Flavour, Held, Phase, RunId};
use crate::table::Count;
use time::{Duration, OffsetDateTime};

/// What is known of a run for longer than this is read again before its claim (5 s); then a launch is prepared (15 s) and
/// the claim is sent, which may take as long as a request takes, both ways (2 × 15 s).
const CLAIM_WINDOW: Duration = Duration::seconds(55);

/// Other states are set right after the run was read: within one answer and one request.
const WRITE_WINDOW: Duration = Duration::seconds(35);

/// Before a run is ended for its dead task, other tasks of it are looked for by two calls.
pub const WATCH_WINDOW: Duration = Duration::seconds(75);

/// A state that one of our processes sets.
#[derive(Debug)]
pub struct Wrote {
    /// Which process.
    pub actor: ActorId,
    /// Of which run.
    pub run: RunId,
    /// What the run was.
    pub before: Phase,
    /// The number of its states until then.
    pub version: u64,
    /// When.
    pub now: OffsetDateTime,
    /// What.
    pub write: Write,
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A claim that Prefect took.
    Claim {
        /// What its launch is named by.
        token: String,
        /// When the run was due.
        due: OffsetDateTime,
        /// It is of a task run of a Running run (Prefect 1).
        of_task_run: bool,
    },
    /// A claim given back.
    GiveBack {
        /// What its launch is named by.
        token: String,
    },
    /// Failed or Crashed.
    Fail {
        /// The message.
        message: String,
        /// What the run brings along.
        flavour: Flavour,
    },
    /// Cancelled, since a user wished it; or since the run's deployment is gone.
    Cancelled(Flavour),
    /// Failed or Crashed, since its task is dead.
    Dead {
        /// Another task of the run lives, and did so long before anybody decided on it.
        lives: bool,
    },
}

impl Audit {
    /// A state was set.
    pub fn wrote(&mut self, wrote: Wrote) {
        let Wrote { actor, run, before, version, now, mut write } = wrote;
        self.note(|| format!("{run:?}: {actor:?} writes {write:?} over {before:?} at {now}"));
        let held: &[Held] = match &before {
            Phase::Claimed(held) => std::slice::from_ref(held),
            Phase::Running(held) => held,
            _ => &[],
        };
        let holds = |token: &str| held.iter().any(|held| held.token == token);
        let (may, window) = match &write {
            Write::Claim { token, of_task_run, .. } => {
                // A Running run is claimed by its task runs; a flow run's own claim is not for it.
                let is_due = match before {
                    Phase::Scheduled(_) => !of_task_run,
                    Phase::Running(_) => *of_task_run,
                    _ => false,
                };
                (is_due || holds(token), CLAIM_WINDOW)
            }
            Write::GiveBack { token } => (holds(token), WRITE_WINDOW),
            Write::Fail { .. } => {
                // It is the claim that this process launches by, or one that it found.
                let launching = self.launching.get(&(actor, run));
                let is_it = |held: &Held| held.is_ours && launching.is_none_or(|token| *token == held.token);
                (held.iter().any(is_it), WRITE_WINDOW)
            }
            Write::Cancelled(flavour) => {
                let is_gone = *flavour == Flavour::Gone && matches!(before, Phase::Scheduled(_));
                (before == Phase::Cancelling || is_gone, WRITE_WINDOW)
            }
            Write::Dead { lives } => (!lives && matches!(before, Phase::Claimed(_) | Phase::Running(_)), WATCH_WINDOW),
        };
        if !may {
            self.tally.add(Count::Raced, 1);
            let reads = match &write {
                Write::Claim { .. } if before.is_cancelled() => &self.claimable,
                Write::Claim { .. } => &self.seen,
                _ => &self.looks,
            };
            let read = reads.get(&(actor, run)).copied();
            let knew = read.is_none_or(|(seen, at)| seen == version || now - at > window);
            if knew {
                self.violated(format!(
                    "{run:?}: {write:?} over {before:?} (state {version}, read {read:?}, now {now})"
                ));
            }
        }
        let (seen, read_at) = self.seen.get(&(actor, run)).copied().unwrap_or((version, now));
        // Read before another process gave its claim back: the delay until the next attempt could not be known.
        let crossed =
            self.given_back.get(&run).filter(|back| seen != version && back.by != actor && read_at <= back.at);
        let known_due = crossed.map(|back| back.due);
        if let Write::Claim { token, .. } = &write {
            self.launching.insert((actor, run), token.clone());
        }
        if let (Write::Claim { due, .. }, Some(known)) = (&mut write, known_due) {
            *due = known.min(*due);
        }
        self.account(actor, run, write, read_at, now);
    }

    fn account(&mut self, actor: ActorId, run: RunId, write: Write, read_at: OffsetDateTime, now: OffsetDateTime) {
        if matches!(write, Write::Claim { .. } | Write::GiveBack { .. } | Write::Fail { .. })
            && self.anew.get(&run).is_some_and(|anew| read_at <= *anew && *anew <= now)
        {
            self.carried.insert(run);
        }
        match write {
            Write::Claim { token, due, .. } => {
                self.tally.add(Count::Claims, 1);
                self.claims.entry((run, token)).or_insert((due, read_at));
            }
            Write::Fail { message, flavour } => self.failed(run, &message, flavour),
            Write::Dead { .. } => self.tally.add(Count::Dead, 1),
            // Also one that adopted the task of an earlier turn, which then died, was an attempt.
            Write::GiveBack { token } => {
                let due = self.claims.get(&(run, token.clone())).map_or(now, |(due, _)| *due);
                self.given_back.insert(run, GivenBack { by: actor, at: now, due });
                self.tried.entry(run).or_default().insert(token);
            }
            Write::Cancelled(_) => {}
        }
    }

    /// A run fails for what it says itself, or when all attempts were made.
    fn failed(&mut self, run: RunId, message: &str, flavour: Flavour) {
        let tried = self.tried.get(&run).map_or(0, std::collections::BTreeSet::len);
        let enough = tried >= usize::try_from(MAX_LAUNCH_ATTEMPTS).unwrap_or(usize::MAX);
        let used_up = enough || self.carried.contains(&run);
        if flavour.is_bad() {
            self.tally.add(Count::Bad, 1);
        } else if message.contains("Not launched after") && used_up {
            self.tally.add(Count::GivenUp, 1);
        } else {
            self.tally.add(Count::Wronged, 1);
            self.violated(format!("{run:?}: failed after {tried} attempts: {message}"));
        }
    }
}
