//! Prefect 3 as the agent asks it: one request after the other, as the real one is.

use super::claims::{self, Detail, Seen, Whose};
use super::server::{FlowRun, Kind, State};
use crate::answers;
use crate::call::Call;
use crate::port::{Arrival, Port};
use crate::process::{PREFETCH, place_of};
use crate::run::{Config, RunId};
use futures_util::future::{Either, join_all, select};
use prefect_serverless_agent::orchestrator::{
    ApiError, Batching, CancellingRun, Claim, Claimed, ClaimedRun, DuePage, DueRun, Ending, GiveBack, Orchestrator,
    OutstandingClaims, RenderError, Rendered, RunLog, RunNow, TaskOfRun, Window,
};
use prefect_serverless_agent::state::Registration;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// Runs of one page.
const PAGE: usize = 200;
/// A run that was Cancelled longer ago has no task that somebody forgot.
const CANCELLED_MEMORY: time::Duration = time::Duration::minutes(15);
/// How long the runs that are known wait for the heartbeat.
const GRACE: Duration = Duration::from_secs(3);

/// An agent's way to Prefect 3.
#[derive(Debug)]
pub struct Client {
    pub(super) port: Port,
    config: Mutex<Arc<Config>>,
}

impl Client {
    /// Sends nothing.
    pub fn new(port: Port, config: Arc<Config>) -> Self {
        Self { port, config: Mutex::new(config) }
    }

    /// The configuration from now on.
    pub fn configure(&self, config: Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    async fn rows<T>(
        &self,
        call: Call,
        read: impl Fn(RunId, &FlowRun) -> Option<T> + Send + Sync,
    ) -> Result<Vec<T>, ApiError> {
        let read = |arrival: &mut Arrival<'_>| {
            let rows = arrival.world.three.runs.iter();
            let (runs, read): (Vec<RunId>, Vec<T>) =
                rows.filter_map(|(run, row)| Some((*run, read(*run, row)?))).unzip();
            // What stands beside the queue says nothing to those who claim.
            if call != Call::Standing {
                arrival.saw(&runs);
            }
            read
        };
        self.port.call(call, read).await.map_err(answers::api_error)
    }

    async fn page(&self, window: &Window) -> Result<Vec<(RunId, FlowRun)>, ApiError> {
        let is_due =
            |row: &FlowRun| row.kind() == Kind::Scheduled && row.next.is_some_and(|next| next <= window.before);
        let mut rows = self.rows(Call::DueRuns, |run, row| is_due(row).then(|| (run, row.clone()))).await?;
        rows.sort_by_key(|(_, row)| row.next);
        rows.truncate(PAGE);
        Ok(rows)
    }

    /// What was tried before of the runs that wait for a retry, and in which state: the rows of a poll have no state to
    /// tell.
    async fn attempts(&self, rows: &[(RunId, FlowRun)]) -> Result<Vec<(RunId, FlowRun)>, ApiError> {
        let waits = |row: &FlowRun| row.state().is_some_and(|state| state.name == "AwaitingRetry");
        if !rows.iter().any(|(_, row)| waits(row)) {
            return Ok(Vec::new());
        }
        let asked: Vec<RunId> = rows.iter().filter(|(_, row)| waits(row)).map(|(run, _)| *run).collect();
        self.rows(Call::Details, |run, row| asked.contains(&run).then(|| (run, row.clone()))).await
    }

