//! What changes runs besides agents: the server's own services, people, and the flows themselves.

use super::server::{Kind, Server, State, TaskRun};
use crate::run::{End, RunId};
use time::{Duration, OffsetDateTime};

/// A run without a sign of life for so long is taken for dead.
const SILENCE: Duration = Duration::minutes(10);

/// So often Lazarus brings a run back.
const RESURRECTIONS: u32 = 3;

impl Server {
    /// One round of Lazarus and of the zombie killer. `lives`: the flow's process sends heartbeats.
    pub fn services(&mut self, lives: impl Fn(RunId) -> bool, now: OffsetDateTime) -> Vec<RunId> {
        let mut touched = Vec::new();
        for (run, row) in &mut self.runs {
            if lives(*run) {
                row.heartbeat = now;
            }
            let busy = |task: &TaskRun| matches!(task.state.kind, Kind::Scheduled | Kind::Retrying | Kind::Running);
            if now - row.heartbeat < SILENCE {
                continue;
            }
            match row.state.kind {
                Kind::Cancelling => row.end(Kind::Cancelled, End::Cancelled, now),
                Kind::Submitted | Kind::Running if row.task_runs.iter().any(busy) => continue,
                Kind::Submitted | Kind::Running if row.resurrections >= RESURRECTIONS => {
                    row.end(Kind::Failed, End::FailedByServer, now);
                }
                Kind::Submitted | Kind::Running => {
                    row.resurrections += 1;
                    row.put(State::scheduled(now), now);
                }
                _ => continue,
            }
            touched.push(*run);
        }
        touched
    }

    /// A user cancels: what has begun is asked to end, anything else ends at once.
    pub fn cancel(&mut self, run: RunId, now: OffsetDateTime) -> bool {
        let Some(row) = self.runs.get_mut(&run) else { return false };
        match row.state.kind {
            kind if kind.has_ended() || kind == Kind::Cancelling => return false,
            Kind::Running => row.put(State::plain(Kind::Cancelling), now),
            _ => row.end(Kind::Cancelled, End::Cancelled, now),
        }
        true
    }

    /// A user sets a state by hand.
    pub fn set_by_hand(&mut self, run: RunId, state: State, now: OffsetDateTime) -> bool {
        let Some(row) = self.runs.get_mut(&run) else { return false };
        if state.kind == Kind::Scheduled {
            row.task_runs.clear();
        }
        row.put(state, now);
        true
    }

    /// The flow's process begins. `false`: it ends at once, since the run is not to be run.
    pub fn begin_flow(&mut self, run: RunId, now: OffsetDateTime) -> bool {
        let Some(row) = self.runs.get_mut(&run) else { return false };
        let waits_for = |state: &State| state.start_time.is_none_or(|start_time| start_time <= now);
        match row.state.kind {
            Kind::Submitted if row.state.inner.as_deref().is_none_or(waits_for) => {}
            Kind::Scheduled | Kind::Queued if waits_for(&row.state) => {}
            Kind::Running => {
                let due = |task: &TaskRun| match task.state.kind {
                    Kind::Submitted => true,
                    Kind::Retrying | Kind::Scheduled => waits_for(&task.state),
                    _ => false,
                };
                if !row.task_runs.iter().any(due) {
                    return false;
                }
                row.task_runs.retain(|task| !due(task));
                row.heartbeat = now;
                return true;
            }
            _ => return false,
        }
        row.put(State::plain(Kind::Running), now);
        true
    }

    /// The flow ends, well or not. A user's wish is followed.
    pub fn end_flow(&mut self, run: RunId, well: bool, now: OffsetDateTime) {
        let Some(row) = self.runs.get_mut(&run) else { return };
        match row.state.kind {
            kind if kind.has_ended() || kind == Kind::Paused => {}
            Kind::Cancelling => row.end(Kind::Cancelled, End::Cancelled, now),
            _ if well => row.end(Kind::Success, End::ByItself, now),
            _ => row.end(Kind::Failed, End::ByItself, now),
        }
    }

    /// A task of the flow failed and is to be retried; the process ends meanwhile, the run stays Running.
    pub fn retry_task(&mut self, run: RunId, at: OffsetDateTime, now: OffsetDateTime) {
        let Some(row) = self.runs.get_mut(&run).filter(|row| row.state.kind == Kind::Running) else { return };
        let number = row.task_runs.len();
        let state = State { start_time: Some(at), ..State::plain(Kind::Retrying) };
        row.task_runs.push(TaskRun { id: format!("{run}-{number}-{}", row.version), version: 3, state, since: now });
    }
}
