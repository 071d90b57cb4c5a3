//! Small worlds: one situation each, in which one poll, or several, are looked at closely.

use crate::call::{Call, Generation};
use crate::clock::Timeline;
use crate::driver::{Driver, Faults};
use crate::ecs::{self, Status};
use crate::fault::Fault;
use crate::gate::ActorId;
use crate::mail::Post;
use crate::model::{self, Standing};
use crate::port::Shared;
use crate::prefect3::Proposal;
use crate::process::{CANCEL_GRACE, ORPHAN_AFTER};
use crate::rng::Rng;
use crate::run::{Config, Flavour, RunId, object};
use crate::world::{Setting, World};
use crate::{history, prefect1, prefect3};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

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
    pub const ALL: [Self; 21] = [
        Self::Due,
        Self::Soon,
        Self::NoCapacity,
        Self::GivenBack,
        Self::Unlaunchable,
        Self::Unrenderable,
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
            Self::ObservedOrphan | Self::Waits => generation == Generation::Three,
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
            Self::QueueOnly => driver.shared.world().one.rules.queue_only = true,
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
                limit(driver);
                schedule(driver, Flavour::Good, 0);
            }
            Self::Cancelling => {
                cancel(driver, run);
                pass(driver, CANCEL_GRACE.as_secs() + 1).await;
            }
            _ => {
                let now = driver.now();
                driver.shared.world().one.retry_task(run, now, now);
                kill_task(driver, run);
                pass(driver, 5).await;
            }
        }
    }
}

fn setting(generation: Generation) -> Setting {
    Setting {
        generation,
        one: prefect1::Rules { version_locking: false, lock: true, limit: None, queue_only: false },
        ecs: ecs::Rules { remembers_refusals: false, answers_as_then: true, lag: 0 },
        fates: ecs::Fates { harm: 0, retries: false },
        post: Post { silent: true, lost: 0, repeated: 0, late: 0 },
        config: Config::default(),
        lazarus: false,
        late: prefect3::Late::Never,
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
    driver.shared.world().ecs.shortage = Some((until, false));
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
    let now = driver.now();
    let mut world = driver.shared.world();
    for run in world.runs() {
        world.three.observe(run, now);
    }
}

/// No more runs than one are allowed at the same time.
fn limit(driver: &Driver) {
    let mut world = driver.shared.world();
    world.one.rules.limit = Some(1);
    world.three.limit = Some(1);
}

fn register_another(driver: &Driver) {
    let body = object(json!({"family": "prefect-flow", "containerDefinitions": [{"name": "flow", "image": "other"}]}));
    driver.shared.world().ecs.families.register(&body);
    driver.shared.world().ecs.families.register(&body);
}

fn cancel(driver: &Driver, run: RunId) {
    let now = driver.now();
    let mut world = driver.shared.world();
    match world.generation {
        Generation::One => world.one.cancel(run, now),
        Generation::Three => world.three.cancel(run, now),
    };
}

fn kill_task(driver: &Driver, run: RunId) {
    let now = driver.now();
    let mut world = driver.shared.world();
    let live = world.ecs.tasks_of(run).find(|task| task.is_live()).map(|task| task.index);
    if let Some(index) = live {
        world.kill_task(index, now);
    }
}

/// The run's task stops: its container died, or could not be started.
fn die(driver: &Driver, run: RunId, had_container: bool) {
    let now = driver.now();
    let mut world = driver.shared.world();
    let Some(index) = world.ecs.tasks_of(run).map(|task| task.index).last() else { return };
    if let Some(task) = world.ecs.tasks.get_mut(index) {
        task.started_at = had_container.then_some(now);
        task.exit_code = had_container.then_some(1);
        task.fate.takes = 0;
    }
    world.stop_at_once(index, now);
}

/// The last task has changed its state: an event tells so.
fn send_event(driver: &Driver) {
    let now = driver.now();
    let mut world = driver.shared.world();
    let world = &mut *world;
    if let Some(task) = world.ecs.tasks.last() {
        world.mail.send(task, now, now);
    }
}

async fn until_flow_runs(driver: &mut Driver, run: RunId) {
    let runs = |driver: &Driver| {
        let world = driver.shared.world();
        world.ecs.tasks_of(run).any(|task| task.status == Status::Running && task.runs_flow)
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
    let mut world = driver.shared.world();
    match world.generation {
        Generation::One => drop(world.one.set_by_hand(run, prefect1::State::scheduled(now), now)),
        Generation::Three => {
            let anew = Proposal::plain(prefect3::Kind::Scheduled, "Scheduled");
            world.three.set_by_hand(run, Proposal { scheduled: Some(now), ..anew }, now);
        }
    }
    world.audit.begins_anew(run, now);
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
