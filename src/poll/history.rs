//! Pure: what an earlier turn's tasks mean for a run that is due again.

use crate::launch::LiveTask;

/// `last_status` of a task that ECS lists and cannot describe yet.
const TOO_NEW: &str = "UNKNOWN";

/// What to do about the run itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Earlier {
    /// No earlier task lives: launch.
    None,
    /// This task has not begun to run: it will run the flow, adopt it.
    Adopt(String),
    /// Not in this poll, and why.
    Wait(String),
}

/// What to do about an earlier turn's tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EarlierTasks {
    /// Tasks to stop.
    pub(super) stop: Vec<String>,
    /// What to do about the run.
    pub(super) earlier: Earlier,
}

/// Decides. A task retry (Prefect 1: the flow run is Running) leaves a running task alone, since that one may be
/// about to retry the task itself; any other run that is due again was given up by Prefect, so its task is stopped.
pub(super) fn decide(tasks: &[LiveTask], is_task_retry: bool) -> EarlierTasks {
    let live: Vec<_> = tasks.iter().filter(|task| task.last_status != "STOPPED").collect();
    let running: Vec<_> = live.iter().filter(|task| has_begun(task)).collect();
    let earlier = match (running.first(), live.first()) {
        (Some(task), _) if is_task_retry => {
            Earlier::Wait(format!("its task {} still runs: it may retry by itself", task.task_arn))
        }
        (Some(task), _) if task.last_status == TOO_NEW => {
            Earlier::Wait(format!("its task {} was started a moment ago and cannot be described yet", task.task_arn))
        }
        (Some(task), _) => {
            Earlier::Wait(format!("an earlier task {} is being stopped; launched once it has stopped", task.task_arn))
        }
        (None, Some(task)) => Earlier::Adopt(task.task_arn.clone()),
        (None, None) => Earlier::None,
    };
    // What cannot be described yet was started a moment ago: it is waited for, never stopped.
    let to_stop =
        |task: &&&&LiveTask| !is_task_retry && task.desired_status != "STOPPED" && task.last_status != TOO_NEW;
    let stop = running.iter().filter(to_stop).map(|task| task.task_arn.clone()).collect();
    EarlierTasks { stop, earlier }
}

/// Whether the task's containers run or ran: such a task cannot stand for a new turn.
fn has_begun(task: &LiveTask) -> bool {
    let waits = matches!(task.last_status.as_str(), "PROVISIONING" | "PENDING" | "ACTIVATING");
    !waits || task.desired_status == "STOPPED"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(last_status: &str, desired_status: &str) -> LiveTask {
        LiveTask {
            task_arn: format!("arn:{last_status}"),
            last_status: last_status.to_owned(),
            desired_status: desired_status.to_owned(),
        }
    }

    #[test]
    fn without_a_live_task_the_run_is_launched() {
        for tasks in [vec![], vec![task("STOPPED", "STOPPED")]] {
            assert_eq!(decide(&tasks, false), EarlierTasks { stop: vec![], earlier: Earlier::None });
        }
    }

    #[test]
    fn a_task_that_has_not_begun_is_adopted_also_for_a_task_retry() {
        for status in ["PROVISIONING", "PENDING", "ACTIVATING"] {
            for is_task_retry in [false, true] {
                let decision = decide(&[task(status, "RUNNING")], is_task_retry);
                assert_eq!(decision, EarlierTasks { stop: vec![], earlier: Earlier::Adopt(format!("arn:{status}")) });
            }
        }
    }

    #[test]
    fn a_running_task_is_stopped_and_the_run_waits_for_that() {
        let decision = decide(&[task("RUNNING", "RUNNING")], false);
        assert_eq!(decision.stop, ["arn:RUNNING"]);
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("being stopped")));
    }

    #[test]
    fn a_task_that_is_stopping_is_waited_for_and_not_stopped_again() {
        for task in [task("RUNNING", "STOPPED"), task("PENDING", "STOPPED"), task("DEPROVISIONING", "STOPPED")] {
            let decision = decide(&[task], false);
            assert!(decision.stop.is_empty());
            assert!(matches!(decision.earlier, Earlier::Wait(_)));
        }
    }

    #[test]
    fn a_task_retry_leaves_a_running_task_alone() {
        let decision = decide(&[task("RUNNING", "RUNNING")], true);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(reason) if reason.contains("retry by itself")));
    }

    #[test]
    fn a_task_too_new_to_be_described_is_waited_for_and_not_stopped() {
        let decision = decide(&[task("UNKNOWN", "RUNNING")], false);
        assert!(decision.stop.is_empty());
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }

    #[test]
    fn one_running_task_among_waiting_ones_decides() {
        let decision = decide(&[task("PENDING", "RUNNING"), task("RUNNING", "RUNNING")], false);
        assert_eq!(decision.stop, ["arn:RUNNING"]);
        assert!(matches!(decision.earlier, Earlier::Wait(_)));
    }
}
