//! What a work pool is and what runs in it, read for people who set an agent up or examine it. Nothing is written.

use super::records::{Deployed, deployed};
use super::requests::{self, ApiRequest, PAGE_ROWS};
use super::{Prefect3, pool};
use crate::flow_run::prefect3::{Flow, FlowRun, FlowRunJob, WorkPool, populate};
use crate::model::{ApiError, RenderError, RunRefusal};
use crate::orchestrator::RunDescription;
use crate::transport::shape::{self, text_at};
use futures_util::future::{join_all, join3};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Queues and workers of a pool that are read at most, of each.
const MOST_BESIDE: usize = 10 * PAGE_ROWS;

/// Id of the runs that are thought up to see how real ones would be launched.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A work pool, and what is in it.
#[derive(Debug, Clone)]
pub struct PoolSurvey {
    /// The pool.
    pub pool: SurveyedPool,
    /// Its queues; why they are not known.
    pub queues: Result<Vec<SurveyedQueue>, ApiError>,
    /// Its workers, the last heard of first; why they are not known.
    pub workers: Result<Vec<SurveyedWorker>, ApiError>,
    /// Its deployments, by name.
    pub deployments: Vec<SurveyedDeployment>,
    /// There are more deployments than were read.
    pub is_cut: bool,
}

/// A work pool as the API lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct SurveyedPool {
    /// Name.
    pub name: String,
    /// `type`: `ecs`, `ecs:push`, `docker`, …
    pub kind: String,
    /// It hands nothing out.
    pub is_paused: bool,
    /// So many of its runs may be Pending or Running.
    pub concurrency_limit: Option<u64>,
    /// Id of the queue of runs that name none.
    pub default_queue_id: Option<String>,
    /// As it is kept; may be empty.
    pub base_job_template: Map<String, Value>,
}

/// A queue of a work pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedQueue {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// It hands nothing out.
    pub is_paused: bool,
}

/// A worker of a work pool, or an agent that stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedWorker {
    /// Name.
    pub name: String,
    /// The server has heard of it lately. Servers that do not say are believed to have.
    pub is_online: bool,
    /// When the server heard of it last, as it says so.
    pub last_heartbeat: Option<String>,
}

/// A deployment of a work pool.
#[derive(Debug, Clone)]
pub struct SurveyedDeployment {
    /// Id.
    pub id: String,
    /// `flow/deployment`, as Prefect's command line names it; the deployment alone where its flow cannot be read.
    pub name: String,
    /// Name of its queue.
    pub work_queue: Option<String>,
    /// It schedules no runs.
    pub is_paused: bool,
    /// Its flow, or why it cannot be read.
    flow: Result<Arc<Flow>, RenderError>,
    /// What launches need of it, or why it cannot be understood.
    deployed: Result<Deployed, String>,
}

impl Prefect3 {
    /// The server's version; `None` where it does not say, as Prefect Cloud.
    pub async fn server_version(&self) -> Option<String> {
        let version = self.transport.read(&requests::version()).await.ok()?.text();
        version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
    }

    /// All work pools, by name; at most one page of them.
    pub async fn work_pools(&self) -> Result<Vec<SurveyedPool>, ApiError> {
        let rows = self.transport.read(&requests::work_pools()).await?.list()?;
        Ok(rows.iter().filter_map(pool_of).collect())
    }

    /// The agent's pool with at most `most` of its deployments.
    pub async fn survey(&self, most: usize) -> Result<PoolSurvey, ApiError> {
        let name = self.work_pool();
        let answer = self.transport.read(&requests::work_pool(name)).await.map_err(|error| self.about_pool(error))?;
        let pool = pool_of(&Value::Object(answer.object()?)).ok_or_else(|| answer.odd("it is no work pool"))?;
        let (queues, workers, deployments) = join3(
            self.rows_beside(|offset| requests::queues(name, offset), queue_of),
            self.rows_beside(|offset| requests::workers(name, offset), worker_of),
            self.rows(|offset| requests::deployments_of_pool(name, offset), most),
        )
        .await;
        let (rows, is_cut) = deployments?;
        let flows = self.flows_of(&rows).await;
        let mut deployments: Vec<SurveyedDeployment> = Vec::with_capacity(rows.len());
        deployments.extend(rows.into_iter().filter_map(|row| deployment_of(row, &flows)));
        deployments.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Ok(PoolSurvey { pool, queues, workers, deployments, is_cut })
    }

    /// What a platform would launch a run of the pool's own defaults from, and then one of each deployment, in order. Blocks
    /// and variables that they refer to are read.
    pub async fn describe_surveyed(
        &self,
        deployments: &[SurveyedDeployment],
    ) -> (Result<RunDescription, RenderError>, Vec<Result<RunDescription, RenderError>>) {
        let pool = match self.pool().await {
            Ok(pool) => pool,
            Err(error) => {
                let why = || Err(RenderError::unread("the work pool", &error));
                return (why(), deployments.iter().map(|_| why()).collect());
            }
        };
        let worker = Arc::new(self.worker_settings());
        let job = |flow: Arc<Flow>, deployed: Option<&Deployed>| {
            let mut job = FlowRunJob {
                worker: Arc::clone(&worker),
                flow_run: Arc::new(imagined(&flow, deployed)),
                deployment: deployed.map(|deployed| Arc::clone(&deployed.deployment)),
                flow,
                work_pool: Arc::clone(&pool),
                populated: Map::new(),
                resolved: Map::new(),
            };
            job.populated = populate(&worker, &job.context()).map_err(RenderError::Refused)?;
            Ok(job)
        };
        let nobody = Flow { id: NOBODY.into(), name: "flow".into(), others: Map::new() };
        let mut jobs = vec![job(Arc::new(nobody), None)];
        jobs.extend(deployments.iter().map(|surveyed| {
            let refused = |why: &String| RenderError::Refused(RunRefusal(format!("the deployment: {why}")));
            job(surveyed.flow.clone()?, Some(surveyed.deployed.as_ref().map_err(refused)?))
        }));
        let mut described = self.resolved(jobs).await.into_iter();
        let nothing = || Err(RenderError::NotNow("it was not looked at".into()));
        (described.next().unwrap_or_else(nothing), described.collect())
    }

