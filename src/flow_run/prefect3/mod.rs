//! From a flow run of Prefect 2 or 3 to its job configuration: what every platform's worker does with the template of a
//! work pool. Pure.
//!
//! | step | what it needs |
//! |---|---|
//! | [`populate`] | the work pool's template and the job variables |
//! | [`block_references`], [`resolve_blocks`] | the block documents that it names |
//! | [`variable_names`], [`resolve_variables`] | the variables that it names |
//! | [`validation`] | the fields of a configuration, typed |
//! | [`environment`], [`labels`], [`run_name`], [`default_command`](preparation::default_command) | what is added to it for the run |
//!
//! Refusals are in the words of the worker, exception type first (`ValueError: …`), as people search for them.

pub(crate) mod preparation;
mod references;
mod template;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod validation;

pub(crate) use preparation::{configured_environment, environment, labels, run_name};
pub use references::{
    BlockReference, Blocks, Variables, block_references, resolve_blocks, resolve_variables, variable_names,
};

pub(crate) use template::populate_with;

pub use crate::config::WorkerRules as Generation;

use crate::ecs_model::UnknownMembers;
use crate::model::RunRefusal;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of an agent's configuration that its launches depend on.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Whose rules hold.
    pub generation: Generation,
    /// The worker's name.
    pub worker_name: String,
    /// The worker's id; only Prefect Cloud gives one.
    pub worker_id: Option<String>,
    /// `prefect.io/version` of the labels.
    pub prefect_version: String,
    /// Image of containers for which nothing names one.
    pub default_image: String,
    /// What becomes of members of requests that are not known.
    pub unknown_members: UnknownMembers,
    /// Region of launches whose credentials name none.
    pub region: String,
    /// Variables of every flow run, in this order: `PREFECT_API_URL`, the key, settings to be passed on.
    pub base_environment: Vec<(String, SecretString)>,
    /// What `{{ $NAME }}` in a template stands for. Leave out what a work pool's editors must not read.
    pub process_environment: BTreeMap<String, String>,
}

/// A flow run as the API describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct FlowRun {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Id of the flow.
    pub flow_id: String,
    /// Id of the deployment; `null` for runs without one.
    #[serde(default)]
    pub deployment_id: Option<String>,
    /// Job variables of this run; none before Prefect 2.16.
    #[serde(default)]
    pub job_variables: Option<Map<String, Value>>,
    /// Everything else that the API says: templates of names may ask for it.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A deployment as the API describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "DeploymentRow")]
pub struct PrefectDeployment {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// When it was changed last, RFC 3339.
    pub updated: Option<String>,
    /// Job variables of its runs.
    pub job_variables: Option<Map<String, Value>>,
}

/// A deployment as servers of any version write it.
#[derive(Deserialize)]
struct DeploymentRow {
    id: String,
    name: String,
    #[serde(default)]
    updated: Option<String>,
    #[serde(default)]
    job_variables: Option<Map<String, Value>>,
    /// The job variables, before Prefect 2.17.
    #[serde(default)]
    infra_overrides: Option<Map<String, Value>>,
}

impl From<DeploymentRow> for PrefectDeployment {
    fn from(row: DeploymentRow) -> Self {
        let DeploymentRow { id, name, updated, job_variables, infra_overrides } = row;
        Self { id, name, updated, job_variables: job_variables.or(infra_overrides) }
    }
}

/// A flow as the API describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Flow {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Everything else that the API says.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A work pool as the API describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkPool {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `job_configuration` and `variables`.
    #[serde(default)]
    pub base_job_template: Map<String, Value>,
}

/// A flow run and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct FlowRunContext<'a> {
    /// The run.
    pub flow_run: &'a FlowRun,
    /// Its deployment, if it has one.
    pub deployment: Option<&'a PrefectDeployment>,
    /// Its flow.
    pub flow: &'a Flow,
    /// The pool.
    pub work_pool: &'a WorkPool,
}

/// A flow run with all that its job depends on: what a platform launches it from. It holds keys in clear text.
#[derive(Clone)]
pub struct FlowRunJob {
    /// The agent.
    pub worker: Arc<WorkerSettings>,
    /// The run.
    pub flow_run: Arc<FlowRun>,
    /// Its deployment, if it has one.
    pub deployment: Option<Arc<PrefectDeployment>>,
    /// Its flow.
    pub flow: Arc<Flow>,
    /// The pool.
    pub work_pool: Arc<WorkPool>,
    /// What [`populate`] gave.
    pub populated: Map<String, Value>,
    /// The same with the values of its references.
    pub resolved: Map<String, Value>,
}

impl FlowRunJob {
    /// The run and what it belongs to.
    pub fn context(&self) -> FlowRunContext<'_> {
        FlowRunContext {
            flow_run: &self.flow_run,
            deployment: self.deployment.as_deref(),
            flow: &self.flow,
            work_pool: &self.work_pool,
        }
    }
}

/// The job configuration of a run, before references to blocks and variables are resolved: the template with defaults
/// and job variables put in.
pub fn populate(worker: &WorkerSettings, run: &FlowRunContext<'_>) -> Result<Map<String, Value>, RunRefusal> {
    let of_deployment = run.deployment.and_then(|deployment| deployment.job_variables.as_ref());
    let job_variables = template::job_variables(of_deployment, run.flow_run.job_variables.as_ref())?;
    populate_with(worker, &run.work_pool.base_job_template, job_variables)
}
