//! An orchestrator and a platform in memory, with virtual time, whose answers a test can spoil.

use crate::clock::Clock;
use crate::launch::rate::LaunchRate;
use crate::launch::{
    Definition, LaunchIdentity, LaunchOutcome, LaunchSpec, Launcher, LiveTask, Place, PreparedLaunch, TransientCause,
};
use crate::orchestrator::{
    ApiError, Batching, CancellingRun, Claim, Claimed, ClaimedRun, DuePage, DueRun, Ending, GiveBack, Mark,
    Orchestrator, RenderError, Rendered, RunLog, RunNow, RunRefusal, Standing, TaskOfRun, Window,
};
use crate::poll::AgentReport;
use crate::poll::known::Known;
use crate::poll::ledger::Ledger;
use crate::poll::plan::Limits;
use crate::poll::turn::{Rules, Turn};
use crate::state::Registration;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

/// One of our claims without a task after this long is finished.
pub(super) const ORPHAN_AFTER: Duration = Duration::from_mins(2);
/// A cancelled flow that runs gets this long.
pub(super) const GRACE: Duration = Duration::from_secs(90);
pub(super) const START: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

/// A clock that follows tokio's paused time.
pub(super) struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        START + self.0.elapsed()
    }

    async fn sleep_until(&self, instant: OffsetDateTime) {
        tokio::time::sleep(Duration::try_from(instant - self.now()).unwrap_or_default()).await;
    }
}

/// A flow run as the in-memory Prefect keeps it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) start_time: OffsetDateTime,
    pub(super) state: &'static str,
    pub(super) version: u32,
    pub(super) mark: Option<Mark>,
    pub(super) attempts: u32,
    pub(super) message: String,
    pub(super) has_history: bool,
    /// When it got into its state.
    pub(super) since: OffsetDateTime,
    /// The flow has begun at some time.
    pub(super) has_started: bool,
    /// The task that was written down.
    pub(super) task_arn: Option<String>,
}

/// How a claim's answer is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimFault {
    AppliedButUnanswered,
    NotAppliedAndUnanswered,
    /// Unanswered, and another agent's claim, without our mark, came first.
    LostToAnother,
    Refused,
    Throttled,
}

pub(super) struct State {
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) page_size: Option<usize>,
    pub(super) claim_faults: VecDeque<ClaimFault>,
    pub(super) reread_fails: bool,
    pub(super) logs: Vec<RunLog>,
    pub(super) log_fails: bool,
    pub(super) calls: Vec<&'static str>,
    /// Outcomes of the next launches, by run; a fresh task otherwise.
    pub(super) outcomes: BTreeMap<String, VecDeque<LaunchOutcome>>,
    pub(super) refusals: BTreeMap<String, String>,
    pub(super) prepare_outcomes: VecDeque<LaunchOutcome>,
    pub(super) live: BTreeMap<String, Vec<LiveTask>>,
    pub(super) stopped: Vec<String>,
    pub(super) launches: Vec<(String, OffsetDateTime)>,
    /// Called between claim and settling.
    pub(super) cancel_on_launch: bool,
    pub(super) try_one_first: bool,
    /// Runs whose preparation never ends.
    pub(super) hanging: Vec<&'static str>,
    /// A run has been prepared once and hangs when it is prepared again.
    pub(super) hangs_when_prepared_again: bool,
    pub(super) prepared: Vec<String>,
    /// This run is claimed by another agent before it is read again.
    pub(super) claimed_by_another_before_reread: Option<String>,
    pub(super) log_hangs: bool,
    /// How long claims take.
    pub(super) claiming_takes: Duration,
    /// The time of the last request.
    pub(super) now: OffsetDateTime,
    /// Claims of others.
    pub(super) foreign: usize,
    /// What an API that does not know the request for claims says.
    pub(super) standing_error: Option<ApiError>,
    /// Launched runs that others were told of.
    pub(super) announced: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            page_size: None,
            claim_faults: VecDeque::new(),
            reread_fails: false,
            logs: Vec::new(),
            log_fails: false,
            calls: Vec::new(),
            outcomes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            prepare_outcomes: VecDeque::new(),
            live: BTreeMap::new(),
            stopped: Vec::new(),
            launches: Vec::new(),
            cancel_on_launch: false,
            try_one_first: false,
            hanging: Vec::new(),
            hangs_when_prepared_again: false,
            prepared: Vec::new(),
            claimed_by_another_before_reread: None,
            log_hangs: false,
            claiming_takes: Duration::ZERO,
            now: START,
            foreign: 0,
            standing_error: None,
            announced: Vec::new(),
        }
    }
}

