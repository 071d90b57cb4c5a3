//! An ECS and EC2 in memory, and a clock that jumps, for the tests of this module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

use super::delivery::Delivery;
use super::platform::{Documents, LaunchRules};
use super::{EcsPlatform, LaunchSpec, LaunchTarget, Launcher, PreparedLaunch};
use crate::aws::AwsError;
use crate::aws::credentials::Cached;
use crate::aws::ecs::{DescribedDefinition, Ecs, RunTaskAnswer, Task};
use crate::aws::http::AwsHttp;
use crate::aws::services::Ec2;
use crate::aws::signed::{Endpoints, Signed};
use crate::clock::Clock;
use crate::config::{AgentConfig, AgentSecrets, Environment, from_file};
use crate::ecs_model::UnknownMembers;
use crate::http::{Answer, Exchange, Http, Request, SendError};
use crate::platform::{LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, WithWarning};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::config::{BehaviorVersion, Config, Region};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use time::OffsetDateTime;
use time::macros::datetime;

pub const RUN: &str = "9f3d1c8e-7a65-4c43-a0b1-2d3e4f506172";
pub const START: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// The object that a `json!` makes.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

pub fn spec(definition: super::Definition, run_task: Value) -> LaunchSpec {
    LaunchSpec {
        definition,
        run_task: object(run_task),
        infer_network: false,
        key_variables: vec![],
        run_sets: vec![],
        worker: crate::platform::ecs::WorkerPart::default(),
        pending_delivery: None,
        guard: None,
    }
}

/// Renders as the agent of this configuration does, and launches nothing.
pub fn renderer<G>(config: &AgentConfig<G>, secrets: AgentSecrets, marked_as: &str) -> EcsPlatform<NoLauncher> {
    let delivery = Arc::new(Delivery::new(config, secrets, marked_as));
    EcsPlatform::new(NoLauncher(None), LaunchRules { delivery, unknown_members: config.unknown_members, ..rules() })
}

/// Of an agent that is configured to nothing.
pub fn rules() -> LaunchRules {
    let text = "prefect: 3\napi: http://127.0.0.1:4200/api\nwork_pool: ecs\n";
    let (config, _) = from_file(text, "etl.yaml", &Environment::default()).result.unwrap();
    LaunchRules {
        documents: Documents::default(),
        delivery: Arc::new(Delivery::new(&config, AgentSecrets::default(), "/root/etl")),
        unknown_members: UnknownMembers::Refuse,
        spot_fallback_after: None,
        guardrails: None,
        load_template: Arc::new(|path| panic!("{path} is not to be loaded")),
    }
}

/// Says of every look what it was told to.
pub struct NoLauncher(pub Option<LaunchOutcome>);

impl Launcher for NoLauncher {
    async fn prepare(&self, _: &LaunchSpec, _: &LaunchIdentity) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        panic!("nothing is prepared here")
    }

    async fn launch(&self, _: &PreparedLaunch, _: OffsetDateTime) -> LaunchOutcome {
        panic!("nothing is launched here")
    }

    fn room(&self, _: OffsetDateTime) -> Option<usize> {
        None
    }

    async fn live_tasks(&self, _: &LaunchTarget, _: &str) -> Result<LiveDeployments, LaunchOutcome> {
        self.0.clone().map_or_else(|| Ok(LiveDeployments::default()), Err)
    }

    async fn live_task(&self, _: &LaunchTarget, _: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        self.0.clone().map_or(Ok(None), Err)
    }

    async fn stop(&self, _: &LaunchTarget, _: &str, _: &str) -> Result<(), LaunchOutcome> {
        self.0.clone().map_or(Ok(()), Err)
    }
}

pub fn refused(status: u16, code: &str, message: &str) -> AwsError {
    AwsError::Answer { status, code: code.into(), message: message.into(), resource_ids: vec![] }
}

pub fn no_answer() -> AwsError {
    AwsError::NoAnswer("connection reset".into())
}

pub fn task(arn: &str, last_status: &str) -> Task {
    let desired = if last_status == "STOPPED" { "STOPPED" } else { "RUNNING" };
    Task { task_arn: arn.into(), last_status: last_status.into(), desired_status: desired.into(), ..Task::default() }
}

pub fn started(arn: &str) -> RunTaskAnswer {
    RunTaskAnswer { tasks: vec![task(arn, "PROVISIONING")], failures: vec![] }
}

/// Sleeping moves the clock on at once.
#[derive(Debug, Clone)]
pub struct JumpingClock(Arc<Mutex<OffsetDateTime>>);

impl JumpingClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(START)))
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, instant: OffsetDateTime) {
        tokio::task::yield_now().await;
        let mut now = self.0.lock().unwrap();
        *now = (*now).max(instant);
    }
}

