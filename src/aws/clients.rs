//! All clients of a process: built once, sharing one HTTP client and one set of credentials.

use super::AwsError;
use super::credentials::{self, Cached};
use super::credentials::{AssumedRole, Sts};
use super::ecs::Ecs;
use super::http::AwsHttp;
use super::services::{Ec2, Lambda, Logs, S3};
use super::signed::{Endpoints, Service, Signed};
use super::sqs::Sqs;
use super::ssm::Ssm;
use crate::config::Environment;
use crate::http::{Http, Options};
use crate::model::RoleToAssume;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

#[cfg(test)]
mod accounts_tests;
#[cfg(test)]
mod tests;

/// The longest an operation takes, with all its attempts.
const OPERATION: Duration = Duration::from_secs(20);

/// Name of our sessions in an assumed role, as `CloudTrail` shows it.
const SESSION_NAME: &str = "prefect-serverless-agent";

/// The clients of the function itself, and those of the agents' regions and roles.
#[derive(Debug)]
pub struct AwsClients {
    /// Region of the function: where its parameters are, and where tasks go unless an agent says otherwise.
    pub region: String,
    /// Parameter Store.
    pub ssm: Ssm,
    /// Objects that configurations point to; read as the function itself.
    pub s3: S3,
    /// The functions of this deployment.
    pub lambda: Lambda,
    /// The queues of what happened to tasks.
    pub sqs: Sqs,
    /// By which also requests to Prefect leave; none: the network.
    pub(crate) way: Option<Http>,
    sdk: SdkConfig,
    pub(super) own: Signed,
    pub(super) account: OnceCell<String>,
    agents: Mutex<HashMap<AgentKey, Arc<AgentAws>>>,
}

/// Where there are none.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(no_credentials().0)))
    }
}

/// Region and role.
type AgentKey = (String, Option<RoleToAssume>);

/// The clients with which an agent launches.
#[derive(Debug)]
pub struct AgentAws {
    /// Where tasks are launched.
    pub region: String,
    /// Tasks.
    pub ecs: Ecs,
    /// The default network.
    pub ec2: Ec2,
    /// What containers wrote.
    pub logs: Logs,
    pub(super) signed: Signed,
}

/// The clients cannot be built: no region, no credentials, an unusable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up the AWS clients: {0}")]
pub struct ClientsError(pub String);

impl AwsClients {
    /// Builds the clients from the environment's region, credentials and endpoints, as every Lambda function has them,
    /// without any network traffic.
    pub fn from_env(environment: &Environment) -> Result<Self, ClientsError> {
        Self::with_limits(environment, Options::AWS, AwsHttp::ATTEMPT)
    }

    /// The same, with limits of one's own.
    pub fn with_limits(environment: &Environment, options: Options, attempt: Duration) -> Result<Self, ClientsError> {
        Self::sending(network(environment, options, attempt)?, environment)
    }

    /// The same, whose requests leave by this way, and so do those to Prefect of the agents that are built with them.
    pub fn over(http: Http, environment: &Environment) -> Result<Self, ClientsError> {
        let aws = Self::sending(AwsHttp::new(http.clone(), AwsHttp::ATTEMPT), environment)?;
        Ok(Self { way: Some(http), ..aws })
    }

    /// The same, whose requests go `way` first.
    #[must_use]
    pub fn through(&self, way: impl FnOnce(Http) -> Http) -> Self {
        let credentials = SharedCredentialsProvider::new(self.own.credentials().clone());
        Self::assemble(self.region.clone(), credentials, self.own.endpoints.clone(), self.own.http.through(way))
    }

    /// Opens a connection to Parameter Store ahead of its use. Best effort.
    pub async fn open_parameter_store(&self) {
        self.own.warm_up(Service::Ssm).await;
    }

    fn sending(http: AwsHttp, environment: &Environment) -> Result<Self, ClientsError> {
        let region = region(environment).ok_or_else(no_region)?;
        let credentials = credentials::from_env(environment).ok_or_else(no_credentials)?;
        let endpoints = Endpoints::from_env(environment).map_err(ClientsError)?;
        Ok(Self::assemble(region, SharedCredentialsProvider::new(credentials), endpoints, http))
    }

