//! `prefect-serverless-agent init`: from what exists to a working deployment.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | asks, reads, says (thin) |
//! | `args.rs` | the arguments |
//! | `reach.rs` | the agent's secrets, its pool, its name: what Prefect takes (thin) |
//! | `others.rs` | the other agents of the same deployment, whose stack it is too (thin) |
//! | `profile.rs` | what Prefect's own command line has been set up with (pure) |
//! | `service.rs`, `service/` | the ECS service of the Python worker or agent → what it was started with (pure but for the reading) |
//! | `draft.rs` | flags → a configuration as text (pure) |
//! | `stack.rs` | what the runs need → the stack's parameters, and the commands (pure) |
//! | `findings.rs` | what will not work as it is, with what to do (pure) |
//! | `differences.rs` | what a run asks of ECS otherwise than with Python's worker or agent, as people read it (pure) |
//! | `outcome.rs` | all of it as people and programs read it (pure) |
//! | `writing.rs` | configuration and key to a file or to Parameter Store |

pub(super) mod args;
mod differences;
mod draft;
mod findings;
mod others;
mod outcome;
mod profile;
mod reach;
mod service;
mod stack;
mod writing;

use super::CliError;
use super::args::InitArgs;
use super::output::{ADVICE_ON_AWS, advice_on_kind};
use super::setting::{root_of, text_of};
use super::terminal;
use crate::aws::AwsClients;
use crate::config::{AgentConfig, Environment, LoadedAgent, Root, read_yaml};
use crate::guardrails::{Guardrails, proposal};
use crate::model::{ApiError, ErrorKind};
use crate::platform::ecs::NetworkLookup;
use crate::poll::SharedNetwork;
use crate::prefect3::ListedPool;
use crate::redaction::Redaction;
use crate::survey::{Home, RenderedLaunch, Survey, SurveyError, SurveyedLaunch, survey_known};
use draft::{Draft, agent_flags};
use findings::{Level, SetupFinding, findings};
use futures_util::future::join;
use others::OtherAgents;
use outcome::Outcome;
use profile::Settings;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use service::EcsService;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Deployments that are read at most.
const MOST_DEPLOYMENTS: usize = 1000;

/// How long Prefect is asked.
const TIME: Duration = Duration::from_secs(90);

/// The pool of an agent whose pool is not chosen yet.
const NO_POOL: &str = "not-chosen";

