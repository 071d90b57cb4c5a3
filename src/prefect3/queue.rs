//! What is due: the queue, beside the worker's sign of life and the pool.
//!
//! And what stands beside the queue: claims of this agent, claims of others, runs that are being cancelled or were a short
//! while ago.

use super::claims::{ClaimOwner, attempts};
use super::requests::{self, PAGE_ROWS, RUNNING_ROWS};
use super::states::{Row, Unreadable};
use super::transport::JsonAnswer;
use super::{Detail, Prefect3, lock};
use crate::clock::in_turn;
use crate::model::ApiError;
use crate::orchestrator::{
    CANCELLED_MEMORY, CancellingRun, ClaimedRun, DuePage, DueRun, OutstandingClaims, RunningPage, RunningRun, Window,
    is_orphan,
};
use futures_util::future::{Either, join, join_all, select};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use time::OffsetDateTime;

/// How long the runs that are known wait for the heartbeat and the pool.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The pages of one invocation.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Pages asked for.
    asked: usize,
    /// Runs handed out.
    handed: usize,
}

/// What is known of a run that waits for a retry.
#[derive(Debug, Clone)]
struct Retry {
    /// The run as it is now: in another turn than the queue's, if it was taken and given back since.
    now: Row,
    /// Launches given back before, and how many of them for want of capacity.
    attempts: (u32, u32),
    /// It was given back by an agent like this one, and so waits for better times.
    is_given_back: bool,
}

/// Runs that wait for a retry; or why nothing can be known of them.
type Retries = HashMap<String, Result<Retry, String>>;

impl Prefect3 {
    /// One page of due runs. An invocation hands out `limit` runs at most.
    pub(super) async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        let (rows, is_first) = self.next_page();
        if rows == 0 {
            return Ok(DuePage { runs: Vec::new(), unreadable: Vec::new(), full: false, queue_error: None });
        }
        let request = requests::due_runs(self.work_pool(), &self.config.generation.work_queues, window.before, rows);
        let (queue, beside) = self.beside(self.transport.read(&request), is_first).await;
        let queue = self.rows_of(queue)?;
        let full = queue.len() >= rows;
        let (runs, unreadable) = readable(queue);
        let retries = self.retries(&runs).await;
        let mut page =
            page(runs, unreadable, &retries, self.config.prefetch, window.now, &|run| run.epoch(&self.names));
        page.full = full;
        page.queue_error = beside.err();
        lock(&self.pages).handed += page.runs.len();
        Ok(page)
    }

    /// Rows of the next page, and whether it is the first one.
    fn next_page(&self) -> (usize, bool) {
        let mut pages = lock(&self.pages);
        let left = self.config.generation.limit.map_or(PAGE_ROWS, |limit| limit.saturating_sub(pages.handed));
        pages.asked += 1;
        (left.min(PAGE_ROWS), pages.asked == 1)
    }

    /// The queue's answer and, in an invocation's first page, what became of heartbeat and pool.
    async fn beside(
        &self,
        queue: impl Future<Output = Result<JsonAnswer, ApiError>>,
        is_first: bool,
    ) -> (Result<JsonAnswer, ApiError>, Result<(), ApiError>) {
        if !is_first {
            return (queue.await, Ok(()));
        }
        let signs = async {
            let heartbeat = async { if self.read_only { Ok(()) } else { self.heartbeat().await } };
            let (heartbeat, pool) = join(heartbeat, self.read_pool()).await;
            heartbeat.and(pool.map(drop))
        };
        match select(pin!(queue), pin!(signs)).await {
            Either::Left((Err(error), _)) => (Err(error), Ok(())),
            Either::Left((Ok(queue), signs)) => {
                let late = || Err(ApiError::NoAnswer("heartbeat or work pool took too long".into()));
                (Ok(queue), tokio::time::timeout(GRACE, signs).await.unwrap_or_else(|_| late()))
            }
            Either::Right((signs, queue)) => (queue.await, signs),
        }
    }

    fn rows_of(&self, queue: Result<JsonAnswer, ApiError>) -> Result<Vec<Value>, ApiError> {
        let rows = queue.map_err(|error| self.about_pool(error))?.list()?;
        // A row without a run stays as it is: it is said to be odd with the others that are.
        let flow_run = |row| match row {
            Value::Object(mut row) => row.shift_remove("flow_run").unwrap_or(Value::Object(row)),
            other => other,
        };
        Ok(rows.into_iter().map(flow_run).collect())
    }

    /// What was tried before of the runs that wait for a retry. The rows of a poll have no state to tell.
    async fn retries(&self, runs: &[Row]) -> Retries {
        let waiting: Vec<&str> = runs.iter().filter(|run| run.state_name() == "AwaitingRetry").map(Row::id).collect();
        let chunks = waiting.chunks(PAGE_ROWS).map(|ids| async move {
            let read = async { self.transport.read(&requests::flow_runs(ids)).await?.list() };
            match read.await {
                Ok(rows) => readable(rows).0.iter().filter_map(retry).collect(),
                Err(error) => ids.iter().map(|id| ((*id).to_owned(), Err(error.to_string()))).collect::<Vec<_>>(),
            }
        });
        join_all(chunks).await.into_iter().flatten().collect()
    }
}

