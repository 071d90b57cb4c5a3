//! Writes of what is still to be told: side by side, as long as there is time and the server takes them.
//!
//! A server on `SQLite` answers 503 to most of several writes at once. What it refused comes again in a later round, with
//! fewer writes at once, so that all are taken in the end.

use super::claims::newest_claim;
use super::reading::RunReading;
use super::transport::{is_missing, is_no_route};
use super::{Prefect3, lock, requests};
use crate::model::ApiError;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Writes at once, at first.
const AT_ONCE: usize = 6;
/// A write that takes longer is no better answered later.
const WRITE: Duration = Duration::from_secs(5);
/// Pauses after rounds in which a busy server took nothing; after the last one it is left alone.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
];
/// Tasks that are looked at in one poll.
const MAX_TASKS: usize = 200;

/// What became of the writes of a round.
#[derive(Debug, Default)]
struct Round {
    /// Done with, one way or the other.
    done: usize,
    /// Failures since then.
    in_a_row: usize,
    /// The last of them.
    error: Option<ApiError>,
}

/// What comes after a round.
#[derive(Debug, PartialEq)]
enum NextRound {
    /// Another one, after this pause and with so many writes at once.
    Round(Duration, usize),
    /// Nothing: all is told, or the server takes nothing.
    End,
}

impl Round {
    /// Whether the rest of the round would only be refused as well.
    fn is_over(&self, at_once: usize) -> bool {
        self.in_a_row >= 2 * at_once
    }

    /// `idle`: rounds before this one in which nothing was taken, since one in which something was.
    fn next(&self, idle: usize, at_once: usize) -> NextRound {
        let Some(error) = &self.error else { return NextRound::End };
        let fewer = (at_once / 2).max(1);
        let asked = match error {
            ApiError::Throttled { retry_after } => retry_after.unwrap_or_default(),
            // It lasts longer than this poll.
            ApiError::Maintenance { .. } => return NextRound::End,
            ApiError::Status { status: 502..=504, .. } => Duration::ZERO,
            _ if self.done > 0 => Duration::ZERO,
            _ => return NextRound::End,
        };
        match PAUSES.get(if self.done > 0 { 0 } else { idle }) {
            Some(pause) => NextRound::Round(asked.max(*pause), fewer),
            None => NextRound::End,
        }
    }
}

