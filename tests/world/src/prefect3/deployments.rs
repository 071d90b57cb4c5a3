//! The operations on deployments.

use super::{
    CollisionStrategy, Deployment, Limit, Prefect3, StateType, Status,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::{Column, Columns, Filter, Kind, Page},
    flow_runs::integrity,
    routes::Call,
    times,
};
use serde_json::Map;
use time::OffsetDateTime;

pub(super) const COLUMNS: Columns = &[
    ("id", Kind::Ids),
    ("name", Kind::Texts),
    ("flow_or_deployment_name", Kind::Texts),
    ("paused", Kind::Flag),
    ("tags", Kind::Tags),
    ("work_queue_name", Kind::Texts),
];

/// A deployment's columns, as filters look at them.
pub(super) fn column<'a>(prefect3: &'a Prefect3, deployment: &'a Deployment, name: &str) -> Column<'a> {
    let place = prefect3.queue_and_pool(deployment.work_queue_id.as_deref());
    match name {
        "tags" => Column::Tags(&deployment.tags),
        "paused" => Column::Flag(deployment.paused),
        "id" => Column::Text(Some(&deployment.id)),
        "name" | "flow_or_deployment_name" => Column::Text(Some(&deployment.name)),
        "work_queue_name" => Column::Text(place.map(|(queue, _)| queue.name.as_str())),
        _ => Column::Text(None),
    }
}

/// What is kept as it is given.
const KEPT: [&str; 5] = ["parameter_openapi_schema", "path", "pull_steps", "entrypoint", "enforce_parameter_schema"];

const KNOWN: [&str; 23] = [
    "name",
    "flow_id",
    "paused",
    "schedules",
    "concurrency_limit",
    "concurrency_options",
    "global_concurrency_limit_id",
    "enforce_parameter_schema",
    "parameter_openapi_schema",
    "parameters",
    "tags",
    "labels",
    "pull_steps",
    "work_queue_name",
    "work_pool_name",
    "storage_document_id",
    "infrastructure_document_id",
    "description",
    "path",
    "version",
    "entrypoint",
    "job_variables",
    "version_info",
];

impl Prefect3 {
    /// A deployment, or the server's answer.
    pub(super) fn deployment_or_404(&self, id: &str) -> Outcome<&Deployment> {
        self.deployment(id).ok_or_else(|| detail(404, "Deployment not found"))
    }

    /// A queue of a pool, both by name, which is made if there is none; its id.
    pub(super) fn queue_or_new(&mut self, pool: &str, name: &str, now: OffsetDateTime) -> Outcome<String> {
        if let Some(queue) = self.work_queue(pool, name) {
            return Ok(queue.id.clone());
        }
        let pool_id = self.pool_or_404(pool)?.id.clone();
        Ok(self.add_work_queue(&pool_id, name, None, now))
    }

    /// Deletes a deployment, and its runs that are Scheduled and never ran; false when there is none.
    pub(super) fn remove_deployment(&mut self, id: &str) -> bool {
        let before = self.deployments.len();
        self.deployments.retain(|deployment| deployment.id != id);
        if self.deployments.len() == before {
            return false;
        }
        self.flow_runs.retain(|run| {
            run.deployment_id.as_deref() != Some(id)
                || run.state_type() != Some(StateType::Scheduled)
                || run.state_name() == "AwaitingConcurrencySlot"
                || run.run_count > 0
        });
        true
    }
}

impl Deployment {
    pub(super) fn new(name: &str, flow_id: &str, now: OffsetDateTime) -> Self {
        Self {
            id: times::new_id(),
            created: now,
            updated: now,
            name: name.to_owned(),
            version: None,
            description: None,
            flow_id: flow_id.to_owned(),
            paused: false,
            limit: None,
            collision_strategy: None,
            grace_period_seconds: None,
            job_variables: Map::new(),
            parameters: Map::new(),
            tags: Vec::new(),
            labels: Map::new(),
            work_queue_name: None,
            work_queue_id: None,
            last_polled: None,
            status: Status::NotReady,
            rest: Map::new(),
        }
    }

    /// Limits how many of its runs may be under way.
    pub(super) fn limit_to(&mut self, limit: i64, now: OffsetDateTime) {
        match &mut self.limit {
            Some(known) => known.limit = limit,
            None => {
                self.limit = Some(Limit { id: times::new_id(), created: now, active: true, limit, active_slots: 0 });
            }
        }
    }

    /// Takes what a body gives; the rest stays.
    fn take(&mut self, fields: &Fields<'_>, now: OffsetDateTime) -> Outcome<()> {
        self.version = fields.text("version")?.or_else(|| self.version.take());
        self.description = fields.text("description")?.or_else(|| self.description.take());
        self.paused = fields.boolean("paused")?.unwrap_or(self.paused);
        self.tags = fields.texts("tags")?.unwrap_or_else(|| self.tags.clone());
        self.parameters = fields.object("parameters")?.unwrap_or_else(|| self.parameters.clone());
        self.job_variables = fields.object("job_variables")?.unwrap_or_else(|| self.job_variables.clone());
        for key in KEPT.iter().filter(|key| fields.has(key)) {
            self.rest.insert((*key).to_owned(), fields.get(key).cloned().unwrap_or_default());
        }
        if let Some(limit) = fields.integer("concurrency_limit", 1)? {
            self.limit_to(limit, now);
        } else if fields.has("concurrency_limit") {
            self.limit = None;
        }
        if let Some(options) = fields.child("concurrency_options")? {
            let options = options.only(&["collision_strategy", "grace_period_seconds"])?;
            options.required("collision_strategy")?;
            let strategy = super::filters::one_of(&options, "collision_strategy", &["ENQUEUE", "CANCEL_NEW"])?;
            self.collision_strategy = strategy.map(|name| match name.as_str() {
                "CANCEL_NEW" => CollisionStrategy::CancelNew,
                _ => CollisionStrategy::Enqueue,
            });
            self.grace_period_seconds = options.integer("grace_period_seconds", 60)?;
        }
        Ok(())
    }
}

