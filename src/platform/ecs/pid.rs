//! `infrastructure_pid` of a task, as the ECS worker of Prefect writes it: `<cluster>::<task ARN>`. Pure.

use super::LaunchTarget;
use crate::platform::Place;

/// Where ECS looks when a request names no cluster.
const DEFAULT_CLUSTER: &str = "default";

impl Place for LaunchTarget {
    /// The cluster by its name, also when a request would leave it out.
    fn name(&self) -> String {
        if self.cluster.is_empty() { DEFAULT_CLUSTER.to_owned() } else { self.cluster.clone() }
    }

    fn named(self, name: &str) -> Self {
        Self { cluster: name.to_owned(), ..self }
    }

    /// The cluster is the one that the configuration has; where it has none, or where the task is in another one (a claim
    /// is finished where it was made, whatever is configured by now), the ARN of the task's cluster.
    fn pid(&self, id: &str) -> String {
        let cluster = self.written.as_ref().filter(|cluster| may_be_in(id, cluster));
        let cluster = cluster.cloned().unwrap_or_else(|| cluster_of(id));
        format!("{cluster}::{id}")
    }

    fn of_pid(pid: &str) -> (Self, String) {
        let (cluster, task_arn) = pid.split_once("::").unwrap_or(("", pid));
        (Self { cluster: cluster.to_owned(), ..Self::default() }, task_arn.to_owned())
    }
}

/// ARN of the cluster of a task.
fn cluster_of(task_arn: &str) -> String {
    match task_arn.split_once(":task/") {
        Some((prefix, _)) => format!("{prefix}:cluster/{}", cluster_name(task_arn).unwrap_or("default")),
        None => "default".to_owned(),
    }
}

/// Name of the cluster of a task: `…:task/<cluster>/<id>`; older ARNs do not tell.
fn cluster_name(task_arn: &str) -> Option<&str> {
    let (_, rest) = task_arn.split_once(":task/")?;
    rest.split_once('/').map(|(name, _)| name)
}

/// Whether a task is in a cluster, given by name or ARN, as far as its own ARN tells.
fn may_be_in(task_arn: &str, cluster: &str) -> bool {
    cluster_name(task_arn).is_none_or(|name| cluster.rsplit('/').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "arn:aws:ecs:eu-west-1:123456789012:cluster/etl";
    const TASK: &str = "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123";
    const OLD: &str = "arn:aws:ecs:eu-west-1:123456789012:task/0123";

    #[test]
    fn a_pid_begins_with_the_cluster_of_the_configuration_not_with_that_of_the_request() {
        let default = "arn:aws:ecs:eu-west-1:123456789012:cluster/default";
        for (written, task_arn, expected) in [
            (Some("etl"), TASK, format!("etl::{TASK}")),
            (None, TASK, format!("{CLUSTER}::{TASK}")),
            (None, OLD, format!("{default}::{OLD}")),
            (None, "odd", "default::odd".into()),
            (Some("elsewhere"), TASK, format!("{CLUSTER}::{TASK}")),
            (Some("etl"), OLD, format!("etl::{OLD}")),
        ] {
            let place = LaunchTarget {
                cluster: "only in the request".into(),
                written: written.map(str::to_owned),
                ..LaunchTarget::default()
            };
            assert_eq!(place.pid(task_arn), expected);
        }
    }

    #[test]
    fn a_pid_is_split_at_its_first_colons() {
        let (place, task_arn) = LaunchTarget::of_pid("arn:x:cluster/a::arn:x:task/a::b");
        assert_eq!((place.cluster.as_str(), task_arn.as_str()), ("arn:x:cluster/a", "arn:x:task/a::b"));
        assert_eq!(LaunchTarget::of_pid("arn:task").1, "arn:task");
    }
}
