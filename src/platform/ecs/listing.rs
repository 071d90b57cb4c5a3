//! What it means that ECS will not tell of a flow run's tasks. Pure.

use super::outcome::{Origin, refusal};
use super::{LaunchOutcome, LaunchTarget};
use crate::aws::AwsError;

/// The tasks that ECS lists as stopped, and a warning where it refuses to list them.
///
/// AWS's documentation says that `startedBy` must be the only filter of `ListTasks`, while public code sends it together
/// with `desiredStatus: STOPPED`. Where ECS holds to its documentation, a task that was asked to stop is not seen while
/// it ends; whatever is to run is still listed, and that is what a launch must not repeat.
pub fn stopping_tasks(answer: Result<Vec<String>, AwsError>) -> Result<(Vec<String>, Option<String>), AwsError> {
    match answer {
        Ok(arns) => Ok((arns, None)),
        Err(error) if is_refused_question("ListTasks", &error) => Ok((
            Vec::new(),
            Some(format!(
                "ECS does not list stopped tasks by startedBy, so that a task which is being stopped is not waited for \
                 when its flow run is launched again: {error}"
            )),
        )),
        Err(error) => Err(error),
    }
}

/// Whether ECS does not know the cluster, or does not take its name. A launch into it is refused too, and says so to
/// whoever named the cluster.
pub fn is_about_cluster(error: &AwsError) -> bool {
    let AwsError::Answer { code, message, .. } = error else { return false };
    let is_no_name = || code == "InvalidParameterException" && message.to_lowercase().contains("identifier");
    code == "ClusterNotFoundException" || is_no_name()
}

/// A look at tasks that was refused. These calls contain nothing of the run's own but the cluster, and perhaps the
/// credentials: a question that ECS does not take is the agent's trouble, and no run's.
pub fn refused(operation: &str, error: AwsError, target: &LaunchTarget) -> LaunchOutcome {
    if is_refused_question(operation, &error) {
        return LaunchOutcome::AgentTrouble(format!(
            "{operation}: {error}. Flow runs that may have a task already wait until ECS answers this again."
        ));
    }
    let origin = Origin { run_sets: &target.credentials.set_by_run, ..Origin::nobodys() };
    refusal(operation, error, &origin)
}

/// Whether it is the request that ECS refuses: neither for now, nor for who asks, nor for want of a permission.
fn is_refused_question(operation: &str, error: &AwsError) -> bool {
    matches!(refusal(operation, error.clone(), &Origin::nobodys()), LaunchOutcome::Permanent(_))
}

#[cfg(test)]
mod tests;
