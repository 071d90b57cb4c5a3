//! What happens in a golden case: calls to AWS, answered from the case, in the worker's order.

use prefect_serverless_agent::aws::ecs::DescribedDefinition;
use prefect_serverless_agent::ecs_model::UnknownMembers;
use prefect_serverless_agent::flow_run::prefect3::{
    BlockReference, Flow, FlowRun, FlowRunContext, Generation, PrefectDeployment, WorkPool, WorkerSettings,
    block_references, populate, resolve_blocks, resolve_variables, variable_names,
};
use prefect_serverless_agent::platform::LaunchIdentity;
use prefect_serverless_agent::platform::ecs::NetworkLookup;
use prefect_serverless_agent::platform::ecs::definitions::same_definition;
use prefect_serverless_agent::platform::ecs::prefect3::Job;
use prefect_serverless_agent::platform::ecs::request::{Settled, run_task_body};
use prefect_serverless_agent::platform::ecs::{Definition, LaunchSpec};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ACCOUNT: &str = "123456789012";
const TASK_ID: &str = "0123456789abcdef0123456789abcdef";
const DEFAULT_TEMPLATE: &str = include_str!("../../../src/platform/ecs/work_pool_template/prefect3.json");
/// How often the worker tries to register a definition and to run a task.
const ATTEMPTS: usize = 3;
/// Errors for which the ECS client has an exception type of its own.
const ECS_EXCEPTIONS: [&str; 10] = [
    "AccessDeniedException",
    "BlockedException",
    "ClientException",
    "ClusterNotFoundException",
    "ConflictException",
    "InvalidParameterException",
    "PlatformTaskDefinitionIncompatibilityException",
    "PlatformUnknownException",
    "ServerException",
    "UnsupportedFeatureException",
];

/// What happens in a case.
pub(super) struct Play<'a> {
    case: &'a Value,
    pub(super) prepared: Option<Value>,
    /// Requests to Prefect for blocks and variables.
    pub(super) asked: BTreeSet<String>,
    pub(super) calls: Vec<Value>,
    pub(super) error: Option<String>,
    pub(super) refused_early: bool,
    /// ECS refused the task. What ours says then is not the worker's text: it has a remedy.
    pub(super) failed_to_launch: bool,
    pub(super) pid: Option<String>,
    registrations: usize,
    region: String,
    access_key: String,
    role: Option<Map<String, Value>>,
}

impl<'a> Play<'a> {
    pub(super) fn of(case: &'a Value) -> Self {
        let region = case["aws"]["region"].as_str().unwrap().to_owned();
        let mut play = Self {
            case,
            prepared: None,
            asked: BTreeSet::new(),
            calls: Vec::new(),
            error: None,
            refused_early: false,
            failed_to_launch: false,
            pid: None,
            registrations: 0,
            region,
            access_key: "testing".into(),
            role: None,
        };
        play.error = play.run().err();
        play
    }

    fn run(&mut self) -> Result<(), String> {
        let (worker, deployment) = (worker(self.case), parse::<Option<PrefectDeployment>>(&self.case["deployment"]));
        let (flow_run, flow) = (parse::<FlowRun>(&self.case["flow_run"]), parse::<Flow>(&self.case["flow"]));
        let mut work_pool = parse::<WorkPool>(&self.case["work_pool"]);
        if work_pool.base_job_template.is_empty() {
            // As the agent fills it when it reads such a pool.
            work_pool.base_job_template = serde_json::from_str(DEFAULT_TEMPLATE).unwrap();
        }
        let run =
            FlowRunContext { flow_run: &flow_run, deployment: deployment.as_ref(), flow: &flow, work_pool: &work_pool };
        let populated = populate(&worker, &run).map_err(|refusal| refusal.0)?;
        let resolved = self.resolve(&populated)?;
        let job = Job::new(&worker, &run, &populated, &resolved).map_err(|refusal| refusal.0)?;
        self.prepared = Some(job.prepared());
        let credentials = job.aws_credentials();
        if let Some(region) = &credentials.region_name {
            self.region.clone_from(region);
        }
        if let Some(key) = &credentials.access_key_id {
            self.access_key.clone_from(key);
        }
        self.role = credentials.assume_role("00000000");
        self.assume_role();
        self.launch(&job)
    }

