//! The jobs of due runs: what they refer to is read, then everything else is decided purely.

use super::records::Missing;
use super::transport::Credential;
use super::{Detail, Prefect3};
use crate::config::WorkerRules;
use crate::flow_run::prefect3::{FlowRunJob, WorkPool, WorkerSettings, populate, resolve_blocks, resolve_variables};
use crate::model::{RenderError, RunRefusal};
use crate::orchestrator::{DueRun, RunDescription};
use crate::redaction::known::aws_keys_of;
use futures_util::future::join;
use secrecy::SecretString;
use serde_json::Map;
use std::sync::Arc;

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
mod tests;
