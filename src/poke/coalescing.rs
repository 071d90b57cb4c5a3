//! Pokes that come together lead to few polls: the first at once, those within a second after it to one more. Every poke
//! that was answered is followed by a poll that begins after it. Pure.

use crate::clock::after;
use serde_json::{Map, Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

/// Polls that pokes lead to begin so far apart.
pub const APART: Duration = Duration::from_secs(1);
/// The poll waits by its own machine's clock, which differs from this one's by less.
const CLOCKS_DIFFER: Duration = Duration::from_millis(100);
/// No poll is put off for longer: whoever sees one further away has a clock that was put back.
const MOST_AHEAD: Duration = Duration::from_secs(3);

/// Whom a poke is for, or which agents a poll is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poked {
    /// All agents.
    All,
    /// This one.
    Agent(String),
}

impl Poked {
    fn includes(&self, other: &Self) -> bool {
        *self == Self::All || self == other
    }
}

/// A poll that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedPoll {
    /// Which agents it is of.
    pub of: Poked,
    /// It begins at this time, or later.
    pub begins: OffsetDateTime,
    /// It has to wait until then.
    pub waits: bool,
}

impl QueuedPoll {
    /// The event for the poll function.
    pub fn event(&self) -> Value {
        let mut event = Map::new();
        event.insert("poke".into(), json!(true));
        if let Poked::Agent(name) = &self.of {
            event.insert("agents".into(), json!([name]));
        }
        if self.waits {
            // Formatting fails for years beyond 9999 only.
            let at = self.begins.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
            event.insert("not_before".into(), json!(at));
        }
        Value::Object(event)
    }
}

/// What a poke leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A poll that is to be asked for; [`Coalescing::queued`] is told once it was.
    Invoke(QueuedPoll),
    /// A poll that was asked for begins after this poke.
    AlreadyCovered,
}

/// What one process remembers of the polls that it asked for: the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coalescing {
    last: Option<QueuedPoll>,
}

impl Coalescing {
    /// What a poke for `poked` leads to now.
    pub fn decide(&self, poked: Poked, now: OffsetDateTime) -> Decision {
        let last = self.last.as_ref().filter(|last| last.begins <= after(now, MOST_AHEAD));
        let Some(last) = last else { return Decision::Invoke(QueuedPoll { of: poked, begins: now, waits: false }) };
        if last.of.includes(&poked) && after(now, CLOCKS_DIFFER) <= last.begins {
            return Decision::AlreadyCovered;
        }
        let next = after(last.begins, APART);
        if next <= now {
            return Decision::Invoke(QueuedPoll { of: poked, begins: now, waits: false });
        }
        // Whoever else is poked until then shares the one more, so it is of all agents.
        Decision::Invoke(QueuedPoll { of: Poked::All, begins: next, waits: true })
    }

    /// A poll was asked for. To be told only then: what was not asked for covers nobody.
    pub fn queued(&mut self, poll: QueuedPoll) {
        self.last = Some(poll);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const START: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);

    fn at(milliseconds: i64) -> OffsetDateTime {
        START + time::Duration::milliseconds(milliseconds)
    }

    fn agent(name: &str) -> Poked {
        Poked::Agent(name.into())
    }

    /// A poke at a time, whose poll can be asked for.
    fn poke(state: &mut Coalescing, whom: &Poked, milliseconds: i64) -> Option<QueuedPoll> {
        match state.decide(whom.clone(), at(milliseconds)) {
            Decision::AlreadyCovered => None,
            Decision::Invoke(poll) => {
                state.queued(poll.clone());
                Some(poll)
            }
        }
    }

    #[test]
    fn the_first_invokes_at_once_and_those_within_a_second_once_more() {
        let (mut state, etl) = (Coalescing::default(), agent("etl"));
        let poll = |begins, waits| {
            let of = if waits { Poked::All } else { etl.clone() };
            Some(QueuedPoll { of, begins: at(begins), waits })
        };
        assert_eq!(poke(&mut state, &etl, 0), poll(0, false));
        assert_eq!(poke(&mut state, &etl, 0), poll(1000, true), "at the same moment: the first may have begun");
        for covered in [1, 500, 900] {
            assert_eq!(poke(&mut state, &etl, covered), None);
        }
        assert_eq!(poke(&mut state, &etl, 901), poll(2000, true), "the other machine's clock may be ahead");
        assert_eq!(poke(&mut state, &etl, 2999), poll(3000, true));
        assert_eq!(poke(&mut state, &etl, 4000), poll(4000, false));
    }

