//! The report of a poll: what people and tests look at. Its field names are fixed. What fills it outlives a deadline.

use crate::model::{ApiError, ErrorKind};
use crate::panics::lock;
use crate::redaction::Redaction;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use time::OffsetDateTime;

/// The report of one invocation, by agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// One entry per polled agent.
    pub agents: BTreeMap<String, AgentReport>,
}

impl Report {
    /// Whether no agent's own poll failed. Maintenance of Prefect is no failure: nobody here can do anything about it.
    pub fn ok(&self) -> bool {
        !self.agents.values().any(AgentReport::failed_itself)
    }
}

/// What one poll of one agent did.
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the report, which is read by their names")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AgentReport {
    /// The poll itself worked; single runs may still have failed.
    pub ok: bool,
    /// Why it did not, for people; never a secret.
    pub error: Option<String>,
    /// The kind of `error`.
    pub error_kind: Option<ErrorKind>,
    /// With kind `maintenance`: until when, as Prefect announces it.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<OffsetDateTime>,
    /// Number of this poll.
    pub poll: u64,
    /// `max_polls` is reached: nothing was polled.
    pub stopped: bool,
    /// `enabled: false`: nothing was polled.
    pub disabled: bool,
    /// Due runs found.
    pub ready: usize,
    /// Runs that have a task now.
    pub launched: Vec<LaunchedRun>,
    /// Runs left for a later poll.
    pub deferred: Vec<WithReason>,
    /// Runs that are not ours to launch.
    pub skipped: Vec<WithReason>,
    /// Runs that failed for good.
    pub failed: Vec<WithReason>,
    /// Orphaned claims that were finished.
    pub recovered: Vec<Recovered>,
    /// Runs that a user cancelled, and that are over now.
    pub cancelled: Vec<WithReason>,
    /// Runs whose task had died without an event, and of which Prefect knows now.
    pub died: Vec<WithReason>,
    /// Claims of others seen.
    pub foreign_pending: usize,
    /// Requests that were answered with "too many".
    pub throttled: usize,
    /// Labels and tasks of launched runs that could not be written down yet (Prefect 2 and 3): a warm process does it
    /// with its next poll.
    pub untold: usize,
    /// Claims of this agent that have waited for their flow to begin for so long that they are looked after; `None` = they
    /// could not be asked for. For the status.
    #[serde(skip)]
    pub outstanding: Option<usize>,
    /// When the oldest of the deferred runs was to start. For the status.
    #[serde(skip)]
    pub oldest_due: Option<OffsetDateTime>,
    /// Of the runs that are due and not launched, the one that has waited longest, and why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_late: Option<LateRun>,
    /// The queue answered, so that what is not among its runs is not late. For the metrics.
    #[serde(skip)]
    pub is_queue_known: bool,
    /// How long Prefect took to answer which runs are due, milliseconds. For the log.
    #[serde(skip)]
    pub api_latency_ms: Option<u64>,
    /// Health calls the agent failing after this poll. For the metrics.
    #[serde(skip)]
    pub is_failing: bool,
    /// It does, and did not after the poll before. For the metrics.
    #[serde(skip)]
    pub is_newly_failing: bool,
    /// Times of the deferred runs, as far as they are known. For the status.
    #[serde(skip)]
    pub times: BTreeMap<String, RunTimes>,
    /// What may need a person: unknown backend settings, keys delivered in the environment.
    pub warnings: Vec<String>,
    /// How long the poll took, milliseconds.
    pub duration_ms: u64,
}

impl AgentReport {
    /// The same without secrets, in all that is said for people.
    #[must_use]
    pub fn without(mut self, redaction: &Redaction) -> Self {
        let Self { error, deferred, skipped, failed, cancelled, died, warnings, oldest_late, .. } = &mut self;
        let reasons = [deferred, skipped, failed, cancelled, died].into_iter().flatten().map(|run| &mut run.reason);
        let reasons = reasons.chain(oldest_late.as_mut().map(|run| &mut run.reason));
        for text in error.iter_mut().chain(reasons).chain(warnings) {
            *text = redaction.text(std::mem::take(text));
        }
        self
    }

