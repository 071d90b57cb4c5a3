//! What is read from elsewhere at most once in a while, however many ask: a public URL must not exhaust what stands
//! behind it.

use crate::aws::AwsError;
use crate::aws::ssm::Ssm;
use crate::clock::{Clock, after};
use crate::redaction::Redaction;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// An answer to whoever has no key is never older than this, and nothing is read more often for it.
pub const ANSWER: Duration = Duration::from_secs(10);

/// A failure is told for half of that: it may be over at any moment, and also then nothing is read more than twice in ten
/// seconds.
const FAILURE: Duration = Duration::from_secs(5);

/// A reading that is held for a while. Those that ask while one is under way wait for it, and share it.
#[derive(Debug)]
pub struct Held<T, E, C> {
    clock: C,
    longest: Duration,
    reading: Mutex<Option<Reading<T, E>>>,
}

#[derive(Debug)]
struct Reading<T, E> {
    /// Before it was asked for: what came back may have been so at that moment, and no later.
    since: OffsetDateTime,
    result: Result<T, E>,
}

impl<T: Clone, E: Clone, C: Clock> Held<T, E, C> {
    /// Nothing is read yet. `longest`: no answer is older.
    pub fn new(clock: C, longest: Duration) -> Self {
        Self { clock, longest, reading: Mutex::new(None) }
    }

    /// What was read, if that is young enough, else what `read` says now. A failure is held for five seconds at most.
    pub async fn get(&self, read: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut reading = self.reading.lock().await;
        // After the lock: whoever waited for another's reading finds it young.
        let now = self.clock.now();
        if let Some(reading) = reading.as_ref().filter(|reading| reading.is_young(self.longest, now)) {
            return reading.result.clone();
        }
        let result = read().await;
        *reading = Some(Reading { since: now, result: result.clone() });
        result
    }
}

impl<T, E> Reading<T, E> {
    /// A clock that was put back says nothing about age.
    fn is_young(&self, longest: Duration, now: OffsetDateTime) -> bool {
        let longest = if self.result.is_ok() { longest } else { longest.min(FAILURE) };
        self.since <= now && now < after(self.since, longest)
    }
}

/// A token that callers show, read from Parameter Store at most every ten seconds: a wrong one is not looked up again, and
/// a new one counts within ten seconds.
#[derive(Debug)]
pub struct HeldToken<C> {
    name: String,
    ssm: Ssm,
    redaction: Redaction,
    held: Held<Option<SecretString>, AwsError, C>,
}

impl<C: Clock> HeldToken<C> {
    /// The parameter of this name. `redaction` comes to know its value.
    pub fn new(name: String, ssm: Ssm, redaction: Redaction, clock: C) -> Self {
        Self { name, ssm, redaction, held: Held::new(clock, ANSWER) }
    }

    /// The token; `None` when there is none. Ask only for callers that show one: strangers cost nothing.
    pub async fn get(&self) -> Result<Option<SecretString>, AwsError> {
        self.held
            .get(async || {
                let token = self.ssm.get_parameter(&self.name, true).await?.map(|token| token.value);
                self.redaction.know(token.clone());
                Ok(token)
            })
            .await
    }
}

/// What an answer shares with those that come soon after it.
pub type HeldAnswer<T, C> = Held<Arc<T>, AwsError, C>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicI64, Ordering};
    use time::macros::datetime;

    const START: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);

    /// Milliseconds since the start.
    #[derive(Clone, Default)]
    struct SetClock(Arc<AtomicI64>);

    impl SetClock {
        fn set(&self, milliseconds: i64) {
            self.0.store(milliseconds, Ordering::SeqCst);
        }
    }

    impl Clock for SetClock {
        fn now(&self) -> OffsetDateTime {
            START + time::Duration::milliseconds(self.0.load(Ordering::SeqCst))
        }

        async fn sleep_until(&self, _: OffsetDateTime) {}
    }

    /// How often was read for requests at these times, in milliseconds, if each reading ends like this.
    async fn readings(times: impl IntoIterator<Item = i64>, result: Result<(), &'static str>) -> usize {
        let (clock, read) = (SetClock::default(), Cell::new(0));
        let held = Held::new(clock.clone(), ANSWER);
        for time in times {
            clock.set(time);
            let told = held.get(async || {
                read.set(read.get() + 1);
                result
            });
            assert_eq!(told.await, result);
        }
        read.get()
    }

    #[tokio::test]
    async fn a_thousand_requests_in_ten_seconds_lead_to_two_readings_at_most() {
        assert_eq!(readings((0..1000).map(|request| request * 9), Ok(())).await, 1);
        // Whatever ten seconds one looks at.
        assert_eq!(readings((0..1000).map(|request| request * 10), Ok(())).await, 1);
        assert_eq!(readings((0..=1000).map(|request| request * 10), Ok(())).await, 2);
        assert_eq!(readings((0..6000).map(|request| request * 10), Ok(())).await, 6);
        // Least of all while Parameter Store asks for patience.
        assert_eq!(readings((0..1000).map(|request| request * 10), Err("throttled")).await, 2);
    }

    #[tokio::test]
    async fn a_failure_is_told_and_looked_at_again_after_five_seconds() {
        assert_eq!(readings([0, 1, 500, 4999], Err("away")).await, 1);
        assert_eq!(readings([0, 4999, 5000, 9999, 10_000], Err("away")).await, 3);
    }

    #[tokio::test]
    async fn a_clock_that_was_put_back_makes_nothing_young() {
        assert_eq!(readings([5_000, 4_000, 4_001], Ok(())).await, 2);
    }

    #[tokio::test]
    async fn those_that_ask_at_once_share_a_reading() {
        let (held, read) = (Held::<_, (), _>::new(SetClock::default(), ANSWER), Cell::new(0));
        let ask = || {
            held.get(async || {
                tokio::task::yield_now().await;
                read.set(read.get() + 1);
                Ok(read.get())
            })
        };
        let answers = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert_eq!(answers, vec![Ok(1); 100]);
    }

    #[tokio::test]
    async fn a_reading_that_nobody_waited_for_any_more_blocks_nobody() {
        let held = Held::<_, (), _>::new(SetClock::default(), ANSWER);
        let given_up = tokio::time::timeout(Duration::from_millis(1), held.get(std::future::pending)).await;
        assert!(given_up.is_err());
        assert_eq!(held.get(async || Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn an_answer_is_as_old_as_its_question() {
        let clock = SetClock::default();
        let held = Held::<_, (), _>::new(clock.clone(), ANSWER);
        let slow = held.get(async || {
            clock.set(8_000);
            Ok("asked at 0")
        });
        assert_eq!(slow.await, Ok("asked at 0"));
        clock.set(10_000);
        assert_eq!(held.get(async || Ok("asked at 10")).await, Ok("asked at 10"));
    }
}
