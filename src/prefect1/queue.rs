//! What is due: our own look beside the queue's sign of life, and the Python agent's way where the server refuses ours.

use super::queries::{self, PAGE_ROWS, QUEUE_IDS, Times};
use super::rows::{self, Observed, Unreadable};
use super::{Detail, Prefect1, lock};
use crate::model::ApiError;
use crate::orchestrator::{DuePage, DueRun, Window};
use crate::transport::shape::{at, described, text_at};
use futures_util::future::{Either, select};
use serde_json::Value;
use std::pin::pin;
use std::time::Duration;
use time::OffsetDateTime;

/// How long a server that refused our own query is not asked for it again.
const REFUSAL_MEMORY: time::Duration = time::Duration::minutes(10);
/// How long the runs that are known wait for the queue's answer, which says nothing new.
const QUEUE_GRACE: Duration = Duration::from_secs(3);
/// Runs of earlier pages that a query leaves out at most: some 80 KB of ids.
const MAX_SHOWN: usize = 2000;
/// What was seen of task retries is forgotten after this long.
const OBSERVED_MEMORY: time::Duration = time::Duration::hours(1);

impl Prefect1 {
    /// One page of due runs.
    pub(super) async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        let times = Times::from(window);
        let page = if self.is_refused(times.now) {
            let ids = self.queue_ids(&times).await?;
            self.page_of_ids(&ids, &times).await?
        } else if self.read_only {
            match self.own_page(&times).await {
                Ok(page) => page,
                Err(own) => {
                    let queue = self.queue_ids(&times).await;
                    self.fallback(own, queue, &times).await?
                }
            }
        } else {
            match self.own_page_beside_queue(&times).await {
                (Ok(page), queue) => DuePage { queue_error: queue.err(), ..page },
                (Err(own), queue) => self.fallback(own, queue, &times).await?,
            }
        };
        self.observe(&page.runs, &times);
        Ok(page)
    }

    /// Both at once. A queue that is slower than our own look holds the runs up for 3 s at most.
    async fn own_page_beside_queue(
        &self,
        times: &Times,
    ) -> (Result<DuePage<Detail>, ApiError>, Result<Vec<String>, ApiError>) {
        let (own, queue) = (pin!(self.own_page(times)), pin!(self.queue_ids(times)));
        match select(own, queue).await {
            Either::Left((Err(error), queue)) => (Err(error), queue.await),
            Either::Left((Ok(page), queue)) => {
                let late = || ApiError::NoAnswer("get_runs_in_queue took too long".into());
                let ids = tokio::time::timeout(QUEUE_GRACE, queue).await.unwrap_or_else(|_| Err(late()));
                (Ok(page), ids)
            }
            Either::Right((ids, own)) => (own.await, ids),
        }
    }

    /// The runs of the queue, where our own look failed. A server that refused it is remembered.
    async fn fallback(
        &self,
        own: ApiError,
        queue: Result<Vec<String>, ApiError>,
        times: &Times,
    ) -> Result<DuePage<Detail>, ApiError> {
        let ids = match queue {
            Ok(ids) if !asks_to_wait(&own) => ids,
            Err(queue) if more_telling(&queue) && !more_telling(&own) => return Err(queue),
            _ => return Err(own),
        };
        if is_refusal(&own) {
            tracing::warn!(error = %own, "the server refuses the flow_run query of this agent: reading the queue instead");
            *lock(&self.refused_until) = Some(times.now + REFUSAL_MEMORY);
        }
        self.page_of_ids(&ids, times).await
    }

    async fn own_page(&self, times: &Times) -> Result<DuePage<Detail>, ApiError> {
        let session = self.session();
        let shown = lock(&self.shown).clone();
        let document = queries::due_runs(&session.scope(), times, &shown);
        let answer = self.transport.read(self.sender(&session), &document).await?;
        let rows = answer.list("flow_run")?;
        let full = rows.len() >= PAGE_ROWS;
        self.show(rows, full);
        Ok(page(rows, times, full))
    }

    /// After a full page the next one begins where it ended; any other one is the last.
    fn show(&self, rows: &[Value], full: bool) {
        let mut shown = lock(&self.shown);
        if full {
            shown.extend(rows.iter().filter_map(|row| text_at(row, &["id"])).map(str::to_owned));
            // Most of the earlier ones were launched meanwhile, and so left the queue by themselves.
            let too_many = shown.len().saturating_sub(MAX_SHOWN);
            shown.drain(..too_many);
        } else {
            shown.clear();
        }
    }

    async fn queue_ids(&self, times: &Times) -> Result<Vec<String>, ApiError> {
        let session = self.session();
        let document = queries::runs_in_queue(&session.scope(), times);
        // Asking again changes nothing but the agent's time of life.
        let answer = self.transport.read_within(self.sender(&session), &document, Some(QUEUE_GRACE)).await?;
        let ids = at(answer.field("get_runs_in_queue")?, &["flow_run_ids"]);
        let odd = || ApiError::Malformed(format!("`flow_run_ids`: a list was expected, but it is {}", described(ids)));
        let ids = ids.and_then(Value::as_array).ok_or_else(odd)?;
        Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    async fn page_of_ids(&self, ids: &[String], times: &Times) -> Result<DuePage<Detail>, ApiError> {
        if ids.is_empty() {
            return Ok(page(&[], times, false));
        }
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::metadata(ids, times)).await?;
        Ok(page(answer.list("flow_run")?, times, ids.len() >= QUEUE_IDS))
    }

    fn is_refused(&self, now: OffsetDateTime) -> bool {
        lock(&self.refused_until).is_some_and(|until| now < until)
    }

    /// Remembers how the epochs of task retries were made, so that reading them again compares like with like.
    fn observe(&self, runs: &[DueRun<Detail>], times: &Times) {
        let mut observed = lock(&self.observed);
        observed.retain(|_, seen| times.retry_before - seen.retry_before < OBSERVED_MEMORY);
        for run in runs.iter().filter(|run| run.is_task_retry) {
            observed.insert(run.flow_run_id.clone(), Observed::new(times, &run.epoch));
        }
    }
}

/// The page of some rows, in the order of the runs' start.
fn page(rows: &[Value], times: &Times, full: bool) -> DuePage<Detail> {
    let mut runs: Vec<DueRun<Detail>> = Vec::new();
    let mut unreadable: Vec<Unreadable> = Vec::new();
    for row in rows {
        match rows::due_run(row, times) {
            Ok(run) => runs.extend(run),
            Err(why) => unreadable.push(why),
        }
    }
    runs.sort_by_key(|run| run.start_time);
    DuePage { runs, unreadable, full, queue_error: None }
}

/// Whether an error says that the server does not take our query, as opposed to trouble that passes.
fn is_refusal(error: &ApiError) -> bool {
    match error {
        ApiError::Refused { errors, .. } => !errors.to_string().contains("\"API_ERROR\""),
        ApiError::Malformed(_) | ApiError::Unauthorised(_) => true,
        ApiError::Status { status, .. } => (400..500).contains(status),
        _ => false,
    }
}

/// Whether an API wants to be left alone for a while.
fn asks_to_wait(error: &ApiError) -> bool {
    matches!(error, ApiError::Throttled { .. } | ApiError::Maintenance { .. })
}

/// Of two errors, the one about credentials, rates or maintenance tells more.
fn more_telling(error: &ApiError) -> bool {
    matches!(error, ApiError::Unauthorised(_)) || asks_to_wait(error)
}

#[cfg(test)]
mod tests;
