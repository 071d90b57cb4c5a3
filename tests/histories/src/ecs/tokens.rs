//! `clientToken`: per cluster, for the lower of 24 hours and the task's life and an hour.

use super::Task;
use std::collections::HashMap;
use time::{Duration, OffsetDateTime};

/// However long the task lives.
const LONGEST: Duration = Duration::hours(24);

/// Beyond the task's life.
const AFTERWARDS: Duration = Duration::hours(1);

/// What a token stands for.
#[derive(Debug, Clone)]
pub struct Known {
    /// Fingerprint of the request.
    pub request: u64,
    /// The task; `None` = the request was refused.
    pub task: Option<usize>,
    at: OffsetDateTime,
}

/// The tokens of an account.
#[derive(Debug, Default)]
pub struct Tokens(HashMap<(String, String), Known>);

impl Tokens {
    /// What a token stands for, as long as it lives.
    pub fn get(&self, cluster: &str, token: &str, tasks: &[Task], now: OffsetDateTime) -> Option<&Known> {
        let known = self.0.get(&(cluster.to_owned(), token.to_owned()))?;
        let stopped = known.task.and_then(|index| tasks.get(index)?.stopped_at);
        let is_over = now - known.at >= LONGEST || stopped.is_some_and(|stopped| now - stopped >= AFTERWARDS);
        (!is_over).then_some(known)
    }

    /// A token is used.
    pub fn insert(&mut self, cluster: &str, token: &str, request: u64, task: Option<usize>, now: OffsetDateTime) {
        self.0.insert((cluster.to_owned(), token.to_owned()), Known { request, task, at: now });
    }
}
