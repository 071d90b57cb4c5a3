//! A parameter as Parameter Store gives it.

use secrecy::SecretString;
use time::OffsetDateTime;

/// A parameter of Parameter Store, decrypted if it is a `SecureString`.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Full name, e.g. `/prefect-serverless-agent/prod/config/etl`.
    pub name: String,
    /// The value; never printed.
    pub value: SecretString,
    /// ARN of the parameter.
    pub arn: Option<String>,
    /// Version: 1 when created, one more with every write.
    pub version: i64,
    /// When it was last written.
    pub last_modified: Option<OffsetDateTime>,
}
