//! Names of the parameters of a deployment.

use secrecy::SecretString;
use time::OffsetDateTime;

/// A parameter as Parameter Store gives it. Every value is treated as a secret.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Full name, e.g. `/prefect-serverless-agent/prod/config/etl`.
    pub name: String,
    /// Its value, decrypted.
    pub value: SecretString,
    /// ARN.
    pub arn: Option<String>,
    /// Encrypted (a `SecureString`); a value that was not asked for in clear text is unreadable then.
    pub is_secure: bool,
    /// Counts the writes.
    pub version: i64,
    /// When it was last written.
    pub last_modified: Option<OffsetDateTime>,
}

/// The root of a deployment's parameters, e.g. `/prefect-serverless-agent/prod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(String);

impl Root {
    /// Longest root, in characters: IAM paths and parameters are named after it.
    pub const LONGEST: usize = 400;

    /// How long it is, where that is too long.
    pub fn excessive_length(&self) -> Option<usize> {
        Some(self.0.chars().count()).filter(|length| *length > Self::LONGEST)
    }

    /// Normalises: one leading slash, none at the end, none doubled. Nothing but slashes is the top, `""`.
    pub fn new(written: &str) -> Self {
        let segments = written.trim().split('/').filter(|segment| !segment.is_empty());
        Self(segments.fold(String::new(), |root, segment| root + "/" + segment))
    }

    /// The root itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Path below which the configurations lie: `{root}/config`.
    pub fn config(&self) -> String {
        format!("{}/config", self.0)
    }

    /// Path below which polls keep what they remember.
    pub fn state(&self) -> String {
        format!("{}/state", self.0)
    }

    /// Path below which the secrets lie: `{root}/secrets`.
    pub fn secrets(&self) -> String {
        format!("{}/secrets", self.0)
    }

    /// Name of an agent's API key.
    pub fn api_key_of(&self, agent: &str) -> String {
        format!("{}/secrets/{agent}/api-key", self.0)
    }

    /// Name of the bearer token that allows a poke.
    pub fn poke_token(&self) -> String {
        format!("{}/secrets/poke-token", self.0)
    }
}

/// Whether an agent may have this name: `[A-Za-z0-9_-]{1,64}`.
pub fn is_agent_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
