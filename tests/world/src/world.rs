//! The shared state, and the handle that tests, servers and the control API hold on it.

use crate::{
    Fault, Request, cloudformation, ec2, ecr, ecs, events, faults::Faults, iam, io::WorldListener, journal::Journal,
    lambda, logs, prefect1, prefect3, s3, server, sqs, ssm, sts,
};
use std::{
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// A handle on one world; clones share it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

/// All that the fakes know.
#[derive(Default)]
pub struct State {
    /// Prefect 1's API.
    pub prefect1: prefect1::Prefect1,
    /// The API of Prefect 2 and 3.
    pub prefect3: prefect3::Prefect3,
    /// Elastic Container Service.
    pub ecs: ecs::Ecs,
    /// Parameter Store.
    pub ssm: ssm::Ssm,
    /// CloudWatch Logs.
    pub logs: logs::Logs,
    /// VPCs and subnets.
    pub ec2: ec2::Ec2,
    /// Security Token Service.
    pub sts: sts::Sts,
    /// Objects.
    pub s3: s3::S3,
    /// Functions that can be invoked.
    pub lambda: lambda::Lambda,
    /// Stacks.
    pub cloudformation: cloudformation::CloudFormation,
    /// Rules and schedules.
    pub events: events::Events,
    /// Roles.
    pub iam: iam::Iam,
    /// Images.
    pub ecr: ecr::Ecr,
    /// Quotas.
    pub quotas: ecr::Quotas,
    /// Queues.
    pub sqs: sqs::Sqs,
    /// Every request that came in.
    pub journal: Journal,
    /// What is to go wrong, and the latency of every answer.
    pub faults: Faults,
    /// How far the world's clock is ahead of the machine's.
    pub clock_ahead: Duration,
    /// The world's time where it follows from nothing but what it is told.
    pub told_time: Option<OffsetDateTime>,
}

impl State {
    /// The world's time: what it was told, else the machine's, plus what [`World::advance`] added.
    pub fn now(&self) -> OffsetDateTime {
        self.told_time.unwrap_or_else(OffsetDateTime::now_utc) + self.clock_ahead
    }

    /// The world's time in seconds since 1970, with milliseconds, as AWS's JSON protocols write it.
    pub fn epoch_seconds(&self) -> f64 {
        epoch_seconds(self.now())
    }
}

/// Seconds since 1970 with milliseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 52 bits for longer than this program will run"
)]
pub fn epoch_seconds(at: OffsetDateTime) -> f64 {
    (at.unix_timestamp_nanos() / 1_000_000) as f64 / 1000.0
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world that nobody serves yet.
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::new(State::default()), changed: Notify::new() }) }
    }

    /// A new world, served on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port can be had on the loopback interface.
    #[allow(
        clippy::expect_used,
        reason = "without a loopback port no test can run, and the caller has no better answer"
    )]
    pub async fn start() -> RunningWorld {
        Self::new().serve(0).await.expect("a free port on 127.0.0.1")
    }

    /// Serves this world on `port` of 127.0.0.1; 0 takes a free one.
    pub async fn serve(self, port: u16) -> std::io::Result<RunningWorld> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let addr = listener.local_addr()?;
        self.lock().journal.restart();
        let task = tokio::spawn(server::serve(self.clone(), WorldListener::new(listener)));
        Ok(RunningWorld { world: self, addr, task })
    }

    /// The state, locked. Never hold it across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everybody who waits in [`World::wait_until`]. Call it after changing the state outside a request.
    pub fn notify(&self) {
        self.inner.changed.notify_waiters();
    }

    /// Waits until `holds` is true of the state, looking when a request comes, when it is answered, and after every
    /// [`World::notify`]; false when `limit` is over first.
    pub async fn wait_until(&self, limit: Duration, mut holds: impl FnMut(&State) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changed).await.is_err() {
                return holds(&self.lock());
            }
        }
    }

    /// Adds a fault; it waits for the requests it matches.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Adds `latency` to every answer from now on.
    pub fn latency(&self, latency: Duration) {
        self.lock().faults.latency = latency;
    }

    /// Moves the world's clock forward.
    pub fn advance(&self, by: Duration) {
        self.lock().clock_ahead += by;
        self.notify();
    }

    /// Lets time pass for programs that look at the machine's own clock: all that Prefect and ECS know happened that much
    /// earlier, and what is to come comes earlier.
    pub fn grow_older(&self, by: Duration) {
        let by = time::Duration::try_from(by).unwrap_or(time::Duration::MAX);
        let mut state = self.lock();
        state.prefect1.grow_older(by);
        state.prefect3.grow_older(by);
        state.ecs.grow_older(by);
        drop(state);
        self.notify();
    }

    /// The requests of one service and operation so far, oldest first; `"*"` means any operation.
    pub fn requests(&self, service: &str, operation: &str) -> Vec<Request> {
        self.lock().journal.matching(service, operation)
    }

    /// How many requests of one service and operation came in so far; `"*"` means any operation.
    pub fn count(&self, service: &str, operation: &str) -> usize {
        self.requests(service, operation).len()
    }

    /// Forgets everything: state, journal and faults; only the options of the fake ECS stay. Its processes are ended.
    pub fn reset(&self) {
        let old = {
            let mut state = self.lock();
            let mut fresh = State::default();
            fresh.ecs.options = state.ecs.options.clone();
            std::mem::replace(&mut *state, fresh)
        };
        // Outside the lock, because it ends processes.
        drop(old);
        self.notify();
    }
}

/// A world with its server. Dropping it stops the server.
pub struct RunningWorld {
    world: World,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl RunningWorld {
    /// A handle on the world itself, which outlives the server.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:<port>`: what `AWS_ENDPOINT_URL` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address of Prefect 1's API.
    pub fn prefect1_url(&self) -> String {
        format!("{}/prefect1", self.url())
    }

    /// The address of the API of Prefect 2 and 3, as of a self-hosted server: `PREFECT_API_URL`.
    pub fn prefect3_url(&self) -> String {
        format!("{}/prefect3/api", self.url())
    }

    /// The same API under an account and a workspace, as of Prefect Cloud.
    pub fn prefect3_cloud_url(&self) -> String {
        let (account, workspace) = (prefect3::CLOUD_ACCOUNT, prefect3::CLOUD_WORKSPACE);
        format!("{}/accounts/{account}/workspaces/{workspace}", self.prefect3_url())
    }
}

impl Deref for RunningWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Drop for RunningWorld {
    fn drop(&mut self) {
        self.world.ecs_end_processes();
        self.task.abort();
    }
}
