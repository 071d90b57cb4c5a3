//! Random histories: everything that happens follows from the seed.

mod nature;

pub use nature::Nature;

use crate::clock::Timeline;
use crate::config::CANCEL_GRACE;
use crate::driver::{Delays, Driver, Faults, Step};
use crate::model::{self, INTERVAL, Standing};
use crate::op::{Op, When};
use crate::port::{self, Shared};
use crate::schedule::Schedule;
use crate::table::{Count, Tally};
use crate::world::World;
use std::time::Duration;

/// What came of a history.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What should not have happened, in words.
    pub violations: Vec<String>,
    /// What was counted.
    pub tally: Tally,
    /// Clean polls until nothing was open.
    pub clean_polls: u64,
    /// What happened, if that was asked for.
    pub story: Vec<String>,
}

/// What a history is made of.
#[derive(Debug, Clone)]
pub struct Script {
    /// The world and its ways.
    pub nature: Nature,
    /// What happens.
    pub ops: Vec<(When, Op)>,
}

impl Script {
    /// The history of this seed.
    pub fn of(seed: u64) -> Self {
        nature::script(seed)
    }

    /// The history of this seed in a world in which a tenth of all events of tasks never arrives.
    pub fn lossy(seed: u64) -> Self {
        nature::lossy(seed)
    }

    /// Plays it. `told`: with its story.
    pub fn play(&self, told: bool) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.played(told)),
            Err(error) => Outcome { violations: vec![format!("no runtime: {error}")], ..Outcome::default() },
        }
    }

    /// The same without what it can do without and still go wrong.
    #[must_use]
    pub fn shrunk(&self) -> Self {
        let mut script = self.clone();
        for place in (0..script.ops.len()).rev() {
            let mut less = script.clone();
            less.ops.remove(place);
            if !less.play(false).violations.is_empty() {
                script = less;
            }
        }
        script
    }

    async fn played(&self, told: bool) -> Outcome {
        same_again(self.nature.seed);
        let mut world = World::new(self.nature.setting.clone());
        world.audit.story = told.then(Vec::new);
        let mut driver = Driver::new(Shared::new(world, Timeline::begin()));
        driver.schedule = Schedule::Random(self.nature.chance.clone());
        driver.faults = Faults::Random(self.nature.mischief.clone());
        driver.delays = self.nature.delays.clone();
        driver.fragile = self.nature.fragile.clone();
        for (when, op) in &self.ops {
            match when {
                When::After(millis) => driver.run(driver.now() + Duration::from_millis(*millis), usize::MAX).await,
                When::Gates(passes) => until_passed(&mut driver, *passes).await,
            }
            op.happen(&mut driver).await;
        }
        let clean_polls = settle(&mut driver, self.nature.skew).await;
        self.outcome(&driver, clean_polls)
    }

    fn outcome(&self, driver: &Driver, clean_polls: u64) -> Outcome {
        let now = driver.now();
        let mut world = driver.shared.world();
        let since = now - INTERVAL * u32::try_from(clean_polls).unwrap_or(u32::MAX) - Duration::from_mins(10);
        for run in world.runs() {
            world.audit.tally.add(Count::Runs, 1);
            match model::standing(&world, run, now, since) {
                Standing::Open(why) => {
                    world.audit.tally.add(Count::Lost, 1);
                    world.audit.violated(format!("lost: {why}"));
                }
                Standing::Others => world.audit.tally.add(Count::Others, 1),
                Standing::Fine | Standing::Doomed => {}
            }
        }
        if world.is_untold() {
            world.audit.violated("an event is never told".to_owned());
        }
        let mut tally = driver.tally.clone();
        tally.add_all(&world.audit.tally);
        Outcome {
            seed: self.nature.seed,
            violations: world.audit.violations.clone(),
            tally,
            clean_polls,
            story: world.audit.story.take().unwrap_or_default(),
        }
    }
}

/// What clients and fakes draw by chance follows from this number: ids, and the SDK's pauses before repetitions.
pub(crate) fn same_again(seed: u64) {
    world::ids::count_from(Some(seed << 32));
    port::begin();
    fastrand::seed(seed);
}

async fn until_passed(driver: &mut Driver, passes: usize) {
    let far = driver.now() + Duration::from_hours(1);
    let mut left = passes;
    while left > 0 {
        match driver.step(far).await {
            Step::Passed => left -= 1,
            Step::Waited => {}
            Step::Idle => return,
        }
    }
}

/// Faults stop, and polls come every minute, until nothing is open or there were enough of them.
pub(crate) async fn settle(driver: &mut Driver, skew: i64) -> u64 {
    driver.faults = Faults::None;
    driver.delays = Delays::None;
    driver.fragile.1 = 0;
    driver.run_out().await;
    {
        let mut world = driver.shared.world();
        world.shortage = None;
        world.fates.harm = 0;
        world.audit.note(|| "-- faults stop".to_owned());
    }
    // A user's last wish has its time.
    let begun = driver.now() - CANCEL_GRACE;
    for polls in 0..model::clean_polls() {
        let next = driver.now() + INTERVAL;
        driver.poll(Duration::from_mins(2), true, (time::Duration::seconds(skew), None));
        driver.run_out().await;
        driver.run(next, usize::MAX).await;
        let world = driver.shared.world();
        let now = driver.now();
        let is_settled = |run| {
            let standing = model::standing(&world, run, now, begun - Duration::from_mins(10));
            matches!(standing, Standing::Fine | Standing::Others)
        };
        // What became of a task may still be told.
        if !world.is_untold() && world.runs().all(is_settled) {
            return polls + 1;
        }
    }
    model::clean_polls()
}