fn retry(run: &Row) -> Option<(String, Result<Retry, String>)> {
    let state = run.state.as_ref()?;
    let (attempts, is_given_back) = (attempts(state), state.mark.is_some());
    Some((run.id().to_owned(), Ok(Retry { now: run.clone(), attempts, is_given_back })))
}

/// Rows that are runs, and rows that are not.
pub(super) fn readable(rows: Vec<Value>) -> (Vec<Row>, Vec<Unreadable>) {
    let (mut runs, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match Row::read(row) {
            Ok(run) => runs.push(run),
            Err(why) => unreadable.push(why),
        }
    }
    (runs, unreadable)
}

/// A page of runs in the order of the answer, which is that of the queues' priorities. Runs start up to `prefetch`
/// early, to hide how long a task takes to start: the server keeps a flow from running before its time. So none is held.
/// What was given back waits for its time, though: that is what it was given back for.
fn page(
    runs: Vec<Row>,
    mut unreadable: Vec<Unreadable>,
    retries: &Retries,
    prefetch: Duration,
    now: OffsetDateTime,
    epoch: &dyn Fn(&Row) -> String,
) -> DuePage<Detail> {
    let mut start_time = now;
    let mut due: Vec<DueRun<Detail>> = Vec::with_capacity(runs.len());
    // From the end: no run may start later than the ones that come after it, or it would lose its place.
    for run in runs.into_iter().rev() {
        let scheduled = run.scheduled_for();
        let attempts = match retries.get(run.id()) {
            Some(Err(why)) => {
                unreadable.push((run.id().to_owned(), format!("its earlier attempts cannot be read: {why}")));
                continue;
            }
            Some(Ok(retry)) if !retry.now.is_same_turn(&run.seen()) => continue,
            Some(Ok(retry)) if retry.is_given_back && scheduled.is_some_and(|scheduled| scheduled > now) => continue,
            Some(Ok(retry)) => retry.attempts,
            None => (0, 0),
        };
        start_time = scheduled.map_or(start_time, |scheduled| start_time.min(scheduled - prefetch));
        due.push(run.turn(epoch(&run), start_time, attempts));
    }
    due.reverse();
    DuePage { runs: due, unreadable, full: false, queue_error: None }
}

/// A server that does not know a filter is not asked again for so long; shorter than [`CANCELLED_MEMORY`], so that a
/// refusal that does not last forgets no run.
const UNSERVED_FOR: Duration = Duration::from_mins(10);
/// Pages read at most: a thousand runs.
const MAX_PAGES: usize = 5;
/// Histories read in one poll at most.
const MAX_HISTORIES: usize = 20;
/// States that are remembered at most.
const MAX_VERDICTS: usize = 1000;

