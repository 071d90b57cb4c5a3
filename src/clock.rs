//! Time as a parameter: what needs to know or wait takes a [`Clock`], so that tests decide what time it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The one source of time. Real in production, under a test's control in tests.
pub trait Clock: Send + Sync + 'static {
    /// The current time, UTC.
    fn now(&self) -> OffsetDateTime;

    /// Returns at `instant`, at once when that has passed.
    fn sleep_until(&self, instant: OffsetDateTime) -> impl Future<Output = ()> + Send;
}

/// Tells the time, for what only needs to know it.
pub type Now = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    async fn sleep_until(&self, instant: OffsetDateTime) {
        let remaining = instant - self.now();
        tokio::time::sleep(Duration::try_from(remaining).unwrap_or_default()).await;
    }
}
