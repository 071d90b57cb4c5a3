//! Pure: what an earlier turn's deployments mean for a run that is due again.

use crate::platform::{LiveDeployment, Progress};

/// What to do about the run itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Earlier {
    /// No earlier deployment lives: launch.
    None,
    /// This one has not begun to run: it will run the flow, adopt it.
    Adopt(String),
    /// Not in this poll, and why.
    Wait(String),
}

/// What to do about an earlier turn's deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EarlierDeployments {
    /// Those to stop.
    pub(super) stop: Vec<String>,
    /// What to do about the run.
    pub(super) earlier: Earlier,
}

/// Decides. A task retry (Prefect 1: the flow run is Running) leaves a running deployment alone, since that one may be
/// about to retry the task itself; any other run that is due again was given up by Prefect, so its deployment is stopped.
pub(super) fn decide(live: &[LiveDeployment], is_task_retry: bool, noun: &str) -> EarlierDeployments {
    let running: Vec<_> = live.iter().filter(|one| has_begun(one)).collect();
    let earlier = match (running.first(), live.first()) {
        (Some(one), _) if is_task_retry => {
            Earlier::Wait(format!("its {noun} {} still runs: it may retry by itself", one.id))
        }
        (Some(one), _) if one.progress == Progress::Unknown => {
            Earlier::Wait(format!("its {noun} {} was started a moment ago and cannot be described yet", one.id))
        }
        (Some(one), _) => {
            Earlier::Wait(format!("an earlier {noun} {} is being stopped; launched once it has stopped", one.id))
        }
        (None, Some(one)) => Earlier::Adopt(one.id.clone()),
        (None, None) => Earlier::None,
    };
    // What cannot be described yet was started a moment ago: it is waited for, never stopped.
    let to_stop = |one: &&&LiveDeployment| !is_task_retry && !one.is_stopping && one.progress != Progress::Unknown;
    let stop = running.iter().filter(to_stop).map(|one| one.id.clone()).collect();
    EarlierDeployments { stop, earlier }
}

/// Whether the flow runs or ran: such a deployment cannot stand for a new turn.
fn has_begun(one: &LiveDeployment) -> bool {
    one.progress != Progress::Waiting || one.is_stopping
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(progress: Progress, is_stopping: bool) -> LiveDeployment {
        LiveDeployment { id: format!("arn:{progress:?}"), progress, is_stopping }
    }

    fn decided(live: &[LiveDeployment], is_task_retry: bool) -> EarlierDeployments {
        decide(live, is_task_retry, "task")
    }

    #[test]
    fn without_a_live_deployment_the_run_is_launched() {
        assert_eq!(decided(&[], false), EarlierDeployments { stop: vec![], earlier: Earlier::None });
    }

    #[test]
    fn one_that_has_not_begun_is_adopted_also_for_a_task_retry() {
        for is_task_retry in [false, true] {
            let expected = EarlierDeployments { stop: vec![], earlier: Earlier::Adopt("arn:Waiting".into()) };
            assert_eq!(decided(&[one(Progress::Waiting, false)], is_task_retry), expected);
        }
    }

    #[test]
    fn one_that_runs_is_stopped_and_the_run_waits_for_that() {
        let decision = decided(&[one(Progress::Begun, false)], false);
        assert_eq!(decision.stop, ["arn:Begun"]);
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("being stopped")));
    }

    #[test]
    fn one_that_is_stopping_is_waited_for_and_not_stopped_again() {
        for progress in [Progress::Begun, Progress::Waiting, Progress::Unknown] {
            let decision = decided(&[one(progress, true)], false);
            assert!(decision.stop.is_empty());
            assert!(matches!(decision.earlier, Earlier::Wait(_)));
        }
    }

    #[test]
    fn a_task_retry_leaves_a_running_one_alone() {
        let decision = decided(&[one(Progress::Begun, false)], true);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("retry by itself")));
    }

    #[test]
    fn one_too_new_to_be_described_is_waited_for_and_not_stopped() {
        let decision = decided(&[one(Progress::Unknown, false)], false);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }

    #[test]
    fn a_running_one_among_waiting_ones_decides() {
        let decision = decided(&[one(Progress::Waiting, false), one(Progress::Begun, false)], false);
        assert_eq!(decision.stop, ["arn:Begun"]);
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }
}
