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

/// Some of a list of which one look allows no more than `most`: others with every look, of which there is one in `every`.
pub(crate) fn in_turn<T>(mut list: Vec<T>, most: usize, now: OffsetDateTime, every: Duration) -> Vec<T> {
    if list.len() > most {
        let looks = u64::try_from(now.unix_timestamp()).unwrap_or_default() / every.as_secs().max(1);
        let first = usize::try_from(looks).unwrap_or_default().wrapping_mul(most) % list.len();
        list.rotate_left(first);
        list.truncate(most);
    }
    list
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_have_their_turn() {
        let every = Duration::from_mins(1);
        let look = |minute| in_turn((0..7).collect(), 3, OffsetDateTime::UNIX_EPOCH + every * minute, every);
        assert_eq!((look(0), look(1)), (vec![0, 1, 2], vec![3, 4, 5]));
        assert_eq!((0..3).flat_map(look).collect::<BTreeSet<_>>().len(), 7);
        assert_eq!(in_turn(vec![1, 2], 3, OffsetDateTime::UNIX_EPOCH + every, every), [1, 2]);
    }
}