    /// All rows of a list: what it lacks is not there. Of one that is too long to be read nothing is known.
    async fn rows_beside<T>(
        &self,
        request: impl Fn(usize) -> ApiRequest,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, ApiError> {
        let (rows, is_cut) = self.rows(&request, MOST_BESIDE).await?;
        if is_cut {
            let path = request(0).path;
            return Err(ApiError::Malformed(format!(
                "{path}: there are more than the {MOST_BESIDE} rows that are read"
            )));
        }
        Ok(rows.iter().filter_map(read).collect())
    }

    /// The rows of a list, page by page, and whether there are more than `most`. `request`: for the rows from an offset on.
    async fn rows(&self, request: impl Fn(usize) -> ApiRequest, most: usize) -> Result<(Vec<Value>, bool), ApiError> {
        let mut rows = Vec::new();
        loop {
            let page = self.transport.read(&request(rows.len())).await?.list()?;
            let is_last = page.len() < PAGE_ROWS;
            rows.extend(page);
            if rows.len() > most || is_last {
                let is_cut = rows.len() > most;
                rows.truncate(most);
                return Ok((rows, is_cut));
            }
        }
    }

    /// The flows of these deployments; those that a list lacks are missing, and why, where a list cannot be read.
    async fn flows_of(&self, rows: &[Value]) -> BTreeMap<String, Result<Arc<Flow>, RenderError>> {
        let ids: BTreeSet<&str> = rows.iter().filter_map(|row| text_at(row, &["flow_id"])).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let chunks = ids.chunks(PAGE_ROWS).map(|ids| async move {
            let read = async { self.transport.read(&requests::flows(ids)).await?.list() };
            match read.await {
                Ok(rows) => rows.into_iter().filter_map(flow_of).collect(),
                Err(error) => {
                    let unread = |id: &&str| ((*id).to_owned(), Err(RenderError::unread("its flow", &error)));
                    ids.iter().map(unread).collect::<Vec<_>>()
                }
            }
        });
        join_all(chunks).await.into_iter().flatten().collect()
    }
}

fn flow_of(row: Value) -> Option<(String, Result<Arc<Flow>, RenderError>)> {
    let flow: Flow = shape::row(row, super::records::FLOW).ok()?;
    Some((flow.id.clone(), Ok(Arc::new(flow))))
}

fn pool_of(row: &Value) -> Option<SurveyedPool> {
    let pool: WorkPool = shape::row(row.clone(), pool::WORK_POOL).ok()?;
    Some(SurveyedPool {
        name: pool.name,
        kind: text_at(row, &["type"]).unwrap_or_default().to_owned(),
        is_paused: is_set(row, "is_paused"),
        concurrency_limit: row.get("concurrency_limit").and_then(Value::as_u64),
        default_queue_id: text_at(row, &["default_queue_id"]).map(str::to_owned),
        base_job_template: pool.base_job_template,
    })
}

fn queue_of(row: &Value) -> Option<SurveyedQueue> {
    let text = |key: &str| text_at(row, &[key]).map(str::to_owned);
    Some(SurveyedQueue { id: text("id")?, name: text("name")?, is_paused: is_set(row, "is_paused") })
}

fn worker_of(row: &Value) -> Option<SurveyedWorker> {
    Some(SurveyedWorker {
        name: text_at(row, &["name"])?.to_owned(),
        is_online: text_at(row, &["status"]).is_none_or(|status| status == "ONLINE"),
        last_heartbeat: text_at(row, &["last_heartbeat_time"]).map(str::to_owned),
    })
}

fn deployment_of(row: Value, flows: &BTreeMap<String, Result<Arc<Flow>, RenderError>>) -> Option<SurveyedDeployment> {
    let text = |key: &str| text_at(&row, &[key]).map(str::to_owned);
    let (id, own) = (text("id")?, text("name")?);
    let missing = || Err(RenderError::Refused(RunRefusal("its flow cannot be found".into())));
    let flow = text("flow_id").and_then(|id| flows.get(&id).cloned()).unwrap_or_else(missing);
    Some(SurveyedDeployment {
        id,
        name: flow.as_ref().map_or_else(|_| own.clone(), |flow| format!("{}/{own}", flow.name)),
        work_queue: text("work_queue_name"),
        // Prefect 2 knows no paused deployments, only paused schedules.
        is_paused: is_set(&row, "paused") || row.get("is_schedule_active") == Some(&Value::Bool(false)),
        flow,
        deployed: deployed(row),
    })
}

fn is_set(row: &Value, flag: &str) -> bool {
    row.get(flag) == Some(&Value::Bool(true))
}

/// A run as it would be scheduled, without job variables of its own.
fn imagined(flow: &Flow, deployed: Option<&Deployed>) -> FlowRun {
    let others = json!({"parameters": {}, "tags": [], "run_count": 0, "auto_scheduled": true});
    FlowRun {
        id: NOBODY.into(),
        name: "survey".into(),
        flow_id: flow.id.clone(),
        deployment_id: deployed.map(|deployed| deployed.deployment.id.clone()),
        job_variables: None,
        others: shape::object(others).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
