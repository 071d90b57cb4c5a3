//! What the API knows.

use super::{
    Automation, Blocks, Deployment, FlowRun, Switches, WebhookCall, WorkPool, WorkQueue, Worker, csrf::Tokens,
    slots::Leases,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// All that the fake of Prefect 2 and 3 knows.
#[derive(Default)]
pub struct Prefect3 {
    /// How it behaves.
    pub switches: Switches,
    /// Work pools, oldest first.
    pub work_pools: Vec<WorkPool>,
    /// The queues of all pools, oldest first.
    pub work_queues: Vec<WorkQueue>,
    /// Workers that sent a heartbeat.
    pub workers: Vec<Worker>,
    /// Flows, oldest first.
    pub flows: Vec<Flow>,
    /// Deployments, oldest first.
    pub deployments: Vec<Deployment>,
    /// Flow runs, oldest first.
    pub flow_runs: Vec<FlowRun>,
    /// Blocks.
    pub blocks: Blocks,
    /// Variables, oldest first.
    pub variables: Vec<Variable>,
    /// Log lines as they were sent, oldest first.
    pub logs: Vec<Value>,
    /// Events as they were sent, oldest first.
    pub events: Vec<Value>,
    /// Automations, oldest first.
    pub automations: Vec<Automation>,
    /// What automations have done, oldest first.
    pub automation_events: Vec<Value>,
    /// Webhooks that are to be called.
    pub webhooks: Vec<WebhookCall>,
    pub(super) leases: Leases,
    pub(super) csrf_tokens: Tokens,
    /// Writes under way, for [`super::Busy`].
    pub(super) writing: usize,
}

/// A flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Its name, which no other flow has.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: Map<String, Value>,
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Its name.
    pub name: String,
    /// Any JSON.
    pub value: Value,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Prefect3 {
    /// A flow run.
    pub fn flow_run(&self, id: &str) -> Option<&FlowRun> {
        self.flow_runs.iter().find(|run| run.id.eq_ignore_ascii_case(id))
    }

    pub(super) fn flow_run_mut(&mut self, id: &str) -> Option<&mut FlowRun> {
        self.flow_runs.iter_mut().find(|run| run.id.eq_ignore_ascii_case(id))
    }

    /// A work pool by name.
    pub fn work_pool(&self, name: &str) -> Option<&WorkPool> {
        self.work_pools.iter().find(|pool| pool.name == name)
    }

    pub(super) fn work_pool_mut(&mut self, name: &str) -> Option<&mut WorkPool> {
        self.work_pools.iter_mut().find(|pool| pool.name == name)
    }

    /// A queue of a pool, both by name.
    pub fn work_queue(&self, pool: &str, name: &str) -> Option<&WorkQueue> {
        let pool = self.work_pool(pool)?;
        self.work_queues.iter().find(|queue| queue.work_pool_id == pool.id && queue.name == name)
    }

    /// A queue and its pool, by the queue's id.
    pub(super) fn queue_and_pool(&self, id: Option<&str>) -> Option<(&WorkQueue, &WorkPool)> {
        let queue = self.work_queues.iter().find(|queue| Some(queue.id.as_str()) == id)?;
        let pool = self.work_pools.iter().find(|pool| pool.id == queue.work_pool_id)?;
        Some((queue, pool))
    }

    /// A flow.
    pub fn flow(&self, id: &str) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.id.eq_ignore_ascii_case(id))
    }

    /// A deployment.
    pub fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id.eq_ignore_ascii_case(id))
    }

    pub(super) fn deployment_mut(&mut self, id: &str) -> Option<&mut Deployment> {
        self.deployments.iter_mut().find(|deployment| deployment.id.eq_ignore_ascii_case(id))
    }

    /// The log lines of a flow run, oldest first.
    pub fn flow_run_logs(&self, id: &str) -> impl Iterator<Item = &Value> {
        let id = id.to_ascii_lowercase();
        self.logs
            .iter()
            .filter(move |line| line["flow_run_id"].as_str().map(str::to_ascii_lowercase) == Some(id.clone()))
    }

    /// A point in time as this generation writes it.
    pub(super) fn show(&self, at: OffsetDateTime) -> Value {
        super::times::show(at, self.switches.generation).into()
    }

    /// The same; null for none.
    pub(super) fn show_some(&self, at: Option<OffsetDateTime>) -> Value {
        super::times::json(at, self.switches.generation)
    }

    /// A row without what Prefect 2 does not have.
    pub(super) fn aged(&self, mut row: Value, later: &[&str]) -> Value {
        if self.switches.generation.is_two()
            && let Some(row) = row.as_object_mut()
        {
            row.retain(|key, _| !later.contains(&key.as_str()));
        }
        row
    }

    pub(super) fn flow_row(&self, flow: &Flow) -> Value {
        let created = self.show(flow.created);
        let row = json!({
            "id": flow.id, "created": created, "updated": created, "name": flow.name, "tags": flow.tags,
            "labels": flow.labels,
        });
        self.aged(row, &["labels"])
    }

    pub(super) fn variable_row(&self, variable: &Variable) -> Value {
        let created = self.show(variable.created);
        json!({
            "id": variable.id, "created": created, "updated": created, "name": variable.name,
            "value": variable.value, "tags": variable.tags,
        })
    }
}
