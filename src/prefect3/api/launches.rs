//! The launches of due runs: what they refer to is read, then everything else is decided purely.

use super::credential::Credential;
use super::records::{Belongings, Missing};
use super::{Detail, Prefect3, lock};
use crate::config::WorkerRules;
use crate::launch::delivery::{Delivered, deliver};
use crate::model::RunRefusal;
use crate::orchestrator::{DueRun, RenderError, Rendered};
use crate::prefect3::render::{
    FlowRunContext, Job, WorkPool, WorkerSettings, populate, resolve_blocks, resolve_variables,
};
use crate::redaction::known::aws_keys_of;
use futures_util::future::join;
use secrecy::SecretString;
use serde_json::{Map, Value};

/// A run whose configuration is known up to its references.
struct Populated {
    belongings: Belongings,
    configuration: Map<String, Value>,
}

/// A run whose blocks are resolved.
struct Resolved {
    populated: Populated,
    /// With the values of its blocks; those may refer to variables.
    configuration: Map<String, Value>,
}

impl Prefect3 {
    /// One entry per run, in order.
    pub(super) async fn render(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<Rendered, RenderError>> {
        if runs.is_empty() {
            return Vec::new();
        }
        let pool = match join(self.pool(), self.read_records(runs)).await.0 {
            Ok(pool) => pool,
            Err(error) => {
                return runs.iter().map(|_| Err(RenderError::unread("the work pool", &error))).collect();
            }
        };
        let worker = self.worker_settings();
        let populated: Vec<_> = runs.iter().map(|run| self.populated(&worker, &pool, run)).collect();
        let blocks = self.read_blocks(populated.iter().flatten().map(|run| &run.configuration)).await;
        let resolved: Vec<Result<Resolved, RenderError>> = populated
            .into_iter()
            .map(|populated| {
                let populated = populated?;
                let blocks = blocks.of(&populated.configuration)?;
                let configuration = resolve_blocks(&populated.configuration, &blocks).map_err(RenderError::Refused)?;
                Ok(Resolved { populated, configuration })
            })
            .collect();
        let variables = self.read_variables(resolved.iter().flatten().map(|run| &run.configuration)).await;
        let launches = resolved.into_iter().zip(runs).map(|(resolved, run)| {
            let Resolved { populated, configuration } = resolved?;
            let variables = variables.of(&configuration)?;
            let configuration = resolve_variables(&configuration, &variables);
            self.rendered(
                &worker,
                &context(run, &populated.belongings, &pool),
                &populated.configuration,
                &configuration,
            )
            .map_err(RenderError::Refused)
        });
        launches.collect()
    }

    fn populated(
        &self,
        worker: &WorkerSettings,
        pool: &WorkPool,
        run: &DueRun<Detail>,
    ) -> Result<Populated, RenderError> {
        let belongings = self.records.of(run).map_err(|missing| match missing {
            Missing::Deployment(id) => RenderError::Gone(format!("Deployment {id} no longer exists, cancelled run.")),
            Missing::Flow(id) => {
                RenderError::Refused(RunRefusal(format!("ObjectNotFound: there is no flow with id {id}")))
            }
            Missing::Unread(why) => why,
        })?;
        let configuration = populate(worker, &context(run, &belongings, pool)).map_err(RenderError::Refused)?;
        Ok(Populated { belongings, configuration })
    }

    fn rendered(
        &self,
        worker: &WorkerSettings,
        run: &FlowRunContext<'_>,
        populated: &Map<String, Value>,
        resolved: &Map<String, Value>,
    ) -> Result<Rendered, RunRefusal> {
        self.redaction.bring(&self.config.agent, aws_keys_of(resolved));
        let job = Job::new(worker, run, populated, resolved)?;
        let cluster = job.cluster().map(str::to_owned);
        lock(&self.clusters).insert(run.flow_run.id.clone(), cluster);
        let Delivered { spec, warning } = deliver(job.launch_spec()?, &self.delivery)?;
        Ok(Rendered { spec, warning })
    }

    /// What launches depend on, of this agent.
    fn worker_settings(&self) -> WorkerSettings {
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

fn context<'a>(run: &'a DueRun<Detail>, belongings: &'a Belongings, pool: &'a WorkPool) -> FlowRunContext<'a> {
    FlowRunContext {
        flow_run: &run.detail.flow_run,
        deployment: belongings.deployment.as_deref().map(|known| &known.deployment),
        flow: &belongings.flow,
        work_pool: pool,
    }
}

#[cfg(test)]
mod tests;
