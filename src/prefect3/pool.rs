//! The work pool: its base job template, read beside every poll, and the worker's sign of life in it.
//!
//! And the jobs that its template makes of due runs: what they refer to is read, then everything else is decided purely.

use super::queue::GRACE;
use super::records::Missing;
use super::transport::{Credential, is_missing, is_no_route};
use super::{Detail, Prefect3, lock, requests};
use crate::config::WorkerRules;
use crate::flow_run::prefect3::{FlowRunJob, WorkPool, WorkerSettings, populate, resolve_blocks, resolve_variables};
use crate::model::{ApiError, Registration, RenderError, RunRefusal};
use crate::orchestrator::{DueRun, RunDescription};
use crate::redaction::known::aws_keys_of;
use crate::transport::shape::{self, FieldKind, RowField};
use futures_util::future::join;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A template read longer ago is not used: people change it.
const USED_FOR: Duration = Duration::from_mins(5);

/// What is read of a work pool.
pub(super) const WORK_POOL: &[RowField] = &[
    RowField::required("id", FieldKind::Text),
    RowField::required("name", FieldKind::Text),
    RowField::required("base_job_template", FieldKind::Object),
];

/// What is known of the work pool.
#[derive(Debug, Default)]
pub(super) struct Pool(Option<(Arc<WorkPool>, Instant)>);

impl Prefect3 {
    /// The pool as it was read a moment ago, beside the queue.
    pub(super) async fn pool(&self) -> Result<Arc<WorkPool>, ApiError> {
        let mut known = self.pool.lock().await;
        match &known.0 {
            Some((pool, read_at)) if read_at.elapsed() < USED_FOR => Ok(Arc::clone(pool)),
            _ => self.read_pool_into(&mut known).await,
        }
    }

    /// The pool, read now.
    pub(super) async fn read_pool(&self) -> Result<Arc<WorkPool>, ApiError> {
        let mut known = self.pool.lock().await;
        self.read_pool_into(&mut known).await
    }

    async fn read_pool_into(&self, known: &mut Pool) -> Result<Arc<WorkPool>, ApiError> {
        let answer = self.transport.read(&requests::work_pool(self.work_pool()).within(GRACE)).await;
        let answer = answer.map_err(|error| self.about_pool(error))?;
        self.take_into(known, answer.object()?, |why| answer.odd(why)).await
    }

    /// The pool, as it was read already.
    pub(super) async fn take_pool(&self, row: Map<String, Value>) -> Result<Arc<WorkPool>, ApiError> {
        let odd = |why: &str| ApiError::Malformed(format!("the work pool: {why}"));
        self.take_into(&mut *self.pool.lock().await, row, odd).await
    }

    async fn take_into(
        &self,
        known: &mut Pool,
        row: Map<String, Value>,
        odd: impl Fn(&str) -> ApiError,
    ) -> Result<Arc<WorkPool>, ApiError> {
        self.look_at(&row);
        let mut pool: WorkPool = shape::row(Value::Object(row), WORK_POOL).map_err(|why| odd(&why))?;
        // Only this is a pool without a template. Whatever else is no template is an answer that went wrong.
        if pool.base_job_template.is_empty() {
            pool.base_job_template = default_template((self.pool_type.template)(self.config.generation.rules))?;
            self.fill(&pool.base_job_template).await;
        }
        let pool = Arc::new(pool);
        known.0 = Some((Arc::clone(&pool), Instant::now()));
        Ok(pool)
    }

    /// Notes what a person should know.
    fn look_at(&self, row: &Map<String, Value>) {
        let kind = row.get("type").and_then(Value::as_str).unwrap_or_default();
        let served = self.pool_type.name;
        let wrong = (kind != served).then(|| {
            format!(
                "work_pool: {:?} is a work pool of type {kind:?}: flow runs are launched as if it were {served:?}",
                self.work_pool()
            )
        });
        *lock(&self.warnings) = wrong.into_iter().collect();
    }

