//! Others are told of launched runs: by events, and by labels on the runs. Best effort, when everything else is done.

use super::answer::{is_missing, is_no_route};
use super::events::{Launched, Teller};
use super::requests::{self, Request};
use super::{Detail, Prefect3, version_of};
use crate::config::WorkerRules;
use crate::orchestrator::{ApiError, DueRun, TaskOfRun};
use crate::prefect3::render::WorkPool;
use futures_util::future::join;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// All of it takes at most this long.
const TELLING: Duration = Duration::from_secs(5);
/// Events of one request at most.
const MAX_EVENTS: usize = 200;

/// What the server turned out not to have. Remembered by a warm process.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    /// Ids of workers.
    pub worker_ids: AtomicBool,
    /// Filters by the end of runs: not asked for before this time again (unix seconds).
    pub end_times: AtomicI64,
    labels: AtomicBool,
    events: AtomicBool,
}

impl Prefect3 {
    /// Tells others of launched runs.
    pub(super) async fn tell_others(&self, launched: &[(DueRun<Detail>, TaskOfRun)]) {
        let Ok(pool) = self.pool().await else { return };
        let telling = join(self.send_events(&pool, launched), self.send_labels(&pool, launched));
        if tokio::time::timeout(TELLING, telling).await.is_err() {
            tracing::warn!(runs = launched.len(), "not all labels and events of launched runs were written in time");
        }
    }

    async fn send_events(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, TaskOfRun)]) {
        for request in self.event_requests(pool, launched) {
            if self.unserved.events.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.transport.repeatable(&request).await.answer {
                // A server of Prefect 2 has the route, and no events behind it: it says so with a 404 of its own words.
                note(&self.unserved.events, is_no_route(&error) || is_missing(&error), &error, "events");
            }
        }
    }

    /// One after the other: several at once lock a server's `SQLite`.
    async fn send_labels(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, TaskOfRun)]) {
        for request in self.label_requests(pool, launched) {
            if self.unserved.labels.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.transport.repeatable(&request).await.answer {
                note(&self.unserved.labels, is_no_route(&error), &error, "labels");
            }
        }
    }

    /// The requests of [`Prefect3::tell_others`], by what is known without asking.
    pub(super) fn announcements(&self, launched: &[(DueRun<Detail>, TaskOfRun)]) -> Vec<Request> {
        let known = self.pool.try_lock().ok().and_then(|pool| pool.known());
        let Some(pool) = known else { return Vec::new() };
        let mut requests = self.event_requests(&pool, launched);
        requests.extend(self.label_requests(&pool, launched));
        requests
    }

    fn event_requests(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, TaskOfRun)]) -> Vec<Request> {
        let (teller, now) = (self.teller(pool), (self.now)());
        let event = |(run, _): &(DueRun<Detail>, TaskOfRun)| {
            let belongings = self.records.of(run).ok();
            let launched = Launched { flow_run: &run.detail.flow_run, belongings: belongings.as_ref() };
            teller.submitted(&self.names.event(&run.flow_run_id, &run.token), launched, now)
        };
        launched.chunks(MAX_EVENTS).map(|launched| requests::events(launched.iter().map(event).collect())).collect()
    }

    fn label_requests(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, TaskOfRun)]) -> Vec<Request> {
        let three = &self.config.generation;
        // Prefect 2 has no labels on flow runs.
        if !three.prefect_labels || three.rules == WorkerRules::Two {
            return Vec::new();
        }
        let labels = self.teller(pool).labels();
        launched.iter().map(|(run, _)| requests::labels(&run.flow_run_id, &labels)).collect()
    }

    fn teller<'a>(&'a self, work_pool: &'a WorkPool) -> Teller<'a> {
        Teller { name: &self.config.name, prefect_version: self.prefect_version(), work_pool }
    }

    /// The version of Prefect whose worker this stands for.
    pub(super) fn prefect_version(&self) -> &'static str {
        version_of(self.config.generation.rules)
    }
}

/// A server that serves no such thing is not asked again.
fn note(unserved: &AtomicBool, is_unserved: bool, error: &ApiError, what: &str) {
    unserved.store(is_unserved, Ordering::Relaxed);
    tracing::warn!(%error, what, "others were not told of launched flow runs");
}

#[cfg(test)]
mod tests;
