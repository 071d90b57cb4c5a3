//! The platform.

use super::Fakes;
use crate::clock::Clock;
use crate::model::{ErrorKind, RenderError, RunRefusal};
use crate::platform::ecs::LaunchTarget;
use crate::platform::ecs::platform::WORK_POOL;
use crate::platform::{
    LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, Place, Platform, RunDescription, TransientCause,
    WithWarning, WorkPoolType,
};
use std::collections::VecDeque;
use time::OffsetDateTime;

/// A launch that is ready.
pub(in crate::poll) struct Ready {
    flow_run_id: String,
    token: String,
    cluster: String,
}

impl Platform for Fakes {
    /// The cluster.
    type Launch = String;
    type Prepared = Ready;
    type Place = LaunchTarget;

    const NOUN: &'static str = "task";
    const WORK_POOL: WorkPoolType = WORK_POOL;
    const TROUBLE: ErrorKind = ErrorKind::Aws;

    async fn render(&self, run: RunDescription) -> Result<WithWarning<String>, RenderError> {
        let RunDescription::One(_, run) = run else { panic!("these fakes speak as Prefect 1") };
        let state = self.lock();
        match state.refusals.get(&run.id) {
            Some(refusal) => Err(RenderError::Refused(RunRefusal(refusal.clone()))),
            None => Ok(WithWarning { launch: state.cluster.to_owned(), warning: None }),
        }
    }

    fn place(&self, launch: &String) -> LaunchTarget {
        LaunchTarget { cluster: launch.clone(), ..LaunchTarget::default() }
    }

    fn shown(&self, id: &str) -> String {
        format!("Task {id}")
    }

    async fn prepare(&self, launch: &String, identity: &LaunchIdentity) -> Result<WithWarning<Ready>, LaunchOutcome> {
        let LaunchIdentity { flow_run_id, token, .. } = identity.clone();
        let again = self.lock().hangs_when_prepared_again && self.lock().prepared.contains(&flow_run_id);
        self.lock().prepared.push(flow_run_id.clone());
        if again || self.lock().hanging.contains(&flow_run_id.as_str()) {
            std::future::pending::<()>().await;
        }
        if let Some(outcome) = self.lock().prepare_outcomes.pop_front() {
            return Err(outcome);
        }
        let launch = Ready { flow_run_id, token, cluster: launch.clone() };
        Ok(WithWarning { launch, warning: None })
    }

    async fn launch(&self, launch: &Ready, deadline: OffsetDateTime) -> LaunchOutcome {
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
        state.sent.push((launch.token.clone(), launch.cluster.clone()));
        if state.cancel_on_launch {
            let run = state.runs.get_mut(&id).unwrap();
            (run.state, run.mark) = ("Cancelled", None);
        }
        let next = state.outcomes.get_mut(&id).and_then(VecDeque::pop_front);
        next.unwrap_or_else(|| LaunchOutcome::Started { id: format!("task/{id}") })
    }

    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.rate.free_until(self.clock.now(), deadline)
    }

    async fn find(&self, _: &LaunchTarget, id: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        Ok(self.lock().live.values().flatten().find(|one| one.id == id).cloned())
    }

    async fn live(&self, _: &LaunchTarget, identity: &LaunchIdentity) -> Result<LiveDeployments, LaunchOutcome> {
        if let Some(outcome) = self.lock().look_outcomes.pop_front() {
            return Err(outcome);
        }
        let deployments = self.lock().live.get(&identity.started_by).cloned().unwrap_or_default();
        Ok(LiveDeployments { deployments, warning: None })
    }

    async fn stop(&self, _: &LaunchTarget, id: &str, _: &str) -> Result<(), LaunchOutcome> {
        self.lock().stopped.push(id.to_owned());
        Ok(())
    }

    fn in_place(&self, launch: String, claimed: &str) -> String {
        match claimed {
            "" => launch,
            claimed if claimed == self.place(&launch).name() => launch,
            "default" => String::new(),
            claimed => claimed.to_owned(),
        }
    }
}
