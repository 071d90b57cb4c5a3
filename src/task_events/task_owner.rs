//! Whose task it is: which agents may know the flow run that it was started for, and which turn of it.
//!
//! A task of ours says so itself: `startedBy` is `prefect/<agent>/<flow run id>`, which is in every event, however late.
//! A Python worker's task says it in its tags, which ECS forgets about an hour after the task has stopped.
//! Prefect says it of those that it has written down for its runs: ECS tells of them what an event would, if it came.

use super::event::{Ignored, TaskEvent};
use crate::aws::AgentAws;
use crate::aws::ecs::DescribedTasks;
use crate::model::{ClaimedBy, Generation, Run};
use crate::platform::Place;
use crate::platform::ecs::LaunchTarget;
use crate::python_text::tag_slug;
use crate::transport::shape::text_at;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// First part of our `startedBy`.
const STARTED_BY: &str = "prefect/";
const FLOW_RUN_ID: &str = "prefect.io/flow-run-id";
const WORK_POOL: &str = "prefect.io/work-pool-name";
/// Prefect's own spelling.
const DEREGISTER: &str = "prefect.io/degregister-task-definition";

/// Tags of a task.
pub type Tags = BTreeMap<String, String>;

/// A configured agent. Also one that is not enabled: its tasks live on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerCandidate<'a> {
    /// Its name in the deployment.
    pub agent: &'a str,
    /// Its work pool; `None` for Prefect 1.
    pub work_pool: Option<&'a str>,
}

/// Who launched a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchedBy {
    /// This program: the claim is one of ours, and can be given back.
    Here,
    /// A worker of Prefect's, whose work pool one of our agents serves too.
    ByWorker,
}

/// The run that a task was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Id of the flow run, as a UUID in lower case.
    pub flow_run_id: String,
    /// Agents to ask for the run, one after the other until one knows it. At least one. Where there are several and none
    /// knows it, it is nobody's.
    pub agents: Vec<String>,
    /// Who launched it.
    pub launched: LaunchedBy,
}