    /// The same for a person's machine: what the environment lacks is looked for where AWS tools look (profiles,
    /// container and instance roles), which takes longer. A way of its own, because the functions never need what it
    /// links (0.3 MB of their zip, with the SDK's own way of assuming roles and its traces).
    pub async fn from_default_chain(environment: &Environment) -> Result<Self, ClientsError> {
        let mut endpoints = Endpoints::from_env(environment).map_err(ClientsError)?;
        let http = network(environment, Options::AWS, AwsHttp::ATTEMPT)?;
        let (region, credentials) = match (region(environment), credentials::from_env(environment)) {
            (Some(region), Some(credentials)) => (region, SharedCredentialsProvider::new(credentials)),
            (region, _) => {
                let found = default_chain(region, http.clone()).await;
                endpoints.fips = endpoints.fips.or(found.use_fips());
                endpoints.dual_stack = endpoints.dual_stack.or(found.use_dual_stack());
                let region = found.region().ok_or_else(no_region)?.to_string();
                (region, found.credentials_provider().ok_or_else(no_credentials)?)
            }
        };
        Ok(Self::assemble(region, credentials, endpoints, http))
    }

    /// The same where AWS is not needed: without region or credentials in the environment, whatever needs AWS says that
    /// there are none.
    pub fn as_far_as_configured(environment: &Environment) -> Result<Self, ClientsError> {
        let endpoints = Endpoints::from_env(environment).map_err(ClientsError)?;
        let http = network(environment, Options::AWS, AwsHttp::ATTEMPT)?;
        let region = region(environment).unwrap_or_else(|| "us-east-1".to_owned());
        let credentials = credentials::from_env(environment)
            .map_or_else(|| SharedCredentialsProvider::new(NoCredentials), SharedCredentialsProvider::new);
        Ok(Self::assemble(region, credentials, endpoints, http))
    }

    fn assemble(region: String, credentials: SharedCredentialsProvider, endpoints: Endpoints, http: AwsHttp) -> Self {
        let credentials = Cached::new(credentials);
        let sdk = base(region.clone(), SharedCredentialsProvider::new(credentials.clone()), &endpoints, http.clone());
        let own = Signed::new(&region, endpoints, http, credentials);
        Self {
            ssm: Ssm::new(ssm_client(&sdk, &own.endpoints)),
            s3: S3::new(own.clone()),
            lambda: Lambda::new(own.clone()),
            sqs: Sqs::new(own.clone()),
            region,
            way: None,
            sdk,
            own,
            account: OnceCell::new(),
            agents: Mutex::default(),
        }
    }

    /// The clients for an agent's region (default: the function's own) and role to assume. Built once per process;
    /// a role is assumed at the first call that needs it.
    pub async fn for_agent(&self, region: Option<&str>, role: Option<&RoleToAssume>) -> Arc<AgentAws> {
        let key = (region.unwrap_or(&self.region).to_owned(), role.cloned());
        let mut agents = self.agents.lock().await;
        if let Some(known) = agents.get(&key) {
            return known.clone();
        }
        let built = Arc::new(self.build(&key.0, role));
        agents.insert(key, built.clone());
        built
    }

    fn build(&self, region: &str, role: Option<&RoleToAssume>) -> AgentAws {
        let mut signed = self.own.in_region(region);
        if let Some(role) = role {
            // With the function's own credentials, at the STS of the function's own region.
            let external_id = role.external_id.as_deref().map(|id| ("ExternalId", id));
            let names =
                [("RoleArn", role.arn.as_str()), ("RoleSessionName", SESSION_NAME)].into_iter().chain(external_id);
            let parameters = names.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>();
            let assumed = AssumedRole::new(Sts::new(self.own.clone()), parameters);
            signed = signed.with(Cached::new(SharedCredentialsProvider::new(assumed)));
        }
        self.agent_aws(signed)
    }

    /// All clients with this region, these endpoints and credentials.
    pub(super) fn agent_aws(&self, signed: Signed) -> AgentAws {
        let mut sdk = self.sdk.to_builder().region(Region::new(signed.region.clone()));
        // The base configuration's identity cache, if any, belongs to the base credentials.
        sdk.set_identity_cache(None);
        let credentials = SharedCredentialsProvider::new(signed.credentials().clone());
        let sdk = sdk.credentials_provider(credentials).build();
        AgentAws {
            region: signed.region.clone(),
            ecs: ecs(sdk, &signed.endpoints),
            ec2: Ec2::new(signed.clone()),
            logs: Logs::new(signed.clone()),
            signed,
        }
    }
}

fn region(environment: &Environment) -> Option<String> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")).cloned()
}

fn no_region() -> ClientsError {
    ClientsError("no region: set AWS_REGION".into())
}

fn no_credentials() -> ClientsError {
    ClientsError("no AWS credentials".into())
}

