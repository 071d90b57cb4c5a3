//! Where a task runs: the cluster, and whose credentials reach it.

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
