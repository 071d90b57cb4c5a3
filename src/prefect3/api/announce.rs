//! Others are told of launched runs: by events, and by labels on the runs. Best effort, when everything else is done, as
//! long as the invocation has time; what is left comes at the next poll of a warm process.

use super::answer::{is_missing, is_no_route};
use super::events::{LaunchEvent, Teller};
use super::requests::{self, ApiRequest};
use super::runs::Row;
use super::untold::Telling;
use super::{Detail, Prefect3, version_of};
use crate::config::WorkerRules;
use crate::orchestrator::DueRun;
use crate::prefect3::job_configuration::WorkPool;
use futures_util::future::join;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// Events and lines about refused claims take at most this long: nobody waits for them, and they are not kept.
const EVENTS: Duration = Duration::from_secs(5);
/// Kept back from the time of the requests: what is told must not make the poll late.
const LAST: Duration = Duration::from_secs(1);
/// Events of one request at most.
const MAX_EVENTS: usize = 200;

/// What the server turned out not to have. Remembered by a warm process.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    /// Ids of workers.
    pub worker_ids: AtomicBool,
    /// Filters by the end of runs: not asked for before this time again (unix seconds).
    pub end_times: AtomicI64,
    /// Labels on flow runs.
    pub labels: AtomicBool,
    events: AtomicBool,
}

impl Prefect3 {
    /// Tells others of launched runs, and what earlier polls of this process could not tell. How much is left.
    pub(super) async fn announce(&self, launched: &[(DueRun<Detail>, String)]) -> usize {
        if self.wants_labels() {
            for (run, _) in launched {
                self.untold.add(labels_of(&run.flow_run_id));
            }
        }
        if launched.is_empty() && self.untold.is_empty() && self.refusals.is_empty() {
            return 0;
        }
        let left = self.transport.time_left().unwrap_or_default().saturating_sub(LAST);
        let telling = async {
            // Not counted: what could not be said now is said when it is refused again.
            let _ = tokio::time::timeout(EVENTS, self.tell_refusals()).await;
            if launched.is_empty() && self.untold.is_empty() {
                return Ok(());
            }
            let pool = self.pool().await.map_err(Some)?;
            let labels = self.teller(&pool).labels();
            let events = tokio::time::timeout(EVENTS, self.send_events(&pool, launched));
            join(events, self.tell_rest(&labels)).await.1.map_or(Ok(()), |error| Err(Some(error)))
        };
        let told = tokio::time::timeout(left, telling).await.unwrap_or(Err(None));
        let count = self.untold.count();
        if count > 0 {
            let error = told.err().flatten().map(|error| error.to_string()).unwrap_or_default();
            tracing::warn!(count, error, "labels or tasks of launched flow runs are not written down yet");
        }
        count
    }

    /// Whether the runs of this agent get labels. Prefect 2 has none on flow runs.
    fn wants_labels(&self) -> bool {
        let three = &self.config.generation;
        let is_served = !self.unserved.labels.load(Ordering::Relaxed);
        three.prefect_labels && three.rules != WorkerRules::Two && is_served
    }

    /// A run of ours with a task that nobody has labelled is labelled with the next ones: the process that launched it did
    /// not come so far.
    pub(super) fn label_later(&self, run: &Row) {
        let labels = run.flow_run.others.get("labels");
        let is_labelled = labels.is_some_and(|labels| labels.get("prefect.worker.name").is_some());
        if run.pid().is_some() && !is_labelled && self.wants_labels() {
            self.untold.add(labels_of(run.id()));
        }
    }

    async fn send_events(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, String)]) {
        for request in self.event_requests(pool, launched) {
            if self.unserved.events.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.transport.repeatable(&request).await.answer {
                // A server of Prefect 2 has the route, and no events behind it: it says so with a 404 of its own words.
                let is_unserved = is_no_route(&error) || is_missing(&error);
                self.unserved.events.store(is_unserved, Ordering::Relaxed);
                tracing::warn!(%error, "others were not told of launched flow runs");
            }
        }
    }

    fn event_requests(&self, pool: &WorkPool, launched: &[(DueRun<Detail>, String)]) -> Vec<ApiRequest> {
        let (teller, now) = (self.teller(pool), (self.now)());
        let events = |(run, pid): &(DueRun<Detail>, String)| {
            let belongings = self.records.of(run).ok();
            let launched = LaunchEvent { flow_run: &run.detail.flow_run, belongings: belongings.as_ref() };
            let submitted = self.names.event(&run.flow_run_id, &run.token);
            let mut events = vec![teller.submitted(&submitted, launched, now)];
            // Prefect 2's worker tells its flow's end by it, which nobody waits for here.
            if self.config.generation.rules != WorkerRules::Two {
                let id = self.names.executed_event(&run.flow_run_id, &run.token);
                events.push(teller.executed((&id, &submitted), launched, pid, now));
            }
            events
        };
        let some = |launched: &[(DueRun<Detail>, String)]| requests::events(launched.iter().flat_map(events).collect());
        launched.chunks(MAX_EVENTS / 2).map(some).collect()
    }

    fn teller<'a>(&'a self, work_pool: &'a WorkPool) -> Teller<'a> {
        Teller { name: &self.config.name, prefect_version: self.prefect_version(), work_pool }
    }

    /// The version of Prefect whose worker this stands for.
    pub(super) fn prefect_version(&self) -> &'static str {
        version_of(self.config.generation.rules)
    }
}

fn labels_of(flow_run_id: &str) -> Telling {
    Telling::Labels { flow_run_id: flow_run_id.to_owned() }
}

#[cfg(test)]
mod tests;
