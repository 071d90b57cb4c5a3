//! From a flow run to its launch: the rules of the ECS worker of Prefect 2 and 3, pure.
//!
//! | step | what it needs |
//! |---|---|
//! | [`populate`] | the work pool's template and the job variables |
//! | [`block_references`], [`resolve_blocks`] | the block documents that it names |
//! | [`variable_names`], [`resolve_variables`] | the variables that it names |
//! | [`Job::new`] | checks, environment, labels |
//! | [`Job::launch_spec`] | the requests to ECS; what is to be looked up is in [`LaunchSpec::worker`](crate::launch::LaunchSpec::worker) |
//!
//! Refusals are in the words of the worker, exception type first (`ValueError: …`), as people search for them.

mod command;
mod configuration;
mod credentials;
mod definition_check;
mod environment;
mod job;
mod labels;
#[cfg(test)]
mod nothing_lost;
mod paths;
mod references;
mod request;
mod run_sets;
mod task_definition;
mod template;
#[cfg(test)]
mod testing;
mod validation;
mod variables;

pub use job::Job;
pub use references::{
    BlockReference, Blocks, Variables, block_references, resolve_blocks, resolve_variables, variable_names,
};

pub use crate::config::WorkerRules as Generation;

use crate::ecs_model::UnknownMembers;
use crate::model::RunRefusal;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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

/// The job configuration of a run, before references to blocks and variables are resolved: the template with defaults
/// and job variables put in.
pub fn populate(worker: &WorkerSettings, run: &FlowRunContext<'_>) -> Result<Map<String, Value>, RunRefusal> {
    let of_deployment = run.deployment.and_then(|deployment| deployment.job_variables.as_ref());
    let job_variables = variables::job_variables(of_deployment, run.flow_run.job_variables.as_ref())?;
    variables::populate(worker, &run.work_pool.base_job_template, job_variables)
}
