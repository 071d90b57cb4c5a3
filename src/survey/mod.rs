//! What the runs of an agent would ask of AWS: every deployment of its pool, rendered by the code that renders its runs, and
//! what follows from that. Nothing is written, and what cannot be asked is said to be unknown.
//!
//! | part | what it does |
//! |---|---|
//! | [`survey`] | reads the pool (thin) |
//! | `renderer` | runs → launches, by the code that launches them (thin), and what requests are shown without (pure) |
//! | [`needs`] | requests → clusters, roles, log groups, images, …, each with who asks for it (pure) |
//! | [`difference`] | what is asked of ECS otherwise than by Prefect's own agent or worker (pure) |
//! | [`place`] | where launches go and whose credentials take them there (pure) |

pub mod difference;
pub mod needs;
pub mod place;
mod renderer;

pub use difference::{Difference, differences};
pub use needs::{Asked, Needs, PlaceNeeds};
pub use place::{Home, LaunchPlace, Reach};

use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::{AgentConfig, GenerationConfig};
use crate::flow_run::prefect1::FlowRun;
use crate::model::SetupError;
use crate::orchestrator::Orchestrator;
use crate::platform::ecs::AgentEcs;
use crate::platform::ecs::NetworkLookup;
use crate::platform::ecs::guarded::Judgement;
use crate::platform::ecs::prefect1::{TemplatePlace, template_path};
use crate::platform::{Platform, RunDescription};
use crate::poll::PrefectBuilder;
use crate::prefect1::{LastRuns, Prefect1};
use crate::prefect3::{ListedPool, PoolSurvey};
use crate::transport::shape::text_at;
use renderer::{Asker, LaunchRenderer, asked_by_defaults};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::time::Instant;

/// How the launch of a run that names nothing itself is called.
pub const DEFAULTS: &str = "the defaults";

/// What is known of an agent's runs.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Where the functions run.
    pub home: Home,
    /// The work pool, with Prefect 2 and 3.
    pub pool: Option<PoolSurvey>,
    /// A run of the pool's or the agent's own defaults. Not rendered for a pool of another type than `ecs`.
    pub defaults: Option<SurveyedLaunch>,
    /// One run of each deployment. None for a pool of another type than `ecs`. With Prefect 1, one for each run configuration
    /// of the last flow runs.
    pub launches: Vec<SurveyedLaunch>,
    /// Prefect 1: why the last flow runs are not known.
    pub runs_unread: Option<String>,
    /// Prefect 1: there are more flow runs than were read.
    pub are_runs_truncated: bool,
    /// All that the launches that count ask for ([`Survey::counted_launches`]), and the configuration itself.
    pub needs: Needs,
}

/// How a run would be launched.
#[derive(Debug, Clone, PartialEq)]
pub struct SurveyedLaunch {
    /// Whose run it is: `flow/deployment`.
    pub asker: String,
    /// Id of the deployment.
    pub deployment_id: Option<String>,
    /// The agent serves its queue.
    pub is_served: bool,
    /// Its launch, or why there is none.
    pub rendered: Result<RenderedLaunch, Unrendered>,
}

/// Why a run has no launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrendered {
    /// In the words of the run's own failure.
    pub why: String,
    /// It is known that it never has one; else it could not be told now.
    pub is_certain: bool,
}

/// The requests of a launch. Values of variables and options of logs are left out: keys are among them.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedLaunch {
    /// Where it goes.
    pub place: LaunchPlace,
    /// The task definition.
    pub definition: SurveyedDefinition,
    /// `RunTask`, without what is known only when it is sent: `taskDefinition`, a network that is looked up, `clientToken`,
    /// `startedBy`.
    pub run_task: Map<String, Value>,
    /// The network that is looked up.
    pub network: Option<NetworkLookup>,
    /// Name of the container that runs the flow.
    pub flow_container: String,
    /// Its definition is to be deregistered when its task has stopped, if it was registered for it.
    pub deregisters: bool,
    /// What a poll would warn of.
    pub warning: Option<String>,
    /// What is asked for otherwise than by Prefect's own agent or worker; `None` = a definition that exists is not known,
    /// and so the request is not either.
    pub differences: Option<Vec<Difference>>,
    /// What the agent's guardrails say of it; `None` = it has none, or what it asks for is not known.
    pub judgement: Option<Judgement>,
}

impl RenderedLaunch {
    /// Whether its task runs on Fargate; `None` = its cluster decides.
    pub fn is_on_fargate(&self) -> Option<bool> {
        let strategy = self.run_task.get("capacityProviderStrategy").and_then(Value::as_array);
        let mut providers = strategy.into_iter().flatten().filter_map(|entry| text_at(entry, &["capacityProvider"]));
        match (providers.next(), self.run_task.get("launchType").and_then(Value::as_str)) {
            (Some(provider), _) => Some(["FARGATE", "FARGATE_SPOT"].contains(&provider)),
            (None, Some(launch_type)) => Some(launch_type == "FARGATE"),
            (None, None) => None,
        }
    }
}

/// The task definition of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum SurveyedDefinition {
    /// `RegisterTaskDefinition`.
    Register(Map<String, Value>),
    /// One that exists.
    Named {
        /// ARN, family or `family:revision`.
        name: String,
        /// What AWS says of it, or why that is not known.
        described: Result<Map<String, Value>, Undescribed>,
    },
}

/// Why it is not known what a task definition says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Undescribed {
    /// In AWS's words, where it was asked.
    pub why: String,
    /// There is none of that name, or none any more; else it could not be told.
    pub is_missing: bool,
}

