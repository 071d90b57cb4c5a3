//! Events of tasks on their way to the function `task-events`: late, lost, repeated, in any order.

use crate::rng::Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// What becomes of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Post {
    /// Nobody listens.
    pub silent: bool,
    /// So many of a thousand get lost.
    pub lost: u64,
    /// So many of a thousand come twice.
    pub repeated: u64,
    /// They take so many seconds at most.
    pub late: u64,
}

/// The letters on their way.
#[derive(Debug)]
pub struct Mail {
    /// What becomes of new ones.
    pub post: Post,
    letters: BTreeMap<(OffsetDateTime, u64), Value>,
    numbers: u64,
}

impl Mail {
    /// None yet.
    pub fn new(post: Post) -> Self {
        Self { post, letters: BTreeMap::new(), numbers: 0 }
    }

    /// A task has changed its state.
    pub fn post(&mut self, event: &Value, rng: &mut Rng, now: OffsetDateTime) {
        let copies = u64::from(!rng.chance(self.post.lost)) + u64::from(rng.chance(self.post.repeated));
        for _ in 0..copies {
            let at = now + Duration::from_secs(rng.below(self.post.late + 1));
            self.send(event.clone(), at);
        }
    }

    /// An event that arrives at this time.
    pub fn send(&mut self, event: Value, at: OffsetDateTime) {
        self.numbers += 1;
        self.letters.insert((at, self.numbers), event);
    }

    /// When the next one arrives.
    pub fn next_at(&self) -> Option<OffsetDateTime> {
        self.letters.first_key_value().map(|((at, _), _)| *at)
    }

    /// One that has arrived by now.
    pub fn arrived(&mut self, now: OffsetDateTime) -> Option<Value> {
        let first = self.letters.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