    #[test]
    fn pokes_for_several_agents_share_the_one_more() {
        let mut state = Coalescing::default();
        assert_eq!(poke(&mut state, &agent("a"), 0).map(|poll| poll.of), Some(agent("a")));
        let shared = QueuedPoll { of: Poked::All, begins: at(1000), waits: true };
        assert_eq!(poke(&mut state, &agent("b"), 100), Some(shared));
        for name in ["a", "b", "c"] {
            assert_eq!(poke(&mut state, &agent(name), 200), None);
        }
        let mut state = Coalescing::default();
        let begins = [("a", 0), ("a", 100), ("b", 200)]
            .map(|(name, at)| poke(&mut state, &agent(name), at).map(|poll| poll.begins - START));
        assert_eq!(begins, [Some(time::Duration::ZERO), Some(time::Duration::SECOND), None], "b waits for no third");
        assert_eq!(poke(&mut state, &Poked::All, 300), None);
    }

    #[test]
    fn a_poll_that_could_not_be_asked_for_covers_nobody() {
        let state = Coalescing::default();
        let first = state.decide(Poked::All, at(0));
        assert_eq!(first, state.decide(Poked::All, at(0)));
        assert!(matches!(first, Decision::Invoke(_)));
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_silence_pokes() {
        let mut state = Coalescing::default();
        poke(&mut state, &Poked::All, 60_000);
        assert_eq!(poke(&mut state, &Poked::All, 0), Some(QueuedPoll { of: Poked::All, begins: at(0), waits: false }));
    }

    #[test]
    fn the_event_says_whom_and_when() {
        let poll = |of, waits| QueuedPoll { of, begins: at(1500), waits }.event();
        assert_eq!(poll(Poked::All, false), json!({"poke": true}));
        let expected = json!({"poke": true, "agents": ["etl"], "not_before": "2026-11-30T22:00:01.5Z"});
        assert_eq!(poll(agent("etl"), true), expected);
    }

    proptest! {
        #[test]
        fn every_answered_poke_is_followed_by_a_poll_that_begins_after_it(
            pokes in prop::collection::vec((0_i64..1500, 0_usize..4, prop::bool::weighted(0.8)), 1..80),
        ) {
            let (mut state, mut now) = (Coalescing::default(), 0);
            let (mut answered, mut polls) = (Vec::new(), Vec::<QueuedPoll>::new());
            for (pause, whom, can_be_asked_for) in pokes {
                now += pause;
                let whom = if whom == 3 { Poked::All } else { agent(&whom.to_string()) };
                match state.decide(whom.clone(), at(now)) {
                    Decision::AlreadyCovered => answered.push((whom, now, polls.len())),
                    Decision::Invoke(poll) if can_be_asked_for => {
                        prop_assert!(poll.of.includes(&whom) && poll.begins >= at(now));
                        prop_assert!(poll.begins <= at(now) + time::Duration::milliseconds(2100), "{poll:?} at {now}");
                        prop_assert_eq!(poll.waits, poll.begins > at(now));
                        state.queued(poll.clone());
                        polls.push(poll);
                        answered.push((whom, now, polls.len()));
                    }
                    Decision::Invoke(_) => {}
                }
            }
            for (whom, when, asked_for) in answered {
                // Those that were asked for before the answer, of which the last is the latest: nobody waits for another poke.
                let last = polls.get(asked_for.wrapping_sub(1));
                prop_assert!(last.is_some_and(|poll| poll.of.includes(&whom) && poll.begins >= at(when)), "{whom:?} {when}");
            }
            for (one, next) in polls.iter().zip(polls.iter().skip(1)) {
                prop_assert!(next.begins - one.begins >= time::Duration::SECOND, "{one:?} {next:?}");
            }
        }
    }
}
