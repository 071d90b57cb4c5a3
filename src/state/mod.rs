//! What is remembered in Parameter Store between invocations: the poll counter and the status.

pub mod polls;
pub mod recent;
pub mod status;

pub use crate::model::{ErrorKind, Registration};
pub use recent::Recent;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// What `{root}/state/{agent}/status` holds. Written by a poll at its end, read by health.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// When the last poll ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_poll: Option<OffsetDateTime>,
    /// When the last poll that succeeded ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_success: Option<OffsetDateTime>,
    /// When the last poll ended that a poke had asked for.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_poked: Option<OffsetDateTime>,
    /// How many polls there were: the poll counter with `max_polls`, else counted on from the last status.
    #[serde(default)]
    pub polls: u64,
    /// `max_polls` was reached.
    #[serde(default)]
    pub stopped: bool,
    /// Kind of the last poll's error.
    #[serde(default)]
    pub error: Option<ErrorKind>,
    /// Until when Prefect is in maintenance, as the last poll that heard of it was told.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<OffsetDateTime>,
    /// Since when health has called the agent failing, as its own polls found; `None` = it was not at the last one.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<OffsetDateTime>,
    /// Counts of the last poll.
    #[serde(default)]
    pub counts: Counts,
    /// When the oldest run was to start that the last poll left for a later one.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub oldest_due: Option<OffsetDateTime>,
    /// Claims that the last poll found whose flow should have begun; `None` = it could not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outstanding: Option<u64>,
    /// What polls remember of the tasks that they look after.
    #[serde(default, skip_serializing_if = "TaskLooks::is_empty")]
    pub tasks: TaskLooks,
    /// The remembered registration.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// What happened lately, for the page. It gives way where a parameter has no room.
    #[serde(skip_deserializing, skip_serializing_if = "Recent::is_empty")]
    pub recent: Recent,
}

/// What one poll leaves for the next about the tasks of runs that run (Prefect 2 and 3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskLooks {
    /// So many runs were looked at already in this round over all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next: usize,
    /// Tasks that ECS did not know, by their ids, and when that was seen first (seconds since 1970).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, i64>,
}

impl TaskLooks {
    /// Nothing is to be remembered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How many runs of a poll went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Due runs found.
    pub ready: u64,
    /// Launched or adopted.
    pub launched: u64,
    /// Left for a later poll.
    pub deferred: u64,
    /// Failed for good.
    pub failed: u64,
}

// Delays before a write is repeated. Pure: what tells writers apart is handed in.

/// Parameter Store allows three writes a second in an account, and all agents write at the same moments: the writers of
/// a deployment of thirty are through in ten seconds.
const LONGEST: Duration = Duration::from_secs(2);

/// Delays that double from about 50 ms to at most 2 s, each shortened by up to a half ("equal jitter"), so that writers that
/// were refused together do not come back together. The same `writer` always waits the same.
fn delays(writer: &str, attempts: u32) -> impl Iterator<Item = Duration> + use<> {
    let writer = writer.to_owned();
    (0..attempts).map(move |attempt| {
        let longest = Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(attempt + 1)).min(LONGEST);
        let shortest = longest / 2;
        shortest + shortest.mul_f64(fraction(&writer, attempt))
    })
}

/// From 0 to 1, evenly spread over writers and attempts.
fn fraction(writer: &str, attempt: u32) -> f64 {
    let digest = Sha256::new().chain_update(writer).chain_update(attempt.to_be_bytes()).finalize();
    let first = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(first) / f64::from(u32::MAX)
}

/// The largest value of a Standard parameter, in bytes.
const MAX_BYTES: usize = 4096;

/// Parameter Store refuses values with `{{`, its own template syntax. In JSON they only occur within strings, where
/// an escape says the same.
fn escaped(json: &str) -> String {
    json.replace("{{", "{\\u007b")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn delays_double_up_to_two_seconds() {
        let longest = [100, 200, 400, 800, 1600, 2000, 2000, 2000];
        for writer in ["a", "b", "request 1"] {
            let found: Vec<_> = delays(writer, 8).collect();
            assert_eq!(found.len(), longest.len());
            for (delay, longest) in found.iter().zip(longest.map(Duration::from_millis)) {
                assert!((longest / 2..=longest).contains(delay), "{writer}: {found:?}");
            }
        }
    }

    #[test]
    fn writers_that_were_refused_together_come_back_apart() {
        let thirty = (0..30).filter_map(|writer| delays(&format!("request agent-{writer}"), 1).next());
        let instants: BTreeSet<_> = thirty.map(|delay| delay.as_millis()).collect();
        assert!(instants.len() >= 20, "{instants:?}");
        assert!(delays("a", 5).eq(delays("a", 5)), "the same writer always waits the same");
    }
}