    /// Writes down a run's task, or that it has none. Best effort.
    pub(super) async fn record(&self, run: RunId, pid: Option<String>) {
        let record = |arrival: &mut Arrival<'_>| {
            if let Some(row) = arrival.world.three.runs.get_mut(&run) {
                row.pid = pid;
            }
        };
        let _ = self.port.call(Call::RecordTask, record).await;
    }

    pub(super) async fn history(&self, run: RunId) -> Result<Vec<State>, ApiError> {
        let read = |arrival: &mut Arrival<'_>| arrival.world.three.runs.get(&run).map(|row| row.states.clone());
        let states = self.port.call(Call::History, read).await.map_err(answers::api_error)?;
        Ok(states.unwrap_or_default())
    }

    /// The claims among the PENDING runs, and how many are others'.
    async fn claims_among(
        &self,
        pending: Vec<(RunId, FlowRun)>,
        is_old: impl Fn(OffsetDateTime) -> bool,
    ) -> (Vec<ClaimedRun<Detail>>, usize) {
        let (mut claimed, mut foreign, mut untold) = (Vec::new(), 0, Vec::new());
        for (run, row) in pending {
            let Some(state) = row.state() else { continue };
            match claims::by_state(state) {
                Whose::Ours(mark, since) if is_old(since) => claimed.push((run, row, mark, since)),
                Whose::Foreign => foreign += 1,
                Whose::Untold if is_old(state.at) => untold.push((run, row)),
                Whose::Ours(..) | Whose::Untold => {}
            }
        }
        let told = join_all(untold.iter().map(|(run, _)| self.history(*run))).await;
        for ((run, row), states) in untold.into_iter().zip(told) {
            match states.map(|states| claims::by_history(&states)) {
                Ok(Whose::Ours(mark, since)) => claimed.push((run, row, mark, since)),
                Ok(Whose::Foreign) => foreign += 1,
                Ok(Whose::Untold) | Err(_) => {}
            }
        }
        let claimed = claimed.into_iter().map(|(run, row, mark, since)| {
            let earlier = (mark.attempt.saturating_sub(1), mark.capacity_refusals);
            let recorded_task = row.pid.as_deref().and_then(|pid| pid.split_once("::")).map(|(_, arn)| arn.to_owned());
            ClaimedRun { run: claims::turn(run, &row, mark.token.clone(), since, earlier), mark, since, recorded_task }
        });
        (claimed.collect(), foreign)
    }
}

impl Orchestrator for Client {
    type Detail = Detail;

    fn batching(&self) -> Batching {
        Batching { claims: 1, at_once: 12 }
    }

