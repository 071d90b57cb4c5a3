//! Time as a parameter: what needs to know or wait takes a [`Clock`], so that tests decide what time it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// The one source of time. Real in production, under a test's control in tests.
pub trait Clock: Send + Sync + 'static {
    /// The current time, UTC.
    fn now(&self) -> OffsetDateTime;

    /// Returns at `instant`, at once when that has passed.
    fn sleep_until(&self, instant: OffsetDateTime) -> impl Future<Output = ()> + Send;
}

/// A time that has a text, as it stands and in UTC: its year has four digits in both. What comes from outside may have
/// none, and to move such a time to UTC would panic.
pub(crate) fn that_can_be_shown(time: OffsetDateTime) -> Option<OffsetDateTime> {
    let has_text = |time: &OffsetDateTime| time.format(&Rfc3339).is_ok();
    time.checked_to_offset(UtcOffset::UTC).filter(has_text)?;
    Some(time).filter(has_text)
}

/// So much later, as far as there are times.
pub(crate) fn after(time: OffsetDateTime, span: Duration) -> OffsetDateTime {
    time.saturating_add(time::Duration::try_from(span).unwrap_or(time::Duration::MAX))
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
