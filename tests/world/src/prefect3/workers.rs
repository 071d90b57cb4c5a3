//! Workers and their heartbeats.

use super::{
    Prefect3, Status, Worker,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::Page,
    routes::Call,
    times,
};
use serde_json::{Value, json};

/// `POST /work_pools/{name}/workers/heartbeat`
pub(super) fn heartbeat(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let name = fields.required_text("name")?;
    let interval = fields.integer("heartbeat_interval_seconds", i64::MIN)?;
    let wants_id = call.prefect3.switches.cloud && fields.boolean("return_id")?.unwrap_or_default();
    if wants_id && !call.prefect3.switches.return_id {
        return Err(detail(422, "`return_id` is not supported."));
    }
    let pool = call.prefect3.pool_or_404(&call.parameter(0))?.id.clone();
    let metadata = fields.get("metadata").filter(|_| call.prefect3.switches.cloud).cloned();
    let id = beat(call.prefect3, &pool, &name, interval, metadata, call.now);
    if let Some(pool) = call.prefect3.work_pool_mut(&call.parameter(0))
        && pool.status == Status::NotReady
    {
        pool.status = Status::Ready;
        pool.updated = call.now;
    }
    Ok(if wants_id { Answer::ok(json!(id)) } else { Answer::empty() })
}

/// Writes a heartbeat down; the worker's id.
fn beat(
    prefect3: &mut Prefect3,
    pool_id: &str,
    name: &str,
    interval: Option<i64>,
    metadata: Option<Value>,
    now: time::OffsetDateTime,
) -> String {
    let known = prefect3.workers.iter().position(|worker| worker.work_pool_id == pool_id && worker.name == name);
    let index = known.unwrap_or_else(|| {
        prefect3.workers.push(Worker {
            id: times::new_id(),
            created: now,
            work_pool_id: pool_id.to_owned(),
            name: name.to_owned(),
            last_heartbeat_time: now,
            heartbeat_interval_seconds: None,
            online: true,
            metadata: Value::Null,
        });
        prefect3.workers.len() - 1
    });
    let worker = &mut prefect3.workers[index];
    worker.last_heartbeat_time = now;
    worker.online = true;
    worker.heartbeat_interval_seconds = interval.or(worker.heartbeat_interval_seconds);
    worker.metadata = metadata.unwrap_or_else(|| worker.metadata.take());
    worker.id.clone()
}

/// `POST /work_pools/{name}/workers/filter`: the last heard of first.
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let pool_id = &call.prefect3.pool_or_404(&call.parameter(0))?.id;
    let mut workers: Vec<_> = call.prefect3.workers.iter().filter(|worker| worker.work_pool_id == *pool_id).collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.last_heartbeat_time));
    Ok(Answer::ok(page.of(workers, |worker| call.prefect3.worker_row(worker))))
}
