//! The server's own services: what they would have done by now.

use super::{Prefect3, RunState, StateType, Status, orchestrate::Rules};
use time::{Duration, OffsetDateTime};

/// A worker that is silent for so many of its intervals is offline.
const SILENT_INTERVALS: i64 = 3;
/// The interval of a worker that told none, seconds.
const DEFAULT_INTERVAL: i64 = 30;
/// Queues and deployments that nobody asks for so long are not ready, seconds.
const POLL_TIMEOUT: Duration = Duration::seconds(60);

impl Prefect3 {
    /// Does what is due: marks late runs, ends what stays Cancelling, frees slots whose leases ran out, and tells
    /// workers, pools, queues and deployments that are alive from those that are not.
    pub fn services(&mut self, now: OffsetDateTime) {
        self.mark_late(now);
        self.end_cancelling(now);
        self.reap_leases(now);
        self.watch_workers(now);
    }

    fn run_ids(&self, which: impl Fn(&super::FlowRun, &RunState) -> bool) -> Vec<String> {
        let due = |run: &&super::FlowRun| run.state().is_some_and(|state| which(run, state));
        self.flow_runs.iter().filter(due).map(|run| run.id.clone()).collect()
    }

    /// Scheduled runs whose time is over become Late; their time stays.
    pub(super) fn mark_late(&mut self, now: OffsetDateTime) {
        self.mark_late_from(now - Duration::seconds(self.switches.late_after_seconds), now);
    }

    /// The Late service is at work, and takes every Scheduled run for late, also one whose time has not come.
    pub fn mark_all_late(&mut self, now: OffsetDateTime) {
        let now = super::times::micros(now);
        self.mark_late_from(OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT), now);
    }

    /// Scheduled runs whose time was over at `limit` become Late.
    pub(super) fn mark_late_from(&mut self, limit: OffsetDateTime, now: OffsetDateTime) {
        let late = self.run_ids(|run, state| {
            state.kind == StateType::Scheduled
                && state.name == "Scheduled"
                && run.next_scheduled_start_time.is_some_and(|start| start <= limit)
        });
        for id in late {
            let start = self.flow_run(&id).and_then(|run| run.next_scheduled_start_time);
            let state = RunState::new(StateType::Scheduled, now).named("Late").starting(start.unwrap_or(now));
            self.propose(&id, state, Rules::Late, None, now);
        }
    }

    /// Runs that stay Cancelling are Cancelled. Prefect 2 and Prefect Cloud do not do that.
    pub(super) fn end_cancelling(&mut self, now: OffsetDateTime) {
        let switches = &self.switches;
        let Some(seconds) = switches.cancelling_timeout_seconds else { return };
        if switches.generation.is_two() || switches.cloud {
            return;
        }
        let limit = now - Duration::seconds(seconds);
        let stuck = self.run_ids(|_, state| state.kind == StateType::Cancelling && state.timestamp <= limit);
        for id in stuck {
            let message = "Flow run cancellation timed out; marked this flow run as Cancelled.";
            let state = RunState::new(StateType::Cancelled, now).saying(message);
            self.propose(&id, state, Rules::All, None, now);
        }
    }

    fn watch_workers(&mut self, now: OffsetDateTime) {
        for worker in &mut self.workers {
            let interval = worker.heartbeat_interval_seconds.unwrap_or(DEFAULT_INTERVAL);
            worker.online &= now - worker.last_heartbeat_time <= Duration::seconds(interval * SILENT_INTERVALS);
        }
        for pool in self.work_pools.iter_mut().filter(|pool| pool.status == Status::Ready) {
            if !self.workers.iter().any(|worker| worker.work_pool_id == pool.id && worker.online) {
                pool.status = Status::NotReady;
            }
        }
        let silent = |polled: Option<OffsetDateTime>| polled.is_some_and(|polled| polled < now - POLL_TIMEOUT);
        for queue in self.work_queues.iter_mut().filter(|queue| queue.status == Status::Ready) {
            if silent(queue.last_polled) {
                queue.status = Status::NotReady;
            }
        }
        for deployment in self.deployments.iter_mut().filter(|deployment| deployment.status == Status::Ready) {
            if silent(deployment.last_polled) {
                deployment.status = Status::NotReady;
            }
        }
    }
}