/// What AWS is to answer, and what it was asked.
#[derive(Debug, Default)]
pub struct World {
    /// Names of the calls, in order.
    pub calls: Vec<String>,
    /// Bodies of `RunTask`.
    pub run_tasks: Vec<String>,
    /// Answers to `RunTask`, in order; then `None` never answers.
    pub run_task_answers: VecDeque<Result<RunTaskAnswer, AwsError>>,
    /// Registered definitions.
    pub definitions: Vec<DescribedDefinition>,
    /// Errors of the next registrations.
    pub register_errors: VecDeque<AwsError>,
    /// What a failing registration leaves behind all the same: another agent was quicker, or the answer was lost.
    pub registers_all_the_same: bool,
    /// Errors of the next descriptions of definitions.
    pub describe_errors: VecDeque<AwsError>,
    /// Tasks that `DescribeTasks` knows.
    pub tasks: HashMap<String, Task>,
    /// Errors of the next descriptions of tasks.
    pub describe_tasks_errors: VecDeque<AwsError>,
    /// What `ListTasks` answers.
    pub listed: Option<Result<Vec<String>, AwsError>>,
    /// What `ListTasks` answers of tasks that are being stopped.
    pub listed_as_stopped: Option<Result<Vec<String>, AwsError>>,
    /// What `StopTask` answers.
    pub stop_error: Option<AwsError>,
    /// The default VPC.
    pub vpc: Option<String>,
    /// Its subnets.
    pub subnets: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct FakeAws(Arc<Mutex<World>>);

impl FakeAws {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn count(&self, call: &str) -> usize {
        self.world().calls.iter().filter(|name| *name == call).count()
    }

    /// Clients of this world. They try everything once: how often it is tried is not what is tested here.
    pub fn clients(&self) -> (Ecs, Ec2) {
        let (region, url) = ("eu-west-1", "http://aws");
        let http = AwsHttp::new(Http::over(self.clone()), AwsHttp::ATTEMPT);
        let credentials = SharedCredentialsProvider::new(Credentials::new("AKID", "secret", None, None, "test"));
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(url)
            .credentials_provider(credentials.clone())
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled());
        let signed = Signed::new(region, Endpoints::everywhere(url), http, Cached::new(credentials));
        (Ecs::new(move || aws_sdk_ecs::Client::from_conf(config.build())), Ec2::new(signed))
    }

    async fn called(&self, name: &str) {
        self.world().calls.push(name.into());
        // Lets others in between, as a real call does.
        tokio::task::yield_now().await;
    }
}

impl World {
    /// As ECS registers and describes: with a revision, a status and defaults written out.
    pub fn register(&mut self, body: &Map<String, Value>) -> String {
        let mut definition = body.clone();
        let tags = definition.remove("tags").unwrap_or_else(|| json!([]));
        let family = body["family"].as_str().unwrap();
        let revision = 1 + self.definitions.iter().filter(|d| d.definition["family"] == family).count();
        let arn = format!("arn:aws:ecs:eu-west-1:111111111111:task-definition/{family}:{revision}");
        definition.insert("taskDefinitionArn".into(), json!(arn));
        definition.insert("revision".into(), json!(revision));
        definition.insert("status".into(), json!("ACTIVE"));
        definition.insert("compatibilities".into(), json!(["EC2", "FARGATE"]));
        definition.insert("volumes".into(), json!([]));
        for container in definition["containerDefinitions"].as_array_mut().unwrap() {
            let container = container.as_object_mut().unwrap();
            container.entry("cpu").or_insert(json!(0));
            container.entry("essential").or_insert(json!(true));
            container.entry("mountPoints").or_insert(json!([]));
        }
        let text = |tag: &Value, key: &str| tag[key].as_str().unwrap().to_owned();
        let tags = tags.as_array().unwrap().iter().map(|tag| (text(tag, "key"), text(tag, "value"))).collect();
        self.definitions.push(DescribedDefinition { definition, tags });
        arn
    }

    fn active(&self) -> impl DoubleEndedIterator<Item = &DescribedDefinition> {
        self.definitions.iter().filter(|d| d.definition["status"] == "ACTIVE")
    }

