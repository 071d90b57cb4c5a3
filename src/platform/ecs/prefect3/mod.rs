//! From a job configuration to its launch: the rules of the ECS worker of Prefect 2 and 3, pure.
//!
//! [`Job::new`] checks the configuration and adds environment and labels; [`Job::launch_spec`] makes the requests to ECS of
//! it. [`Job`] is one flow run's: its configuration, prepared, its environment, and the launch that follows from it. What is to be looked up is in [`LaunchSpec::worker`](super::LaunchSpec::worker).

mod configuration;
#[cfg(test)]
mod nothing_lost;
mod origin;
mod request;
mod task_definition;
#[cfg(test)]
mod testing;

pub(super) use origin::definition_origin;

use super::request::{definition_problems, run_task_problems, shape_refusal};
use super::target::{AwsCredentials, CHOSEN_ACCOUNT, CHOSEN_KEYS};
use super::{Complete, Completion, Decided, Definition, LaunchSpec, Words, WorkerPart};
use crate::ecs_model::{Operation, Problems, UnknownMembers, check};
use crate::flow_run::prefect3::{self, FlowRunContext, WorkerSettings, labels, populate_with, run_name};
use crate::model::RunRefusal;
use crate::python_text::text;
use configuration::{API_KEY, AUTH_STRING, Configuration, filled, flow_container_name, is_empty};
use request::{RunTaskRequest, request, set_cluster};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;
use task_definition::task_definition;

/// Tag of tasks whose definition is deregistered when they stop. The observer of Prefect's worker looks for it, spelled
/// like this.
const DEREGISTER_TAG: &str = "prefect.io/degregister-task-definition";

/// A flow run's job configuration, checked and prepared.
#[derive(Clone)]
pub struct Job {
    flow_run_id: String,
    configuration: Configuration,
    /// Ours to register; `None` = the configuration names one.
    definition: Option<Map<String, Value>>,
    key_variables: Vec<String>,
    run_sets: Vec<String>,
    unknown_members: UnknownMembers,
    /// The configuration before references were resolved, if it has some: what they bring along is not for messages.
    written: Option<Map<String, Value>>,
}

impl Job {
    /// `populated` is what [`populate`](crate::flow_run::prefect3::populate) gave, `resolved` the same with the values of its references.
    pub fn new(
        worker: &WorkerSettings,
        run: &FlowRunContext<'_>,
        populated: &Map<String, Value>,
        resolved: &Map<String, Value>,
    ) -> Result<Self, RunRefusal> {
        let mut configuration = Configuration::new(resolved, populated)?;
        configuration.env = environment(worker, run, &configuration);
        configuration.labels = labels(worker, run, &configuration.labels);
        configuration.name = Some(run_name(worker, run, configuration.name.take()));
        configuration.command.get_or_insert_with(|| prefect3::default_command(worker).to_owned());
        let definition = match existing(&configuration) {
            Some(_) => None,
            None => Some(task_definition(worker, run, &configuration)?),
        };
        // What is written stands for keys or not: a block may hold nothing but a role.
        let brings_keys = configuration.aws_credentials.access_key_id.is_some();
        let without = populate_with(worker, &run.work_pool.base_job_template, Map::new()).unwrap_or_default();
        let mut run_sets = run_sets(populated, &without);
        run_sets.retain(|set| set != CHOSEN_KEYS || brings_keys);
        let chosen = run_sets.iter().filter(|set| [CHOSEN_ACCOUNT, CHOSEN_KEYS].contains(&set.as_str()));
        configuration.aws_credentials.set_by_run = chosen.cloned().collect();
        Ok(Self {
            flow_run_id: run.flow_run.id.clone(),
            key_variables: key_variables(worker, &configuration.env),
            run_sets,
            configuration,
            definition,
            unknown_members: worker.unknown_members,
            written: (populated != resolved).then(|| populated.clone()),
        })
    }

    /// The credentials that the launch uses.
    pub fn aws_credentials(&self) -> &AwsCredentials {
        &self.configuration.aws_credentials
    }

    /// The body of `RegisterTaskDefinition`; `None` = the configuration names a definition that exists.
    pub fn task_definition(&self) -> Option<&Map<String, Value>> {
        self.definition.as_ref()
    }

    /// The cluster as the configuration has it.
    pub fn cluster(&self) -> Option<&str> {
        self.configuration.cluster.as_deref().filter(|cluster| !cluster.is_empty())
    }

