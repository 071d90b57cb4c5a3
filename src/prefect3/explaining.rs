//! What a run's story is told from: the run, all its states, and why polls do not find it. Reads only.

use super::requests::{self, ApiRequest};
use super::states::{Row, State};
use super::{Prefect3, reading::RunReading};
use crate::model::{ApiError, Phase, RunEnd};
use crate::orchestrator::run_facts::{BlockReason, RunFacts, SlotsTaken, StateFacts, WaitReason};
use crate::orchestrator::{Mark, Watched};
use crate::python_text;
use crate::transport::shape::{at, text_at};
use futures_util::future::{join, join3};
use serde_json::{Map, Value};

/// Runs of one name that are looked for: more than one is too many already.
const NAMESAKES: usize = 5;

/// The job variable with credentials of one's own.
const CREDENTIALS: &str = "aws_credentials";

/// What a story says of a run's queue, pool and deployment, as far as they could be read.
#[derive(Debug, Default)]
struct RunSurroundings {
    pool: Option<Map<String, Value>>,
    queue: Option<Map<String, Value>>,
    deployment: Option<Map<String, Value>>,
    unknown: Vec<String>,
}

impl Prefect3 {
    /// Ids of the runs of this name, a few at most.
    pub async fn runs_named(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let rows = self.transport.read(&requests::flow_runs_named(name, NAMESAKES)).await?.list()?;
        Ok(rows.iter().filter_map(|row| text_at(row, &["id"]).map(str::to_owned)).collect())
    }

    /// The facts about a run; `None` = the API does not know it.
    pub async fn explained(&self, flow_run_id: &str) -> Result<Option<RunFacts>, ApiError> {
        let Some(run) = self.row_of(flow_run_id).await? else { return Ok(None) };
        let request = requests::history(flow_run_id);
        let history = async { self.transport.read(&request).await?.list() };
        let (history, surroundings) = join(history, self.surroundings(&run)).await;
        Ok(Some(self.facts(&run, &history?, surroundings)))
    }

    /// What matters of them in this phase: whether they hold a run that waits back, and whether its tasks may be elsewhere.
    async fn surroundings(&self, run: &Row) -> RunSurroundings {
        let phase = Phase::of_prefect_3(run.kind());
        let lives = phase != Phase::Ended;
        let ours = lives && run.text("work_pool_name").is_some_and(|pool| pool == self.work_pool());
        let pool = ours.then(|| requests::work_pool(self.work_pool()));
        let queue = run.text("work_queue_id").filter(|_| ours && phase == Phase::Waiting);
        let queue = queue.map(requests::work_queue);
        let deployment = run.flow_run.deployment_id.as_deref().filter(|_| lives).map(requests::deployment);
        let read = |request: Option<ApiRequest>| async move {
            let request = request?;
            Some(async { self.transport.read(&request).await?.object() }.await)
        };
        let (pool, queue, deployment) = join3(read(pool), read(queue), read(deployment)).await;
        let mut unknown = Vec::new();
        let mut known = |what: &str, read: Option<Result<Map<String, Value>, ApiError>>| {
            read?.inspect_err(|error| unknown.push(format!("{what}: {error}"))).ok()
        };
        let (pool, queue, deployment) =
            (known("the work pool", pool), known("the work queue", queue), known("the deployment", deployment));
        RunSurroundings { pool, queue, deployment, unknown }
    }

    fn facts(&self, row: &Row, history: &[Value], around: RunSurroundings) -> RunFacts {
        let states: Vec<State> = history.iter().filter_map(State::read).collect();
        let Watched { mark, now, .. } = self.watched(RunReading::of(row.clone(), &states), &states);
        let is_ours = |mark: &Mark| mark.agent == self.names.identity();
        let given_back = row.state.as_ref().and_then(|state| state.mark.clone()).filter(is_ours);
        let waits = match (row.kind(), row.state_name()) {
            ("SCHEDULED", "AwaitingConcurrencySlot") => WaitReason::Slot,
            ("SCHEDULED", _) => WaitReason::Scheduled,
            ("PAUSED", _) => WaitReason::Paused,
            _ => WaitReason::Other,
        };
        let is_waiting = now.phase == Phase::Waiting;
        let message = history.iter().find(|state| text_at(state, &["id"]) == Some(&row.state_id));
        let mut shown: Vec<StateFacts> = history.iter().filter_map(|state| state_facts(state, &is_ours)).collect();
        shown.sort_by_key(|state| state.at);
        RunFacts {
            id: row.id().to_owned(),
            name: row.flow_run.name.clone(),
            state: row.state_name().to_owned(),
            message: message.and_then(|state| text_at(state, &["message"])).map(str::to_owned),
            since: row.state.as_ref().and_then(|state| state.timestamp),
            waits,
            end: (now.phase == Phase::Ended).then(|| RunEnd::of_prefect_3(row.kind())),
            was_ours: mark.is_some() || given_back.is_some() || shown.iter().any(|state| state.is_ours),
            mark: mark.or(given_back),
            worker: text_in(row, &["labels", "prefect.worker.name"]),
            due_at: row.scheduled_for().filter(|_| is_waiting),
            states: shown,
            has_own_credentials: brings_credentials(row, &around),
            block_reasons: self.block_reasons(row, &around),
            unknown: around.unknown,
            run: now,
        }
    }

