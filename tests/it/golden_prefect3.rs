//! Golden cases: what the real `ECSWorker` of Prefect 3.8.8 (prefect-aws 0.7.12) made of a flow run, and which calls to
//! AWS it made then, against ours. A small interpreter answers the calls from the case, in the worker's order.
//!
//! Deliberate deviations, none of which depends on the case:
//!
//! - `clientToken` and `startedBy` are always ours.
//! - A family that ECS would refuse is made one that it takes; the worker sends it as it is.
//! - `prefect_api_key_secret_arn` without a key of the worker's own (`KeyError: 'PREFECT_API_KEY'`) is fine.
//! - Whole numbers as texts (`"256"`) become numbers in container overrides; botocore refuses them.
//! - A `taskDefinition` that is null or empty (`AssertionError`) counts as none.
//! - `aws_credentials: null` (`AttributeError`) counts as none.
//! - What botocore refuses is refused before anything is asked of AWS, so also before a VPC is found to be missing. (The
//!   calls before are compared all the same, as far as they go.)

use prefect_serverless_agent::aws::ecs::DescribedDefinition;
use prefect_serverless_agent::launch::definitions::same_definition;
use prefect_serverless_agent::launch::request::{Settled, run_task_body};
use prefect_serverless_agent::launch::worker::NetworkLookup;
use prefect_serverless_agent::launch::{Definition, LaunchIdentity, LaunchSpec};
use prefect_serverless_agent::prefect3::render::{
    BlockReference, Deployment, Flow, FlowRun, FlowRunContext, Generation, Job, WorkPool, WorkerSettings,
    block_references, populate, resolve_blocks, resolve_variables, run_task_failure, variable_names,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3");
const ACCOUNT: &str = "123456789012";
const TASK_ID: &str = "0123456789abcdef0123456789abcdef";
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

#[test]
fn requests_are_those_of_prefect_3_8() {
    let templates = read(&Path::new(FOLDER).join("_templates.json"));
    let mut names: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('_'));
    names.sort();
    assert!(names.len() >= 99, "only {} cases in {FOLDER}", names.len());
    let mut report = String::new();
    let mut failed = 0;
    for path in &names {
        let mut case = read(path);
        if let Some(name) = case["work_pool"]["base_job_template"]["$template"].as_str().map(str::to_owned) {
            case["work_pool"]["base_job_template"] = templates[&name].clone();
        }
        let differences = differences(&case);
        if !differences.is_empty() {
            failed += 1;
            writeln!(report, "{}: {}", case["id"], case["description"]).unwrap();
            differences.iter().for_each(|line| writeln!(report, "    {line}").unwrap());
        }
    }
    assert!(failed == 0, "{failed} of {} cases differ:\n{report}", names.len());
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn differences(case: &Value) -> Vec<String> {
    let expected = &case["expected"];
    let played = Play::of(case);
    let mut out = Vec::new();
    let forgiven = is_forgiven(expected);
    if let (Some(prepared), false) = (&played.prepared, forgiven && expected["prepared"].is_null()) {
        compare(&mut out, "prepared", &expected["prepared"], prepared);
    }
    compare(&mut out, "requests to Prefect", &json!(references(expected)), &json!(played.asked));
    let network_trouble = ["Failed to find", "InvalidVpcID", "not found within VPC"];
    let theirs_later = network_trouble.iter().any(|text| expected["error"].as_str().is_some_and(|e| e.contains(text)));
    if !forgiven {
        if !(played.refused_early && theirs_later) {
            compare(&mut out, "error", &without_digits(&expected["error"]), &json!(played.error));
        }
        compare(&mut out, "infrastructure_pid", &expected["infrastructure_pid"], &json!(played.pid));
    } else if let Some(error) = &played.error {
        out.push(format!("error: forgiven, but ours refuses too: {error}"));
    }
    let mut theirs: Vec<Value> = expected["aws_calls"].as_array().unwrap().iter().map(comparable).collect();
    let mut ours: Vec<Value> = played.calls.iter().map(comparable).collect();
    if played.refused_early || forgiven {
        let both = theirs.len().min(ours.len());
        theirs.truncate(both);
        ours.truncate(both);
    }
    compare(&mut out, "aws_calls", &json!(theirs), &json!(ours));
    out
}

/// Whether the worker failed where we do not.
fn is_forgiven(expected: &Value) -> bool {
    let error = expected["error"].as_str().unwrap_or_default();
    match expected["error_type"].as_str() {
        Some("KeyError") => error == "KeyError: 'PREFECT_API_KEY'",
        Some("AssertionError") => error.starts_with("AssertionError: Task definition ARN mismatch"),
        Some("AttributeError") => error == "AttributeError: 'NoneType' object has no attribute 'get_client'",
        Some("ParamValidationError") => error.lines().skip(1).all(is_about_digits),
        _ => false,
    }
}

/// Whether botocore complains about a whole number that is a text.
fn is_about_digits(line: &str) -> bool {
    let value = line.split(", ").find_map(|part| part.strip_prefix("value: "));
    line.contains("overrides.containerOverrides[")
        && line.contains("type: <class 'str'>, valid types: <class 'int'>")
        && value.is_some_and(|value| value.parse::<i64>().is_ok())
}

fn without_digits(error: &Value) -> Value {
    let Some(error) = error.as_str() else { return error.clone() };
    json!(error.lines().filter(|line| !is_about_digits(line)).collect::<Vec<_>>().join("\n"))
}

/// The blocks and variables that the worker read.
fn references(expected: &Value) -> BTreeSet<&str> {
    let asked = expected["prefect_http_during_render"].as_array().unwrap().iter().map(|path| path.as_str().unwrap());
    asked.filter(|path| !path.starts_with("GET /deployments/") && !path.starts_with("GET /flows/")).collect()
}

/// A call without what is deliberately different.
fn comparable(call: &Value) -> Value {
    let mut call = call.clone();
    let params = call["params"].as_object_mut().unwrap();
    for ours in ["startedBy", "clientToken"] {
        params.shift_remove(ours);
    }
    if let Some(family) = params.get("family").and_then(Value::as_str) {
        params["family"] = json!(allowed(family));
    }
    if let Some(arn) = params.get("taskDefinition").and_then(Value::as_str)
        && let Some((start, rest)) = arn.split_once(":task-definition/")
        && let Some((family, revision)) = rest.rsplit_once(':')
    {
        params["taskDefinition"] = json!(format!("{start}:task-definition/{}:{revision}", allowed(family)));
    }
    json!({"op": call["op"], "params": call["params"], "region": call["region"], "access_key": call["access_key"]})
}

fn allowed(family: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let mut out = String::new();
    let mut in_run = false;
    for c in family.chars() {
        if is_allowed(c) {
            out.push(c);
        } else if !in_run {
            out.push('-');
        }
        in_run = !is_allowed(c);
    }
    out.truncate(255);
    out
}

/// What happens in a case.
struct Play<'a> {
    case: &'a Value,
    prepared: Option<Value>,
    /// Requests to Prefect for blocks and variables.
    asked: BTreeSet<String>,
    calls: Vec<Value>,
    error: Option<String>,
    refused_early: bool,
    pid: Option<String>,
    registrations: usize,
    region: String,
    access_key: String,
    role: Option<Map<String, Value>>,
}

