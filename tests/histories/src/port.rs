//! What every process has: its way to the world, through the gate.

use crate::call::Call;
use crate::clock::{SimClock, Timeline};
use crate::fault::{Effect, Fault};
use crate::gate::{ActorId, Gate, Side};
use crate::world::World;
use prefect_serverless_agent::clock::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// The world and the gate before it.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    /// The gate.
    pub gate: Gate,
    /// True time.
    pub timeline: Timeline,
}

impl Shared {
    /// A gate before this world.
    pub fn new(world: World, timeline: Timeline) -> Arc<Self> {
        Arc::new(Self { world: Mutex::new(world), gate: Gate::default(), timeline })
    }

    /// The world as it is now.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.catch_up(self.timeline.now());
        world
    }
}

/// A process's way to the world.
#[derive(Debug, Clone)]
pub struct Port {
    shared: Arc<Shared>,
    /// Whose.
    pub actor: ActorId,
    /// Its clock.
    pub clock: SimClock,
}

/// A request that arrives.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Where.
    pub world: &'a mut World,
    /// True time.
    pub now: OffsetDateTime,
    /// From whom.
    pub actor: ActorId,
    /// Only the first half of it is carried out.
    pub half: bool,
}

impl Port {
    /// A way through the gate.
    pub fn new(shared: Arc<Shared>, actor: ActorId, skew: time::Duration) -> Self {
        let clock = SimClock { timeline: shared.timeline, skew };
        Self { shared, actor, clock }
    }

    /// The time as the process knows it.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// The time, or what the process takes for it, whichever is later.
    pub fn latest(&self) -> OffsetDateTime {
        self.clock.now().max(self.shared.timeline.now())
    }

    /// The world, for what is no request: what must hold is looked at there.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// One request: through the gate, to its effect, and through the gate with the answer. What went wrong comes back
    /// with what the effect gave, if it came so far.
    pub async fn call<T>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Arrival<'_>) -> T,
    ) -> Result<T, (Fault, Option<T>)> {
        let (fault, millis) = self.shared.gate.pass(self.actor, call, Side::Before).await;
        wait(Duration::from_millis(millis)).await;
        if let Some(fault) = fault.filter(|fault| fault.effect == Effect::None) {
            wait(fault.kind.takes()).await;
            return Err((fault, None));
        }
        let half = fault.is_some_and(|fault| fault.effect == Effect::Half);
        let result = {
            let mut world = self.shared.world();
            let now = self.shared.timeline.now();
            world.before_request(now);
            effect(&mut Arrival { world: &mut world, now, actor: self.actor, half })
        };
        let (_, millis) = self.shared.gate.pass(self.actor, call, Side::After).await;
        wait(Duration::from_millis(millis)).await;
        match fault {
            None => Ok(result),
            Some(fault) => {
                wait(fault.kind.takes()).await;
                if fault.is_answered() { Ok(result) } else { Err((fault, Some(result))) }
            }
        }
    }
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
