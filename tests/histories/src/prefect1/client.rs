//! Prefect 1 as the agent asks it: one request after the other, as the real one is.

use super::rows::{self, Detail, Observed};
use super::server::{Kind, SetState, State};
use crate::answers;
use crate::call::Call;
use crate::port::{Arrival, Port};
use crate::process::MARKED_AS;
use crate::run::{Config, RunId};
use futures_util::future::{Either, select};
use prefect_serverless_agent::launch::token::client_token;
use prefect_serverless_agent::orchestrator::{
    ApiError, Batching, CancellingRun, Claim, Claimed, ClaimedRun, DuePage, DueRun, Ending, GiveBack, Mark,
    Orchestrator, OutstandingClaims, RenderError, Rendered, RunLog, RunNow, TaskOfRun, Window,
};
use prefect_serverless_agent::state::Registration;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// Runs of one page.
const PAGE: usize = 200;
/// A flow that runs gets so long to retry its own tasks.
const RETRY_BUFFER: time::Duration = time::Duration::seconds(3);
/// A run that was Cancelled longer ago has no task that somebody forgot.
const CANCELLED_MEMORY: time::Duration = time::Duration::minutes(15);
/// How long the runs that are known wait for the queue's answer.
const QUEUE_GRACE: Duration = Duration::from_secs(3);

/// An agent's way to Prefect 1.
#[derive(Debug)]
pub struct Client {
    pub(super) port: Port,
    config: Mutex<Arc<Config>>,
    observed: Mutex<BTreeMap<RunId, Observed>>,
}

impl Client {
    /// Sends nothing.
    pub fn new(port: Port, config: Arc<Config>) -> Self {
        Self { port, config: Mutex::new(config), observed: Mutex::default() }
    }

    /// The configuration from now on.
    pub fn configure(&self, config: Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn rows(&self, call: Call, window: &Window) -> Result<Vec<DueRun<Detail>>, ApiError> {
        let times = (window.now, window.before, window.now - RETRY_BUFFER);
        let read = |arrival: &mut Arrival<'_>| {
            if call == Call::DueRuns && arrival.world.one.rules.queue_only {
                return Err(answers::refused("field 'flow_run' not found in type: 'query_root'"));
            }
            let rows = &arrival.world.one.runs;
            let mut due: Vec<_> = rows.iter().filter_map(|(run, row)| rows::due_run(*run, row, times)).collect();
            due.sort_by_key(|run| run.start_time);
            due.truncate(PAGE);
            let seen: Vec<RunId> = due.iter().map(|run| run.detail.run).collect();
            arrival.saw(&seen);
            Ok(due)
        };
        self.port.call(call, read).await.map_err(answers::api_error)?
    }

    /// Reads runs; the number of the world's rows that are there.
    pub(super) async fn look<T: Send>(
        &self,
        call: Call,
        ids: &[RunId],
        look: impl Fn(&super::server::FlowRun) -> T + Send + Sync,
    ) -> Result<Vec<Option<T>>, ApiError> {
        let read = |arrival: &mut Arrival<'_>| {
            arrival.looks_at(call, ids);
            ids.iter().map(|id| arrival.world.one.runs.get(id).map(&look)).collect()
        };
        self.port.call(call, read).await.map_err(answers::api_error)
    }
}

impl Orchestrator for Client {
    type Detail = Detail;

    fn batching(&self) -> Batching {
        Batching { claims: 100, at_once: 1 }
    }

    async fn connect(&self, _: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        self.port.call(Call::Connect, |_| None).await.map_err(answers::api_error)
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        let own = self.rows(Call::DueRuns, window);
        let queue = async { self.port.call(Call::SignOfLife, |_| ()).await.map_err(answers::api_error) };
        let (own, queue) = match select(pin!(own), pin!(queue)).await {
            Either::Left((Err(error), queue)) => (Err(error), queue.await),
            Either::Left((Ok(page), queue)) => {
                let late = || Err(ApiError::NoAnswer("get_runs_in_queue took too long".into()));
                (Ok(page), tokio::time::timeout(QUEUE_GRACE, queue).await.unwrap_or_else(|_| late()))
            }
            Either::Right((queue, own)) => (own.await, queue),
        };
        let (runs, queue_error) = match (own, queue) {
            (Ok(runs), queue) => (runs, queue.err()),
            (Err(own), Ok(())) if !matches!(own, ApiError::Throttled { .. }) => {
                (self.rows(Call::Details, window).await?, None)
            }
            (Err(own), _) => return Err(own),
        };
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter().filter(|run| run.is_task_retry) {
            observed.insert(run.detail.run, (window.now - RETRY_BUFFER, run.epoch.clone()));
        }
        Ok(DuePage { full: runs.len() >= PAGE, runs, unreadable: Vec::new(), queue_error })
    }

