//! From a loaded configuration to an agent that can poll: its documents, its certificate authority, its clients.

use super::agent::{Agent, Counter, Overrides, Parts};
use super::dry_run::{DryRun, Record};
use super::identity::Identity;
use super::prefect::Prefect;
use super::refused::{ConfiguredIn, remedy};
use crate::aws::{AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{
    AgentConfig, AgentSecrets, Document, DocumentKind, GenerationConfig, LoadedAgent, Prefect1Config, Prefect3Config,
    Root, apply_backend_settings, check_document,
};
use crate::documents::{DocumentError, LocalFiles, load_document, resolve_text, without_query};
use crate::ecs_model::UnknownMembers;
use crate::http::Http;
use crate::http::network::Options;
use crate::launch::accounts::{AgentConnect, AwsConnect};
use crate::launch::rate::LaunchRate;
use crate::model::ErrorKind;
use crate::model::RunRefusal;
use crate::orchestrator::RenderError;
use crate::prefect1::LoadTemplate;
use crate::prefect1::api::{Documents, Prefect1, Setup};
use crate::prefect3;
use crate::prefect3::api::Prefect3;
use crate::redaction::Redaction;
use crate::state::Status;
use serde_json::{Map, Value};
use std::convert;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What an agent is assembled from.
pub(super) struct AgentBuilder<C> {
    pub(super) prefect: PrefectBuilder<C>,
    pub(super) config: AgentConfig,
    pub(super) counter: Counter,
    pub(super) status: Status,
    pub(super) overrides: Overrides,
    /// Set for a dry run: where its requests are noted.
    pub(super) dry_run: Option<Record>,
}

/// What an agent's way to its Prefect API is made of, besides its configuration.
pub struct PrefectBuilder<C> {
    pub(super) aws: Arc<AwsClients>,
    pub(super) clock: C,
    pub(super) secrets: AgentSecrets,
    pub(super) redaction: Redaction,
    pub(super) identity: Identity,
    pub(super) local_files: LocalFiles,
    /// Nothing is registered and the agent shows no sign of life.
    pub(super) read_only: bool,
}

/// Why an agent cannot be assembled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl<C: Clock + Clone> AgentBuilder<C> {
    /// Reads what lies elsewhere and builds the agent. Sends nothing to Prefect.
    pub(super) async fn build(self) -> Result<Agent<C>, BuildError> {
        let Self { prefect: builder, config, counter, status, overrides, dry_run } = self;
        let role = config.assume_role_arn.as_deref();
        let own = builder.aws.for_agent(config.region_name.as_deref(), role).await;
        let prefect = match &config.generation {
            GenerationConfig::One(one) => Prefect::One(Box::new(builder.prefect1(&config, one).await?)),
            GenerationConfig::Three(three) => {
                Prefect::Three(Box::new(builder.prefect3(&config, three, &own.region).await?))
            }
        };
        let PrefectBuilder { aws, clock, secrets, redaction, identity, local_files, .. } = builder;
        let rate = Arc::new(LaunchRate::new(config.launch_rate));
        let connect: AgentConnect<C> = AwsConnect { aws, own, clock, rate, wrap: convert::identity };
        let dry_run = dry_run.map(|record| DryRun::new(&config.agent, redaction, record, &connect));
        let marked_as = identity.marked_as;
        let root = marked_as.strip_suffix(&format!("/{}", config.agent)).map(Root::new);
        let target = match (&root, local_files) {
            (Some(root), LocalFiles::Refused) => ConfiguredIn::Parameters(root, &config.agent),
            _ => ConfiguredIn::Environment,
        };
        let if_refused = remedy(&config.generation, &secrets, target);
        Ok(Agent::new(Parts { config, marked_as, if_refused, prefect, counter, status, overrides, dry_run, connect }))
    }
}

impl<C: Clock + Clone> Agent<C> {
    /// An agent that is configured by a parameter, which polls with all that a deployment gives it but `max_polls`.
    /// `status`: what its last poll wrote down.
    pub async fn of_parameter(
        aws: Arc<AwsClients>,
        clock: C,
        root: &Root,
        agent: &LoadedAgent,
        status: Status,
    ) -> Result<Self, BuildError> {
        let (config, secrets) = agent.result.clone().map_err(|errors| wrong(errors.to_string()))?;
        let prefect = PrefectBuilder::of_parameter(aws, clock, root, agent, &secrets, &Redaction::default());
        let prefect = PrefectBuilder { read_only: false, ..prefect };
        let (counter, overrides) = (Counter::Process(AtomicU64::new(0)), Overrides::default());
        AgentBuilder { prefect, config, counter, status, overrides, dry_run: None }.build().await
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
        let identity = Identity { parameter_arn: agent.arn.clone(), marked_as };
        let (secrets, redaction, local_files) = (secrets.clone(), redaction.clone(), LocalFiles::Refused);
        Self { aws, clock, secrets, redaction, identity, local_files, read_only: true }
    }

