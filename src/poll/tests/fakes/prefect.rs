//! The Prefect API.

use super::{Fakes, unanswered};
use crate::clock::Clock;
use crate::config::{Backend, Rules};
use crate::flow_run::prefect1::AgentSettings;
use crate::model::ApiError;
use crate::model::Registration;
use crate::orchestrator::{
    Batching, Claim, Claimed, DuePage, DueRun, Ending, GiveBack, Orchestrator, OutstandingClaims, RenderError,
    RunDescription, RunLog, RunNow, Window,
};
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

impl Orchestrator for Fakes {
    type Detail = ();

    fn batching(&self) -> Batching {
        self.batching
    }

    async fn outstanding_claims(&self, _: OffsetDateTime, _: Duration) -> Result<OutstandingClaims<()>, ApiError> {
        let state = self.lock();
        if let Some(error) = &state.standing_error {
            return Err(error.clone());
        }
        // Young claims may be left out, but need not be.
        Ok(OutstandingClaims {
            claimed: state.claimed().collect(),
            foreign: state.foreign,
            cancelling: state.cancelling().collect(),
        })
    }

    async fn record_pid(&self, run: &DueRun<()>, pid: &str) {
        let mut state = self.lock();
        if let Some(run) = state.runs.get_mut(&run.flow_run_id) {
            run.task_arn = pid.rsplit("::").next().map(str::to_owned);
        }
    }

    async fn cancelled(&self, runs: &[Ending<'_, ()>]) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("cancelled");
        let end = |ending: &Ending<'_, ()>| {
            if let Some(error) = &state.cancelled_error {
                return Err(error.clone());
            }
            let run = state.runs.get_mut(&ending.run.flow_run_id).unwrap();
            (run.state, run.message) = ("Cancelled", ending.message.clone());
            Ok(())
        };
        runs.iter().map(end).collect()
    }

    async fn announce(&self, launched: &[(DueRun<()>, String)]) -> usize {
        let mut state = self.lock();
        if !launched.is_empty() {
            state.happened("announce", "");
        }
        state.announced.extend(launched.iter().map(|(run, _)| run.flow_run_id.clone()));
        state.untold
    }

    async fn connect(&self, _: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        Ok(None)
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<()>, ApiError> {
        let mut state = self.lock();
        state.calls.push("due_runs");
        let mut due: Vec<_> = state
            .runs
            .iter()
            .filter(|(_, run)| run.state == "Scheduled" && run.start_time <= window.before)
            .map(|(id, run)| Self::due(id, run))
            .collect();
        due.sort_by_key(|run| run.start_time);
        let page_size = state.page_size.unwrap_or(200);
        let full = due.len() >= page_size;
        due.truncate(page_size);
        Ok(DuePage { runs: due, unreadable: Vec::new(), full, queue_error: None })
    }

    async fn reread(&self, runs: &[&DueRun<()>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let mut state = self.lock();
        state.calls.push("reread");
        if let Some(id) = state.claimed_by_another_before_reread.take() {
            let run = state.runs.get_mut(&id).unwrap();
            (run.state, run.version) = ("Submitted", run.version + 1);
        }
        if state.reread_fails {
            return Err(unanswered());
        }
        let now = |due: &&DueRun<()>| {
            state.runs.get(&due.flow_run_id).map(|run| RunNow {
                epoch: run.version.to_string(),
                state: run.state.to_owned(),
                mark: run.mark.clone(),
            })
        };
        Ok(runs.iter().map(now).collect())
    }

    async fn describe(&self, runs: &[&DueRun<()>]) -> Vec<Result<RunDescription, RenderError>> {
        let agent = Arc::new(AgentSettings {
            rules: Rules::V1,
            backend: Backend::Server,
            api: String::new(),
            api_key: None,
            auth_token: None,
            tenant_id: None,
            labels: Vec::new(),
            env_vars: Vec::new(),
            no_cloud_logs: false,
            logging_level: String::new(),
            cluster: None,
            launch_type: None,
            task_role_arn: None,
            execution_role_arn: None,
            task_definition: None,
            run_task_kwargs: Map::new(),
        });
        let describe = |run: &&DueRun<()>| {
            let run = json!({"id": run.flow_run_id, "flow": {"id": "flow", "name": "flow"}});
            Ok(RunDescription::One(Arc::clone(&agent), Arc::new(serde_json::from_value(run).unwrap())))
        };
        runs.iter().map(describe).collect()
    }

    async fn claim(&self, claims: &[Claim<'_, ()>]) -> Vec<Claimed> {
        let takes = self.lock().claiming_takes;
        tokio::time::sleep(takes).await;
        let mut state = self.lock();
        state.now = self.clock.now();
        state.calls.push("claim");
        for claim in claims {
            state.happened("claim", &claim.run.flow_run_id);
        }
        claims.iter().map(|claim| state.claim(claim)).collect()
    }

    async fn give_back(&self, runs: &[GiveBack<'_, ()>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("give_back");
        for given in runs {
            let run = state.runs.get_mut(&given.run.flow_run_id).unwrap();
            if run.state != "Submitted" {
                return runs.iter().map(|_| Err(ApiError::NotOurs(format!("it is {} now", run.state)))).collect();
            }
            run.state = "Scheduled";
            run.version += 1;
            run.mark = None;
            run.attempts = given.mark.attempt;
            run.start_time = now + given.delay;
            run.message = given.reason.clone();
        }
        runs.iter().map(|_| Ok(())).collect()
    }

    async fn fail(&self, runs: &[Ending<'_, ()>]) -> Vec<Result<(), ApiError>> {
        let mut state = self.lock();
        state.calls.push("fail");
        for ending in runs {
            let run = state.runs.get_mut(&ending.run.flow_run_id).unwrap();
            if run.state != "Submitted" {
                return runs.iter().map(|_| Err(ApiError::NotOurs(format!("it is {} now", run.state)))).collect();
            }
            run.state = "Failed";
            run.message = ending.message.clone();
        }
        runs.iter().map(|_| Ok(())).collect()
    }

    async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        if self.lock().log_hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.lock();
        state.calls.push("log");
        state.happened("log", "");
        state.logs.extend_from_slice(lines);
        if state.log_fails { Err(unanswered()) } else { Ok(()) }
    }
}
