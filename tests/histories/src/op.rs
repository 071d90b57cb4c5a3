//! What happens in a history.

use crate::call::{Generation, Service};
use crate::driver::{Driver, Faults};
use crate::rng::Rng;
use crate::run::{Flavour, RunId};
use std::time::Duration;

/// When something happens, after what happened before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many milliseconds later.
    After(u64),
    /// Once so many calls have passed the gate, or nobody works any more.
    Gates(usize),
}

/// One thing that happens. Runs are counted round: there is always one.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A run is scheduled, due so many seconds later.
    Schedule(u64, Flavour),
    /// A process polls; see [`Tick`].
    Tick(Tick),
    /// A Python agent polls the same queue.
    Python,
    /// A user cancels a run.
    Cancel(u32),
    /// A user, or an automation, schedules a run anew.
    Restart(u32),
    /// A user pauses a run.
    Pause(u32),
    /// A run's task ends at once.
    KillTask(u32),
    /// Somebody else's observer tells that a run's task waits (Prefect 3).
    Observe(u32),
    /// The Prefect server starts anew.
    ServerRestart,
    /// The agent is configured to another cluster (or not) and image.
    Reconfigure(bool),
    /// All task definitions are deregistered.
    Deregister,
    /// One of the processes is killed.
    Kill(usize),
    /// All warm processes end.
    Freeze,
    /// A service is out of order for so many seconds.
    Outage(Service, u64),
    /// No capacity for so many seconds; of Spot only, if so.
    Shortage(u64, bool),
    /// Nothing, for so many seconds.
    Pass(u64),
}

/// A poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    /// Seconds of its invocation.
    pub seconds: u64,
    /// A warm process does, where there is one.
    pub warm: bool,
    /// Seconds that a cold process's clock is off by.
    pub skew: i64,
    /// `RunTask` calls per second of a cold process.
    pub launch_rate: Option<f64>,
}

/// At most so many processes poll at the same time.
const AT_ONCE: usize = 3;

impl Op {
    /// Lets it happen.
    pub async fn happen(&self, driver: &mut Driver) {
        let now = driver.now();
        let story = |driver: &Driver| driver.shared.world().audit.note(|| format!("-- {self:?} at {now}"));
        story(driver);
        match self {
            Self::Schedule(seconds, flavour) => {
                driver.shared.world().schedule(*flavour, now + Duration::from_secs(*seconds), now);
            }
            Self::Tick(tick) if driver.working() < AT_ONCE => {
                let (skew, rate) = (time::Duration::seconds(tick.skew), tick.launch_rate);
                driver.poll(Duration::from_secs(tick.seconds), tick.warm, (skew, rate));
            }
            Self::Python if driver.working() < AT_ONCE => driver.python(),
            Self::Tick(_) | Self::Python => {}
            Self::Kill(place) => driver.kill(place.checked_rem(driver.working()).unwrap_or_default()),
            Self::Freeze => driver.freeze(),
            Self::Outage(service, seconds) => {
                if let Faults::Random(mischief) = &mut driver.faults {
                    mischief.outage = Some((*service, now + Duration::from_secs(*seconds)));
                }
            }
            Self::Pass(seconds) => driver.run(now + Duration::from_secs(*seconds), usize::MAX).await,
            other => other.happen_outside(driver),
        }
    }

    fn happen_outside(&self, driver: &Driver) {
        let now = driver.now();
        let mut world = driver.shared.world();
        let world = &mut *world;
        let of = |number: u32| number.checked_rem(u32::try_from(world.flavours.len()).unwrap_or(u32::MAX)).map(RunId);
        match self {
            Self::ServerRestart => world.fakes.prefect1(world::prefect1::Prefect1::restart),
            Self::Reconfigure(cluster) => {
                world.config.image += 1;
                if *cluster {
                    world.config.cluster = if world.config.cluster == "blue" { "green" } else { "blue" }.into();
                }
                world.config.reconfigure(&world.fakes, world.generation);
            }
            Self::Deregister => world.deregister_all(),
            Self::Shortage(seconds, only_spot) => {
                world.shortage = Some((now + Duration::from_secs(*seconds), *only_spot));
            }
            Self::Cancel(run) => of(*run).into_iter().for_each(|run| world.cancel(run)),
            Self::Restart(run) => of(*run).into_iter().for_each(|run| world.schedule_anew(run, now)),
            Self::Pause(run) => of(*run).into_iter().for_each(|run| world.pause(run)),
            Self::KillTask(run) => of(*run).into_iter().for_each(|run| world.kill_task(run, now)),
            Self::Observe(run) => of(*run).into_iter().for_each(|run| world.observe(run)),
            _ => {}
        }
    }

    /// Something besides polls.
    pub fn random(rng: &mut Rng, generation: Generation) -> Self {
        let run = u32::try_from(rng.below(8)).unwrap_or_default();
        match rng.below(100) {
            0..22 => Self::schedule(rng, generation),
            22..32 => Self::Cancel(run),
            32..42 => Self::Restart(run),
            42..45 => Self::Pause(run),
            45..55 => Self::KillTask(run),
            55..60 => Self::Python,
            60..63 if generation == Generation::Three => Self::Observe(run),
            60..63 => Self::ServerRestart,
            63..66 => Self::Reconfigure(rng.chance(500)),
            66..69 => Self::Deregister,
            69..82 => Self::Kill(rng.index(3)),
            82..85 => Self::Freeze,
            85..91 => Self::Outage(rng.pick(Service::Prefect, &[Service::Ecs, Service::Ec2]), rng.between(20, 400)),
            91..95 => Self::Shortage(rng.between(30, 900), rng.chance(500)),
            95..98 => Self::Pass(rng.between(60, 1500)),
            // Longer than a token lives.
            _ => Self::Pass(rng.between(3_000, 100_000)),
        }
    }

    /// A run is scheduled: mostly a good one, soon.
    pub fn schedule(rng: &mut Rng, generation: Generation) -> Self {
        let flavour = match rng.below(12) {
            0 => Flavour::Unrenderable,
            1 => Flavour::Unlaunchable,
            2 if generation == Generation::Three => Flavour::Gone,
            _ => Flavour::Good,
        };
        let seconds = if rng.chance(600) { 0 } else { rng.between(1, 150) };
        Self::Schedule(seconds, flavour)
    }
}