    async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<Detail>, ApiError> {
        let (before, cancelled_since) = (now - orphan_after, now - CANCELLED_MEMORY);
        let read = |arrival: &mut Arrival<'_>| outstanding_claims(&arrival.world.one, before, cancelled_since);
        self.port.call(Call::Standing, read).await.map_err(answers::api_error)
    }

    async fn reread(&self, runs: &[&DueRun<Detail>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.detail.run).collect();
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |arrival: &mut Arrival<'_>| {
            arrival.looks_at(Call::Reread, &ids);
            let now = |id: &RunId| Some(rows::run_now(arrival.world.one.runs.get(id)?, observed.get(id)));
            ids.iter().map(now).collect()
        };
        self.port.call(Call::Reread, read).await.map_err(answers::api_error)
    }

    /// One request stands for the templates that runs may name.
    async fn render(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<Rendered, RenderError>> {
        let config = self.config();
        match self
            .port
            .call(Call::Records, |arrival| {
                runs.iter().map(|run| arrival.world.flavour(run.detail.run)).collect::<Vec<_>>()
            })
            .await
        {
            Ok(flavours) => {
                runs.iter().zip(flavours).map(|(run, flavour)| config.render(run.detail.run, flavour)).collect()
            }
            Err(fault) => {
                runs.iter().map(|_| Err(RenderError::NotNow(answers::api_error(fault.clone()).to_string()))).collect()
            }
        }
    }

    async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        self.claim_runs(claims).await
    }

    async fn record_task(&self, _: &DueRun<Detail>, _: &TaskOfRun) {}

    async fn give_back(&self, runs: &[GiveBack<'_, Detail>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        self.give_runs_back(runs, now).await
    }

    async fn fail(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.fail_runs(runs).await
    }

    async fn cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.end_cancelled(runs).await
    }

    async fn log(&self, _: &[RunLog]) -> Result<(), ApiError> {
        self.port.call(Call::Log, |_| ()).await.map_err(answers::api_error)
    }

    async fn announce(&self, _: &[(DueRun<Detail>, TaskOfRun)]) -> usize {
        0
    }
}

fn outstanding_claims(
    server: &super::Server,
    before: OffsetDateTime,
    cancelled_since: OffsetDateTime,
) -> OutstandingClaims<Detail> {
    let mut standing = OutstandingClaims::default();
    for (run, row) in &server.runs {
        if let Some((due, mark, since)) = rows::claim(*run, row, MARKED_AS).filter(|(_, _, since)| *since <= before) {
            standing.claimed.push(ClaimedRun { run: due, mark, since, recorded_task: None });
        }
        let is_ours = row.state.mark.as_ref().is_some_and(|mark| mark.agent == MARKED_AS);
        standing.foreign += usize::from(row.state.kind == Kind::Submitted && !is_ours);
        let is_over = row.state.kind == Kind::Cancelled;
        let was_ours = row.marked_by.contains(MARKED_AS);
        if was_ours && (row.state.kind == Kind::Cancelling || (is_over && row.since >= cancelled_since)) {
            standing.cancelling.push(cancelling(*run, row, is_over));
        }
    }
    standing
}

fn cancelling(run: RunId, row: &super::FlowRun, is_over: bool) -> CancellingRun<Detail> {
    let epoch = row.version.to_string();
    let mark = Mark {
        agent: String::new(),
        token: client_token(&run.to_string(), &epoch),
        epoch,
        attempt: 1,
        capacity_refusals: 0,
        cluster: String::new(),
    };
    let detail = Detail { run, received: row.state.clone(), task_runs: Vec::new() };
    CancellingRun {
        run: rows::claimed(run, row, row.since, &mark, detail, false),
        since: row.since,
        task: None,
        cluster: None,
        is_over,
        has_started: row.started.is_some(),
    }
}

/// What an agent sets for a flow run.
pub(super) fn of_flow_run(run: RunId, version: Option<i64>, state: State) -> SetState {
    SetState { run, task_run: None, version, state }
}
