//! What a work pool hands out: `get_scheduled_flow_runs`.

use super::{
    FlowRun, Prefect3, StateType, Status, WorkQueue,
    answer::{Answer, Outcome},
    fields::Fields,
    filters::Page,
    routes::Call,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// `POST /work_pools/{name}/get_scheduled_flow_runs`
pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let names = fields.texts("work_queue_names")?.unwrap_or_default();
    let (before, after) = (fields.time("scheduled_before")?, fields.time("scheduled_after")?);
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let pool_name = call.parameter(0);
    let pool = call.prefect3.pool_or_404(&pool_name)?;
    let queues: Vec<&WorkQueue> = if names.is_empty() {
        call.prefect3.work_queues.iter().filter(|queue| queue.work_pool_id == pool.id).collect()
    } else {
        names.iter().map(|name| call.prefect3.queue_or_404(&pool_name, name)).collect::<Outcome<_>>()?
    };
    let ids: Vec<String> = queues.iter().map(|queue| queue.id.clone()).collect();
    let due = call.prefect3.due(&pool_name, queues, before, after);
    let row = |(queue, run): (&WorkQueue, &FlowRun)| {
        json!({
            "work_pool_id": queue.work_pool_id,
            "work_queue_id": queue.id,
            "flow_run": call.prefect3.scheduled_row(run, call.now),
        })
    };
    let rows: Value = due.into_iter().take(page.limit()).map(row).collect();
    call.prefect3.mark_ready(&ids, call.now);
    Ok(Answer::ok(rows))
}

impl Prefect3 {
    /// The due runs of some queues of a pool, in the order of handing out: as many of each queue as it has slots,
    /// queues by priority, and as many of all as the pool has slots.
    fn due<'a>(
        &'a self,
        pool: &str,
        mut queues: Vec<&'a WorkQueue>,
        before: Option<OffsetDateTime>,
        after: Option<OffsetDateTime>,
    ) -> Vec<(&'a WorkQueue, &'a FlowRun)> {
        let Some(pool) = self.work_pool(pool).filter(|pool| !pool.is_paused) else { return Vec::new() };
        queues.sort_by_key(|queue| queue.priority);
        queues.dedup_by_key(|queue| queue.id.clone());
        let free = |limit: Option<i64>, taken: usize| {
            limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or_default().saturating_sub(taken))
        };
        let mut due = Vec::new();
        for queue in queues.into_iter().filter(|queue| !queue.is_paused) {
            let mut runs: Vec<&FlowRun> =
                self.flow_runs.iter().filter(|run| is_due(run, queue, before, after)).collect();
            runs.sort_by_key(|run| run.next_scheduled_start_time);
            let slots = free(queue.concurrency_limit, self.count_slots(|one| one.id == queue.id));
            due.extend(runs.into_iter().take(slots).map(|run| (queue, run)));
        }
        due.truncate(free(pool.concurrency_limit, self.count_slots(|queue| queue.work_pool_id == pool.id)));
        due
    }

    /// Asking for runs makes queues and their deployments ready.
    fn mark_ready(&mut self, queue_ids: &[String], now: OffsetDateTime) {
        for queue in self.work_queues.iter_mut().filter(|queue| queue_ids.contains(&queue.id)) {
            queue.last_polled = Some(now);
            if queue.status == Status::NotReady {
                queue.status = Status::Ready;
            }
        }
        for deployment in &mut self.deployments {
            if deployment.work_queue_id.as_ref().is_some_and(|id| queue_ids.contains(id)) {
                deployment.last_polled = Some(now);
                deployment.status = Status::Ready;
            }
        }
    }
}

fn is_due(run: &FlowRun, queue: &WorkQueue, before: Option<OffsetDateTime>, after: Option<OffsetDateTime>) -> bool {
    run.work_queue_id.as_ref() == Some(&queue.id)
        && run.state_type() == Some(StateType::Scheduled)
        && run.policy.retry_type.as_deref() != Some("in_process")
        && before.is_none_or(|before| run.next_scheduled_start_time.is_some_and(|start| start <= before))
        && after.is_none_or(|after| run.next_scheduled_start_time.is_some_and(|start| start >= after))
}
