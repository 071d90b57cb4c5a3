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
use crate::world::{EcsRules, Late, Prefect1Rules, Setting, World};
use std::collections::BTreeMap;
use std::time::Duration;
use world::ecs::Stop;
use world::prefect3::POOL;

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Two runs are due.
    Due,
    /// A run is due in 20 seconds.
    Soon,
    /// A run is due and there is no capacity.
    NoCapacity,
    /// A run was given back and is due again.
    GivenBack,
    /// ECS refuses the run for what it says itself; another one is due.
    Unlaunchable,
    /// The run cannot be rendered; another one is due.
    Unrenderable,
    /// The run's deployment was deleted; another run is due (Prefect 3).
    Gone,
    /// A run was claimed two minutes ago, and nobody launched it.
    Orphan,
    /// The same, and somebody's observer has put another state over the claim (Prefect 3).
    ObservedOrphan,
    /// The task of a claimed run has died before its flow began.
    DeadTask,
    /// A run was scheduled anew while its task runs.
    EarlierTask,
    /// A run is being cancelled, and its flow does not end by itself.
    Cancelling,
    /// A run was cancelled before its task had begun.
    CancelledEarly,
    /// A task run of a Running run is to be retried (Prefect 1).
    TaskRetry,
    /// The server knows nothing but the queue (Prefect 1).
    QueueOnly,
    /// A concurrency limit is reached.
    Limited,
    /// The family has a definition of another content.
    OtherDefinition,
    /// An event tells that a task died while its flow ran.
    DeadFlow,
    /// An event tells that a task could not start.
    FailedStart,
    /// An event tells that a task's container died before its flow began.
    DeadContainer,
    /// An event tells that a task waits for its start (Prefect 3).
    Waits,
    /// An event tells that the task of a run that is being cancelled has stopped.
    CancelledDead,
}

/// Time of the invocations that are looked at.
pub const INVOCATION: Duration = Duration::from_mins(2);

/// A clock that is right, and no limit of launches.
pub const PLAIN: (time::Duration, Option<f64>) = (time::Duration::ZERO, None);

impl Scene {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Due,
        Self::Soon,
        Self::NoCapacity,
        Self::GivenBack,
        Self::Unlaunchable,
        Self::Unrenderable,
        Self::Gone,
        Self::Orphan,
        Self::ObservedOrphan,
        Self::DeadTask,
        Self::EarlierTask,
        Self::Cancelling,
        Self::CancelledEarly,
        Self::TaskRetry,
        Self::QueueOnly,
        Self::Limited,
        Self::OtherDefinition,
        Self::DeadFlow,
        Self::FailedStart,
        Self::DeadContainer,
        Self::Waits,
        Self::CancelledDead,
    ];

    /// Whether there is such a situation in this generation of Prefect.
    pub fn is_of(self, generation: Generation) -> bool {
        match self {
            Self::ObservedOrphan | Self::Waits | Self::Gone => generation == Generation::Three,
            Self::TaskRetry | Self::QueueOnly => generation == Generation::One,
            _ => true,
        }
    }

    /// Whether it is an event that is looked at, and not a poll.
    pub fn is_event(self) -> bool {
        matches!(self, Self::DeadFlow | Self::FailedStart | Self::DeadContainer | Self::Waits | Self::CancelledDead)
    }

    /// What is looked at begins: a poll by a cold or a warm process, or an event.
    pub fn begin(self, driver: &mut Driver, warm: bool) -> ActorId {
        if !self.is_event() {
            return driver.poll(INVOCATION, warm, PLAIN);
        }
        send_event(driver);
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
                schedule(&driver, Flavour::Good, 0);
                driver.poll(INVOCATION, false, PLAIN);
                driver.run_out().await;
            }
            pass(&mut driver, 600).await;
            self.set(&mut driver).await;
            then(&mut driver).await
        }))
    }

    async fn set(self, driver: &mut Driver) {
        match self {
            Self::Due | Self::QueueOnly | Self::OtherDefinition => {
                schedule(driver, Flavour::Good, 0);
                schedule(driver, Flavour::Good, 0);
            }
            Self::Soon => {
                schedule(driver, Flavour::Good, 20);
            }
            Self::Unlaunchable => {
                schedule(driver, Flavour::Unlaunchable, 0);
                schedule(driver, Flavour::Good, 0);
            }
            Self::Unrenderable => {
                schedule(driver, Flavour::Unrenderable, 0);
                schedule(driver, Flavour::Good, 0);
            }
            Self::Gone => {
                schedule(driver, Flavour::Gone, 0);
                schedule(driver, Flavour::Good, 0);
            }
            Self::NoCapacity | Self::GivenBack => {
                schedule(driver, Flavour::Good, 0);
            }
            Self::Orphan | Self::ObservedOrphan => orphan(driver).await,
            Self::DeadTask
            | Self::EarlierTask
            | Self::Cancelling
            | Self::CancelledEarly
            | Self::TaskRetry
            | Self::Limited
            | Self::DeadFlow
            | Self::FailedStart
            | Self::DeadContainer
            | Self::Waits
            | Self::CancelledDead => self.launched(driver).await,
        }
        match self {
            Self::QueueOnly => {
                let world = driver.shared.world();
                world.fakes.prefect1(|prefect1| prefect1.switches.without_contained_in = true);
            }
            Self::ObservedOrphan => {
                observe(driver);
                pass(driver, ORPHAN_AFTER.as_secs() + 1).await;
            }
            Self::OtherDefinition => register_another(driver),
            Self::NoCapacity => shortage(driver, 30),
            Self::GivenBack => {
                shortage(driver, 1);
                driver.poll(INVOCATION, false, PLAIN);
                driver.run_out().await;
                pass(driver, 50).await;
            }
            _ => {}
        }
    }

    /// Situations of a run that has a task.
    async fn launched(self, driver: &mut Driver) {
        if self == Self::Limited {
            limit(driver);
        }
        let run = schedule(driver, Flavour::Good, 0);
        driver.poll(INVOCATION, false, PLAIN);
        driver.run_out().await;
        match self {
            Self::CancelledEarly => return cancel(driver, run),
            Self::DeadTask => {
                pass(driver, 20).await;
                kill_task(driver, run);
                return pass(driver, ORPHAN_AFTER.as_secs()).await;
            }
            Self::FailedStart | Self::DeadContainer => {
                pass(driver, 20).await;
                return die(driver, run, self == Self::DeadContainer);
            }
            Self::Waits => return pass(driver, 6).await,
            _ => until_flow_runs(driver, run).await,
        }
        match self {
            Self::DeadFlow => die(driver, run, true),
            Self::CancelledDead => {
                cancel(driver, run);
                die(driver, run, true);
            }
            Self::EarlierTask => schedule_anew(driver, run),
            Self::Limited => {
                schedule(driver, Flavour::Good, 0);
            }
            Self::Cancelling => {
                cancel(driver, run);
                pass(driver, CANCEL_GRACE.as_secs() + 1).await;
            }
            _ => {
                retry_task(driver, run);
                kill_task(driver, run);
                pass(driver, 5).await;
            }
        }
    }
}

