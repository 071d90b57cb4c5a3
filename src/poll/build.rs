//! From a loaded configuration to an agent that can poll: what names it, its certificate authority, its Prefect API,
//! its platform, and what to do where its credential is refused.

use super::agent::{Agent, Counter, Overrides, Parts, Prefect};
use super::dry_run::{RecordedService, Recorder};
use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::{
    AgentConfig, AgentSecrets, Environment, GenerationConfig, LoadedAgent, Prefect1Config, Prefect3Config, Root, Rules,
    StoredSecret, apply_backend_settings,
};
use crate::documents::{LocalFiles, resolve_text};
use crate::http::hosts::RunHttp;
use crate::http::{Http, Options};
use crate::model::{ApiError, ErrorKind, SetupError};
use crate::platform::{AgentPlatform, AgentSetup, WorkPoolType, ecs};
use crate::prefect1::{Prefect1, Setup};
use crate::prefect3;
use crate::prefect3::Prefect3;
use crate::redaction::Redaction;
use crate::state::Status;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::OnceCell;

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
    /// The way to Prefect, once it was made.
    pub(super) network: SharedNetwork,
}

/// A way to Prefect, made when it is first needed, and once for all that share it; with the agent's own certificate authority.
pub(crate) type SharedNetwork = Arc<OnceCell<(Http, Option<String>)>>;

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
            run_http: builder.run_network(&config).await?,
            root: builder.identity.root.as_ref(),
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
        let if_refused = remedy_for_refused_credential(&config.generation, &secrets, target);
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
        let prefect = PrefectBuilder::of_parameter::<P>(aws, clock, root, agent, &secrets, &Redaction::default());
        let prefect = PrefectBuilder { read_only: false, ..prefect };
        let (counter, overrides) = (Counter::Process(AtomicU64::new(0)), Overrides::default());
        AgentBuilder { prefect, config, counter, status, overrides }.build().await
    }
}

impl<C: Clock + Clone> PrefectBuilder<C> {
    /// For an agent that is configured by a parameter, and whose runs are only looked after: it does not register.
    pub fn of_parameter<P: AgentPlatform<C>>(
        aws: Arc<AwsClients>,
        clock: C,
        root: &Root,
        agent: &LoadedAgent,
        secrets: &AgentSecrets,
        redaction: &Redaction,
    ) -> Self {
        let marked_as = P::marked_as(root.as_str(), &agent.agent);
        let identity = Identity { parameter_arn: agent.arn.clone(), marked_as, root: Some(root.clone()) };
        let (secrets, redaction, local_files) = (secrets.clone(), redaction.clone(), LocalFiles::Refused);
        let (environment, network, recorder) = (Environment::default(), SharedNetwork::default(), None);
        let read_only = true;
        Self { environment, aws, clock, secrets, redaction, identity, local_files, read_only, recorder, network }
    }

    /// The same by a way that others use too. All of them trust the same certificate authorities.
    #[must_use]
    pub(crate) fn sharing(self, network: &SharedNetwork) -> Self {
        Self { network: Arc::clone(network), ..self }
    }

    /// The same for an agent that a file configures, whose documents may be files too.
    #[must_use]
    pub(crate) fn with_local_files(self) -> Self {
        Self { local_files: LocalFiles::Allowed, ..self }
    }

    /// The clients of the process.
    pub(crate) fn aws(&self) -> &Arc<AwsClients> {
        &self.aws
    }

    /// The platform that the agent's runs are launched on. Reads the documents that its configuration names.
    pub(crate) async fn platform<P: AgentPlatform<C>>(&self, config: &AgentConfig) -> Result<P, SetupError> {
        let setup = AgentSetup {
            config,
            secrets: &self.secrets,
            marked_as: &self.identity.marked_as,
            environment: &self.environment,
            aws: &self.aws,
            http: self.network(config).await?,
            run_http: self.run_network(config).await?,
            root: self.identity.root.as_ref(),
            local_files: self.local_files,
            clock: self.clock.clone(),
        };
        P::of_agent(&setup).await
    }

