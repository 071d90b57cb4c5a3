//! `prefect-serverless-agent connect`: has Prefect 2 and 3 poke the deployment when a run is due. The URL comes first, then the
//! token, then a poke that shows that both work; only then is anything made in Prefect.

use super::args::ConnectArgs;
use super::output::{ADVICE_ON_AWS, printable};
use super::setting::{clients, deployed_stack, read_below, root_of};
use super::{CliError, say};
use crate::aws::AwsClients;
use crate::aws::reads::Budget;
use crate::check::stack::{self, Stack};
use crate::clock::SystemClock;
use crate::config::{
    AgentConfig, AgentSecrets, Environment, GenerationConfig, Loaded, LoadedAgent, Prefect3Config, Root, UnknownAgent,
    load,
};
use crate::model::ApiError;
use crate::platform::ecs::AgentEcs;
use crate::poke::connection::poke_url;
use crate::poke::{self, Trial};
use crate::poll::{PollError, PrefectBuilder, Source};
use crate::prefect3::{Connected, Disconnected, Done, Prefect3};
use crate::redaction::Redaction;
use rustls::crypto::ring::default_provider;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Agents that are connected at once at most.
const MOST_AGENTS: usize = 50;
/// One agent's Prefect may take so long.
const PREFECT_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;
/// A function that has just seen another token looks again after ten seconds.
const TOKEN_IS_SEEN: Duration = Duration::from_secs(11);
/// Requests to AWS for the URL.
const URL_REQUESTS: usize = 3;

/// An agent that can be connected.
struct ConnectedAgent<'a> {
    agent: &'a LoadedAgent,
    config: &'a AgentConfig,
    secrets: &'a AgentSecrets,
    three: &'a Prefect3Config,
}

/// Connects, or takes away, and says what was done.
pub(super) async fn connect(
    args: &ConnectArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let root = root_of(args.root.as_deref(), &environment)?;
    let aws = Arc::new(clients(&Source::Parameters(root.clone()), &environment).await?);
    let loaded = agents_below(&root, &aws, redaction).await?;
    let agents = chosen(&root, &loaded.agents, &args.agents)?;
    let mut told = Told { dry_run: args.dry_run, ..Told::default() };
    let done = if args.remove {
        remove(&root, &aws, redaction, agents, &mut told).await
    } else {
        make(args, &root, &aws, redaction, loaded.poke_token.clone(), agents, &mut told).await
    };
    // What was done before something failed is worth knowing.
    let shown = if json { format!("{}\n", told.as_json()) } else { told.as_text() };
    say(&mut std::io::stdout(), &redaction.text(shown));
    done.map(|()| ExitCode::SUCCESS)
}

async fn make(
    args: &ConnectArgs,
    root: &Root,
    aws: &Arc<AwsClients>,
    redaction: &Redaction,
    token: Option<SecretString>,
    agents: Vec<ConnectedAgent<'_>>,
    told: &mut Told,
) -> Result<(), CliError> {
    let (base, key) = base_url(args.url.as_deref(), root, aws).await?;
    let mut urls = Vec::new();
    for one in agents {
        let url = poke_url(&base, &one.agent.agent).map_err(|why| {
            CliError::new(format!("{base} can be poked by nobody: {why}"), "name the poke function's URL with --url")
        })?;
        urls.push((one, url));
    }
    let parameter = root.poke_token();
    let is_known = token.is_some();
    let token = match token {
        Some(token) => token,
        None if args.dry_run => SecretString::default(),
        None => new_token(&parameter, key.as_deref(), aws).await?,
    };
    redaction.know([token.clone()]);
    told.token = Some((parameter, if is_known { Done::Unchanged } else { Done::Made }));
    if !args.dry_run
        && let Some((_, url)) = urls.first()
    {
        tried(aws, url, &token).await?;
        told.poked = true;
    }
    for (one, url) in urls {
        let prefect = prefect(root, aws, redaction, &one).await?;
        let pool = pool_of(&prefect, &one).await?;
        let connected = prefect.connect_pokes(&url, &token, args.dry_run).await;
        let connected = connected.map_err(|error| trouble(&one.agent.agent, &error))?;
        told.connected.push((one.agent.agent.clone(), pool, url, connected));
    }
    Ok(())
}