    /// The launch, or why there is none. If the definition exists already, the launch has to be completed with what
    /// AWS says of it.
    pub fn launch_spec(&self) -> Result<LaunchSpec, RunRefusal> {
        if let Some(definition) = &self.definition {
            return self.with_definition(definition, Definition::Own(definition.clone()));
        }
        if let Some(named) = existing(&self.configuration).filter(|named| !named.is_string()) {
            let named = Map::from_iter([("taskDefinition".to_owned(), named.clone())]);
            let problems = check(Operation::RunTask, &named, &[], self.unknown_members);
            self.refuse(&[problems])?;
        }
        let completion = Completion(Arc::new(self.clone()));
        let mut body = self.configuration.task_run_request.clone();
        // Where it goes is known before it is complete: the claim says so, and earlier tasks are looked for there.
        set_cluster(&mut body, &self.configuration);
        let request = RunTaskRequest { body, network: None };
        let mut spec = self.spec(request, self.existing(), None);
        spec.worker.completion = Some(completion);
        Ok(spec)
    }

    fn existing(&self) -> Definition {
        let name = existing(&self.configuration).map(text).unwrap_or_default();
        Definition::Existing { name, definition_roles: Vec::new() }
    }

    /// `definition` says what `described` says.
    fn with_definition(
        &self,
        described: &Map<String, Value>,
        definition: Definition,
    ) -> Result<LaunchSpec, RunRefusal> {
        task_definition::check_definition(&self.configuration, described)?;
        let flow = flow_container_name(&self.configuration, described);
        let spec = self.spec(request(&self.configuration, described)?, definition, Some(flow));
        // The worker does not come to the second request if the first one is refused.
        self.refuse(&[definition_problems(&spec, self.unknown_members)])?;
        self.refuse(&[run_task_problems(&spec, self.unknown_members)])?;
        Ok(spec)
    }

    fn refuse(&self, problems: &[Problems<'_>]) -> Result<(), RunRefusal> {
        let may_show =
            |value: &Value| self.written.as_ref().is_none_or(|written| written.values().any(|w| holds(w, value)));
        match shape_refusal(problems, &may_show) {
            None => Ok(()),
            Some(text) => Err(RunRefusal(format!("ParamValidationError: {text}"))),
        }
    }

    /// `flow_container`: the name of the container that runs the flow, once it is known.
    fn spec(&self, request: RunTaskRequest, definition: Definition, flow_container: Option<String>) -> LaunchSpec {
        let deregister = self.configuration.auto_deregister_task_definition && self.definition.is_some();
        LaunchSpec {
            definition,
            run_task: request.body,
            infer_network: false,
            key_variables: self.key_variables.clone(),
            run_sets: self.run_sets.clone(),
            worker: WorkerPart {
                network: request.network,
                flow_container,
                tag_if_registered: deregister.then(|| (DEREGISTER_TAG.into(), "true".into())),
                completion: None,
                decided: Decided::default(),
                cluster: self.cluster().map(str::to_owned),
                credentials: self.configuration.aws_credentials.clone(),
                words: Words::Worker,
            },
            pending_delivery: None,
            guard: None,
        }
    }

    /// The prepared configuration, as the worker has it: for comparison and for dry runs. It holds keys in clear text.
    pub fn prepared(&self) -> Value {
        let c = &self.configuration;
        json!({
            "command": c.command,
            "env": c.env,
            "labels": c.labels,
            "name": c.name,
            "task_definition": c.task_definition,
            "task_run_request": c.task_run_request,
            "configure_cloudwatch_logs": c.configure_cloudwatch_logs,
            "cloudwatch_logs_options": c.cloudwatch_logs_options,
            "cloudwatch_logs_prefix": c.cloudwatch_logs_prefix,
            "network_configuration": c.network_configuration,
            "auto_deregister_task_definition": c.auto_deregister_task_definition,
            "vpc_id": c.vpc_id,
            "container_name": c.container_name,
            "cluster": c.cluster,
            "match_latest_revision_in_family": c.match_latest_revision_in_family,
            "prefect_api_key_secret_arn": c.prefect_api_key_secret_arn,
            "prefect_api_auth_string_secret_arn": c.prefect_api_auth_string_secret_arn,
            "execution_role_arn": c.execution_role_arn,
        })
    }
}

impl Complete for Job {
    fn complete(&self, described: &Map<String, Value>) -> Result<LaunchSpec, RunRefusal> {
        self.with_definition(described, self.existing())
    }
}

/// Keys are in there: nothing but the run is shown.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("flow_run_id", &self.flow_run_id).finish_non_exhaustive()
    }
}