impl Prefect3 {
    /// Tells all that is to be told, with these labels. The last error, if something is left.
    pub(super) async fn tell_rest(&self, labels: &Value) -> Option<ApiError> {
        let unclear = self.forget_tasks_of_the_past().await;
        let (mut idle, mut at_once) = (0_usize, AT_ONCE);
        loop {
            let tellings = self.untold.all().into_iter().filter(|telling| !unclear.contains(telling)).collect();
            let round = self.round(tellings, labels, at_once).await;
            idle = if round.done > 0 { 0 } else { idle + 1 };
            match round.next(idle.saturating_sub(1), at_once) {
                NextRound::End => return round.error,
                NextRound::Round(pause, fewer) => {
                    at_once = fewer;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The first one goes alone: it shows whether the server takes any.
    async fn round(&self, tellings: Vec<Telling>, labels: &Value, at_once: usize) -> Round {
        let round = Mutex::new(Round::default());
        let mut tellings = tellings.into_iter();
        let first = tellings.next();
        for (telling, at_once) in [(first.into_iter().collect(), 1), (tellings.collect::<Vec<_>>(), at_once)] {
            let telling: Vec<Telling> = telling;
            let one = |telling: Telling| {
                let round = &round;
                async move {
                    if !lock(round).is_over(at_once) {
                        self.tell_one(&telling, labels, round).await;
                    }
                }
            };
            stream::iter(telling).for_each_concurrent(at_once, one).await;
            if matches!(lock(&round).error, Some(ApiError::NoAnswer(_) | ApiError::Unreachable { .. })) {
                break;
            }
        }
        round.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn tell_one(&self, telling: &Telling, labels: &Value, round: &Mutex<Round>) {
        let request = match telling {
            // Found out since the round began.
            Telling::Labels { .. } if self.unserved.labels.load(Ordering::Relaxed) => return,
            Telling::Labels { flow_run_id } => requests::labels(flow_run_id, labels),
            Telling::Task { flow_run_id, pid, .. } => requests::record_pid(flow_run_id, Some(pid)),
        };
        let written = tokio::time::timeout(WRITE, self.transport.write(&request)).await;
        let written = written.unwrap_or_else(|_| Err(ApiError::NoAnswer("it took too long".into())));
        match written {
            Ok(_) => self.untold.remove(telling),
            Err(error) if matches!(telling, Telling::Labels { .. }) && is_no_route(&error) => {
                tracing::warn!(%error, "the server has no labels on flow runs");
                self.unserved.labels.store(true, Ordering::Relaxed);
                self.untold.forget_labels();
            }
            Err(error) if is_missing(&error) => self.untold.remove(telling),
            Err(ApiError::Refused { message, .. }) => {
                tracing::debug!(?telling, message, "the server takes no such write");
                self.untold.give_up(telling);
            }
            Err(error) => {
                let mut round = lock(round);
                round.in_a_row += 1;
                round.error = Some(error);
                return;
            }
        }
        let mut round = lock(round);
        (round.done, round.in_a_row) = (round.done + 1, 0);
    }

    /// A task is written down only as long as nothing else is, and the run is in the claim that the task was started
    /// for, or runs since then. Those of which that cannot be told now come back.
    async fn forget_tasks_of_the_past(&self) -> BTreeSet<Telling> {
        let is_task = |telling: &Telling| matches!(telling, Telling::Task { .. });
        let mut unclear: BTreeSet<Telling> = self.untold.all().into_iter().filter(is_task).collect();
        let tasks: Vec<Telling> = unclear.iter().take(MAX_TASKS).cloned().collect();
        if tasks.is_empty() {
            return unclear;
        }
        let ids: Vec<String> = tasks.iter().map(|task| task.flow_run_id().to_owned()).collect();
        let Ok(looks) = self.looks(&ids).await else { return unclear };
        for (task, look) in tasks.into_iter().zip(looks) {
            let stands = match look {
                None => Some(false),
                Some(Ok(look)) => self.stands(&task, &look).await,
                Some(Err(_)) => None,
            };
            if stands == Some(false) {
                self.untold.remove(&task);
            }
            if stands.is_some() {
                unclear.remove(&task);
            }
        }
        unclear
    }

    /// Whether a task may still be written down on its run; `None` = that cannot be told now.
    async fn stands(&self, task: &Telling, look: &RunReading) -> Option<bool> {
        let Telling::Task { claim, .. } = task else { return Some(true) };
        if look.run.pid().is_some() {
            return Some(false);
        }
        match look.run.kind() {
            "PENDING" => Some(look.claim.as_ref() == Some(claim)),
            "RUNNING" | "CANCELLING" => {
                let states = self.history(look.run.id()).await.ok()?;
                Some(newest_claim(&states).and_then(|newest| newest.transition_id.as_ref()) == Some(claim))
            }
            _ => Some(false),
        }
    }
}

#[cfg(test)]
mod tests;

// What Prefect is still to be told of launched runs. A warm process keeps it for its next poll.

/// Writes that are kept at most: what two polls at the usual rate launch.
const MAX_KEPT: usize = 5000;

/// A write that names one run and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Telling {
    /// The task of a claim, which could not be written down at once. These come first: people look for tasks.
    Task {
        /// The run.
        flow_run_id: String,
        /// `transition_id` of the claim.
        claim: String,
        /// `infrastructure_pid`.
        pid: String,
    },
    /// The labels that a worker writes on its run.
    Labels {
        /// The run.
        flow_run_id: String,
    },
}

impl Telling {
    /// The run.
    pub(super) fn flow_run_id(&self) -> &str {
        match self {
            Self::Task { flow_run_id, .. } | Self::Labels { flow_run_id } => flow_run_id,
        }
    }
}

/// Everything that is still to be told.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<UntoldWrite>);

#[derive(Debug, Default)]
struct UntoldWrite {
    tellings: BTreeSet<Telling>,
    /// Given up since they were counted last: there was no room, or the server refused them for good.
    given_up: usize,
}

impl Untold {
    /// This is to be told; once, however often it is said.
    pub(super) fn add(&self, telling: Telling) {
        let mut kept = lock(&self.0);
        if kept.tellings.len() < MAX_KEPT || kept.tellings.contains(&telling) {
            kept.tellings.insert(telling);
        } else {
            kept.given_up += 1;
        }
    }

    /// This was told, or has become meaningless.
    pub(super) fn remove(&self, telling: &Telling) {
        lock(&self.0).tellings.remove(telling);
    }

    /// The server will never take this.
    pub(super) fn give_up(&self, telling: &Telling) {
        let mut kept = lock(&self.0);
        kept.given_up += usize::from(kept.tellings.remove(telling));
    }

    /// No run is to be labelled any more.
    pub(super) fn forget_labels(&self) {
        lock(&self.0).tellings.retain(|telling| matches!(telling, Telling::Task { .. }));
    }

    pub(super) fn all(&self) -> Vec<Telling> {
        lock(&self.0).tellings.iter().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).tellings.is_empty()
    }

    /// How much was not told, of what is kept and of what was given up since this was asked.
    pub(super) fn count(&self) -> usize {
        let mut kept = lock(&self.0);
        kept.tellings.len() + std::mem::take(&mut kept.given_up)
    }
}

#[cfg(test)]
mod untold_tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn labels(run: usize) -> Telling {
        Telling::Labels { flow_run_id: format!("run-{run:05}") }
    }

    fn task(run: &str) -> Telling {
        Telling::Task { flow_run_id: run.into(), claim: "claim".into(), pid: "cluster::task".into() }
    }

    #[test]
    fn each_telling_is_kept_once_and_tasks_come_first() {
        let untold = Untold::default();
        for telling in [labels(1), task("z"), labels(1), labels(0)] {
            untold.add(telling);
        }
        assert_eq!(untold.all(), [task("z"), labels(0), labels(1)]);
        untold.remove(&labels(0));
        assert_eq!(untold.count(), 2);
        untold.forget_labels();
        assert_eq!(untold.all(), [task("z")]);
        untold.remove(&task("z"));
        assert!(untold.is_empty());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_the_rest_is_counted() {
        let untold = Untold::default();
        (0..MAX_KEPT + 3).for_each(|run| untold.add(labels(run)));
        untold.add(labels(0));
        assert_eq!((untold.all().len(), untold.count()), (MAX_KEPT, MAX_KEPT + 3));
        assert_eq!(untold.count(), MAX_KEPT, "counted once");
    }

    #[test]
    fn what_is_given_up_is_counted_once() {
        let untold = Untold::default();
        untold.add(labels(1));
        untold.give_up(&labels(1));
        untold.give_up(&labels(2));
        assert_eq!((untold.count(), untold.count()), (1, 0));
    }
}
