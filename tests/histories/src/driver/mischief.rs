//! What goes wrong, and how long things take.

use crate::call::{Call, Generation, Service};
use crate::fault::{Effect, Fault, Kind};
use crate::rng::Rng;
use time::OffsetDateTime;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Faults {
    /// Nothing.
    None,
    /// This, with the n-th call of this kind (from 0); counts the calls.
    Nth {
        /// The call.
        call: Call,
        /// Calls of this kind until then.
        left: usize,
        /// The fault.
        fault: Fault,
        /// It happened.
        hit: bool,
    },
    /// Nothing of this service can be reached until then.
    Away(Service, OffsetDateTime),
    /// Something now and then.
    Random(Mischief),
}

/// Faults by chance.
#[derive(Debug, Clone)]
pub struct Mischief {
    /// Its chance.
    pub rng: Rng,
    /// So many of a thousand calls go wrong.
    pub per_mille: u64,
    /// Only in this way, if any.
    pub only: Option<Kind>,
    /// Nothing of this service works until then.
    pub outage: Option<(Service, OffsetDateTime)>,
}

impl Faults {
    /// What goes wrong with this call.
    pub fn choose(&mut self, asked: Call, generation: Generation, now: OffsetDateTime) -> Option<Fault> {
        match self {
            Self::None => None,
            Self::Nth { call, left, fault, hit } => {
                if *call != asked || *hit {
                    return None;
                }
                *hit = *left == 0;
                *left = left.saturating_sub(1);
                hit.then_some(*fault)
            }
            Self::Away(service, until) => (asked.service() == *service && now < *until)
                .then_some(Fault { kind: Kind::NotSent, effect: Effect::None }),
            Self::Random(mischief) => mischief.choose(asked, generation, now),
        }
    }
}

impl Mischief {
    fn choose(&mut self, call: Call, generation: Generation, now: OffsetDateTime) -> Option<Fault> {
        let is_out = self.outage.is_some_and(|(service, until)| service == call.service() && now < until);
        if !self.rng.chance(if is_out { 950 } else { self.per_mille }) {
            return None;
        }
        let outage = |kind: Kind| matches!(kind, Kind::NotSent | Kind::Timeout | Kind::ServerError | Kind::Html);
        let fits =
            |fault: &Fault| if is_out { outage(fault.kind) } else { self.only.is_none_or(|only| only == fault.kind) };
        let all: Vec<Fault> = Fault::all_of(call, generation).filter(fits).collect();
        all.get(self.rng.index(all.len())).copied()
    }
}

/// How long it takes from the gate on.
#[derive(Debug, Clone)]
pub enum Delays {
    /// No time at all.
    None,
    /// Mostly a few milliseconds, now and then seconds.
    Random(Rng),
}

impl Delays {
    /// The next one, milliseconds.
    pub fn draw(&mut self) -> u64 {
        match self {
            Self::None => 0,
            Self::Random(rng) => match rng.below(100) {
                0..60 => 0,
                60..90 => rng.between(1, 60),
                90..99 => rng.between(60, 1500),
                _ => rng.between(1500, 7000),
            },
        }
    }
}