/// Whether `value` is or is in `whole`.
fn holds(whole: &Value, value: &Value) -> bool {
    whole == value
        || match whole {
            Value::Object(map) => map.values().any(|inner| holds(inner, value)),
            Value::Array(items) => items.iter().any(|inner| holds(inner, value)),
            _ => false,
        }
}

fn existing(configuration: &Configuration) -> Option<&Value> {
    filled(configuration.task_run_request.get("taskDefinition"))
}

// The environment of a flow run's container.

/// Variable that holds further headers of every request.
const CLIENT_HEADERS: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";

/// Every variable but the keys that come from a secret of the user's own.
fn environment(worker: &WorkerSettings, run: &FlowRunContext<'_>, configuration: &Configuration) -> Map<String, Value> {
    let mut env = prefect3::environment(worker, run, &configuration.env);
    let secrets = [
        (API_KEY, &configuration.prefect_api_key_secret_arn),
        (AUTH_STRING, &configuration.prefect_api_auth_string_secret_arn),
    ];
    for (name, arn) in secrets {
        if !is_empty(arn.as_ref()) {
            env.shift_remove(name);
        }
    }
    env
}

/// Names of the variables that hold a key of the agent's own, and so may be delivered as secrets.
fn key_variables(worker: &WorkerSettings, env: &Map<String, Value>) -> Vec<String> {
    let is_ours = |name: &str| {
        let ours = worker.base_environment.iter().find(|(known, _)| known == name);
        ours.is_some_and(|(_, value)| env.get(name).and_then(Value::as_str) == Some(value.expose_secret()))
    };
    [API_KEY, AUTH_STRING, CLIENT_HEADERS].into_iter().filter(|name| is_ours(name)).map(str::to_owned).collect()
}

// What a run's own job variables decided about its launch, as opposed to its work pool.

/// Keys as in [`LaunchSpec::run_sets`](crate::platform::ecs::LaunchSpec::run_sets): what is different without job variables.
///
/// `with` and `without` are the configuration with and without the job variables of deployment and flow run.
fn run_sets(with: &Map<String, Value>, without: &Map<String, Value>) -> Vec<String> {
    let differs = |path: &[&str]| at(with, path) != at(without, path);
    let mut sets: Vec<String> = Vec::new();
    for configuration in [with, without] {
        for key in configuration.get("task_run_request").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            if differs(&["task_run_request", key]) && !sets.contains(key) {
                sets.push(key.clone());
            }
        }
    }
    let elsewhere: [(&str, &[&[&str]]); 6] = [
        ("cluster", &[&["cluster"]]),
        ("networkConfiguration", &[&["vpc_id"], &["network_configuration"]]),
        ("tags", &[&["labels"]]),
        (CHOSEN_ACCOUNT, &[&["aws_credentials"]]),
        (
            "overrides.taskRoleArn",
            &[&["task_run_request", "overrides", "taskRoleArn"], &["task_definition", "taskRoleArn"]],
        ),
        (
            "overrides.executionRoleArn",
            &[&["task_run_request", "overrides", "executionRoleArn"], &["task_definition", "executionRoleArn"]],
        ),
    ];
    for (key, paths) in elsewhere {
        if paths.iter().any(|path| differs(path)) && !sets.iter().any(|set| set == key) {
            sets.push(key.into());
        }
    }
    if keys_differ(with.get("aws_credentials"), without.get("aws_credentials")) {
        sets.push(CHOSEN_KEYS.into());
    }
    sets
}

/// A reference to a block is compared as it is written: what it brings along comes from whoever wrote it.
fn keys_differ(with: Option<&Value>, without: Option<&Value>) -> bool {
    const KEYS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    match (with, without) {
        (Some(Value::Object(with)), Some(Value::Object(without))) => {
            KEYS.iter().any(|key| with.get(*key) != without.get(*key))
        }
        (with, without) => with != without,
    }
}

fn at<'a>(configuration: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(configuration.get(*first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod environment_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod run_sets_tests;
