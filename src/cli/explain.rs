//! `prefect-serverless-agent explain`: the story of one flow run, and what happens next.
//! Where several agents may be meant, the one whose run it is is chosen (pure).

use super::args::ExplainArgs;
use super::output::Palette;
use super::output::explain::{Explanation, as_json, as_text};
use super::setting::{clients, read_below, source};
use super::{CliError, say};
use crate::aws::AwsClients;
use crate::clock::{Clock, SystemClock};
use crate::config::{
    AgentConfig, AgentSecrets, Environment, GenerationConfig, LoadedAgent, Root, UnknownAgent, from_file, load,
};
use crate::explain::facts::{AgentView, Facts, Tasks};
use crate::explain::read::{self, Whereabouts};
use crate::explain::{story, verdict};
use crate::functions::health::facts_among;
use crate::health::{AgentFacts, Health};
use crate::orchestrator::Orchestrator;
use crate::orchestrator::run_facts::{BlockReason, RunFacts};
use crate::platform::ecs::AgentEcs;
use crate::poll::{PollError, PrefectBuilder, Source};
use crate::redaction::Redaction;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Prefect is.
const PREFECT_PATIENCE: Duration = Duration::from_secs(30);
/// ECS is.
const ECS_PATIENCE: Duration = Duration::from_secs(30);
/// Agents that are asked at most.
const MAX_AGENTS: usize = 20;

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

impl Subject {
    /// An id, an address of Prefect's UI that has one in it (the last counts), or a name.
    fn read(written: &str) -> Self {
        let written = written.trim();
        let is_part = |c: char| c.is_ascii_hexdigit() || c == '-';
        let ids = written.split(|c| !is_part(c)).filter(|part| part.len() == 36);
        let id = ids.filter_map(|part| Uuid::try_parse(part).ok()).next_back();
        let id = Uuid::try_parse(written).ok().or_else(|| id.filter(|_| written.contains('/')));
        id.map_or_else(|| Self::Name(written.to_owned()), |id| Self::Id(id.hyphenated().to_string()))
    }

    fn shown(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name(text) => text,
        }
    }
}

/// Where the agents are configured, and what was read there.
struct Scene {
    root: Option<Root>,
    /// Path of the file, without a root.
    path: String,
    agents: Vec<LoadedAgent>,
    health: BTreeMap<String, AgentFacts>,
    /// What could not be read, and why.
    unknown: Vec<String>,
}

/// An agent that can be asked.
struct AskedAgent<'a> {
    agent: &'a LoadedAgent,
    config: &'a AgentConfig,
    /// What its Prefect said.
    answer: Result<Option<RunFacts>, String>,
}

