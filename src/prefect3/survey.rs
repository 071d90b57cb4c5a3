//! What a work pool is and what runs in it, read for people who set an agent up or examine it. Nothing is written.

use super::records::{Deployed, Missing, deployed};
use super::requests::{self, ApiRequest, PAGE_ROWS};
use super::transport::{is_missing, is_no_route};
use super::{Prefect3, pool};
use crate::flow_run::prefect3::{Flow, FlowRun, FlowRunJob, populate};
use crate::model::{ApiError, RenderError, RunRefusal};
use crate::orchestrator::RunDescription;
use crate::transport::shape::{self, FieldKind, RowField, text_at};
use futures_util::future::join4;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Work pools, and queues and workers of one, that are read at most.
const MOST_BESIDE: usize = 10 * PAGE_ROWS;

/// Id of the runs that are thought up to see how real ones would be launched.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What is read of a work pool.
const POOL: &[RowField] = &[RowField::required("name", FieldKind::Text), RowField::required("type", FieldKind::Text)];

/// What is read of a queue.
const QUEUE: &[RowField] = &[RowField::required("name", FieldKind::Text)];

/// What is read of a worker.
const WORKER: &[RowField] =
    &[RowField::required("name", FieldKind::Text), RowField::optional("status", FieldKind::Text)];

/// What is read of a deployment, besides what launches need of it.
const DEPLOYMENT: &[RowField] =
    &[RowField::required("flow_id", FieldKind::Text), RowField::optional("work_queue_name", FieldKind::Text)];

/// A work pool, and what is in it.
#[derive(Debug, Clone)]
pub struct PoolSurvey {
    /// The pool.
    pub pool: SurveyedPool,
    /// The server's version; `None` where it does not say, as Prefect Cloud.
    pub version: Option<String>,
    /// All its queues; why they are not known.
    pub queues: Result<Vec<SurveyedQueue>, Unlisted>,
    /// All its workers, the last heard of first; why they are not known.
    pub workers: Result<Vec<SurveyedWorker>, Unlisted>,
    /// Its deployments, by name.
    pub deployments: Vec<SurveyedDeployment>,
    /// There are more deployments than were read.
    pub is_truncated: bool,
}

/// Why a list is not known: part of it would prove nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unlisted {
    /// It could not be read, or not be understood.
    #[error("{0}")]
    Unread(#[from] ApiError),
    /// It is too long.
    #[error("there are more than {0}, which are not all read")]
    TooLong(usize),
}

/// The work pools of a workspace.
#[derive(Debug, Clone)]
pub struct WorkPools {
    /// Those that can be understood, as they are listed.
    pub pools: Vec<ListedPool>,
    /// So many cannot be understood.
    pub odd: usize,
    /// There are more than were read.
    pub is_truncated: bool,
}

/// A work pool with all that the API says of it.
#[derive(Debug, Clone)]
pub struct ListedPool {
    /// What people want to know of it.
    pub pool: SurveyedPool,
    row: Map<String, Value>,
}

/// A work pool as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedPool {
    /// Name.
    pub name: String,
    /// `type`: `ecs`, `ecs:push`, `docker`, …
    pub kind: String,
    /// It hands nothing out.
    pub is_paused: bool,
}

/// A queue of a work pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedQueue {
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
}

/// A deployment of a work pool.
#[derive(Debug, Clone)]
pub struct SurveyedDeployment {
    /// Id; `None` = the API does not tell it.
    pub id: Option<String>,
    /// `flow/deployment`, as Prefect's command line names it; the deployment alone where its flow cannot be read.
    pub name: String,
    /// Name of its queue.
    work_queue: Option<String>,
    /// Its flow, or why it cannot be read.
    flow: Result<Arc<Flow>, RenderError>,
    /// What launches need of it, or why it cannot be understood.
    deployed: Result<Deployed, RenderError>,
}

impl SurveyedDeployment {
    /// Whether an agent of these queues (none = all) takes its runs. One that cannot be understood may be among them.
    pub fn is_served_by(&self, queues: &[String]) -> bool {
        queues.is_empty() || self.work_queue.as_ref().map_or(self.deployed.is_err(), |queue| queues.contains(queue))
    }
}

impl Prefect3 {
    /// The server's version; `None` where it does not say, as Prefect Cloud.
    pub async fn server_version(&self) -> Option<String> {
        let version = self.transport.read(&requests::version()).await.ok()?.text();
        version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
    }

    /// All work pools.
    pub async fn work_pools(&self) -> Result<WorkPools, ApiError> {
        let (rows, is_truncated) = self.pages(MOST_BESIDE, requests::work_pools).await?;
        let all = rows.len();
        let pools: Vec<ListedPool> = rows.into_iter().filter_map(|row| listed(row).ok()).collect();
        Ok(WorkPools { odd: all - pools.len(), pools, is_truncated })
    }

    /// The agent's pool; `None` = there is none of that name.
    pub async fn own_pool(&self) -> Result<Option<ListedPool>, ApiError> {
        match self.read_own_pool().await {
            Ok(listed) => Ok(Some(listed)),
            Err(error) if is_missing(&error) && !is_no_route(&error) => Ok(None),
            Err(error) => Err(self.about_pool(error)),
        }
    }

    async fn read_own_pool(&self) -> Result<ListedPool, ApiError> {
        let answer = self.transport.read(&requests::work_pool(self.work_pool())).await?;
        listed(Value::Object(answer.object()?)).map_err(|why| answer.odd(&why))
    }