    /// For an agent that is configured by a file, and whose runs are only looked at: it does not register.
    pub fn of_file<P: AgentPlatform<C>>(
        aws: Arc<AwsClients>,
        clock: C,
        (path, environment): (&str, &Environment),
        agent: &LoadedAgent,
        secrets: &AgentSecrets,
        redaction: &Redaction,
    ) -> Self {
        let marked_as = P::marked_as(path, &agent.agent);
        let identity = Identity { parameter_arn: None, marked_as, root: None };
        let (secrets, redaction, environment) = (secrets.clone(), redaction.clone(), environment.clone());
        let (local_files, recorder, network) = (LocalFiles::Allowed, None, SharedNetwork::default());
        let read_only = true;
        Self { environment, aws, clock, secrets, redaction, identity, local_files, read_only, recorder, network }
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
        Prefect1::new(setup, self.recorded(http, RecordedService::Prefect1)).map_err(|error| unusable(&error))
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
        let setup = prefect3::Setup {
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
        let service = RecordedService::Prefect3 { api: config.api.clone() };
        Prefect3::new(setup, self.recorded(http, service)).map_err(|error| unusable(&error))
    }

    /// The way to the agent's Prefect API: by the record, in a dry run.
    fn recorded(&self, http: Http, service: RecordedService) -> Http {
        match &self.recorder {
            Some(recorder) => recorder.before(http, service),
            None => http,
        }
    }

    /// A client that trusts the agent's certificate authority as well: one for all that this makes.
    pub(crate) async fn network(&self, config: &AgentConfig) -> Result<Http, SetupError> {
        if let Some(way) = &self.aws.way {
            return Ok(way.clone());
        }
        self.own_network(config).await.map(|(http, _)| http.clone())
    }

    async fn own_network(&self, config: &AgentConfig) -> Result<&(Http, Option<String>), SetupError> {
        let options = match &config.generation {
            GenerationConfig::One(_) => Options::PREFECT1,
            GenerationConfig::Three(_) => Options::PREFECT3,
        };
        let made = self.network.get_or_try_init(async || {
            let ca_pem = self.ca_pem(config).await?;
            let http = Http::network(options, ca_pem.as_deref());
            let wrong = |error| SetupError { kind: ErrorKind::Configuration, message: format!("ca_bundle: {error}") };
            Ok((http.map_err(wrong)?, ca_pem))
        });
        made.await
    }

    /// The way to addresses that runs name, by the same authority.
    async fn run_network(&self, config: &AgentConfig) -> Result<Arc<RunHttp>, SetupError> {
        let hosts = config.allowed_hosts.clone();
        let http = match &self.aws.way {
            Some(way) => RunHttp::over(hosts, way.clone()),
            None => RunHttp::network(hosts, self.own_network(config).await?.1.clone()),
        };
        Ok(Arc::new(http))
    }

    /// The agent's own certificate authority.
    pub(crate) async fn ca_pem(&self, config: &AgentConfig) -> Result<Option<String>, SetupError> {
        match &config.ca_bundle {
            Some(text) => Ok(Some(resolve_text(text, &self.aws).await.map_err(|error| error.about("ca_bundle"))?)),
            None => Ok(None),
        }
    }
}

/// Key, token or API cannot be put into a request.
fn unusable(error: &ApiError) -> SetupError {
    SetupError { kind: error.kind(), message: error.to_string() }
}

// What names an agent among all agents of all deployments.

/// An agent's place in its deployment, and the deployment's place in the world.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// ARN of the agent's parameter; `None` = configured by a file.
    pub(super) parameter_arn: Option<String>,
    /// `<root>/<agent>`, or what a platform says instead.
    pub(super) marked_as: String,
    /// The root of its parameters, if it has one.
    pub(super) root: Option<Root>,
}

impl Identity {
    /// `<account>/<region>/<root>/<agent>`: the same whenever and wherever this agent polls, and no other agent's. Where no
    /// parameter's ARN tells account and region, `scope` stands for them.
    pub(super) async fn text<E>(&self, scope: impl Future<Output = Result<String, E>>) -> Result<String, E> {
        let scope = match self.parameter_arn.as_deref().and_then(account_and_region) {
            Some((account, region)) => format!("{account}/{region}"),
            None => scope.await?,
        };
        Ok(format!("{scope}/{}", self.marked_as.trim_start_matches('/')))
    }
}

fn account_and_region(arn: &str) -> Option<(String, String)> {
    match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "ssm", region, account, _] if !region.is_empty() && !account.is_empty() => {
            Some(((*account).to_owned(), (*region).to_owned()))
        }
        _ => None,
    }
}

// Pure: what to do about a refused credential, in the words of the agent's own Prefect and place.

/// Where an agent's credentials come from.
#[derive(Debug, Clone, Copy)]
enum ConfiguredIn<'a> {
    /// Parameters, and the environment where there are none.
    Parameters(&'a Root, &'a str),
    /// The environment alone.
    Environment,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy)]
