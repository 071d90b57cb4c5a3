//! The agent as Prefect would know it: its secrets, its pool, its name.

use super::draft::Draft;
use super::findings::unserved;
use super::service::parameter_of;
use super::{EcsService, InitSetup, ResolvedAgent, TIME, stack, writing};
use crate::cli::output::printable;
use crate::cli::push::checked_agent_name;
use crate::cli::{CliError, say, terminal};
use crate::clock::SystemClock;
use crate::config::{AgentSecrets, Environment, GenerationConfig, LoadedAgent, Parameter, load};
use crate::model::ApiError;
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::prefect3::{ListedPool, WorkPools};
use crate::survey::Home;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A secret's parameter below the agent's, and the variables that hold it, by generation.
pub(super) const SECRETS_3: [(&str, &str); 3] = [
    ("api-key", "PREFECT_API_KEY"),
    ("auth-string", "PREFECT_API_AUTH_STRING"),
    ("client-headers", "PREFECT_CLIENT_CUSTOM_HEADERS"),
];
const SECRETS_1: [(&str, &str); 3] = [
    ("api-key", "PREFECT__CLOUD__API_KEY"),
    ("auth-token", "PREFECT__CLOUD__AGENT__AUTH_TOKEN"),
    ("client-headers", "PREFECT_CLIENT_CUSTOM_HEADERS"),
];

/// What Prefect says of its work pools, and which it is.
struct SeenPools {
    pools: WorkPools,
    is_server_2: bool,
}

/// `a (ecs), b (docker)`, and what is not among them.
fn names_of(pools: &WorkPools, is_meant: impl Fn(&ListedPool) -> bool) -> String {
    let named = pools.pools.iter().filter(|listed| is_meant(listed)).map(|ListedPool { pool, .. }| {
        // What others wrote is no command to the terminal.
        printable(&format!("{} ({})", pool.name, pool.kind))
    });
    let mut named: Vec<String> = named.collect();
    if pools.odd > 0 {
        named.push(format!("{} that cannot be understood", pools.odd));
    }
    if pools.is_truncated {
        named.push("and more, which were not read".into());
    }
    named.join(", ")
}

impl InitSetup {
    /// The agent with its pool, whose key Prefect takes.
    pub(super) async fn reach(&self, mut draft: Draft) -> Result<ResolvedAgent, CliError> {
        let mut secrets = self.secrets().await?;
        if self.is_prefect_1() {
            let name = self.args.name.as_deref().or(self.service.name.as_deref());
            let agent = self.agent_name(name.unwrap_or("agent"))?;
            return self.load(&agent, draft, secrets);
        }
        draft.set_some("work_pool", self.named_pool());
        // Any name does for asking.
        let asking = "agent";
        let mut seen = self.seen_pools(&self.load(asking, draft.clone(), secrets.clone())?).await;
        if matches!(seen, Err(ApiError::Unauthorised(_))) && secrets.is_empty() && self.may_ask() {
            let key = terminal::ask_secret("API key (not shown):")?;
            self.redaction.know([key.clone()]);
            secrets.insert("api-key", key);
            seen = self.seen_pools(&self.load(asking, draft.clone(), secrets.clone())?).await;
        }
        let seen = seen.map_err(|error| self.prefect_says(&error))?;
        if seen.is_server_2 {
            draft.set("prefect", 2);
        }
        let listed = self.chosen(seen.pools)?;
        if let Some(finding) = unserved(&listed.pool.kind, &listed.pool.name) {
            return Err(CliError::new(finding.found, finding.next));
        }
        draft.set("work_pool", listed.pool.name.clone());
        let resolved = self.load(&self.agent_name(&listed.pool.name)?, draft, secrets)?;
        Ok(ResolvedAgent { pool: Some(listed), ..resolved })
    }

    /// Somebody is there, and has not asked for silence.
    fn may_ask(&self) -> bool {
        !self.args.yes && terminal::is_there()
    }

    fn named_pool(&self) -> Option<&str> {
        self.args.work_pool.as_deref().or(self.service.work_pool.as_deref())
    }

