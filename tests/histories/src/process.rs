//! One process of the function `poll`: the real clients, launcher and core, with nothing but a [`Port`] behind them.

use crate::call::Generation;
use crate::clock::SimClock;
use crate::config::{Config, REGION, environment};
use crate::gate::ActorId;
use crate::port::{Port, Shared};
use prefect_serverless_agent::aws::{AgentAws, AwsClients};
use prefect_serverless_agent::config::{self, AgentConfig, AgentSecrets, Document, apply_backend_settings};
use prefect_serverless_agent::orchestrator::{Orchestrator, RenderError};
use prefect_serverless_agent::platform::ecs::accounts::{AccountsLauncher, AwsConnect};
use prefect_serverless_agent::platform::ecs::delivery::Delivery;
use prefect_serverless_agent::platform::ecs::platform::{Documents, LaunchRules};
use prefect_serverless_agent::platform::ecs::rate::LaunchRate;
use prefect_serverless_agent::platform::ecs::{AgentEcs, EcsPlatform};
use prefect_serverless_agent::poll::AgentReport;
use prefect_serverless_agent::poll::agent::MARGIN;
use prefect_serverless_agent::poll::context::SeenLaunches;
use prefect_serverless_agent::poll::iteration::{Iteration, Rules};
use prefect_serverless_agent::poll::plan::Limits;
use prefect_serverless_agent::poll::report::ReportBuilder;
use prefect_serverless_agent::prefect1::api as api1;
use prefect_serverless_agent::prefect1::api::Prefect1;
use prefect_serverless_agent::prefect3::api as api3;
use prefect_serverless_agent::prefect3::api::Prefect3;
use prefect_serverless_agent::redaction::Redaction;
use prefect_serverless_agent::state::ErrorKind;
use serde_json::Map;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

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

/// Whom the claims of Prefect 3 are named by: account, region, root and agent.
const IDENTITY: &str = "123456789012/eu-west-1/psa/etl";

/// A poll that goes on.
pub type Polling = Pin<Box<dyn Future<Output = AgentReport> + Send>>;

/// One process, warm from its first poll on.
#[derive(Clone)]
pub struct Process {
    port: Port,
    launch_rate: Option<f64>,
    aws: Arc<AwsClients>,
    made: Arc<Mutex<Option<Made>>>,
}

/// What a process keeps of its agent.
#[derive(Clone)]
struct Made {
    of: Config,
    at: OffsetDateTime,
    agent: Agent,
}

#[derive(Clone)]
enum Agent {
    One(Arc<Inner<Prefect1>>),
    Three(Arc<Inner<Prefect3>>),
}

type Launcher = AgentEcs<SimClock>;

struct Inner<O> {
    port: Port,
    config: AgentConfig,
    orchestrator: O,
    launcher: Launcher,
    known: SeenLaunches,
    is_connected: AtomicBool,
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

/// The clients of AWS of a process.
pub fn aws(port: &Port) -> Result<Arc<AwsClients>, String> {
    AwsClients::over(port.http(), &environment()).map(Arc::new).map_err(|error| error.to_string())
}

/// A client of Prefect 1.
pub fn prefect1(port: &Port, loaded: (&AgentConfig, &AgentSecrets), read_only: bool) -> Result<Prefect1, String> {
    let (config, secrets) = loaded;
    let config::GenerationConfig::One(one) = &config.generation else {
        return Err("no configuration of Prefect 1".into());
    };
    let clock = port.clock;
    let setup = api1::Setup {
        config: config.clone().with(one.clone()),
        secrets: secrets.clone(),
        marked_as: MARKED_AS.to_owned(),
        apply_settings: apply_backend_settings,
        now: Arc::new(move || prefect_serverless_agent::clock::Clock::now(&clock)),
        redaction: Redaction::default(),
        read_only,
    };
    Prefect1::new(setup, port.http()).map_err(|error| error.to_string())
}

/// A client of Prefect 3. `session`: names the process.
pub fn prefect3(
    port: &Port,
    loaded: (&AgentConfig, &AgentSecrets),
    session: String,
    read_only: bool,
) -> Result<Prefect3, String> {
    let (config, secrets) = loaded;
    let config::GenerationConfig::Three(three) = &config.generation else {
        return Err("no configuration of Prefect 3".into());
    };
    let clock = port.clock;
    let setup = api3::Setup {
        config: config.clone().with(three.clone()),
        secrets: secrets.clone(),
        marked_as: MARKED_AS.to_owned(),
        identity: IDENTITY.to_owned(),
        session,
        region: REGION.to_owned(),
        pool_type: prefect_serverless_agent::platform::ecs::platform::WORK_POOL,
        redaction: Redaction::default(),
        now: Arc::new(move || prefect_serverless_agent::clock::Clock::now(&clock)),
        read_only,
    };
    Prefect3::new(setup, port.http()).map_err(|error| error.to_string())
}

impl Process {
    /// A cold process.
    pub fn start(shared: &Arc<Shared>, start: Start) -> Result<Self, String> {
        let port = Port::new(Arc::clone(shared), start.actor, start.skew);
        let aws = aws(&port)?;
        Ok(Self { port, launch_rate: start.launch_rate, aws, made: Arc::default() })
    }

    /// Its name.
    pub fn actor(&self) -> ActorId {
        self.port.actor
    }

