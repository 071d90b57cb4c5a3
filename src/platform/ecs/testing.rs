//! An ECS and EC2 in memory, and a clock that jumps, for the tests of this module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

use super::calls::{EcsCalls, NetworkCalls};
use super::delivery::Delivery;
use super::platform::{Documents, LaunchRules};
use super::{EcsPlatform, LaunchSpec, LaunchTarget, Launcher, PreparedLaunch};
use crate::aws::AwsError;
use crate::aws::ecs::{DescribedDefinition, RunTaskAnswer, Task};
use crate::clock::Clock;
use crate::config::{AgentConfig, AgentSecrets, Environment, from_file};
use crate::ecs_model::UnknownMembers;
use crate::platform::{LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, WithWarning};
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
        worker: crate::platform::ecs::worker::WorkerPart::default(),
        pending_delivery: None,
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
}

impl EcsCalls for FakeAws {
    async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        self.called("RunTask").await;
        let answer = {
            let mut world = self.world();
            world.run_tasks.push(Value::Object(body.clone()).to_string());
            world.run_task_answers.pop_front()
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        self.called("RegisterTaskDefinition").await;
        let mut world = self.world();
        match world.register_errors.pop_front() {
            Some(error) => {
                if world.registers_all_the_same {
                    world.register(body);
                }
                Err(error)
            }
            None => Ok(world.register(body)),
        }
    }

    async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        self.called("DescribeTaskDefinition").await;
        let mut world = self.world();
        if let Some(error) = world.describe_errors.pop_front() {
            return Err(error);
        }
        let by_arn = world.definitions.iter().find(|d| d.definition["taskDefinitionArn"] == name);
        let found = by_arn.or_else(|| world.active().rev().find(|d| d.definition["family"] == name));
        found.cloned().ok_or_else(|| refused(400, "ClientException", "Unable to describe task definition."))
    }

    async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        self.called("ListTaskDefinitions").await;
        let world = self.world();
        let newest = world.active().rev().filter(|d| d.definition["family"] == family).take(limit);
        Ok(newest.map(|d| d.definition["taskDefinitionArn"].as_str().unwrap().to_owned()).collect())
    }

    async fn describe_tasks(&self, _: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        self.called("DescribeTasks").await;
        assert!(task_arns.len() <= 100, "ECS describes at most 100 tasks");
        let mut world = self.world();
        match world.describe_tasks_errors.pop_front() {
            Some(error) => Err(error),
            None => Ok(task_arns.iter().filter_map(|arn| world.tasks.get(arn).cloned()).collect()),
        }
    }

    async fn list_tasks(&self, _: Option<&str>, _: &str) -> Result<Vec<String>, AwsError> {
        self.called("ListTasks").await;
        self.world().listed.clone().unwrap_or_else(|| Ok(vec![]))
    }

    async fn list_stopping_tasks(&self, _: Option<&str>, _: &str) -> Result<Vec<String>, AwsError> {
        self.called("ListTasks of stopped ones").await;
        self.world().listed_as_stopped.clone().unwrap_or_else(|| Ok(vec![]))
    }

    async fn stop_task(&self, _: Option<&str>, _: &str, _: &str) -> Result<(), AwsError> {
        self.called("StopTask").await;
        self.world().stop_error.clone().map_or(Ok(()), Err)
    }
}

impl NetworkCalls for FakeAws {
    async fn default_vpc(&self) -> Result<Option<String>, AwsError> {
        self.called("DescribeVpcs").await;
        Ok(self.world().vpc.clone())
    }

    async fn vpc_exists(&self, vpc: &str) -> Result<bool, AwsError> {
        self.called("DescribeVpcs").await;
        Ok(self.world().vpc.as_deref() == Some(vpc))
    }

    async fn subnets(&self, _: &str) -> Result<Vec<String>, AwsError> {
        self.called("DescribeSubnets").await;
        Ok(self.world().subnets.clone())
    }
}