/// It could not be told.
impl From<&str> for Undescribed {
    fn from(why: &str) -> Self {
        Self { why: why.to_owned(), is_missing: false }
    }
}

impl SurveyedDefinition {
    /// What it says, as far as that is known.
    pub fn said(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Register(body) => Some(body),
            Self::Named { described, .. } => described.as_ref().ok(),
        }
    }
}

/// Reads the agent's pool, with at most `most` deployments, and renders. `deadline`: for the requests to Prefect.
pub async fn survey<C: Clock + Clone>(
    prefect: &PrefectBuilder<C>,
    config: &AgentConfig,
    home: Home,
    most: usize,
    deadline: Instant,
) -> Result<Survey, SurveyError> {
    survey_known(prefect, config, home, None, most, deadline).await
}

/// The same. `known`: the agent's pool, if it was read already.
pub async fn survey_known<C: Clock + Clone>(
    prefect: &PrefectBuilder<C>,
    config: &AgentConfig,
    home: Home,
    known: Option<ListedPool>,
    most: usize,
    deadline: Instant,
) -> Result<Survey, SurveyError> {
    match &config.generation {
        GenerationConfig::One(one) => {
            let api = prefect.prefect1(config, one).await?;
            api.set_deadline(Some(deadline));
            // Who the agent is to Prefect; nothing is registered.
            api.connect(None).await.map_err(SurveyError::Prefect)?;
            let platform = prefect.platform::<AgentEcs<C>>(config).await;
            Ok(survey_1(&api, platform, prefect.aws(), config, home).await)
        }
        GenerationConfig::Three(three) => {
            let api = prefect.prefect3(config, three).await?;
            api.set_deadline(Some(deadline));
            let pool = api.survey(known, most).await.map_err(SurveyError::Prefect)?;
            let (launches, needs) = (Vec::new(), Needs::of_configuration(config));
            let mut survey = Survey {
                home,
                pool: None,
                defaults: None,
                launches,
                runs_unread: None,
                are_runs_truncated: false,
                needs,
            };
            if pool.pool.kind == AgentEcs::<C>::WORK_POOL.name {
                let (defaults, described) = api.describe_surveyed(&pool.deployments).await;
                let platform = prefect.platform::<AgentEcs<C>>(config).await;
                let renderer = LaunchRenderer { platform, aws: prefect.aws(), config };
                let mut all = vec![(asked_by_defaults(), defaults)];
                all.extend(pool.deployments.iter().zip(described).map(|(deployment, described)| {
                    let asker = Asker {
                        name: deployment.name.clone(),
                        deployment_id: deployment.id.clone(),
                        is_served: deployment.is_served_by(&three.work_queues),
                    };
                    (asker, described)
                }));
                let launches = renderer.launches(all, &survey.home).await;
                survey.pool = Some(pool);
                survey.take(launches);
            } else {
                survey.pool = Some(pool);
            }
            Ok(survey)
        }
    }
}

/// Why nothing can be known.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SurveyError {
    /// The way to Prefect cannot be made.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// Prefect does not tell of the pool.
    #[error("{0}")]
    Prefect(crate::model::ApiError),
}

async fn survey_1<C: Clock + Clone>(
    api: &Prefect1,
    platform: Result<AgentEcs<C>, SetupError>,
    aws: &Arc<AwsClients>,
    config: &AgentConfig,
    home: Home,
) -> Survey {
    let mut needs = Needs::of_configuration(config);
    let mut all = vec![(asked_by_defaults(), Ok(api.describe_imagined(FlowRun::imagined())))];
    let (runs_unread, are_runs_truncated) = match api.describe_last().await {
        Ok(LastRuns { described, is_truncated }) => {
            all.extend(described.into_iter().map(|(name, description)| {
                if let Ok(RunDescription::One(agent, run)) = &description
                    && let Ok(Some(path)) = template_path(agent, run)
                    && path.place == TemplatePlace::Remote
                {
                    needs.refers(Some(&path.written), &run.flow.name);
                }
                (Asker { name, deployment_id: None, is_served: true }, description)
            }));
            (None, is_truncated)
        }
        Err(error) => (Some(error.to_string()), false),
    };
    let rendered = LaunchRenderer { platform, aws, config }.launches(all, &home).await;
    let launches = Vec::new();
    let mut survey = Survey { home, pool: None, defaults: None, launches, runs_unread, are_runs_truncated, needs };
    survey.take(rendered);
    survey
}

impl Survey {
    /// The launches that count: those of the served deployments; that of the defaults where there are none, and always with
    /// Prefect 1, where they are the agent's own.
    pub fn counted_launches(&self) -> impl Iterator<Item = &SurveyedLaunch> {
        let served = || self.launches.iter().filter(|launch| launch.is_served);
        let is_prefect_1 = self.pool.is_none();
        let defaults = self.defaults.iter().filter(move |_| is_prefect_1 || served().next().is_none());
        served().chain(defaults)
    }

    /// The launch of the defaults first.
    fn take(&mut self, launches: Vec<SurveyedLaunch>) {
        let mut launches = launches.into_iter();
        self.defaults = launches.next();
        self.launches = launches.collect();
        let mut needs = std::mem::take(&mut self.needs);
        for launch in self.counted_launches() {
            if let Ok(rendered) = &launch.rendered {
                needs.add(&launch.asker, rendered);
            }
        }
        self.needs = needs;
    }
}
