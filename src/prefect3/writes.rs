//! What an agent writes: claims, tasks, runs given back, crashed and cancelled ones, log lines; and claims that the
//! server refuses until a person changes something.

use super::reading::{RunReading, may_cancel, may_end_claim};
use super::requests::{self, ApiRequest, PAGE_ROWS};
use super::states::{self, By, Said};
use super::telling::Telling;
use super::transport::{Sent, is_missing};
use super::{Detail, Prefect3, lock};
use crate::model::ApiError;
use crate::orchestrator::{Claim, Claimed, DueRun, Ending, GiveBack, LogLevel, Mark, RunLog};
use crate::python_text;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;
use time::OffsetDateTime;

/// Log lines of one request at most; a line has 10,000 characters at most.
const MAX_LINES: usize = 200;
/// A claim is not held up for longer: what was seen of the run would be too old by then.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

impl Prefect3 {
    /// Claims, each by a request of its own, side by side.
    pub(super) async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        let claims = claims.iter().map(|claim| async {
            let state = self.pending(claim);
            let request = proposal(claim.run, &state).within(CLAIM_PATIENCE);
            let sent = self.transport.repeatable(&request).await;
            let answer = sent.answer.as_ref().ok().and_then(|answer| answer.json().ok());
            if let Some(reason) = answer.as_ref().and_then(states::lasting_refusal) {
                self.refusals.add(&claim.run.flow_run_id, reason);
            }
            claimed(sent, &state)
        });
        join_all(claims).await
    }

    /// Writes down a run's task. What fails, or takes too long, comes again at the end of the turn.
    pub(super) async fn record_pid(&self, run: &DueRun<Detail>, pid: &str) {
        let (flow_run_id, claim, pid) = (run.flow_run_id.clone(), run.token.clone(), pid.to_owned());
        let request = requests::record_pid(&flow_run_id, Some(&pid));
        let telling = Telling::Task { flow_run_id, claim, pid };
        // Before it is sent: whoever waits for it gives it up after a while.
        self.untold.add(telling.clone());
        match self.transport.repeatable(&request).await.answer {
            Err(error) if !is_missing(&error) => {
                tracing::debug!(flow_run_id = run.flow_run_id, %error, "the flow run's task was not written down");
            }
            _ => self.untold.remove(&telling),
        }
    }

    /// Gives back what is still ours: it is read again first, so that nothing a person or the flow did is overwritten.
    pub(super) async fn give_back(
        &self,
        runs: &[GiveBack<'_, Detail>],
        now: OffsetDateTime,
    ) -> Vec<Result<(), ApiError>> {
        let owners: Vec<_> = runs.iter().map(|run| run.run).collect();
        let guarded = self.guarded(&owners, may_end_claim).await;
        let writes = runs.iter().zip(guarded).map(|(run, look)| async move {
            if look?.run.pid().is_some() {
                self.forget_task(run.run).await;
            }
            self.propose(run.run, &self.awaiting_retry(run, now)).await
        });
        join_all(writes).await
    }

    /// The task that the run names is that of an earlier launch. Best effort.
    async fn forget_task(&self, run: &DueRun<Detail>) {
        let request = requests::record_pid(&run.flow_run_id, None);
        if let Err(error) = self.transport.repeatable(&request).await.answer {
            tracing::warn!(flow_run_id = run.flow_run_id, %error, "the flow run still names an earlier task");
        }
    }

    /// Ends claimed runs as Crashed, unless something happened to them meanwhile.
    pub(super) async fn fail(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let owners: Vec<_> = runs.iter().map(|run| run.run).collect();
        let guarded = self.guarded(&owners, may_end_claim).await;
        let writes = runs.iter().zip(guarded).map(|(run, look)| async move {
            look?;
            self.propose(run.run, &self.crashed(run)).await
        });
        join_all(writes).await
    }

    /// Ends runs that are still being cancelled, or whose deployment is gone.
    pub(super) async fn cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let owners: Vec<_> = runs.iter().map(|run| run.run).collect();
        let guarded = self.guarded(&owners, may_cancel).await;
        let writes = runs.iter().zip(guarded).map(|(run, look)| async move {
            let now = look?.run;
            let (request, state) = self.cancellation(run, &now.epoch(&self.names), now.kind() != "CANCELLING");
            ended(self.transport.repeatable(&request).await, &state)
        });
        join_all(writes).await
    }

    /// Reads runs and asks of each whether it may be changed.
    async fn guarded(
        &self,
        runs: &[&DueRun<Detail>],
        may: impl Fn(&DueRun<Detail>, Option<&RunReading>) -> Result<(), ApiError>,
    ) -> Vec<Result<RunReading, ApiError>> {
        let ids: Vec<String> = runs.iter().map(|run| run.flow_run_id.clone()).collect();
        let looks = match self.looks(&ids).await {
            Ok(looks) => looks,
            Err(error) => return runs.iter().map(|_| Err(error.clone())).collect(),
        };
        let allowed = runs.iter().zip(looks).map(|(run, look)| {
            let look = look.transpose()?;
            may(run, look.as_ref())?;
            look.ok_or_else(|| ApiError::NotOurs("the run no longer exists".into()))
        });
        allowed.collect()
    }

    pub(super) async fn propose(&self, run: &DueRun<Detail>, state: &Value) -> Result<(), ApiError> {
        ended(self.transport.repeatable(&proposal(run, state)).await, state)
    }

    /// Writes log lines.
    pub(super) async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        let requests: Vec<ApiRequest> = self.log_bodies(lines).collect();
        for answer in join_all(requests.iter().map(|request| self.transport.write(request))).await {
            answer?;
        }
        Ok(())
    }

    fn pending(&self, claim: &Claim<'_, Detail>) -> Value {
        states::pending(claim.mark, self.author())
    }

    fn awaiting_retry(&self, run: &GiveBack<'_, Detail>, now: OffsetDateTime) -> Value {
        let refusals = run.mark.capacity_refusals + u32::from(run.for_capacity);
        let mark = Mark { capacity_refusals: refusals, ..run.mark.clone() };
        let id = self.names.end_of_claim(&run.run.flow_run_id, &run.mark.token, "AwaitingRetry");
        states::awaiting_retry(&mark, self.author(), (now + run.delay, &run.reason, &id))
    }

    fn crashed(&self, run: &Ending<'_, Detail>) -> Value {
        let id = self.names.end_of_claim(&run.run.flow_run_id, &run.run.token, "Crashed");
        states::crashed(&run.message, &id)
    }

    /// The server lets every run that is being cancelled become Cancelled, and only once by the same name. Any other one
    /// (its deployment is gone) needs `force`.
    fn cancellation(&self, run: &Ending<'_, Detail>, epoch: &str, force: bool) -> (ApiRequest, Value) {
        let id = self.names.end_of_cancelled(&run.run.flow_run_id, epoch);
        let state = states::cancelled(&run.message, &id);
        (requests::set_state(&run.run.flow_run_id, &state, force), state)
    }

    fn log_bodies<'a>(&'a self, lines: &'a [RunLog]) -> impl Iterator<Item = ApiRequest> + 'a {
        let (now, worker_id) = (python_text::iso_time((self.now)()), self.worker_id());
        let entry = move |line: &RunLog| {
            let mut entry = Map::new();
            entry.insert("name".into(), json!("prefect.flow_runs.worker"));
            entry.insert("level".into(), json!(level(line.level)));
            entry.insert("message".into(), json!(states::bounded(&line.message)));
            entry.insert("timestamp".into(), json!(now));
            entry.insert("flow_run_id".into(), json!(line.flow_run_id));
            entry.extend(worker_id.as_ref().map(|id| ("worker_id".to_owned(), json!(id))));
            Value::Object(entry)
        };
        lines.chunks(MAX_LINES).map(move |lines| requests::logs(lines.iter().map(&entry).collect()))
    }
}