    /// Its own poll did not work, and not because Prefect is in maintenance.
    pub fn failed_itself(&self) -> bool {
        !self.ok && self.error_kind != Some(ErrorKind::Maintenance)
    }
}

/// When a run was to start, and when it is due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunTimes {
    /// When it was to start.
    pub due: Option<OffsetDateTime>,
    /// It was given back: when it is due again.
    pub again: Option<OffsetDateTime>,
}

/// A run that has a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaunchedRun {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// ARN of its task.
    pub task_arn: String,
    /// The task existed already.
    pub adopted: bool,
    /// How long it had been due when it got the task, milliseconds, where it is known when it was to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
}

/// A run that is due and not launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LateRun {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// How long it has been due, milliseconds.
    pub late_ms: u64,
    /// Why it is not launched, for people.
    pub reason: String,
}

/// A run and why it went this way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WithReason {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// For people.
    pub reason: String,
    /// Of a run that is left for a later poll although it is due: for how long it has been, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
}

impl WithReason {
    fn new(flow_run_id: String, reason: String) -> Self {
        Self { flow_run_id, reason, late_ms: None }
    }
}

/// An orphaned claim that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// ARN of its task.
    pub task_arn: String,
}

// What became of each run, kept outside of the futures that do the work so that it survives a deadline.

/// How long a maintenance lasts whose end is not announced: every poll hears of it anew.
const UNANNOUNCED: Duration = Duration::from_mins(5);

/// What became of one run in this poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// It has a task.
    Launched {
        /// ARN of the task.
        task_arn: String,
        /// The task existed already.
        adopted: bool,
        /// When it was known to be there.
        at: OffsetDateTime,
    },
    /// An orphaned claim that has its task now.
    Recovered {
        /// ARN of the task.
        task_arn: String,
    },
    /// Left for a later poll.
    Deferred(String),
    /// Not ours to launch.
    Skipped(String),
    /// Failed for good.
    Failed(String),
    /// Cancelled by a user, and over now.
    Cancelled(String),
    /// Its task had died without an event, and Prefect knows now.
    Died(String),
}

/// The fates of the runs of one agent's poll, and what else its report says.
#[derive(Debug, Default)]
pub struct ReportBuilder {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    report: AgentReport,
    /// Runs whose work has begun and has no outcome yet.
    open: Vec<String>,
    /// When the runs that were found were to start, as far as that is known.
    scheduled_for: BTreeMap<String, OffsetDateTime>,
    /// When the runs that were given back are due again.
    again: BTreeMap<String, OffsetDateTime>,
}

impl ReportBuilder {
    /// A run was found due. Until it has an outcome it is reported as left for a later poll. `scheduled_for`: when it was
    /// to start, where that is known.
    pub fn found(&self, flow_run_id: &str, scheduled_for: Option<OffsetDateTime>) {
        let mut entries = self.lock();
        entries.report.ready += 1;
        entries.scheduled_for.extend(scheduled_for.map(|at| (flow_run_id.to_owned(), at)));
        entries.open.push(flow_run_id.to_owned());
    }

    /// A run was given back, and is due again then.
    pub fn given_back(&self, flow_run_id: &str, again: OffsetDateTime) {
        self.lock().again.insert(flow_run_id.to_owned(), again);
    }

    /// What became of a run.
    pub fn record(&self, flow_run_id: &str, outcome: RunOutcome) {
        let mut entries = self.lock();
        entries.open.retain(|open| open != flow_run_id);
        let Entries { report, scheduled_for, .. } = &mut *entries;
        add(report, flow_run_id, outcome, scheduled_for.get(flow_run_id).copied());
    }

    /// Trouble of the poll itself, not of a run. The first one is reported, unless maintenance explains it.
    pub fn trouble(&self, kind: ErrorKind, error: &str) {
        let report = &mut self.lock().report;
        let tells_more = match report.error_kind {
            None => true,
            Some(ErrorKind::Maintenance) => kind != ErrorKind::Maintenance && !kind.is_explained_by_maintenance(),
            Some(known) => kind == ErrorKind::Maintenance && known.is_explained_by_maintenance(),
        };
        if tells_more {
            report.error_kind = Some(kind);
            report.error = Some(error.to_owned());
        }
    }