/// Whose a claim is, by the id of the state that does not tell: a state never changes.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<HashMap<String, ClaimOwner>>);

impl Verdicts {
    fn get(&self, state_id: &str) -> Option<ClaimOwner> {
        lock(&self.0).get(state_id).cloned()
    }

    fn insert(&self, state_id: &str, whose: &ClaimOwner) {
        let mut known = lock(&self.0);
        if known.len() >= MAX_VERDICTS {
            known.clear();
        }
        known.insert(state_id.to_owned(), whose.clone());
    }
}

impl Prefect3 {
    /// Claims and cancelled runs.
    pub(super) async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<Detail>, ApiError> {
        let (standing, cancelled) = join(self.standing_runs(), self.recently_cancelled(now)).await;
        let (pending, cancelling): (Vec<_>, Vec<_>) = standing?.into_iter().partition(|run| run.kind() == "PENDING");
        let (claimed, foreign) = self.claims_among(pending, now, orphan_after).await;
        let is_served = |run: &&Row| self.serves(run);
        let cancelling = cancelling.iter().chain(&cancelled).filter(is_served).filter_map(|run| self.cancelling(run));
        Ok(OutstandingClaims { claimed, foreign, cancelling: cancelling.collect() })
    }

    /// Runs of the pool that have been running since before `since`, a page of them, the oldest first.
    pub(super) async fn long_running(&self, since: OffsetDateTime, offset: usize) -> Result<RunningPage, ApiError> {
        let request = requests::running(self.work_pool(), since, offset);
        let rows = self.transport.read(&request).await?.list()?;
        let is_full = rows.len() >= RUNNING_ROWS;
        let is_old = |run: &Row| {
            let state = run.state.as_ref().filter(|state| state.kind == "RUNNING");
            state.and_then(|state| state.timestamp).is_some_and(|at| at <= since)
        };
        let running = |run: &Row| RunningRun {
            flow_run_id: run.id().to_owned(),
            state_id: run.state_id.clone(),
            pid: run.pid().map(str::to_owned),
        };
        let runs = understood(rows).iter().filter(|run| is_old(run)).map(running).collect();
        Ok(RunningPage { runs, rows: RUNNING_ROWS, is_full })
    }

    /// PENDING and CANCELLING runs of the pool.
    async fn standing_runs(&self) -> Result<Vec<Row>, ApiError> {
        let (mut runs, mut seen) = (Vec::new(), HashSet::new());
        for page in 0..MAX_PAGES {
            let request = requests::standing(self.work_pool(), page * PAGE_ROWS);
            let rows = self.transport.read(&request).await?.list()?;
            let full = rows.len() >= PAGE_ROWS;
            // A run may move from one page to the next while they are read.
            runs.extend(understood(rows).into_iter().filter(|run| seen.insert(run.id().to_owned())));
            if !full {
                break;
            }
        }
        Ok(runs)
    }

    /// Runs that are Cancelled and have had a task, which may live on: a server writes CANCELLED after a while whether
    /// somebody has stopped the task or not. Servers of Prefect 2 neither do so nor know the filter.
    async fn recently_cancelled(&self, now: OffsetDateTime) -> Vec<Row> {
        if now.unix_timestamp() < self.unserved.end_times.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let request = requests::cancelled(self.work_pool(), now - CANCELLED_MEMORY);
        let rows = async { self.transport.read(&request).await?.list() };
        match rows.await {
            // A pid that could not be written down is no reason to forget a task that runs.
            Ok(rows) => understood(rows).into_iter().filter(|run| run.pid().is_some() || run.has_started()).collect(),
            Err(error) => {
                if matches!(error, ApiError::Refused { .. }) {
                    self.unserved.end_times.store((now + UNSERVED_FOR).unix_timestamp(), Ordering::Relaxed);
                }
                tracing::warn!(%error, "runs that were cancelled a short while ago cannot be looked for");
                Vec::new()
            }
        }
    }