fn setting(generation: Generation) -> Setting {
    Setting {
        generation,
        one: Prefect1Rules { version_locking: false, lock: true, queue_only: false },
        limit: None,
        ecs: EcsRules { remembers_refusals: false, answers_as_then: true, lag: 0 },
        fates: Fates { harm: 0, retries: false },
        post: Post { silent: true, lost: 0, repeated: 0, late: 0 },
        config: Config::default(),
        lazarus: false,
        late: Late::Never,
        rng: Rng::new(7),
    }
}

fn schedule(driver: &Driver, flavour: Flavour, seconds: u64) -> RunId {
    let now = driver.now();
    driver.shared.world().schedule(flavour, now + Duration::from_secs(seconds), now)
}

async fn pass(driver: &mut Driver, seconds: u64) {
    let until = driver.now() + Duration::from_secs(seconds);
    driver.run(until, usize::MAX).await;
}

fn shortage(driver: &Driver, seconds: u64) {
    let until = driver.now() + Duration::from_secs(seconds);
    driver.shared.world().shortage = Some((until, false));
}

/// A process claims a run, and dies before it launches it.
async fn orphan(driver: &mut Driver) {
    schedule(driver, Flavour::Good, 0);
    driver.poll(INVOCATION, false, PLAIN);
    driver.run_to(Call::RunTask).await;
    driver.kill(0);
    pass(driver, ORPHAN_AFTER.as_secs() + 1).await;
}

fn observe(driver: &Driver) {
    let world = driver.shared.world();
    world.runs().for_each(|run| world.observe(run));
}

/// No more runs than one are allowed at the same time.
fn limit(driver: &Driver) {
    let now = driver.now();
    let world = driver.shared.world();
    world.fakes.prefect1(|prefect1| prefect1.switches.flow_concurrency = Some(1));
    if world.generation == Generation::Three {
        world.fakes.prefect3(|prefect3| prefect3.limit_deployment(DEPLOYMENT, 1, now));
    }
}

/// Revisions of another content in the family of all runs.
fn register_another(driver: &Driver) {
    let world = driver.shared.world();
    let family = match world.generation {
        Generation::One => "prefect-my-flow".to_owned(),
        Generation::Three => format!("prefect_{POOL}_{DEPLOYMENT}"),
    };
    (0..2).for_each(|_| world.register_another(&family));
}

/// A task run of the run is to be retried now (Prefect 1).
fn retry_task(driver: &Driver, run: RunId) {
    let (now, id) = (driver.now(), run.to_string());
    let world = driver.shared.world();
    let retry = world.fakes.prefect1(|prefect1| prefect1.retry_task(&id, now, now));
    debug_assert_eq!(retry, Ok(()));
}

fn cancel(driver: &Driver, run: RunId) {
    driver.shared.world().cancel(run);
}

fn kill_task(driver: &Driver, run: RunId) {
    let now = driver.now();
    driver.shared.world().kill_task(run, now);
}

/// The run's task stops: its container died, or could not be started.
fn die(driver: &Driver, run: RunId, had_container: bool) {
    let now = driver.now();
    driver.shared.world().end_task(run, had_container.then(|| Stop::exited(1)), now);
}

/// The last task has changed its state: an event tells so.
fn send_event(driver: &Driver) {
    let now = driver.now();
    driver.shared.world().send_last_event(now);
}

async fn until_flow_runs(driver: &mut Driver, run: RunId) {
    let runs = |driver: &Driver| {
        let world = driver.shared.world();
        world.tasks_of(run).any(|task| task.runs_flow)
    };
    for _ in 0..300 {
        if runs(driver) {
            return;
        }
        pass(driver, 1).await;
    }
}

fn schedule_anew(driver: &Driver, run: RunId) {
    let now = driver.now();
    driver.shared.world().schedule_anew(run, now);
}

/// How often a poll of the situation sends each call.
pub fn calls(scene: Scene, generation: Generation) -> BTreeMap<Call, usize> {
    let poll = async |driver: &mut Driver| {
        driver.stats.calls.clear();
        scene.begin(driver, false);
        driver.run_out().await;
        std::mem::take(&mut driver.stats.calls)
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