struct RefusedCredential {
    /// For people.
    name: &'static str,
    /// Last part of its parameter's name.
    parameter: &'static str,
    variable: &'static str,
    /// What belongs there.
    wanted: &'static str,
}

const KEY_1: RefusedCredential = RefusedCredential {
    name: "the API key",
    parameter: "api-key",
    variable: "PREFECT__CLOUD__API_KEY",
    wanted: "an API key that Prefect knows",
};
const TOKEN: RefusedCredential = RefusedCredential {
    name: "the token",
    parameter: "auth-token",
    variable: "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
    wanted: "a RUNNER token that Prefect knows",
};
const KEY_3: RefusedCredential = RefusedCredential {
    name: "the API key",
    parameter: "api-key",
    variable: "PREFECT_API_KEY",
    wanted: "an API key that may enter this workspace",
};
const AUTH_STRING: RefusedCredential = RefusedCredential {
    name: "the auth string",
    parameter: "auth-string",
    variable: "PREFECT_API_AUTH_STRING",
    wanted: "the `user:password` that the server was started with",
};

/// Which credential was shown, and what is to be written where.
fn remedy_for_refused_credential(
    generation: &GenerationConfig,
    secrets: &AgentSecrets,
    target: ConfiguredIn<'_>,
) -> String {
    let (shown, wanted): (Option<(RefusedCredential, &StoredSecret)>, Vec<RefusedCredential>) = match generation {
        GenerationConfig::One(one) => {
            let token = secrets.auth_token.as_ref().filter(|_| one.rules == Rules::V0_15);
            let shown = secrets.api_key.as_ref().map(|key| (KEY_1, key)).or(token.map(|token| (TOKEN, token)));
            (shown, vec![KEY_1])
        }
        GenerationConfig::Three(_) => {
            let auth_string = secrets.auth_string.as_ref().map(|auth_string| (AUTH_STRING, auth_string));
            (auth_string.or(secrets.api_key.as_ref().map(|key| (KEY_3, key))), vec![KEY_3, AUTH_STRING])
        }
    };
    let Some((kind, secret)) = shown else {
        let places = wanted.iter().map(|kind| match target {
            ConfiguredIn::Parameters(root, agent) => {
                format!("{} to the parameter {}", kind.wanted, kind.of(root, agent))
            }
            ConfiguredIn::Environment => format!("{} to the environment variable {}", kind.wanted, kind.variable),
        });
        return format!("The agent has no credential: write {}", places.collect::<Vec<_>>().join(", or "));
    };
    let RefusedCredential { name, variable, wanted, .. } = kind;
    match target {
        ConfiguredIn::Parameters(root, agent) if secret.arn.is_some() => {
            format!("It was shown {name} of the parameter {}: write {wanted} there", kind.of(root, agent))
        }
        _ => format!("It was shown {name} of the environment variable {variable}: set {wanted}"),
    }
}

impl RefusedCredential {
    fn of(self, root: &Root, agent: &str) -> String {
        format!("{}/{agent}/{}", root.secrets(), self.parameter)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn identity(arn: Option<&str>, marked_as: &str) -> Identity {
        Identity { parameter_arn: arn.map(str::to_owned), marked_as: marked_as.to_owned(), root: None }
    }

    #[tokio::test]
    async fn a_parameters_arn_tells_account_and_region_and_nobody_is_asked() {
        for (arn, expected) in [
            ("arn:aws:ssm:us-east-2:123456789012:parameter/root/config/etl", "123456789012/us-east-2/root/etl"),
            ("arn:aws-cn:ssm:cn-north-1:210987654321:parameter/root/config/etl", "210987654321/cn-north-1/root/etl"),
        ] {
            let text = identity(Some(arn), "/root/etl").text(std::future::pending::<Result<_, ()>>()).await;
            assert_eq!(text.as_deref(), Ok(expected));
        }
    }

    #[tokio::test]
    async fn elsewhere_the_scope_tells() {
        for (arn, file) in [(None, "etl.yaml"), (Some("arn:aws:iam::1:x"), "other.yaml")] {
            let scope = async { Ok::<_, ()>("123456789012/eu-west-1".to_owned()) };
            let text = identity(arn, &format!("{file}/agent")).text(scope).await;
            assert_eq!(text.unwrap(), format!("123456789012/eu-west-1/{file}/agent"));
        }
    }
}
