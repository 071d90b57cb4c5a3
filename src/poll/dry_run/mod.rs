//! A poll that writes nothing: what it would write is recorded instead. The poll itself does not know.
//!
//! It works where requests leave ([`crate::http`]): what changes nothing goes on to the network, everything else is
//! recorded and answered as by whoever accepts it ([`ecs`], [`prefect1`], [`prefect3`]: pure). What is read afterwards
//! shows the states that were recorded, and nothing waits on the clock.

mod ecs;
mod prefect1;
mod prefect3;
mod recorder;
#[cfg(test)]
mod tests;

pub(super) use recorder::{Recorder, Service};

use crate::clock::Clock;
use crate::panics::lock;
use serde::Serialize;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use time::OffsetDateTime;

/// A request that would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedRequest {
    /// The agent that would send it.
    pub agent: String,
    /// `prefect` or `ecs`.
    pub service: &'static str,
    /// `claim`, `record-task`, `give-back`, `fail`, `cancelled`, `log` and `announce` (Prefect); ECS's own names.
    pub operation: String,
    /// The runs it belongs to are held until then; `null` = it would be sent at once.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// The body as it would be sent, with secrets replaced by `[redacted]`. Names that only the answer to an earlier
    /// request would tell (ARNs) stand in square brackets.
    pub body: Value,
}

/// Where the requests of a dry run are noted; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<PlannedRequest>>>);

impl Record {
    /// What was noted since the last call, by agent, in the order in which it would be sent.
    pub fn take(&self) -> Vec<PlannedRequest> {
        let mut requests = std::mem::take(&mut *lock(&self.0));
        requests.sort_by(|a, b| (&a.agent, a.not_before).cmp(&(&b.agent, b.not_before)));
        requests
    }

    fn push(&self, request: PlannedRequest) {
        lock(&self.0).push(request);
    }
}

/// A clock on which waiting is over at once: a dry run shows held launches without holding them.
#[derive(Debug, Clone)]
pub struct Unhurried<C>(pub(super) C);

impl<C: Clock> Clock for Unhurried<C> {
    fn now(&self) -> OffsetDateTime {
        self.0.now()
    }

    async fn sleep_until(&self, _instant: OffsetDateTime) {}
}