    /// Writes the template that was missing. Flow runs are launched by it also when that fails.
    async fn fill(&self, template: &Map<String, Value>) {
        if self.read_only {
            return;
        }
        if let Err(error) =
            self.transport.repeatable(&requests::fill_work_pool(self.work_pool(), template)).await.answer
        {
            tracing::warn!(work_pool = self.work_pool(), %error, "the empty base job template was not filled");
        }
    }

    /// The worker of an earlier process. Prefect Cloud gives workers ids, which flow runs and logs name; only there
    /// something is asked, once.
    pub(super) async fn known_worker(&self, remembered: Option<&Registration>) -> Option<Registration> {
        if !self.is_cloud() {
            return None;
        }
        let identity = self.names.registration(&[&self.config.api, self.work_pool(), &self.config.name]);
        if let Some(known) = remembered.filter(|known| known.identity == identity) {
            *lock(&self.worker_id) = Some(known.agent_id.clone());
            return Some(known.clone());
        }
        if !self.read_only
            && let Err(error) = self.heartbeat().await
        {
            // The poll's own heartbeat will say so where it counts.
            tracing::warn!(%error, "the worker's id is not known");
        }
        self.worker_id().map(|agent_id| Registration { agent_id, tenant_id: None, identity, settings: None })
    }

    /// The worker's sign of life.
    pub(super) async fn heartbeat(&self) -> Result<(), ApiError> {
        let wants_id =
            self.is_cloud() && self.worker_id().is_none() && !self.unserved.worker_ids.load(Ordering::Relaxed);
        let request = |return_id| {
            let interval = self.config.poll_interval.as_secs();
            requests::heartbeat(self.work_pool(), &self.config.name, interval, return_id).within(GRACE)
        };
        let mut answer = self.transport.repeatable(&request(wants_id)).await.answer;
        if wants_id && matches!(answer, Err(ApiError::Refused { .. })) {
            self.unserved.worker_ids.store(true, Ordering::Relaxed);
            answer = self.transport.repeatable(&request(false)).await.answer;
        }
        let said = answer.map_err(|error| self.about_pool(error))?.text();
        if wants_id && let Ok(id) = uuid::Uuid::try_parse(&said) {
            *lock(&self.worker_id) = Some(id.to_string());
        }
        Ok(())
    }

    /// Prefect Cloud: its API's address names account and workspace.
    pub(super) fn is_cloud(&self) -> bool {
        self.config.api.contains("/accounts/") && self.config.api.contains("/workspaces/")
    }

    /// What an error means whose request named the pool and its queues.
    pub(super) fn about_pool(&self, error: ApiError) -> ApiError {
        let name = self.work_pool();
        match &error {
            _ if is_no_route(&error) => ApiError::Configuration(format!(
                "api: {} answers, but not as a Prefect API: the address of a server ends in /api, that of Prefect Cloud in \
                 /workspaces/<id>",
                self.config.api
            )),
            ApiError::Status { text, .. } if is_missing(&error) => ApiError::Configuration(format!(
                "work_pool: Prefect says: {text} Create it (`prefect work-pool create --type {} {name:?}`), or correct \
                 `work_pool` and `work_queues`.",
                self.pool_type.name
            )),
            _ => error,
        }
    }
}

fn default_template(json: &str) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_str(json).map_err(|error| ApiError::Malformed(format!("the built-in template: {error}")))
}

