//! Where a task runs: the cluster, whose credentials reach it, and how Prefect writes that down.

use crate::platform::Place;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A cluster and the credentials with which it is reached.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LaunchTarget {
    /// Name or ARN; empty = the account's default cluster.
    pub cluster: String,
    /// The cluster as the job configuration has it: what its pid begins with. `None` = nothing was written.
    pub written: Option<String>,
    /// Credentials of the run's own; empty = the agent's.
    pub credentials: AwsCredentials,
}

/// Credentials of one launch. All empty = the agent's own.
#[derive(Debug, Clone, Default)]
pub struct AwsCredentials {
    /// Access key.
    pub access_key_id: Option<String>,
    /// Secret of the access key.
    pub secret_access_key: Option<SecretString>,
    /// Session token of temporary keys.
    pub session_token: Option<SecretString>,
    /// Profile of the AWS configuration files; there are none in a function.
    pub profile_name: Option<String>,
    /// Region of the launch; `None` = the agent's.
    pub region_name: Option<String>,
    /// Role to assume, with the keys above or the agent's own.
    pub assume_role_arn: Option<String>,
    /// Further parameters of `AssumeRole` in the API's own spelling (`ExternalId`, `DurationSeconds`, …).
    pub assume_role_kwargs: Map<String, Value>,
    /// `endpoint_url`, `verify`, `use_ssl`, `config` and `api_version` for the clients.
    pub client_parameters: Map<String, Value>,
    /// Those of [`CHOSEN_ACCOUNT`] and [`CHOSEN_KEYS`] that are among the launch's
    /// [`run_sets`](super::LaunchSpec::run_sets): what the run itself decided, as opposed to its agent or work pool.
    pub set_by_run: Vec<String>,
}

/// Among [`run_sets`](super::LaunchSpec::run_sets): the run decided on some of its credentials, be it only the region.
pub const CHOSEN_ACCOUNT: &str = "aws_credentials";

/// Among [`run_sets`](super::LaunchSpec::run_sets): the run brought access keys.
pub const CHOSEN_KEYS: &str = "aws_credentials.aws_access_key_id";

impl AwsCredentials {
    /// Whether the agent's own clients serve this launch.
    pub fn are_the_agents_own(&self) -> bool {
        self.access_key_id.is_none()
            && self.secret_access_key.is_none()
            && self.session_token.is_none()
            && self.profile_name.is_none()
            && self.region_name.is_none()
            && self.assume_role_arn.is_none()
            && self.client_parameters.values().all(Value::is_null)
    }

    /// The body of `AssumeRole`, if a role is to be assumed. Sessions without a name are called
    /// `prefect-session-<suffix>`; the worker's suffixes are eight random hexadecimal digits.
    pub fn assume_role(&self, suffix: &str) -> Option<Map<String, Value>> {
        let role = self.assume_role_arn.as_deref().filter(|role| !role.is_empty())?;
        let mut body = Map::new();
        body.insert("RoleArn".into(), role.into());
        body.insert("RoleSessionName".into(), format!("prefect-session-{suffix}").into());
        body.extend(self.assume_role_kwargs.iter().map(|(key, value)| (key.clone(), value.clone())));
        Some(body)
    }

    /// The same for the same credentials, whoever chose them, and tells nothing of them: what clients are kept by.
    pub fn fingerprint(&self) -> String {
        let secret = |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        let parts = (
            (&self.access_key_id, secret(&self.secret_access_key), secret(&self.session_token)),
            (&self.profile_name, &self.region_name, &self.assume_role_arn),
            (Value::from(self.assume_role_kwargs.clone()), Value::from(self.client_parameters.clone())),
        );
        let mut hash = Sha256::new();
        hash.update(format!("{parts:?}"));
        hex::encode(hash.finalize())
    }
}

impl PartialEq for AwsCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

// `infrastructure_pid` of a task, as the ECS worker of Prefect writes it: `<cluster>::<task ARN>`. Pure.

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

impl LaunchTarget {
    /// ARN of the cluster of a task that a pid with this place names: a name alone would be looked for in whatever account is
    /// asked. `None` = it is no task of ECS.
    pub fn cluster_arn(&self, task_arn: &str) -> Option<String> {
        let (prefix, _) = task_arn.split_once(":task/")?;
        if cluster_name(task_arn).is_some() || self.cluster.is_empty() {
            return Some(cluster_of(task_arn));
        }
        let is_arn = self.cluster.starts_with("arn:");
        Some(if is_arn { self.cluster.clone() } else { format!("{prefix}:cluster/{}", self.cluster) })
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

    fn with_secret(secret: &str) -> AwsCredentials {
        AwsCredentials {
            access_key_id: Some("AKIA".into()),
            secret_access_key: Some(SecretString::from(secret)),
            ..AwsCredentials::default()
        }
    }

    #[test]
    fn credentials_are_the_same_when_every_part_is() {
        assert_eq!(with_secret("a"), with_secret("a"));
        assert_ne!(with_secret("a"), with_secret("b"));
        assert_ne!(with_secret("a"), AwsCredentials::default());
    }

    #[test]
    fn neither_the_fingerprint_nor_the_debug_text_tells_the_secret() {
        let credentials = with_secret("sesame-sesame");
        let told = format!("{credentials:?} {}", credentials.fingerprint());
        assert!(!told.contains("sesame"), "{told}");
    }
}

#[cfg(test)]
mod pid_tests {
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
    fn the_cluster_of_a_pid_is_an_arn_in_the_account_of_the_task() {
        let of = |pid: &str| {
            let (place, task_arn) = LaunchTarget::of_pid(pid);
            place.cluster_arn(&task_arn)
        };
        for cluster in ["etl", "", "elsewhere", "arn:aws:ecs:eu-west-1:1:cluster/x"] {
            assert_eq!(of(&format!("{cluster}::{TASK}")).as_deref(), Some(CLUSTER), "the task's own ARN tells");
        }
        assert_eq!(of(&format!("etl::{OLD}")).as_deref(), Some(CLUSTER));
        assert_eq!(of(&format!("{CLUSTER}::{OLD}")).as_deref(), Some(CLUSTER));
        assert_eq!(of(OLD).as_deref(), Some("arn:aws:ecs:eu-west-1:123456789012:cluster/default"));
        assert_eq!((of("etl::odd"), of("host:4711")), (None, None));
    }

    #[test]
    fn a_pid_is_split_at_its_first_colons() {
        let (place, task_arn) = LaunchTarget::of_pid("arn:x:cluster/a::arn:x:task/a::b");
        assert_eq!((place.cluster.as_str(), task_arn.as_str()), ("arn:x:cluster/a", "arn:x:task/a::b"));
        assert_eq!(LaunchTarget::of_pid("arn:task").1, "arn:task");
    }
}
