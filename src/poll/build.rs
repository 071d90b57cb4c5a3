//! From a loaded configuration to an agent that can poll: its certificate authority, its Prefect API, its platform.

use super::agent::{Agent, Counter, Overrides, Parts};
use super::dry_run::{Recorder, Service};
use super::identity::Identity;
use super::prefect::Prefect;
use super::refused::{ConfiguredIn, remedy};
use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::{
    AgentConfig, AgentSecrets, Environment, GenerationConfig, LoadedAgent, Prefect1Config, Prefect3Config, Root,
    apply_backend_settings,
};
use crate::documents::{LocalFiles, resolve_text};
use crate::http::Http;
use crate::http::network::Options;
use crate::model::{ApiError, ErrorKind, SetupError};
use crate::platform::{AgentPlatform, AgentSetup, WorkPoolType, ecs};
use crate::prefect1::api::{Prefect1, Setup};
use crate::prefect3;
use crate::prefect3::api::Prefect3;
use crate::redaction::Redaction;
use crate::state::Status;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What an agent is assembled from.
pub(super) struct AgentBuilder<C> {
    pub(super) prefect: PrefectBuilder<C>,
    pub(super) config: AgentConfig,
    pub(super) counter: Counter,
    pub(super) status: Status,
    pub(super) overrides: Overrides,
}

/// What an agent's way to its Prefect API is made of, besides its configuration.
pub struct PrefectBuilder<C> {
    pub(super) environment: Environment,
    pub(super) aws: Arc<AwsClients>,
    pub(super) clock: C,
    pub(super) secrets: AgentSecrets,
    pub(super) redaction: Redaction,
    pub(super) identity: Identity,
    pub(super) local_files: LocalFiles,
    /// Nothing is registered and the agent shows no sign of life.
    pub(super) read_only: bool,
    /// Set for a dry run: what requests to Prefect pass; those to AWS pass it already.
    pub(super) recorder: Option<Arc<Recorder>>,
}

impl<C: Clock + Clone> AgentBuilder<C> {
    /// Reads what lies elsewhere and builds the agent. Sends nothing to Prefect.
    pub(super) async fn build<P: AgentPlatform<C>>(self) -> Result<Agent<P, C>, SetupError> {
        let Self { prefect: builder, config, counter, status, overrides } = self;
        let http = builder.network(&config).await?;
        let setup = AgentSetup {
            config: &config,
            secrets: &builder.secrets,
            marked_as: &builder.identity.marked_as,
            environment: &builder.environment,
            aws: &builder.aws,
            http: http.clone(),
            local_files: builder.local_files,
            clock: builder.clock.clone(),
        };
        let platform = P::of_agent(&setup).await?;
        let prefect = match &config.generation {
            GenerationConfig::One(one) => {
                let mut one = one.clone();
                let missing = platform.labels().into_iter().filter(|label| !one.labels.contains(label));
                let missing: Vec<_> = missing.collect();
                one.labels.extend(missing);
                Prefect::One(Box::new(builder.prefect1_over(http.clone(), &config, &one)?))
            }
            GenerationConfig::Three(three) => {
                let identity = builder.identity.text(P::scope(&setup)).await?;
                Prefect::Three(Box::new(builder.prefect3_over(
                    http.clone(),
                    &config,
                    three,
                    (identity, P::WORK_POOL),
                )?))
            }
        };
        let PrefectBuilder { clock, secrets, identity, local_files, .. } = builder;
        let Identity { marked_as, root, .. } = identity;
        let target = match (&root, local_files) {
            (Some(root), LocalFiles::Refused) => ConfiguredIn::Parameters(root, &config.agent),
            _ => ConfiguredIn::Environment,
        };
        let if_refused = remedy(&config.generation, &secrets, target);
        let parts = Parts { config, marked_as, if_refused, prefect, counter, status, overrides, platform, clock };
        Ok(Agent::new(parts))
    }
}

impl<P: AgentPlatform<C>, C: Clock + Clone> Agent<P, C> {
    /// An agent that is configured by a parameter, which polls with all that a deployment gives it but `max_polls`.
    /// `status`: what its last poll wrote down.
    pub async fn of_parameter(
        aws: Arc<AwsClients>,
        clock: C,
        root: &Root,
        agent: &LoadedAgent,
        status: Status,
    ) -> Result<Self, SetupError> {
        let wrong = |message| SetupError { kind: ErrorKind::Configuration, message };
        let (config, secrets) = agent.result.clone().map_err(|errors| wrong(errors.to_string()))?;
        let prefect = PrefectBuilder::of_parameter(aws, clock, root, agent, &secrets, &Redaction::default());
        let prefect = PrefectBuilder { read_only: false, ..prefect };
        let (counter, overrides) = (Counter::Process(AtomicU64::new(0)), Overrides::default());
        AgentBuilder { prefect, config, counter, status, overrides }.build().await
    }
}