/// Whose task it is by its `startedBy` alone; `Ok(None)` = only its tags can tell.
pub fn by_started_by(event: &TaskEvent, agents: &[OwnerCandidate<'_>]) -> Result<Option<Owner>, Ignored> {
    let Some(rest) = event.task.started_by.as_deref().and_then(|text| text.strip_prefix(STARTED_BY)) else {
        return Ok(None);
    };
    let Some((agent, run)) = rest.split_once('/') else {
        return Err(Ignored(format!("startedBy {STARTED_BY}{rest} names no flow run")));
    };
    if !agents.iter().any(|candidate| candidate.agent == agent) {
        return Err(Ignored(format!("agent {agent} is not configured here")));
    }
    let flow_run_id = uuid(run).ok_or_else(|| Ignored(format!("{run} is no id of a flow run")))?;
    Ok(Some(Owner { flow_run_id, agents: vec![agent.to_owned()], launched: LaunchedBy::Here }))
}

/// Whose task it is by its tags. A worker of Prefect 2 does not write its pool into them: then all agents of Prefect 2
/// and 3 are asked, and the one that knows the run has it.
pub fn by_tags(tags: &Tags, agents: &[OwnerCandidate<'_>]) -> Result<Owner, Ignored> {
    let run = tags.get(FLOW_RUN_ID).ok_or_else(|| Ignored("the task is not of a flow run".into()))?;
    let flow_run_id = uuid(run).ok_or_else(|| Ignored(format!("{run} is no id of a flow run")))?;
    let agents = serving(tags, agents);
    if agents.is_empty() {
        return Err(Ignored("no agent of this deployment serves the task's work pool".into()));
    }
    Ok(Owner { flow_run_id, agents, launched: LaunchedBy::ByWorker })
}

/// Whether the tags name a flow run.
pub fn is_of_a_flow_run(tags: &Tags) -> bool {
    tags.get(FLOW_RUN_ID).is_some_and(|run| uuid(run).is_some())
}

/// The definition that goes with the task: a worker registered it for this launch alone. `agents` as for [`by_tags`]: a
/// task of another deployment's work pool is left alone.
pub fn definition_to_deregister<'e>(
    event: &'e TaskEvent,
    tags: &Tags,
    agents: &[OwnerCandidate<'_>],
) -> Option<&'e str> {
    let asked = tags.get(DEREGISTER).is_some_and(|value| value == "true");
    if !asked || !event.is_stopped() || serving(tags, agents).is_empty() {
        return None;
    }
    event.task.task_definition_arn.as_deref()
}

fn serving(tags: &Tags, agents: &[OwnerCandidate<'_>]) -> Vec<String> {
    // Tags are written with the few characters that ECS allows.
    let serves = |pool: &str| tags.get(WORK_POOL).is_none_or(|tag| tag == pool || *tag == tag_slug(pool));
    agents.iter().filter(|agent| agent.work_pool.is_some_and(serves)).map(|agent| agent.agent.to_owned()).collect()
}

fn uuid(text: &str) -> Option<String> {
    Uuid::try_parse(text).ok().map(|id| id.hyphenated().to_string())
}

// Which turn of its flow run a task belongs to.

/// Clocks of AWS and of a Prefect server differ by less than this. A new turn of a run comes at least 45 s after it was
/// given back, so that a task this much older than its claim belongs to an earlier one.
const SKEW: Duration = Duration::from_secs(15);

impl Generation {
    /// Name that the container of a flow usually has.
    pub(super) fn usual_container(self) -> &'static str {
        match self {
            Self::One => "flow",
            Self::TwoOrThree => "prefect",
        }
    }
}

impl Run {
    /// Whether the task is of an earlier turn of the run, so that its end says nothing about the run now.
    ///
    /// ECS does not tell a task's `clientToken`, which names the turn, so it is told by what both sides wrote down:
    /// - **Time.** A turn's task is created after its claim. This is right also where the pid is not: before the pid of
    ///   the new task is written down, the run still has the old one. The exception is an earlier task that a claim of
    ///   ours adopted, see [`Run::has_adopted`].
    /// - **The pid.** Where the times do not decide (one is unknown, or they are too close for clocks to be compared),
    ///   a pid that names another task does. For a worker's task it always does: a worker that repeats `RunTask`
    ///   after a lost answer starts a second task, and only one of them is the run's. Our own repetitions start none.
    ///
    /// An event that lacks the times, for a run without a pid, is taken for one of the current turn.
    pub fn is_of_earlier_turn(&self, event: &TaskEvent, launched: LaunchedBy) -> bool {
        let times = event.task.created_at.zip(self.claimed_at);
        if times.is_some_and(|(created, claimed)| created < claimed - SKEW) {
            return launched == LaunchedBy::ByWorker || !self.has_adopted(event);
        }
        let created_since = times.is_some_and(|(created, claimed)| created >= claimed);
        if launched == LaunchedBy::Here && created_since {
            return false;
        }
        self.pid_task().is_some_and(|task_arn| task_arn != event.task_arn)
    }

    /// Whether a task that is older than the claim was adopted by it. We claim a run only when no task of it lives, or one
    /// that has not begun: so a task that had not begun at the claim and ended after it was adopted.
    fn has_adopted(&self, event: &TaskEvent) -> bool {
        let Some(claimed) = self.claimed_at.filter(|_| self.claimed_by == ClaimedBy::Us) else { return false };
        let after_claim = |time: OffsetDateTime| time > claimed;
        event.task.stopped_at.is_some_and(after_claim) && event.task.started_at.is_none_or(after_claim)
    }

    /// ARN of the task in the pid. What is no pid of an ECS task says nothing.
    fn pid_task(&self) -> Option<&str> {
        let (_, task) = self.infrastructure_pid.as_deref()?.split_once("::")?;
        task.starts_with("arn:").then_some(task)
    }
}

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
mod run_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod recorded_tests {
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
