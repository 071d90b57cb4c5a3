//! From a loaded configuration to an agent that can poll: its documents, its certificate authority, its clients.

use super::agent::{Agent, AgentConnect, Counter, Overrides, Parts};
use super::dry_run::{Record, Rehearsal};
use super::identity::Identity;
use super::prefect::Prefect;
use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::{
    AgentConfig, AgentSecrets, Document, Generation, Prefect1Config, Prefect3Config, apply_backend_settings,
};
use crate::documents::{DocumentError, LocalFiles, load_document, resolve_text};
use crate::http_client;
use crate::launch::accounts::AwsConnect;
use crate::launch::rate::LaunchRate;
use crate::orchestrator::{RenderError, RunRefusal};
use crate::prefect1::LoadTemplate;
use crate::prefect1::api::{Documents, Prefect1, Setup};
use crate::prefect3;
use crate::prefect3::api::Prefect3;
use crate::state::{ErrorKind, Status};
use serde_json::{Map, Value};
use std::convert;
use std::sync::Arc;

/// What an agent is assembled from.
pub(super) struct Kit<C> {
    pub(super) aws: Arc<AwsClients>,
    pub(super) clock: C,
    pub(super) config: AgentConfig,
    pub(super) secrets: AgentSecrets,
    pub(super) identity: Identity,
    pub(super) counter: Counter,
    pub(super) status: Status,
    pub(super) local_files: LocalFiles,
    pub(super) overrides: Overrides,
    /// Set for a dry run: where its requests are noted.
    pub(super) dry_run: Option<Record>,
}

/// Why an agent cannot be assembled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Unassembled {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl<C: Clock + Clone> Kit<C> {
    /// Reads what lies elsewhere and builds the agent. Sends nothing to Prefect.
    pub(super) async fn assemble(self) -> Result<Agent<C>, Unassembled> {
        let ca_pem = match &self.config.ca_bundle {
            Some(text) => Some(resolve_text(text, &self.aws).await.map_err(|error| cannot_read("ca_bundle", &error))?),
            None => None,
        };
        let http = match &self.config.generation {
            Generation::One(_) => http_client::client(ca_pem.as_deref()),
            Generation::Three(_) => http_client::client_idle_for(http_client::WORKER_IDLE_TIMEOUT, ca_pem.as_deref()),
        };
        let http = http.map_err(|error| wrong(format!("ca_bundle: {error}")))?;
        let role = self.config.assume_role_arn.as_deref();
        let own = self.aws.for_agent(self.config.region_name.as_deref(), role).await;
        let prefect = match self.config.generation.clone() {
            Generation::One(one) => Prefect::One(Box::new(self.prefect1(one, http).await?)),
            Generation::Three(three) => Prefect::Three(Box::new(self.prefect3(three, &own.region, http).await?)),
        };
        let Self { aws, config, secrets, identity, counter, status, clock, overrides, dry_run, .. } = self;
        let rate = Arc::new(LaunchRate::new(config.launch_rate));
        let connect: AgentConnect<C> = AwsConnect { aws, own, clock, rate, wrap: convert::identity };
        let rehearsal = dry_run.map(|record| Rehearsal::new(&config.agent, &secrets, record, &connect));
        let marked_as = identity.marked_as;
        Ok(Agent::new(Parts { config, marked_as, prefect, counter, status, overrides, rehearsal, connect }))
    }

    async fn prefect1(&self, one: Prefect1Config, http: reqwest::Client) -> Result<Prefect1, Unassembled> {
        let (task_definition, run_task_kwargs) = tokio::join!(
            self.document("task_definition_path", one.task_definition.as_ref(), &http),
            self.document("run_task_kwargs_path", one.run_task_kwargs.as_ref(), &http),
        );
        let setup = Setup {
            config: self.config.clone().with(one),
            secrets: self.secrets.clone(),
            documents: Documents {
                task_definition: task_definition?,
                run_task_kwargs: run_task_kwargs?.unwrap_or_default(),
            },
            marked_as: self.identity.marked_as.clone(),
            apply_settings: apply_backend_settings,
            load_template: template_loader(&self.aws, &http, self.local_files),
            read_only: self.dry_run.is_some(),
        };
        Prefect1::new(setup, http).map_err(|error| Unassembled { kind: error.kind(), message: error.to_string() })
    }

    async fn prefect3(
        &self,
        three: Prefect3Config,
        region: &str,
        http: reqwest::Client,
    ) -> Result<Prefect3, Unassembled> {
        let clock = self.clock.clone();
        let session = format!("{}/{}", std::process::id(), clock.now().unix_timestamp_nanos());
        let setup = prefect3::api::Setup {
            config: self.config.clone().with(three),
            secrets: self.secrets.clone(),
            marked_as: self.identity.marked_as.clone(),
            identity: self.identity.text(&self.aws).await?,
            session,
            region: region.to_owned(),
            now: Arc::new(move || clock.now()),
            read_only: self.dry_run.is_some(),
        };
        Prefect3::new(setup, http).map_err(|error| Unassembled { kind: error.kind(), message: error.to_string() })
    }

    async fn document(
        &self,
        key: &str,
        document: Option<&Document>,
        http: &reqwest::Client,
    ) -> Result<Option<Map<String, Value>>, Unassembled> {
        match document {
            None => Ok(None),
            Some(Document::Inline(map)) => Ok(Some(map.clone())),
            Some(Document::Path(path)) => {
                let loaded = load_document(path, &self.aws, http, self.local_files).await;
                loaded.map(Some).map_err(|error| cannot_read(key, &error))
            }
        }
    }
}

fn wrong(message: String) -> Unassembled {
    Unassembled { kind: ErrorKind::Configuration, message }
}

fn cannot_read(key: &str, error: &DocumentError) -> Unassembled {
    let kind = match error {
        DocumentError::Wrong(_) => ErrorKind::Configuration,
        DocumentError::Unavailable(_) => ErrorKind::Aws,
    };
    Unassembled { kind, message: format!("{key}: {error}") }
}

/// How templates named by run configurations are loaded: what is wrong fails the run, what is out of reach waits.
fn template_loader(aws: &Arc<AwsClients>, http: &reqwest::Client, local_files: LocalFiles) -> LoadTemplate {
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
