//! Parameters and files → typed configuration. Pure: nothing here reads the environment, a clock or the network.
//!
//! [`load()`] reads a deployment's parameters, [`from_file`] one file, [`read_agent`] one text; [`check_document`] checks
//! what a configuration refers to, [`apply_backend_settings`] adds what Prefect's backend keeps.

mod agent;
mod documents;
mod environment;
mod guardrails;
mod load;
mod prices;
mod reader;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

pub use agent::{ConfigSource, apply_backend_settings, read_agent};
pub use documents::{DocumentKind, check_document, read_yaml};
pub use environment::ClientHeaders;
pub use load::{Loaded, LoadedAgent, Parameter, Root, UnknownAgent, from_file, is_agent_name, load};
pub use reader::{ConfigErrors, Problem};
pub(crate) use values::is_loopback;

use crate::costs::prices::Prices;
use crate::ecs_model::UnknownMembers;
use crate::guardrails::Guardrails;
use crate::http::hosts::AllowedHosts;
use crate::model::{Generation, RoleToAssume};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::Duration;

/// Environment variables, handed in so that the code stays pure.
pub type Environment = HashMap<String, String>;

/// Everything one agent needs to know, checked. `G`: what belongs to one generation of Prefect only.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig<G = GenerationConfig> {
    /// The agent's name in the deployment: the last segment of its parameter, `[A-Za-z0-9_-]{1,64}`.
    pub agent: String,
    /// `false`: not polled, shown as `disabled`.
    pub enabled: bool,
    /// Base URL of the Prefect API, without a trailing slash.
    pub api: String,
    /// A private certificate authority: PEM text, or `ssm://name` until resolved.
    pub ca_bundle: Option<String>,
    /// The agent's name in Prefect.
    pub name: String,
    /// Period of the schedule: heartbeat, health and look-ahead derive from it.
    pub poll_interval: Duration,
    /// How far ahead due runs are looked for.
    pub prefetch: Duration,
    /// `RunTask` calls per second; `None` = unlimited.
    pub launch_rate: Option<f64>,
    /// Environment of every flow run of this agent, in the order written.
    pub env_vars: Vec<(String, String)>,
    /// Where tasks are launched; `None` = the function's own region.
    pub region_name: Option<String>,
    /// A role of another account to launch with.
    pub assume_role_arn: Option<String>,
    /// What the role's trust policy asks for besides.
    pub assume_role_external_id: Option<String>,
    /// How a flow run gets its API key.
    pub api_key_delivery: ApiKeyDelivery,
    /// What becomes of members of ECS requests that we do not know.
    pub unknown_members: UnknownMembers,
    /// One of our claims without a task after this long is finished.
    pub orphan_after: Duration,
    /// Launches of one run before it fails with the whole story.
    pub max_launch_attempts: u32,
    /// Capacity refusals of a Spot strategy before on-demand is used; `None` = never.
    pub spot_fallback_after: Option<u32>,
    /// Polls before the agent stops; `None` = endless.
    pub max_polls: Option<u64>,
    /// A cancelled flow that runs gets this long to end by itself before its task is stopped.
    pub cancel_grace: Duration,
    /// So many of the last log lines of a container that died before its flow ran go to the run's log; 0 = none.
    pub forward_log_lines: u32,
    /// Prices of Fargate instead of the listed ones.
    pub prices: Option<Prices>,
    /// What runs may ask for; `None` = whatever they like.
    pub guardrails: Option<Guardrails>,
    /// Hosts that runs may point at.
    pub allowed_hosts: AllowedHosts,
    /// What belongs to one generation of Prefect only.
    pub generation: G,
}

/// The generation of Prefect that an agent serves, with its own settings.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationConfig {
    /// Prefect 0.15 and 1.
    One(Prefect1Config),
    /// Prefect 2 and 3.
    Three(Prefect3Config),
}

impl GenerationConfig {
    /// Whose rules hold for its runs.
    pub fn generation(&self) -> Generation {
        match self {
            Self::One(_) => Generation::One,
            Self::Three(_) => Generation::TwoOrThree,
        }
    }