    /// One invocation, which is over after this long.
    pub fn poll(&self, time: Duration) -> Polling {
        let process = self.clone();
        // Without tokio's budget: the driver polls many times before tokio has its turn again.
        Box::pin(tokio::task::unconstrained(async move {
            let deadline = Instant::now() + time.saturating_sub(LAST_WORDS);
            match process.agent().await {
                Ok(Agent::One(agent)) => {
                    agent.orchestrator.set_deadline(Some(deadline));
                    agent.poll(time).await
                }
                Ok(Agent::Three(agent)) => {
                    agent.orchestrator.set_deadline(Some(deadline));
                    agent.poll(time).await
                }
                Err(error) => AgentReport { error: Some(error), ..AgentReport::default() },
            }
        }))
    }

    /// The agent, made anew where its configuration is known for too long, and is another one by now.
    async fn agent(&self) -> Result<Agent, String> {
        let now = self.port.now();
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = match known {
            Some(known) if now - known.at < CONFIGURATION_MEMORY => return Ok(known.agent),
            known => {
                let of = self.port.world().config.clone();
                if let Some(known) = known.filter(|known| known.of == of) {
                    self.keep(Made { at: now, ..known.clone() });
                    return Ok(known.agent);
                }
                of
            }
        };
        let own = self.aws.for_agent(None, None).await;
        let agent = self.made_of(&of, own)?;
        self.keep(Made { of, at: now, agent: agent.clone() });
        Ok(agent)
    }

    fn keep(&self, made: Made) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    }

    fn made_of(&self, config: &Config, own: Arc<AgentAws>) -> Result<Agent, String> {
        let generation = self.port.world().generation;
        let (config, secrets) = config.of_agent(generation, self.launch_rate)?;
        let rate = Arc::new(LaunchRate::new(config.launch_rate));
        let connect = AwsConnect { aws: Arc::clone(&self.aws), own, clock: self.port.clock, rate };
        let launcher = EcsPlatform::new(AccountsLauncher::of_agent(connect), launch_rules(&config, &secrets));
        let (port, loaded) = (&self.port, (&config, &secrets));
        Ok(match generation {
            Generation::One => Agent::One(Arc::new(Inner::new(port, prefect1(port, loaded, false)?, config, launcher))),
            Generation::Three => {
                let session = format!("{:?}/{}", port.actor, port.now().unix_timestamp_nanos());
                let orchestrator = prefect3(port, loaded, session, false)?;
                Agent::Three(Arc::new(Inner::new(port, orchestrator, config, launcher)))
            }
        })
    }
}

/// What launches depend on.
fn launch_rules(config: &AgentConfig, secrets: &AgentSecrets) -> LaunchRules {
    let inline = |document: &Option<Document>| match document {
        Some(Document::Inline(map)) => Some(map.clone()),
        _ => None,
    };
    let documents = match &config.generation {
        config::GenerationConfig::One(one) => Documents {
            task_definition: inline(&one.task_definition),
            run_task_kwargs: inline(&one.run_task_kwargs).unwrap_or_default(),
        },
        config::GenerationConfig::Three(_) => Documents::default(),
    };
    LaunchRules {
        documents,
        delivery: Arc::new(Delivery::new(config, secrets.clone(), MARKED_AS)),
        unknown_members: config.unknown_members,
        spot_fallback_after: config.spot_fallback_after,
        load_template: Arc::new(|_| {
            Box::pin(async { Err::<Map<_, _>, _>(RenderError::NotNow("no templates".into())) })
        }),
    }
}

impl<O: Orchestrator> Inner<O> {
    fn new(port: &Port, orchestrator: O, config: AgentConfig, launcher: Launcher) -> Self {
        let (port, known, is_connected) = (port.clone(), SeenLaunches::default(), AtomicBool::new(false));
        Self { port, config, orchestrator, launcher, known, is_connected }
    }

    fn rules(&self, deadline: OffsetDateTime) -> Rules {
        let config = &self.config;
        Rules {
            agent: config.agent.clone(),
            marked_as: MARKED_AS.into(),
            prefetch: config.prefetch,
            max_launch_attempts: config.max_launch_attempts,
            orphan_after: config.orphan_after,
            cancel_grace: config.cancel_grace,
            limits: Limits {
                stop_claiming: deadline - MARGIN,
                deadline: deadline - SETTLING,
                launch_rate: config.launch_rate,
                try_one_first: self.port.world().written.error == Some(ErrorKind::Aws),
            },
        }
    }

    async fn poll(&self, time: Duration) -> AgentReport {
        let deadline = self.port.now() + time;
        let ledger = ReportBuilder::default();
        let polled = tokio::time::timeout(time.saturating_sub(LAST_WORDS), self.turn(deadline, &ledger)).await;
        if polled.is_err() {
            ledger.trouble(ErrorKind::Deadline, "the poll did not end within the invocation's time");
        }
        let report = ledger.report("no time was left in this invocation");
        if report.error_kind == Some(ErrorKind::Unauthorised) {
            self.is_connected.store(false, Ordering::Relaxed);
        }
        self.port.world().written.error = report.error_kind;
        report
    }

    async fn turn(&self, deadline: OffsetDateTime, ledger: &ReportBuilder) {
        if !self.is_connected.load(Ordering::Relaxed) {
            let remembered = self.port.world().written.registration.clone();
            match self.orchestrator.connect(remembered.as_ref()).await {
                Ok(registration) => {
                    self.port.world().written.registration = registration;
                    self.is_connected.store(true, Ordering::Relaxed);
                }
                Err(error) => return ledger.trouble(error.kind(), &error.to_string()),
            }
        }
        let ports = (&self.orchestrator, &self.launcher, &self.port.clock);
        Iteration::new(self.rules(deadline), ports, ledger, &self.known).run().await;
    }
}