    /// The agent's pool with at most `most` of its deployments. `known`: the pool, if it was read already.
    pub async fn survey(&self, known: Option<ListedPool>, most: usize) -> Result<PoolSurvey, ApiError> {
        let name = self.work_pool();
        let listed = match known {
            Some(listed) => listed,
            None => self.read_own_pool().await.map_err(|error| self.about_pool(error))?,
        };
        // Runs are rendered from what was read just now.
        self.take_pool(listed.row).await?;
        let (version, queues, workers, deployments) = join4(
            self.server_version(),
            self.list(|offset| requests::queues(name, offset), queue_of),
            self.list(|offset| requests::workers(name, offset), worker_of),
            self.pages(most, |offset| requests::deployments_of_pool(name, offset)),
        )
        .await;
        let (rows, is_truncated) = deployments?;
        let flows = rows.iter().filter_map(|row| text_at(row, &["flow_id"])).map(str::to_owned);
        self.read_flows(&flows.collect()).await;
        let mut deployments: Vec<_> = rows.into_iter().map(|row| self.deployment_of(row)).collect();
        deployments.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Ok(PoolSurvey { pool: listed.pool, version, queues, workers, deployments, is_truncated })
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
        jobs.extend(
            deployments
                .iter()
                .map(|surveyed| job(surveyed.flow.clone()?, Some(surveyed.deployed.as_ref().map_err(Clone::clone)?))),
        );
        let mut described = self.resolved(jobs).await.into_iter();
        let nothing = || Err(RenderError::NotNow("it was not looked at".into()));
        (described.next().unwrap_or_else(nothing), described.collect())
    }

    /// All rows of a list, each understood.
    async fn list<T>(
        &self,
        page: impl Fn(usize) -> ApiRequest,
        read: fn(Value) -> Result<T, String>,
    ) -> Result<Vec<T>, Unlisted> {
        let (rows, is_truncated) = self.pages(MOST_BESIDE, &page).await?;
        if is_truncated {
            return Err(Unlisted::TooLong(MOST_BESIDE));
        }
        let odd = |why: String| Unlisted::Unread(ApiError::Malformed(format!("a row of {}: {why}", page(0).path)));
        rows.into_iter().map(|row| read(row).map_err(odd)).collect()
    }

    /// The rows of a list, page by page, at most so many; and whether there are more.
    async fn pages(&self, most: usize, page: impl Fn(usize) -> ApiRequest) -> Result<(Vec<Value>, bool), ApiError> {
        let mut rows = Vec::new();
        loop {
            let read = self.transport.read(&page(rows.len())).await?.list()?;
            let is_last = read.len() < PAGE_ROWS;
            rows.extend(read);
            if rows.len() > most || is_last {
                let is_truncated = rows.len() > most;
                rows.truncate(most);
                return Ok((rows, is_truncated));
            }
        }
    }

    /// A deployment whose flow was asked for.
    fn deployment_of(&self, row: Value) -> SurveyedDeployment {
        let text = |key: &str| text_at(&row, &[key]).map(str::to_owned);
        let (id, work_queue) = (text("id"), text("work_queue_name"));
        let own = text("name").unwrap_or_else(|| "a deployment without a name".into());
        let odd = |why: String| RenderError::NotUnderstood(format!("the deployment: {why}"));
        let flow = match text("flow_id").map(|id| self.records.flow(&id)) {
            Some(Ok(flow)) => Ok(flow),
            Some(Err(Missing::Unread(why))) => Err(why),
            Some(Err(Missing::Flow(_) | Missing::Deployment(_))) => {
                Err(RenderError::Refused(RunRefusal("its flow cannot be found".into())))
            }
            None => Err(odd("it has no `flow_id`".into())),
        };
        let name = flow.as_ref().map_or_else(|_| own.clone(), |flow| format!("{}/{own}", flow.name));
        let deployed = checked(row, DEPLOYMENT).and_then(|row| deployed(Value::Object(row)));
        SurveyedDeployment { id, name, work_queue, flow, deployed: deployed.map_err(odd) }
    }
}

/// A row in which these fields are what they should be; or what is wrong.
fn checked(row: Value, fields: &[RowField]) -> Result<Map<String, Value>, String> {
    let row = shape::object(row)?;
    shape::check(&row, fields)?;
    Ok(row)
}

fn listed(row: Value) -> Result<ListedPool, String> {
    let row = checked(row, pool::WORK_POOL)?;
    shape::check(&row, POOL)?;
    let (name, kind) = (text(&row, "name"), text(&row, "type"));
    Ok(ListedPool { pool: SurveyedPool { name, kind, is_paused: is_paused(&row)? }, row })
}

fn queue_of(row: Value) -> Result<SurveyedQueue, String> {
    let row = checked(row, QUEUE)?;
    Ok(SurveyedQueue { name: text(&row, "name"), is_paused: is_paused(&row)? })
}

fn worker_of(row: Value) -> Result<SurveyedWorker, String> {
    let row = checked(row, WORKER)?;
    let status = text(&row, "status");
    Ok(SurveyedWorker { name: text(&row, "name"), is_online: status.is_empty() || status == "ONLINE" })
}

/// A text that was checked.
fn text(row: &Map<String, Value>, key: &str) -> String {
    row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Servers that do not say so pause nothing.
fn is_paused(row: &Map<String, Value>) -> Result<bool, String> {
    match row.get("is_paused") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_paused)) => Ok(*is_paused),
        odd => Err(format!("`is_paused` must be true or false, but is {}", shape::described(odd))),
    }
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
