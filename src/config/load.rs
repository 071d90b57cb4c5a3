//! The parameters of a deployment → its agents. One agent's bad configuration never stops another.

use super::agent::{ConfigSource, read_agent};
use super::environment::ClientHeaders;
use super::reader::{ConfigErrors, Problem};
use super::{AgentConfig, AgentSecrets, Environment, GenerationConfig, Rules, StoredSecret, environment as env};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// A deployment as its parameters describe it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The agents, by name.
    pub agents: Vec<LoadedAgent>,
    /// The bearer token that allows a poke.
    pub poke_token: Option<SecretString>,
    /// What people should know: secrets that no agent uses. Never a secret itself.
    pub warnings: Vec<String>,
}

/// One agent's parameter: a configuration with its secrets, or all that is wrong with it.
#[derive(Debug, Clone)]
pub struct LoadedAgent {
    /// The agent's name: what follows `{root}/config/`.
    pub agent: String,
    /// Name of the parameter, or path of the file.
    pub parameter: String,
    /// ARN of the parameter.
    pub arn: Option<String>,
    /// When the parameter was last written.
    pub last_modified: Option<OffsetDateTime>,
    /// What came of it.
    pub result: Result<(AgentConfig, AgentSecrets), ConfigErrors>,
}

/// An agent is asked for that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no agent {name:?}; configured are: {known}")]
pub struct UnknownAgent {
    /// Its name.
    pub name: String,
    /// Those that are.
    pub known: String,
}

impl UnknownAgent {
    /// The first of these names that is not configured is an error.
    pub fn among<'a>(
        names: &[String],
        configured: impl IntoIterator<Item = &'a String, IntoIter: Clone>,
    ) -> Result<(), Self> {
        let configured = configured.into_iter();
        let Some(name) = names.iter().find(|name| !configured.clone().any(|known| known == *name)) else {
            return Ok(());
        };
        let known = configured.map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(Self { name: name.clone(), known })
    }
}

/// Reads the parameters below `root`; others are ignored.
pub fn load(root: &Root, parameters: &[Parameter], environment: &Environment) -> Loaded {
    let mut loaded = Loaded::default();
    let (config, secrets) = (root.config() + "/", root.secrets() + "/");
    let mut stored = Stored::default();
    let mut agents = BTreeMap::new();
    for parameter in parameters {
        if let Some(agent) = parameter.name.strip_prefix(&config) {
            agents.insert(agent, parameter);
        } else if let Some(place) = parameter.name.strip_prefix(&secrets) {
            stored.take(place, parameter, &mut loaded);
        }
    }
    for (agent, parameter) in agents {
        loaded.agents.push(load_agent(root, agent, parameter, stored.of(agent), environment, &mut loaded.warnings));
    }
    loaded.warnings.extend(stored.unused());
    loaded
}

/// The one agent of a file, for the command line: local documents are allowed, secrets come from the environment.
pub fn from_file(text: &str, path: &str, environment: &Environment) -> LoadedAgent {
    let source = ConfigSource { parameter: path, agent: "agent", local_files: true };
    let mut warnings = Vec::new();
    let result = with_secrets(text, &source, &Root::new(""), AgentParameters::default(), environment, &mut warnings);
    let (agent, parameter) = (source.agent.to_owned(), path.to_owned());
    LoadedAgent { agent, parameter, arn: None, last_modified: None, result }
}

/// The secret parameters of one agent.
#[derive(Debug, Clone, Copy, Default)]
struct AgentParameters<'a> {
    api_key: Option<&'a Parameter>,
    auth_token: Option<&'a Parameter>,
    auth_string: Option<&'a Parameter>,
    client_headers: Option<&'a Parameter>,
}

/// The secret parameters of all agents.
#[derive(Debug, Default)]
struct Stored<'a> {
    by_agent: BTreeMap<&'a str, AgentParameters<'a>>,
}

impl<'a> Stored<'a> {
    /// Files the parameter `{root}/secrets/{place}`.
    fn take(&mut self, place: &'a str, parameter: &'a Parameter, loaded: &mut Loaded) {
        let name = &parameter.name;
        match place.split_once('/') {
            Some((agent, "api-key")) => self.by_agent.entry(agent).or_default().api_key = Some(parameter),
            Some((agent, "auth-token")) => self.by_agent.entry(agent).or_default().auth_token = Some(parameter),
            Some((agent, "auth-string")) => self.by_agent.entry(agent).or_default().auth_string = Some(parameter),
            Some((agent, "client-headers")) => self.by_agent.entry(agent).or_default().client_headers = Some(parameter),
            None if place == "poke-token" => match usable(&parameter.value) {
                Ok(()) => loaded.poke_token = Some(parameter.value.clone()),
                Err(found) => loaded.warnings.push(format!("the parameter {name} is not used: it holds {found}")),
            },
            // The health function reads it, for whoever wants to see the page.
            None if place == "page-token" => {
                if let Err(found) = usable(&parameter.value) {
                    loaded.warnings.push(format!("the parameter {name} is not used: it holds {found}"));
                }
            }
            _ => loaded.warnings.push(format!(
                "the parameter {name} is not used: known are poke-token, page-token, and api-key, auth-token, auth-string \
                 and client-headers of an agent"
            )),
        }
    }

