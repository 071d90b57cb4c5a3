//! Others are told of launched runs: by events, and by labels on the runs. Best effort, when everything else is done, as
//! long as the invocation has time; what is left comes at the next poll of a warm process.

use super::records::{Belongings, tags};
use super::requests::{self, ApiRequest};
use super::states::Row;
use super::telling::Telling;
use super::transport::{is_missing, is_no_route};
use super::{Detail, Prefect3, version_of};
use crate::config::WorkerRules;
use crate::flow_run::prefect3::{FlowRun, WorkPool};
use crate::orchestrator::DueRun;
use crate::python_text;
use crate::python_text::slug;
use futures_util::future::join;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

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
mod events_tests;
#[cfg(test)]
mod tests;

// The events and labels by which a worker tells others of the runs it has launched. Pure.

/// The worker that tells.
#[derive(Debug, Clone, Copy)]
struct Teller<'a> {
    pub name: &'a str,
    /// Version of the Prefect whose worker this stands for.
    pub prefect_version: &'a str,
    pub work_pool: &'a WorkPool,
}

/// A run that has a task.
#[derive(Debug, Clone, Copy)]
struct LaunchEvent<'a> {
    pub flow_run: &'a FlowRun,
    /// Unknown where it was launched by an earlier process.
    pub belongings: Option<&'a Belongings>,
}

impl Teller<'_> {
    /// `prefect.worker.submitted-flow-run`. `id` is the same for the same launch.
    pub(super) fn submitted(self, id: &str, launched: LaunchEvent<'_>, now: OffsetDateTime) -> Value {
        self.event("prefect.worker.submitted-flow-run", (id, None), &self.related(launched), now)
    }

    /// `prefect.worker.executed-flow-run`: the run has this infrastructure. As with Prefect 3's own worker it comes right
    /// after the launch, and its status code is that of the launch: 0. `id`, and that of the event before it.
    pub(super) fn executed(
        self,
        (id, follows): (&str, &str),
        launched: LaunchEvent<'_>,
        pid: &str,
        now: OffsetDateTime,
    ) -> Value {
        let mut related = self.related(launched);
        for resource in related.iter_mut().filter_map(Value::as_object_mut) {
            if resource.get("prefect.resource.role").and_then(Value::as_str) == Some("flow-run") {
                resource.insert("prefect.infrastructure.identifier".into(), pid.into());
                resource.insert("prefect.infrastructure.status-code".into(), "0".into());
            }
        }
        self.event("prefect.worker.executed-flow-run", (id, Some(follows)), &related, now)
    }

    fn event(self, event: &str, (id, follows): (&str, Option<&str>), related: &[Value], now: OffsetDateTime) -> Value {
        let name = self.name;
        json!({
            "id": id, "occurred": python_text::iso_time(now), "event": event,
            "resource": {
                "prefect.resource.id": format!("prefect.worker.ecs.{}", slug(name, usize::MAX)),
                "prefect.resource.name": name,
                "prefect.version": self.prefect_version,
                "prefect.worker-type": "ecs",
            },
            "related": related,
            "payload": {}, "follows": follows,
        })
    }

    fn related(self, launched: LaunchEvent<'_>) -> Vec<Value> {
        let LaunchEvent { flow_run, belongings } = launched;
        let deployment = belongings.and_then(|known| known.deployment.as_ref());
        let flow = belongings.map(|known| known.flow.name.as_str());
        let deployment_name = deployment.map(|known| known.deployment.name.as_str());
        let mut related: Vec<Value> = Vec::new();
        related.extend(flow_run.deployment_id.as_ref().map(|id| resource("deployment", id, deployment_name)));
        related.push(resource("flow", &flow_run.flow_id, flow));
        related.push(resource("flow-run", &flow_run.id, Some(&flow_run.name)));
        let of_run = flow_run.others.get("tags").map(tags).unwrap_or_default();
        let of_deployment = deployment.map(|known| known.tags.clone()).unwrap_or_default();
        let tags: BTreeSet<String> = of_run.into_iter().chain(of_deployment).collect();
        related.extend(tags.iter().map(|tag| resource("tag", tag, None)));
        related.push(resource("work-pool", &self.work_pool.id, Some(&self.work_pool.name)));
        related
    }

    /// The labels that a worker writes on its flow runs.
    pub(super) fn labels(self) -> Value {
        json!({
            "prefect.worker.name": self.name,
            "prefect.worker.type": "ecs",
            "prefect.work-pool.name": self.work_pool.name,
            "prefect.work-pool.id": self.work_pool.id,
        })
    }
}

fn resource(kind: &str, id: &str, name: Option<&str>) -> Value {
    let mut resource = Map::new();
    resource.insert("prefect.resource.id".into(), json!(format!("prefect.{kind}.{id}")));
    resource.insert("prefect.resource.role".into(), json!(kind));
    resource.extend(name.map(|name| ("prefect.resource.name".to_owned(), json!(name))));
    Value::Object(resource)
}
