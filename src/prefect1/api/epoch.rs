//! Epochs: what names one turn of a run, and where a claim leaves its mark.

use crate::orchestrator::Mark;
use crate::prefect1::flow_run::TaskRun;
use sha2::{Digest, Sha256};

/// Key of our mark in a state's `context`.
pub(super) const MARK_KEY: &str = Mark::KEY;
/// Hexadecimal digits of a task-retry epoch.
const EPOCH_DIGITS: usize = 20;

/// The epoch of a Running run: its due task runs and their versions, in no particular order.
///
/// The epoch of a Scheduled run is its version in text.
pub(super) fn of_task_runs(task_runs: &[TaskRun]) -> String {
    let mut pairs: Vec<(&str, i64)> =
        task_runs.iter().map(|task_run| (task_run.id.as_str(), task_run.version)).collect();
    pairs.sort_unstable();
    let mut hash = Sha256::new();
    for (id, version) in pairs {
        hash.update(format!("{id}:{version}\n"));
    }
    let mut digits = hex::encode(hash.finalize());
    digits.truncate(EPOCH_DIGITS);
    digits
}