pub(super) struct Fakes {
    state: Mutex<State>,
    clock: TestClock,
    launch_rate: Option<f64>,
    rate: LaunchRate,
    known: Known,
    batching: Batching,
}

impl Fakes {
    pub(super) fn new() -> Self {
        Self::with_launch_rate(None)
    }

    pub(super) fn with_launch_rate(per_second: Option<f64>) -> Self {
        let clock = TestClock(tokio::time::Instant::now());
        Self {
            state: Mutex::default(),
            clock,
            launch_rate: per_second,
            rate: LaunchRate::new(per_second),
            known: Known::default(),
            batching: Batching { claims: 100, at_once: 1 },
        }
    }

    /// An API that takes one claim per request.
    pub(super) fn one_by_one(at_once: usize) -> Self {
        Self { batching: Batching { claims: 1, at_once }, ..Self::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Schedules a run `seconds` from now.
    pub(super) fn schedule(&self, id: &str, seconds: i64) {
        let run = Run {
            start_time: self.clock.now() + time::Duration::seconds(seconds),
            state: "Scheduled",
            version: 1,
            mark: None,
            attempts: 0,
            message: String::new(),
            has_history: false,
            since: self.clock.now(),
            has_started: false,
            task_arn: None,
        };
        self.lock().runs.insert(id.to_owned(), run);
    }

    pub(super) fn run(&self, id: &str) -> Run {
        self.lock().runs[id].clone()
    }

    /// One turn of an invocation that stops claiming after `seconds`.
    pub(super) async fn poll_for(&self, seconds: u64) -> AgentReport {
        let ledger = Ledger::default();
        let stop_claiming = self.clock.now() + Duration::from_secs(seconds);
        let rules = Rules {
            agent: "etl".into(),
            marked_as: "/root/etl".into(),
            prefetch: Duration::from_mins(1),
            max_launch_attempts: 3,
            spot_fallback_after: None,
            orphan_after: ORPHAN_AFTER,
            cancel_grace: GRACE,
            limits: Limits {
                stop_claiming,
                deadline: stop_claiming + Duration::from_secs(9),
                launch_rate: self.launch_rate,
                try_one_first: self.lock().try_one_first,
            },
        };
        Turn::new(rules, (self, self, &self.clock), &ledger, &self.known).run().await;
        ledger.report("no time was left")
    }

    pub(super) async fn poll(&self) -> AgentReport {
        self.poll_for(110).await
    }

    fn due(id: &str, run: &Run) -> DueRun<()> {
        DueRun {
            flow_run_id: id.to_owned(),
            name: id.to_owned(),
            start_time: run.start_time,
            epoch: run.version.to_string(),
            token: token(id, run.version),
            has_history: run.has_history,
            is_task_retry: false,
            attempts: run.attempts,
            capacity_refusals: 0,
            detail: (),
        }
    }
}

fn token(id: &str, version: u32) -> String {
    format!("{id}@{version}")
}

fn unanswered() -> ApiError {
    ApiError::NoAnswer("timed out".into())
}

impl State {
    fn submit(&mut self, id: &str, mark: &Mark) {
        let now = self.now;
        let run = self.runs.get_mut(id).unwrap();
        run.state = "Submitted";
        run.version += 1;
        run.mark = Some(mark.clone());
        run.since = now;
    }

    fn claimed(&self) -> impl Iterator<Item = ClaimedRun<()>> {
        let submitted = self.runs.iter().filter(|(_, run)| run.state == "Submitted");
        submitted.filter_map(|(id, run)| {
            let mark = run.mark.clone()?;
            let due = Fakes::due(id, run);
            let due = DueRun { epoch: mark.epoch.clone(), token: mark.token.clone(), ..due };
            Some(ClaimedRun { run: due, mark, since: run.since, has_recorded_task: run.task_arn.is_some() })
        })
    }

    fn cancelling(&self) -> impl Iterator<Item = CancellingRun<()>> {
        let cancelled = self.runs.iter().filter(|(_, run)| matches!(run.state, "Cancelling" | "Cancelled"));
        cancelled.map(|(id, run)| CancellingRun {
            run: Fakes::due(id, run),
            since: run.since,
            task: run.task_arn.clone().map(|task_arn| TaskOfRun { place: Place::default(), task_arn }),
            is_over: run.state == "Cancelled",
            has_started: run.has_started,
        })
    }

    fn claim(&mut self, claim: &Claim<'_, ()>) -> Claimed {
        let id = claim.run.flow_run_id.clone();
        let fault = self.claim_faults.pop_front();
        let may = self.runs[&id].state == "Scheduled";
        match fault {
            Some(ClaimFault::Refused) => Claimed::Refused("State update failed".into()),
            Some(ClaimFault::Throttled) => Claimed::NotMade(ApiError::Throttled { retry_after: None }),
            Some(ClaimFault::NotAppliedAndUnanswered) => Claimed::Unknown("timed out".into()),
            Some(ClaimFault::LostToAnother) => {
                self.submit(&id, claim.mark);
                self.runs.get_mut(&id).unwrap().mark = None;
                Claimed::Unknown("timed out".into())
            }
            Some(ClaimFault::AppliedButUnanswered) => {
                self.submit(&id, claim.mark);
                Claimed::Unknown("timed out".into())
            }
            None if may => {
                self.submit(&id, claim.mark);
                Claimed::Ours
            }
            None => Claimed::Refused("State update failed: this run has already been submitted.".into()),
        }
    }
}

impl Orchestrator for Fakes {
    type Detail = ();

    fn batching(&self) -> Batching {
        self.batching
    }

    async fn standing(&self, now: OffsetDateTime, orphan_after: Duration) -> Result<Standing<()>, ApiError> {
        let state = self.lock();
        if let Some(error) = &state.standing_error {
            return Err(error.clone());
        }
        let claimed = state.claimed().filter(|claimed| now - claimed.since >= orphan_after).collect();
        Ok(Standing { claimed, foreign: state.foreign, cancelling: state.cancelling().collect() })
    }

    async fn record_task(&self, run: &DueRun<()>, task: &TaskOfRun) {
        let mut state = self.lock();
        if let Some(run) = state.runs.get_mut(&run.flow_run_id) {
            run.task_arn = Some(task.task_arn.clone());
        }
    }

    async fn cancelled(&self, runs: &[Ending<'_, ()>]) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("cancelled");
        let end = |ending: &Ending<'_, ()>| {
            let run = state.runs.get_mut(&ending.run.flow_run_id).unwrap();
            (run.state, run.message) = ("Cancelled", ending.message.clone());
            Ok(())
        };
        runs.iter().map(end).collect()
    }

    async fn announce(&self, launched: &[(DueRun<()>, TaskOfRun)]) {
        self.lock().announced.extend(launched.iter().map(|(run, _)| run.flow_run_id.clone()));
    }

    async fn connect(&self, _: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        Ok(None)
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<()>, ApiError> {
        let mut state = self.lock();
        state.calls.push("due_runs");
        let mut due: Vec<_> = state
            .runs
            .iter()
            .filter(|(_, run)| run.state == "Scheduled" && run.start_time <= window.before)
            .map(|(id, run)| Self::due(id, run))
            .collect();
        due.sort_by_key(|run| run.start_time);
        let page_size = state.page_size.unwrap_or(200);
        let full = due.len() >= page_size;
        due.truncate(page_size);
        Ok(DuePage { runs: due, unreadable: Vec::new(), full, queue_error: None })
    }

    async fn reread(&self, ids: &[String]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let mut state = self.lock();
        state.calls.push("reread");
        if let Some(id) = state.claimed_by_another_before_reread.take() {
            let run = state.runs.get_mut(&id).unwrap();
            (run.state, run.version) = ("Submitted", run.version + 1);
        }
        if state.reread_fails {
            return Err(unanswered());
        }
        let now = |id: &String| {
            state.runs.get(id).map(|run| RunNow {
                epoch: run.version.to_string(),
                state: run.state.to_owned(),
                mark: run.mark.clone(),
            })
        };
        Ok(ids.iter().map(now).collect())
    }

    async fn render(&self, runs: &[&DueRun<()>]) -> Vec<Result<Rendered, RenderError>> {
        let state = self.lock();
        let spec = LaunchSpec {
            definition: Definition::Own(Map::new()),
            run_task: Map::new(),
            infer_network: false,
            key_variables: Vec::new(),
            run_sets: Vec::new(),
            worker: crate::launch::worker::WorkerPart::default(),
        };
        let render = |run: &&DueRun<()>| match state.refusals.get(&run.flow_run_id) {
            Some(refusal) => Err(RenderError::Refused(RunRefusal(refusal.clone()))),
            None => Ok(Rendered { spec: spec.clone(), warning: None }),
        };
        runs.iter().map(render).collect()
    }

    async fn claim(&self, claims: &[Claim<'_, ()>]) -> Vec<Claimed> {
        let takes = self.lock().claiming_takes;
        tokio::time::sleep(takes).await;
        let mut state = self.lock();
        state.now = self.clock.now();
        state.calls.push("claim");
        claims.iter().map(|claim| state.claim(claim)).collect()
    }

    async fn give_back(&self, runs: &[GiveBack<'_, ()>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("give_back");
        for given in runs {
            let run = state.runs.get_mut(&given.run.flow_run_id).unwrap();
            if run.state != "Submitted" {
                return runs.iter().map(|_| Err(ApiError::NotOurs(format!("it is {} now", run.state)))).collect();
            }
            run.state = "Scheduled";
            run.version += 1;
            run.mark = None;
            run.attempts = given.mark.attempt;
            run.start_time = now + given.delay;
            run.message = given.reason.clone();
        }
        runs.iter().map(|_| Ok(())).collect()
    }

    async fn fail(&self, runs: &[Ending<'_, ()>]) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("fail");
        for ending in runs {
            let run = state.runs.get_mut(&ending.run.flow_run_id).unwrap();
            if run.state != "Submitted" {
                return runs.iter().map(|_| Err(ApiError::NotOurs(format!("it is {} now", run.state)))).collect();
            }
            run.state = "Failed";
            run.message = ending.message.clone();
        }
        runs.iter().map(|_| Ok(())).collect()
    }

    async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        if self.lock().log_hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.lock();
        state.calls.push("log");
        state.logs.extend_from_slice(lines);
        if state.log_fails { Err(unanswered()) } else { Ok(()) }
    }
}

impl Launcher for Fakes {
    async fn prepare(
        &self,
        flow_run_id: &str,
        _: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<PreparedLaunch, LaunchOutcome> {
        let again = self.lock().hangs_when_prepared_again && self.lock().prepared.iter().any(|id| id == flow_run_id);
        self.lock().prepared.push(flow_run_id.to_owned());
        if again || self.lock().hanging.contains(&flow_run_id) {
            std::future::pending::<()>().await;
        }
        if let Some(outcome) = self.lock().prepare_outcomes.pop_front() {
            return Err(outcome);
        }
        let mut run_task = Map::new();
        run_task.insert("clientToken".into(), Value::from(identity.token.clone()));
        run_task.insert("startedBy".into(), json!(identity.started_by));
        let place = Place::default();
        Ok(PreparedLaunch { flow_run_id: flow_run_id.to_owned(), run_task, run_sets: Vec::new(), place })
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        if !self.rate.wait(&self.clock, deadline).await {
            return LaunchOutcome::Transient { reason: "No time was left".into(), cause: TransientCause::NoTime };
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let id = launch.flow_run_id.clone();
        assert_eq!(state.runs[&id].state, "Submitted", "{id} is launched without a claim");
        state.launches.push((id.clone(), now));
        if state.cancel_on_launch {
            let run = state.runs.get_mut(&id).unwrap();
            (run.state, run.mark) = ("Cancelled", None);
        }
        let next = state.outcomes.get_mut(&id).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| LaunchOutcome::Started { task_arn: format!("task/{id}") })
    }

    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.rate.free_until(self.clock.now(), deadline)
    }

    async fn live_task(&self, _: &Place, task_arn: &str) -> Result<Option<LiveTask>, LaunchOutcome> {
        Ok(self.lock().live.values().flatten().find(|task| task.task_arn == task_arn).cloned())
    }

    async fn live_tasks(&self, _: &Place, started_by: &str) -> Result<Vec<LiveTask>, LaunchOutcome> {
        Ok(self.lock().live.get(started_by).cloned().unwrap_or_default())
    }

    async fn stop(&self, _: &Place, task_arn: &str, _: &str) -> Result<(), LaunchOutcome> {
        self.lock().stopped.push(task_arn.to_owned());
        Ok(())
    }
}