    async fn connect(&self, _: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        self.port.call(Call::Connect, |_| None).await.map_err(answers::api_error)
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<Detail>, ApiError> {
        let queue = self.page(window);
        let signs = async { self.port.call(Call::SignOfLife, |_| ()).await.map_err(answers::api_error) };
        let (queue, signs) = match select(pin!(queue), pin!(signs)).await {
            Either::Left((Err(error), _)) => (Err(error), Ok(())),
            Either::Left((Ok(queue), signs)) => {
                let late = || Err(ApiError::NoAnswer("the heartbeat took too long".into()));
                (Ok(queue), tokio::time::timeout(GRACE, signs).await.unwrap_or_else(|_| late()))
            }
            Either::Right((signs, queue)) => (queue.await, signs),
        };
        let rows = queue?;
        let full = rows.len() >= PAGE;
        let attempts = self.attempts(&rows).await;
        let mut unreadable = Vec::new();
        let mut runs = Vec::new();
        for (run, row) in rows {
            let Some(state) = row.state() else { continue };
            let earlier = match &attempts {
                Err(error) if state.name == "AwaitingRetry" => {
                    unreadable.push((run.to_string(), format!("its earlier attempts cannot be read: {error}")));
                    continue;
                }
                Err(_) => (0, 0),
                Ok(known) => match known.iter().find(|(id, _)| *id == run) {
                    Some((_, told)) => {
                        let Some(state) = told.state() else { continue };
                        // Between the two requests it was taken and given back.
                        if !Seen::of(&row).is_same_turn(told) {
                            continue;
                        }
                        // What was given back waits for its time.
                        if state.mark.is_some() && row.next.is_some_and(|next| next > window.now) {
                            continue;
                        }
                        state.mark.as_ref().map_or((0, 0), |mark| (mark.attempt, mark.capacity_refusals))
                    }
                    None => (0, 0),
                },
            };
            let start_time = row.next.map_or(window.now, |next| (next - PREFETCH).min(window.now));
            runs.push(claims::turn(run, &row, claims::epoch(run, state.id), start_time, earlier));
        }
        Ok(DuePage { runs, unreadable, full, queue_error: signs.err() })
    }

    async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<Detail>, ApiError> {
        let standing = self
            .rows(Call::Standing, |run, row| {
                let state = row.state()?;
                // A pid that could not be written down is no reason to forget a task that runs.
                let may_have_task = row.pid.is_some() || row.run_count > 0;
                let cancelled = state.kind == Kind::Cancelled && now - state.at < CANCELLED_MEMORY && may_have_task;
                let stands = matches!(state.kind, Kind::Pending | Kind::Cancelling) || cancelled;
                stands.then(|| (run, row.clone()))
            })
            .await?;
        let (pending, cancelling): (Vec<_>, Vec<_>) =
            standing.into_iter().partition(|(_, row)| row.kind() == Kind::Pending);
        let (claimed, foreign) = self.claims_among(pending, |since| now - since >= orphan_after).await;
        Ok(OutstandingClaims { claimed, foreign, cancelling: cancelling.iter().filter_map(cancelling_run).collect() })
    }

    /// A run in a sub-state of PENDING takes a second request: its history.
    async fn reread(&self, runs: &[&DueRun<Detail>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        let ids: Vec<RunId> = runs.iter().map(|run| run.detail.run).collect();
        let looks = self.looks(Call::Reread, &ids).await?;
        Ok(runs.iter().zip(looks).map(|(run, look)| claims::run_now(run, look.as_ref()?)).collect())
    }

    async fn render(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<Rendered, RenderError>> {
        let config = Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let flavours = |arrival: &mut Arrival<'_>| {
            runs.iter().map(|run| arrival.world.flavour(run.detail.run)).collect::<Vec<_>>()
        };
        match self.port.call(Call::Records, flavours).await {
            Ok(flavours) => {
                runs.iter().zip(flavours).map(|(run, flavour)| config.render(run.detail.run, flavour)).collect()
            }
            Err((fault, _)) => {
                runs.iter().map(|_| Err(RenderError::NotNow(answers::error(fault).to_string()))).collect()
            }
        }
    }

    async fn claim(&self, claims: &[Claim<'_, Detail>]) -> Vec<Claimed> {
        join_all(claims.iter().map(|claim| self.claim_run(claim))).await
    }

    async fn record_task(&self, run: &DueRun<Detail>, task: &TaskOfRun) {
        self.record(run.detail.run, Some(format!("{}::{}", task.target.cluster, task.task_arn))).await;
    }

    async fn give_back(&self, runs: &[GiveBack<'_, Detail>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        self.give_runs_back(runs, now).await
    }

    async fn fail(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.crash_runs(runs).await
    }

    async fn cancelled(&self, runs: &[Ending<'_, Detail>]) -> Vec<Result<(), ApiError>> {
        self.end_cancelled(runs).await
    }

    async fn log(&self, _: &[RunLog]) -> Result<(), ApiError> {
        self.port.call(Call::Log, |_| ()).await.map_err(answers::api_error)
    }

    async fn announce(&self, launched: &[(DueRun<Detail>, TaskOfRun)]) -> usize {
        if !launched.is_empty() {
            let _ = self.port.call(Call::Announce, |_| ()).await;
        }
        0
    }
}

fn cancelling_run((run, row): &(RunId, FlowRun)) -> Option<CancellingRun<Detail>> {
    let state = row.state()?;
    let task = row.pid.as_deref().and_then(|pid| pid.split_once("::"));
    Some(CancellingRun {
        run: claims::turn(*run, row, claims::epoch(*run, state.id), state.at, (0, 0)),
        since: state.at,
        task: task.map(|(cluster, arn)| TaskOfRun { target: place_of(cluster), task_arn: arn.to_owned() }),
        cluster: None,
        is_over: state.kind == Kind::Cancelled,
        has_started: row.run_count > 0,
    })
}
