//! One configured agent with all it works with: kept by a warm process as long as its configuration stays the same.
//! What of a poll's report is remembered for people, see [`Recent`], is chosen here too (pure).

use super::context::SeenLaunches;
use super::ended::tell_ended;
use super::iteration::{Iteration, IterationRules};
use super::lost::{FoundTasks, LostTasks, OthersRuns};
use super::plan::Limits;
use super::report::{AgentReport, ReportBuilder};
use crate::aws::AwsError;
use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::health::AgentFacts;
use crate::health::status::{AgentStatus, ConfiguredAgent};
use crate::model::{ApiError, ErrorKind, Generation, Registration};
use crate::orchestrator::{Orchestrator, TaskWatch};
use crate::panics::{caught, lock};
use crate::platform::Platform;
use crate::prefect1::Prefect1;
use crate::prefect3::Prefect3;
use crate::state::polls::{PollCounter, PollNumber as Number};
use crate::state::recent::{FailedRun, PastPoll, WaitingRun};
use crate::state::{Counts, Recent, Status};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// Kept back from the end of an invocation: within it what is claimed is still launched and said.
pub const MARGIN: Duration = Duration::from_secs(10);

/// No task is started from this long before the end: what became of the last launches must still be told to Prefect.
const SETTLING: Duration = Duration::from_secs(5);

/// Kept back for the status and the report.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// One invocation of the function, or one iteration of the command line's loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Names it: the value of the poll counter's parameter.
    pub request_id: String,
    /// When it is killed.
    pub deadline: OffsetDateTime,
    /// A poke has asked for it, not the schedule.
    pub is_poked: bool,
}

impl Invocation {
    /// Polls end here; the status and the report come after it.
    pub(super) fn end_of_polls(&self) -> OffsetDateTime {
        self.deadline - LAST_WORDS
    }

    /// Statuses are written until here.
    pub(super) fn end_of_statuses(&self) -> OffsetDateTime {
        self.deadline - LAST_WORDS / 2
    }
}

/// Where the number of a poll comes from when `max_polls` is set.
#[derive(Debug)]
pub enum Counter {
    /// The version of a parameter, shared by all processes.
    Parameter(PollCounter),
    /// As [`Counter::Parameter`], only looked at: for a dry run.
    Look(PollCounter),
    /// This process: for the command line without a parameter root.
    Process(AtomicU64),
}

/// What the command line knows better than the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Replaces `max_polls`, wherever that comes from.
    pub max_polls: Option<u64>,
    /// Due runs are looked for no further ahead than this.
    pub prefetch_at_most: Option<Duration>,
}

/// An agent that can poll.
pub struct Agent<P, C: Clock + Clone> {
    /// Its configuration, before settings kept in the backend.
    pub config: AgentConfig,
    /// `<root>/<agent>`: what its claims are marked with.
    pub(super) marked_as: String,
    /// What to do when its credential is refused.
    if_refused: String,
    pub(super) prefect: Prefect,
    pub(super) platform: P,
    pub(super) counter: Counter,
    pub(super) clock: C,
    overrides: Overrides,
    /// What the last poll wrote down.
    pub(super) status: Mutex<Status>,
    seen: SeenLaunches,
    others: OthersRuns,
    connected: AtomicBool,
}

/// What an agent is made of.
pub(super) struct Parts<P, C: Clock + Clone> {
    pub(super) config: AgentConfig,
    pub(super) marked_as: String,
    pub(super) if_refused: String,
    pub(super) prefect: Prefect,
    pub(super) counter: Counter,
    pub(super) status: Status,
    pub(super) overrides: Overrides,
    pub(super) platform: P,
    pub(super) clock: C,
}

impl<P: Platform, C: Clock + Clone> Agent<P, C> {
    pub(super) fn new(parts: Parts<P, C>) -> Self {
        let Parts { config, marked_as, if_refused, prefect, counter, status, overrides, platform, clock } = parts;
        Self {
            config,
            marked_as,
            if_refused,
            prefect,
            platform,
            counter,
            clock,
            overrides,
            status: Mutex::new(status),
            seen: SeenLaunches::default(),
            others: OthersRuns::default(),
            connected: AtomicBool::new(false),
        }
    }

    /// What the last poll wrote down.
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Takes what another process has written down, where that is newer: this one may have been idle since, and would else
    /// reckon from its own last success.
    pub(super) fn learn(&self, written: Status) {
        let mut status = lock(&self.status);
        if written.last_poll > status.last_poll {
            let registration = status.registration.take().or(written.registration);
            *status = Status { registration, ..written };
        }
    }

