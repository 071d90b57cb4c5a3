//! Tasks that Prefect has written down of its runs, as ECS knows them: what an event would tell of them, if it came.

use super::event::TaskEvent;
use crate::aws::AgentAws;
use crate::aws::ecs::DescribedTasks;
use crate::platform::Place;
use crate::platform::ecs::LaunchTarget;
use crate::transport::shape::text_at;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// ECS describes at most this many tasks per call.
const DESCRIBE_MAX: usize = 100;

/// An event of a task that stopped longer ago than this should have come.
pub const EVENT_PATIENCE: time::Duration = time::Duration::minutes(3);

/// The reason for which ECS does not describe a task that its cluster does not know, or not any more.
const MISSING: &str = "MISSING";

/// A task that a run carries as its `infrastructure_pid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedTask {
    /// ARN of the task.
    pub arn: String,
    /// ARN of its cluster, so that nobody else's cluster of this name is asked.
    pub cluster: String,
}

/// What ECS says of a recorded task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskLook {
    /// It has not stopped.
    Lives,
    /// It has, as an event would tell.
    Stopped(Box<TaskEvent>),
    /// Its own cluster does not know it: it stopped more than an hour ago, unless the answer is a slip.
    Missing,
    /// Nothing can be said, and why.
    Unknown(String),
}

impl RecordedTask {
    /// Reads a pid; `None` = it is not that of an ECS task.
    pub fn of_pid(pid: &str) -> Option<Self> {
        let (place, arn) = LaunchTarget::of_pid(pid);
        let cluster = place.cluster_arn(&arn).filter(|_| arn.starts_with("arn:"))?;
        Some(Self { arn, cluster })
    }

    /// Last part of its ARN.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }

    /// The region that it is in.
    pub fn region(&self) -> Option<&str> {
        self.arn.split(':').nth(3).filter(|region| !region.is_empty())
    }
}

/// Asks ECS for tasks, each in its own cluster and region, as many at once as one request takes; one entry per task, in order.
/// `clients`: those that reach a region.
pub async fn look<F: Future<Output = Option<Arc<AgentAws>>>>(
    tasks: &[RecordedTask],
    clients: impl Fn(Option<String>) -> F,
) -> Vec<TaskLook> {
    let mut clusters: BTreeMap<&str, Vec<&RecordedTask>> = BTreeMap::new();
    for task in tasks {
        clusters.entry(&task.cluster).or_default().push(task);
    }
    let requests = clusters.values().flat_map(|tasks| tasks.chunks(DESCRIBE_MAX)).map(|tasks| {
        let clients = &clients;
        async move {
            let Some(first) = tasks.first() else { return Vec::new() };
            let arns: Vec<String> = tasks.iter().map(|task| task.arn.clone()).collect();
            let described = match clients(first.region().map(str::to_owned)).await {
                Some(aws) => aws.ecs.describe_tasks_verbatim(Some(&first.cluster), &arns).await,
                None => return Vec::new(),
            };
            let looked = |arn: String| match &described {
                Ok(described) => (judge(described, &arn), arn),
                Err(error) => (TaskLook::Unknown(error.to_string()), arn),
            };
            arns.into_iter().map(looked).map(|(look, arn)| (arn, look)).collect()
        }
    });
    let looks: BTreeMap<String, TaskLook> = join_all(requests).await.into_iter().flatten().collect();
    let unasked = || TaskLook::Unknown("nobody was asked".to_owned());
    tasks.iter().map(|task| looks.get(&task.arn).cloned().unwrap_or_else(unasked)).collect()
}

