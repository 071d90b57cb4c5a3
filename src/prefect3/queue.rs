//! What is due: the queue, beside the worker's sign of life and the pool.

use super::claims::attempts;
use super::requests::{self, PAGE_ROWS};
use super::runs::{Row, Unreadable};
use super::transport::JsonAnswer;
use super::{Detail, Prefect3, lock};
use crate::model::ApiError;
use crate::orchestrator::{DuePage, DueRun, Window};
use futures_util::future::{Either, join, join_all, select};
use serde_json::Value;
use std::collections::HashMap;
use std::pin::pin;
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

#[cfg(test)]
mod tests;
