//! What every step of an iteration works with: its rules, the two sides it talks to, and what it writes down.

use super::plan::Limits;
use super::report::{ReportBuilder, RunOutcome};
use crate::clock::Clock;
use crate::model::ApiError;
use crate::orchestrator::{DueRun, Mark, Orchestrator};
use crate::panics::lock;
use crate::platform::{self, LaunchIdentity, Place, Platform, TransientCause};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What an iteration follows.
#[derive(Debug, Clone, PartialEq)]
pub struct IterationRules {
    /// The agent's name in the deployment.
    pub agent: String,
    /// `<root>/<agent>`: what its claims are marked with.
    pub marked_as: String,
    /// How far ahead due runs are looked for.
    pub prefetch: Duration,
    /// Launches of one run before it fails with the whole story.
    pub max_launch_attempts: u32,
    /// One of our claims without a task after this long is finished.
    pub orphan_after: Duration,
    /// A cancelled flow that runs gets this long to end by itself.
    pub cancel_grace: Duration,
    /// What bounds the invocation.
    pub limits: Limits,
}

/// What the steps of one iteration share.
pub(super) struct Context<'a, O: Orchestrator, P, C> {
    /// What they follow.
    pub(super) rules: IterationRules,
    /// The Prefect API.
    pub(super) orchestrator: &'a O,
    /// The platform.
    pub(super) platform: &'a P,
    /// Time.
    pub(super) clock: &'a C,
    /// What became of each run.
    pub(super) report: &'a ReportBuilder,
    /// Launches that this process has seen.
    pub(super) seen: &'a SeenLaunches,
    /// Runs that got a task in this iteration.
    launched: Mutex<Vec<(DueRun<O::Detail>, String)>>,
    /// Set by trouble that would hit every run: nothing more is claimed.
    halted: AtomicBool,
    /// Launches of runs that are claimed, or about to be, of which the platform does not know yet.
    promised: AtomicUsize,
}

impl<'a, O: Orchestrator, P: Platform, C: Clock> Context<'a, O, P, C> {
    /// Of an iteration that has not begun.
    pub(super) fn new(
        rules: IterationRules,
        (orchestrator, platform, clock): (&'a O, &'a P, &'a C),
        report: &'a ReportBuilder,
        seen: &'a SeenLaunches,
    ) -> Self {
        let (halted, promised) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { rules, orchestrator, platform, clock, report, seen, launched: Mutex::default(), halted, promised }
    }

    /// A run that was deployed, and its pid: others are told at the end of the iteration.
    pub(super) fn to_announce(&self, run: DueRun<O::Detail>, pid: String) {
        lock(&self.launched).push((run, pid));
    }

    /// The runs that got a task since this was asked last.
    pub(super) fn take_launched(&self) -> Vec<(DueRun<O::Detail>, String)> {
        std::mem::take(&mut *lock(&self.launched))
    }

    /// Nothing more is to be claimed.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Why nothing may be claimed now, if so.
    pub(super) fn why_not_claim(&self) -> Option<&'static str> {
        if self.halted.load(Ordering::Relaxed) {
            Some("the agent itself has trouble: see its error")
        } else if self.clock.now() >= self.rules.limits.stop_claiming {
            Some("no time is left in this invocation")
        } else {
            None
        }
    }

    /// What became of a run.
    pub(super) fn outcome(&self, run: &DueRun<O::Detail>, outcome: RunOutcome) {
        self.report.record(&run.flow_run_id, outcome);
    }

    /// The mark of a claim for this launch.
    pub(super) fn mark(&self, run: &DueRun<O::Detail>, place: &P::Place) -> Mark {
        Mark {
            agent: self.rules.marked_as.clone(),
            epoch: run.epoch.clone(),
            attempt: run.attempts + 1,
            capacity_refusals: run.capacity_refusals,
            token: run.token.clone(),
            place: place.name(),
        }
    }

    /// What names the launch.
    pub(super) fn identity(&self, run: &DueRun<O::Detail>) -> LaunchIdentity {
        let started_by = platform::started_by(&self.rules.agent, &run.flow_run_id);
        LaunchIdentity { flow_run_id: run.flow_run_id.clone(), token: run.token.clone(), started_by }
    }

    /// The platform refuses the agent itself: said once, and nothing more is claimed.
    pub(super) fn agent_trouble(&self, reason: &str) {
        self.halt();
        self.report.trouble(P::TROUBLE, reason);
    }

    /// An answer of the platform asked for fewer requests, if it did.
    pub(super) fn count_throttle(&self, cause: TransientCause) {
        if cause == TransientCause::Throttled {
            self.report.throttled();
        }
    }

    /// What ends before the launches' deadline, or so much later: a claim must still be settled after it.
    pub(super) async fn in_time<T>(&self, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
        let left = Duration::try_from(self.rules.limits.deadline - self.clock.now()).unwrap_or_default();
        tokio::time::timeout(left + grace, work).await.ok()
    }

    /// Launches that room was promised to, of which the platform does not know yet.
    pub(super) fn promised(&self) -> usize {
        self.promised.load(Ordering::Relaxed)
    }

    /// Room is promised to so many launches more. One future polls all batches, so nothing comes between reading the
    /// counter and this.
    pub(super) fn promise(&self, launches: usize) {
        self.promised.fetch_add(launches, Ordering::Relaxed);
    }

    /// The platform itself knows of so many launches that room was promised to.
    pub(super) fn promises_kept(&self, launches: usize) {
        self.promised.fetch_sub(launches, Ordering::Relaxed);
    }

    /// The API itself has trouble: said once, and nothing more is claimed in this iteration.
    pub(super) fn api_trouble(&self, error: &ApiError) {
        if matches!(error, ApiError::Throttled { .. }) {
            self.report.throttled();
        }
        self.halt();
        self.report.api_trouble(error, self.clock.now());
    }
}

// Launches that this process has seen: what it knows already it need not tell again.

/// Older ones are forgotten: that a launch is told twice then does no harm.
const CAPACITY: usize = 1000;

/// The tokens of the last launches that have a task.
#[derive(Debug, Default)]
pub struct SeenLaunches(Mutex<VecDeque<String>>);

impl SeenLaunches {
    /// This launch has a task.
    pub fn insert(&self, token: &str) {
        let mut tokens = lock(&self.0);
        if tokens.iter().any(|known| known == token) {
            return;
        }
        if tokens.len() == CAPACITY {
            tokens.pop_front();
        }
        tokens.push_back(token.to_owned());
    }

    /// Whether this launch was seen to have a task.
    pub fn contains(&self, token: &str) -> bool {
        lock(&self.0).iter().any(|known| known == token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_known_and_the_oldest_is_forgotten_first() {
        let known = SeenLaunches::default();
        assert!(!known.contains("0"));
        for token in 0..=CAPACITY {
            known.insert(&token.to_string());
        }
        assert!(!known.contains("0") && known.contains("1") && known.contains(&CAPACITY.to_string()));
    }

    #[test]
    fn what_is_known_takes_no_more_room_when_it_is_seen_again() {
        let known = SeenLaunches::default();
        known.insert("first");
        for _ in 0..=CAPACITY {
            known.insert("again");
        }
        assert!(known.contains("first") && known.contains("again"));
    }
}