/// `POST /deployments/`: one with the same flow and name is updated.
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&KNOWN)?;
    let name = fields.required_text("name")?;
    fields.required("flow_id")?;
    let flow_id = fields.id("flow_id")?.unwrap_or_default();
    let known = call.prefect3.deployments.iter().find(|one| one.name == name && one.flow_id == flow_id).cloned();
    let is_new = known.is_none();
    let mut deployment = known.unwrap_or_else(|| Deployment::new(&name, &flow_id, call.now));
    if call.prefect3.switches.generation.is_two() {
        // An update leaves nothing of what was there.
        let (id, created) = (deployment.id, deployment.created);
        deployment = Deployment { id, created, ..Deployment::new(&name, &flow_id, call.now) };
    }
    // An update that names no parameters leaves none.
    deployment.parameters.clear();
    deployment.take(&fields, call.now)?;
    place(call.prefect3, &mut deployment, &fields, call.now)?;
    let own = fields.object("labels")?.unwrap_or_default();
    let flow = call.prefect3.flow(&flow_id).ok_or_else(integrity)?;
    deployment.labels.clone_from(&flow.labels);
    deployment.labels.insert("prefect.flow.id".to_owned(), flow_id.into());
    deployment.labels.extend(own);
    deployment.updated = call.now;
    let row = call.prefect3.deployment_row(&deployment);
    match call.prefect3.deployment_mut(&deployment.id) {
        Some(known) => *known = deployment,
        None => call.prefect3.deployments.push(deployment),
    }
    Ok(Answer::json(if is_new { 201 } else { 200 }, row))
}

/// The queue that the deployment's runs go to.
fn place(
    prefect3: &mut Prefect3,
    deployment: &mut Deployment,
    fields: &Fields<'_>,
    now: OffsetDateTime,
) -> Outcome<()> {
    let Some(pool) = fields.text("work_pool_name")? else { return Ok(()) };
    prefect3.pool_or_404(&pool)?;
    deployment.work_queue_name = fields.text("work_queue_name")?;
    deployment.work_queue_id = Some(match &deployment.work_queue_name {
        Some(name) => prefect3.queue_or_new(&pool, name, now)?,
        None => prefect3.pool_or_404(&pool)?.default_queue_id.clone(),
    });
    Ok(())
}

/// `GET /deployments/{id}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let deployment = call.prefect3.deployment_or_404(&call.parameter(0))?;
    Ok(Answer::ok(call.prefect3.deployment_row(deployment)))
}

/// `GET /deployments/name/{flow}/{name}`
pub(super) fn read_by_name(call: &mut Call<'_>) -> Outcome {
    let (flow, name) = (call.parameter(0), call.parameter(1));
    let of_flow = |id: &str| call.prefect3.flow(id).is_some_and(|one| one.name == flow);
    let deployment = call.prefect3.deployments.iter().find(|one| one.name == name && of_flow(&one.flow_id));
    let deployment = deployment.ok_or_else(|| detail(404, "Deployment not found"))?;
    Ok(Answer::ok(call.prefect3.deployment_row(deployment)))
}

/// `POST /deployments/filter`: by name.
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let filter = Filter::read(&fields, "deployments", COLUMNS)?;
    let pools = Filter::read(&fields, "work_pools", super::work_pools::COLUMNS)?;
    let flows = Filter::read(&fields, "flows", super::flows::COLUMNS)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let prefect3 = &*call.prefect3;
    let (by_pool, by_flow) = (fields.get("work_pools").is_some(), fields.get("flows").is_some());
    let wanted = |one: &&Deployment| {
        let place = prefect3.queue_and_pool(one.work_queue_id.as_deref());
        let flow = prefect3.flow(&one.flow_id);
        filter.wants(&|name: &str| column(prefect3, one, name))
            && (!by_pool
                || place.is_some_and(|(_, pool)| pools.wants(&|name: &str| super::work_pools::column(pool, name))))
            && (!by_flow || flow.is_some_and(|flow| flows.wants(&|name: &str| super::flows::column(flow, name))))
    };
    let mut found: Vec<&Deployment> = prefect3.deployments.iter().filter(wanted).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Answer::ok(page.of(found, |one| prefect3.deployment_row(one))))
}

/// `PATCH /deployments/{id}`
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&KNOWN)?;
    let deployment = call.prefect3.deployment(&call.parameter(0)).cloned();
    let mut deployment = deployment.ok_or_else(|| detail(404, "Deployment not found."))?;
    deployment.take(&fields, call.now)?;
    place(call.prefect3, &mut deployment, &fields, call.now)?;
    deployment.updated = call.now;
    if let Some(known) = call.prefect3.deployment_mut(&deployment.id) {
        *known = deployment;
    }
    Ok(Answer::empty())
}

/// `DELETE /deployments/{id}`
pub(super) fn delete(call: &mut Call<'_>) -> Outcome {
    if call.prefect3.remove_deployment(&call.parameter(0)) {
        return Ok(Answer::empty());
    }
    Err(detail(404, "Deployment not found"))
}