/// What an answer says of one of the tasks that were asked for. Only what it says of this very task is heard.
fn judge(described: &DescribedTasks, arn: &str) -> TaskLook {
    if let Some(task) = described.tasks.iter().find(|task| text_at(task, &["taskArn"]) == Some(arn)) {
        return match TaskEvent::of_description(task) {
            Some(event) if event.is_stopped() => TaskLook::Stopped(Box::new(event)),
            Some(_) => TaskLook::Lives,
            None => TaskLook::Unknown("what ECS says of it cannot be understood".to_owned()),
        };
    }
    match described.failures.iter().find(|failure| failure.arn.as_deref() == Some(arn)) {
        Some(failure) if failure.reason.as_deref() == Some(MISSING) => TaskLook::Missing,
        Some(failure) => TaskLook::Unknown(failure.reason.clone().unwrap_or_else(|| "ECS says no reason".to_owned())),
        None => TaskLook::Unknown("ECS says nothing about it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::aws::ecs::Failure;
    use crate::aws::test_server::{Request, Server, json as answer};
    use serde_json::{Value, json};
    use std::sync::Mutex;

    fn arn(cluster: &str, id: usize) -> String {
        format!("arn:aws:ecs:eu-west-1:123456789012:task/{cluster}/{id:032x}")
    }

    fn described(tasks: &[Value], failures: &[(Option<&str>, Option<&str>)]) -> DescribedTasks {
        let failure = |(arn, reason): &(Option<&str>, Option<&str>)| Failure {
            arn: arn.map(str::to_owned),
            reason: reason.map(str::to_owned),
            detail: None,
        };
        DescribedTasks { tasks: tasks.to_vec(), failures: failures.iter().map(failure).collect() }
    }

    #[test]
    fn only_what_is_said_of_this_very_task_is_heard_and_everything_odd_is_unknown() {
        let (own, other) = (arn("etl", 1), arn("etl", 2));
        let (own, other) = (own.as_str(), other.as_str());
        let task = |arn: &str, status: &str| json!({"taskArn": arn, "lastStatus": status});
        let look = |tasks: &[Value], failures: &[_]| judge(&described(tasks, failures), own);
        assert_eq!(look(&[task(own, "RUNNING")], &[]), TaskLook::Lives);
        assert_eq!(look(&[task(own, "DEPROVISIONING")], &[]), TaskLook::Lives, "until it has stopped");
        assert!(matches!(look(&[task(other, "RUNNING"), task(own, "STOPPED")], &[]), TaskLook::Stopped(_)));
        assert_eq!(look(&[], &[(Some(own), Some("MISSING"))]), TaskLook::Missing);
        #[allow(clippy::type_complexity, reason = "what ECS describes, and what it cannot")]
        let odd: [(&[Value], &[(Option<&str>, Option<&str>)]); 7] = [
            (&[], &[]),
            (&[task(other, "STOPPED")], &[]),
            (&[], &[(Some(other), Some("MISSING"))]),
            (&[], &[(None, Some("MISSING"))]),
            (&[], &[(Some(own), Some("INACTIVE"))]),
            (&[], &[(Some(own), None)]),
            (&[json!({"taskArn": own})], &[]),
        ];
        for (tasks, failures) in odd {
            assert!(matches!(look(tasks, failures), TaskLook::Unknown(_)), "{tasks:?} {failures:?}");
        }
    }

    #[test]
    fn what_is_no_pid_of_an_ecs_task_is_none() {
        for pid in ["", "4711", "host:4711", "etl::4711", "etl::arn:aws:ecs:x:1:service/etl/a"] {
            assert_eq!(RecordedTask::of_pid(pid), None, "{pid}");
        }
        let task = RecordedTask::of_pid(&format!("etl::{}", arn("etl", 1))).unwrap();
        assert_eq!(task.region(), Some("eu-west-1"));
    }

    #[tokio::test]
    async fn tasks_are_asked_for_together_each_in_its_own_cluster() {
        let asked: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let server = Server::start(move |request: &Request| {
            let body = request.json();
            let cluster = body["cluster"].as_str().unwrap().to_owned();
            let arns: Vec<Value> = body["tasks"].as_array().unwrap().clone();
            seen.lock().unwrap().push((cluster.clone(), arns.len()));
            if cluster.ends_with("/gone") {
                return answer(400, &json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."}));
            }
            let tasks: Vec<Value> = arns.iter().map(|arn| json!({"taskArn": arn, "lastStatus": "RUNNING"})).collect();
            answer(200, &json!({"tasks": tasks, "failures": []}))
        })
        .await;
        let aws = Arc::new(server.clients().await);
        let task = |cluster: &str, id| RecordedTask::of_pid(&format!("x::{}", arn(cluster, id))).unwrap();
        let mut tasks: Vec<_> = (0..150).map(|id| task("etl", id)).collect();
        tasks.insert(70, task("gone", 1));
        let looks = look(&tasks, |region| {
            let aws = Arc::clone(&aws);
            async move { Some(aws.for_agent(region.as_deref(), None).await) }
        })
        .await;
        let TaskLook::Unknown(why) = &looks[70] else { panic!("{:?}", looks[70]) };
        assert!(why.contains("Cluster not found"), "{why}");
        assert_eq!(looks.iter().filter(|look| **look == TaskLook::Lives).count(), 150);
        let cluster = |name: &str| format!("arn:aws:ecs:eu-west-1:123456789012:cluster/{name}");
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, [(cluster("etl"), 50), (cluster("etl"), 100), (cluster("gone"), 1)]);
    }
}
