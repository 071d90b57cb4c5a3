//! The operations on work pools.

use super::{
    Prefect3, Status,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::{Column, Columns, Filter, Kind, Page},
    routes::Call,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use time::OffsetDateTime;

pub(super) const COLUMNS: Columns = &[("id", Kind::Ids), ("name", Kind::Texts), ("type", Kind::Texts)];

impl Prefect3 {
    /// A pool by name, or the server's answer.
    pub(super) fn pool_or_404(&self, name: &str) -> Outcome<&super::WorkPool> {
        self.work_pool(name).ok_or_else(|| detail(404, format!("Work pool \"{name}\" not found.")))
    }

    /// Pauses a pool or lets it go on.
    pub(super) fn pause_pool(&mut self, name: &str, is_paused: bool, now: OffsetDateTime) {
        let Some(id) = self.work_pool(name).map(|pool| pool.id.clone()) else { return };
        let online = self.workers.iter().any(|worker| worker.work_pool_id == id && worker.online);
        if let Some(pool) = self.work_pool_mut(name) {
            pool.is_paused = is_paused;
            pool.updated = now;
            pool.status = match (is_paused, online) {
                (true, _) => Status::Paused,
                (false, true) => Status::Ready,
                (false, false) => Status::NotReady,
            };
        }
    }
}

/// A pool's columns, as filters look at them.
pub(super) fn column<'a>(pool: &'a super::WorkPool, name: &str) -> Column<'a> {
    Column::Text(match name {
        "id" => Some(pool.id.as_str()),
        "name" => Some(pool.name.as_str()),
        "type" => Some(pool.kind.as_str()),
        _ => None,
    })
}

/// `POST /work_pools/`
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let known =
        ["name", "description", "type", "base_job_template", "is_paused", "concurrency_limit", "storage_configuration"];
    let fields = Fields::of(call.body)?.only(&known)?;
    let name = fields.required_text("name")?;
    if name.is_empty() || name.contains(['/', '%', '&', '>', '<']) {
        return Err(fields.refuse("name", "string_pattern_mismatch", "String should match pattern '^[^/%&><]+$'"));
    }
    let template = template(&fields)?.unwrap_or_default();
    let kind = fields.text("type")?.unwrap_or_else(|| "prefect-agent".to_owned());
    let description = fields.text("description")?;
    let is_paused = fields.boolean("is_paused")?.unwrap_or_default();
    let limit = fields.integer("concurrency_limit", 0)?;
    if name.to_lowercase().starts_with("prefect") {
        return Err(detail(403, "Work pools starting with 'Prefect' are reserved for internal use."));
    }
    if call.prefect3.work_pool(&name).is_some() {
        return Err(detail(409, "A work pool with this name already exists."));
    }
    let pool = call.prefect3.add_work_pool(&name, &kind, call.now);
    pool.description = description;
    pool.base_job_template = template;
    pool.concurrency_limit = limit;
    pool.is_paused = is_paused;
    if is_paused {
        pool.status = Status::Paused;
    }
    let pool = call.prefect3.pool_or_404(&name)?;
    Ok(Answer::json(201, call.prefect3.work_pool_row(pool)))
}

/// `GET /work_pools/{name}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let pool = call.prefect3.pool_or_404(&call.parameter(0))?;
    Ok(Answer::ok(call.prefect3.work_pool_row(pool)))
}

/// `POST /work_pools/filter`
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let filter = Filter::read(&fields, "work_pools", COLUMNS)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let mut pools: Vec<_> =
        call.prefect3.work_pools.iter().filter(|pool| filter.wants(&|name: &str| column(pool, name))).collect();
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Answer::ok(page.of(pools, |pool| call.prefect3.work_pool_row(pool))))
}

/// `PATCH /work_pools/{name}`
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let known = ["description", "is_paused", "base_job_template", "concurrency_limit", "storage_configuration"];
    let fields = Fields::of(call.body)?.only(&known)?;
    let template = template(&fields)?;
    let description = fields.text("description")?;
    let is_paused = fields.boolean("is_paused")?;
    let limit = fields.integer("concurrency_limit", 0)?;
    let name = call.parameter(0);
    call.prefect3.pool_or_404(&name)?;
    if let Some(is_paused) = is_paused {
        call.prefect3.pause_pool(&name, is_paused, call.now);
    }
    let Some(pool) = call.prefect3.work_pool_mut(&name) else { return Ok(Answer::empty()) };
    if fields.has("description") {
        pool.description = description;
    }
    if fields.has("concurrency_limit") {
        pool.concurrency_limit = limit;
    }
    if let Some(template) = template {
        pool.base_job_template = template;
    }
    pool.updated = call.now;
    Ok(Answer::empty())
}

/// `DELETE /work_pools/{name}`: its queues and workers go with it, its runs stay.
pub(super) fn delete(call: &mut Call<'_>) -> Outcome {
    let id = call.prefect3.pool_or_404(&call.parameter(0))?.id.clone();
    let prefect3 = &mut *call.prefect3;
    prefect3.work_pools.retain(|pool| pool.id != id);
    prefect3.work_queues.retain(|queue| queue.work_pool_id != id);
    prefect3.workers.retain(|worker| worker.work_pool_id != id);
    let lives: BTreeSet<&String> = prefect3.work_queues.iter().map(|queue| &queue.id).collect();
    for run in &mut prefect3.flow_runs {
        run.work_queue_id = run.work_queue_id.take().filter(|id| lives.contains(id));
    }
    for deployment in &mut prefect3.deployments {
        deployment.work_queue_id = deployment.work_queue_id.take().filter(|id| lives.contains(id));
    }
    Ok(Answer::empty())
}

/// A base job template: empty, or with both parts, whose placeholders are all declared.
fn template(fields: &Fields<'_>) -> Outcome<Option<Map<String, Value>>> {
    let Some(template) = fields.object("base_job_template")? else { return Ok(None) };
    if template.is_empty() {
        return Ok(Some(template));
    }
    let part = |key: &str| template.get(key).and_then(Value::as_object).filter(|part| !part.is_empty());
    let refuse = |message: &str| fields.refuse("base_job_template", "value_error", &format!("Value error, {message}"));
    let (Some(configuration), Some(variables)) = (part("job_configuration"), part("variables")) else {
        return Err(refuse(
            "The `base_job_template` must contain both a `job_configuration` key and a `variables` key.",
        ));
    };
    let declared = |name: &str| variables.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let text = Value::Object(configuration.clone()).to_string();
    let undeclared: BTreeSet<&str> = placeholders(&text).filter(|name| !declared(name)).collect();
    if undeclared.is_empty() {
        return Ok(Some(template));
    }
    let names: Vec<&str> = undeclared.into_iter().collect();
    Err(refuse(&format!(
        "The variables specified in the job configuration template must be present as properties in the variables \
         schema. Your job configuration uses the following undeclared variable(s): {}.",
        names.join(" ,")
    )))
}

/// The names in `{{ … }}`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let allowed = |name: &&str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_.-[]$".contains(letter))
    };
    text.split("{{").skip(1).filter_map(|part| part.split_once("}}")).map(|(name, _)| name.trim()).filter(allowed)
}
