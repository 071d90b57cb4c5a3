//! Credentials, read once and shared by the SDK's calls and those we sign ourselves.

use crate::config::Environment;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as CredentialsFuture;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider};
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

    async fn get(&self) -> Result {
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    struct Counting {
        calls: Arc<AtomicU64>,
        lifetime: Duration,
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> CredentialsFuture<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            let end = SystemTime::now() + self.lifetime;
            CredentialsFuture::ready(Ok(Credentials::new(format!("id{call}"), "s", None, Some(end), "test")))
        }
    }

    async fn calls_for_three_uses(lifetime: Duration) -> u64 {
        let calls = Arc::new(AtomicU64::new(0));
        let cached = Cached::new(SharedCredentialsProvider::new(Counting { calls: calls.clone(), lifetime }));
        for _ in 0..3 {
            cached.provide_credentials().await.unwrap();
        }
        calls.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_end() {
        assert_eq!(calls_for_three_uses(Duration::from_hours(1)).await, 1);
        assert_eq!(calls_for_three_uses(Duration::from_secs(200)).await, 3);
    }

    #[test]
    fn the_environment_needs_key_and_secret() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Environment>()
        };
        assert!(from_env(&environment(&[("AWS_ACCESS_KEY_ID", "AK")])).is_none());
        let found = from_env(&environment(&[
            ("AWS_ACCESS_KEY_ID", "AK"),
            ("AWS_SECRET_ACCESS_KEY", "SK"),
            ("AWS_SESSION_TOKEN", "T"),
        ]));
        assert_eq!(found.unwrap().session_token(), Some("T"));
    }
}
