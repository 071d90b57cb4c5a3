//! The hook that a platform implements: deploy a flow run.
//!
//! Everything else is the agent's: what is due, claims, retries, reports. A platform is a folder here and a line where the
//! command chooses one. It renders a run into a launch of its own kind, prepares it, starts it once, and finds what it
//! started again.
//!
//! | part | what it does |
//! |---|---|
//! | [`Platform`], [`Place`] | the hook |
//! | [`launch`] | what becomes of a launch, and what follows for the run from that (pure) |
//! | [`client_token`], [`started_by`] | the names of a launch (pure) |
//! | [`ecs`] | ECS tasks |
//! | [`process`] | processes of this machine |

pub mod ecs;
pub mod launch;
pub mod process;

pub use launch::{AfterLaunch, LaunchOutcome, TransientCause};
pub use launch::{LaunchIdentity, client_token, started_by};

use crate::aws::{AgentAws, AwsClients};
use crate::config::{AgentConfig, AgentSecrets, Environment, Root, WorkerRules};
use crate::documents::LocalFiles;
use crate::flow_run::prefect1::{AgentSettings, FlowRun};
use crate::flow_run::prefect3::FlowRunJob;
use crate::http::Http;
use crate::http::hosts::RunHttp;
use crate::model::{ErrorKind, RenderError, SetupError};
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use time::OffsetDateTime;

/// What Prefect says of a run: all that its launch is rendered from.
#[derive(Clone)]
pub enum RunDescription {
    /// Prefect 0.15 and 1: the agent as its API knows it, and the run.
    One(Arc<AgentSettings>, Arc<FlowRun>),
    /// Prefect 2 and 3: the run's job, its template populated and resolved.
    Three(Box<FlowRunJob>),
}

/// A launch, with what a person should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct WithWarning<L> {
    /// The launch.
    pub launch: L,
    /// For people; the same words for the same cause.
    pub warning: Option<String>,
}

/// A deployment that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDeployment {
    /// Names it.
    pub id: String,
    /// How far it is.
    pub progress: Progress,
    /// It was told to stop.
    pub is_stopping: bool,
}

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Started a moment ago; the platform cannot describe it yet.
    Unknown,
    /// The flow cannot have begun.
    Waiting,
    /// The flow may run, or may have run.
    Begun,
}

/// The deployments of a flow run that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveDeployments {
    /// Those that are known.
    pub deployments: Vec<LiveDeployment>,
    /// What could not be looked at, for people: a platform need not tell everything.
    pub warning: Option<String>,
}

/// A deployment that has ended by itself, told by the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedDeployment {
    /// Names it.
    pub id: String,
    /// What named its launch.
    pub identity: LaunchIdentity,
    /// When it ended, as far as that is known.
    pub at: OffsetDateTime,
    /// Why its flow cannot have ended well, for people; `None` = nothing speaks against it.
    pub failure: Option<String>,
}

/// A type of work pool.
#[derive(Debug, Clone, Copy)]
pub struct WorkPoolType {
    /// `type` of the pool.
    pub name: &'static str,
    /// The base job template of a pool that has none, by whose worker fills it: JSON.
    pub template: fn(WorkerRules) -> &'static str,
}

/// Where deployments live and how they are reached: a cluster, a host.
pub trait Place: Clone + Default + PartialEq + Debug + Send + Sync {
    /// What a claim remembers it by.
    fn name(&self) -> String;

    /// The place of this name, reached in the same way as this one.
    #[must_use]
    fn named(self, name: &str) -> Self;

    /// `infrastructure_pid` of a deployment there, as Prefect 2 and 3 keep it.
    fn pid(&self, id: &str) -> String;

    /// The place and the deployment that an `infrastructure_pid` names.
    fn of_pid(pid: &str) -> (Self, String);
}

/// Deploys flow runs.
///
/// The smallest platform there can be renders, launches, and knows what lives:
///
/// ```
#[doc = include_str!("example.rs")]
/// ```
pub trait Platform: Send + Sync {
    /// A launch, rendered: what is to be started, and where.
    type Launch: Send + Sync;
    /// A launch of which nothing is left to decide.
    type Prepared: Send + Sync;
    /// Where deployments live.
    type Place: Place;

    /// What people call a deployment: `task`, `process`.
    const NOUN: &'static str;
    /// The work pools of Prefect 2 and 3 that it serves.
    const WORK_POOL: WorkPoolType;
    /// What trouble of the platform itself counts as, for the report and for health.
    const TROUBLE: ErrorKind;

    /// The launch of a run, or why there is none. May read what the run refers to, and never starts anything.
    fn render(
        &self,
        run: RunDescription,
    ) -> impl Future<Output = Result<WithWarning<Self::Launch>, RenderError>> + Send;

    /// Where a launch goes.
    fn place(&self, launch: &Self::Launch) -> Self::Place;