    fn resolve(&mut self, populated: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut blocks = BTreeMap::new();
        for reference in block_references(populated) {
            let path = match &reference {
                BlockReference::Named { type_slug, name } => {
                    format!("GET /block_types/slug/{type_slug}/block_documents/name/{name}")
                }
                BlockReference::Id(id) => format!("GET /block_documents/{id}"),
            };
            self.asked.insert(format!("{path}?include_secrets=true"));
            blocks.insert(reference, self.case["api"][&path]["data"].as_object().cloned());
        }
        let resolved = resolve_blocks(populated, &blocks).map_err(|refusal| refusal.0)?;
        let mut variables = BTreeMap::new();
        for name in variable_names(&resolved) {
            let path = format!("GET /variables/name/{name}");
            variables.insert(name, self.case["api"][&path].get("value").cloned());
            self.asked.insert(path);
        }
        Ok(resolve_variables(&resolved, &variables))
    }

    fn launch(&mut self, job: &Job) -> Result<(), String> {
        let spec = job.launch_spec();
        let (settled, spec) = match (job.task_definition(), spec) {
            (Some(definition), spec) => {
                let (arn, registered) = self.definition(job, definition)?;
                let tag = spec.as_ref().ok().and_then(|spec| spec.worker.tag_if_registered.clone());
                let tag = tag.filter(|_| registered);
                (Settled { definition: arn, tag, ..Settled::default() }, spec)
            }
            (None, Ok(spec)) => {
                let Definition::Existing { name, .. } = spec.definition else { panic!("ours without a body") };
                let described = self.describe(&name)?;
                let completed = spec.worker.completion.expect("to be completed").0.complete(&described);
                (Settled { definition: name, ..Settled::default() }, completed)
            }
            (None, Err(refusal)) => return Err(refusal.0),
        };
        let spec = spec.map_err(|refusal| {
            self.refused_early = true;
            refusal.0
        })?;
        assert!(spec.worker.completion.is_none() && !spec.infer_network);
        let settled = Settled { network: self.network(&spec)?, ..settled };
        self.run_task(job, &spec, &settled)
    }

