//! One agent's turn: asks the queue until it is empty and performs what the plan says.

use super::batch::Job;
use super::known::Known;
use super::ledger::{Fate, Ledger};
use super::plan::{Limits, PlannedBatch, Start, plan};
use crate::clock::Clock;
use crate::launch::Launcher;
use crate::model::ApiError;
use crate::orchestrator::{DuePage, DueRun, Orchestrator, TaskOfRun, Window};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// So long after the start of held runs they are claimed, and a queue they filled shows what lies behind them.
const CLAIMED_AFTER: Duration = Duration::from_secs(1);

/// What is known of a run for longer than this is looked at again before it is claimed or its tasks are stopped: a server
/// may take a claim of a run that was cancelled or claimed by another meanwhile.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// What a turn follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The agent's name in the deployment.
    pub agent: String,
    /// `<root>/<agent>`: what its claims are marked with.
    pub marked_as: String,
    /// How far ahead due runs are looked for.
    pub prefetch: Duration,
    /// Launches of one run before it fails with the whole story.
    pub max_launch_attempts: u32,
    /// Capacity refusals of a Spot strategy before on-demand is used; `None` = never.
    pub spot_fallback_after: Option<u32>,
    /// One of our claims without a task after this long is finished.
    pub orphan_after: Duration,
    /// A cancelled flow that runs gets this long to end by itself.
    pub cancel_grace: Duration,
    /// What bounds the invocation.
    pub limits: Limits,
}

/// One agent's turn and all it works with.
pub struct Turn<'a, O: Orchestrator, L, C> {
    /// What it follows.
    pub rules: Rules,
    /// The Prefect API.
    pub orchestrator: &'a O,
    /// The platform.
    pub launcher: &'a L,
    /// Time.
    pub clock: &'a C,
    /// What became of each run.
    pub ledger: &'a Ledger,
    /// Launches that this process has seen.
    pub known: &'a Known,
    /// Runs that got a task in this turn.
    launched: Mutex<Vec<(DueRun<O::Detail>, TaskOfRun)>>,
    /// Set by trouble that would hit every run: nothing more is claimed.
    halted: AtomicBool,
    /// Launches of runs that are claimed, or about to be, of which the launcher does not know yet.
    pub(super) promised: AtomicUsize,
}

/// A page of due runs, shared by the batches planned from it.
type Page<D> = Arc<Seen<D>>;

/// Due runs and when they were asked for.
struct Seen<D> {
    at: OffsetDateTime,
    runs: Vec<DueRun<D>>,
}

impl<'a, O: Orchestrator, L: Launcher, C: Clock> Turn<'a, O, L, C> {
    /// A turn that has not begun.
    pub fn new(
        rules: Rules,
        (orchestrator, launcher, clock): (&'a O, &'a L, &'a C),
        ledger: &'a Ledger,
        known: &'a Known,
    ) -> Self {
        Self {
            rules,
            orchestrator,
            launcher,
            clock,
            ledger,
            known,
            launched: Mutex::default(),
            halted: AtomicBool::new(false),
            promised: AtomicUsize::new(0),
        }
    }

    /// Polls and launches. What became of the runs is in the ledger, also when this future is dropped half-way.
    pub async fn run(&self) {
        // Held launches go on beside the asking, so that a long queue does not make them late.
        let (hold, batches) = unbounded_channel();
        tokio::join!(self.ask(hold), self.launch_held(batches), self.stand_by());
        let launched = std::mem::take(&mut *self.launched.lock().unwrap_or_else(PoisonError::into_inner));
        let untold = self.orchestrator.announce(&launched).await;
        self.ledger.untold(untold);
    }

    /// What stands beside the queue: claims without a task, runs that were cancelled.
    async fn stand_by(&self) {
        let now = self.clock.now();
        let standing = match self.orchestrator.standing(now, self.rules.orphan_after).await {
            Ok(standing) => standing,
            Err(error) if is_refusal(&error) => {
                let said = format!("claims without a task and cancelled runs cannot be looked for: {error}");
                return self.ledger.warn(&said);
            }
            Err(error) => return self.ledger.api_trouble(&error, self.clock.now()),
        };
        self.ledger.foreign_pending(standing.foreign);
        if self.why_not_claim().is_none() {
            tokio::join!(self.recover(standing.claimed, now), self.cancel(standing.cancelling, now));
        }
    }

    /// A run that got a task: others are told at the end of the turn.
    pub(super) fn to_announce(&self, run: DueRun<O::Detail>, task: TaskOfRun) {
        self.launched.lock().unwrap_or_else(PoisonError::into_inner).push((run, task));
    }

    /// Nothing more is to be claimed.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Why nothing may be claimed now, if so.
    pub fn why_not_claim(&self) -> Option<&'static str> {
        if self.halted.load(Ordering::Relaxed) {
            Some("the agent itself has trouble: see its error")
        } else if self.clock.now() >= self.rules.limits.stop_claiming {
            Some("no time is left in this invocation")
        } else {
            None
        }
    }

