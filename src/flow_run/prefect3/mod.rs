//! From a flow run of Prefect 2 or 3 to its job configuration: what every platform's worker does with the template of a
//! work pool. Pure.
//!
//! | step | what it needs |
//! |---|---|
//! | [`populate`] | the work pool's template and the job variables |
//! | [`block_references`], [`resolve_blocks`] | the block documents that it names |
//! | [`variable_names`], [`resolve_variables`] | the variables that it names |
//! | [`validation`] | the fields of a configuration, typed |
//! | [`environment`], [`labels`], [`run_name`], [`default_command`] | what is added to it for the run |
//!
//! Refusals are in the words of the worker, exception type first (`ValueError: …`), as people search for them.

mod references;
mod template;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod validation;

pub use crate::config::WorkerRules as Generation;
pub use references::{
    BlockReference, Blocks, Variables, block_references, resolve_blocks, resolve_variables, variable_names,
};
pub(crate) use template::populate_with;

use crate::ecs_model::UnknownMembers;
use crate::model::RunRefusal;
use crate::python_text::{is_true, text, type_name};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::str::Chars;
use std::sync::Arc;
use template::{Values, apply};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

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

/// The agent's settings, what names the run, then what the configuration says; null removes a variable. A variable that
/// is replaced keeps its place.
pub(crate) fn environment(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    configured: &Map<String, Value>,
) -> Map<String, Value> {
    let mut env = Map::new();
    for (name, value) in &worker.base_environment {
        env.insert(name.clone(), value.expose_secret().into());
    }
    for (name, value) in attribution(worker, run) {
        env.insert(name.into(), value.into());
    }
    env.extend(configured.clone());
    env.retain(|_, value| !value.is_null());
    env
}

/// What names the flow run, and since Prefect 3 who runs what.
fn attribution<'a>(worker: &'a WorkerSettings, run: &FlowRunContext<'a>) -> Vec<(&'static str, &'a str)> {
    let mut env = vec![("PREFECT__FLOW_RUN_ID", run.flow_run.id.as_str())];
    if worker.generation == Generation::Two {
        return env;
    }
    let deployment_name = run.deployment.map(|deployment| deployment.name.as_str());
    let known = [
        ("PREFECT__WORKER_ID", worker.worker_id.as_deref()),
        ("PREFECT__WORKER_NAME", Some(worker.worker_name.as_str())),
        ("PREFECT__FLOW_ID", Some(run.flow_run.flow_id.as_str())),
        ("PREFECT__FLOW_NAME", Some(run.flow.name.as_str()).filter(|name| !name.is_empty())),
        ("PREFECT__DEPLOYMENT_ID", run.flow_run.deployment_id.as_deref()),
        ("PREFECT__DEPLOYMENT_NAME", deployment_name.filter(|name| !name.is_empty())),
    ];
    env.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
    env
}

/// The `env` of a configuration: values as Python writes them; null stays.
pub(crate) fn configured_environment(value: Option<&Value>) -> Result<Map<String, Value>, RunRefusal> {
    let spell = |value: &Value| if value.is_null() { Value::Null } else { Value::String(text(value)) };
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(env)) => Ok(env.iter().map(|(name, value)| (name.clone(), spell(value))).collect()),
        Some(other) => {
            Err(RunRefusal(format!("AttributeError: '{}' object has no attribute 'items'", type_name(other))))
        }
    }
}

// Labels of a flow run's infrastructure.

/// What names the run, then the configuration's own labels; those win.
pub(crate) fn labels(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    own: &Map<String, Value>,
) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| {
        labels.insert(format!("prefect.io/{name}"), value.into());
    };
    add("flow-run-id", &run.flow_run.id);
    add("flow-run-name", &run.flow_run.name);
    add("version", &worker.prefect_version);
    match worker.generation {
        Generation::Two => {
            add_deployment(&mut add, run, |time| format!("{}Z", date_time(time)));
            add_flow(&mut add, run);
        }
        Generation::Three => {
            add("work-pool-name", &run.work_pool.name);
            add("work-pool-id", &run.work_pool.id);
            add("worker-name", &worker.worker_name);
            add_flow(&mut add, run);
            add_deployment(&mut add, run, |time| format!("{}+00:00", date_time(time)));
        }
    }
    labels.extend(own.clone());
    labels
}

fn add_flow(add: &mut impl FnMut(&str, &str), run: &FlowRunContext<'_>) {
    add("flow-id", &run.flow.id);
    add("flow-name", &run.flow.name);
}

