//! An orchestrator and a platform in memory, with virtual time, whose answers a test can spoil.

mod platform;
mod prefect;

use crate::clock::Clock;
use crate::model::ApiError;
use crate::orchestrator::{Batching, CancellingRun, Claim, Claimed, ClaimedRun, DueRun, Mark, RunLog};
use crate::platform::ecs::launcher::LaunchRate;
use crate::platform::{LaunchOutcome, LiveDeployment, Progress};
use crate::poll::AgentReport;
use crate::poll::context::SeenLaunches;
use crate::poll::iteration::{Iteration, IterationRules};
use crate::poll::plan::Limits;
use crate::poll::report::ReportBuilder;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

/// One of our claims without a task after this long is finished.
pub(super) const ORPHAN_AFTER: Duration = Duration::from_mins(2);
/// A cancelled flow that runs gets this long.
pub(super) const GRACE: Duration = Duration::from_secs(90);
/// The mark of this agent's claims.
const MARKED_AS: &str = "/root/etl";
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
    pub(super) live: BTreeMap<String, Vec<LiveDeployment>>,
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
    /// What every announcement leaves.
    pub(super) untold: usize,
    /// `clientToken` and cluster of every launch.
    pub(super) sent: Vec<(String, String)>,
    /// Outcomes of the next looks for tasks.
    pub(super) look_outcomes: VecDeque<LaunchOutcome>,
    /// Runs that are being cancelled cannot be ended: what the API says.
    pub(super) cancelled_error: Option<ApiError>,
    /// How long a launch takes.
    pub(super) launching_takes: Duration,
    /// The cluster that is configured.
    pub(super) cluster: &'static str,
    /// What happened to whom, in order: `claim`, `launch`, `task`, `log` and `announce`.
    pub(super) timeline: Vec<(&'static str, String)>,
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
            untold: 0,
            sent: Vec::new(),
            look_outcomes: VecDeque::new(),
            cancelled_error: None,
            launching_takes: Duration::ZERO,
            cluster: "",
            timeline: Vec::new(),
        }
    }
}

pub(super) struct Fakes {
    state: Mutex<State>,
    clock: TestClock,
    launch_rate: Option<f64>,
    rate: LaunchRate,
    known: SeenLaunches,
    batching: Batching,
}

impl Fakes {
    pub(super) fn new() -> Self {
        let clock = TestClock(tokio::time::Instant::now());
        Self {
            state: Mutex::default(),
            clock,
            launch_rate: None,
            rate: LaunchRate::new(None),
            known: SeenLaunches::default(),
            batching: Batching { claims: 100, at_once: 1 },
        }
    }

    pub(super) fn with_launch_rate(per_second: Option<f64>) -> Self {
        Self { launch_rate: per_second, rate: LaunchRate::new(per_second), ..Self::new() }
    }

    /// The same, with an API that takes one claim per request, so many requests side by side.
    pub(super) fn one_by_one(self, at_once: usize) -> Self {
        Self { batching: Batching { claims: 1, at_once }, ..self }
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

    /// A run that was claimed by this agent `seconds` ago and has nobody to launch it.
    pub(super) fn orphan(&self, id: &str, seconds: i64) {
        self.schedule(id, -seconds);
        let mut state = self.lock();
        let mark = Mark {
            agent: MARKED_AS.into(),
            epoch: "1".into(),
            attempt: 1,
            capacity_refusals: 0,
            token: token(id, 1),
            place: String::new(),
        };
        state.now = self.clock.now() - time::Duration::seconds(seconds);
        state.submit(id, &mark);
    }

    /// A run that a user cancelled `seconds` ago.
    pub(super) fn cancelling(&self, id: &str, state: &'static str, seconds: i64) {
        self.schedule(id, -seconds);
        let since = self.clock.now() - time::Duration::seconds(seconds);
        let mut all = self.lock();
        let run = all.runs.get_mut(id).unwrap();
        (run.state, run.since) = (state, since);
    }

    /// Tasks of a run: last and desired status.
    pub(super) fn tasks(&self, id: &str, statuses: &[(&str, &str)]) {
        let task = |(last, desired): &(&str, &str)| task(&format!("task/{id}/{last}"), last, *desired == "STOPPED");
        self.lock().live.insert(format!("prefect/etl/{id}"), statuses.iter().map(task).collect());
    }

    pub(super) fn run(&self, id: &str) -> Run {
        self.lock().runs[id].clone()
    }

    /// One turn of an invocation that stops claiming after `seconds`.
    pub(super) async fn poll_for(&self, seconds: u64) -> AgentReport {
        let ledger = ReportBuilder::default();
        let stop_claiming = self.clock.now() + Duration::from_secs(seconds);
        let rules = IterationRules {
            agent: "etl".into(),
            marked_as: MARKED_AS.into(),
            prefetch: Duration::from_mins(1),
            max_launch_attempts: 3,
            orphan_after: ORPHAN_AFTER,
            cancel_grace: GRACE,
            limits: Limits {
                stop_claiming,
                deadline: stop_claiming + Duration::from_secs(9),
                launch_rate: self.launch_rate,
                try_one_first: self.lock().try_one_first,
            },
        };
        Iteration::new(rules, (self, self, &self.clock), &ledger, &self.known).run().await;
        ledger.report("no time was left", self.clock.now())
    }

    pub(super) async fn poll(&self) -> AgentReport {
        self.poll_for(110).await
    }

    fn due(id: &str, run: &Run) -> DueRun<()> {
        DueRun {
            flow_run_id: id.to_owned(),
            name: id.to_owned(),
            start_time: run.start_time,
            scheduled_for: Some(run.start_time),
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

/// A task as the platform shows it.
pub(super) fn task(id: &str, last_status: &str, is_stopping: bool) -> LiveDeployment {
    let progress = match last_status {
        "UNKNOWN" => Progress::Unknown,
        "PROVISIONING" | "PENDING" | "ACTIVATING" => Progress::Waiting,
        _ => Progress::Begun,
    };
    LiveDeployment { id: id.to_owned(), progress, is_stopping }
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

    fn happened(&mut self, what: &'static str, id: &str) {
        self.timeline.push((what, id.to_owned()));
    }

    fn claimed(&self) -> impl Iterator<Item = ClaimedRun<()>> {
        let submitted = self.runs.iter().filter(|(_, run)| run.state == "Submitted");
        submitted.filter_map(|(id, run)| {
            let mark = run.mark.clone()?;
            let due = Fakes::due(id, run);
            let due = DueRun { epoch: mark.epoch.clone(), token: mark.token.clone(), ..due };
            Some(ClaimedRun {
                run: due,
                mark,
                since: run.since,
                pid: run.task_arn.clone().map(|task| format!("::{task}")),
            })
        })
    }

    fn cancelling(&self) -> impl Iterator<Item = CancellingRun<()>> {
        let cancelled = self.runs.iter().filter(|(_, run)| matches!(run.state, "Cancelling" | "Cancelled"));
        cancelled.map(|(id, run)| CancellingRun {
            run: Fakes::due(id, run),
            since: run.since,
            pid: run.task_arn.clone().map(|task| format!("::{task}")),
            place: None,
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
