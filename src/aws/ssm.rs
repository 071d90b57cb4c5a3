//! Parameter Store.

use super::AwsError;
use super::answers::Wire;
use crate::config::Parameter;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::types;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeSet;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// A client for the function's own region and credentials.
#[derive(Debug, Clone)]
pub struct Ssm {
    client: aws_sdk_ssm::Client,
}

/// A former value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Version that had this value.
    pub version: i64,
    /// The value.
    pub value: String,
}

/// The largest value of a parameter of the tier Standard.
pub const STANDARD_BYTES: usize = 4096;
/// Parameter Store's largest page.
const PAGE: i32 = 10;
/// More pages than any deployment has parameters for.
const MAX_PAGES: usize = 1000;

/// Sends an operation; errors are told apart by what they say about the effect.
macro_rules! send {
    ($operation:expr) => {
        send!($operation, aws_sdk_ssm::Config::builder())
    };
    ($operation:expr, $config:expr) => {{
        let wire = Wire::default();
        let sent = $operation.customize().interceptor(wire.clone()).config_override($config).send().await;
        sent.map_err(|error| wire.error(&error))
    }};
}

impl Ssm {
    /// Wraps an SDK client.
    pub fn new(client: aws_sdk_ssm::Client) -> Self {
        Self { client }
    }

    /// All parameters below a path, over all pages.
    pub async fn parameters_by_path(
        &self,
        path: &str,
        recursive: bool,
        decrypt: bool,
    ) -> Result<Vec<Parameter>, AwsError> {
        let mut found = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let request = self.client.get_parameters_by_path().path(path).recursive(recursive);
            let request = request.with_decryption(decrypt).max_results(PAGE).set_next_token(next);
            let page = send!(request)?;
            next = page.next_token.filter(|token| !token.is_empty());
            let Some(parameters) = page.parameters else {
                // An empty list is there too: without it this is not Parameter Store's answer.
                return Err(AwsError::Malformed(format!("GetParametersByPath {path} answered no list")));
            };
            found.extend(parameters.into_iter().filter_map(parameter));
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(AwsError::Malformed(format!("the parameters below {path} do not come to an end")))
    }

    /// All parameters below a path, decrypted. `known`: as they were read last; where none was written since, they are
    /// these. A listing costs nothing, each decryption does.
    pub async fn secrets_by_path(&self, path: &str, known: &[Parameter]) -> Result<Vec<Parameter>, AwsError> {
        if !known.is_empty() && is_unwritten(known, &self.parameters_by_path(path, true, false).await?) {
            return Ok(known.to_vec());
        }
        self.parameters_by_path(path, true, true).await
    }

    /// One parameter; `None` when there is no such parameter.
    pub async fn get_parameter(&self, name: &str, decrypt: bool) -> Result<Option<Parameter>, AwsError> {
        match send!(self.client.get_parameter().name(name).with_decryption(decrypt)) {
            Ok(answer) => match answer.parameter.and_then(parameter) {
                Some(parameter) => Ok(Some(parameter)),
                None => Err(AwsError::Malformed(format!("GetParameter {name} answered no parameter"))),
            },
            Err(error) if error.is_parameter_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a `String` parameter → its new version. Sent once, never repeated here: every write that arrives takes
    /// a version.
    pub async fn put_parameter(&self, name: &str, value: &str, overwrite: bool) -> Result<i64, AwsError> {
        let request = self.client.put_parameter().name(name).value(value);
        let request = request.r#type(types::ParameterType::String).overwrite(overwrite);
        // Left open below that, so that a parameter stays what it is.
        let tier = (value.len() > STANDARD_BYTES).then_some(types::ParameterTier::Advanced);
        let request = request.set_tier(tier);
        let once = aws_sdk_ssm::Config::builder().retry_config(RetryConfig::disabled());
        let version = send!(request, once)?.version;
        // A missing number is read as zero; versions start at one.
        if version < 1 {
            return Err(AwsError::Malformed(format!("PutParameter {name} answered no version")));
        }
        Ok(version)
    }

    /// Writes a `SecureString` parameter, over one that is there → its new version. `key`: the customer key that encrypts
    /// it; `None` = the account's own `aws/ssm`. Sent once.
    pub async fn put_secret(&self, name: &str, value: &SecretString, key: Option<&str>) -> Result<i64, AwsError> {
        self.write_secret(name, value, key, true).await
    }

    /// The same where there is none; `false` = there is one already, which stays as it is.
    pub async fn make_secret(&self, name: &str, value: &SecretString, key: Option<&str>) -> Result<bool, AwsError> {
        match self.write_secret(name, value, key, false).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ParameterAlreadyExists") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write_secret(
        &self,
        name: &str,
        value: &SecretString,
        key: Option<&str>,
        overwrite: bool,
    ) -> Result<i64, AwsError> {
        let request = self.client.put_parameter().name(name).value(value.expose_secret());
        let request = request.r#type(types::ParameterType::SecureString).overwrite(overwrite);
        let request = request.set_key_id(key.map(str::to_owned));
        let once = aws_sdk_ssm::Config::builder().retry_config(RetryConfig::disabled());
        let version = send!(request, once)?.version;
        if version < 1 {
            return Err(AwsError::Malformed(format!("PutParameter {name} answered no version")));
        }
        Ok(version)
    }

    /// The versions that Parameter Store still knows (at most 100), oldest first.
    pub async fn parameter_history(&self, name: &str) -> Result<Vec<HistoryEntry>, AwsError> {
        let mut entries = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = send!(self.client.get_parameter_history().name(name).max_results(50).set_next_token(next))?;
            next = page.next_token.filter(|token| !token.is_empty());
            let found = page.parameters.into_iter().flatten();
            entries.extend(
                found.map(|entry| HistoryEntry { version: entry.version, value: entry.value.unwrap_or_default() }),
            );
            if next.is_none() {
                entries.sort_by_key(|entry| entry.version);
                return Ok(entries);
            }
        }
        Err(AwsError::Malformed(format!("the history of {name} does not come to an end")))
    }
}

/// Whether the same parameters are there, in the same versions. Versions of one that was deleted begin anew, at another time.
/// Where a version is not told (it is read as zero), nobody knows.
fn is_unwritten(known: &[Parameter], listed: &[Parameter]) -> bool {
    let written = |all: &[Parameter]| {
        let one = |one: &Parameter| (one.name.clone(), one.version, one.last_modified, one.is_secure);
        all.iter().map(one).collect::<BTreeSet<_>>()
    };
    known.iter().all(|one| one.version > 0) && written(known) == written(listed)
}

fn parameter(found: types::Parameter) -> Option<Parameter> {
    Some(Parameter {
        name: found.name?,
        value: SecretString::from(found.value.unwrap_or_default()),
        is_secure: found.r#type == Some(types::ParameterType::SecureString),
        arn: found.arn,
        version: found.version,
        last_modified: found.last_modified_date.and_then(|date| OffsetDateTime::from_unix_timestamp(date.secs()).ok()),
    })
}