    async fn ask(&self, hold: UnboundedSender<(Page<O::Detail>, PlannedBatch)>) {
        let mut seen = HashSet::new();
        let mut held_until = None;
        loop {
            let now = self.clock.now();
            let page = match self.orchestrator.due_runs(&Window { now, before: now + self.rules.prefetch }).await {
                Ok(page) => page,
                Err(error) => return self.ledger.api_trouble(&error, self.clock.now()),
            };
            if let Some(error) = &page.queue_error {
                self.ledger.api_trouble(error, self.clock.now());
            }
            let full = page.full;
            let fresh = self.fresh_runs(page, &mut seen);
            let any_fresh = !fresh.is_empty();
            held_until = held_until.max(self.launch_page(Seen { at: now, runs: fresh }, &hold).await);
            if !full || self.why_not_claim().is_some() {
                return;
            }
            if !any_fresh {
                // The page is full of runs that are held or that nothing can be done about. Behind the held ones there
                // may be more that start within this invocation; behind the others nothing can be seen.
                let Some(at) = held_until.take() else { return };
                self.clock.sleep_until(at + CLAIMED_AFTER).await;
            }
        }
    }

    /// Runs of the page that this invocation has not seen.
    fn fresh_runs(&self, page: DuePage<O::Detail>, seen: &mut HashSet<String>) -> Vec<DueRun<O::Detail>> {
        for (flow_run_id, reason) in page.unreadable {
            if seen.insert(flow_run_id.clone()) {
                self.ledger.found(&flow_run_id);
                self.ledger.settle(&flow_run_id, Fate::Deferred(format!("cannot be understood: {reason}")));
            }
        }
        let fresh: Vec<_> = page.runs.into_iter().filter(|run| seen.insert(run.flow_run_id.clone())).collect();
        for run in &fresh {
            self.ledger.found(&run.flow_run_id);
        }
        fresh
    }

    /// Launches what is due and passes on what is to be held; until when the last of it is, if any.
    async fn launch_page(
        &self,
        page: Seen<O::Detail>,
        hold: &UnboundedSender<(Page<O::Detail>, PlannedBatch)>,
    ) -> Option<OffsetDateTime> {
        let starts: Vec<_> =
            page.runs.iter().enumerate().map(|(index, run)| Start { index, start_time: run.start_time }).collect();
        let plan = plan(self.clock.now(), self.rules.limits, &starts);
        for (index, reason) in plan.deferred {
            self.ledger.settle(&page.runs[index].flow_run_id, Fate::Deferred(reason));
        }
        let page = Arc::new(page);
        let (later, due): (Vec<_>, Vec<_>) = plan.batches.into_iter().partition(|batch| batch.held);
        let held_until = later.iter().map(|batch| batch.at).max();
        for batch in later {
            // The receiver lives as long as this turn: a failed send means that nobody is left to launch for.
            let _ = hold.send((Arc::clone(&page), batch));
        }
        for batch in due {
            self.launch_batch(&page, &batch).await;
        }
        held_until
    }

    async fn launch_held(&self, mut held: UnboundedReceiver<(Page<O::Detail>, PlannedBatch)>) {
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

    async fn launch_later(&self, page: Page<O::Detail>, batch: PlannedBatch) {
        self.clock.sleep_until(batch.at).await;
        self.launch_batch(&page, &batch).await;
    }

    async fn launch_batch(&self, page: &Seen<O::Detail>, batch: &PlannedBatch) {
        let runs = batch.runs.iter().map(|index| &page.runs[*index]).collect();
        let is_old = self.clock.now() - page.at > FRESH_FOR;
        Job { turn: self }.perform(runs, batch.held || is_old).await;
    }
}

/// Whether an API does not know what it was asked, as opposed to trouble that passes.
fn is_refusal(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { .. } | ApiError::Malformed(_) => true,
        ApiError::Status { status, .. } => (400..500).contains(status),
        _ => false,
    }
}
