//! Flows and deployments of the due runs: read once per poll, not once per run.

use super::requests::{self, PAGE_ROWS, Request};
use super::{Detail, Prefect3, lock};
use crate::orchestrator::{ApiError, DueRun};
use crate::prefect3::render::{Deployment, Flow};
use futures_util::future::{join, join_all};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// Flows that a warm process remembers at most.
const MAX_FLOWS: usize = 1000;

/// What is known of flows and deployments.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Flows keep their names: a warm process reads each once.
    flows: Known<Flow>,
    /// Deployments as they are in this poll.
    deployments: Known<Deployed>,
    /// Held while they are read, so that batches side by side do not read the same.
    reading: tokio::sync::Mutex<()>,
}

type Known<T> = Mutex<HashMap<String, Found<T>>>;

/// What was found under an id.
#[derive(Debug)]
enum Found<T> {
    There(Arc<T>),
    /// Nothing: deleted.
    Nothing,
    /// It cannot be read, and why.
    Unread(String),
}

/// A deployment and what launches do not need of it.
#[derive(Debug, Clone)]
pub(super) struct Deployed {
    pub deployment: Deployment,
    pub tags: Vec<String>,
}

/// What a run belongs to.
#[derive(Debug, Clone)]
pub(super) struct Belongings {
    pub flow: Arc<Flow>,
    pub deployment: Option<Arc<Deployed>>,
}

/// Why there is no [`Belongings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The deployment was deleted.
    Deployment(String),
    /// There is no such flow.
    Flow(String),
    /// It could not be read, and why.
    Unread(String),
}

impl Records {
    /// Deployments may have changed since the last poll; what was not there may be there now.
    pub(super) fn begin_poll(&self) {
        lock(&self.deployments).clear();
        let mut flows = lock(&self.flows);
        flows.retain(|_, found| matches!(found, Found::There(_)));
        if flows.len() > MAX_FLOWS {
            flows.clear();
        }
    }

    /// A run's flow and deployment, once they were read.
    pub(super) fn of(&self, run: &DueRun<Detail>) -> Result<Belongings, Missing> {
        let flow_run = &run.detail.flow_run;
        let deployment = flow_run.deployment_id.as_ref().map(|id| {
            found(&self.deployments, id).map_err(|why| match why {
                Some(why) => Missing::Unread(format!("its deployment cannot be read: {why}")),
                None => Missing::Deployment(id.clone()),
            })
        });
        let flow = found(&self.flows, &flow_run.flow_id).map_err(|why| match why {
            Some(why) => Missing::Unread(format!("its flow cannot be read: {why}")),
            None => Missing::Flow(flow_run.flow_id.clone()),
        });
        Ok(Belongings { deployment: deployment.transpose()?, flow: flow? })
    }
}

/// What was found; `Err(None)` = it is not there.
fn found<T>(known: &Known<T>, id: &str) -> Result<Arc<T>, Option<String>> {
    match lock(known).get(id) {
        Some(Found::There(found)) => Ok(Arc::clone(found)),
        Some(Found::Nothing) => Err(None),
        Some(Found::Unread(why)) => Err(Some(why.clone())),
        None => Err(Some("it was not asked for".into())),
    }
}

/// Those ids that were not read, or not well.
fn unknown<'a, T>(known: &Known<T>, ids: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let known = lock(known);
    let is_open = |id: &&String| matches!(known.get(*id), None | Some(Found::Unread(_)));
    ids.collect::<BTreeSet<_>>().into_iter().filter(is_open).map(String::as_str).collect()
}

impl Prefect3 {
    /// Reads what is not known yet of the runs' flows and deployments.
    pub(super) async fn read_records(&self, runs: &[&DueRun<Detail>]) {
        let _reading = self.records.reading.lock().await;
        let flow_runs = || runs.iter().map(|run| &run.detail.flow_run);
        let flows = unknown(&self.records.flows, flow_runs().map(|run| &run.flow_id));
        let deployments = unknown(&self.records.deployments, flow_runs().filter_map(|run| run.deployment_id.as_ref()));
        join(
            self.read_into(&self.records.flows, &flows, requests::flows, serde_json::from_value),
            self.read_into(&self.records.deployments, &deployments, requests::deployments, |row| {
                let tags = tags(&row["tags"]);
                Ok(Deployed { deployment: serde_json::from_value(row)?, tags })
            }),
        )
        .await;
    }

    async fn read_into<T>(
        &self,
        known: &Known<T>,
        ids: &[&str],
        request: fn(&[&str]) -> Request,
        parse: fn(Value) -> serde_json::Result<T>,
    ) {
        let chunks = ids.chunks(PAGE_ROWS).map(|ids| async move {
            let rows = async { self.transport.read(&request(ids)).await?.list() };
            (ids, rows.await)
        });
        for (ids, rows) in join_all(chunks).await {
            let mut known = lock(known);
            known.extend(ids.iter().map(|id| ((*id).to_owned(), without_row(rows.as_ref().err()))));
            for row in rows.into_iter().flatten() {
                let Some(id) = row["id"].as_str().map(str::to_owned) else { continue };
                let found =
                    parse(row).map_or_else(|error| Found::Unread(error.to_string()), |row| Found::There(Arc::new(row)));
                known.insert(id, found);
            }
        }
    }
}

/// What it means that there is no row.
fn without_row<T>(error: Option<&ApiError>) -> Found<T> {
    error.map_or(Found::Nothing, |error| Found::Unread(error.to_string()))
}

/// A list of texts.
pub(super) fn tags(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
