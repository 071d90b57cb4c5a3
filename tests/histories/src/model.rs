//! What must hold in the end: a statement about each run, made of what Prefect and ECS show.

use crate::config::{MAX_LAUNCH_ATTEMPTS, ORPHAN_AFTER};
use crate::run::{Phase, RunId};
use crate::tasks::{Task, Then};
use crate::world::World;
use std::time::Duration;
use time::OffsetDateTime;

/// Clean polls are so far apart.
pub const INTERVAL: Duration = Duration::from_mins(1);

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It ended, is not due, waits for a person, or has a task that will run it.
    Fine,
    /// It has a task that lives, but will come to harm.
    Doomed,
    /// Others have to go on: its claim is not ours, or it died while it ran and nobody knows of its task.
    Others,
    /// It is due, claimed by us, or to be cancelled, and nothing goes on.
    Open(String),
}

/// After so many clean polls nothing may be open.
///
/// The longest way that a run can have before it, one after the other: a task that will never start is given up after
/// 15 min; its claim is looked at once it is older than `orphan_after`; a launch of which nobody knows anything is
/// replayed for `orphan_after` × (attempts + 1), then given back; a run that is given back waits 10 min at most. Where
/// Lazarus has to bring a run back first, it takes 10 min without a sign of life, and comes every 10 min. An earlier task
/// is stopped for 45 s before the next launch, and clocks differ by a minute at most. Each step is seen one poll late.
pub fn clean_polls() -> u64 {
    let ways = [
        Duration::from_mins(15),
        ORPHAN_AFTER,
        ORPHAN_AFTER * (MAX_LAUNCH_ATTEMPTS + 1),
        Duration::from_mins(10),
        Duration::from_mins(20),
        Duration::from_secs(45 + 60),
        Duration::from_mins(15),
        INTERVAL,
    ];
    let steps = u64::try_from(ways.len()).unwrap_or(u64::MAX);
    ways.iter().sum::<Duration>().as_secs().div_ceil(INTERVAL.as_secs()) + steps
}

/// How a run stands. `cancelled_since`: what was cancelled before has no task that anybody looks for.
pub fn standing(world: &World, run: RunId, now: OffsetDateTime, cancelled_since: OffsetDateTime) -> Standing {
    let Some(phase) = world.phase(run) else { return Standing::Fine };
    let live = || world.tasks_of(run).filter(|task| task.is_live());
    let open = |why: &str| Standing::Open(format!("{run:?}: {why} ({phase:?})"));
    let task = || {
        if live().any(|task| !is_doomed(task)) {
            return Some(Standing::Fine);
        }
        live().next().map(|_| Standing::Doomed)
    };
    match &phase {
        Phase::Cancelled
            if world.since(run) >= cancelled_since && live().any(|task| task.is_ours && world.is_here(task)) =>
        {
            open("cancelled, and its task lives")
        }
        Phase::Cancelled | Phase::Ended | Phase::Waiting => Standing::Fine,
        Phase::Scheduled(at) if *at > now + Duration::from_secs(90) => Standing::Fine,
        Phase::Scheduled(_) if world.is_limited(run) => Standing::Others,
        Phase::Scheduled(_) => open("due"),
        Phase::Cancelling if !world.was_ours(run) && !world.revives() => Standing::Others,
        Phase::Cancelling => open("to be cancelled"),
        Phase::Claimed(held) => task().unwrap_or_else(|| {
            if held.is_ours || world.revives() { open("claimed, without a task") } else { Standing::Others }
        }),
        Phase::Running(held) => task().unwrap_or_else(|| match (held.is_empty(), world.waiting_retry(run)) {
            (false, _) => open("task runs claimed, without a task"),
            (true, Some(at)) if at > now + Duration::from_secs(90) => Standing::Fine,
            (true, Some(_)) => open("task runs due"),
            // What has task runs that run Lazarus leaves to the zombie killer, which the fake has not.
            (true, None) if world.revives() && !world.has_running_task_run(run) => open("running, without a task"),
            // Polls look after what this agent has claimed, as long as somebody knows of its task.
            (true, None) if world.is_looked_after(run) => open("running, and its task is dead"),
            (true, None) => Standing::Others,
        }),
    }
}

fn is_doomed(task: &Task) -> bool {
    matches!(task.fate.then, Then::NeverStarts | Then::DiesBefore | Then::DiesWithin | Then::RetriesLater)
}
