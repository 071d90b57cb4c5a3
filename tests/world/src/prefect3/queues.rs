//! The operations on work queues.

use super::{
    Prefect3, Status, WorkQueue,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::{Column, Columns, Filter, Kind, Page},
    routes::Call,
};
use time::Duration;

pub(super) const COLUMNS: Columns = &[("id", Kind::Ids), ("name", Kind::Texts)];

/// A queue's columns, as filters look at them.
pub(super) fn column<'a>(queue: &'a WorkQueue, name: &str) -> Column<'a> {
    Column::Text(match name {
        "id" => Some(queue.id.as_str()),
        "name" => Some(queue.name.as_str()),
        _ => None,
    })
}

impl Prefect3 {
    /// A queue of a pool, both by name, or the server's answer.
    pub(super) fn queue_or_404(&self, pool: &str, name: &str) -> Outcome<&WorkQueue> {
        self.work_queue(pool, name).ok_or_else(|| detail(404, format!("Work pool queue '{pool}/{name}' not found.")))
    }
}

const KNOWN: [&str; 7] = ["name", "description", "is_paused", "concurrency_limit", "priority", "last_polled", "filter"];

/// `POST /work_pools/{name}/queues`
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&KNOWN)?;
    let name = fields.required_text("name")?;
    let (limit, priority) = (fields.integer("concurrency_limit", 0)?, fields.integer("priority", 1)?);
    let description = fields.text("description")?.unwrap_or_default();
    let is_paused = fields.boolean("is_paused")?.unwrap_or_default();
    let pool_name = call.parameter(0);
    let pool_id = call.prefect3.pool_or_404(&pool_name)?.id.clone();
    if call.prefect3.work_queue(&pool_name, &name).is_some() {
        // The braces are the server's own.
        let text = "A work queue with this name already exists in work pool {work_pool_name!r}.";
        return Err(detail(409, text));
    }
    call.prefect3.add_work_queue(&pool_id, &name, priority, call.now);
    if let Some(queue) = call.prefect3.work_queues.last_mut() {
        queue.concurrency_limit = limit;
        queue.description = description;
        queue.is_paused = is_paused;
    }
    let queue = call.prefect3.queue_or_404(&pool_name, &name)?;
    Ok(Answer::json(201, call.prefect3.work_queue_row(queue)))
}

/// `POST /work_pools/{name}/queues/filter`: by priority.
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let filter = Filter::read(&fields, "work_queues", COLUMNS)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let pool_id = &call.prefect3.pool_or_404(&call.parameter(0))?.id;
    let mut queues: Vec<_> = call
        .prefect3
        .work_queues
        .iter()
        .filter(|queue| queue.work_pool_id == *pool_id && filter.wants(&|name: &str| column(queue, name)))
        .collect();
    queues.sort_by_key(|queue| queue.priority);
    Ok(Answer::ok(page.of(queues, |queue| call.prefect3.work_queue_row(queue))))
}

/// `GET /work_pools/{name}/queues/{queue}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let queue = call.prefect3.queue_or_404(&call.parameter(0), &call.parameter(1))?;
    Ok(Answer::ok(call.prefect3.work_queue_row(queue)))
}

/// `GET /work_queues/{id}`
pub(super) fn read_by_id(call: &mut Call<'_>) -> Outcome {
    let (queue, _) =
        call.prefect3.queue_and_pool(Some(&call.parameter(0))).ok_or_else(|| detail(404, "work queue not found"))?;
    Ok(Answer::ok(call.prefect3.work_queue_row(queue)))
}

/// `PATCH /work_pools/{name}/queues/{queue}`
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&KNOWN)?;
    let (limit, priority) = (fields.integer("concurrency_limit", 0)?, fields.integer("priority", 1)?);
    let (name, description) = (fields.text("name")?, fields.text("description")?);
    let is_paused = fields.boolean("is_paused")?;
    call.prefect3.pool_or_404(&call.parameter(0))?;
    let queue = call.prefect3.queue_or_404(&call.parameter(0), &call.parameter(1))?;
    let (id, pool_id) = (queue.id.clone(), queue.work_pool_id.clone());
    if let Some(queue) = call.prefect3.work_queues.iter_mut().find(|queue| queue.id == id) {
        queue.name = name.unwrap_or_else(|| queue.name.clone());
        queue.description = description.unwrap_or_else(|| queue.description.clone());
        if fields.has("concurrency_limit") {
            queue.concurrency_limit = limit;
        }
        queue.updated = call.now;
        if let Some(is_paused) = is_paused {
            queue.pause(is_paused, call.now);
        }
    }
    if let Some(priority) = priority {
        call.prefect3.prioritise(&pool_id, &id, priority);
    }
    Ok(Answer::empty())
}

impl WorkQueue {
    /// Pauses the queue or lets it go on.
    pub(super) fn pause(&mut self, is_paused: bool, now: time::OffsetDateTime) {
        self.is_paused = is_paused;
        let recent = self.last_polled.is_some_and(|polled| now - polled < Duration::seconds(60));
        match (is_paused, self.status) {
            (true, _) => self.status = Status::Paused,
            (false, Status::Paused) if recent => self.status = Status::Ready,
            (false, Status::Paused) => self.status = Status::NotReady,
            _ => {}
        }
    }
}