    /// Why polls of this agent do not find the run although its time has come. The rule of what is served is the poll's
    /// own; what pauses and is full the server decides, and says.
    fn block_reasons(&self, run: &Row, around: &RunSurroundings) -> Vec<BlockReason> {
        let mut reasons = Vec::new();
        let queue = run.text("work_queue_name").unwrap_or_default().to_owned();
        match run.text("work_pool_name") {
            None => reasons.push(BlockReason::NoPool),
            Some(pool) if pool != self.work_pool() => {
                reasons.push(BlockReason::OtherPool { pool: pool.to_owned(), served: self.work_pool().to_owned() });
            }
            Some(_) if !self.serves(run) => {
                let served = self.config.generation.work_queues.clone();
                reasons.push(BlockReason::OtherQueue { queue: queue.clone(), served });
            }
            Some(_) => {}
        }
        if text_in(run, &["empirical_policy", "retry_type"]).as_deref() == Some("in_process") {
            reasons.push(BlockReason::RetriedInProcess);
        }
        let is_paused = |row: &Map<String, Value>| row.get("is_paused").and_then(Value::as_bool) == Some(true);
        let pool = self.work_pool().to_owned();
        if around.pool.as_ref().is_some_and(is_paused) {
            reasons.push(BlockReason::PoolPaused(pool.clone()));
        }
        if around.queue.as_ref().is_some_and(is_paused) {
            reasons.push(BlockReason::QueuePaused { queue: queue.clone(), pool: pool.clone() });
        }
        reasons.extend(around.pool.as_ref().and_then(|row| full(row, pool)).map(BlockReason::PoolFull));
        reasons.extend(around.queue.as_ref().and_then(|row| full(row, queue)).map(BlockReason::QueueFull));
        let limit = around.deployment.as_ref().and_then(|row| row.get("global_concurrency_limit"));
        if limit.and_then(|limit| limit.get("limit")).and_then(Value::as_u64) == Some(0) {
            reasons.push(BlockReason::DeploymentClosed);
        }
        reasons
    }
}

fn state_facts(row: &Value, is_ours: &impl Fn(&Mark) -> bool) -> Option<StateFacts> {
    let state = State::read(row)?;
    let text = |path: &[&str]| text_at(row, path).map(str::to_owned);
    Some(StateFacts {
        at: state.timestamp,
        message: text(&["message"]),
        scheduled_for: text_at(row, &["state_details", "scheduled_time"])
            .filter(|_| state.kind == "SCHEDULED")
            .and_then(python_text::parse_time),
        is_claim: state.is_claim(),
        is_ours: state.mark.as_ref().is_some_and(is_ours),
        name: if state.name.is_empty() { state.kind } else { state.name },
        mark: state.mark,
    })
}

/// Whether run, deployment or pool name credentials with which the run's task is started.
fn brings_credentials(run: &Row, around: &RunSurroundings) -> bool {
    let is_given = |variables: Option<&Value>| match variables.and_then(|variables| variables.get(CREDENTIALS)) {
        None | Some(Value::Null) => false,
        // In a template: whatever the variable is.
        Some(Value::String(text)) => !text.contains("{{"),
        Some(_) => true,
    };
    let of_run = run.flow_run.job_variables.as_ref().and_then(|variables| variables.get(CREDENTIALS));
    let of_deployment = |key: &str| is_given(around.deployment.as_ref().and_then(|row| row.get(key)));
    let template = around.pool.as_ref().and_then(|row| row.get("base_job_template"));
    let default = template.and_then(|template| at(template, &["variables", "properties", CREDENTIALS, "default"]));
    of_run.is_some_and(|given| !given.is_null())
        || of_deployment("job_variables")
        || of_deployment("infra_overrides")
        || default.is_some_and(|given| !given.is_null())
        || is_given(template.and_then(|template| template.get("job_configuration")))
}

/// The slots of a pool or queue that has none left, as far as the server tells.
fn full(row: &Map<String, Value>, name: String) -> Option<SlotsTaken> {
    let number = |key: &str| row.get(key).and_then(Value::as_u64);
    let (limit, taken) = (number("concurrency_limit")?, number("active_slots").unwrap_or_default());
    (taken >= limit).then_some(SlotsTaken { name, taken, limit })
}

/// A text in what else the API says of a run.
fn text_in(run: &Row, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let found = at(run.flow_run.others.get(*first)?, rest)?.as_str()?;
    (!found.is_empty()).then(|| found.to_owned())
}

#[cfg(test)]
mod tests;
