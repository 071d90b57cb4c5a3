//! What a run's story is told from: the run, all its states, and why polls do not find it. Reads only.

use super::outstanding::timestamp;
use super::queries::{self, Scope};
use super::{Detail, Prefect1, rows};
use crate::model::{ApiError, Phase, RunEnd};
use crate::orchestrator::run_facts::{BlockReason, RunFacts, StateFacts, WaitReason};
use crate::orchestrator::{Mark, Watched};
use crate::python_text;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;
use time::OffsetDateTime;

impl Prefect1 {
    /// The facts about a run; `None` = the API does not know it. To be called after `connect`, which tells labels and
    /// tenant.
    pub async fn explained(&self, flow_run_id: &str) -> Result<Option<RunFacts>, ApiError> {
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::explained(flow_run_id)).await?;
        let Some(row) = answer.list("flow_run")?.first() else { return Ok(None) };
        Ok(Some(facts(self.watched(row)?, row, &session.scope(), &self.marked_as)))
    }
}

/// The run as `task-events` sees it, and beside that what only people need.
fn facts(watched: Watched<Detail>, row: &Value, scope: &Scope, marked_as: &str) -> RunFacts {
    let Watched { run, mark, now, .. } = watched;
    let text = |path: &[&str]| text_at(row, path).map(str::to_owned);
    let state = text(&["state"]).unwrap_or_default();
    let is_ours = |mark: &Mark| mark.agent == marked_as;
    let serialized = row.get("serialized_state").unwrap_or(&Value::Null);
    let given_back = rows::mark_of(serialized).filter(is_ours);
    let of_task_runs =
        run.detail.flow_run.task_runs.iter().filter_map(|task_run| start_time(&task_run.serialized_state));
    let due_at = match now.phase {
        Phase::Waiting => start_time(serialized),
        Phase::Running if now.waits_for_task_runs => of_task_runs.min(),
        _ => None,
    };
    let mut states: Vec<StateFacts> =
        items_at(row, &["story"]).iter().map(|state| state_facts(state, &is_ours)).collect();
    states.sort_by_key(|state| state.at);
    let task_marks = items_at(row, &["task_runs"]).iter().filter_map(|task_run| task_run.get("serialized_state"));
    let was_ours = task_marks.filter_map(rows::mark_of).any(|mark| is_ours(&mark))
        || mark.is_some()
        || given_back.is_some()
        || states.iter().any(|state| state.is_ours);
    RunFacts {
        id: run.flow_run_id.clone(),
        name: run.name.clone(),
        waits: match state.as_str() {
            "Scheduled" => WaitReason::Scheduled,
            "Queued" => WaitReason::Slot,
            "Paused" => WaitReason::Paused,
            _ => WaitReason::Other,
        },
        end: (now.phase == Phase::Ended).then(|| RunEnd::of_prefect_1(&state)),
        message: text_at(serialized, &["message"]).map(str::to_owned),
        since: timestamp(row),
        mark: mark.or(given_back),
        state,
        was_ours,
        worker: None,
        due_at,
        has_own_credentials: false,
        states,
        block_reasons: block_reasons(row, scope),
        unknown: Vec::new(),
        run: now,
    }
}

/// Why polls of this agent do not find the run: the queue's rule about labels and tenants.
fn block_reasons(row: &Value, scope: &Scope) -> Vec<BlockReason> {
    let of_run: Vec<&str> = items_at(row, &["labels"]).iter().filter_map(Value::as_str).collect();
    let tenants = scope.tenant_id.as_deref().zip(text_at(row, &["tenant_id"]));
    let mut reasons = Vec::new();
    if tenants.is_some_and(|(ours, of_run)| ours != of_run) {
        reasons.push(BlockReason::OtherTenant);
    }
    if !queries::takes(&scope.labels, &of_run) {
        let run = of_run.into_iter().map(str::to_owned).collect();
        reasons.push(BlockReason::Labels { run, agent: scope.labels.clone() });
    }
    reasons
}

fn state_facts(row: &Value, is_ours: &impl Fn(&Mark) -> bool) -> StateFacts {
    let serialized = row.get("serialized_state").unwrap_or(&Value::Null);
    let mark = rows::mark_of(serialized);
    let name = text_at(row, &["state"]).or_else(|| rows::type_of(serialized)).unwrap_or("?").to_owned();
    StateFacts {
        at: text_at(row, &["timestamp"]).and_then(python_text::parse_time),
        message: text_at(serialized, &["message"]).or_else(|| text_at(row, &["message"])).map(str::to_owned),
        scheduled_for: start_time(serialized),
        is_claim: rows::is_submitted(serialized),
        is_ours: mark.as_ref().is_some_and(is_ours),
        name,
        mark,
    }
}

fn start_time(serialized: &Value) -> Option<OffsetDateTime> {
    python_text::parse_time(text_at(serialized, &["start_time"])?)
}

#[cfg(test)]
mod tests;
