//! Launches that this process has seen: what it knows already it need not tell again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Older ones are forgotten: that a launch is told twice then does no harm.
const CAPACITY: usize = 1000;

/// The tokens of the last launches that have a task.
#[derive(Debug, Default)]
pub struct Known(Mutex<VecDeque<String>>);

impl Known {
    /// This launch has a task.
    pub fn insert(&self, token: &str) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() == CAPACITY {
            tokens.pop_front();
        }
        tokens.push_back(token.to_owned());
    }

    /// Whether this launch was seen to have a task.
    pub fn contains(&self, token: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == token)
    }
}
