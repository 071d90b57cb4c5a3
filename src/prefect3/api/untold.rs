//! What Prefect is still to be told of launched runs. A warm process keeps it for its next poll.

use super::lock;
use std::collections::BTreeSet;
use std::sync::Mutex;

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
mod tests {
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