/// Asks, reads, writes, and says what comes of it.
pub(super) async fn init(
    args: InitArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<String, CliError> {
    let root = root(&args, &environment)?;
    let aws = AwsClients::from_default_chain(&environment).await;
    let aws = Arc::new(aws.map_err(|error| CliError::new(error, ADVICE_ON_AWS))?);
    let home = Home::new(aws.account().await.map_err(|error| error.to_string()), &aws.region);
    let service = match &args.from_service {
        Some(written) => service::read(&aws, written).await?,
        None => EcsService::default(),
    };
    redaction.know(service.secrets.values().cloned());
    let mut setup = InitSetup {
        args,
        root,
        environment,
        redaction: redaction.clone(),
        aws,
        home,
        service,
        profile: None,
        network: SharedNetwork::default(),
    };
    setup.read_profile()?;
    setup.read_stored_api().await?;
    let (draft, from) = setup.draft()?;
    let mut resolved = setup.reach(draft).await?;
    if setup.args.guardrails {
        // Those that allow all: what is asked for is looked at, and nothing is too much.
        resolved.config.guardrails = Some(Guardrails::default());
    }
    let (survey, others) = join(setup.survey(&resolved), setup.others(&resolved.agent)).await;
    setup.outcome(resolved, survey?, others, from).await.map(|outcome| outcome.text(json))
}

fn root(args: &InitArgs, environment: &Environment) -> Result<Root, CliError> {
    let is_named = args.root.is_some() || environment.contains_key("PARAMETER_ROOT");
    root_of(args.root.as_deref().or((!is_named).then_some(stack::DEFAULT_ROOT)), environment)
}

/// What the command was given, and what it found before Prefect was asked.
struct InitSetup {
    args: InitArgs,
    root: Root,
    environment: Environment,
    redaction: Redaction,
    aws: Arc<AwsClients>,
    home: Home,
    service: EcsService,
    /// The active profile of Prefect's command line.
    profile: Option<Settings>,
    network: SharedNetwork,
}

/// An agent that Prefect knows, or would.
struct ResolvedAgent {
    agent: String,
    draft: Draft,
    secrets: BTreeMap<&'static str, SecretString>,
    loaded: LoadedAgent,
    config: AgentConfig,
    /// Its pool, as Prefect told of it.
    pool: Option<ListedPool>,
}

impl InitSetup {
    fn is_prefect_1(&self) -> bool {
        matches!(self.args.prefect.as_deref().or(self.service.prefect), Some("1" | "0.15"))
    }

    fn read_profile(&mut self) -> Result<(), CliError> {
        // Prefect 1 keeps nothing there, and a service has its own.
        let counts = !self.is_prefect_1() && self.args.from_service.is_none();
        let Some(path) = profile::path(&self.environment).filter(|_| counts) else { return Ok(()) };
        let read = profile::read(&path, &self.environment).map_err(|error| {
            let advice = "correct it with `prefect config`, or name another with PREFECT_PROFILES_PATH";
            CliError::new(format!("{}: {error}", path.display()), advice)
        });
        self.profile = read?;
        let keys = self
            .profile
            .iter()
            .flatten()
            .filter(|(name, _)| reach::SECRETS_3.iter().any(|(_, variable)| variable == name));
        self.redaction.know(keys.map(|(_, value)| SecretString::from(value.as_str())));
        Ok(())
    }

    /// The address of the API, where the service has it as a secret.
    async fn read_stored_api(&mut self) -> Result<(), CliError> {
        let variable = self.api_variable();
        if self.args.api.is_none()
            && self.service.api.is_none()
            && let Some(place) = self.service.stored.get(variable)
        {
            let api = self.stored_secret(variable, place).await?;
            self.service.api = Some(api.expose_secret().trim().to_owned());
        }
        Ok(())
    }

    /// The operator's own setting: of the environment, else of the profile. A service has an API and a key of its own: with
    /// another's, a key would be shown to whom it is none of theirs.
    fn setting(&self, name: &str) -> Option<String> {
        if self.args.from_service.is_some() {
            return None;
        }
        let of_environment = self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let of_profile = || self.profile.as_ref()?.get(name).map(|value| value.trim());
        of_environment.or_else(of_profile).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn api_variable(&self) -> &'static str {
        if self.is_prefect_1() { "PREFECT__CLOUD__API" } else { "PREFECT_API_URL" }
    }

    /// The configuration as far as flags, service and environment tell.
    fn draft(&self) -> Result<(Draft, draft::FromFlags), CliError> {
        let (args, service) = (&self.args, &self.service);
        let mut draft = Draft::default();
        let prefect = args.prefect.as_deref().or(service.prefect).unwrap_or("3");
        // A number, where YAML has it as one.
        draft.set("prefect", prefect.parse::<u32>().map_or_else(|_| Value::from(prefect), Value::from));
        let is_1 = self.is_prefect_1();
        let api = args.api.clone().or_else(|| service.api.clone());
        let api = match api.or_else(|| self.setting(self.api_variable())) {
            None if !is_1 => Some(self.ask_api()?),
            api => api,
        };
        draft.set_some("api", api);
        if !is_1 {
            draft.set("work_pool", NO_POOL);
        }
        draft.set_some("name", args.name.clone().or_else(|| service.name.clone()));
        draft.extend(&service.draft);
        if !args.work_queues.is_empty() {
            draft.set("work_queues", args.work_queues.clone());
        }
        draft.set_some("assume_role_arn", args.assume_role_arn.clone());
        draft.set_some("assume_role_external_id", args.assume_role_external_id.clone());
        draft.set_some("limit", args.limit);
        draft.set_some("prefetch_seconds", args.prefetch_seconds);
        if args.every != 1 {
            draft.set("poll_interval_seconds", args.every * 60);
        }
        let no_files = |_: &str| {
            Err("it is a file of the service's container, which cannot be read from here: give it with the flag"
                .to_owned())
        };
        let wrong = |message: String| CliError::new(message, "correct the flag");
        let flags = service.flags.without_overridden(&args.agent_flags);
        let of_service = agent_flags(&mut draft, &flags, &no_files).map_err(wrong)?;
        let mut from = agent_flags(&mut draft, &args.agent_flags, &local_document).map_err(wrong)?;
        from.log_level = from.log_level.or(of_service.log_level);
        from.notes.extend(of_service.notes);
        self.redaction.know_configuration(&draft.value());
        Ok((draft, from))
    }

    fn ask_api(&self) -> Result<String, CliError> {
        if self.args.yes || !terminal::is_there() {
            let (whose, advice) = if self.args.from_service.is_some() {
                (", and the service's definition does not say it", "give --api URL")
            } else {
                ("", "give --api URL, or set PREFECT_API_URL, or log in with `prefect cloud login`")
            };
            return Err(CliError::new(format!("the address of the Prefect API is not known{whose}"), advice));
        }
        terminal::ask("Address of the Prefect API (…/api, or …/workspaces/<id> of Prefect Cloud):")
    }

    async fn survey(&self, resolved: &ResolvedAgent) -> Result<Survey, CliError> {
        let (prefect, home, known) = (self.prefect(resolved), self.home.clone(), resolved.pool.clone());
        let deadline = Instant::now() + TIME;
        let survey = survey_known(&prefect, &resolved.config, home, known, MOST_DEPLOYMENTS, deadline).await;
        survey.map_err(|error| match error {
            SurveyError::Setup(error) => CliError::new(&error, advice_on_kind(Some(error.kind))),
            SurveyError::Prefect(error) => self.prefect_says(&error),
        })
    }

    fn prefect_says(&self, error: &ApiError) -> CliError {
        let advice = match error.kind() {
            ErrorKind::Unauthorised => self.about_key(),
            kind => advice_on_kind(Some(kind)).to_owned(),
        };
        CliError::new(error, advice)
    }

    /// Where a key that Prefect takes may come from.
    fn about_key(&self) -> String {
        if self.args.from_service.is_some() {
            return "pipe the key in with --key-stdin: the service's own does not let in, or there is none".into();
        }
        let variable = if self.is_prefect_1() { "PREFECT__CLOUD__API_KEY" } else { "PREFECT_API_KEY" };
        let auth = if self.is_prefect_1() {
            ""
        } else {
            " (or PREFECT_API_AUTH_STRING, user:password of a self-hosted server)"
        };
        format!("set {variable}{auth}, or pipe the key in with --key-stdin")
    }

    /// What can be done about a secret of the service that was not read.
    fn about_stored(&self, variable: &str, place: &str) -> String {
        let by_flag = service::parameter_of(place, &self.home).map(|_| " without --read-secrets").unwrap_or_default();
        let otherwise = match variable {
            "PREFECT_API_KEY" | "PREFECT__CLOUD__API_KEY" => writing::copy_of(place, &self.aws.region),
            "PREFECT_API_URL" | "PREFECT__CLOUD__API" => "give the address with --api".to_owned(),
            _ => format!("set {variable} here, and give the flags yourself, without --from-service"),
        };
        format!("the service has it in {place}, which is not read{by_flag}: {otherwise}")
    }

    /// Writes, and says all that was found.
    async fn outcome(
        &self,
        mut resolved: ResolvedAgent,
        survey: Survey,
        others: OtherAgents,
        from: draft::FromFlags,
    ) -> Result<Outcome, CliError> {
        let deployment = stack::StackChoices {
            root: &self.root,
            every: self.args.every,
            secrets_key_arn: self.args.secrets_key_arn.as_deref(),
            log_level: from.log_level,
        };
        let mut needs = survey.needs.clone();
        needs.merge(others.needs);
        let (parameters, refused) = stack::parameters(&needs, &survey.home, &deployment);
        let mut found = findings(&survey, &resolved.config, &parameters, &refused);
        found.extend(self.service.findings.iter().cloned());
        found.extend(others.findings);
        found.extend(
            from.notes.iter().map(|note| SetupFinding::new(Level::Note, "flags", note, "nothing has to be done")),
        );
        if self.args.guardrails {
            resolved.draft.set("guardrails", proposed(survey.counted_launches()));
            let next =
                "run `check` for some days; when it says nothing of guardrails any more, leave `mode: report` out";
            let text = "they allow what runs ask for today, and refuse nothing yet";
            found.push(SetupFinding::new(Level::Note, "guardrails", text, next));
        }
        found.sort_by_key(|finding| finding.level);
        let text = resolved.draft.text();
        let written = writing::write(&self.args, &self.root, &resolved, &text, &self.aws, &self.redaction).await?;
        Ok(Outcome {
            agent: resolved.agent.clone(),
            root: self.root.as_str().to_owned(),
            stack: self.args.stack_name.clone(),
            text: resolved.draft.shown(),
            written,
            secrets: resolved
                .secrets
                .keys()
                .map(|kind| format!("{}/{}/{kind}", self.root.secrets(), resolved.agent))
                .collect(),
            secrets_key_arn: self.args.secrets_key_arn.clone(),
            from_service: self.args.from_service.clone(),
            parameters,
            others: others.agents,
            findings: found,
            survey,
        })
    }
}

/// Guardrails that allow what these launches ask for.
fn proposed<'a>(launches: impl Iterator<Item = &'a SurveyedLaunch>) -> Value {
    let launches: Vec<&RenderedLaunch> = launches.filter_map(|launch| launch.rendered.as_ref().ok()).collect();
    let infers = launches.iter().any(|launch| launch.network == Some(NetworkLookup::DefaultVpc));
    let asked = launches.iter().filter_map(|launch| launch.judgement.as_ref()).flat_map(|judgement| &judgement.asked);
    proposal::proposed(asked, infers)
}

/// A file of this machine, which becomes part of the configuration.
fn local_document(path: &str) -> Result<serde_json::Map<String, Value>, String> {
    let file = path.strip_prefix("file://").or_else(|| path.strip_prefix("local://")).unwrap_or(path);
    let text = text_of(&PathBuf::from(file)).map_err(|error| error.to_string())?;
    match read_yaml(&text)? {
        Value::Object(document) => Ok(document),
        _ => Err("it is no mapping".into()),
    }
}
