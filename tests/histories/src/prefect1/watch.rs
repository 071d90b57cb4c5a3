//! A run whose task has changed: as it is now, and its end.

use super::client::{Client, of_flow_run};
use super::rows::{self, Detail};
use super::server::{FlowRun, Kind, State, TaskRun};
use super::writes::Change;
use crate::answers;
use crate::audit::Write;
use crate::call::Call;
use crate::port::Arrival;
use crate::process::MARKED_AS;
use crate::run::RunId;
use prefect_serverless_agent::launch::token::client_token;
use prefect_serverless_agent::model::run::{ClaimedBy, Phase, Run};
use prefect_serverless_agent::orchestrator::{ApiError, DueRun, Mark, TaskWatch, Watched};
use serde_json::Value;

impl TaskWatch for Client {
    async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        let Some(run) = RunId::parse(flow_run_id) else { return Ok(None) };
        let read = |arrival: &mut Arrival<'_>| {
            arrival.looks_at(Call::Watch, &[run]);
            arrival.world.one.runs.get(&run).map(|row| watched(run, row))
        };
        self.port.call(Call::Watch, read).await.map_err(answers::api_error)
    }

    /// Without a look of its own, and without a version.
    async fn end_dead(&self, run: &DueRun<Detail>, _: &str) -> Result<(), ApiError> {
        let set = of_flow_run(run.detail.run, None, State::plain(Kind::Failed));
        let change = Change { owner: 0, set, write: Write::Dead };
        self.set_all(Call::EndDead, vec![change], vec![Ok(())]).await.pop().unwrap_or(Ok(()))
    }

    async fn propose_pending(&self, _: &DueRun<Detail>, _: Option<&Mark>, _: &str) -> Result<(), ApiError> {
        Ok(())
    }

    async fn post_event(&self, _: &Value) -> Result<(), ApiError> {
        Ok(())
    }
}

fn watched(run: RunId, row: &FlowRun) -> Watched<Detail> {
    let is_ours = |mark: &&Mark| mark.agent == MARKED_AS;
    let claimed = |task: &&TaskRun| task.state.kind == Kind::Submitted;
    let of_tasks = row.task_runs.iter().filter(claimed).filter_map(|task| task.state.mark.as_ref()).filter(is_ours);
    let task_mark = of_tasks.max_by_key(|mark| mark.attempt).cloned();
    let phase = Phase::of_prefect_1(&row.state.kind.text(), task_mark.is_some());
    let is_task_retry = row.state.kind == Kind::Running;
    let mark = match phase {
        Phase::Claimed if is_task_retry => task_mark,
        Phase::Claimed => row.state.mark.clone().filter(|mark| is_ours(&mark)),
        _ => None,
    };
    let waits = |task: &TaskRun| {
        matches!(task.state.kind, Kind::Scheduled | Kind::Retrying | Kind::Paused | Kind::Queued | Kind::Submitted)
    };
    let now = Run {
        phase,
        claimed_at: row.submitted_at,
        infrastructure_pid: None,
        attempt: mark.as_ref().map(|mark| mark.attempt),
        has_run: row.started.is_some(),
        waits_for_task_runs: row.task_runs.iter().any(waits),
        claimed_by: ClaimedBy::of_mark((!row.marked_by.is_empty()).then(|| row.marked_by.contains(MARKED_AS))),
    };
    let of_claim = rows::claim(run, row, MARKED_AS).map(|(due, ..)| due).filter(|_| mark.is_some());
    let due = of_claim.unwrap_or_else(|| {
        let detail = Detail { run, received: row.state.clone(), task_runs: Vec::new() };
        rows::claimed(run, row, row.since, &unmarked(run, row), detail, is_task_retry)
    });
    Watched { run: due, mark, now }
}

fn unmarked(run: RunId, row: &FlowRun) -> Mark {
    let epoch = row.version.to_string();
    let token = client_token(&run.to_string(), &epoch);
    Mark { agent: String::new(), epoch, attempt: 1, capacity_refusals: 0, token, cluster: String::new() }
}
