//! Credentials: read once and shared by the SDK's calls and those we sign ourselves, and STS, which says whose they are and
//! gives those of roles to assume.

use super::signed::{Call, Service, Signed};
use super::{AwsError, answers};
use crate::config::Environment;
use crate::http::{Answer, chain};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as CredentialsFuture;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, SharedCredentialsProvider};
use roxmltree::Node;
use serde_json::{Map, Value};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;

/// Credentials that end sooner than this are renewed before they are used again.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// The credentials that the environment holds, as in every Lambda function; they live as long as the process.
pub fn from_env(environment: &Environment) -> Option<Credentials> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let (id, secret) = (get("AWS_ACCESS_KEY_ID")?, get("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, get("AWS_SESSION_TOKEN"), None, "Environment"))
}

/// Keeps what a provider gave until shortly before it ends; only one renewal is under way at a time.
#[derive(Debug, Clone)]
pub struct Cached {
    provider: SharedCredentialsProvider,
    current: Arc<Mutex<Option<Credentials>>>,
}

impl Cached {
    /// Caches this provider's credentials.
    pub fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, current: Arc::default() }
    }

    /// Makes sure that there are credentials that last a while. What went wrong comes as the provider said it, where
    /// AWS was asked.
    pub async fn renew(&self) -> Result<(), AwsError> {
        self.get().await.map(drop).map_err(|error| said_by_aws(&error))
    }

    async fn get(&self) -> Provided {
        let mut current = self.current.lock().await;
        if let Some(credentials) = current.as_ref().filter(|credentials| is_fresh(credentials, SystemTime::now())) {
            return Ok(credentials.clone());
        }
        match self.provider.provide_credentials().await {
            Ok(credentials) => Ok(current.insert(credentials).clone()),
            // Still good for a while: a renewal that fails early is no reason to stop.
            Err(error) => {
                match current.as_ref().filter(|old| old.expiry().is_some_and(|end| end > SystemTime::now())) {
                    Some(credentials) => Ok(credentials.clone()),
                    None => Err(CredentialsError::provider_error(error)),
                }
            }
        }
    }
}

fn said_by_aws(error: &CredentialsError) -> AwsError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(said) = current.downcast_ref::<AwsError>() {
            return said.clone();
        }
        cause = current.source();
    }
    AwsError::Credentials(chain(error))
}

fn is_fresh(credentials: &Credentials, now: SystemTime) -> bool {
    credentials.expiry().is_none_or(|end| end > now + RENEW_BEFORE)
}

impl ProvideCredentials for Cached {
    fn provide_credentials<'a>(&'a self) -> CredentialsFuture<'a>
    where
        Self: 'a,
    {
        CredentialsFuture::new(self.get())
    }
}

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Sts {
    signed: Signed,
}

impl Sts {
    /// Calls STS with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `AssumeRole` with these parameters, in the API's own spelling → the session's credentials.
    pub async fn assume_role(&self, parameters: &Map<String, Value>) -> Result<Credentials, AwsError> {
        let mut fields = Vec::new();
        for (name, value) in parameters {
            flatten(name, value, &mut fields);
        }
        let answer = self.ask("AssumeRole", fields).await?;
        let document = answers::expect_xml(&answer)?;
        let session = answers::child(document.root_element(), "AssumeRoleResult");
        session
            .and_then(|result| answers::child(result, "Credentials"))
            .and_then(session_credentials)
            .ok_or_else(|| AwsError::Malformed("AssumeRole answered no complete credentials".into()))
    }

    /// `GetCallerIdentity` → the number of the account.
    pub async fn account(&self) -> Result<String, AwsError> {
        let answer = self.ask("GetCallerIdentity", Vec::new()).await?;
        let document = answers::expect_xml(&answer)?;
        let identity = answers::child(document.root_element(), "GetCallerIdentityResult");
        identity
            .and_then(|identity| answers::text_of(identity, "Account"))
            .map(ToOwned::to_owned)
            .ok_or_else(|| AwsError::Malformed("GetCallerIdentity answered no account".into()))
    }

    async fn ask(&self, action: &str, parameters: Vec<(String, String)>) -> Result<Answer, AwsError> {
        let named = [("Action", action), ("Version", "2011-06-15")].map(|(name, value)| (name.into(), value.into()));
        let fields: Vec<_> = named.into_iter().chain(parameters).collect();
        self.signed.read(&Call::query(&self.signed, Service::Sts, &fields)?).await
    }
}

/// A parameter as the query protocol writes it: members of lists and objects get fields of their own.
fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{name}.member.{}", index + 1), item, fields);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{name}.{key}"), value, fields);
            }
        }
        Value::Bool(_) | Value::Number(_) => fields.push((name.to_owned(), value.to_string())),
    }
}

fn session_credentials(session: Node<'_, '_>) -> Option<Credentials> {
    let text = |name| answers::text_of(session, name).map(ToOwned::to_owned);
    let end = OffsetDateTime::parse(answers::text_of(session, "Expiration")?, &Rfc3339).ok()?;
    Some(Credentials::new(
        text("AccessKeyId")?,
        text("SecretAccessKey")?,
        Some(text("SessionToken")?),
        Some(end.into()),
        "AssumeRole",
    ))
}

/// The credentials of a role, assumed whenever it is asked for them. Wants a [`Cached`] around it.
pub struct AssumedRole {
    sts: Sts,
    parameters: Map<String, Value>,
}

impl AssumedRole {
    /// Assumes the role at this STS, with these parameters of `AssumeRole`.
    pub fn new(sts: Sts, parameters: Map<String, Value>) -> Self {
        Self { sts, parameters }
    }
}

/// Its parameters are the user's own: not shown.
impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumedRole").finish_non_exhaustive()
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> CredentialsFuture<'a>
    where
        Self: 'a,
    {
        let assume = self.sts.assume_role(&self.parameters);
        CredentialsFuture::new(async { assume.await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
mod sts_tests;
#[cfg(test)]
mod tests;