    /// Claims of ours that are old enough to be looked after, and how many claims are others'.
    async fn claims_among(
        &self,
        pending: Vec<Row>,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> (Vec<ClaimedRun<Detail>>, usize) {
        let is_old = |since: OffsetDateTime| is_orphan(now, since, orphan_after);
        let (mut claimed, mut foreign, mut untold) = (Vec::new(), 0, Vec::new());
        for run in pending {
            let told = match self.claimant().by_state(&run) {
                ClaimOwner::Untold => self.verdicts.get(&run.state_id).unwrap_or(ClaimOwner::Untold),
                told => told,
            };
            match told {
                ClaimOwner::Ours(mark, since) if is_old(since) => claimed.push((run, mark, since)),
                ClaimOwner::Ours(..) => {}
                ClaimOwner::Foreign => foreign += 1,
                ClaimOwner::Untold if is_old(since(&run, now)) => untold.push(run),
                ClaimOwner::Untold => foreign += usize::from(self.is_labelled_by_another(&run)),
            }
        }
        for (run, whose) in self.told_by_history(untold, now).await {
            match whose {
                ClaimOwner::Ours(mark, since) => claimed.push((run, mark, since)),
                ClaimOwner::Foreign => foreign += 1,
                ClaimOwner::Untold => {}
            }
        }
        for (run, ..) in &claimed {
            self.label_later(run);
        }
        let claimed = claimed.into_iter().map(|(run, mark, since)| {
            let earlier = (mark.attempt.saturating_sub(1), mark.capacity_refusals);
            let pid = run.pid().map(str::to_owned);
            ClaimedRun { run: run.turn(mark.token.clone(), since, earlier), mark, since, pid }
        });
        (claimed.collect(), foreign)
    }

    /// Reads the histories of some of these runs, of others with every poll.
    async fn told_by_history(&self, runs: Vec<Row>, now: OffsetDateTime) -> Vec<(Row, ClaimOwner)> {
        let runs = in_turn(runs, MAX_HISTORIES, now, self.config.poll_interval);
        let looked = runs.into_iter().map(|run| async move {
            let whose = match self.history(run.id()).await {
                Ok(states) => self.claimant().by_history(run.id(), &states),
                Err(error) => {
                    tracing::warn!(flow_run_id = run.id(), %error, "whose claim a run is in cannot be told");
                    return (run, ClaimOwner::Untold);
                }
            };
            self.verdicts.insert(&run.state_id, &whose);
            (run, whose)
        });
        join_all(looked).await
    }

    /// A worker labels the runs that it takes.
    fn is_labelled_by_another(&self, run: &Row) -> bool {
        let worker = run.flow_run.others.get("labels").and_then(|labels| labels.get("prefect.worker.name")?.as_str());
        worker.is_some_and(|worker| worker != self.config.name)
    }

    /// Whether the run is in one of the served queues.
    pub(super) fn serves(&self, run: &Row) -> bool {
        let queues = &self.config.generation.work_queues;
        queues.is_empty() || run.text("work_queue_name").is_none_or(|queue| queues.iter().any(|known| known == queue))
    }

    fn cancelling(&self, run: &Row) -> Option<CancellingRun<Detail>> {
        let since = run.state.as_ref()?.timestamp?;
        Some(CancellingRun {
            run: run.turn(run.epoch(&self.names), since, (0, 0)),
            since,
            pid: run.pid().map(str::to_owned),
            place: None,
            is_over: run.kind() == "CANCELLED",
            has_started: run.has_started(),
        })
    }
}

fn since(run: &Row, now: OffsetDateTime) -> OffsetDateTime {
    run.state.as_ref().and_then(|state| state.timestamp).unwrap_or(now)
}

/// A row that cannot be understood waits for a person, and holds up nobody.
pub(super) fn understood(rows: Vec<serde_json::Value>) -> Vec<Row> {
    let (runs, unreadable) = readable(rows);
    for (flow_run_id, reason) in unreadable {
        tracing::warn!(flow_run_id, reason, "a run cannot be understood");
    }
    runs
}

#[cfg(test)]
mod outstanding_tests;
#[cfg(test)]
mod tests;
