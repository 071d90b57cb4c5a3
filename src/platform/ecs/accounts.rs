//! The launcher of an agent: with the agent's own credentials, and with those that runs bring along for other accounts.

use super::definitions::SingleFlight;
use super::launcher::LaunchRate;
use super::outcome::{Origin, refusal};
use super::target::AwsCredentials;
use super::{
    LaunchIdentity, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveDeployment, LiveDeployments, PreparedLaunch,
    WithWarning,
};
use crate::aws::{Account, AgentAws, AwsClients, AwsError};
use crate::clock::Clock;
use crate::http::hosts::AllowedHosts;
use crate::model::RunRefusal;
use crate::panics::lock;
use crate::platform::TransientCause;
use crate::platform::ecs::launcher::EcsLauncher;
use aws_credential_types::Credentials;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;

/// So many accounts are remembered with their clients, task definitions and networks; the one that was not used for
/// longest makes room for a new one.
const REMEMBERED: usize = 16;

/// Launches with the agent's own credentials, or with those of a run. Kept for the life of the process.
pub struct AccountsLauncher<T: Connect, C> {
    own: T::Launcher,
    connect: T,
    clock: C,
    /// Where endpoints that runs name may lie.
    hosts: AllowedHosts,
    /// Accounts of runs by the fingerprints of their credentials, the last one used at the end.
    others: Mutex<Vec<(String, Arc<Other<T>>)>>,
}

/// An account that is not the agent's own.
struct Other<T: Connect> {
    launcher: T::Launcher,
    session: T::Session,
    /// Many runs wait for one renewal, and share its answer.
    renewal: SingleFlight<Result<(), AwsError>>,
}

impl<C: Clock + Clone> AccountsLauncher<AwsConnect<C>, C> {
    /// The launcher of an agent.
    pub fn of_agent(connect: AwsConnect<C>, hosts: AllowedHosts) -> Self {
        Self { hosts, ..Self::new(connect.launcher(&connect.own), connect.clock.clone(), connect) }
    }
}

impl<C: Clock + Clone> AccountsLauncher<AwsConnect<C>, C> {
    /// Opens the connections of the agent's own account.
    pub async fn warm_up(&self) {
        self.connect.own.warm_up().await;
    }
}

impl<T: Connect, C: Clock> AccountsLauncher<T, C> {
    /// `own` launches with the agent's own credentials.
    pub fn new(own: T::Launcher, clock: C, connect: T) -> Self {
        Self { own, connect, clock, hosts: AllowedHosts::default(), others: Mutex::default() }
    }

    /// Where these credentials lead; `None` = the agent's own account. Its credentials are good for a while.
    async fn elsewhere(&self, credentials: &AwsCredentials) -> Result<Option<Arc<Other<T>>>, LaunchOutcome> {
        if credentials.are_the_agents_own() {
            return Ok(None);
        }
        let account = account(credentials, &self.hosts).map_err(|refusal| LaunchOutcome::Permanent(refusal.0))?;
        if account == Account::default() {
            return Ok(None);
        }
        let other = self.known(credentials.fingerprint(), || {
            let (launcher, session) = self.connect.connect(&account);
            Other { launcher, session, renewal: SingleFlight::default() }
        });
        let renew = async { Ok(self.connect.renew(&other.session).await) };
        match other.renewal.share(renew).await? {
            Ok(()) => Ok(Some(other)),
            Err(error) => Err(no_credentials(error, credentials)),
        }
    }

    fn known(&self, fingerprint: String, connect: impl FnOnce() -> Other<T>) -> Arc<Other<T>> {
        let mut others = lock(&self.others);
        let known = others.iter().position(|(known, _)| *known == fingerprint);
        let other = match known {
            Some(index) => others.remove(index).1,
            None => Arc::new(connect()),
        };
        if others.len() == REMEMBERED {
            others.remove(0);
        }
        others.push((fingerprint, Arc::clone(&other)));
        other
    }
}

/// What it means that these credentials cannot be had. Only a role has to be asked for.
fn no_credentials(error: AwsError, credentials: &AwsCredentials) -> LaunchOutcome {
    let origin = Origin { run_sets: &credentials.set_by_run, ..Origin::nobodys() };
    refusal("AssumeRole", error, &origin)
}

fn no_time() -> LaunchOutcome {
    LaunchOutcome::Transient {
        reason: "No time was left to get the credentials that the run brings along".into(),
        cause: TransientCause::NoTime,
    }
}

