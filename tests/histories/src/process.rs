//! One process of the function `poll`: the real core, between the simulated Prefect and the simulated ECS.

use crate::audit::MAX_LAUNCH_ATTEMPTS;
use crate::call::Generation;
use crate::clock::SimClock;
use crate::ecs::{SimEc2, SimEcs};
use crate::gate::ActorId;
use crate::port::{Port, Shared};
use crate::run::Config;
use crate::{prefect1, prefect3};
use prefect_serverless_agent::launch::LaunchTarget;
use prefect_serverless_agent::launch::ecs::EcsLauncher;
use prefect_serverless_agent::launch::rate::LaunchRate;
use prefect_serverless_agent::orchestrator::Orchestrator;
use prefect_serverless_agent::poll::AgentReport;
use prefect_serverless_agent::poll::agent::MARGIN;
use prefect_serverless_agent::poll::iteration::{Iteration, Rules};
use prefect_serverless_agent::poll::plan::Limits;
use prefect_serverless_agent::poll::report_builder::ReportBuilder;
use prefect_serverless_agent::poll::seen_launches::SeenLaunches;
use prefect_serverless_agent::state::ErrorKind;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

/// The agent's name.
pub const AGENT: &str = "etl";

/// What its claims are marked with.
pub const MARKED_AS: &str = "/psa/etl";

/// How far ahead due runs are looked for.
pub const PREFETCH: Duration = Duration::from_mins(1);

/// One of our claims without a task after this long is finished.
pub const ORPHAN_AFTER: Duration = Duration::from_mins(2);

/// A cancelled flow that runs gets this long to end by itself.
pub const CANCEL_GRACE: Duration = Duration::from_secs(90);

/// No task is started from this long before the end of the invocation.
const SETTLING: Duration = Duration::from_secs(5);

/// A poll ends so long before its invocation.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A warm process reads its configuration anew after this long.
const CONFIGURATION_MEMORY: Duration = Duration::from_mins(5);

/// A place in the agent's own account.
pub fn place_of(cluster: &str) -> LaunchTarget {
    LaunchTarget { cluster: cluster.to_owned(), ..LaunchTarget::default() }
}

/// A poll that goes on.
pub type Polling = Pin<Box<dyn Future<Output = AgentReport> + Send>>;

/// One process, warm from its first poll on.
#[derive(Debug, Clone)]
pub enum Process {
    /// Of an agent of Prefect 1.
    One(Arc<Inner<prefect1::Client>>),
    /// Of an agent of Prefect 3.
    Three(Arc<Inner<prefect3::Client>>),
}

/// What a process is made of.
#[derive(Debug)]
pub struct Inner<O> {
    port: Port,
    shared: Arc<Shared>,
    orchestrator: O,
    launcher: EcsLauncher<SimEcs, SimEc2, SimClock>,
    known: SeenLaunches,
    is_connected: AtomicBool,
    configured_at: std::sync::Mutex<OffsetDateTime>,
    launch_rate: Option<f64>,
}

/// What a process begins with.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Its name.
    pub actor: ActorId,
    /// What its clock is off by.
    pub skew: time::Duration,
    /// `RunTask` calls per second.
    pub launch_rate: Option<f64>,
}

impl Process {
    /// A cold process.
    pub fn start(shared: &Arc<Shared>, start: Start) -> Self {
        let port = Port::new(Arc::clone(shared), start.actor, start.skew);
        let (generation, config) = {
            let mut world = shared.world();
            let revision = world.config.revision;
            world.audit.configured(start.actor, revision);
            (world.generation, Arc::new(world.config.clone()))
        };
        match generation {
            Generation::One => {
                let client = prefect1::Client::new(port.clone(), config);
                Self::One(Arc::new(Inner::new(port, shared, client, start.launch_rate)))
            }
            Generation::Three => {
                let client = prefect3::Client::new(port.clone(), config);
                Self::Three(Arc::new(Inner::new(port, shared, client, start.launch_rate)))
            }
        }
    }

