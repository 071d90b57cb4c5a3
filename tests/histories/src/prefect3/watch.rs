//! A run whose task has changed: as it is now, its end, and what others are told of its task.

use super::claims::{self, Detail, Whose};
use super::client::Client;
use super::server::{Kind, Proposal};
use crate::answers;
use crate::audit::Write;
use crate::call::Call;
use crate::port::Arrival;
use crate::process::MARKED_AS;
use crate::run::RunId;
use prefect_serverless_agent::model::run::{ClaimedBy, Phase, Run};
use prefect_serverless_agent::orchestrator::{ApiError, DueRun, Mark, TaskWatch, Watched};
use serde_json::Value;

impl TaskWatch for Client {
    /// A run that lives takes a second request: its history.
    async fn watch(&self, flow_run_id: &str) -> Result<Option<Watched<Detail>>, ApiError> {
        let Some(run) = RunId::parse(flow_run_id) else { return Ok(None) };
        let Some(row) = self.looks(Call::Watch, &[run]).await?.pop().flatten() else { return Ok(None) };
        let phase = Phase::of_prefect_3(&format!("{:?}", row.kind()).to_uppercase());
        let lives = matches!(phase, Phase::Claimed | Phase::Running | Phase::Cancelling);
        let states = if lives { self.history(run).await? } else { Vec::new() };
        let mark = match (phase, row.state().map(claims::by_state)) {
            (Phase::Claimed, Some(Whose::Ours(mark, _))) => Some(mark),
            (Phase::Claimed, Some(Whose::Untold)) => match claims::by_history(&states) {
                Whose::Ours(mark, _) => Some(mark),
                Whose::Foreign | Whose::Untold => None,
            },
            _ => None,
        };
        let newest = states.iter().rev().find(|state| state.name == "Pending");
        let now = Run {
            phase,
            claimed_at: newest.map(|claim| claim.at),
            infrastructure_pid: row.pid.clone(),
            attempt: mark.as_ref().map(|mark| mark.attempt),
            has_run: row.run_count > 0,
            waits_for_task_runs: false,
            claimed_by: ClaimedBy::of_mark(
                newest.and_then(|claim| claim.mark.as_ref()).map(|mark| mark.agent == MARKED_AS),
            ),
        };
        let token = claims::claim_of(&row).or_else(|| newest.and_then(|claim| claim.transition_id.clone()));
        let earlier = mark.as_ref().map_or((0, 0), |mark| (mark.attempt.saturating_sub(1), mark.capacity_refusals));
        let since = row.state().map_or(self.port.now(), |state| state.at);
        Ok(Some(Watched { run: claims::turn(run, &row, token.unwrap_or_default(), since, earlier), mark, now }))
    }

    async fn end_dead(&self, run: &DueRun<Detail>, _: &str) -> Result<(), ApiError> {
        let dead = Proposal {
            transition_id: Some(format!("dead-{}", run.token)),
            ..Proposal::plain(Kind::Crashed, "Crashed")
        };
        self.write(Call::EndDead, run.detail.run, dead, Write::Dead).await
    }

    async fn propose_pending(&self, run: &DueRun<Detail>, mark: Option<&Mark>, _: &str) -> Result<(), ApiError> {
        let run = run.detail.run;
        let mark = mark.cloned();
        let propose = |arrival: &mut Arrival<'_>| {
            let waits = Proposal { mark, ..Proposal::plain(Kind::Pending, "InfrastructurePending") };
            arrival.world.three.propose(run, waits, arrival.now);
        };
        self.port.call(Call::ProposePending, propose).await.map_err(answers::api_error)
    }

    async fn post_event(&self, _: &Value) -> Result<(), ApiError> {
        self.port.call(Call::PostEvent, |_| ()).await.map_err(answers::api_error)
    }
}