fn network(environment: &Environment, options: Options, attempt: Duration) -> Result<AwsHttp, ClientsError> {
    let Some(path) = environment.get("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        let http = Http::network(options, None).map_err(|error| ClientsError(error.to_string()))?;
        return Ok(AwsHttp::new(http, attempt));
    };
    let wrong = |error: &dyn std::fmt::Display| ClientsError(format!("AWS_CA_BUNDLE {path}: {error}"));
    let pem = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let http = Http::network(options, Some(&pem)).map_err(|error| wrong(&error))?;
    Ok(AwsHttp::new(http, attempt))
}

/// The configuration under all SDK clients.
fn base(region: String, credentials: SharedCredentialsProvider, endpoints: &Endpoints, http: AwsHttp) -> SdkConfig {
    let mut sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(credentials)
        .http_client(http)
        .time_source(SystemTimeSource::new())
        .sleep_impl(TokioSleep::new())
        .retry_config(retries())
        .timeout_config(timeouts())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    sdk.set_use_fips(endpoints.fips);
    sdk.set_use_dual_stack(endpoints.dual_stack);
    sdk.build()
}

/// What AWS tools find on this machine.
async fn default_chain(region: Option<String>, http: AwsHttp) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries())
        .timeout_config(timeouts())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    loader.load().await
}

/// Reads are repeated twice, soon: a poll has seconds, not minutes. Writes that must not be repeated say so themselves.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(2))
}

/// Single attempts are limited by the HTTP client.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(OPERATION).build()
}

fn ssm_client(sdk: &SdkConfig, endpoints: &Endpoints) -> aws_sdk_ssm::Client {
    let mut config = aws_sdk_ssm::config::Builder::from(sdk);
    if let Some(url) = endpoints.overridden(Service::Ssm) {
        // Somebody's own address is taken as it is.
        config = config.endpoint_url(url).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_ssm::Client::from_conf(config.build())
}

fn ecs(sdk: SdkConfig, endpoints: &Endpoints) -> Ecs {
    let overridden = endpoints.overridden(Service::Ecs).map(str::to_owned);
    Ecs::new(move || {
        let mut config = aws_sdk_ecs::config::Builder::from(&sdk);
        if let Some(url) = overridden {
            config = config.endpoint_url(url).use_fips(false).use_dual_stack(false);
        }
        aws_sdk_ecs::Client::from_conf(config.build())
    })
}

// Clients for an account that a run's own credentials lead to.

/// Where to, and with whose credentials, where that is not the agent's own. Its debug text tells no secret.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Region of the calls, that to STS too; `None` = the agent's.
    pub region: Option<String>,
    /// Access keys; `None` = the agent's own credentials.
    pub keys: Option<Credentials>,
    /// Parameters of `AssumeRole` in the API's own spelling; `None` = the credentials are used as they are.
    pub role: Option<Map<String, Value>>,
    /// Address of ECS and EC2, instead of those that the environment or the region names.
    pub endpoint_url: Option<String>,
}

impl AwsClients {
    /// The clients of an agent whose clients are `own`, for another account. Sends nothing: a role is assumed by
    /// [`AgentAws::renew`], or at the first call, and again shortly before its credentials end.
    pub fn for_account(&self, own: &AgentAws, account: &Account) -> AgentAws {
        let region = account.region.as_deref().unwrap_or(&own.region);
        let mut signed = own.signed.in_region(region);
        if let Some(keys) = &account.keys {
            signed = signed.with(Cached::new(SharedCredentialsProvider::new(keys.clone())));
        }
        if let Some(role) = &account.role {
            let assumed = AssumedRole::new(Sts::new(signed.clone()), role.clone());
            signed = signed.with(Cached::new(SharedCredentialsProvider::new(assumed)));
        }
        if let Some(url) = &account.endpoint_url {
            signed.endpoints = Endpoints::everywhere(url);
        }
        self.agent_aws(signed)
    }

    /// Number of the account whose credentials the process has. Asked for once.
    pub async fn account(&self) -> Result<String, AwsError> {
        let known = self.account.get_or_try_init(|| async { Sts::new(self.own.clone()).account().await }).await;
        known.cloned()
    }
}

impl AgentAws {
    /// Makes sure that there are credentials that last a while: assumes the role where there is one and it is time.
    pub async fn renew(&self) -> Result<(), AwsError> {
        self.signed.credentials().renew().await
    }

    /// Opens a connection to ECS, where a launch goes first. Best effort; nothing is signed.
    pub async fn warm_up(&self) {
        self.signed.warm_up(Service::Ecs).await;
    }
}
