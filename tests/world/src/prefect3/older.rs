//! What has happened, happened longer ago.

use super::{FlowRun, Prefect3, RunState};
use time::{Duration, OffsetDateTime};

impl Prefect3 {
    /// Moves everything about runs, workers and queues that has a time into the past, also what is to come.
    pub(crate) fn grow_older(&mut self, by: Duration) {
        for run in &mut self.flow_runs {
            run.grow_older(by);
        }
        for worker in &mut self.workers {
            worker.created -= by;
            worker.last_heartbeat_time -= by;
        }
        for queue in &mut self.work_queues {
            earlier(&mut queue.last_polled, by);
        }
        for deployment in &mut self.deployments {
            earlier(&mut deployment.last_polled, by);
        }
        self.leases.grow_older(by);
    }
}

impl FlowRun {
    fn grow_older(&mut self, by: Duration) {
        self.created -= by;
        self.updated -= by;
        for time in [
            &mut self.expected_start_time,
            &mut self.next_scheduled_start_time,
            &mut self.start_time,
            &mut self.end_time,
        ] {
            earlier(time, by);
        }
        self.states.iter_mut().for_each(|state| state.grow_older(by));
    }
}

impl RunState {
    fn grow_older(&mut self, by: Duration) {
        self.timestamp -= by;
        earlier(&mut self.details.scheduled_time, by);
        earlier(&mut self.details.pause_timeout, by);
    }
}

fn earlier(time: &mut Option<OffsetDateTime>, by: Duration) {
    *time = time.map(|time| time - by);
}
