//! Pure: which due runs are launched now, held until their start time, or left for a later poll.

use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// At most this many runs are claimed by one request.
pub const BATCH: usize = 100;

/// The launches of one batch take at most this long at the launch rate: it must lie well within the margin that an
/// invocation keeps for itself, since what is claimed must also be launched.
const BATCH_SECONDS: f64 = 5.0;

/// What bounds an invocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// No run is claimed from here on.
    pub stop_claiming: OffsetDateTime,
    /// No task is started from here on; what was claimed is given back.
    pub deadline: OffsetDateTime,
    /// `RunTask` calls per second; `None` = unlimited.
    pub launch_rate: Option<f64>,
    /// The last poll met trouble at AWS that would hit every run: one run shows whether it is over, so that the others
    /// are not claimed and given back at every poll.
    pub try_one_first: bool,
}

/// What the planner knows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Place in the observed page.
    pub index: usize,
    /// Never launched before.
    pub start_time: OffsetDateTime,
}

/// Runs that are launched together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Held until then; not in the future for runs that are due.
    pub at: OffsetDateTime,
    /// Whether the runs were held, and so must be read again before they are claimed.
    pub held: bool,
    /// Places in the observed page, earliest start first.
    pub runs: Vec<usize>,
}

/// What is to be done about one page of due runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Batches in the order of their time; runs that are due come first.
    pub batches: Vec<PlannedBatch>,
    /// Places of runs that a later poll takes, and why.
    pub deferred: Vec<(usize, String)>,
}

/// Plans one page. Runs whose start lies in the same whole second are launched together at its end, so that a burst
/// costs few requests; nothing is ever planned before its start time.
pub fn plan(now: OffsetDateTime, limits: Limits, starts: &[Start]) -> Plan {
    let mut starts = starts.to_vec();
    starts.sort_by_key(|start| (start.start_time, start.index));
    let mut by_time: BTreeMap<OffsetDateTime, Vec<usize>> = BTreeMap::new();
    let mut plan = Plan::default();
    let mut room = Room::new(now, limits);
    for start in starts {
        let at = if start.start_time <= now { now } else { whole_second_from(start.start_time) };
        match room.take(at) {
            Ok(()) => by_time.entry(at).or_default().push(start.index),
            Err(reason) => plan.deferred.push((start.index, reason)),
        }
    }
    for (at, runs) in by_time {
        let mut push = |runs: &[usize]| plan.batches.push(PlannedBatch { at, held: at > now, runs: runs.to_vec() });
        let alone = usize::from(limits.try_one_first && at <= now);
        let (first, rest) = runs.split_at(alone.min(runs.len()));
        first.chunks(1).chain(rest.chunks(batch_size(limits.launch_rate))).for_each(&mut push);
    }
    plan
}

/// How many runs are claimed at once.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped to 1..=100 before.
fn batch_size(launch_rate: Option<f64>) -> usize {
    launch_rate.map_or(BATCH, |rate| (rate * BATCH_SECONDS).clamp(1.0, 100.0) as usize)
}

/// How many launches the rest of the invocation has room for.
struct Room {
    now: OffsetDateTime,
    limits: Limits,
    taken: usize,
}

impl Room {
    fn new(now: OffsetDateTime, limits: Limits) -> Self {
        Self { now, limits, taken: 0 }
    }

    /// Takes room for one launch at `at`, or says why there is none.
    fn take(&mut self, at: OffsetDateTime) -> Result<(), String> {
        if at >= self.limits.stop_claiming {
            return Err(if at > self.now {
                format!("starts at {at}, after this invocation ends")
            } else {
                "no time is left in this invocation".to_owned()
            });
        }
        if let Some(rate) = self.limits.launch_rate {
            let earliest_end = self.now + seconds(self.taken, rate);
            if earliest_end >= self.limits.stop_claiming {
                return Err(format!("no room is left in this invocation at {rate} launches per second"));
            }
        }
        self.taken += 1;
        Ok(())
    }
}

/// How long `launches` take at `rate` per second.
fn seconds(launches: usize, rate: f64) -> Duration {
    let launches = u32::try_from(launches).unwrap_or(u32::MAX);
    Duration::try_from_secs_f64(f64::from(launches) / rate).unwrap_or(Duration::MAX)
}

/// The first whole second at or after `instant`.
fn whole_second_from(instant: OffsetDateTime) -> OffsetDateTime {
    let whole = instant.replace_nanosecond(0).unwrap_or(instant);
    // The very last second has none after it; such a run starts after every invocation.
    if whole == instant { whole } else { whole.checked_add(time::Duration::SECOND).unwrap_or(instant) }
}

#[cfg(test)]
mod tests;