    /// The parameters of an agent; what is left when all agents have theirs belongs to nobody.
    fn of(&mut self, agent: &str) -> AgentParameters<'a> {
        self.by_agent.remove(agent).unwrap_or_default()
    }

    fn unused(self) -> impl Iterator<Item = String> {
        self.by_agent.into_iter().flat_map(|(agent, parameters)| {
            let AgentParameters { api_key, auth_token, auth_string, client_headers } = parameters;
            let all = [api_key, auth_token, auth_string, client_headers];
            all.into_iter().flatten().map(move |parameter| {
                format!("the parameter {} is not used: no agent {agent:?} is configured", parameter.name)
            })
        })
    }
}

fn load_agent(
    root: &Root,
    agent: &str,
    parameter: &Parameter,
    secrets: AgentParameters<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> LoadedAgent {
    let source = ConfigSource { parameter: &parameter.name, agent, local_files: false };
    let result = if parameter.is_secure {
        let allowed = format!(
            "a parameter of type String: a configuration holds no secret, those have parameters of their own below {}. \
             Delete it (its type cannot be changed) and write it again with `--type String`",
            root.secrets()
        );
        let problem = Problem::here("a parameter of type SecureString", allowed);
        Err(ConfigErrors { parameter: parameter.name.clone(), problems: vec![problem] })
    } else if is_agent_name(agent) {
        with_secrets(parameter.value.expose_secret(), &source, root, secrets, environment, warnings)
    } else {
        let allowed = "letters, digits, \"_\" and \"-\", 1 to 64 of them, directly below config/";
        let problem = Problem::here(format!("the agent's name {}", super::values::quoted(agent)), allowed);
        Err(ConfigErrors { parameter: parameter.name.clone(), problems: vec![problem] })
    };
    LoadedAgent {
        agent: agent.to_owned(),
        parameter: parameter.name.clone(),
        arn: parameter.arn.clone(),
        last_modified: parameter.last_modified,
        result,
    }
}

/// A configuration with its secrets; the problems of both at once.
fn with_secrets(
    text: &str,
    source: &ConfigSource<'_>,
    root: &Root,
    parameters: AgentParameters<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<(AgentConfig, AgentSecrets), ConfigErrors> {
    let config = read_agent(text, source, environment);
    let mut problems = Vec::new();
    let generation = config.as_ref().ok().map(|config| &config.generation);
    let mut secrets = match generation {
        Some(GenerationConfig::Three(_)) => of_worker(&parameters, environment, &mut problems, warnings),
        Some(GenerationConfig::One(one)) => {
            of_agent(&parameters, Some(one.rules), (root, source), environment, &mut problems, warnings)
        }
        None => of_agent(&parameters, None, (root, source), environment, &mut problems, warnings),
    };
    secrets.client_headers = client_headers(parameters.client_headers, environment, &mut problems);
    match config {
        Ok(config) if problems.is_empty() => Ok((config, secrets)),
        Ok(_) => Err(ConfigErrors { parameter: source.parameter.to_owned(), problems }),
        Err(mut errors) => {
            errors.problems.extend(problems);
            Err(errors)
        }
    }
}

/// The secrets of a Prefect 0.15 or 1 agent; `rules`: as far as its configuration says.
fn of_agent(
    parameters: &AgentParameters<'_>,
    rules: Option<Rules>,
    (root, source): (&Root, &ConfigSource<'_>),
    environment: &Environment,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> AgentSecrets {
    if let (Some(auth_string), Some(_)) = (parameters.auth_string, rules) {
        warnings.push(format!("the parameter {} is not used: it belongs to Prefect 2 and 3", auth_string.name));
    }
    let api_key = secret(parameters.api_key, env::API_KEY, environment, problems);
    let auth_token = if rules == Some(Rules::V1) {
        refuse_token(parameters.auth_token, api_key.is_some(), root, source, problems, warnings);
        None
    } else {
        secret(parameters.auth_token, env::AUTH_TOKEN, environment, problems)
    };
    AgentSecrets { api_key, auth_token, ..AgentSecrets::default() }
}

/// The secrets of an agent that serves a work pool.
fn of_worker(
    parameters: &AgentParameters<'_>,
    environment: &Environment,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> AgentSecrets {
    if let Some(token) = parameters.auth_token {
        warnings.push(format!("the parameter {} is not used: tokens belong to `prefect: \"0.15\"`", token.name));
    }
    let api_key = secret(parameters.api_key, env::WORKER_API_KEY, environment, problems);
    let auth_string = secret(parameters.auth_string, env::AUTH_STRING, environment, problems);
    if auth_string.as_ref().is_some_and(|secret| !secret.value.expose_secret().contains(':')) {
        let place = parameters.auth_string.map_or(env::AUTH_STRING, |parameter| parameter.name.as_str());
        problems.push(Problem::at(place, "a text without a colon", "user:password"));
    }
    AgentSecrets { api_key, auth_string, ..AgentSecrets::default() }
}

/// A legacy token means nothing to Prefect 1: an error where it is all there is, a warning beside an API key.
fn refuse_token(
    token: Option<&Parameter>,
    has_key: bool,
    root: &Root,
    source: &ConfigSource<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let Some(token) = token else { return };
    if has_key {
        warnings.push(format!("the parameter {} is not used: tokens belong to `prefect: \"0.15\"`", token.name));
    } else {
        let allowed = format!("an API key at {}; a token only with `prefect: \"0.15\"`", root.api_key_of(source.agent));
        problems.push(Problem::at(&token.name, "a token", allowed));
    }
}

/// Further headers; an object without any counts as none.
fn client_headers(
    parameter: Option<&Parameter>,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<ClientHeaders> {
    let (place, stored) = stored(parameter, env::CLIENT_HEADERS, environment)?;
    match ClientHeaders::read(stored) {
        Ok(headers) => Some(headers).filter(|headers| !headers.headers.is_empty()),
        Err((found, allowed)) => {
            problems.push(Problem::at(place, found, allowed));
            None
        }
    }
}

/// The parameter's secret, else the environment's, and where it was found.
fn stored<'a>(
    parameter: Option<&'a Parameter>,
    variable: &'a str,
    environment: &Environment,
) -> Option<(&'a str, StoredSecret)> {
    if let Some(parameter) = parameter {
        let stored = StoredSecret { value: parameter.value.clone(), arn: parameter.arn.clone() };
        return Some((parameter.name.as_str(), stored));
    }
    let text = environment.get(variable).map(|text| text.trim()).filter(|text| !text.is_empty())?;
    Some((variable, StoredSecret { value: SecretString::from(text), arn: None }))
}

/// A secret that goes into an HTTP header as it is.
fn secret(
    parameter: Option<&Parameter>,
    variable: &str,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<StoredSecret> {
    let (place, stored) = stored(parameter, variable, environment)?;
    match usable(&stored.value) {
        Ok(()) => Some(stored),
        Err(found) => {
            problems.push(Problem::at(place, found, "the bare secret, as it goes into an HTTP header"));
            None
        }
    }
}

/// Whether a secret can go into an HTTP header. White space around it is refused too: the containers read the very same
/// parameter, and would send it as it is.
fn usable(secret: &SecretString) -> Result<(), &'static str> {
    let text = secret.expose_secret();
    if text.is_empty() {
        Err("nothing")
    } else if text.trim() != text {
        Err("a secret with white space or a line break around it")
    } else if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        Ok(())
    } else {
        Err("characters that no HTTP header can carry")
    }
}

// Names of the parameters of a deployment.

/// A parameter as Parameter Store gives it. Every value is treated as a secret.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Full name, e.g. `/prefect-serverless-agent/prod/config/etl`.
    pub name: String,
    /// Its value, decrypted.
    pub value: SecretString,
    /// ARN.
    pub arn: Option<String>,
    /// Encrypted (a `SecureString`); a value that was not asked for in clear text is unreadable then.
    pub is_secure: bool,
    /// Counts the writes.
    pub version: i64,
    /// When it was last written.
    pub last_modified: Option<OffsetDateTime>,
}

/// The root of a deployment's parameters, e.g. `/prefect-serverless-agent/prod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(String);

impl Root {
    /// Longest root, in characters: IAM paths and parameters are named after it.
    pub const LONGEST: usize = 400;

    /// How long it is, where that is too long.
    pub fn excessive_length(&self) -> Option<usize> {
        Some(self.0.chars().count()).filter(|length| *length > Self::LONGEST)
    }

    /// What is in it that no parameter's name may have.
    pub fn odd_character(&self) -> Option<char> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-');
        self.0.chars().find(|c| !is_fine(*c))
    }

    /// Normalises: one leading slash, none at the end, none doubled. Nothing but slashes is the top, `""`.
    pub fn new(written: &str) -> Self {
        let segments = written.trim().split('/').filter(|segment| !segment.is_empty());
        Self(segments.fold(String::new(), |root, segment| root + "/" + segment))
    }

    /// The root itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Path below which the configurations lie: `{root}/config`.
    pub fn config(&self) -> String {
        format!("{}/config", self.0)
    }

    /// Path below which polls keep what they remember.
    pub fn state(&self) -> String {
        format!("{}/state", self.0)
    }

    /// Path below which the secrets lie: `{root}/secrets`.
    pub fn secrets(&self) -> String {
        format!("{}/secrets", self.0)
    }

    /// Name of an agent's API key.
    pub fn api_key_of(&self, agent: &str) -> String {
        format!("{}/secrets/{agent}/api-key", self.0)
    }

    /// Name of the token that lets somebody see the page.
    pub fn page_token(&self) -> String {
        format!("{}/secrets/page-token", self.0)
    }

    /// Name of the bearer token that allows a poke.
    pub fn poke_token(&self) -> String {
        format!("{}/secrets/poke-token", self.0)
    }
}

/// Whether an agent may have this name: `[A-Za-z0-9_-]{1,64}`.
pub fn is_agent_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
