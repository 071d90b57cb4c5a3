//! The thin edge: asks ECS for the tasks of a run. Every question is a read, and there are few of them.

use super::facts::{TaskFacts, Tasks};
use crate::aws::AgentAws;
use crate::model::{Generation, Phase};
use crate::orchestrator::run_facts::RunFacts;
use crate::platform::ecs::listing::listed_tasks;
use crate::platform::{self, Place, ecs::target::LaunchTarget};
use crate::task_events::event::{TaskEvent, instant_of};
use crate::task_events::perform::log_stream;
use crate::transport::shape::text_at;
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Clusters that are looked into at most: a run is hardly ever launched in more.
const MAX_CLUSTERS: usize = 3;
/// Tasks of one run that are told of at most: one per attempt.
const MAX_TASKS: usize = 20;

/// Where tasks of a run may be: clusters, and tasks whose ARN is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whereabouts {
    /// Names or ARNs of clusters, the newest first; an empty one is the default cluster.
    clusters: Vec<String>,
    /// Cluster and ARN of a task that Prefect knows.
    recorded: Option<(String, String)>,
    /// Whether a task that Prefect knows and ECS does not is worth a word: the run is in a turn.
    is_in_turn: bool,
    /// The run brings credentials along.
    has_own_credentials: bool,
}

impl Whereabouts {
    /// Where the claims went, and what is written down. Pure. `None` = nothing was ever launched.
    pub fn of(run: &RunFacts) -> Option<Self> {
        let marks = run.mark.iter().chain(run.states.iter().rev().filter_map(|state| state.mark.as_ref()));
        let mut clusters: Vec<String> = Vec::new();
        for place in marks.map(|mark| mark.place.clone()) {
            if !clusters.contains(&place) {
                clusters.push(place);
            }
        }
        clusters.truncate(MAX_CLUSTERS);
        let recorded = run.run.infrastructure_pid.as_deref().map(LaunchTarget::of_pid);
        let recorded = recorded.map(|(place, arn)| (place.cluster, arn)).filter(|(_, arn)| arn.starts_with("arn:"));
        let was_claimed = !clusters.is_empty() || recorded.is_some() || run.run.claimed_at.is_some();
        if clusters.is_empty() && recorded.is_none() {
            clusters.push(String::new());
        }
        let is_in_turn = !matches!(run.run.phase, Phase::Waiting | Phase::Ended);
        was_claimed.then_some(Self { clusters, recorded, is_in_turn, has_own_credentials: run.has_own_credentials })
    }

    /// Where tasks go that an agent launches, as far as its configuration tells.
    pub fn configured(cluster: Option<&str>) -> Self {
        Self { clusters: vec![cluster.unwrap_or_default().to_owned()], ..Self::default() }
    }
}