    /// Its name.
    pub fn actor(&self) -> ActorId {
        match self {
            Self::One(process) => process.port.actor,
            Self::Three(process) => process.port.actor,
        }
    }

    /// One invocation, which is over after this long.
    pub fn poll(&self, time: Duration) -> Polling {
        // Without tokio's budget: the driver polls many times before tokio has its turn again.
        match self {
            Self::One(process) => {
                if let Some(config) = process.newer_configuration() {
                    process.orchestrator.configure(config);
                }
                Box::pin(tokio::task::unconstrained(Arc::clone(process).poll(time)))
            }
            Self::Three(process) => {
                if let Some(config) = process.newer_configuration() {
                    process.orchestrator.configure(config);
                }
                Box::pin(tokio::task::unconstrained(Arc::clone(process).poll(time)))
            }
        }
    }
}

fn rate(per_second: Option<f64>) -> Arc<LaunchRate> {
    Arc::new(LaunchRate::new(per_second))
}

impl<O> Inner<O> {
    fn new(port: Port, shared: &Arc<Shared>, orchestrator: O, launch_rate: Option<f64>) -> Self {
        let launcher = EcsLauncher::new(SimEcs(port.clone()), SimEc2(port.clone()), port.clock, rate(launch_rate));
        Self {
            configured_at: std::sync::Mutex::new(port.now()),
            port,
            shared: Arc::clone(shared),
            orchestrator,
            launcher,
            known: SeenLaunches::default(),
            is_connected: AtomicBool::new(false),
            launch_rate,
        }
    }

    /// The configuration, where the one that is known is too old.
    fn newer_configuration(&self) -> Option<Arc<Config>> {
        let mut configured_at = self.configured_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.port.now();
        if now - *configured_at < CONFIGURATION_MEMORY {
            return None;
        }
        *configured_at = now;
        let mut world = self.shared.world();
        let config = Arc::new(world.config.clone());
        world.audit.configured(self.port.actor, config.revision);
        Some(config)
    }

    fn rules(&self, deadline: OffsetDateTime) -> Rules {
        Rules {
            agent: AGENT.into(),
            marked_as: MARKED_AS.into(),
            prefetch: PREFETCH,
            max_launch_attempts: MAX_LAUNCH_ATTEMPTS,
            spot_fallback_after: Some(3),
            orphan_after: ORPHAN_AFTER,
            cancel_grace: CANCEL_GRACE,
            limits: Limits {
                stop_claiming: deadline - MARGIN,
                deadline: deadline - SETTLING,
                launch_rate: self.launch_rate,
                try_one_first: self.shared.world().last_error == Some(ErrorKind::Aws),
            },
        }
    }
}

impl<O: Orchestrator> Inner<O> {
    async fn poll(self: Arc<Self>, time: Duration) -> AgentReport {
        let deadline = self.port.now() + time;
        let ledger = ReportBuilder::default();
        let polled = tokio::time::timeout(time.saturating_sub(LAST_WORDS), self.turn(deadline, &ledger)).await;
        if polled.is_err() {
            ledger.trouble(ErrorKind::Deadline, "the poll did not end within the invocation's time");
        }
        let report = ledger.report("no time was left in this invocation");
        self.shared.world().last_error = report.error_kind;
        report
    }

    async fn turn(&self, deadline: OffsetDateTime, ledger: &ReportBuilder) {
        if !self.is_connected.load(Ordering::Relaxed) {
            match self.orchestrator.connect(None).await {
                Ok(_) => self.is_connected.store(true, Ordering::Relaxed),
                Err(error) => return ledger.trouble(error.kind(), &error.to_string()),
            }
        }
        let ports = (&self.orchestrator, &self.launcher, &self.port.clock);
        Iteration::new(self.rules(deadline), ports, ledger, &self.known).run().await;
    }
}