impl<C: Clock + Clone> PrefectBuilder<C> {
    /// For an agent that is configured by a parameter, and whose runs are only looked after: it does not register.
    pub fn of_parameter(
        aws: Arc<AwsClients>,
        clock: C,
        root: &Root,
        agent: &LoadedAgent,
        secrets: &AgentSecrets,
        redaction: &Redaction,
    ) -> Self {
        let marked_as = format!("{}/{}", root.as_str(), agent.agent);
        let identity = Identity { parameter_arn: agent.arn.clone(), marked_as, root: Some(root.clone()) };
        let (secrets, redaction, local_files) = (secrets.clone(), redaction.clone(), LocalFiles::Refused);
        let environment = Environment::default();
        Self { environment, aws, clock, secrets, redaction, identity, local_files, read_only: true, recorder: None }
    }

    /// Prefect 0.15 and 1.
    pub async fn prefect1(&self, config: &AgentConfig, one: &Prefect1Config) -> Result<Prefect1, SetupError> {
        self.prefect1_over(self.network(config).await?, config, one)
    }

    fn prefect1_over(&self, http: Http, config: &AgentConfig, one: &Prefect1Config) -> Result<Prefect1, SetupError> {
        let clock = self.clock.clone();
        let setup = Setup {
            config: config.clone().with(one.clone()),
            secrets: self.secrets.clone(),
            marked_as: self.identity.marked_as.clone(),
            apply_settings: apply_backend_settings,
            redaction: self.redaction.clone(),
            now: Arc::new(move || clock.now()),
            read_only: self.read_only,
        };
        Prefect1::new(setup, self.recorded(http, Service::Prefect1)).map_err(|error| unusable(&error))
    }

    /// Prefect 2 and 3.
    pub async fn prefect3(&self, config: &AgentConfig, three: &Prefect3Config) -> Result<Prefect3, SetupError> {
        let identity = self.identity.text(ecs::platform::account_and_region(&self.aws)).await?;
        self.prefect3_over(self.network(config).await?, config, three, (identity, ecs::platform::WORK_POOL))
    }

    /// `identity`: names the agent among all of all deployments.
    fn prefect3_over(
        &self,
        http: Http,
        config: &AgentConfig,
        three: &Prefect3Config,
        (identity, pool_type): (String, WorkPoolType),
    ) -> Result<Prefect3, SetupError> {
        let clock = self.clock.clone();
        let session = format!("{}/{}", std::process::id(), clock.now().unix_timestamp_nanos());
        let setup = prefect3::api::Setup {
            config: config.clone().with(three.clone()),
            secrets: self.secrets.clone(),
            marked_as: self.identity.marked_as.clone(),
            identity,
            session,
            region: config.region_name.clone().unwrap_or_else(|| self.aws.region.clone()),
            pool_type,
            redaction: self.redaction.clone(),
            now: Arc::new(move || clock.now()),
            read_only: self.read_only,
        };
        let service = Service::Prefect3 { api: config.api.clone() };
        Prefect3::new(setup, self.recorded(http, service)).map_err(|error| unusable(&error))
    }

    /// The way to the agent's Prefect API: by the record, in a dry run.
    fn recorded(&self, http: Http, service: Service) -> Http {
        match &self.recorder {
            Some(recorder) => recorder.before(http, service),
            None => http,
        }
    }

    /// A client that trusts the agent's certificate authority as well.
    async fn network(&self, config: &AgentConfig) -> Result<Http, SetupError> {
        if let Some(way) = &self.aws.way {
            return Ok(way.clone());
        }
        let options = match &config.generation {
            GenerationConfig::One(_) => Options::PREFECT1,
            GenerationConfig::Three(_) => Options::PREFECT3,
        };
        let ca_pem = match &config.ca_bundle {
            Some(text) => Some(resolve_text(text, &self.aws).await.map_err(|error| error.about("ca_bundle"))?),
            None => None,
        };
        Http::network(options, ca_pem.as_deref())
            .map_err(|error| SetupError { kind: ErrorKind::Configuration, message: format!("ca_bundle: {error}") })
    }
}

/// Key, token or API cannot be put into a request.
fn unusable(error: &ApiError) -> SetupError {
    SetupError { kind: error.kind(), message: error.to_string() }
}