/// The tasks of a run. `agent`: whose `startedBy` they carry.
pub async fn tasks(
    aws: &AgentAws,
    (agent, flow_run_id, generation): (&str, &str, Generation),
    whereabouts: &Whereabouts,
) -> Tasks {
    let started_by = platform::started_by(agent, flow_run_id);
    let (mut arns, mut unknown) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    // Those that are listed as to be running.
    let mut running: Vec<String> = Vec::new();
    let listings = whereabouts.clusters.iter().map(|cluster| listed_tasks(&aws.ecs, Some(cluster), &started_by));
    for (cluster, listed) in whereabouts.clusters.iter().zip(join_all(listings).await) {
        let why_not = match listed {
            Ok(Some(listed)) => {
                arns.entry(cluster.clone()).or_default().extend(listed.arns().cloned());
                running.extend(listed.running);
                listed.warning
            }
            // It may be another region's or account's.
            Ok(None) => Some(format!("ECS in {} does not know the cluster", aws.region)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why_not {
            note(&mut unknown, format!("tasks in {} (ecs:ListTasks): {why}", shown(cluster)));
        }
    }
    if let Some((cluster, arn)) = &whereabouts.recorded
        && !arns.values().any(|known| known.contains(arn))
    {
        arns.entry(cluster.clone()).or_default().insert(arn.clone());
    }
    let mut described = Vec::new();
    for (cluster, arns) in &arns {
        let arns: Vec<String> = arns.iter().take(MAX_TASKS).cloned().collect();
        match aws.ecs.describe_tasks_verbatim(Some(cluster), &arns).await {
            Ok(answer) => described.extend(answer.tasks),
            Err(error) => note(&mut unknown, format!("tasks in {} (ecs:DescribeTasks): {error}", shown(cluster))),
        }
    }
    let is_described = |arn: &&String| described.iter().any(|task| text_at(task, &["taskArn"]) == Some(arn));
    for arn in running.iter().filter(|arn| !is_described(arn)) {
        // Too new, as a rule.
        note(&mut unknown, format!("task {arn} is listed, and not described yet"));
    }
    let recorded = whereabouts.recorded.as_ref().filter(|_| whereabouts.is_in_turn);
    if let Some((_, arn)) = recorded.filter(|(_, arn)| unknown.is_empty() && !is_described(&arn)) {
        let why = "it stopped more than an hour ago, or is in another account or region";
        note(&mut unknown, format!("task {arn}, which Prefect names, is not known to ECS here: {why}"));
    }
    let mut found: Vec<TaskFacts> = described.iter().filter_map(task_facts).collect();
    found.sort_by_key(|task| task.task.task.created_at);
    if found.is_empty() && whereabouts.is_in_turn && whereabouts.has_own_credentials {
        let what = "the run brings AWS credentials of its own (`aws_credentials`), with which nobody asks here";
        note(&mut unknown, format!("tasks in another account: {what}"));
    }
    // A run's attempts share a definition as a rule.
    let definitions: BTreeSet<String> =
        found.iter().filter_map(|task| task.task.task.task_definition_arn.clone()).take(MAX_CLUSTERS).collect();
    for definition in definitions {
        match aws.ecs.describe_task_definition(&definition).await {
            Ok(described) => {
                let is_its = |task: &&mut TaskFacts| task.task.task.task_definition_arn.as_ref() == Some(&definition);
                for task in found.iter_mut().filter(is_its) {
                    task.log = log_stream(&described.definition, None, task.task.task_id(), generation);
                }
            }
            Err(error) => note(&mut unknown, format!("the log (ecs:DescribeTaskDefinition): {error}")),
        }
    }
    Tasks { found, unknown }
}

/// Each once: two questions of one kind are refused alike.
fn note(unknown: &mut Vec<String>, what: String) {
    if !unknown.contains(&what) {
        unknown.push(what);
    }
}

fn shown(cluster: &str) -> String {
    if cluster.is_empty() { "the default cluster".to_owned() } else { format!("cluster {cluster}") }
}

/// A task as `DescribeTasks` tells of it.
fn task_facts(task: &Value) -> Option<TaskFacts> {
    Some(TaskFacts {
        task: TaskEvent::of_description(task)?,
        pull_stopped_at: instant_of(task, "pullStoppedAt"),
        log: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::explain::testing;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn a_described_task_is_read_with_its_times() {
        let task = json!({
            "taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123", "lastStatus": "STOPPED",
            "createdAt": 1_795_521_600.25, "startedAt": 1_795_521_630.0, "stoppedAt": 1_795_521_660.0,
            "pullStartedAt": 1_795_521_610.0, "pullStoppedAt": 1_795_521_620.0, "stopCode": "EssentialContainerExited",
            "containers": [{"name": "flow", "exitCode": 137, "reason": null}],
        });
        let found = task_facts(&task).unwrap();
        assert_eq!(found.task.task.created_at, Some(datetime!(2026-11-24 12:00:00.25 UTC)));
        assert_eq!(found.pull_stopped_at, Some(datetime!(2026-11-24 12:00:20 UTC)));
        assert_eq!(
            (found.task.region.as_deref(), found.task.account.as_deref()),
            (Some("eu-west-1"), Some("123456789012"))
        );
        assert_eq!(found.task.task.containers[0].exit_code, Some(137));
        assert_eq!(task_facts(&json!({"lastStatus": "RUNNING"})), None);
    }

    #[test]
    fn tasks_are_where_the_claims_went_and_nowhere_without_a_claim() {
        let mut run = testing::waiting();
        assert_eq!(Whereabouts::of(&run), None);
        run.mark = Some(testing::mark(2, "etl"));
        let expected = Whereabouts { clusters: vec!["etl".into()], ..Whereabouts::default() };
        assert_eq!(Whereabouts::of(&run), Some(expected));
        run.run.infrastructure_pid = Some("other::arn:aws:ecs:x:1:task/other/1".into());
        let recorded = Some(("other".into(), "arn:aws:ecs:x:1:task/other/1".into()));
        assert_eq!(Whereabouts::of(&run).unwrap().recorded, recorded);
        let mut launched_by_a_worker = testing::waiting();
        launched_by_a_worker.run.infrastructure_pid = Some("42".into());
        assert_eq!(Whereabouts::of(&launched_by_a_worker), None, "a process of another platform");
    }
}
