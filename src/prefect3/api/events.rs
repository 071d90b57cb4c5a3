//! The events and labels by which a worker tells others of the runs it has launched. Pure.

use super::records::{Belongings, tags};
use crate::prefect3::job_configuration::{FlowRun, WorkPool};
use crate::slug::slug;
use crate::times;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// The worker that tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller<'a> {
    pub name: &'a str,
    /// Version of the Prefect whose worker this stands for.
    pub prefect_version: &'a str,
    pub work_pool: &'a WorkPool,
}

/// A run that has a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaunchEvent<'a> {
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
            "id": id, "occurred": times::iso(now), "event": event,
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

#[cfg(test)]
mod tests;
