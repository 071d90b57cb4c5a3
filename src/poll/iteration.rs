//! One agent's iteration: asks the queue until it is empty and performs what the plan says. Beside it, claims without a
//! task are recovered and the tasks of cancelled runs stopped.

use super::cancel::cancel;
use super::claim::{claim, still_due};
use super::context::{Context, SeenLaunches};
use super::launch::launch;
use super::plan::{PlannedBatch, Start, plan};
use super::prepare::{prepare, within_room};
use super::recover::recover;
use super::report::{ReportBuilder, RunOutcome};
use super::tell::{tell, write_log};
use crate::clock::Clock;
use crate::model::ApiError;
use crate::orchestrator::{ClaimedRun, DuePage, DueRun, Orchestrator, Window, is_orphan};
use crate::panics::lock;
use crate::platform::Platform;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use super::context::IterationRules;

/// So long after the start of held runs they are claimed, and a queue they filled shows what lies behind them.
const CLAIMED_AFTER: Duration = Duration::from_secs(1);

/// What is known of a run for longer than this is looked at again before it is claimed or its tasks are stopped: a server
/// may take a claim of a run that was cancelled or claimed by another meanwhile.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// One iteration of one agent.
pub struct Iteration<'a, O: Orchestrator, P, C>(Context<'a, O, P, C>);

/// A page of due runs, shared by the batches planned from it.
type SharedPage<D> = Arc<PageOfRuns<D>>;

/// Due runs and when they were asked for.
struct PageOfRuns<D> {
    at: OffsetDateTime,
    runs: Vec<DueRun<D>>,
}

