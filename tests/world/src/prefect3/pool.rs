//! Work pools, their queues and their workers.

use super::{Prefect3, times};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// How a pool, queue or deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Somebody asks for its runs.
    Ready,
    /// Nobody does.
    NotReady,
    /// It hands nothing out.
    Paused,
}

/// A work pool.
#[derive(Clone, Debug)]
pub struct WorkPool {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it was last changed.
    pub updated: OffsetDateTime,
    /// Its name, which no other pool has.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// E.g. `ecs`.
    pub kind: String,
    /// The base job template; may be empty.
    pub base_job_template: Map<String, Value>,
    /// Whether it hands nothing out.
    pub is_paused: bool,
    /// So many of its runs may be Pending or Running.
    pub concurrency_limit: Option<i64>,
    /// How it stands.
    pub status: Status,
    /// The queue for runs that name none.
    pub default_queue_id: String,
}

/// A queue of a work pool.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it was last changed.
    pub updated: OffsetDateTime,
    /// Its name, which no other queue of the pool has.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it hands nothing out.
    pub is_paused: bool,
    /// So many of its runs may be Pending or Running.
    pub concurrency_limit: Option<i64>,
    /// 1 is asked first; no two queues of a pool have the same.
    pub priority: i64,
    /// The pool.
    pub work_pool_id: String,
    /// When it was last asked for runs.
    pub last_polled: Option<OffsetDateTime>,
    /// How it stands.
    pub status: Status,
}

/// A worker, as its heartbeats tell.
#[derive(Clone, Debug)]
pub struct Worker {
    /// UUID.
    pub id: String,
    /// When its first heartbeat came.
    pub created: OffsetDateTime,
    /// The pool.
    pub work_pool_id: String,
    /// Its name.
    pub name: String,
    /// When its last heartbeat came.
    pub last_heartbeat_time: OffsetDateTime,
    /// Seconds between its heartbeats, as it says.
    pub heartbeat_interval_seconds: Option<i64>,
    /// Whether it is thought to live.
    pub online: bool,
    /// What it said of itself, Prefect Cloud only.
    pub metadata: Value,
}

impl Prefect3 {
    /// A work pool's row.
    pub(super) fn work_pool_row(&self, pool: &WorkPool) -> Value {
        let active = self.count_slots(|queue| queue.work_pool_id == pool.id);
        let row = json!({
            "id": pool.id,
            "created": self.show(pool.created),
            "updated": self.show(pool.updated),
            "name": pool.name,
            "description": pool.description,
            "type": pool.kind,
            "base_job_template": pool.base_job_template,
            "is_paused": pool.is_paused,
            "concurrency_limit": pool.concurrency_limit,
            "status": pool.status,
            "default_queue_id": pool.default_queue_id,
            "storage_configuration": {
                "bundle_upload_step": null, "bundle_execution_step": null, "default_result_storage_block_id": null,
            },
            "active_slots": pool.concurrency_limit.map(|_| active),
        });
        self.aged(row, &["storage_configuration", "active_slots"])
    }

    /// A queue's row.
    pub(super) fn work_queue_row(&self, queue: &WorkQueue) -> Value {
        let pool = self.work_pools.iter().find(|pool| pool.id == queue.work_pool_id);
        let active = self.count_slots(|one| one.id == queue.id);
        let row = json!({
            "id": queue.id,
            "created": self.show(queue.created),
            "updated": self.show(queue.updated),
            "name": queue.name,
            "description": queue.description,
            "is_paused": queue.is_paused,
            "concurrency_limit": queue.concurrency_limit,
            "priority": queue.priority,
            "work_pool_id": queue.work_pool_id,
            "filter": null,
            "last_polled": self.show_some(queue.last_polled),
            "work_pool_name": pool.map(|pool| pool.name.as_str()),
            "status": queue.status,
            "active_slots": queue.concurrency_limit.map(|_| active),
        });
        self.aged(row, &["active_slots"])
    }

    /// A worker's row.
    pub(super) fn worker_row(&self, worker: &Worker) -> Value {
        json!({
            "id": worker.id,
            "created": self.show(worker.created),
            "updated": self.show(worker.created),
            "name": worker.name,
            "work_pool_id": worker.work_pool_id,
            "last_heartbeat_time": self.show(worker.last_heartbeat_time),
            "heartbeat_interval_seconds": worker.heartbeat_interval_seconds,
            "status": if worker.online { "ONLINE" } else { "OFFLINE" },
        })
    }

    /// How many runs of these queues are Pending or Running.
    pub(super) fn count_slots(&self, which: impl Fn(&WorkQueue) -> bool) -> usize {
        let ids: Vec<&str> =
            self.work_queues.iter().filter(|queue| which(queue)).map(|queue| queue.id.as_str()).collect();
        let in_them = |id: &Option<String>| id.as_deref().is_some_and(|id| ids.contains(&id));
        self.flow_runs.iter().filter(|run| run.takes_a_slot() && in_them(&run.work_queue_id)).count()
    }

    /// Adds a pool with its default queue.
    pub(super) fn add_work_pool(&mut self, name: &str, kind: &str, now: OffsetDateTime) -> &mut WorkPool {
        let id = times::new_id();
        let default_queue_id = self.add_work_queue(&id, "default", None, now);
        if let Some(queue) = self.work_queues.last_mut() {
            "The work pool's default queue.".clone_into(&mut queue.description);
        }
        self.work_pools.push(WorkPool {
            id,
            created: now,
            updated: now,
            name: name.to_owned(),
            description: None,
            kind: kind.to_owned(),
            base_job_template: Map::new(),
            is_paused: false,
            concurrency_limit: None,
            status: Status::NotReady,
            default_queue_id,
        });
        let last = self.work_pools.len() - 1;
        &mut self.work_pools[last]
    }

    /// Adds a queue to a pool and returns its id. Without a priority it takes the first that is free; one that is taken
    /// moves the queues that have it and the next ones on.
    pub(super) fn add_work_queue(
        &mut self,
        pool_id: &str,
        name: &str,
        priority: Option<i64>,
        now: OffsetDateTime,
    ) -> String {
        let mut taken: Vec<i64> =
            self.work_queues.iter().filter(|queue| queue.work_pool_id == pool_id).map(|queue| queue.priority).collect();
        taken.sort_unstable();
        let free = (1..=i64::MAX).find(|number| !taken.contains(number)).unwrap_or(1);
        let id = times::new_id();
        self.work_queues.push(WorkQueue {
            id: id.clone(),
            created: now,
            updated: now,
            name: name.to_owned(),
            description: String::new(),
            is_paused: false,
            concurrency_limit: None,
            priority: free,
            work_pool_id: pool_id.to_owned(),
            last_polled: None,
            status: Status::NotReady,
        });
        if let Some(priority) = priority {
            self.prioritise(pool_id, &id, priority);
        }
        id
    }

    /// Gives a queue a priority; the queues that have it and the next ones make room.
    pub(super) fn prioritise(&mut self, pool_id: &str, id: &str, priority: i64) {
        let mut order: Vec<(i64, bool, String)> = self
            .work_queues
            .iter()
            .filter(|queue| queue.work_pool_id == pool_id)
            .map(|queue| {
                if queue.id == id {
                    (priority, false, queue.id.clone())
                } else {
                    (queue.priority, true, queue.id.clone())
                }
            })
            .collect();
        order.sort();
        let mut last = 0;
        for (wanted, _, id) in order {
            last = if wanted <= last { last + 1 } else { wanted };
            if let Some(queue) = self.work_queues.iter_mut().find(|queue| queue.id == id) {
                queue.priority = last;
            }
        }
    }
}
