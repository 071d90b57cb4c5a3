//! Polls that are killed, and claims that they leave.

use crate::prefect::{Phase, Prefect, Run, time_passes};
use crate::support::{DEADLINE, Deployment, agent, ids};
use serde_json::{Value, json};
use std::time::Duration;
use world::{Fault, FaultKind, State, World};

/// Longer than any story.
const FOR_EVER: u64 = 3_600_000;

/// How old a claim must be before it is looked after, and a little more.
pub(super) const ORPHAN_AFTER: u64 = 121;

pub(super) struct Scene {
    pub(super) prefect: Prefect,
    pub(super) deployment: Deployment,
}

impl Scene {
    pub(super) async fn new(prefect: Prefect) -> Self {
        Self::with(prefect, json!({})).await
    }

    /// `extra` is merged into the configuration of `etl`.
    pub(super) async fn with(prefect: Prefect, extra: Value) -> Self {
        Self { prefect, deployment: prefect.deployment(extra).await }
    }

    pub(super) fn world(&self) -> &World {
        &self.deployment.world
    }

    /// So many runs that are due.
    pub(super) fn runs(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.prefect.due_run(self.world())).collect()
    }

    pub(super) fn run(&self, id: &str) -> Run {
        self.prefect.run(self.world(), id)
    }

    /// A poll whose process is killed as soon as `holds` is true of the world.
    pub(super) async fn killed_when(&self, holds: impl FnMut(&State) -> bool) {
        let function = self.deployment.poll_function().await;
        let killer = async {
            assert!(self.world().wait_until(Duration::from_secs(30), holds).await, "{}", function.stdout());
            function.kill();
        };
        let (answer, ()) = tokio::join!(function.invoke(json!({}), DEADLINE), killer);
        assert_eq!(answer.unwrap_err().error_type, "Runtime.ExitError");
        self.world().lock().faults.clear();
    }

    /// Runs whose poll was killed after it had claimed them and before any `RunTask` arrived.
    pub(super) async fn claimed_and_not_launched(&self, count: usize) -> Vec<String> {
        let runs = self.runs(count);
        self.world().fault(Fault::new("ecs", "RunTask", FaultKind::DelayBefore { ms: FOR_EVER }).always());
        self.killed_when(|state| state.journal.matching("ecs", "RunTask").len() == count).await;
        for run in &runs {
            assert_eq!(self.run(run).phase, Phase::Claimed);
        }
        assert!(self.world().ecs_tasks().is_empty());
        runs
    }

    /// Runs whose poll was killed after their tasks had started and before it heard so.
    pub(super) async fn launched_unheard_of(&self, count: usize) -> Vec<String> {
        let runs = self.runs(count);
        self.world().fault(Fault::new("ecs", "RunTask", FaultKind::DelayAfter { ms: FOR_EVER }).always());
        self.killed_when(|state| state.ecs.tasks.len() == count).await;
        runs
    }

    /// From now on launches go to another cluster, with another variable in their environment.
    pub(super) fn configure_anew(&self, cluster: &str) {
        self.world().ecs_cluster(cluster);
        match self.prefect {
            Prefect::One => {
                let extra = json!({"cluster": cluster, "env_vars": {"STAGE": "new"}});
                self.prefect.agent(&self.deployment, "etl", extra);
            }
            Prefect::Three => {
                let variables = json!({"cluster": cluster, "env": {"STAGE": "new"}}).as_object().unwrap().clone();
                self.world().prefect3(|prefect3| prefect3.deployments[0].job_variables = variables);
            }
        }
    }

    /// One poll of a new process, so much later; the report of `etl`.
    pub(super) async fn polled_after(&self, seconds: u64) -> Value {
        time_passes(self.world(), seconds);
        agent(&self.deployment.poll().await, "etl").clone()
    }

    /// Fails unless these runs are claimed, each with exactly one task, which `report` calls recovered.
    pub(super) fn are_recovered(&self, runs: &[String], report: &Value) {
        let (mut told, mut expected) = (ids(report, "recovered"), runs.to_vec());
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{:?}: {report:#}", self.prefect);
        for run in runs {
            let entry = report["recovered"].as_array().unwrap().iter().find(|one| one["flow_run_id"] == **run).unwrap();
            self.has_one_task(run, entry["task_arn"].as_str().unwrap());
        }
    }

    /// Fails unless a run is claimed and has had one task, this one.
    pub(super) fn has_one_task(&self, run: &str, task_arn: &str) {
        let started_by = Some(format!("prefect/etl/{run}"));
        let tasks = self.world().ecs_tasks();
        let tasks: Vec<_> =
            tasks.into_iter().filter(|task| task.started_by == started_by).map(|task| task.arn).collect();
        assert_eq!(tasks, [task_arn], "{:?}", self.prefect);
        let run = self.run(run);
        assert_eq!(run.phase, Phase::Claimed, "{run:?}");
        let pid = run.pid.as_deref().and_then(|pid| pid.split_once("::")).map(|(_, task)| task);
        assert_eq!(pid.is_some(), self.prefect == Prefect::Three, "{run:?}");
        assert!(pid.is_none_or(|task| task == task_arn), "{run:?}");
    }
}
