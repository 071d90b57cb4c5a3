//! What every process has: its way to the world, through the gate.

use crate::call::{Call, Generation};
use crate::clock::{SimClock, Timeline};
use crate::config::environment;
use crate::fault::{Effect, Fault, Kind};
use crate::gate::{ActorId, Gate, Side};
use crate::world::{Arrival, World};
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::request::Parts;
use prefect_serverless_agent::aws::AwsClients;
use prefect_serverless_agent::clock::Clock;
use prefect_serverless_agent::http::{Answer, Exchange, Http, Request, SendError};
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use world::route::{Route, route};

/// How long an answer takes that comes late, but in time.
const SLOW: Duration = Duration::from_secs(6);

thread_local! {
    /// Who is polled. Requests leave for him: so all processes share the clients of AWS, which cost as much to make as many
    /// requests, and keep nothing of what is asked.
    static POLLED: RefCell<Option<Port>> = const { RefCell::new(None) };
    static AWS: RefCell<Option<Arc<AwsClients>>> = const { RefCell::new(None) };
}

/// The clients of AWS of this history.
///
/// # Panics
/// When they cannot be made of an environment: then no history can be played.
#[allow(clippy::expect_used, reason = "no history can be played without")]
pub fn aws() -> Arc<AwsClients> {
    let made = || AwsClients::over(Http::over(ByWhoIsPolled), &environment(false));
    AWS.with_borrow_mut(|aws| {
        let aws = aws.get_or_insert_with(|| Arc::new(made().expect("clients need nothing but an environment")));
        Arc::clone(aws)
    })
}

/// Another history begins. The clients of AWS are made anew: when their credentials are renewed is drawn by chance.
pub fn begin() {
    POLLED.take();
    AWS.take();
}

/// The way of requests: through the port of the process that is polled.
#[derive(Debug)]
struct ByWhoIsPolled;

impl Exchange for ByWhoIsPolled {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>> {
        let port = POLLED.with_borrow(Clone::clone);
        Box::pin(async move {
            match port {
                Some(port) => port.exchange(request).await,
                None => Err(SendError::Impossible("nobody is polled".into())),
            }
        })
    }
}

/// The world and the gate before it.
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
#[derive(Clone)]
pub struct Port {
    shared: Arc<Shared>,
    /// Whose.
    pub actor: ActorId,
    /// Its clock.
    pub clock: SimClock,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Port").field(&self.actor).finish()
    }
}

impl Port {
    /// A way through the gate.
    pub fn new(shared: Arc<Shared>, actor: ActorId, skew: time::Duration) -> Self {
        // No two processes begin in the same nanosecond, which names them.
        let skew = skew + time::Duration::nanoseconds(actor.0.into());
        let clock = SimClock { timeline: shared.timeline, skew };
        Self { shared, actor, clock }
    }

    /// The process is polled from now on.
    pub fn is_polled(&self) {
        POLLED.set(Some(self.clone()));
    }

    /// The time as the process knows it.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// The world, for what is no request: what must hold is looked at there.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    async fn exchange(&self, request: Request) -> Result<Answer, SendError> {
        let Request { method, url, headers, body, timeout } = request;
        let body = body.unwrap_or_default();
        let mut parts = match http::Request::builder().method(method).uri(url).body(Body::empty()) {
            Ok(request) => request.into_parts().0,
            Err(error) => return Err(SendError::Impossible(error.to_string())),
        };
        parts.headers = headers;
        let route = route(&parts.method, &parts.uri, &parts.headers, &body);
        let call = Call::of(&route, &body);
        if call == Call::RunTask {
            // The time, or what the process takes for it, whichever is later.
            let now = self.clock.now().max(self.shared.timeline.now());
            self.world().is_to_run(self.actor, &body, now);
        }
        match tokio::time::timeout(timeout, self.passed((call, route), parts, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::NoAnswer { reason: "timed out".into(), timed_out: true }),
        }
    }

    /// One request: through the gate, to its effect, and through the gate with the answer.
    async fn passed(
        &self,
        (call, route): (Call, Route),
        parts: Parts,
        body: bytes::Bytes,
    ) -> Result<Answer, SendError> {
        let (fault, millis) = self.shared.gate.pass(self.actor, call, Side::Before).await;
        wait(Duration::from_millis(millis)).await;
        // That a state has another version Prefect 1 says in its own words, field by field.
        let is_said = |fault: &Fault| {
            fault.kind == Kind::Conflict && call.sets_states() && self.world().generation == Generation::One
        };
        if let Some(fault) = fault.filter(|fault| fault.effect == Effect::None && !is_said(fault)) {
            return ends(fault, call, None).await;
        }
        let answer = {
            let now = self.shared.timeline.now();
            let arrival = Arrival { actor: self.actor, call, route, fault, now };
            self.shared.world().answer(&arrival, &parts, &body)
        };
        let (_, millis) = self.shared.gate.pass(self.actor, call, Side::After).await;
        wait(Duration::from_millis(millis)).await;
        match fault {
            None => Ok(answer),
            Some(fault) => ends(fault, call, Some(answer)).await,
        }
    }
}

/// How a call ends that goes wrong.
async fn ends(fault: Fault, call: Call, answer: Option<Answer>) -> Result<Answer, SendError> {
    match fault.kind {
        Kind::Timeout => std::future::pending().await,
        Kind::Slow => wait(SLOW).await,
        _ => {}
    }
    fault.instead(call, answer)
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