fn proposal(run: &DueRun<Detail>, state: &Value) -> ApiRequest {
    requests::set_state(&run.flow_run_id, state, false)
}

/// What became of a claim.
fn claimed(sent: Sent, proposed: &Value) -> Claimed {
    let answer = sent.answer.and_then(|answer| answer.json()).and_then(|answer| states::said(&answer, proposed));
    match answer {
        Ok(Said::Done | Said::Already(By::Us)) => Claimed::Ours,
        Ok(Said::Already(By::Somebody)) if sent.repeated => Claimed::Ours,
        // Whoever claimed it launches it; should that one die, the claim is finished as any other without a task.
        Ok(Said::Already(_)) => Claimed::Refused("another invocation of this agent has claimed it".into()),
        // What was refused may be a repetition of what was accepted; another state may lie over that by now.
        Ok(Said::No(reason)) if sent.repeated => Claimed::Unknown(reason),
        Ok(Said::No(reason)) => Claimed::Refused(reason),
        Err(error) if sent.repeated || !error.is_certainly_not_done() => Claimed::Unknown(error.to_string()),
        Err(error) if is_missing(&error) => Claimed::Refused("it no longer exists".into()),
        Err(error) => Claimed::NotMade(error),
    }
}

/// What became of a state that ends a claim or a run.
fn ended(sent: Sent, proposed: &Value) -> Result<(), ApiError> {
    match sent.answer.and_then(|answer| answer.json()).and_then(|answer| states::said(&answer, proposed)) {
        Ok(Said::Done | Said::Already(_)) => Ok(()),
        Ok(Said::No(reason)) => Err(ApiError::NotOurs(reason)),
        Err(error) if is_missing(&error) => Err(ApiError::NotOurs("the run no longer exists".into())),
        Err(error) => Err(error),
    }
}

fn level(level: LogLevel) -> u8 {
    match level {
        LogLevel::Info => 20,
        LogLevel::Warning => 30,
        LogLevel::Error => 40,
    }
}

#[cfg(test)]
mod refusals_tests;
#[cfg(test)]
mod tests;

// Claims that the server refuses until a person changes something: said in the run's own log, once for each reason,
// whichever process comes across it. Whether it was said is read from the log itself: nothing else outlives a process.

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