    /// The definition's ARN, and whether it was registered for this launch.
    fn definition(&mut self, job: &Job, body: &Map<String, Value>) -> Result<(String, bool), String> {
        let prepared = job.prepared();
        let cached = self.case["worker"]["task_definition_cache"].as_str().map(str::to_owned);
        let family = body["family"].as_str().unwrap().to_owned();
        let family = prepared["match_latest_revision_in_family"].as_bool().unwrap().then_some(family);
        for known in cached.into_iter().chain(family) {
            if let Ok(definition) = self.describe(&known) {
                let arn = definition["taskDefinitionArn"].as_str().unwrap().to_owned();
                if same_definition(body, &DescribedDefinition { definition, tags: Vec::new() }) {
                    return Ok((arn, false));
                }
            }
        }
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            self.call("RegisterTaskDefinition", &Value::Object(body.clone()));
            let answer = self.case["aws"]["register_responses"].get(self.registrations).cloned();
            self.registrations += 1;
            let Some(error) = answer else {
                let (region, family) = (&self.region, body["family"].as_str().unwrap());
                return Ok((format!("arn:aws:ecs:{region}:{ACCOUNT}:task-definition/{family}:1"), true));
            };
            last = ecs_error("RegisterTaskDefinition", &error);
        }
        Err(last)
    }

    fn describe(&mut self, name: &str) -> Result<Map<String, Value>, String> {
        self.call("DescribeTaskDefinition", &json!({"taskDefinition": name}));
        let error = json!({"error": "ClientException", "message": "Unable to describe task definition."});
        self.case["aws"]["task_definitions"][name]
            .as_object()
            .cloned()
            .ok_or_else(|| ecs_error("DescribeTaskDefinition", &error))
    }

    fn network(&mut self, spec: &LaunchSpec) -> Result<Option<Value>, String> {
        let Some(lookup) = &spec.worker.network else { return Ok(None) };
        self.assume_role();
        let aws = &self.case["aws"];
        let vpcs = aws["vpcs"].as_object().unwrap();
        let vpc = match lookup.vpc_id() {
            None => {
                self.call("DescribeVpcs", &json!({"Filter.1.Name": "isDefault", "Filter.1.Value.1": "true"}));
                vpcs.iter().find(|(_, vpc)| vpc["isDefault"] == true)
            }
            Some(id) => {
                self.call("DescribeVpcs", &json!({"VpcId.1": id}));
                let vpc = vpcs.get_key_value(id);
                if vpc.is_none() && aws.get("vpc_missing_empty") != Some(&json!(true)) {
                    return Err(format!(
                        "ClientError: An error occurred (InvalidVpcID.NotFound) when calling the DescribeVpcs \
                         operation: The vpc ID '{id}' does not exist"
                    ));
                }
                vpc
            }
        };
        let (id, vpc) = vpc.ok_or_else(|| lookup.no_vpc().0)?;
        self.call("DescribeSubnets", &json!({"Filter.1.Name": "vpc-id", "Filter.1.Value.1": id}));
        let subnets: Vec<String> = parse(&vpc["subnets"]);
        let network = lookup.network(&subnets).map_err(|refusal| refusal.0)?;
        assert_eq!(network.is_none(), matches!(lookup, NetworkLookup::Check { .. }));
        Ok(network)
    }

    fn run_task(&mut self, job: &Job, spec: &LaunchSpec, settled: &Settled) -> Result<(), String> {
        let identity =
            LaunchIdentity { flow_run_id: "run".into(), token: "token".into(), started_by: "prefect/agent/run".into() };
        let body = run_task_body(&spec.run_task, settled, &identity);
        for attempt in 0..ATTEMPTS {
            self.call("RunTask", &Value::Object(body.clone()));
            let answer = self.case["aws"]["run_task_responses"].get(attempt);
            if answer.is_none_or(|answer| answer["tasks"].get(0).is_some()) {
                self.pid = Some(self.pid_of(job));
                return Ok(());
            }
        }
        self.failed_to_launch = true;
        Err("ECS started no task".into())
    }

    fn pid_of(&self, job: &Job) -> String {
        let cluster = job.cluster();
        let name = cluster.map_or("default", |cluster| cluster.rsplit('/').next().unwrap());
        let prefix = format!("arn:aws:ecs:{}:{ACCOUNT}", self.region);
        let left = cluster.map_or_else(|| format!("{prefix}:cluster/{name}"), str::to_owned);
        format!("{left}::{prefix}:task/{name}/{TASK_ID}")
    }

    /// Every client of the worker's assumes the role anew, with the keys of the configuration.
    fn assume_role(&mut self) {
        let Some(role) = self.role.clone() else { return };
        let own = self.case["expected"]["aws_calls"].get(0).map(|call| call["access_key"].clone());
        self.access_key = own.and_then(|key| key.as_str().map(str::to_owned)).unwrap_or_else(|| "testing".into());
        let spell = |value: &Value| json!(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let role: Map<String, Value> = role.iter().map(|(key, value)| (key.clone(), spell(value))).collect();
        self.call("AssumeRole", &Value::Object(role));
        self.access_key = "ASIAASSUMED".into();
    }

    fn call(&mut self, op: &str, params: &Value) {
        self.calls.push(json!({"op": op, "params": params, "region": self.region, "access_key": self.access_key}));
    }
}

fn ecs_error(operation: &str, error: &Value) -> String {
    let (code, message) = (error["error"].as_str().unwrap(), error["message"].as_str().unwrap_or_default());
    let kind = if ECS_EXCEPTIONS.contains(&code) { code } else { "ClientError" };
    format!("{kind}: An error occurred ({code}) when calling the {operation} operation: {message}")
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn worker(case: &Value) -> WorkerSettings {
    let worker = &case["worker"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pairs = |value: &Value| -> Vec<(String, String)> {
        value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
    };
    WorkerSettings {
        generation: Generation::Three,
        worker_name: text(&worker["name"]),
        worker_id: worker["id"].as_str().map(str::to_owned),
        prefect_version: text(&worker["prefect_version"]),
        default_image: text(&worker["default_image"]),
        unknown_members: UnknownMembers::Refuse,
        region: text(&case["aws"]["region"]),
        base_environment: pairs(&worker["base_env"]).into_iter().map(|(name, value)| (name, value.into())).collect(),
        process_environment: pairs(&worker["process_env"]).into_iter().collect(),
    }
}
