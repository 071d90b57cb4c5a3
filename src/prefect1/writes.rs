//! What an agent writes: claims, runs given back, runs that failed, log lines; and what became of each.

use super::queries::{self, GraphqlDocument, SetState, Target, alias, set_states};
use super::states::RunSnapshot;
use super::transport::{GraphqlAnswer, GraphqlError, refused};
use super::{Detail, Prefect1, lock, states};
use crate::model::ApiError;
use crate::orchestrator::{Claim, Claimed, Ending, GiveBack, LogLevel, RunLog, RunNow};
use crate::transport::shape::{items_at, text_at};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::HashMap;
use time::OffsetDateTime;

/// Ids of one reading at most.
const MAX_IDS: usize = 200;
/// Log lines of one call at most; a line has 10,000 characters at most.
const MAX_LINES: usize = 200;

impl Prefect1 {
    /// Claims, up to a hundred per request.
    pub(super) async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        let set = claimed_states(claims);
        let written = self.set(&set).await;
        self.put_back_queued(claims, &set, &written).await;
        let mut by_claim: Vec<Vec<Claimed>> = vec![Vec::new(); claims.len()];
        for (state, written) in set.iter().zip(&written) {
            by_claim.get_mut(state.owner).into_iter().for_each(|claim| claim.push(written.claimed()));
        }
        by_claim.iter().map(|states| merged_claims(states)).collect()
    }

    /// A run that Prefect Cloud queued instead is not launched, and no queue shows Queued runs: it is made Scheduled
    /// again, due as before, so that the next poll asks for its place once more. Best effort.
    async fn put_back_queued(&self, claims: &[Claim<'_, Detail>], set: &[SetState], written: &[Written]) {
        let queued = set.iter().zip(written).filter_map(|(state, written)| match written {
            Written::Queued(reason) if state.target == Target::FlowRun => Some(SetState {
                version: None,
                state: states::put_back(&claims.get(state.owner)?.run.detail.flow_run.serialized_state, reason),
                ..state.clone()
            }),
            _ => None,
        });
        let queued: Vec<SetState> = queued.collect();
        for (state, written) in queued.iter().zip(self.set(&queued).await) {
            if let Err(error) = written.result() {
                tracing::warn!(flow_run_id = state.id, %error, "a run queued by a concurrency limit stays Queued");
            }
        }
    }

    /// Gives back what is still ours: it is read again first, so that nothing a person or the flow did is overwritten.
    pub(super) async fn give_back(
        &self,
        runs: &[GiveBack<'_, Detail>],
        now: OffsetDateTime,
    ) -> Vec<Result<(), ApiError>> {
        let ids: Vec<String> = runs.iter().map(|run| run.run.flow_run_id.clone()).collect();
        let looks = match self.look(&ids).await {
            Ok(looks) => looks,
            Err(error) => return vec![Err(error); runs.len()],
        };
        let mut set = Vec::new();
        let mut results = Vec::with_capacity(runs.len());
        for (owner, (run, look)) in runs.iter().zip(&looks).enumerate() {
            let states = states::to_give_back(owner, run, look.as_ref(), now);
            results.push(states.map(|states| set.extend(states)));
        }
        self.set_all(&set, results).await
    }

    /// Fails runs, unless they ended, are paused or are being cancelled meanwhile. Sent without a version: the claim
    /// changed it, and a server that checks versions would leave the run Submitted for ever.
    pub(super) async fn fail(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        let ids: Vec<String> = runs.iter().map(|run| run.run.flow_run_id.clone()).collect();
        let looks = match self.look(&ids).await {
            Ok(looks) => looks,
            Err(error) => return vec![Err(error); runs.len()],
        };
        let mut set = Vec::new();
        let mut results = Vec::with_capacity(runs.len());
        for (owner, (run, look)) in runs.iter().zip(&looks).enumerate() {
            results.push(states::may_fail(run.run, look.as_ref()).map(|()| set.push(failed_state(owner, run))));
        }
        self.set_all(&set, results).await
    }

    /// Sets states and adds their outcomes to their owners' results; the first error of an owner stays.
    pub(super) async fn set_all(
        &self,
        set: &[SetState],
        mut results: Vec<Result<(), ApiError>>,
    ) -> Vec<Result<(), ApiError>> {
        for (state, written) in set.iter().zip(self.set(set).await) {
            let result = &mut results[state.owner];
            if result.is_ok() {
                *result = written.result();
            }
        }
        results
    }

    /// Sets states, all documents side by side. One outcome per state, in order.
    async fn set(&self, set: &[SetState]) -> Vec<Written> {
        let session = self.session();
        let sender = self.sender(&session);
        let documents = set_states(set);
        let requests = documents.iter().map(|(document, count)| async move {
            written_by_document(self.transport.write(sender, document).await, *count)
        });
        join_all(requests).await.into_iter().flatten().collect()
    }

    /// Runs as they are now, in the terms of what was observed of them.
    pub(super) async fn reread_ids(&self, ids: &[String]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let looks = self.look(ids).await?;
        let observed = lock(&self.observed);
        Ok(looks
            .iter()
            .map(|look| look.as_ref().map(|look| super::states::run_now(look, observed.get(&look.id))))
            .collect())
    }

    /// Reads runs; one entry per id, in order, `None` for what is not there or cannot be understood.
    pub(super) async fn look(&self, ids: &[String]) -> Result<Vec<Option<RunSnapshot>>, ApiError> {
        let session = self.session();
        let sender = self.sender(&session);
        let documents: Vec<GraphqlDocument> = ids.chunks(MAX_IDS).map(queries::runs_now).collect();
        let mut looks: HashMap<String, RunSnapshot> = HashMap::new();
        for answer in join_all(documents.iter().map(|document| self.transport.read(sender, document))).await {
            let answer = answer?;
            for row in answer.list("flow_run")? {
                match super::states::look(row) {
                    Ok(look) => drop(looks.insert(look.id.clone(), look)),
                    Err((flow_run_id, reason)) => tracing::warn!(flow_run_id, reason, "a run cannot be understood"),
                }
            }
        }
        Ok(ids.iter().map(|id| looks.get(id).cloned()).collect())
    }

    /// Writes log lines.
    pub(super) async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        let session = self.session();
        let sender = self.sender(&session);
        let documents = self.log_documents(lines);
        for answer in join_all(documents.iter().map(|document| self.transport.write(sender, document))).await {
            let answer = answer?;
            if answer.field("write_run_logs")?.get("success") != Some(&json!(true)) {
                return Err(ApiError::Refused { message: "Writing logs failed.".into(), errors: Value::Null });
            }
        }
        Ok(())
    }

    fn log_documents(&self, lines: &[RunLog]) -> Vec<GraphqlDocument> {
        let session = self.session();
        let entry = |line: &RunLog| {
            json!({
                "flow_run_id": line.flow_run_id, "name": session.config.name,
                "message": states::bounded(&line.message), "level": level(line.level),
            })
        };
        lines
            .chunks(MAX_LINES)
            .map(|lines| queries::write_run_logs(&lines.iter().map(entry).collect::<Vec<_>>()))
            .collect()
    }
}