impl Prefect3 {
    /// One entry per run, in order.
    pub(super) async fn describe(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<RunDescription, RenderError>> {
        if runs.is_empty() {
            return Vec::new();
        }
        let pool = match join(self.pool(), self.read_records(runs)).await.0 {
            Ok(pool) => pool,
            Err(error) => {
                return runs.iter().map(|_| Err(RenderError::unread("the work pool", &error))).collect();
            }
        };
        let worker = Arc::new(self.worker_settings());
        let jobs: Vec<_> = runs.iter().map(|run| self.populated(&worker, &pool, run)).collect();
        self.resolved(jobs).await
    }

    /// The jobs with what they refer to, which is read.
    pub(super) async fn resolved(
        &self,
        jobs: Vec<Result<FlowRunJob, RenderError>>,
    ) -> Vec<Result<RunDescription, RenderError>> {
        let blocks = self.read_blocks(jobs.iter().flatten().map(|job| &job.populated)).await;
        let with_blocks = jobs.into_iter().map(|job: Result<FlowRunJob, RenderError>| {
            let mut job = job?;
            // Blocks may refer to variables.
            job.resolved = resolve_blocks(&job.populated, &blocks.of(&job.populated)?).map_err(RenderError::Refused)?;
            Ok(job)
        });
        let jobs: Vec<Result<FlowRunJob, RenderError>> = with_blocks.collect();
        let variables = self.read_variables(jobs.iter().flatten().map(|job| &job.resolved)).await;
        let described = jobs.into_iter().map(|job| {
            let mut job = job?;
            job.resolved = resolve_variables(&job.resolved, &variables.of(&job.resolved)?);
            self.redaction.bring(&self.config.agent, aws_keys_of(&job.resolved));
            Ok(RunDescription::Three(Box::new(job)))
        });
        described.collect()
    }

    /// The job of a run up to its references.
    fn populated(
        &self,
        worker: &Arc<WorkerSettings>,
        work_pool: &Arc<WorkPool>,
        run: &DueRun<Detail>,
    ) -> Result<FlowRunJob, RenderError> {
        let belongings = self.records.of(run).map_err(|missing| match missing {
            Missing::Deployment(id) => RenderError::Gone(format!("Deployment {id} no longer exists, cancelled run.")),
            Missing::Flow(id) => {
                RenderError::Refused(RunRefusal(format!("ObjectNotFound: there is no flow with id {id}")))
            }
            Missing::Unread(why) => why,
        })?;
        let mut job = FlowRunJob {
            worker: Arc::clone(worker),
            flow_run: Arc::clone(&run.detail.flow_run),
            deployment: belongings.deployment.as_ref().map(|known| Arc::clone(&known.deployment)),
            flow: belongings.flow,
            work_pool: Arc::clone(work_pool),
            populated: Map::new(),
            resolved: Map::new(),
        };
        job.populated = populate(worker, &job.context()).map_err(RenderError::Refused)?;
        Ok(job)
    }

    /// What launches depend on, of this agent.
    pub(super) fn worker_settings(&self) -> WorkerSettings {
        let three = &self.config.generation;
        let api = || ("PREFECT_API_URL".to_owned(), self.config.api.clone());
        let settings = || three.worker_env.iter().chain(&self.config.env_vars).cloned();
        let secret = |(name, value): (String, String)| (name, SecretString::from(value));
        let Credential { auth_string, api_key, client_headers } = &self.credential;
        // Prefect 2 does not know the setting.
        let client_headers = client_headers.as_ref().filter(|_| three.rules == WorkerRules::Three);
        let keys = [
            ("PREFECT_API_AUTH_STRING", auth_string.as_ref()),
            ("PREFECT_API_KEY", api_key.as_ref()),
            ("PREFECT_CLIENT_CUSTOM_HEADERS", client_headers),
        ];
        let keys = keys.into_iter().filter_map(|(name, key)| Some((name.to_owned(), key?.clone())));
        let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| (name.to_owned(), self.region.clone()));
        WorkerSettings {
            generation: three.rules,
            worker_name: self.config.name.clone(),
            worker_id: self.worker_id(),
            prefect_version: self.prefect_version().to_owned(),
            default_image: three.image.clone(),
            unknown_members: self.config.unknown_members,
            region: self.region.clone(),
            base_environment: std::iter::once(secret(api())).chain(keys).chain(settings().map(secret)).collect(),
            // Without keys: whoever edits the work pool can read what stands here.
            process_environment: regions.into_iter().chain([api()]).chain(settings()).collect(),
        }
    }
}

#[cfg(test)]
mod describe_tests;
#[cfg(test)]
mod tests;
