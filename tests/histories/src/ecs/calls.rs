//! The calls of a process to ECS and EC2.

use super::answers::{as_started, described, error, no_definition, no_memory, refused};
use super::tasks::Status;
use crate::call::Call;
use crate::fault::{Fault, Kind};
use crate::port::{Arrival, Port};
use crate::run::RunId;
use prefect_serverless_agent::aws::AwsError;
use prefect_serverless_agent::aws::ecs::{DescribedDefinition, RunTaskAnswer, Task};
use prefect_serverless_agent::launch::calls::{EcsCalls, NetworkCalls};
use serde_json::{Map, Value};
use time::Duration;

/// ECS forgets stopped tasks after this long.
const MEMORY: Duration = Duration::hours(1);

/// ECS as a process reaches it.
#[derive(Debug, Clone)]
pub struct SimEcs(pub Port);

/// EC2 as a process reaches it.
#[derive(Debug, Clone)]
pub struct SimEc2(pub Port);

fn plain<T>((fault, _): (Fault, Option<T>)) -> AwsError {
    error(fault, Vec::new())
}

fn run_task(arrival: &mut Arrival<'_>, body: &Map<String, Value>) -> Result<Task, AwsError> {
    let now = arrival.now;
    let done = arrival.world.ecs.run_task(body, now);
    arrival.world.plan(done.coming);
    let index = done.task.map_err(refused)?;
    let world = &mut *arrival.world;
    let task = world.ecs.tasks.get(index).ok_or_else(no_definition)?;
    if done.is_new {
        world.audit.started(arrival.actor, task, world.ecs.tasks_of(task.run));
    }
    let as_then = done.is_new || world.ecs.rules.answers_as_then;
    Ok(if as_then { as_started(task) } else { described(task) })
}

impl EcsCalls for SimEcs {
    async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        let now = self.0.latest();
        {
            let mut world = self.0.world();
            let world = &mut *world;
            world.audit.run_task(self.0.actor, body, now, &world.ecs.families);
        }
        match self.0.call(Call::RunTask, |arrival| run_task(arrival, body)).await {
            Ok(Ok(task)) => Ok(RunTaskAnswer { tasks: vec![task], failures: Vec::new() }),
            Ok(Err(refused)) => Err(refused),
            Err((Fault { kind: Kind::Failures, .. }, _)) => Ok(no_memory()),
            Err((Fault { kind: Kind::SaysNothing, .. }, _)) => Ok(RunTaskAnswer::default()),
            Err((fault, started)) => {
                let arns = started.and_then(Result::ok).map(|task| task.task_arn);
                Err(error(fault, arns.into_iter().collect()))
            }
        }
    }

    async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        let register = |arrival: &mut Arrival<'_>| arrival.world.ecs.families.register(body);
        self.0.call(Call::RegisterTaskDefinition, register).await.map_err(plain)
    }

    async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        let describe = |arrival: &mut Arrival<'_>| arrival.world.ecs.families.describe(name);
        self.0.call(Call::DescribeTaskDefinition, describe).await.map_err(plain)?.ok_or_else(no_definition)
    }

    async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        let list = |arrival: &mut Arrival<'_>| arrival.world.ecs.families.list(family, limit);
        self.0.call(Call::ListTaskDefinitions, list).await.map_err(plain)
    }

    async fn describe_tasks(&self, cluster: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        let describe = |arrival: &mut Arrival<'_>| {
            let now = arrival.now;
            let asked = arrival.world.ecs.tasks.iter().filter(|task| task_arns.contains(&task.arn));
            let here = asked.filter(|task| Some(task.cluster.as_str()) == cluster && task.described_from <= now);
            let known = here.filter(|task| task.stopped_at.is_none_or(|stopped| now - stopped < MEMORY));
            known.map(described).collect()
        };
        self.0.call(Call::DescribeTasks, describe).await.map_err(plain)
    }

    async fn list_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        self.listed(cluster, started_by, false).await
    }

    async fn list_stopping_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        self.listed(cluster, started_by, true).await
    }

    async fn stop_task(&self, cluster: Option<&str>, task_arn: &str, _: &str) -> Result<(), AwsError> {
        let stop = |arrival: &mut Arrival<'_>| {
            let tasks = &arrival.world.ecs.tasks;
            let found = tasks.iter().find(|task| task.arn == task_arn && Some(task.cluster.as_str()) == cluster);
            let found = found.map(|task| (task.index, task.run, task.status == Status::Stopped));
            if let Some((index, run, false)) = found {
                arrival.world.stopping(arrival.actor, index, run, arrival.now);
            }
            found.is_some()
        };
        let is_known = self.0.call(Call::StopTask, stop).await.map_err(plain)?;
        let not_found = || error_of("InvalidParameterException", "The referenced task was not found.");
        if is_known { Ok(()) } else { Err(not_found()) }
    }
}

impl SimEcs {
    /// Tasks that are to run, or that are being stopped.
    async fn listed(&self, cluster: Option<&str>, started_by: &str, stopping: bool) -> Result<Vec<String>, AwsError> {
        let list = |arrival: &mut Arrival<'_>| {
            let now = arrival.now;
            // What is to run is asked for first: from then on nothing may come between.
            if let Some(run) = started_by.rsplit('/').next().and_then(RunId::parse).filter(|_| !stopping) {
                arrival.world.audit.looked(arrival.actor, run, now);
            }
            let asked = arrival.world.ecs.tasks.iter().filter(|task| task.started_by.as_deref() == Some(started_by));
            let here = asked.filter(|task| Some(task.cluster.as_str()) == cluster && task.listed_from <= now);
            let known = here.filter(|task| task.stopped_at.is_none_or(|stopped| now - stopped < MEMORY));
            let wanted = known.filter(|task| (task.is_ending || task.status == Status::Stopped) == stopping);
            wanted.map(|task| task.arn.clone()).collect()
        };
        self.0.call(Call::ListTasks, list).await.map_err(plain)
    }
}

fn error_of(code: &str, message: &str) -> AwsError {
    AwsError::Answer { status: 400, code: code.into(), message: message.into(), resource_ids: Vec::new() }
}

impl NetworkCalls for SimEc2 {
    async fn default_vpc(&self) -> Result<Option<String>, AwsError> {
        self.0.call(Call::DescribeVpcs, |_| Some("vpc-1".to_owned())).await.map_err(plain)
    }

    async fn vpc_exists(&self, _: &str) -> Result<bool, AwsError> {
        self.0.call(Call::DescribeVpcs, |_| true).await.map_err(plain)
    }

    async fn subnets(&self, _: &str) -> Result<Vec<String>, AwsError> {
        let subnets = |_: &mut Arrival<'_>| vec!["subnet-1".to_owned(), "subnet-2".to_owned()];
        self.0.call(Call::DescribeSubnets, subnets).await.map_err(plain)
    }
}