impl<'a> Play<'a> {
    fn of(case: &'a Value) -> Self {
        let region = case["aws"]["region"].as_str().unwrap().to_owned();
        let mut play = Self {
            case,
            prepared: None,
            asked: BTreeSet::new(),
            calls: Vec::new(),
            error: None,
            refused_early: false,
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
        let (worker, deployment) = (worker(self.case), parse::<Option<Deployment>>(&self.case["deployment"]));
        let (flow_run, flow) = (parse::<FlowRun>(&self.case["flow_run"]), parse::<Flow>(&self.case["flow"]));
        let work_pool = parse::<WorkPool>(&self.case["work_pool"]);
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
            match answer {
                Some(error) => last = ecs_error("RegisterTaskDefinition", &error),
                None => {
                    let (region, family) = (&self.region, body["family"].as_str().unwrap());
                    return Ok((format!("arn:aws:ecs:{region}:{ACCOUNT}:task-definition/{family}:1"), true));
                }
            }
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
        let identity = LaunchIdentity { token: "token".into(), started_by: "prefect/agent/run".into() };
        let body = run_task_body(&spec.run_task, settled, &identity);
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            self.call("RunTask", &Value::Object(body.clone()));
            let answer = self.case["aws"]["run_task_responses"].get(attempt).cloned();
            let reason = match answer {
                Some(error) if error.get("error").is_some() => {
                    let error = ecs_error("RunTask", &error);
                    let (kind, text) = error.split_once(": ").unwrap();
                    last = run_task_failure(kind, text, &body);
                    continue;
                }
                Some(answer) if answer["failures"].get(0).is_some() => {
                    format!("Failed to run ECS task: {}", answer["failures"][0]["reason"].as_str().unwrap())
                }
                Some(answer) if answer["tasks"].get(0).is_none() => {
                    "Failed to run ECS task: no tasks or failures were returned.".into()
                }
                _ => {
                    self.pid = Some(self.pid_of(job));
                    return Ok(());
                }
            };
            last = run_task_failure("RuntimeError", &reason, &body);
        }
        Err(last)
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
        region: text(&case["aws"]["region"]),
        base_environment: pairs(&worker["base_env"]).into_iter().map(|(name, value)| (name, value.into())).collect(),
        process_environment: pairs(&worker["process_env"]).into_iter().collect(),
    }
}

/// Adds a line for every place where two values differ. An absent key and `null` are not the same.
fn compare(out: &mut Vec<String>, place: &str, expected: &Value, got: &Value) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            for key in keys {
                let place = format!("{place}.{key}");
                match (expected.get(key), got.get(key)) {
                    (Some(expected), Some(got)) => compare(out, &place, expected, got),
                    (Some(expected), None) => out.push(format!("{place}: expected {expected}, got nothing")),
                    (None, got) => out.push(format!("{place}: expected nothing, got {}", got.unwrap_or(&Value::Null))),
                }
            }
        }
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => {
            for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
                compare(out, &format!("{place}[{index}]"), expected, got);
            }
        }
        _ if expected == got => {}
        _ => out.push(format!("{place}: expected {expected}, got {got}")),
    }
}
