//! Small worlds: one situation each, in which one poll, or several, are looked at closely.

use crate::call::{Call, Generation};
use crate::clock::Timeline;
use crate::config::{CANCEL_GRACE, Config, DEPLOYMENT, ORPHAN_AFTER};
use crate::driver::{Driver, Faults};
use crate::fault::Fault;
use crate::gate::ActorId;
use crate::history;
use crate::mail::Post;
use crate::model::{self, Standing};
use crate::port::Shared;
use crate::rng::Rng;
use crate::run::{Flavour, RunId};
use crate::tasks::Fates;
use crate::world::{Late, Setting, World};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use world::ecs::{Options, Stop};
use world::prefect1::Switches;
use world::prefect3::POOL;

/// What brings a situation about.
enum Step {
    /// A run is scheduled, due so many seconds later.
    Run(Flavour, u64),
    /// A cold process polls.
    Poll,
    /// A process claims the run, and dies before it launches it.
    OnlyClaim,
    /// So many seconds pass.
    Pass(u64),
    /// Time passes until the run's flow runs.
    FlowRuns,
    /// This happens to the run that was scheduled last.
    Happens(fn(&mut World, RunId, OffsetDateTime)),
}

use Step::{FlowRuns, Happens, OnlyClaim, Pass, Poll, Run};

const GOOD: Step = Run(Flavour::Good, 0);
const CANCEL: Step = Happens(|world, run, _| world.cancel(run));
const KILL_TASK: Step = Happens(World::kill_task);
const DIE: Step = Happens(|world, run, now| world.end_task(run, Some(Stop::exited(1)), now));
const UNTIL_ORPHANED: Step = Pass(ORPHAN_AFTER.as_secs() + 1);

