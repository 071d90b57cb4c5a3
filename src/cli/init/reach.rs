//! The agent as Prefect would know it: its secrets, its pool, its name.

use super::draft::Draft;
use super::findings::unserved;
use super::service::parameter_of;
use super::{EcsService, InitSetup, Reached, TIME, stack, writing};
use crate::cli::output::printable;
use crate::cli::{CliError, say, terminal};
use crate::clock::SystemClock;
use crate::config::{AgentSecrets, Environment, GenerationConfig, Parameter, is_agent_name, load};
use crate::model::ApiError;
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::prefect3::SurveyedPool;
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

impl InitSetup {
    /// The agent with its pool, whose key Prefect takes.
    pub(super) async fn reach(&self, mut draft: Draft) -> Result<Reached, CliError> {
        let mut secrets = self.secrets().await?;
        if self.is_prefect_1() {
            let name = self.args.name.as_deref().or(self.service.name.as_deref());
            let agent = self.agent_name(name.unwrap_or("agent"))?;
            return self.load(&agent, draft, secrets);
        }
        let agent = "agent";
        let mut reached = self.load(agent, draft.clone(), secrets.clone())?;
        let pools = match self.pools(&reached).await {
            Err(ApiError::Unauthorised(_)) if secrets.is_empty() && terminal::is_there() && !self.args.yes => {
                let key = terminal::ask_secret("API key (not shown):")?;
                self.redaction.know([key.clone()]);
                secrets.insert("api-key", key);
                reached = self.load(agent, draft.clone(), secrets.clone())?;
                self.pools(&reached).await
            }
            answer => answer,
        };
        let pools = pools.map_err(|error| self.prefect_says(&error))?;
        if self.args.prefect.is_none() && self.service.prefect.is_none() && self.is_server_2(&reached).await {
            draft.set("prefect", 2);
        }
        let pool = self.chosen(&pools)?;
        if let Some(finding) = unserved(&pool.kind, &pool.name) {
            return Err(CliError::new(finding.found, finding.next));
        }
        draft.set("work_pool", pool.name.clone());
        let agent = self.agent_name(&pool.name)?;
        self.load(&agent, draft, secrets)
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
        let may_ask = !self.args.yes && terminal::is_there();
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
    ) -> Result<Reached, CliError> {
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
        Ok(Reached { agent: agent.to_owned(), draft, secrets, loaded, config })
    }

    pub(super) fn prefect(&self, reached: &Reached) -> PrefectBuilder<SystemClock> {
        let secrets =
            reached.loaded.result.as_ref().map_or_else(|_| AgentSecrets::default(), |(_, secrets)| secrets.clone());
        PrefectBuilder::of_parameter::<AgentEcs<SystemClock>>(
            Arc::clone(&self.aws),
            SystemClock,
            &self.root,
            &reached.loaded,
            &secrets,
            &self.redaction,
        )
    }

    async fn pools(&self, reached: &Reached) -> Result<Vec<SurveyedPool>, ApiError> {
        let GenerationConfig::Three(three) = &reached.config.generation else { return Ok(Vec::new()) };
        let api = self.prefect(reached).prefect3(&reached.config, three).await;
        let api = api.map_err(|error| ApiError::Configuration(error.message))?;
        api.set_deadline(Some(Instant::now() + TIME));
        api.work_pools().await
    }

    async fn is_server_2(&self, reached: &Reached) -> bool {
        let GenerationConfig::Three(three) = &reached.config.generation else { return false };
        let Ok(api) = self.prefect(reached).prefect3(&reached.config, three).await else { return false };
        api.set_deadline(Some(Instant::now() + TIME));
        api.server_version().await.is_some_and(|version| version.starts_with("2."))
    }

    /// The pool that is named, the only one there is, or the one that is picked.
    fn chosen<'a>(&self, pools: &'a [SurveyedPool]) -> Result<&'a SurveyedPool, CliError> {
        let named = self.args.work_pool.as_ref().or(self.service.work_pool.as_ref());
        let all = |pools: &mut dyn Iterator<Item = &SurveyedPool>| {
            let named = pools.map(|pool| printable(&format!("{} ({})", pool.name, pool.kind)));
            named.collect::<Vec<_>>().join(", ")
        };
        if let Some(named) = named {
            return pools.iter().find(|pool| pool.name == *named).ok_or_else(|| {
                let there = all(&mut pools.iter());
                let advice = format!(
                    "name one that is there with --work-pool, or create it: prefect work-pool create --type ecs {}",
                    stack::shell_word(named)
                );
                CliError::new(format!("Prefect knows no work pool {named:?}, only these: {there}"), advice)
            });
        }
        let served: Vec<&SurveyedPool> = pools.iter().filter(|pool| pool.kind == "ecs").collect();
        match served.as_slice() {
            [] => {
                let there = all(&mut pools.iter());
                let advice = "create one: prefect work-pool create --type ecs NAME";
                Err(CliError::new(format!("there is no work pool of type ecs, only these: {there}"), advice))
            }
            [only] => Ok(only),
            several if self.args.yes || !terminal::is_there() => {
                let there = all(&mut several.iter().copied());
                Err(CliError::new(format!("there are several work pools: {there}"), "name one with --work-pool"))
            }
            several => {
                let lines = several.iter().zip(1..);
                let lines = lines.map(|(pool, number)| format!("  {number}  {}\n", printable(&pool.name)));
                say(&mut std::io::stderr(), &format!("Work pools of type ecs:\n{}", lines.collect::<String>()));
                let answer = terminal::ask("Which one (number or name)?")?;
                let by_number = answer.parse::<usize>().ok().and_then(|number| several.get(number.checked_sub(1)?));
                let by_name = || several.iter().find(|pool| pool.name == answer);
                by_number.or_else(by_name).copied().ok_or_else(|| {
                    CliError::new(format!("{answer:?} is none of them"), "answer with its number or its name")
                })
            }
        }
    }

    /// The agent's name in the deployment: the one that is given, else as its pool is called, as far as names go.
    fn agent_name(&self, of: &str) -> Result<String, CliError> {
        if let Some(named) = &self.args.agent {
            let advice = "name one of letters, digits, `-` and `_` (at most 64) with --agent";
            return if is_agent_name(named) {
                Ok(named.clone())
            } else {
                Err(CliError::new(format!("{named:?} is no agent's name"), advice))
            };
        }
        let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
        let name: String = of.chars().map(allowed).take(64).collect();
        Ok(Some(name)
            .filter(|name| name.contains(|c: char| c.is_ascii_alphanumeric()))
            .unwrap_or_else(|| "agent".into()))
    }
}