    /// Trouble with the Prefect API. `now`: what an announced maintenance is reckoned from.
    pub fn api_trouble(&self, error: &ApiError, now: OffsetDateTime) {
        if let ApiError::Maintenance { retry_after, .. } = error {
            let until = now + retry_after.unwrap_or(UNANNOUNCED);
            let report = &mut self.lock().report;
            report.maintenance_until = report.maintenance_until.max(Some(until));
        }
        self.trouble(error.kind(), &error.to_string());
    }

    /// A bug ended the poll: that counts for more than whatever trouble came before.
    pub fn broke(&self, error: &str) {
        let report = &mut self.lock().report;
        report.error_kind = Some(crate::model::ErrorKind::Internal);
        report.error = Some(error.to_owned());
    }

    /// `max_polls` is reached: nothing is polled.
    pub fn stopped(&self) {
        self.lock().report.stopped = true;
    }

    /// What may need a person; each said once.
    pub fn warn(&self, warning: &str) {
        let warnings = &mut self.lock().report.warnings;
        if !warnings.iter().any(|known| known == warning) {
            warnings.push(warning.to_owned());
        }
    }

    /// So many claims of others stand.
    pub fn foreign_pending(&self, claims: usize) {
        self.lock().report.foreign_pending = claims;
    }

    /// So many claims of this agent stand whose flow has not begun.
    pub fn outstanding(&self, claims: usize) {
        self.lock().report.outstanding = Some(claims);
    }

    /// Prefect said within this time which runs are due; of several answers the first counts.
    pub fn queue_answered(&self, within: Duration) {
        let report = &mut self.lock().report;
        report.is_queue_known = true;
        report.api_latency_ms.get_or_insert(milliseconds(within));
    }

    /// So many writes about launched runs are left.
    pub fn untold(&self, writes: usize) {
        self.lock().report.untold = writes;
    }

    /// An answer asked for fewer requests.
    pub fn throttled(&self) {
        self.lock().report.throttled += 1;
    }