fn failed_state(owner: usize, run: &Ending<'_, Detail>) -> SetState {
    let (id, state) = (run.run.flow_run_id.clone(), states::failed(&run.message));
    SetState { owner, target: Target::FlowRun, id, version: None, state }
}

/// The states of claims: Submitted for a Scheduled run, and for each due task run of a Running one.
fn claimed_states(claims: &[Claim<'_, Detail>]) -> Vec<SetState> {
    let mut set = Vec::with_capacity(claims.len());
    for (owner, claim) in claims.iter().enumerate() {
        let flow_run = &claim.run.detail.flow_run;
        if claim.run.is_task_retry {
            set.extend(flow_run.task_runs.iter().map(|task_run| SetState {
                owner,
                target: Target::TaskRun,
                id: task_run.id.clone(),
                version: Some(task_run.version),
                state: states::submitted_task_run(claim.mark, &task_run.serialized_state),
            }));
        } else {
            set.push(SetState {
                owner,
                target: Target::FlowRun,
                id: flow_run.id.clone(),
                version: Some(flow_run.version),
                state: states::submitted_flow_run(claim.mark, &flow_run.serialized_state),
            });
        }
    }
    set
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "INFO",
        LogLevel::Warning => "WARNING",
        LogLevel::Error => "ERROR",
    }
}

#[cfg(test)]
mod outcome_tests;
#[cfg(test)]
mod tests;

// What became of aliased writes: each alias has its own data or its own error.

/// Characters of a status that nobody knows.
const MAX_STATUS_CHARS: usize = 40;

/// What became of one state.
#[derive(Debug, Clone, PartialEq)]
enum Written {
    /// Set.
    Done,
    /// Prefect Cloud stored Queued instead: a concurrency limit.
    Queued(String),
    /// Refused by the server's locks and rules: not set.
    Refused(ApiError),
    /// Not set, for certain: the request was not carried out.
    NotMade(ApiError),
    /// Perhaps set.
    Unknown(ApiError),
}

