//! Launches that this process has seen: what it knows already it need not tell again.

use crate::panics::lock;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Older ones are forgotten: that a launch is told twice then does no harm.
const CAPACITY: usize = 1000;

/// The tokens of the last launches that have a task.
#[derive(Debug, Default)]
pub struct SeenLaunches(Mutex<VecDeque<String>>);

impl SeenLaunches {
    /// This launch has a task.
    pub fn insert(&self, token: &str) {
        let mut tokens = lock(&self.0);
        if tokens.iter().any(|known| known == token) {
            return;
        }
        if tokens.len() == CAPACITY {
            tokens.pop_front();
        }
        tokens.push_back(token.to_owned());
    }

    /// Whether this launch was seen to have a task.
    pub fn contains(&self, token: &str) -> bool {
        lock(&self.0).iter().any(|known| known == token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_known_and_the_oldest_is_forgotten_first() {
        let known = SeenLaunches::default();
        assert!(!known.contains("0"));
        for token in 0..=CAPACITY {
            known.insert(&token.to_string());
        }
        assert!(!known.contains("0") && known.contains("1") && known.contains(&CAPACITY.to_string()));
    }

    #[test]
    fn what_is_known_takes_no_more_room_when_it_is_seen_again() {
        let known = SeenLaunches::default();
        known.insert("first");
        for _ in 0..=CAPACITY {
            known.insert("again");
        }
        assert!(known.contains("first") && known.contains("again"));
    }
}