    /// The report so far. Runs without an outcome are left for a later poll, with `unfinished` as the reason. `now`: what
    /// the lateness of those that are left is reckoned to.
    pub fn report(&self, unfinished: &str, now: OffsetDateTime) -> AgentReport {
        let entries = self.lock();
        let mut report = entries.report.clone();
        for flow_run_id in &entries.open {
            add(&mut report, flow_run_id, RunOutcome::Deferred(unfinished.to_owned()), None);
        }
        let scheduled_for = |run: &WithReason| entries.scheduled_for.get(&run.flow_run_id).copied();
        report.oldest_due = report.deferred.iter().filter_map(scheduled_for).min();
        for run in &mut report.deferred {
            // One that is to start yet is not late.
            run.late_ms = scheduled_for(run).filter(|due| *due <= now).map(|due| between(due, now));
        }
        let late = report.deferred.iter().filter_map(|run| Some((run.late_ms?, run)));
        report.oldest_late = late.max_by_key(|(late_ms, _)| *late_ms).map(|(late_ms, run)| LateRun {
            flow_run_id: run.flow_run_id.clone(),
            late_ms,
            reason: run.reason.clone(),
        });
        let ids = report.deferred.iter().map(|run| run.flow_run_id.clone());
        report.times = ids
            .map(|id| {
                let of = |times: &BTreeMap<String, OffsetDateTime>| times.get(&id).copied();
                let times = RunTimes { due: of(&entries.scheduled_for), again: of(&entries.again) };
                (id, times)
            })
            .collect();
        report.ok = report.error.is_none();
        if report.error_kind != Some(ErrorKind::Maintenance) {
            report.maintenance_until = None;
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panic while holding the lock cannot leave a half-written entry that matters: keep reporting.
        lock(&self.entries)
    }
}

/// `due`: when the run was to start, where that is known.
fn add(report: &mut AgentReport, flow_run_id: &str, outcome: RunOutcome, due: Option<OffsetDateTime>) {
    let flow_run_id = flow_run_id.to_owned();
    match outcome {
        RunOutcome::Launched { task_arn, adopted, at } => {
            report.recovered.retain(|recovered| recovered.task_arn != task_arn);
            let late_ms = due.map(|due| between(due, at));
            report.launched.push(LaunchedRun { flow_run_id, task_arn, adopted, late_ms });
        }
        RunOutcome::Deferred(reason) => report.deferred.push(WithReason::new(flow_run_id, reason)),
        RunOutcome::Skipped(reason) => report.skipped.push(WithReason::new(flow_run_id, reason)),
        RunOutcome::Failed(reason) => report.failed.push(WithReason::new(flow_run_id, reason)),
        // A claimed run that is due once more (for other task runs of it) was launched, and that says it all.
        RunOutcome::Recovered { task_arn } if report.launched.iter().any(|launched| launched.task_arn == task_arn) => {}
        RunOutcome::Recovered { task_arn } => report.recovered.push(Recovered { flow_run_id, task_arn }),
        RunOutcome::Cancelled(reason) => report.cancelled.push(WithReason::new(flow_run_id, reason)),
        RunOutcome::Died(reason) => report.died.push(WithReason::new(flow_run_id, reason)),
    }
}

/// Milliseconds from one time to a later one; 0 when clocks disagree about which is later.
pub(super) fn between(earlier: OffsetDateTime, later: OffsetDateTime) -> u64 {
    milliseconds(Duration::try_from(later - earlier).unwrap_or_default())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const EARLY: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn at(minutes: i64) -> OffsetDateTime {
        EARLY + time::Duration::minutes(minutes)
    }

    fn launched(task_arn: &str, at: OffsetDateTime) -> RunOutcome {
        RunOutcome::Launched { task_arn: task_arn.into(), adopted: false, at }
    }

    #[test]
    fn the_oldest_run_that_is_left_is_kept_and_no_other() {
        let report = ReportBuilder::default();
        for (run, scheduled_for) in
            [("launched", Some(at(0))), ("left", Some(at(1))), ("open", Some(at(2))), ("unknown", None)]
        {
            report.found(run, scheduled_for);
        }
        report.record("launched", launched("arn", at(3)));
        report.record("left", RunOutcome::Deferred("no room".into()));
        let told = report.report("no time", at(3));
        assert_eq!(told.oldest_due, Some(at(1)));
        assert_eq!(told.outstanding, None, "nobody could ask");
        report.outstanding(2);
        let told = report.report("no time", at(3));
        assert_eq!((told.ready, told.outstanding), (4, Some(2)));
        let fields = serde_json::json!(told);
        let kept = ["oldest_due", "outstanding"].map(|field| fields.get(field));
        assert!(fields["ready"] == 4 && kept == [None, None], "they are for the status: {fields:#}");
    }

    #[test]
    fn lateness_is_told_per_run_and_the_oldest_is_named_with_its_reason() {
        let report = ReportBuilder::default();
        for (run, minutes) in [("a", 0), ("b", 1), ("c", 2), ("held", 9)] {
            report.found(run, Some(at(minutes)));
        }
        report.found("unknown", None);
        report.record("a", launched("arn", at(2)));
        report.record("b", RunOutcome::Deferred("no room".into()));
        let told = report.report("no time", at(5));
        assert_eq!(told.launched[0].late_ms, Some(120_000));
        let late: BTreeMap<_, _> = told.deferred.iter().map(|run| (run.flow_run_id.as_str(), run.late_ms)).collect();
        let expected = [("b", Some(240_000)), ("c", Some(180_000)), ("held", None), ("unknown", None)];
        assert_eq!(late, expected.into());
        let oldest = LateRun { flow_run_id: "b".into(), late_ms: 240_000, reason: "no room".into() };
        assert_eq!(told.oldest_late, Some(oldest));
        report.record("c", launched("other", at(1)));
        let told = report.report("no time", at(0));
        assert_eq!(told.launched[1].late_ms, Some(0), "clocks may differ");
        assert_eq!(told.oldest_late, None, "nothing was due so early");
    }

    #[test]
    fn the_first_answer_of_the_queue_says_how_long_prefect_takes() {
        let report = ReportBuilder::default();
        assert!(!report.report("", EARLY).is_queue_known);
        report.queue_answered(Duration::from_millis(21));
        report.queue_answered(Duration::from_secs(3));
        let told = report.report("", EARLY);
        assert_eq!((told.is_queue_known, told.api_latency_ms), (true, Some(21)));
    }
}