/// What became of a document's `count` states.
fn written_by_document(answer: Result<GraphqlAnswer, ApiError>, count: usize) -> Vec<Written> {
    match answer {
        Err(error) => vec![of_error(error); count],
        Ok(answer) if answer.is_validation() => vec![Written::NotMade(refused(&answer.errors)); count],
        Ok(answer) => (0..count).map(|index| of_alias(&answer, &alias(index), count)).collect(),
    }
}

/// A request that failed as a whole.
fn of_error(error: ApiError) -> Written {
    if error.is_certainly_not_done() { Written::NotMade(error) } else { Written::Unknown(error) }
}

fn of_alias(answer: &GraphqlAnswer, alias: &str, count: usize) -> Written {
    let data = answer.data.get(alias).unwrap_or(&Value::Null);
    if let Some(state) = items_at(data, &["states"]).first() {
        return of_status(state);
    }
    let own = |error: &&GraphqlError| match &error.alias {
        Some(path) => path == alias,
        // An error without a path belongs to the only field there is, else to nobody in particular.
        None => count == 1,
    };
    match answer.errors.iter().find(own) {
        Some(error) if is_refusal(error) => Written::Refused(refused(std::slice::from_ref(error))),
        Some(error) => Written::Unknown(refused(std::slice::from_ref(error))),
        None if answer.errors.is_empty() => Written::Unknown(ApiError::Malformed(format!("`{alias}` is missing"))),
        None => Written::Unknown(refused(&answer.errors)),
    }
}

fn of_status(state: &Value) -> Written {
    let message = text_at(state, &["message"]);
    match text_at(state, &["status"]) {
        Some("SUCCESS") => Written::Done,
        Some("QUEUED") => Written::Queued(match message {
            Some(message) => format!("queued by a concurrency limit: {message}"),
            None => "queued by a concurrency limit".into(),
        }),
        status => {
            let status: String = status.unwrap_or("missing").chars().take(MAX_STATUS_CHARS).collect();
            Written::Unknown(ApiError::Malformed(format!("status {status}")))
        }
    }
}

/// Whether the server refused a state because the run's version is another by now.
pub(super) fn is_version_lock(error: &ApiError) -> bool {
    let code =
        |entry: &Value| entry.pointer("/extensions/code").and_then(Value::as_str) == Some("VERSION_LOCKING_ERROR");
    matches!(error, ApiError::Refused { errors, .. } if errors.as_array().is_some_and(|errors| errors.iter().any(code)))
}

/// Another agent has it, its version changed, or there is no such run.
fn is_refusal(error: &GraphqlError) -> bool {
    error.code.as_deref() == Some("VERSION_LOCKING_ERROR") || error.message.contains("State update failed")
}

impl Written {
    /// As the outcome of a claim of one state.
    pub(super) fn claimed(&self) -> Claimed {
        match self {
            Self::Done => Claimed::Ours,
            Self::Queued(reason) => Claimed::Refused(reason.clone()),
            Self::Refused(error) => Claimed::Refused(text_of_error(error)),
            Self::NotMade(error) => Claimed::NotMade(error.clone()),
            Self::Unknown(error) => Claimed::Unknown(error.to_string()),
        }
    }

    /// As the outcome of a write that is only good when it was carried out.
    pub(super) fn result(self) -> Result<(), ApiError> {
        match self {
            Self::Done => Ok(()),
            Self::Queued(message) => Err(ApiError::Refused { message, errors: Value::Null }),
            Self::Refused(error) | Self::NotMade(error) | Self::Unknown(error) => Err(error),
        }
    }
}

/// A refusal in the server's own words.
fn text_of_error(error: &ApiError) -> String {
    match error {
        ApiError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The claim of a run out of the claims of its states.
///
/// One task run that is ours is enough: the flow run's process takes up its other tasks by itself. The claim keeps the
/// epoch that was observed, of which the mark tells, also when only some task runs could be claimed.
fn merged_claims(states: &[Claimed]) -> Claimed {
    let rank = |claimed: &&Claimed| match claimed {
        Claimed::Ours => 3,
        Claimed::Unknown(_) => 2,
        Claimed::NotMade(_) => 1,
        Claimed::Refused(_) => 0,
    };
    // The first of the highest rank: its reason is the one to tell.
    let best = states.iter().rev().max_by_key(rank);
    best.cloned().unwrap_or_else(|| Claimed::Refused("no task run is due any more".into()))
}
