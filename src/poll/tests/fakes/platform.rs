//! The platform.

use super::Fakes;
use crate::clock::Clock;
use crate::launch::{
    LaunchIdentity, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveTask, LiveTasks, PreparedLaunch,
    TransientCause, Words,
};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use time::OffsetDateTime;

impl Launcher for Fakes {
    async fn prepare(
        &self,
        flow_run_id: &str,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<PreparedLaunch, LaunchOutcome> {
        let again = self.lock().hangs_when_prepared_again && self.lock().prepared.iter().any(|id| id == flow_run_id);
        self.lock().prepared.push(flow_run_id.to_owned());
        if again || self.lock().hanging.contains(&flow_run_id) {
            std::future::pending::<()>().await;
        }
        if let Some(outcome) = self.lock().prepare_outcomes.pop_front() {
            return Err(outcome);
        }
        let mut run_task = Map::new();
        run_task.insert("clientToken".into(), Value::from(identity.token.clone()));
        run_task.insert("startedBy".into(), json!(identity.started_by));
        let (run_sets, target) = (Vec::new(), spec.target());
        let words = Words::default();
        Ok(PreparedLaunch { flow_run_id: flow_run_id.to_owned(), run_task, run_sets, target, words, warning: None })
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        if !self.rate.wait(&self.clock, deadline).await {
            return LaunchOutcome::Transient { reason: "No time was left".into(), cause: TransientCause::NoTime };
        }
        let id = launch.flow_run_id.clone();
        let takes = self.lock().launching_takes;
        self.lock().happened("launch", &id);
        tokio::time::sleep(takes).await;
        let now = self.clock.now();
        let mut state = self.lock();
        assert_eq!(state.runs[&id].state, "Submitted", "{id} is launched without a claim");
        state.launches.push((id.clone(), now));
        state.happened("task", &id);
        state.sent.push((launch.run_task["clientToken"].as_str().unwrap().to_owned(), launch.target.cluster.clone()));
        if state.cancel_on_launch {
            let run = state.runs.get_mut(&id).unwrap();
            (run.state, run.mark) = ("Cancelled", None);
        }
        let next = state.outcomes.get_mut(&id).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| LaunchOutcome::Started { task_arn: format!("task/{id}") })
    }

    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.rate.free_until(self.clock.now(), deadline)
    }

    async fn live_task(&self, _: &LaunchTarget, task_arn: &str) -> Result<Option<LiveTask>, LaunchOutcome> {
        Ok(self.lock().live.values().flatten().find(|task| task.task_arn == task_arn).cloned())
    }

    async fn live_tasks(&self, _: &LaunchTarget, started_by: &str) -> Result<LiveTasks, LaunchOutcome> {
        if let Some(outcome) = self.lock().look_outcomes.pop_front() {
            return Err(outcome);
        }
        let tasks = self.lock().live.get(started_by).cloned().unwrap_or_default();
        Ok(LiveTasks { tasks, warning: None })
    }

    async fn stop(&self, _: &LaunchTarget, task_arn: &str, _: &str) -> Result<(), LaunchOutcome> {
        self.lock().stopped.push(task_arn.to_owned());
        Ok(())
    }
}
