//! Pure: what of a poll's report is remembered for people, see [`Recent`].

use super::report::AgentReport;
use crate::state::Recent;
use crate::state::recent::{FailedRun, PastPoll, WaitingRun};
use time::OffsetDateTime;

/// Adds a poll that ended now. `report`: without secrets.
pub(super) fn remember(recent: &mut Recent, report: &AgentReport, now: OffsetDateTime) {
    let count = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
    let poll = PastPoll {
        at: now,
        ms: report.duration_ms,
        ready: count(report.ready),
        launched: count(report.launched.len()),
        deferred: count(report.deferred.len()),
        failed: count(report.failed.len()),
        error: report.error_kind,
    };
    let waiting = report.deferred.iter().map(|run| {
        let times = report.times.get(&run.flow_run_id).copied().unwrap_or_default();
        let (run, reason) = (run.flow_run_id.clone(), run.reason.clone());
        WaitingRun { run, reason, due: times.due, again: times.again }
    });
    let ended = report.failed.iter().map(|run| (run, false)).chain(report.died.iter().map(|run| (run, true)));
    let failed = ended.map(|(run, died)| {
        let (run, reason) = (run.flow_run_id.clone(), run.reason.clone());
        FailedRun { run, at: now, reason, died }
    });
    let launched = report.launched.iter().map(|run| &run.flow_run_id);
    let recovered = report.recovered.iter().map(|run| &run.flow_run_id);
    let others = [&report.deferred, &report.skipped, &report.failed, &report.cancelled].into_iter().flatten();
    let seen: Vec<&String> = launched.chain(recovered).chain(others.map(|run| &run.flow_run_id)).collect();
    let is_seen = |run: &str| seen.iter().any(|seen| *seen == run);
    recent.add(poll, waiting.collect(), failed.collect(), is_seen);
}