fn add_deployment(
    add: &mut impl FnMut(&str, &str),
    run: &FlowRunContext<'_>,
    spell: impl Fn(OffsetDateTime) -> String,
) {
    let Some(deployment) = run.deployment else { return };
    add("deployment-id", &deployment.id);
    add("deployment-name", &deployment.name);
    if let Some(updated) = updated(deployment) {
        add("deployment-updated", &spell(updated));
    }
}

fn updated(deployment: &PrefectDeployment) -> Option<OffsetDateTime> {
    let updated = OffsetDateTime::parse(deployment.updated.as_deref()?, &Rfc3339).ok()?;
    updated.checked_to_offset(UtcOffset::UTC)
}

/// `2026-01-02T03:04:05.678901`; no fraction where there is none.
fn date_time(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    let whole = format!("{}T{hour:02}:{minute:02}:{second:02}", time.date());
    match time.microsecond() {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

// The name of a flow run's infrastructure.

/// The configured name, in Prefect 3 a template about flow and flow run; else the flow run's.
pub(crate) fn run_name(worker: &WorkerSettings, run: &FlowRunContext<'_>, configured: Option<String>) -> String {
    let configured = configured.filter(|name| !name.is_empty());
    let rendered = match (worker.generation, configured) {
        (Generation::Three, Some(template)) => {
            let context = context(run);
            let values = Values { variables: &context, environment: &worker.process_environment };
            // A name that is nothing but a missing value stays as it is written; one that is nothing at all counts as none.
            match apply(&json!(template), &values) {
                Some(name) => is_true(&name).then(|| text(&name)),
                None => Some(template),
            }
        }
        (_, configured) => configured,
    };
    rendered.filter(|name| !name.is_empty()).unwrap_or_else(|| run.flow_run.name.clone())
}

fn context(run: &FlowRunContext<'_>) -> Map<String, Value> {
    let mut flow = run.flow.others.clone();
    flow.extend([("id".to_owned(), json!(run.flow.id)), ("name".to_owned(), json!(run.flow.name))]);
    let mut flow_run = run.flow_run.others.clone();
    flow_run.extend([
        ("id".to_owned(), json!(run.flow_run.id)),
        ("name".to_owned(), json!(run.flow_run.name)),
        ("flow_id".to_owned(), json!(run.flow_run.flow_id)),
        ("deployment_id".to_owned(), json!(run.flow_run.deployment_id)),
        ("job_variables".to_owned(), json!(run.flow_run.job_variables)),
    ]);
    Map::from_iter([("ctx".to_owned(), json!({"flow": flow, "flow_run": flow_run}))])
}

// Commands: what starts a flow where nothing names one, and commands given as one text.

/// Setting of Prefect 2, on by default since 2.14.5. Off, a flow is started without anything beside it that would hear
/// of its cancellation.
const ENHANCED_CANCELLATION: &str = "PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION";

/// What counts as off in a setting that is true or false, in lower case.
const OFF: [&str; 6] = ["false", "0", "off", "no", "f", "n"];

/// The command of flow runs for which nothing names one. It runs the flow beside a process that watches for its
/// cancellation, ends it in time and lets its `on_cancellation` hooks run.
pub(crate) fn default_command(worker: &WorkerSettings) -> &'static str {
    if worker.generation == Generation::Two && is_off(worker, ENHANCED_CANCELLATION) {
        "python -m prefect.engine"
    } else {
        "prefect flow-run execute"
    }
}

/// Whether the settings of the worker switch one off. Of several of that name, the last counts.
fn is_off(worker: &WorkerSettings, setting: &str) -> bool {
    let set = worker.base_environment.iter().rev().find(|(name, _)| name == setting);
    set.is_some_and(|(_, value)| OFF.contains(&value.expose_secret().trim().to_lowercase().as_str()))
}

/// The words of a command, as Python's `shlex.split` finds them: POSIX quoting, nothing is a comment.
pub(crate) fn split_command(command: &str) -> Result<Vec<String>, RunRefusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(escaped(&mut rest)?),
            '\'' | '"' => quoted(c, &mut rest, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn escaped(rest: &mut Chars<'_>) -> Result<char, RunRefusal> {
    rest.next().ok_or_else(|| RunRefusal("ValueError: No escaped character".into()))
}

/// Adds what is between two quotes to `word`. Only in double quotes, a backslash escapes a quote or a backslash.
fn quoted(quote: char, rest: &mut Chars<'_>, word: &mut String) -> Result<(), RunRefusal> {
    while let Some(c) = rest.next() {
        if c == quote {
            return Ok(());
        }
        if c == '\\' && quote == '"' {
            let next = escaped(rest)?;
            if next != '\\' && next != '"' {
                word.push('\\');
            }
            word.push(next);
        } else {
            word.push(c);
        }
    }
    Err(RunRefusal("ValueError: No closing quotation".into()))
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod preparation_tests;