    /// `None` = never.
    fn answer(&mut self, operation: &str, text: &str) -> Option<Result<Value, AwsError>> {
        let body = object(serde_json::from_str(text).unwrap());
        Some(match operation {
            "RunTask" => {
                self.run_tasks.push(text.to_owned());
                let tasks = |answer: RunTaskAnswer| json!({"tasks": described(&answer.tasks), "failures": []});
                self.run_task_answers.pop_front()?.map(tasks)
            }
            "RegisterTaskDefinition" => {
                let error = self.register_errors.pop_front();
                let arn = (error.is_none() || self.registers_all_the_same).then(|| self.register(&body));
                error.map_or_else(|| Ok(json!({"taskDefinition": {"taskDefinitionArn": arn}})), Err)
            }
            "DescribeTaskDefinition" => self.describe_errors.pop_front().map_or_else(
                || {
                    let name = &body["taskDefinition"];
                    let by_arn = self.definitions.iter().find(|d| d.definition["taskDefinitionArn"] == *name);
                    let found = by_arn.or_else(|| self.active().rev().find(|d| d.definition["family"] == *name));
                    let tag = |(key, value): &(String, String)| json!({"key": key, "value": value});
                    let shown = |d: &DescribedDefinition| {
                        let tags: Vec<Value> = d.tags.iter().map(tag).collect();
                        json!({"taskDefinition": d.definition, "tags": tags})
                    };
                    found
                        .map(shown)
                        .ok_or_else(|| refused(400, "ClientException", "Unable to describe task definition."))
                },
                Err,
            ),
            "ListTaskDefinitions" => {
                let newest = self.active().rev().filter(|d| d.definition["family"] == body["familyPrefix"]);
                let arns: Vec<_> = newest.map(|d| d.definition["taskDefinitionArn"].clone()).collect();
                Ok(json!({"taskDefinitionArns": arns}))
            }
            "DescribeTasks" => {
                let arns = body["tasks"].as_array().unwrap();
                assert!(arns.len() <= 100, "ECS describes at most 100 tasks");
                let known = arns.iter().filter_map(|arn| self.tasks.get(arn.as_str().unwrap()).cloned());
                let tasks = described(&known.collect::<Vec<_>>());
                self.describe_tasks_errors.pop_front().map_or_else(|| Ok(json!({"tasks": tasks})), Err)
            }
            LIST_TASKS => listed(self.listed.as_ref()),
            LIST_STOPPED => listed(self.listed_as_stopped.as_ref()),
            "StopTask" => self.stop_error.clone().map_or_else(|| Ok(json!({})), Err),
            other => panic!("{other}"),
        })
    }

    /// What EC2 answers to a form.
    fn network(&self, form: &str) -> String {
        let is_known = |vpc: &&String| form.contains("isDefault") || form.ends_with(&format!("={vpc}"));
        let vpcs: Vec<&String> = self.vpc.iter().filter(is_known).collect();
        let items = |name: &str, ids: &[&String]| {
            ids.iter().map(|id| format!("<item><{name}>{id}</{name}></item>")).collect::<Vec<_>>().concat()
        };
        let subnets = items("subnetId", &self.subnets.iter().collect::<Vec<_>>());
        format!("<A><vpcSet>{}</vpcSet><subnetSet>{subnets}</subnetSet></A>", items("vpcId", &vpcs))
    }
}

/// Names of the two lists of tasks.
const LIST_TASKS: &str = "ListTasks";
const LIST_STOPPED: &str = "ListTasks of stopped ones";

fn listed(arns: Option<&Result<Vec<String>, AwsError>>) -> Result<Value, AwsError> {
    arns.cloned().unwrap_or_else(|| Ok(vec![])).map(|arns| json!({"taskArns": arns}))
}

/// Tasks as ECS describes them.
fn described(tasks: &[Task]) -> Vec<Value> {
    let task = |task: &Task| {
        json!({
            "taskArn": task.task_arn, "lastStatus": task.last_status, "desiredStatus": task.desired_status,
            "stopCode": task.stop_code, "stoppedReason": task.stopped_reason,
            "createdAt": task.created_at.map(OffsetDateTime::unix_timestamp),
        })
    };
    tasks.iter().map(task).collect()
}

/// An answer as it comes over the wire.
fn on_the_wire(answer: Result<Value, AwsError>) -> Result<Answer, SendError> {
    let (status, body) = match answer {
        Ok(body) => (200, body.to_string()),
        Err(AwsError::Malformed(text)) => (200, text),
        Err(AwsError::Answer { status, code, message, resource_ids }) => {
            (status, json!({"__type": code, "message": message, "resourceIds": resource_ids}).to_string())
        }
        Err(AwsError::NotSent(reason)) => return Err(SendError::NotSent(reason)),
        Err(AwsError::NoAnswer(reason)) => return Err(SendError::NoAnswer { reason, timed_out: false }),
        Err(error @ AwsError::Credentials(_)) => panic!("{error}"),
    };
    Ok(Answer { status, headers: HeaderMap::new(), body: body.into() })
}

impl Exchange for FakeAws {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>> {
        Box::pin(async move {
            let body = String::from_utf8(request.body.unwrap_or_default().to_vec()).unwrap();
            let Some(target) = request.headers.get("x-amz-target") else {
                let action = body.split('&').find_map(|field| field.strip_prefix("Action=")).unwrap();
                self.called(action).await;
                let body = self.world().network(&body).into();
                return Ok(Answer { status: 200, headers: HeaderMap::new(), body });
            };
            let operation = match target.to_str().unwrap().rsplit('.').next().unwrap() {
                LIST_TASKS if body.contains("STOPPED") => LIST_STOPPED,
                operation => operation,
            };
            self.called(operation).await;
            let answer = self.world().answer(operation, &body);
            match answer {
                Some(answer) => on_the_wire(answer),
                None => std::future::pending().await,
            }
        })
    }
}