    /// Prefect 0.15 and 1.
    pub async fn prefect1(&self, config: &AgentConfig, one: &Prefect1Config) -> Result<Prefect1, BuildError> {
        let http = self.http(Options::PREFECT1, config).await?;
        let (task_definition, run_task_kwargs) = tokio::join!(
            self.document(DocumentKind::TaskDefinition, one.task_definition.as_ref(), config.unknown_members, &http),
            self.document(DocumentKind::RunTaskKwargs, one.run_task_kwargs.as_ref(), config.unknown_members, &http),
        );
        let clock = self.clock.clone();
        let setup = Setup {
            config: config.clone().with(one.clone()),
            secrets: self.secrets.clone(),
            documents: Documents {
                task_definition: task_definition?,
                run_task_kwargs: run_task_kwargs?.unwrap_or_default(),
            },
            marked_as: self.identity.marked_as.clone(),
            apply_settings: apply_backend_settings,
            load_template: template_loader(&self.aws, &http, self.local_files),
            redaction: self.redaction.clone(),
            now: Arc::new(move || clock.now()),
            read_only: self.read_only,
        };
        Prefect1::new(setup, http).map_err(|error| BuildError { kind: error.kind(), message: error.to_string() })
    }

    /// Prefect 2 and 3. `region`: where tasks are launched.
    pub async fn prefect3(
        &self,
        config: &AgentConfig,
        three: &Prefect3Config,
        region: &str,
    ) -> Result<Prefect3, BuildError> {
        let http = self.http(Options::PREFECT3, config).await?;
        let clock = self.clock.clone();
        let session = format!("{}/{}", std::process::id(), clock.now().unix_timestamp_nanos());
        let setup = prefect3::api::Setup {
            config: config.clone().with(three.clone()),
            secrets: self.secrets.clone(),
            marked_as: self.identity.marked_as.clone(),
            identity: self.identity.text(&self.aws).await.map_err(|error| unknown_account(&error))?,
            session,
            region: region.to_owned(),
            redaction: self.redaction.clone(),
            now: Arc::new(move || clock.now()),
            read_only: self.read_only,
        };
        Prefect3::new(setup, http).map_err(|error| BuildError { kind: error.kind(), message: error.to_string() })
    }

    /// The way to Prefect.
    async fn http(&self, options: Options, config: &AgentConfig) -> Result<Http, BuildError> {
        if let Some(way) = &self.aws.way {
            return Ok(way.clone());
        }
        let http = Http::network(options, self.ca_pem(config).await?.as_deref());
        http.map_err(|error| wrong(format!("ca_bundle: {error}")))
    }

    async fn ca_pem(&self, config: &AgentConfig) -> Result<Option<String>, BuildError> {
        match &config.ca_bundle {
            Some(text) => {
                resolve_text(text, &self.aws).await.map(Some).map_err(|error| cannot_read("ca_bundle", &error))
            }
            None => Ok(None),
        }
    }

    async fn document(
        &self,
        which: DocumentKind,
        document: Option<&Document>,
        unknown_members: UnknownMembers,
        http: &Http,
    ) -> Result<Option<Map<String, Value>>, BuildError> {
        match document {
            None => Ok(None),
            Some(Document::Inline(map)) => Ok(Some(map.clone())),
            Some(Document::Path(path)) => {
                let key = match which {
                    DocumentKind::TaskDefinition => "task_definition_path",
                    DocumentKind::RunTaskKwargs => "run_task_kwargs_path",
                };
                let loaded = load_document(path, &self.aws, http, self.local_files).await;
                let document = loaded.map_err(|error| cannot_read(key, &error))?;
                // It is as much the agent's own as what is written in its configuration.
                check_document(which, without_query(path), &document, unknown_members)
                    .map_err(|errors| wrong(format!("{key}: {errors}")))?;
                Ok(Some(document))
            }
        }
    }
}

fn wrong(message: String) -> BuildError {
    BuildError { kind: ErrorKind::Configuration, message }
}

fn unknown_account(error: &AwsError) -> BuildError {
    let message = format!("the AWS account, which the agent's claims are named by, cannot be told: {error}");
    BuildError { kind: ErrorKind::Aws, message }
}

fn cannot_read(key: &str, error: &DocumentError) -> BuildError {
    let kind = match error {
        DocumentError::Wrong(_) => ErrorKind::Configuration,
        DocumentError::Unavailable(_) => ErrorKind::Aws,
    };
    BuildError { kind, message: format!("{key}: {error}") }
}

/// How templates named by run configurations are loaded: what is wrong fails the run, what is out of reach waits.
fn template_loader(aws: &Arc<AwsClients>, http: &Http, local_files: LocalFiles) -> LoadTemplate {
    let (aws, http) = (Arc::clone(aws), http.clone());
    Arc::new(move |path| {
        let (aws, http) = (Arc::clone(&aws), http.clone());
        Box::pin(async move {
            load_document(&path, &aws, &http, local_files).await.map_err(|error| match error {
                DocumentError::Wrong(reason) => RenderError::Refused(RunRefusal(reason)),
                DocumentError::Unavailable(reason) => RenderError::NotNow(reason),
            })
        })
    })
}