    /// Which Prefect it is, as configurations spell it.
    pub fn prefect(&self) -> &'static str {
        match self {
            Self::One(Prefect1Config { rules: Rules::V0_15, .. }) => "0.15",
            Self::One(Prefect1Config { rules: Rules::V1, .. }) => "1",
            Self::Three(Prefect3Config { rules: WorkerRules::Two, .. }) => "2",
            Self::Three(Prefect3Config { rules: WorkerRules::Three, .. }) => "3",
        }
    }
}

/// Settings of an agent that serves an `ecs` work pool of Prefect 2 or 3.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefect3Config {
    /// Whose rules hold.
    pub rules: WorkerRules,
    /// Name of the work pool.
    pub work_pool: String,
    /// Queues of the pool that are served; none = all.
    pub work_queues: Vec<String>,
    /// At most this many launches per poll; `None` = unlimited.
    pub limit: Option<usize>,
    /// Image of containers for which neither pool, deployment nor run names one.
    pub image: String,
    /// `PREFECT_…` settings that a worker would pass on to its flow runs, in the order written.
    pub worker_env: Vec<(String, String)>,
    /// Whether the labels that a worker writes on its flow runs are written.
    pub prefect_labels: bool,
}

/// Whose worker's rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerRules {
    /// Prefect 2: no dotted job variables, fewer labels and variables.
    Two,
    /// Prefect 3.
    Three,
}

impl WorkerRules {
    /// Image of containers for which nobody names one.
    pub fn default_image(self) -> &'static str {
        match self {
            Self::Two => "prefecthq/prefect:2-latest",
            Self::Three => "prefecthq/prefect:3-latest",
        }
    }
}

/// Settings of a Prefect 0.15 / 1 agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefect1Config {
    /// Whose rules hold.
    pub rules: Rules,
    /// Prefect Cloud or Prefect Server.
    pub backend: Backend,
    /// Looked up when not given.
    pub tenant_id: Option<String>,
    /// Labels of the agent, without duplicates, in the order written.
    pub labels: Vec<String>,
    /// Settings kept in the backend replace the keys of the same name.
    pub agent_config_id: Option<String>,
    /// Flow runs do not send their logs to the API.
    pub no_cloud_logs: bool,
    /// `PREFECT__LOGGING__LEVEL` of the flow runs.
    pub logging_level: String,
    /// Cluster; `None` = the account's default cluster.
    pub cluster: Option<String>,
    /// `None` = not written in the configuration, which means Fargate unless a capacity provider strategy decides.
    pub launch_type: Option<LaunchType>,
    /// Task role of the flow runs.
    pub task_role_arn: Option<String>,
    /// Execution role of the flow runs.
    pub execution_role_arn: Option<String>,
    /// The agent's own task definition template.
    pub task_definition: Option<Document>,
    /// Keyword arguments of every `RunTask`.
    pub run_task_kwargs: Option<Document>,
}

/// A piece of configuration that is written in place or lies elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Written in place.
    Inline(Map<String, Value>),
    /// `s3://bucket/key`, `https://…`, `ssm://name`; on the command line also a local file.
    Path(String),
}

/// Whose rules a Prefect 1 agent follows: they differ in a few places (roles, capacity providers, environment).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Prefect 0.15.0.
    V0_15,
    /// Prefect 1.4.1.
    V1,
}

impl Rules {
    /// The library version whose rules these are, as sent in `X-PREFECT-CORE-VERSION`.
    pub fn core_version(self) -> &'static str {
        match self {
            Self::V0_15 => "0.15.0",
            Self::V1 => "1.4.1",
        }
    }
}

/// What a Prefect 1 agent talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Prefect Cloud.
    Cloud,
    /// Prefect Server, self-hosted.
    Server,
}

impl Backend {
    /// The value of `PREFECT__BACKEND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Server => "server",
        }
    }
}

/// ECS launch types an agent may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchType {
    /// Serverless containers.
    Fargate,
    /// Container instances.
    Ec2,
}

impl LaunchType {
    /// As the ECS API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fargate => "FARGATE",
            Self::Ec2 => "EC2",
        }
    }
}

/// How a flow run gets its API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyDelivery {
    /// As a container secret where that is possible, else in the environment with a warning.
    Auto,
    /// As a container secret; a run for which that is impossible fails.
    Secret,
    /// In the environment, as the Python agent does.
    Environment,
}

