//! Claims that the server refuses until a person changes something: said in the run's own log, once for each reason,
//! whichever process comes across it. Whether it was said is read from the log itself: nothing else outlives a process.

use super::requests::{self, PAGE_ROWS};
use super::{Prefect3, lock};
use crate::model::ApiError;
use crate::orchestrator::{LogLevel, RunLog};
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

/// Lines that a warm process remembers to have seen or said.
const MAX_SAID: usize = 1000;
/// Runs whose lines are asked for at once: few, so that all of them fit into an answer.
const RUNS: usize = 20;
/// Answers read for these runs at most.
const MAX_PAGES: usize = 5;

/// What the server says where no run of a deployment may start.
const LIMIT_OF_NONE: &str = "concurrency limit is 0";

/// A line of a run's log, but for its numbers: a reason that tells a time is the same reason still.
type Line = (String, String);

/// Refused claims, and what was said about them.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The newest refusal of each run of this poll.
    open: Mutex<BTreeMap<String, String>>,
    /// Lines that are in the runs' logs.
    said: Mutex<HashSet<Line>>,
}

impl Refusals {
    /// The server refused to let this run be claimed, for this reason, and will do so again.
    pub(super) fn add(&self, flow_run_id: &str, reason: &str) {
        let line = line(reason);
        if !lock(&self.said).contains(&seen(flow_run_id, &line)) {
            lock(&self.open).insert(flow_run_id.to_owned(), line);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.open).is_empty()
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *lock(&self.open)).into_iter().collect()
    }

    fn remember(&self, lines: impl IntoIterator<Item = Line>) {
        let mut said = lock(&self.said);
        for line in lines {
            if said.len() >= MAX_SAID {
                said.clear();
            }
            said.insert(line);
        }
    }
}

/// What the run's log says, and what to do about it.
fn line(reason: &str) -> String {
    let remedy = if reason.contains(LIMIT_OF_NONE) {
        " Raise the concurrency limit of its deployment, or remove it."
    } else {
        ""
    };
    format!(
        "Not launched: Prefect lets nobody claim this flow run: {reason}{remedy} It is tried again with every poll."
    )
}

fn seen(flow_run_id: &str, line: &str) -> Line {
    (flow_run_id.to_owned(), line.chars().filter(|letter| !letter.is_ascii_digit()).collect())
}

impl Prefect3 {
    /// Says what was refused. Best effort: what cannot be said now is said when it is refused again.
    pub(super) async fn tell_refusals(&self) {
        for refused in self.refusals.take().chunks(RUNS) {
            if let Err(error) = self.tell_refused(refused).await {
                tracing::debug!(%error, runs = refused.len(), "refused claims are not in the runs' logs");
            }
        }
    }

    async fn tell_refused(&self, refused: &[(String, String)]) -> Result<(), ApiError> {
        let ids: Vec<&str> = refused.iter().map(|(id, _)| id.as_str()).collect();
        let known = self.warnings_of(&ids).await?;
        let fresh = refused.iter().filter(|(id, line)| !known.contains(&seen(id, line)));
        let lines: Vec<RunLog> = fresh
            .map(|(id, line)| RunLog { flow_run_id: id.clone(), level: LogLevel::Warning, message: line.clone() })
            .collect();
        if !lines.is_empty() {
            self.log(&lines).await?;
        }
        self.refusals.remember(refused.iter().map(|(id, line)| seen(id, line)));
        Ok(())
    }

    /// All warnings in the logs of these runs. More than can be read are an error: nothing is said twice.
    async fn warnings_of(&self, ids: &[&str]) -> Result<HashSet<Line>, ApiError> {
        let mut known = HashSet::new();
        for page in 0..MAX_PAGES {
            let rows = self.transport.read(&requests::warnings(ids, page * PAGE_ROWS)).await?.list()?;
            let is_last = rows.len() < PAGE_ROWS;
            known.extend(rows.iter().filter_map(|row| {
                let text = |key: &str| row.get(key).and_then(serde_json::Value::as_str);
                Some(seen(text("flow_run_id")?, text("message")?))
            }));
            if is_last {
                return Ok(known);
            }
        }
        Err(ApiError::Malformed("the runs' logs have more warnings than can be read".into()))
    }
}

#[cfg(test)]
mod tests;
