//! Credentials, read once and shared by the SDK's calls and those we sign ourselves.

use super::AwsError;
use crate::config::Environment;
use crate::http::chain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as CredentialsFuture;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, SharedCredentialsProvider};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
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

#[cfg(test)]
mod tests;