impl<T: Connect, C: Clock> Launcher for AccountsLauncher<T, C> {
    async fn prepare(
        &self,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        match self.elsewhere(&spec.worker.credentials).await? {
            Some(other) => other.launcher.prepare(spec, identity).await,
            None => self.own.prepare(spec, identity).await,
        }
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        let left = Duration::try_from(deadline - self.clock.now()).unwrap_or_default();
        match tokio::time::timeout(left, self.elsewhere(&launch.target.credentials)).await {
            Ok(Ok(Some(other))) => other.launcher.launch(launch, deadline).await,
            Ok(Ok(None)) => self.own.launch(launch, deadline).await,
            Ok(Err(outcome)) => outcome,
            Err(_) => no_time(),
        }
    }

    /// All accounts together: they share the agent's launch rate.
    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.own.room(deadline)
    }

    async fn live_tasks(&self, target: &LaunchTarget, started_by: &str) -> Result<LiveDeployments, LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.live_tasks(target, started_by).await,
            None => self.own.live_tasks(target, started_by).await,
        }
    }

    async fn live_task(&self, target: &LaunchTarget, task_arn: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.live_task(target, task_arn).await,
            None => self.own.live_task(target, task_arn).await,
        }
    }

    async fn stop(&self, target: &LaunchTarget, task_arn: &str, reason: &str) -> Result<(), LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.stop(target, task_arn, reason).await,
            None => self.own.stop(target, task_arn, reason).await,
        }
    }
}

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod tests;

// From the credentials of a job configuration to the account they lead to, or why they cannot be used here. Pure.

/// Options of botocore's `Config` that tune how Python's clients work, not what they ask of whom: of no concern here.
const TUNING: [&str; 18] = [
    "connect_timeout",
    "read_timeout",
    "parameter_validation",
    "max_pool_connections",
    "retries",
    "defaults_mode",
    "tcp_keepalive",
    "user_agent",
    "user_agent_extra",
    "user_agent_appid",
    "s3",
    "inject_host_prefix",
    "endpoint_discovery_enabled",
    "disable_request_compression",
    "request_min_compression_size_bytes",
    "request_checksum_calculation",
    "response_checksum_validation",
    "client_context_params",
];

/// The account that these credentials lead to, by an endpoint that may be asked. What cannot be honoured is refused, rather than
/// done otherwise.
pub(crate) fn account(credentials: &AwsCredentials, hosts: &AllowedHosts) -> Result<Account, RunRefusal> {
    if credentials.profile_name.is_some() {
        return refuse("profile_name", "there are no AWS profiles here. Give keys, or a role in `assume_role_arn`");
    }
    let endpoint_url = endpoint_url(&credentials.client_parameters, hosts)?;
    transport(&credentials.client_parameters, endpoint_url.as_deref())?;
    config(credentials.client_parameters.get("config"))?;
    Ok(Account {
        region: region(credentials)?,
        keys: keys(credentials)?,
        // The same session name for the same credentials.
        role: credentials.assume_role(credentials.fingerprint().get(..8).unwrap_or_default()),
        endpoint_url,
    })
}

fn refuse<T>(field: &str, why: &str) -> Result<T, RunRefusal> {
    Err(RunRefusal(format!("`{field}` of `aws_credentials` cannot be used: {why}.")))
}

fn region(credentials: &AwsCredentials) -> Result<Option<String>, RunRefusal> {
    let Some(region) = &credentials.region_name else { return Ok(None) };
    // It becomes part of a host name.
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if region.split('-').count() >= 3 && region.split('-').all(is_name) {
        Ok(Some(region.clone()))
    } else {
        refuse("region_name", "it is not the name of an AWS region (such as eu-west-1)")
    }
}

fn keys(credentials: &AwsCredentials) -> Result<Option<Credentials>, RunRefusal> {
    let secret = credentials.secret_access_key.as_ref().map(ExposeSecret::expose_secret);
    let token = credentials.session_token.as_ref().map(|token| token.expose_secret().to_owned());
    match (&credentials.access_key_id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Credentials::new(id, secret, token, None, "aws_credentials"))),
        (None, None) if token.is_none() => Ok(None),
        (Some(_), None) => refuse("aws_access_key_id", "`aws_secret_access_key` is missing"),
        (None, Some(_)) => refuse("aws_secret_access_key", "`aws_access_key_id` is missing"),
        (None, None) => refuse("aws_session_token", "`aws_access_key_id` and `aws_secret_access_key` are missing"),
    }
}