/// Reads, and tells.
pub(super) async fn explain(
    args: ExplainArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let palette = Palette::for_terminal(std::io::stdout().is_terminal(), &environment);
    let subject = Subject::read(&args.flow_run);
    if subject.shown().is_empty() {
        return Err(CliError::new("no flow run was named", "give its id, its name (Prefect 2 and 3), or its address"));
    }
    let (scene, aws) = scene(&args, &environment, redaction).await?;
    let (asked, broken) = ask(&scene, &aws, &subject, (&environment, redaction)).await?;
    let (chosen, others) = choose(asked, &subject)?;
    let facts = facts(&scene, &aws, chosen, &subject).await;
    let mut verdict = verdict::verdict(&facts);
    verdict.also.extend(others.into_iter().chain(broken));
    let mut unknown = scene.unknown;
    unknown.extend(facts.run.as_ref().err().map(|why| format!("Prefect: {why}")));
    unknown.extend(facts.run.iter().flat_map(|run| run.unknown.iter().map(|what| format!("Prefect: {what}"))));
    unknown.extend(facts.tasks.unknown.iter().map(|what| format!("ECS: {what}")));
    let told = Explanation { events: story::events(&facts), verdict, unknown, facts: &facts };
    if json {
        say(&mut std::io::stdout(), &format!("{}\n", redaction.value(as_json(&told))));
    } else {
        say(&mut std::io::stdout(), &redaction.text(as_text(&told, palette)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The agents that could be meant.
async fn scene(
    args: &ExplainArgs,
    environment: &Environment,
    redaction: &Redaction,
) -> Result<(Scene, Arc<AwsClients>), CliError> {
    let source = source(args.root.as_deref(), args.config.as_deref(), environment)?;
    let (path, root, agents) = match &source {
        Source::File { path, text } => {
            let agent = from_file(text, path, environment);
            agent.result.as_ref().map_err(CliError::configuration)?;
            redaction.know_agents(std::slice::from_ref(&agent));
            (path.clone(), None, vec![agent])
        }
        Source::Parameters(root) => (root.as_str().to_owned(), Some(root.clone()), Vec::new()),
    };
    let aws = clients(&source, environment).await?;
    let mut scene = Scene { root, path, agents, health: BTreeMap::new(), unknown: Vec::new() };
    if let Source::Parameters(root) = &source {
        read_parameters(&mut scene, root, &aws, redaction).await?;
        if let Some(name) = &args.agent {
            UnknownAgent::among(std::slice::from_ref(name), scene.agents.iter().map(|agent| &agent.agent))?;
            scene.agents.retain(|agent| agent.agent == *name);
        }
    }
    Ok((scene, Arc::new(aws)))
}

/// Configurations must be there; of secrets and state, what may not be read is said.
async fn read_parameters(
    scene: &mut Scene,
    root: &Root,
    aws: &AwsClients,
    redaction: &Redaction,
) -> Result<(), CliError> {
    let (config, secrets, state) = (root.config(), root.secrets(), root.state());
    let read = async {
        let (config, secrets, state) = tokio::join!(
            aws.ssm.parameters_by_path(&config, true, false),
            aws.ssm.parameters_by_path(&secrets, true, true),
            aws.ssm.parameters_by_path(&state, true, false),
        );
        Ok((config?, secrets, state))
    };
    let (mut parameters, secrets, state) = read_below(root, read).await?;
    match secrets {
        Ok(secrets) => parameters.extend(secrets),
        Err(error) => scene.unknown.push(format!("the agents' secrets, so that Prefect is asked without: {error}")),
    }
    redaction.know_parameters(root, &parameters);
    // As the functions see it: nothing of this shell stands in for what a configuration does not say.
    scene.agents = load(root, &parameters, &Environment::default()).agents;
    redaction.know_agents(&scene.agents);
    match state {
        Ok(state) => scene.health = facts_among(root, &scene.agents, &state),
        Err(error) => scene.unknown.push(format!("what the polls wrote down: {error}")),
    }
    if scene.agents.is_empty() {
        return Err(CliError::from(&PollError::NoAgents(root.as_str().to_owned())));
    }
    Ok(())
}

/// Asks the Prefect of every agent for the run; also which agents cannot be asked because their configuration is wrong.
async fn ask<'a>(
    scene: &'a Scene,
    aws: &Arc<AwsClients>,
    subject: &Subject,
    (environment, redaction): (&Environment, &Redaction),
) -> Result<(Vec<AskedAgent<'a>>, Vec<String>), CliError> {
    let mut broken = Vec::new();
    let mut usable = Vec::new();
    for agent in &scene.agents {
        match &agent.result {
            Ok((config, secrets)) => usable.push((agent, config, secrets)),
            Err(errors) => {
                broken.push(format!("agent {} was not asked: its configuration is wrong: {errors}", agent.agent));
            }
        }
    }
    if usable.is_empty() {
        return Err(CliError::configuration(broken.join("; ")));
    }
    if usable.len() > MAX_AGENTS {
        let message = format!("{} agents are configured, and only {MAX_AGENTS} are asked", usable.len());
        return Err(CliError::new(message, "name the run's agent with --agent"));
    }
    let asked = usable.into_iter().map(|(agent, config, secrets)| async move {
        let answer = ask_one(scene, aws, (agent, config, secrets), subject, (environment, redaction)).await?;
        Ok::<_, CliError>(AskedAgent { agent, config, answer })
    });
    let asked = join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok((asked, broken))
}

async fn ask_one(
    scene: &Scene,
    aws: &Arc<AwsClients>,
    (agent, config, secrets): (&LoadedAgent, &AgentConfig, &AgentSecrets),
    subject: &Subject,
    (environment, redaction): (&Environment, &Redaction),
) -> Result<Result<Option<RunFacts>, String>, CliError> {
    let aws = Arc::clone(aws);
    let builder = if let Some(root) = &scene.root {
        PrefectBuilder::of_parameter::<AgentEcs<_>>(aws, SystemClock, root, agent, secrets, redaction)
    } else {
        let of_file = (scene.path.as_str(), environment);
        PrefectBuilder::of_file::<AgentEcs<_>>(aws, SystemClock, of_file, agent, secrets, redaction)
    };
    let deadline = Some(Instant::now() + PREFECT_PATIENCE);
    match (&config.generation, subject) {
        (GenerationConfig::One(_), Subject::Name(_)) => Ok(Ok(None)),
        (GenerationConfig::One(one), Subject::Id(id)) => {
            let one = match builder.prefect1(config, one).await {
                Ok(one) => one,
                Err(error) => return Ok(Err(error.to_string())),
            };
            one.set_deadline(deadline);
            let status = scene.health.get(&agent.agent).and_then(|facts| facts.status.as_ref());
            let remembered = status.and_then(|status| status.registration.clone());
            if let Err(error) = Orchestrator::connect(&one, remembered.as_ref()).await {
                return Ok(Err(error.to_string()));
            }
            Ok(one.explained(id).await.map_err(|error| error.to_string()))
        }
        (GenerationConfig::Three(three), subject) => {
            let three = match builder.prefect3(config, three).await {
                Ok(three) => three,
                Err(error) => return Ok(Err(error.to_string())),
            };
            three.set_deadline(deadline);
            let id = match subject {
                Subject::Id(id) => id.clone(),
                Subject::Name(name) => match three.runs_named(name).await {
                    Err(error) => return Ok(Err(error.to_string())),
                    Ok(ids) => match ids.as_slice() {
                        [] => return Ok(Ok(None)),
                        [id] => id.clone(),
                        ids => {
                            let message = format!("several flow runs are called {name:?}: {}", ids.join(", "));
                            return Err(CliError::new(message, "give the id of one"));
                        }
                    },
                },
            };
            Ok(three.explained(&id).await.map_err(|error| error.to_string()))
        }
    }
}

/// All that is known of the run, with its tasks.
async fn facts(scene: &Scene, aws: &AwsClients, asked: AskedAgent<'_>, subject: &Subject) -> Facts {
    let AskedAgent { agent, config, answer } = asked;
    let view = view(scene, agent, config);
    let run = answer.and_then(|run| run.ok_or_else(|| "it does not know the run".to_owned()));
    let cluster = match &config.generation {
        GenerationConfig::One(one) => one.cluster.as_deref(),
        GenerationConfig::Three(_) => None,
    };
    let whereabouts = match &run {
        Ok(run) => Whereabouts::of(run),
        Err(_) => Some(Whereabouts::configured(cluster)),
    };
    let flow_run_id = run.as_ref().map_or_else(|_| subject.shown().to_owned(), |run| run.id.clone());
    let tasks = match whereabouts {
        // It was never claimed.
        None => Tasks::default(),
        Some(whereabouts) => {
            let aws = aws.for_agent(config.region_name.as_deref(), config.role_to_assume().as_ref()).await;
            let names = (agent.agent.as_str(), flow_run_id.as_str(), view.generation());
            let read = read::tasks(&aws, names, &whereabouts);
            tokio::time::timeout(ECS_PATIENCE, read).await.unwrap_or_else(|_| Tasks {
                unknown: vec![format!("no answer within {} s", ECS_PATIENCE.as_secs())],
                ..Tasks::default()
            })
        }
    };
    Facts { now: SystemClock.now(), flow_run_id, agent: view, run, tasks }
}

fn view(scene: &Scene, agent: &LoadedAgent, config: &AgentConfig) -> AgentView {
    let known = scene.health.get(&agent.agent);
    let health = known.and_then(|known| {
        let one = BTreeMap::from([(agent.agent.clone(), known.clone())]);
        Health::of(&one, SystemClock.now()).agents.remove(&agent.agent)
    });
    let status = known.and_then(|known| known.status.as_ref());
    let configured = known.and_then(|known| known.configuration);
    AgentView {
        config: config.clone(),
        max_polls: configured.map_or(config.max_polls, |configured| configured.max_polls),
        deferred: status.map(|status| status.counts.deferred),
        health,
        root: scene.root.as_ref().map(|root| root.as_str().to_owned()),
    }
}

/// How well an agent fits a run: the higher, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Its Prefect could not be asked.
    Unknown,
    /// The run is not its own.
    Foreign,
    /// It would take the run.
    Serves,
    /// It has claimed the run at some time.
    Claimed,
}

fn fit(run: &RunFacts) -> Fit {
    if run.was_ours {
        Fit::Claimed
    } else if run.block_reasons.iter().any(BlockReason::is_foreign) {
        Fit::Foreign
    } else {
        Fit::Serves
    }
}

/// The agent whose run it is, and what is to be said of the others.
fn choose<'a>(asked: Vec<AskedAgent<'a>>, subject: &Subject) -> Result<(AskedAgent<'a>, Vec<String>), CliError> {
    let names: Vec<&str> = asked.iter().map(|asked| asked.agent.agent.as_str()).collect();
    let only_one = asked.iter().all(|asked| matches!(asked.config.generation, GenerationConfig::One(_)));
    let nobody = match subject {
        Subject::Name(name) if only_one => CliError::new(
            format!("{name:?} is no id of a flow run, and Prefect 1 is asked by id only"),
            "give the run's id, or the address of its page",
        ),
        _ => CliError::new(
            format!("no Prefect knows a flow run {:?}; asked for these agents: {}", subject.shown(), names.join(", ")),
            "check the id, and --root or --config; a run that was deleted has no story",
        ),
    };
    let mut fitting: Vec<(Fit, AskedAgent<'a>)> = Vec::new();
    for one in asked {
        match &one.answer {
            Ok(Some(run)) => fitting.push((fit(run), one)),
            Ok(None) => {}
            Err(_) => fitting.push((Fit::Unknown, one)),
        }
    }
    let Some(best) = fitting.iter().map(|(fit, _)| *fit).max() else { return Err(nobody) };
    if best == Fit::Unknown
        && let Subject::Name(name) = subject
    {
        let why = fitting.iter().find_map(|(_, one)| one.answer.as_ref().err().cloned()).unwrap_or_default();
        return Err(CliError::new(
            format!("nobody could be asked for a flow run called {name:?}: {why}"),
            "give its id",
        ));
    }
    let (mut chosen, rest): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|(fit, _)| *fit == best);
    if best >= Fit::Serves && chosen.len() > 1 {
        let names: Vec<&str> = chosen.iter().map(|(_, one)| one.agent.agent.as_str()).collect();
        let message = format!("several agents could be meant: {}", names.join(", "));
        return Err(CliError::new(message, "name one with --agent"));
    }
    let first = chosen.remove(0).1;
    let others = chosen.into_iter().chain(rest).filter_map(|(_, one)| match one.answer {
        Ok(_) if best == Fit::Foreign => Some(format!("nor is it agent {}'s: see --agent {0}", one.agent.agent)),
        Ok(_) => None,
        Err(why) => Some(format!("agent {}: its Prefect could not be asked: {why}", one.agent.agent)),
    });
    Ok((first, others.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_meant_by_its_id_its_address_or_its_name() {
        const ID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
        let id = || Subject::Id(ID.to_owned());
        for written in [
            ID.to_owned(),
            format!(" {} ", ID.to_uppercase()),
            ID.replace('-', ""),
            format!(
                "https://app.prefect.cloud/account/{}/workspace/{}/runs/flow-run/{ID}?tab=logs",
                Uuid::nil(),
                Uuid::nil()
            ),
            format!("http://127.0.0.1:4200/runs/flow-run/{ID}"),
        ] {
            assert_eq!(Subject::read(&written), id(), "{written}");
        }
        for name in ["pretend-parrot", "", "run-0f0e0d0c"] {
            assert_eq!(Subject::read(name), Subject::Name(name.to_owned()));
        }
    }
}