/// A secret and where it lies.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    /// The secret itself; never printed.
    pub value: SecretString,
    /// ARN of the `SecureString` it was read from; `None` when it came from the environment.
    pub arn: Option<String>,
}

/// The secrets of one agent.
#[derive(Debug, Clone, Default)]
pub struct AgentSecrets {
    /// API key.
    pub api_key: Option<StoredSecret>,
    /// Legacy token of Prefect 0.15; an API key beats it.
    pub auth_token: Option<StoredSecret>,
    /// `user:password` of a self-hosted Prefect 2 or 3; it beats an API key.
    pub auth_string: Option<StoredSecret>,
    /// Further headers of every request to Prefect.
    pub client_headers: Option<ClientHeaders>,
}

impl AgentSecrets {
    /// Whether these are the same secrets, read from the same places.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Option<StoredSecret>, other: &Option<StoredSecret>| match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                one.arn == other.arn && one.value.expose_secret() == other.value.expose_secret()
            }
            _ => false,
        };
        let headers = |secrets: &Self| secrets.client_headers.as_ref().map(|headers| headers.stored.clone());
        let pairs = [
            (&self.api_key, &other.api_key),
            (&self.auth_token, &other.auth_token),
            (&self.auth_string, &other.auth_string),
            (&headers(self), &headers(other)),
        ];
        pairs.into_iter().all(|(one, other)| same(one, other))
    }

    /// All of them, as they are stored.
    pub fn iter(&self) -> impl Iterator<Item = &StoredSecret> {
        let headers = self.client_headers.as_ref().map(|headers| &headers.stored);
        [&self.api_key, &self.auth_token, &self.auth_string].into_iter().flatten().chain(headers)
    }

    /// The values of the further headers.
    pub fn header_values(&self) -> impl Iterator<Item = &SecretString> {
        self.client_headers.iter().flat_map(|headers| &headers.headers).map(|(_, value)| value)
    }
}

impl<G> AgentConfig<G> {
    /// The role of another account that the agent launches with.
    pub fn role_to_assume(&self) -> Option<RoleToAssume> {
        let arn = self.assume_role_arn.clone()?;
        Some(RoleToAssume { arn, external_id: self.assume_role_external_id.clone() })
    }

    /// The same, with other settings of a generation.
    pub fn with<H>(self, generation: H) -> AgentConfig<H> {
        let Self {
            agent,
            enabled,
            api,
            ca_bundle,
            name,
            poll_interval,
            prefetch,
            launch_rate,
            env_vars,
            region_name,
            assume_role_arn,
            assume_role_external_id,
            api_key_delivery,
            unknown_members,
            orphan_after,
            max_launch_attempts,
            spot_fallback_after,
            max_polls,
            cancel_grace,
            forward_log_lines,
            prices,
            guardrails,
            allowed_hosts,
            generation: _,
        } = self;
        AgentConfig {
            agent,
            enabled,
            api,
            ca_bundle,
            name,
            poll_interval,
            prefetch,
            launch_rate,
            env_vars,
            region_name,
            assume_role_arn,
            assume_role_external_id,
            api_key_delivery,
            unknown_members,
            orphan_after,
            max_launch_attempts,
            spot_fallback_after,
            max_polls,
            cancel_grace,
            forward_log_lines,
            prices,
            guardrails,
            allowed_hosts,
            generation,
        }
    }
}

impl AgentConfig {
    /// How long a poll may go on because it holds launches until their start time.
    pub fn hold(&self) -> Duration {
        match self.generation {
            GenerationConfig::One(_) => self.prefetch,
            GenerationConfig::Three(_) => Duration::ZERO,
        }
    }

    /// Whether parts of the configuration lie elsewhere, and so may change without it.
    pub fn refers_elsewhere(&self) -> bool {
        let is_path = |document: &Option<Document>| matches!(document, Some(Document::Path(_)));
        let documents_are = match &self.generation {
            GenerationConfig::One(one) => is_path(&one.task_definition) || is_path(&one.run_task_kwargs),
            GenerationConfig::Three(_) => false,
        };
        documents_are || self.ca_bundle.as_ref().is_some_and(|bundle| bundle.trim().starts_with("ssm://"))
    }
}
