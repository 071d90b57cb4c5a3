//! What an agent writes: claims, runs given back, runs that failed, log lines.

use super::outcome::{self, Written};
use super::queries::{self, GraphqlDocument, SetState, Target, set_states};
use super::rows::RunSnapshot;
use super::{Detail, Prefect1, lock, states};
use crate::model::ApiError;
use crate::orchestrator::{Claim, Claimed, Ending, GiveBack, LogLevel, RunLog, RunNow};
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
        by_claim.iter().map(|states| outcome::merged(states)).collect()
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
            outcome::of_document(self.transport.write(sender, document).await, *count)
        });
        join_all(requests).await.into_iter().flatten().collect()
    }

    /// Runs as they are now, in the terms of what was observed of them.
    pub(super) async fn reread_ids(&self, ids: &[String]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let looks = self.look(ids).await?;
        let observed = lock(&self.observed);
        Ok(looks
            .iter()
            .map(|look| look.as_ref().map(|look| super::rows::run_now(look, observed.get(&look.id))))
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
                match super::rows::look(row) {
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
mod tests;