    /// Notes in status and report whether health calls the agent failing after this poll, and whether that is new.
    pub(super) fn judge(&self, report: &mut AgentReport) {
        let now = self.clock.now();
        let configuration = ConfiguredAgent::of(&self.config, self.max_polls());
        let facts = AgentFacts {
            configuration: Some(configuration),
            configured_at: None,
            status: Some(self.status()),
            deaths: Vec::new(),
        };
        let mut status = lock(&self.status);
        report.is_failing = AgentStatus::of(&facts, now) == AgentStatus::Failing;
        report.is_newly_failing = report.is_failing && status.failing_since.is_none();
        status.failing_since = report.is_failing.then(|| status.failing_since.unwrap_or(now));
    }

    /// Makes the agent known to Prefect, once per process. Nothing is sent when an earlier process did so.
    pub async fn connect(&self) -> Result<(), crate::model::ApiError> {
        if self.connected.load(Ordering::Acquire) {
            return Ok(());
        }
        let remembered = self.status().registration;
        let registration = self.prefect.connect(remembered.as_ref()).await?;
        self.remember(registration);
        self.connected.store(true, Ordering::Release);
        Ok(())
    }

    fn remember(&self, registration: Option<Registration>) {
        lock(&self.status).registration = registration;
    }

    /// One poll: its report, and the number it took. `taken`: the number that a first try in this invocation took.
    pub async fn poll(&self, invocation: &Invocation, taken: Option<u64>) -> (AgentReport, Option<u64>) {
        let started = self.clock.now();
        let report = ReportBuilder::default();
        let remaining = Duration::try_from(invocation.end_of_polls() - started).unwrap_or_default();
        self.prefect.set_deadline(Some(tokio::time::Instant::now() + remaining));
        // What became of the runs until then is in the report, whatever ends the poll.
        let polled = tokio::time::timeout(remaining, caught(self.poll_within(invocation, taken, &report))).await;
        let number = match polled {
            Ok(Ok(number)) => number,
            Ok(Err(panic)) => {
                report.broke(&panic.to_string());
                None
            }
            Err(_) => {
                report.trouble(ErrorKind::Deadline, "the poll did not end within the invocation's time");
                None
            }
        };
        let mut report = report.report("no time was left in this invocation", self.clock.now());
        let number = number.or(taken);
        self.sum_up(&mut report, number);
        report.duration_ms = u64::try_from((self.clock.now() - started).whole_milliseconds()).unwrap_or_default();
        (report, number)
    }

    /// Polls, and says the poll's number.
    async fn poll_within(&self, invocation: &Invocation, taken: Option<u64>, report: &ReportBuilder) -> Option<u64> {
        if let Err(error) = self.connect().await {
            report.api_trouble(&error, self.clock.now());
            return taken;
        }
        let warn = || self.prefect.warnings().iter().for_each(|warning| report.warn(warning));
        warn();
        let number = match self.number(invocation, taken).await {
            Ok(Number::Poll(number)) => number,
            Ok(Number::Stopped(polls)) => {
                report.stopped();
                return Some(polls);
            }
            Err(error) => {
                let said = format!("no poll without a number: the counter of max_polls cannot be used: {error}");
                report.trouble(ErrorKind::ParameterStore, &said);
                return taken;
            }
        };
        let rules = self.rules(invocation);
        match &self.prefect {
            Prefect::One(one) => self.turn(rules, &**one, Generation::One, report).await,
            Prefect::Three(three) => self.turn(rules, &**three, Generation::TwoOrThree, report).await,
        }
        // Some of what may need a person shows only beside the queue.
        warn();
        Some(number)
    }

    /// One turn with this API.
    async fn turn(
        &self,
        rules: IterationRules,
        prefect: &impl TaskWatch,
        generation: Generation,
        report: &ReportBuilder,
    ) {
        let sides = (prefect, &self.platform, &self.clock);
        let end = rules.limits.stop_claiming;
        let lost = LostTasks { config: &self.config, sides, report, others: &self.others };
        let before = self.status().tasks;
        let iteration = Iteration::new(rules, sides, report, &self.seen);
        let (FoundTasks { dead, looks }, ()) = tokio::join!(lost.find(&before), iteration.run());
        lock(&self.status).tasks = looks;
        lost.tell(dead, end).await;
        tell_ended(&self.config.agent, generation, sides, report).await;
    }

