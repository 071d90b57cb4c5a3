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
    let environment =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Environment>();
    assert!(from_env(&environment(&[("AWS_ACCESS_KEY_ID", "AK")])).is_none());
    let found = from_env(&environment(&[
        ("AWS_ACCESS_KEY_ID", "AK"),
        ("AWS_SECRET_ACCESS_KEY", "SK"),
        ("AWS_SESSION_TOKEN", "T"),
    ]));
    assert_eq!(found.unwrap().session_token(), Some("T"));
}