async fn remove(
    root: &Root,
    aws: &Arc<AwsClients>,
    redaction: &Redaction,
    agents: Vec<ConnectedAgent<'_>>,
    told: &mut Told,
) -> Result<(), CliError> {
    for one in agents {
        let prefect = prefect(root, aws, redaction, &one).await?;
        let gone = prefect.disconnect_pokes(told.dry_run).await.map_err(|error| trouble(&one.agent.agent, &error))?;
        told.removed.push((one.agent.agent.clone(), gone));
    }
    Ok(())
}

/// What the parameters configure. The secrets must be readable: Prefect is asked as the agent.
async fn agents_below(root: &Root, aws: &AwsClients, redaction: &Redaction) -> Result<Loaded, CliError> {
    let (config, secrets) = (root.config(), root.secrets());
    let read = async {
        tokio::try_join!(
            aws.ssm.parameters_by_path(&config, true, false),
            aws.ssm.parameters_by_path(&secrets, true, true),
        )
    };
    let (mut parameters, secrets) = read_below(root, read).await?;
    parameters.extend(secrets);
    redaction.know_parameters(root, &parameters);
    // As the functions see it: nothing of this shell stands in for what a configuration does not say.
    let loaded = load(root, &parameters, &Environment::default());
    redaction.know_agents(&loaded.agents);
    Ok(loaded)
}

/// Pure: the agents that are meant.
fn chosen<'a>(root: &Root, agents: &'a [LoadedAgent], names: &[String]) -> Result<Vec<ConnectedAgent<'a>>, CliError> {
    if agents.is_empty() {
        return Err(CliError::from(&PollError::NoAgents(root.as_str().to_owned())));
    }
    UnknownAgent::among(names, agents.iter().map(|agent| &agent.agent))?;
    let mut found = Vec::new();
    for agent in agents.iter().filter(|agent| names.is_empty() || names.contains(&agent.agent)) {
        let (config, secrets) = agent.result.as_ref().map_err(CliError::configuration)?;
        match &config.generation {
            GenerationConfig::Three(three) => found.push(ConnectedAgent { agent, config, secrets, three }),
            GenerationConfig::One(_) if names.is_empty() => {}
            GenerationConfig::One(_) => {
                let message = format!("the agent {:?} is one of Prefect 1, which has no automations", agent.agent);
                return Err(CliError::new(message, "name agents of Prefect 2 or 3 with --agent"));
            }
        }
    }
    if found.is_empty() {
        let message = format!("no agent below {} is one of Prefect 2 or 3", root.as_str());
        return Err(CliError::new(message, "Prefect 1 has no automations: its runs are polled each minute"));
    }
    if found.len() > MOST_AGENTS {
        let message = format!("{} agents are configured, and {MOST_AGENTS} are connected at once", found.len());
        return Err(CliError::new(message, "name some of them with --agent"));
    }
    Ok(found)
}

/// Where pokes go, and the key that encrypts the stack's secrets.
async fn base_url(given: Option<&str>, root: &Root, aws: &AwsClients) -> Result<(String, Option<String>), CliError> {
    let stack = deployed_stack(aws, root).await;
    let key = |stack: &Stack| Some(stack.parameter("SecretsKeyArn").to_owned()).filter(|key| !key.is_empty());
    if let Some(url) = given {
        // Whoever names the URL may have another stack, or may not ask for it.
        return Ok((url.to_owned(), stack.ok().as_ref().and_then(key)));
    }
    let stack = stack?;
    let enable = format!("sam deploy --stack-name {} --parameter-overrides PokeUrl=ENABLED", stack.name);
    let none = || {
        CliError::new(format!("the stack {} has no poke URL, which Prefect could call", stack.name), enable.as_str())
    };
    let seen = stack::poke_url(&aws.reads(&Budget::of(URL_REQUESTS)), &stack).await.map_err(|error| {
        let advice = "allow lambda:GetFunctionUrlConfig, or name the stack's output PokeUrl with --url";
        CliError::new(format!("the poke URL of the stack {} is not known: {error}", stack.name), advice)
    })?;
    let seen = seen.ok_or_else(none)?;
    match seen.auth_type.as_str() {
        "NONE" => Ok((seen.url, key(&stack))),
        other => {
            let message = format!("the URL of {} wants {other}, and Prefect cannot sign its webhooks", seen.function);
            Err(CliError::new(message, format!("have its AuthType be NONE again, as the template makes it: {enable}")))
        }
    }
}