macro_rules! scenes {
    ($($(#[$doc:meta])* $name:ident: $one:literal, $three:literal, [$($step:expr),*];)*) => {
        /// A situation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Scene { $($(#[$doc])* $name),* }

        impl Scene {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Whether there is such a situation in this generation of Prefect.
            pub fn is_of(self, generation: Generation) -> bool {
                let (one, three) = match self { $(Self::$name => ($one, $three)),* };
                if generation == Generation::One { one } else { three }
            }

            fn steps(self) -> Vec<Step> {
                match self { $(Self::$name => vec![$($step),*]),* }
            }
        }
    };
}

scenes! {
    /// Two runs are due.
    Due: true, true, [GOOD, GOOD];
    /// A run is due in 20 seconds.
    Soon: true, true, [Run(Flavour::Good, 20)];
    /// A run is due and there is no capacity.
    NoCapacity: true, true, [GOOD, Happens(|world, _, now| shortage(world, now, 30))];
    /// A run was given back and is due again.
    GivenBack: true, true, [GOOD, Happens(|world, _, now| shortage(world, now, 1)), Poll, Pass(50)];
    /// ECS refuses the run for what it says itself; another one is due.
    Unlaunchable: true, true, [Run(Flavour::Unlaunchable, 0), GOOD];
    /// The run cannot be rendered; another one is due.
    Unrenderable: true, true, [Run(Flavour::Unrenderable, 0), GOOD];
    /// The run's deployment was deleted; another run is due.
    Gone: false, true, [Run(Flavour::Gone, 0), GOOD];
    /// A run was claimed two minutes ago, and nobody launched it.
    Orphan: true, true, [GOOD, OnlyClaim, UNTIL_ORPHANED];
    /// The same, and somebody's observer has put another state over the claim.
    ObservedOrphan: false, true,
        [GOOD, OnlyClaim, UNTIL_ORPHANED, Happens(|world, run, _| world.observe(run)), UNTIL_ORPHANED];
    /// The task of a claimed run has died before its flow began.
    DeadTask: true, true, [GOOD, Poll, Pass(20), KILL_TASK, Pass(ORPHAN_AFTER.as_secs())];
    /// A run was scheduled anew while its task runs.
    EarlierTask: true, true, [GOOD, Poll, FlowRuns, Happens(World::schedule_anew)];
    /// A run is being cancelled, and its flow does not end by itself.
    Cancelling: true, true, [GOOD, Poll, FlowRuns, CANCEL, Pass(CANCEL_GRACE.as_secs() + 1)];
    /// A run was cancelled before its task had begun.
    CancelledEarly: true, true, [GOOD, Poll, CANCEL];
    /// A task run of a Running run is to be retried.
    TaskRetry: true, false, [GOOD, Poll, FlowRuns, Happens(retry_task), KILL_TASK, Pass(5)];
    /// The server knows nothing but the queue.
    QueueOnly: true, false,
        [GOOD, GOOD, Happens(|world, _, _| world.fakes.prefect1(|one| one.switches.without_contained_in = true))];
    /// A concurrency limit is reached.
    Limited: true, true, [GOOD, Happens(limit), Poll, FlowRuns, GOOD];
    /// The family has revisions of another content.
    OtherDefinition: true, true, [GOOD, GOOD, Happens(register_another)];
    /// An event tells that a task died while its flow ran.
    DeadFlow: true, true, [GOOD, Poll, FlowRuns, DIE];
    /// An event tells that a task could not start.
    FailedStart: true, true, [GOOD, Poll, Pass(20), Happens(|world, run, now| world.end_task(run, None, now))];
    /// An event tells that a task's container died before its flow began.
    DeadContainer: true, true, [GOOD, Poll, Pass(20), DIE];
    /// An event tells that a task waits for its start.
    Waits: false, true, [GOOD, Poll, Pass(6)];
    /// An event tells that the task of a run that is being cancelled has stopped.
    CancelledDead: true, true, [GOOD, Poll, FlowRuns, CANCEL, DIE];
}

fn shortage(world: &mut World, now: OffsetDateTime, seconds: u64) {
    world.shortage = Some((now + Duration::from_secs(seconds), false));
}

fn retry_task(world: &mut World, run: RunId, now: OffsetDateTime) {
    let retry = world.fakes.prefect1(|prefect1| prefect1.retry_task(&run.to_string(), now, now));
    debug_assert_eq!(retry, Ok(()));
}

/// No more runs than one are allowed at the same time.
fn limit(world: &mut World, _: RunId, now: OffsetDateTime) {
    world.fakes.prefect1(|prefect1| prefect1.switches.flow_concurrency = Some(1));
    if world.generation == Generation::Three {
        world.fakes.prefect3(|prefect3| prefect3.limit_deployment(DEPLOYMENT, 1, now));
    }
}

fn register_another(world: &mut World, _: RunId, _: OffsetDateTime) {
    let family = match world.generation {
        Generation::One => "prefect-my-flow".to_owned(),
        Generation::Three => format!("prefect_{POOL}_{DEPLOYMENT}"),
    };
    (0..2).for_each(|_| world.register_another(&family));
}

/// Time of the invocations that are looked at.
pub const INVOCATION: Duration = Duration::from_mins(2);

/// A clock that is right, and no limit of launches.
pub const PLAIN: (time::Duration, Option<f64>) = (time::Duration::ZERO, None);

impl Scene {
    /// Whether it is an event that is looked at, and not a poll.
    pub fn is_event(self) -> bool {
        matches!(self, Self::DeadFlow | Self::FailedStart | Self::DeadContainer | Self::Waits | Self::CancelledDead)
    }

    /// What is looked at begins: a poll by a cold or a warm process, or an event.
    pub fn begin(self, driver: &mut Driver, warm: bool) -> ActorId {
        if !self.is_event() {
            return driver.poll(INVOCATION, warm, PLAIN);
        }
        let now = driver.now();
        driver.shared.world().send_last_event(now);
        driver.deliver().unwrap_or(ActorId(0))
    }

    /// Plays it: a world is made, the situation brought about, then `then` goes on. `warm`: so many warm processes that
    /// have launched something before.
    pub fn play<T>(self, generation: Generation, warm: usize, then: impl AsyncFnOnce(&mut Driver) -> T) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().ok()?;
        Some(runtime.block_on(async {
            history::same_again(7);
            let world = World::new(setting(generation));
            let mut driver = Driver::new(Shared::new(world, Timeline::begin()));
            for _ in 0..warm {
                GOOD.happen(&mut driver).await;
                Poll.happen(&mut driver).await;
            }
            Pass(600).happen(&mut driver).await;
            for step in self.steps() {
                step.happen(&mut driver).await;
            }
            then(&mut driver).await
        }))
    }
}

impl Step {
    async fn happen(&self, driver: &mut Driver) {
        let now = driver.now();
        match self {
            Self::Run(flavour, seconds) => {
                driver.shared.world().schedule(*flavour, now + Duration::from_secs(*seconds), now);
            }
            Self::Poll => {
                driver.poll(INVOCATION, false, PLAIN);
                driver.run_out().await;
            }
            Self::OnlyClaim => {
                driver.poll(INVOCATION, false, PLAIN);
                driver.run_to(Call::RunTask).await;
                driver.kill(0);
            }
            Self::Pass(seconds) => driver.run(now + Duration::from_secs(*seconds), usize::MAX).await,
            Self::FlowRuns => {
                for _ in 0..300 {
                    let now = driver.now();
                    driver.run(now + Duration::from_secs(1), usize::MAX).await;
                    let world = driver.shared.world();
                    if world.runs().last().is_some_and(|run| world.tasks_of(run).any(|task| task.runs_flow)) {
                        return;
                    }
                }
            }
            Self::Happens(what) => {
                let mut world = driver.shared.world();
                if let Some(run) = world.runs().last() {
                    what(&mut world, run, now);
                }
            }
        }
    }
}

fn setting(generation: Generation) -> Setting {
    Setting {
        generation,
        switches: Switches::default(),
        limit: None,
        ecs: Options::default(),
        lag: 0,
        fates: Fates { harm: 0, retries: false, within: false },
        post: Post { silent: true, lost: 0, repeated: 0, late: 0 },
        config: Config::default(),
        lazarus: false,
        late: Late::Never,
        rng: Rng::new(7),
    }
}

/// How often a poll of the situation sends each call.
pub fn calls(scene: Scene, generation: Generation) -> BTreeMap<Call, usize> {
    let poll = async |driver: &mut Driver| {
        driver.calls.clear();
        scene.begin(driver, false);
        driver.run_out().await;
        std::mem::take(&mut driver.calls)
    };
    scene.play(generation, 0, poll).unwrap_or_default()
}

/// A poll, or an event, of the situation with this fault in the n-th call of its kind; whether it happened.
pub async fn play_with(scene: Scene, driver: &mut Driver, call: Call, nth: usize, fault: Fault) -> bool {
    driver.faults = Faults::Nth { call, left: nth, fault, hit: false };
    scene.begin(driver, false);
    driver.run_out().await;
    let faults = std::mem::replace(&mut driver.faults, Faults::None);
    matches!(faults, Faults::Nth { hit: true, .. })
}

/// Clean polls until all is settled. What is wrong then, if anything.
pub async fn settled(driver: &mut Driver) -> Vec<String> {
    let begun = driver.now();
    history::settle(driver, 0).await;
    let now = driver.now();
    let world = driver.shared.world();
    let mut wrong = world.audit.violations.clone();
    for run in world.runs() {
        match model::standing(&world, run, now, begun - Duration::from_mins(10)) {
            Standing::Fine => {}
            // What waits for a slot waits for the run that holds it.
            Standing::Others if world.is_limited(run) => {}
            other => wrong.push(format!("{run:?} is {other:?}")),
        }
    }
    wrong
}