    /// What Prefect is shown, by the last part of their parameters' names.
    async fn secrets(&self) -> Result<BTreeMap<&'static str, SecretString>, CliError> {
        let known = if self.is_prefect_1() { SECRETS_1 } else { SECRETS_3 };
        let mut secrets = BTreeMap::new();
        if self.args.key_stdin {
            let key = terminal::secret_of_stdin()?;
            if key.expose_secret().is_empty() {
                return Err(CliError::new("standard input holds no key", "pipe the key in, without anything else"));
            }
            secrets.insert("api-key", key);
        }
        for (parameter, variable) in known {
            // A key that is piped in takes the place of whatever else lets in.
            if !self.args.key_stdin || parameter == "client-headers" {
                secrets.extend(self.secret(variable).await?.map(|secret| (parameter, secret)));
            }
        }
        self.redaction.know(secrets.values().cloned());
        Ok(secrets)
    }

    /// As the service has it; without a service, as the environment or the profile has it here.
    async fn secret(&self, variable: &str) -> Result<Option<SecretString>, CliError> {
        let EcsService { secrets, stored, .. } = &self.service;
        if let Some(secret) = secrets.get(variable) {
            return Ok(Some(secret.clone()));
        }
        if let Some(place) = stored.get(variable) {
            return self.stored_secret(variable, place).await.map(Some);
        }
        Ok(self.setting(variable).map(SecretString::from))
    }

    /// What the service has stored: read out of Parameter Store if that is allowed, else asked for.
    pub(super) async fn stored_secret(&self, variable: &str, place: &str) -> Result<SecretString, CliError> {
        let may_ask = self.may_ask();
        if let Some(name) = parameter_of(place, &self.home) {
            let question = || terminal::agreed(&format!("Read {variable} from {place}?"), &mut std::io::stderr());
            if self.args.read_secrets || (may_ask && question()?) {
                let read = self.aws.ssm.get_parameter(&name, true).await;
                let read = read.map_err(|error| {
                    CliError::new(format!("{place}: {error}"), writing::copy_of(place, &self.aws.region))
                })?;
                let parameter = read.ok_or_else(|| {
                    CliError::new(
                        format!("{place}: there is no such parameter"),
                        "correct the service, or give the flags",
                    )
                })?;
                self.redaction.know([parameter.value.clone()]);
                return Ok(parameter.value);
            }
        }
        if may_ask {
            let typed = terminal::ask_secret(&format!("{variable} (not shown):"))?;
            if !typed.expose_secret().is_empty() {
                self.redaction.know([typed.clone()]);
                return Ok(typed);
            }
        }
        Err(CliError::new(format!("{variable} is a secret of the service"), self.about_stored(variable, place)))
    }

    /// The configuration and its secrets, read exactly as the function reads them.
    fn load(
        &self,
        agent: &str,
        draft: Draft,
        secrets: BTreeMap<&'static str, SecretString>,
    ) -> Result<ResolvedAgent, CliError> {
        let Home { partition, account, region } = &self.home;
        // Nothing is written under a made-up account: the name only has to be some name.
        let account = account.as_deref().unwrap_or("000000000000");
        let parameter = |name: String, value: SecretString, is_secure| Parameter {
            arn: Some(format!("arn:{partition}:ssm:{region}:{account}:parameter{name}")),
            name,
            value,
            is_secure,
            version: 1,
            last_modified: None,
        };
        let mut parameters =
            vec![parameter(format!("{}/{agent}", self.root.config()), SecretString::from(draft.text()), false)];
        parameters.extend(
            secrets
                .iter()
                .map(|(kind, value)| parameter(format!("{}/{agent}/{kind}", self.root.secrets()), value.clone(), true)),
        );
        let loaded = load(&self.root, &parameters, &Environment::default());
        let loaded = loaded.agents.into_iter().next().ok_or_else(|| CliError::new("no agent", ""))?;
        let (config, _) = loaded.result.clone().map_err(CliError::configuration)?;
        self.redaction.know_agents(std::slice::from_ref(&loaded));
        Ok(ResolvedAgent { agent: agent.to_owned(), draft, secrets, loaded, config, pool: None })
    }

    pub(super) fn prefect(&self, resolved: &ResolvedAgent) -> PrefectBuilder<SystemClock> {
        let of_nobody = AgentSecrets::default();
        let secrets = resolved.loaded.result.as_ref().map_or(&of_nobody, |(_, secrets)| secrets);
        self.prefect_of(&resolved.loaded, secrets).sharing(&self.network)
    }

    /// The way of an agent of this deployment to its Prefect.
    pub(super) fn prefect_of(&self, agent: &LoadedAgent, secrets: &AgentSecrets) -> PrefectBuilder<SystemClock> {
        PrefectBuilder::of_parameter::<AgentEcs<SystemClock>>(
            Arc::clone(&self.aws),
            SystemClock,
            &self.root,
            agent,
            secrets,
            &self.redaction,
        )
    }

    /// The pool that is named, if it is there; else all there are.
    async fn seen_pools(&self, resolved: &ResolvedAgent) -> Result<SeenPools, ApiError> {
        let GenerationConfig::Three(three) = &resolved.config.generation else {
            return Err(ApiError::Configuration("Prefect 1 has no work pools".into()));
        };
        let api = self.prefect(resolved).prefect3(&resolved.config, three).await;
        let api = api.map_err(|error| ApiError::Configuration(error.message))?;
        api.set_deadline(Some(Instant::now() + TIME));
        let named = if self.named_pool().is_some() { api.own_pool().await? } else { None };
        let pools = match named {
            Some(named) => WorkPools { pools: vec![named], odd: 0, is_truncated: false },
            None => api.work_pools().await?,
        };
        let is_told = self.args.prefect.is_some() || self.service.prefect.is_some();
        let is_2 = async || api.server_version().await.is_some_and(|version| version.starts_with("2."));
        Ok(SeenPools { pools, is_server_2: !is_told && is_2().await })
    }

    /// The pool that is named, the only one there is, or the one that is picked.
    fn chosen(&self, pools: WorkPools) -> Result<ListedPool, CliError> {
        let is_complete = pools.odd == 0 && !pools.is_truncated;
        if let Some(named) = self.named_pool() {
            let there = names_of(&pools, |_| true);
            return pools.pools.into_iter().find(|listed| listed.pool.name == named).ok_or_else(|| {
                let advice = format!(
                    "name one that is there with --work-pool, or create it: prefect work-pool create --type ecs {}",
                    stack::shell_word(named)
                );
                CliError::new(format!("Prefect knows no work pool {named:?}, only these: {there}"), advice)
            });
        }
        let is_served = |listed: &ListedPool| unserved(&listed.pool.kind, &listed.pool.name).is_none();
        let (there, several) = (names_of(&pools, |_| true), names_of(&pools, is_served));
        let mut served: Vec<ListedPool> = pools.pools.into_iter().filter(is_served).collect();
        match served.as_slice() {
            [] => {
                let (what, advice) = if is_complete {
                    ("there is no work pool of type ecs", "create one: prefect work-pool create --type ecs NAME")
                } else {
                    ("no work pool of type ecs was found", "name it with --work-pool")
                };
                return Err(CliError::new(format!("{what}, only these: {there}"), advice));
            }
            [_] if is_complete => {}
            _ if !self.may_ask() => {
                let message = format!("there are several work pools: {several}");
                return Err(CliError::new(message, "name one with --work-pool"));
            }
            several => {
                let lines = several.iter().zip(1..);
                let lines = lines.map(|(listed, number)| format!("  {number}  {}\n", printable(&listed.pool.name)));
                say(&mut std::io::stderr(), &format!("Work pools of type ecs:\n{}", lines.collect::<String>()));
                let answer = terminal::ask("Which one (number or name)?")?;
                let by_number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let by_number = by_number.filter(|number| *number < several.len());
                let by_name = || several.iter().position(|listed| listed.pool.name == answer);
                let picked = by_number.or_else(by_name).ok_or_else(|| {
                    CliError::new(format!("{answer:?} is none of them"), "answer with its number or its name")
                })?;
                return Ok(served.swap_remove(picked));
            }
        }
        Ok(served.swap_remove(0))
    }

    /// The agent's name in the deployment: the one that is given, else as its pool is called, as far as names go.
    fn agent_name(&self, of: &str) -> Result<String, CliError> {
        if let Some(named) = &self.args.agent {
            return checked_agent_name(named).map(|()| named.clone());
        }
        let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        let name: String = of.chars().map(allowed).take(64).collect();
        Ok(Some(name)
            .filter(|name| name.contains(|c: char| c.is_ascii_alphanumeric()))
            .unwrap_or_else(|| "agent".into()))
    }
}
