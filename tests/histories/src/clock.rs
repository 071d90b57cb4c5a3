//! Virtual time: tokio's paused clock, which jumps to the next timer as soon as everybody waits.

use prefect_serverless_agent::clock::Clock;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

/// When every history begins.
pub const START: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

/// True time: what Prefect and ECS go by.
#[derive(Debug, Clone, Copy)]
pub struct Timeline(Instant);

impl Timeline {
    /// Begins at [`START`]. Needs tokio's runtime.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(self) -> OffsetDateTime {
        START + self.0.elapsed()
    }

    /// Waits so long; at once when that has passed.
    pub async fn wait_until(self, instant: OffsetDateTime) {
        tokio::time::sleep(Duration::try_from(instant - self.now()).unwrap_or_default()).await;
    }
}

/// The clock of one process: true time and what it is off by.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    /// True time.
    pub timeline: Timeline,
    /// What is added to it.
    pub skew: time::Duration,
}

impl Clock for SimClock {
    fn now(&self) -> OffsetDateTime {
        self.timeline.now() + self.skew
    }

    async fn sleep_until(&self, instant: OffsetDateTime) {
        self.timeline.wait_until(instant - self.skew).await;
    }
}