fn endpoint_url(parameters: &Map<String, Value>, hosts: &AllowedHosts) -> Result<Option<String>, RunRefusal> {
    const FIELD: &str = "aws_client_parameters.endpoint_url";
    match parameters.get("endpoint_url") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(url)) if url.is_empty() => Ok(None),
        Some(Value::String(url)) if is_address(url) => match hosts.check_endpoint(url) {
            Ok(()) => Ok(Some(url.clone())),
            Err(refusal) => refuse(FIELD, &refusal.to_string()),
        },
        Some(_) => refuse(FIELD, "it is not an http:// or https:// address"),
    }
}

fn is_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
}

/// `use_ssl` and the two ways to say whose certificates are good.
fn transport(parameters: &Map<String, Value>, endpoint_url: Option<&str>) -> Result<(), RunRefusal> {
    let said = |field: &str| parameters.get(field).filter(|value| !value.is_null());
    if endpoint_url.is_none() && said("use_ssl").is_some_and(|value| *value != Value::Bool(true)) {
        let why = "AWS is only asked over TLS. Another address may be named in `endpoint_url`";
        return refuse("aws_client_parameters.use_ssl", why);
    }
    if endpoint_url.is_some_and(|url| url.starts_with("http:")) {
        return Ok(());
    }
    let authority = "For a private certificate authority, set AWS_CA_BUNDLE in the agent's own environment";
    if said("verify").is_some_and(|value| *value != Value::Bool(true)) {
        let why = format!("certificates are always verified, against the public authorities. {authority}");
        return refuse("aws_client_parameters.verify", &why);
    }
    if said("verify_cert_path").is_some() {
        return refuse("aws_client_parameters.verify_cert_path", &format!("there is no such file here. {authority}"));
    }
    Ok(())
}

fn config(config: Option<&Value>) -> Result<(), RunRefusal> {
    const FIELD: &str = "aws_client_parameters.config";
    let options = match config {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(options)) => options,
        Some(_) => return refuse(FIELD, "it is not a mapping"),
    };
    for (option, value) in options {
        let is_default = match option.as_str() {
            "signature_version" => value == "v4",
            "use_dualstack_endpoint" | "use_fips_endpoint" | "ignore_configured_endpoint_urls" => value == false,
            option => TUNING.contains(&option),
        };
        if !value.is_null() && !is_default {
            let why = match option.as_str() {
                "region_name" => "write the region to `region_name` of `aws_credentials`",
                "use_dualstack_endpoint" | "use_fips_endpoint" => "write the endpoint's address to `endpoint_url`",
                _ => {
                    "only options that tune a client's retries, time limits and connections are accepted (and ignored)"
                }
            };
            return refuse(&format!("{FIELD}.{option}"), why);
        }
    }
    Ok(())
}

// The seam to accounts: how a launcher gets its clients and its credentials.

/// Makes launchers for accounts that are not the agent's own.
pub trait Connect: Send + Sync {
    /// What launches there.
    type Launcher: Launcher;
    /// What its credentials are renewed by.
    type Session: Send + Sync;

    /// A launcher for this account. Sends nothing.
    fn connect(&self, account: &Account) -> (Self::Launcher, Self::Session);

    /// Makes sure that there are credentials which last a while; asks for new ones only when it is time.
    fn renew(&self, session: &Self::Session) -> impl Future<Output = Result<(), AwsError>> + Send;
}

/// Launchers that ask AWS.
pub struct AwsConnect<C> {
    /// The clients of the process.
    pub aws: Arc<AwsClients>,
    /// The agent's own among them.
    pub own: Arc<AgentAws>,
    /// Time.
    pub clock: C,
    /// The agent's launch rate.
    pub rate: Arc<LaunchRate>,
}

impl<C: Clock + Clone> AwsConnect<C> {
    /// A launcher with these clients.
    pub fn launcher(&self, aws: &AgentAws) -> EcsLauncher<C> {
        EcsLauncher::new(aws.ecs.clone(), aws.ec2.clone(), self.clock.clone(), Arc::clone(&self.rate))
    }
}

impl<C: Clock + Clone> Connect for AwsConnect<C> {
    type Launcher = EcsLauncher<C>;
    type Session = AgentAws;

    fn connect(&self, account: &Account) -> (Self::Launcher, AgentAws) {
        let aws = self.aws.for_account(&self.own, account);
        (self.launcher(&aws), aws)
    }

    async fn renew(&self, session: &AgentAws) -> Result<(), AwsError> {
        session.renew().await
    }
}
