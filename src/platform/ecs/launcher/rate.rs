//! How fast tasks are started: `launch_rate` calls of `RunTask` per second, the Fargate quota by default.

use crate::clock::Clock;
use crate::panics::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// A pacer that many launches share: no window of a second ever has more calls than the rate, all of which may come
/// at its beginning.
#[derive(Debug)]
pub struct LaunchRate {
    slots: Option<Mutex<Slots>>,
}

impl LaunchRate {
    /// Calls per second; `None` = unlimited. A rate that is not a positive number counts as unlimited: configuration
    /// refuses it.
    pub fn new(per_second: Option<f64>) -> Self {
        Self { slots: per_second.and_then(Slots::new).map(Mutex::new) }
    }

    /// Waits for the next free slot. `false` = there is none before `deadline`, and none was taken.
    pub async fn wait(&self, clock: &impl Clock, deadline: OffsetDateTime) -> bool {
        let now = clock.now();
        let Some(slot) = self.take(now, deadline) else { return false };
        if slot > now {
            clock.sleep_until(slot).await;
        }
        true
    }

    /// How many calls can still be made until `deadline`; `None` = any number.
    pub fn free_until(&self, now: OffsetDateTime, deadline: OffsetDateTime) -> Option<usize> {
        let slots = self.slots.as_ref()?;
        let mut trial = lock(slots).clone();
        let mut free = 0;
        // Bounded: every `burst` slots move a window on, and nobody can make more calls than fit in a usize of them.
        while trial.next_slot(now) <= deadline && free < usize::from(u16::MAX) {
            free += 1;
        }
        Some(free)
    }

    fn take(&self, now: OffsetDateTime, deadline: OffsetDateTime) -> Option<OffsetDateTime> {
        let Some(slots) = &self.slots else { return (now <= deadline).then_some(now) };
        let mut slots = lock(slots);
        (slots.peek(now) <= deadline).then(|| slots.next_slot(now))
    }
}

/// The slots that were given away, as far as they still matter.
#[derive(Debug, Clone)]
struct Slots {
    burst: usize,
    window: Duration,
    /// The last `burst` slots, oldest first.
    recent: VecDeque<OffsetDateTime>,
}

impl Slots {
    /// `per_second` calls each second; below 1, one call each `1 / per_second` seconds. `None` if not a positive number.
    fn new(per_second: f64) -> Option<Self> {
        if !(per_second.is_finite() && per_second > 0.0) {
            return None;
        }
        let burst = per_second.floor().clamp(1.0, f64::from(u16::MAX));
        let window = Duration::try_from_secs_f64(burst / per_second).ok()?;
        // At least 1 and at most 65535: exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let burst = burst as usize;
        Some(Self { burst, window, recent: VecDeque::new() })
    }

    /// Takes the next slot: now, or one window after the slot `burst` calls ago.
    fn next_slot(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        let slot = self.peek(now);
        if self.recent.len() == self.burst {
            self.recent.pop_front();
        }
        self.recent.push_back(slot);
        slot
    }

    fn peek(&self, now: OffsetDateTime) -> OffsetDateTime {
        match self.recent.front() {
            Some(oldest) if self.recent.len() == self.burst => now.max(*oldest + self.window),
            _ => now,
        }
    }
}