/// A token that nobody knows yet; or the one that somebody else has made at this moment.
async fn new_token(parameter: &str, key: Option<&str>, aws: &AwsClients) -> Result<SecretString, CliError> {
    let mut bytes = [0; TOKEN_BYTES];
    let filled = default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| CliError::new("this machine gives no random numbers", "try again"))?;
    let token = SecretString::from(hex::encode(bytes));
    let trouble = |error| CliError::new(format!("{parameter}: {error}"), ADVICE_ON_AWS);
    if aws.ssm.make_secret(parameter, &token, key).await.map_err(trouble)? {
        return Ok(token);
    }
    let known = aws.ssm.get_parameter(parameter, true).await.map_err(trouble)?;
    let known = known.map(|parameter| parameter.value);
    known
        .filter(|known| !known.expose_secret().is_empty() && known.expose_secret().trim() == known.expose_secret())
        .ok_or_else(|| {
            let advice = format!("delete it, and connect again: aws ssm delete-parameter --name {parameter}");
            CliError::new(format!("{parameter} is there, and holds no token that a header can carry"), advice)
        })
}

/// Pokes once, before Prefect does.
async fn tried(aws: &AwsClients, url: &str, token: &SecretString) -> Result<(), CliError> {
    let mut trial = poke::poke(aws.unsigned(), url, token).await;
    if trial == Trial::WrongToken {
        tokio::time::sleep(TOKEN_IS_SEEN).await;
        trial = poke::poke(aws.unsigned(), url, token).await;
    }
    let Some(why) = trial.trouble() else { return Ok(()) };
    let advice = match trial {
        Trial::WrongToken => "see whether the URL is this deployment's: it knows another root's token",
        Trial::NotLetThrough => {
            "deploy the stack with PokeUrl=ENABLED, whose URL has AuthType NONE and both permissions"
        }
        Trial::OtherAnswer(_) => "name the stack's output PokeUrl with --url",
        Trial::Failed(_) => "see the log of the poke function: may it read its token and invoke the poll function?",
        Trial::NotReached(_) | Trial::Answered => "try again; from where does this machine reach the internet?",
    };
    Err(CliError::new(format!("{url} was poked, and {why}. Nothing was made in Prefect"), advice))
}

async fn prefect(
    root: &Root,
    aws: &Arc<AwsClients>,
    redaction: &Redaction,
    one: &ConnectedAgent<'_>,
) -> Result<Prefect3, CliError> {
    let aws = Arc::clone(aws);
    let builder =
        PrefectBuilder::of_parameter::<AgentEcs<_>>(aws, SystemClock, root, one.agent, one.secrets, redaction);
    let prefect = builder.prefect3(one.config, one.three).await;
    let prefect = prefect.map_err(|error| CliError::new(format!("agent {}: {error}", one.agent.agent), ""))?;
    prefect.set_deadline(Some(Instant::now() + PREFECT_PATIENCE));
    Ok(prefect)
}

/// An automation for a pool that is not there would never fire, and nobody would know why.
async fn pool_of(prefect: &Prefect3, one: &ConnectedAgent<'_>) -> Result<String, CliError> {
    let (agent, pool) = (&one.agent.agent, &one.three.work_pool);
    match prefect.own_pool().await {
        Ok(Some(_)) => Ok(pool.clone()),
        Ok(None) => {
            let message = format!("agent {agent}: Prefect knows no work pool {pool:?}");
            Err(CliError::new(message, "make it, or correct `work_pool` in the agent's configuration"))
        }
        Err(error) => Err(trouble(agent, &error)),
    }
}

fn trouble(agent: &str, error: &ApiError) -> CliError {
    let advice = match error {
        ApiError::Unauthorised(_) => "give the agent a credential that may read and write blocks and automations",
        ApiError::Configuration(_) => "its runs are polled each minute, as before",
        _ => "try again: what was done is not done twice",
    };
    CliError::new(format!("agent {agent}: {error}"), advice)
}

// Pure: what was done, for people and for programs.

/// What was done so far.
#[derive(Debug, Default)]
struct Told {
    dry_run: bool,
    token: Option<(String, Done)>,
    poked: bool,
    /// Agent, work pool, URL.
    connected: Vec<(String, String, String, Connected)>,
    removed: Vec<(String, Disconnected)>,
}

