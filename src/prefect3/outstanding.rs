//! What stands beside the queue: claims of this agent, claims of others, runs that are being cancelled or were a short
//! while ago.

use super::claims::ClaimOwner;
use super::queue::readable;
use super::requests::{self, PAGE_ROWS, RUNNING_ROWS};
use super::runs::Row;
use super::{Detail, Prefect3, lock};
use crate::clock::in_turn;
use crate::model::ApiError;
use crate::orchestrator::{
    CANCELLED_MEMORY, CancellingRun, ClaimedRun, OutstandingClaims, RunningPage, RunningRun, is_orphan,
};
use futures_util::future::{join, join_all};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use time::OffsetDateTime;

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
mod tests;