    /// Looks up and checks what the launch needs. May create what starts nothing, and warns in words that stay the same for
    /// the same cause.
    fn prepare(
        &self,
        launch: &Self::Launch,
        identity: &LaunchIdentity,
    ) -> impl Future<Output = Result<WithWarning<Self::Prepared>, LaunchOutcome>> + Send;

    /// Starts it, once: a launch of the same token starts no other. Ends by `deadline`; what is not known by then is
    /// [`LaunchOutcome::Unknown`].
    fn launch(&self, launch: &Self::Prepared, deadline: OffsetDateTime) -> impl Future<Output = LaunchOutcome> + Send;

    /// The deployments of a run that have not ended. [`LaunchOutcome::Permanent`] = they will never be seen, and a new one
    /// could not be started there either.
    fn live(
        &self,
        place: &Self::Place,
        identity: &LaunchIdentity,
    ) -> impl Future<Output = Result<LiveDeployments, LaunchOutcome>> + Send;

    /// Asks a deployment to stop.
    fn stop(
        &self,
        place: &Self::Place,
        id: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), LaunchOutcome>> + Send;

    /// A deployment as its run's log names it.
    fn shown(&self, id: &str) -> String {
        id.to_owned()
    }

    /// One deployment, whoever started it; `None` = it has ended. One that cannot be looked at is
    /// [`LaunchOutcome::Unknown`].
    fn find(
        &self,
        place: &Self::Place,
        id: &str,
    ) -> impl Future<Output = Result<Option<LiveDeployment>, LaunchOutcome>> + Send {
        let _ = (place, id);
        async { Ok(None) }
    }

    /// The same launch at the place that a claim of the run remembers.
    fn in_place(&self, launch: Self::Launch, claimed: &str) -> Self::Launch {
        let _ = claimed;
        launch
    }

    /// The same launch after so many refusals for want of capacity, and what is different, if anything is.
    fn after_refusals(&self, launch: Self::Launch, capacity_refusals: u32) -> (Self::Launch, Option<String>) {
        let _ = capacity_refusals;
        (launch, None)
    }

    /// How many launches can still start until `deadline`; `None` = any number.
    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        let _ = deadline;
        None
    }

    /// Deployments that have ended and of which Prefect may not know, where the platform itself keeps count. Others are
    /// told of by events.
    fn ended(&self) -> impl Future<Output = Vec<EndedDeployment>> + Send {
        async { Vec::new() }
    }

    /// The clients that reach the ECS tasks of a region (`None` = the agent's own), on a platform whose deployments are such
    /// tasks: events tell of their ends, and polls where no event came.
    fn task_clients(&self, region: Option<String>) -> impl Future<Output = Option<Arc<AgentAws>>> + Send {
        let _ = region;
        async { None }
    }

    /// Prefect knows of the end of this deployment: it need not be told again.
    fn forget(&self, ended: &EndedDeployment) {
        let _ = ended;
    }
}

/// What a platform is made from, for one agent.
pub struct AgentSetup<'a, C> {
    /// The agent's configuration.
    pub config: &'a AgentConfig,
    /// Its secrets.
    pub secrets: &'a AgentSecrets,
    /// As [`AgentPlatform::marked_as`] says.
    pub marked_as: &'a str,
    /// The environment of the process.
    pub environment: &'a Environment,
    /// The clients of the process.
    pub aws: &'a Arc<AwsClients>,
    /// For documents.
    pub http: Http,
    /// For documents that runs name.
    pub run_http: Arc<RunHttp>,
    /// The deployment's root, if it has one.
    pub root: Option<&'a Root>,
    /// Whether paths may name files of this machine.
    pub local_files: LocalFiles,
    /// Time.
    pub clock: C,
}

/// A platform that agents are configured for.
pub trait AgentPlatform<C>: Platform + Sized + 'static {
    /// Without AWS nothing can be launched.
    const NEEDS_AWS: bool;

    /// The platform of an agent.
    fn of_agent(agent: &AgentSetup<'_, C>) -> impl Future<Output = Result<Self, SetupError>> + Send;

    /// Opens connections ahead of the first poll. What goes wrong shows when polling.
    fn warm_up(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Labels that agents of Prefect 1 have on this platform besides those that are configured.
    fn labels(&self) -> Vec<String> {
        Vec::new()
    }

    /// What an agent's claims are marked with. `configured_in`: the root of its parameters, or the path of its file.
    fn marked_as(configured_in: &str, agent: &str) -> String {
        format!("{configured_in}/{agent}")
    }

    /// What two agents of one name must differ in, so that neither takes the other's claims for its own, where no
    /// parameter's ARN tells.
    fn scope(agent: &AgentSetup<'_, C>) -> impl Future<Output = Result<String, SetupError>> + Send;
}