impl Told {
    fn as_json(&self) -> Value {
        let mut agents = Map::new();
        for (agent, pool, url, Connected { name, block, automation, duplicates }) in &self.connected {
            let one = json!({
                "work_pool": pool, "url": url, "name": name, "block": block, "automation": automation,
                "duplicates_deleted": duplicates,
            });
            agents.insert(agent.clone(), one);
        }
        for (agent, Disconnected { name, automations, block }) in &self.removed {
            let one = json!({"name": name, "automations_deleted": automations, "block_deleted": block});
            agents.insert(agent.clone(), one);
        }
        let token = self.token.as_ref().map(|(parameter, done)| json!({"parameter": parameter, "token": done}));
        json!({"dry_run": self.dry_run, "poke_token": token, "poked": self.poked, "agents": agents})
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", printable(&line));
        };
        let done = |done: Done| match (done, self.dry_run) {
            (Done::Unchanged, _) => "is as it should be",
            (Done::Made, false) => "made",
            (Done::Changed, false) => "changed",
            (Done::Made, true) => "would be made",
            (Done::Changed, true) => "would be changed",
        };
        if let Some((parameter, made)) = &self.token {
            line(format!(
                "token {parameter}: {}",
                if *made == Done::Unchanged { "there already" } else { done(*made) }
            ));
        }
        if self.poked {
            line("the URL was poked, and a poll follows".into());
        }
        for (agent, pool, url, Connected { name, block, automation, duplicates }) in &self.connected {
            line(format!("agent {agent}: runs of the work pool {pool} poke {url}"));
            line(format!("  webhook block {name}: {}", done(*block)));
            line(format!("  automation {name}: {}", done(*automation)));
            if *duplicates > 0 {
                let verb = if self.dry_run { "would be deleted" } else { "deleted" };
                line(format!("  {duplicates} more of the same name and tag: {verb}"));
            }
        }
        for (agent, Disconnected { name, automations, block }) in &self.removed {
            let verb = if self.dry_run { "would be deleted" } else { "deleted" };
            line(match (automations, block) {
                (0, false) => format!("agent {agent}: nothing of the name {name} is there"),
                (0, true) => format!("agent {agent}: webhook block {name} {verb}"),
                (1, block) => format!(
                    "agent {agent}: automation {name}{} {verb}",
                    if *block { " and its webhook block" } else { "" }
                ),
                (count, block) => format!(
                    "agent {agent}: {count} automations {name}{} {verb}",
                    if *block { " and their webhook block" } else { "" }
                ),
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Parameter;

    fn agents() -> Vec<LoadedAgent> {
        let parameter = |name: &str, value: &str| Parameter {
            name: format!("/psa/config/{name}"),
            value: SecretString::from(value),
            is_secure: false,
            arn: None,
            version: 1,
            last_modified: None,
        };
        let three = "prefect: 3\napi: https://prefect/api\nwork_pool: ecs\n";
        let all = [parameter("flows", three), parameter("old", "prefect: 1\n")];
        load(&Root::new("/psa"), &all, &Environment::default()).agents
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn agents_of_prefect_1_are_left_out_unless_they_are_named() {
        let (root, agents) = (Root::new("/psa"), agents());
        let chosen = |wanted: &[&str]| {
            let found = chosen(&root, &agents, &names(wanted));
            found.map(|found| found.iter().map(|one| one.agent.agent.clone()).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap(), ["flows"]);
        assert!(chosen(&["old"]).unwrap_err().message.contains("Prefect 1"));
        assert!(chosen(&["gone"]).unwrap_err().message.contains("\"gone\""));
        assert!(super::chosen(&root, &[], &[]).is_err());
    }

    #[test]
    fn people_read_what_was_done() {
        let connected =
            Connected { name: "psa-poke-flows-1".into(), block: Done::Made, automation: Done::Changed, duplicates: 1 };
        let told = Told {
            token: Some(("/psa/secrets/poke-token".into(), Done::Made)),
            poked: true,
            connected: vec![("flows".into(), "ecs".into(), "https://x/api/poke?agent=flows".into(), connected)],
            ..Told::default()
        };
        let expected = "token /psa/secrets/poke-token: made\nthe URL was poked, and a poll follows\n\
            agent flows: runs of the work pool ecs poke https://x/api/poke?agent=flows\n  \
            webhook block psa-poke-flows-1: made\n  automation psa-poke-flows-1: changed\n  \
            1 more of the same name and tag: deleted\n";
        assert_eq!(told.as_text(), expected);
        let gone = |automations, block| {
            let gone = Disconnected { name: "n".into(), automations, block };
            Told { removed: vec![("flows".into(), gone)], ..Told::default() }.as_text()
        };
        assert_eq!(gone(1, true), "agent flows: automation n and its webhook block deleted\n");
        assert_eq!(gone(0, false), "agent flows: nothing of the name n is there\n");
    }
}