    /// The number of this poll. Without `max_polls` it is counted on from the last status.
    async fn number(&self, invocation: &Invocation, taken: Option<u64>) -> Result<Number, AwsError> {
        if let Some(number) = taken {
            return Ok(Number::Poll(number));
        }
        let Some(max_polls) = self.max_polls() else {
            return Ok(Number::Poll(self.status().polls + 1));
        };
        match &self.counter {
            Counter::Parameter(counter) => counter.claim(max_polls, &invocation.request_id).await,
            Counter::Look(counter) => {
                let polls = counter.polls().await?;
                Ok(if polls >= max_polls { Number::Stopped(polls) } else { Number::Poll(polls + 1) })
            }
            Counter::Process(polls) => {
                let number = polls.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(if number > max_polls { Number::Stopped(max_polls) } else { Number::Poll(number) })
            }
        }
    }

    /// Polls before the agent stops: the command line's word, else the configuration's.
    pub fn max_polls(&self) -> Option<u64> {
        self.overrides.max_polls.or(self.prefect.max_polls())
    }

    fn rules(&self, invocation: &Invocation) -> IterationRules {
        let config = &self.config;
        IterationRules {
            agent: config.agent.clone(),
            marked_as: self.marked_as.clone(),
            prefetch: self.overrides.prefetch_at_most.map_or(config.prefetch, |most| config.prefetch.min(most)),
            max_launch_attempts: config.max_launch_attempts,
            orphan_after: config.orphan_after,
            cancel_grace: config.cancel_grace,
            limits: Limits {
                stop_claiming: invocation.deadline - MARGIN,
                deadline: invocation.deadline - SETTLING,
                launch_rate: config.launch_rate,
                try_one_first: self.status().error == Some(P::TROUBLE),
            },
        }
    }

    /// Notes in the status that a poke has asked for the poll that has just ended.
    pub(super) fn was_poked(&self) {
        let mut status = lock(&self.status);
        status.last_poked = status.last_poll;
    }

    /// Keeps what happened lately, for the page. `report`: of the poll that has just ended, without secrets.
    pub(super) fn keep_recent(&self, report: &AgentReport) {
        remember(&mut lock(&self.status).recent, report, self.clock.now());
    }

    /// Completes the report, and keeps what the next poll and health need to know.
    fn sum_up(&self, report: &mut AgentReport, number: Option<u64>) {
        let mut status = lock(&self.status);
        if report.error_kind == Some(ErrorKind::Unauthorised) {
            report.error = report.error.take().map(|error| format!("{error}. {}", self.if_refused));
            self.connected.store(false, Ordering::Release);
        }
        report.poll = number.unwrap_or(status.polls);
        let now = self.clock.now();
        let max_polls = self.max_polls();
        status.polls = report.poll;
        status.stopped = max_polls.is_some_and(|max_polls| report.poll >= max_polls);
        if report.stopped {
            return;
        }
        status.last_poll = Some(now);
        if report.ok {
            status.last_success = Some(now);
        }
        status.error = report.error_kind;
        status.maintenance_until = match report.error_kind {
            Some(ErrorKind::Maintenance) => report.maintenance_until,
            Some(kind) if kind.is_explained_by_maintenance() => status.maintenance_until,
            _ => None,
        };
        let count = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
        status.counts = Counts {
            ready: count(report.ready),
            launched: count(report.launched.len()),
            deferred: count(report.deferred.len()),
            failed: count(report.failed.len()),
        };
        status.outstanding = report.outstanding.map(count);
        status.oldest_due = report.oldest_due;
    }
}

// The Prefect API of an agent, whichever generation it is.

/// One agent's way to its Prefect API.
pub(super) enum Prefect {
    /// Prefect 0.15 and 1.
    One(Box<Prefect1>),
    /// Prefect 2 and 3.
    Three(Box<Prefect3>),
}

impl Prefect {
    /// Makes the agent known, once per process; see [`Orchestrator::connect`].
    pub(super) async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        match self {
            Self::One(one) => one.connect(remembered).await,
            Self::Three(three) => three.connect(remembered).await,
        }
    }

    /// No request goes on beyond `deadline`. To be set for every invocation.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        match self {
            Self::One(one) => one.set_deadline(deadline),
            Self::Three(three) => three.set_deadline(deadline),
        }
    }

    /// Opens a connection to an API that speaks TLS. Best effort.
    pub(super) async fn warm_up(&self) {
        match self {
            Self::One(one) => one.warm_up().await,
            Self::Three(three) => three.warm_up().await,
        }
    }

    /// `max_polls`, after settings kept in the backend.
    pub(super) fn max_polls(&self) -> Option<u64> {
        match self {
            Self::One(one) => one.effective_config().max_polls,
            Self::Three(three) => three.max_polls(),
        }
    }

    /// What a person should know, after [`Prefect::connect`].
    pub(super) fn warnings(&self) -> Vec<String> {
        match self {
            Self::One(one) => one.warnings(),
            Self::Three(three) => three.warnings(),
        }
    }
}

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
