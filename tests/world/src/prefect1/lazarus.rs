//! Prefect's Lazarus service, which brings back runs that show no sign of life.

use super::{Prefect1, state_schema, times};
use serde_json::json;
use time::{Duration, OffsetDateTime};

/// A run is taken for dead after so long without a heartbeat.
const SILENCE: Duration = Duration::minutes(10);
/// So often a run is brought back.
const ATTEMPTS: i64 = 3;

impl Prefect1 {
    /// The server's process ends and another takes over, which knows nothing of submitted runs.
    pub fn restart(&mut self) {
        self.submitted_until.clear();
    }

    /// One round, as the real service makes every 10 minutes: Submitted and Running runs without a heartbeat for 10
    /// minutes, none of whose task runs waits or runs, become Scheduled; the fourth time, Failed. Returns their ids.
    pub fn lazarus(&mut self, now: OffsetDateTime) -> Vec<String> {
        let mut touched = Vec::new();
        for run in &mut self.flow_runs {
            let silent = run.heartbeat.is_none_or(|heartbeat| heartbeat < now - SILENCE);
            let busy = |kind: &str| state_schema::is_scheduled(kind) || kind == "Running";
            let tasks_busy = run.task_runs.iter().any(|task_run| busy(task_run.state()));
            if !matches!(run.state(), "Submitted" | "Running") || !silent || tasks_busy {
                continue;
            }
            let state = if run.times_resurrected >= ATTEMPTS {
                json!({
                    "type": "Failed",
                    "message": "A Lazarus process attempted to reschedule this run 3 times without success. Marking as failed.",
                })
            } else {
                run.times_resurrected += 1;
                json!({
                    "type": "Scheduled",
                    "message": "Rescheduled by a Lazarus process.",
                    "start_time": times::format(now),
                })
            };
            if let Ok(state) = state_schema::load(&state, now) {
                run.push_state(state, None, now);
                touched.push(run.id.clone());
            }
        }
        touched
    }
}