impl<'a, O: Orchestrator, P: Platform, C: Clock> Iteration<'a, O, P, C> {
    /// One that has not begun.
    pub fn new(
        rules: IterationRules,
        (orchestrator, platform, clock): (&'a O, &'a P, &'a C),
        report: &'a ReportBuilder,
        seen: &'a SeenLaunches,
    ) -> Self {
        Self(Context::new(rules, (orchestrator, platform, clock), report, seen))
    }

    /// Polls and launches. What became of the runs is in the report, also when this future is dropped half-way.
    pub async fn run(&self) {
        // Held launches go on beside the asking, so that a long queue does not make them late.
        let (hold, batches) = unbounded_channel();
        tokio::join!(self.ask(hold), self.launch_held(batches), self.stand_by());
        let untold = self.0.orchestrator.announce(&self.0.take_launched()).await;
        self.0.report.untold(untold);
    }

    /// The life of runs that start together: due → prepared → claimed → launched → told. `look_again`: so much time has
    /// passed that they may have changed. Every run comes to an end that the report knows.
    async fn launch_together(&self, runs: Vec<&DueRun<O::Detail>>, look_again: bool) {
        let cx = &self.0;
        if let Some(reason) = cx.why_not_claim() {
            for run in runs {
                cx.outcome(run, RunOutcome::Deferred(reason.to_owned()));
            }
            return;
        }
        let due = if look_again { still_due(cx, runs).await } else { runs };
        let prepared = within_room(cx, prepare(cx, due).await);
        let batching = cx.orchestrator.batching();
        let lines = Mutex::new(Vec::new());
        stream::iter(in_chunks(prepared, batching.claims))
            .for_each_concurrent(batching.at_once.max(1), async |prepared| {
                let promised = prepared.iter().filter(|prepared| prepared.is_launch()).count();
                let claimed = claim(cx, prepared).await;
                // From here on the platform itself knows of them: each takes its slot first of all.
                cx.promises_kept(promised);
                let launched = join_all(claimed.into_iter().map(|claimed| launch(cx, claimed))).await;
                let told = tell(cx, launched).await;
                lock(&lines).extend(told);
            })
            .await;
        write_log(cx, lines.into_inner().unwrap_or_else(PoisonError::into_inner)).await;
    }

    /// What stands beside the queue: claims without a task, runs that were cancelled.
    async fn stand_by(&self) {
        let now = self.0.clock.now();
        let standing = match self.0.orchestrator.outstanding_claims(now, self.0.rules.orphan_after).await {
            Ok(standing) => standing,
            Err(error) if is_refusal(&error) => {
                let said = format!("claims without a task and cancelled runs cannot be looked for: {error}");
                return self.0.report.warn(&said);
            }
            Err(error) => return self.0.report.api_trouble(&error, self.0.clock.now()),
        };
        self.0.report.foreign_pending(standing.foreign);
        let is_old = |claimed: &ClaimedRun<O::Detail>| is_orphan(now, claimed.since, self.0.rules.orphan_after);
        let orphans: Vec<_> = standing.claimed.into_iter().filter(is_old).collect();
        self.0.report.outstanding(orphans.len());
        if self.0.why_not_claim().is_none() {
            let cx = &self.0;
            tokio::join!(recover(cx, orphans), cancel(cx, standing.cancelling, now));
        }
    }

    async fn ask(&self, hold: UnboundedSender<(SharedPage<O::Detail>, PlannedBatch)>) {
        let mut seen = HashSet::new();
        let mut held_until = None;
        loop {
            let now = self.0.clock.now();
            let page = match self.0.orchestrator.due_runs(&Window { now, before: now + self.0.rules.prefetch }).await {
                Ok(page) => page,
                Err(error) => return self.0.report.api_trouble(&error, self.0.clock.now()),
            };
            self.0.report.queue_answered(Duration::try_from(self.0.clock.now() - now).unwrap_or_default());
            if let Some(error) = &page.queue_error {
                self.0.report.api_trouble(error, self.0.clock.now());
            }
            let full = page.full;
            let fresh = self.fresh_runs(page, &mut seen);
            let any_fresh = !fresh.is_empty();
            held_until = held_until.max(self.launch_page(PageOfRuns { at: now, runs: fresh }, &hold).await);
            if !full || self.0.why_not_claim().is_some() {
                return;
            }
            if !any_fresh {
                // The page is full of runs that are held or that nothing can be done about. Behind the held ones there
                // may be more that start within this invocation; behind the others nothing can be seen.
                let Some(at) = held_until.take() else { return };
                self.0.clock.sleep_until(at + CLAIMED_AFTER).await;
            }
        }
    }

    /// Runs of the page that this invocation has not seen.
    fn fresh_runs(&self, page: DuePage<O::Detail>, seen: &mut HashSet<String>) -> Vec<DueRun<O::Detail>> {
        for (flow_run_id, reason) in page.unreadable {
            if seen.insert(flow_run_id.clone()) {
                self.0.report.found(&flow_run_id, None);
                self.0.report.record(&flow_run_id, RunOutcome::Deferred(format!("cannot be understood: {reason}")));
            }
        }
        let fresh: Vec<_> = page.runs.into_iter().filter(|run| seen.insert(run.flow_run_id.clone())).collect();
        for run in &fresh {
            self.0.report.found(&run.flow_run_id, run.scheduled_for);
        }
        fresh
    }

    /// Launches what is due and passes on what is to be held; until when the last of it is, if any.
    async fn launch_page(
        &self,
        page: PageOfRuns<O::Detail>,
        hold: &UnboundedSender<(SharedPage<O::Detail>, PlannedBatch)>,
    ) -> Option<OffsetDateTime> {
        let starts: Vec<_> =
            page.runs.iter().enumerate().map(|(index, run)| Start { index, start_time: run.start_time }).collect();
        let plan = plan(self.0.clock.now(), self.0.rules.limits, &starts);
        for (index, reason) in plan.deferred {
            self.0.report.record(&page.runs[index].flow_run_id, RunOutcome::Deferred(reason));
        }
        let page = Arc::new(page);
        let (later, due): (Vec<_>, Vec<_>) = plan.batches.into_iter().partition(|batch| batch.held);
        let held_until = later.iter().map(|batch| batch.at).max();
        for batch in later {
            // The receiver lives as long as this iteration: a failed send means that nobody is left to launch for.
            let _ = hold.send((Arc::clone(&page), batch));
        }
        for batch in due {
            self.launch_batch(&page, &batch).await;
        }
        held_until
    }

    async fn launch_held(&self, mut held: UnboundedReceiver<(SharedPage<O::Detail>, PlannedBatch)>) {
        let mut waiting = FuturesUnordered::new();
        let mut open = true;
        while open || !waiting.is_empty() {
            tokio::select! {
                // In a fixed order, so that the same things happen again in a world that is the same.
                biased;
                next = held.recv(), if open => match next {
                    Some((page, batch)) => waiting.push(self.launch_later(page, batch)),
                    None => open = false,
                },
                Some(()) = waiting.next(), if !waiting.is_empty() => {}
            }
        }
    }

    async fn launch_later(&self, page: SharedPage<O::Detail>, batch: PlannedBatch) {
        self.0.clock.sleep_until(batch.at).await;
        self.launch_batch(&page, &batch).await;
    }

    async fn launch_batch(&self, page: &PageOfRuns<O::Detail>, batch: &PlannedBatch) {
        let runs = batch.runs.iter().map(|index| &page.runs[*index]).collect();
        let is_old = self.0.clock.now() - page.at > FRESH_FOR;
        self.launch_together(runs, batch.held || is_old).await;
    }
}

/// Whether an API does not know what it was asked, as opposed to trouble that passes.
pub(super) fn is_refusal(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { .. } | ApiError::Malformed(_) => true,
        ApiError::Status { status, .. } => (400..500).contains(status),
        _ => false,
    }
}

/// The prepared runs in chunks of at most `size`, in order.
fn in_chunks<T>(prepared: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut chunks = Vec::new();
    let mut rest = prepared.into_iter().peekable();
    while rest.peek().is_some() {
        chunks.push(rest.by_ref().take(size.max(1)).collect());
    }
    chunks
}
