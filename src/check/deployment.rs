//! All groups of a deployment, side by side, within one limit of time and one of requests.

use super::codes::{
    Code, ECS_UNKNOWN, EVENTS_UNKNOWN, NETWORK_UNKNOWN, PERMISSIONS_UNKNOWN, PREFECT_UNKNOWN, QUOTAS_UNKNOWN,
};
use super::configuration::{ReadParameters, judge_agents, judge_leftovers, judge_parameters, judge_schedule, polled};
use super::prefect::SeenApi;
use super::stack::{DeployedStack, Stack};
use super::wishes::{self, OwnSecrets, Wishes};
use super::{Finding, Looked, asking, ecs, events, network, permissions, pokes, prefect, quotas, stack, why};
use crate::aws::AwsClients;
use crate::aws::reads::{Budget, Reads};
use crate::clock::{Clock, SystemClock};
use crate::config::{AgentConfig, Environment, Loaded, LoadedAgent, Root, UnknownAgent, from_file, load};
use crate::poll::Source;
use crate::redaction::Redaction;
use crate::survey::{Home, Survey};
use futures_util::future::join_all;
use secrecy::SecretString;
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Requests to AWS in all.
const REQUESTS: usize = 400;
/// Networks that are looked at.
const MOST_NETWORKS: usize = 20;

/// What is looked at of a deployment, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Selected<'a> {
    /// Only these agents; none = all.
    pub agents: &'a [String],
    /// Before the stack is deployed: what only a deployed stack has is left out.
    pub pre: bool,
    /// The poke URL is tried, which starts a poll.
    pub pokes: bool,
    /// Nothing is waited for beyond this.
    pub end: Instant,
}

impl Selected<'_> {
    fn of(&self, agents: &[LoadedAgent]) -> Result<Vec<LoadedAgent>, UnknownAgent> {
        UnknownAgent::among(self.agents, agents.iter().map(|agent| &agent.agent))?;
        let is_selected = |agent: &&LoadedAgent| self.agents.is_empty() || self.agents.contains(&agent.agent);
        Ok(agents.iter().filter(is_selected).cloned().collect())
    }
}

/// What is looked at, and with what.
struct Examined<'a> {
    root: Option<&'a Root>,
    aws: &'a Arc<AwsClients>,
    reads: Reads,
    redaction: &'a Redaction,
    agents: Vec<LoadedAgent>,
    /// What lets somebody poke.
    poke_token: Option<SecretString>,
    stack: OnceCell<DeployedStack>,
    /// Only before the stack is deployed, or for a file.
    pre: bool,
    /// The poke URL is tried.
    pokes: bool,
    /// Nothing is waited for beyond this.
    end: Instant,
}

/// Looks at all of it. Nothing is written; where an agent is connected and pokes are not left out, a poke starts a poll.
pub async fn check(
    source: &Source,
    selected: Selected<'_>,
    aws: &Arc<AwsClients>,
    environment: &Environment,
    redaction: &Redaction,
) -> Result<Looked, UnknownAgent> {
    let (reads, end) = (aws.reads(&Budget::of(REQUESTS)), selected.end);
    let (mut looked, root, loaded, state, secrets_known) = match source {
        Source::File { path, text } => {
            let agents = vec![from_file(text, path, environment)];
            redaction.know_agents(&agents);
            (Looked::default(), None, Loaded { agents, ..Loaded::default() }, Vec::new(), true)
        }
        Source::Parameters(root) => {
            let parameters = tokio::time::timeout_at(end, ReadParameters::read(aws, root)).await;
            let parameters = parameters.unwrap_or_else(|_| ReadParameters::unread());
            let looked = judge_parameters(root, &parameters);
            let Ok(mut all) = parameters.config else { return Ok(looked) };
            let secrets_known = parameters.secrets.is_ok();
            all.extend(parameters.secrets.unwrap_or(parameters.locked));
            redaction.know_parameters(root, &all);
            // The functions do not have this shell's environment.
            let loaded = load(root, &all, &Environment::default());
            redaction.know_agents(&loaded.agents);
            (looked, Some(root), loaded, parameters.state.unwrap_or_default(), secrets_known)
        }
    };
    let agents = selected.of(&loaded.agents)?;
    looked.join(judge_agents(root, &agents, secrets_known));
    if let Some(root) = root {
        looked.join(judge_leftovers(root, &loaded, &state));
    }
    let (pre, pokes, poke_token) = (selected.pre || root.is_none(), selected.pokes, loaded.poke_token);
    let subject = Examined { root, aws, reads, redaction, agents, poke_token, stack: OnceCell::new(), pre, pokes, end };
    // Neither waits for what only the other needs.
    let of_stack = subject.within(EVENTS_UNKNOWN, schedule_and_events(&subject));
    let (of_stack, of_runs) = tokio::join!(of_stack, runs(&subject, secrets_known));
    looked.join(of_runs);
    looked.join(of_stack);
    Ok(looked)
}

/// What runs need: what Prefect says of them, and whether AWS has and allows it.
async fn runs(subject: &Examined<'_>, secrets_known: bool) -> Looked {
    let account = match tokio::time::timeout_at(subject.end, subject.aws.account()).await {
        Ok(account) => account.map_err(|error| why(&error)),
        Err(_) => Err("there was no time left".to_owned()),
    };
    let home = &Home::new(account, &subject.aws.region);
    let prefects = async {
        if secrets_known {
            return subject.within(PREFECT_UNKNOWN, all_prefects(subject, home)).await;
        }
        let sentence = "without the agents' credentials their APIs cannot be asked";
        (of(PREFECT_UNKNOWN.found("Prefect", sentence, "allow what PSA199 or PSA106 names")), Vec::new())
    };
    let ((mut looked, surveys), deployed) = tokio::join!(prefects, subject.deployed());
    if let Err(why) = &home.account {
        let sentence = format!("AWS does not say whose credentials these are, so nothing there is looked at: {why}");
        let mend = "allow sts:GetCallerIdentity, with credentials that AWS knows";
        looked.found(ECS_UNKNOWN.found("AWS", sentence, mend));
        return looked;
    }
    let stack = match deployed {
        Some(DeployedStack::Found(stack)) => Some(&**stack),
        _ => None,
    };
    let surveys: Vec<_> = surveys.iter().map(|(config, survey)| (*config, survey)).collect();
    let path = subject.root.map(Root::secrets).unwrap_or_default();
    let key = stack.map(|stack| stack.parameter("SecretsKeyArn")).unwrap_or_default();
    let wishes = wishes::of(&surveys, OwnSecrets { path: &path, key });
    let (of_permissions, of_ecs, of_network, of_quotas, of_pokes, of_events) = tokio::join!(
        subject.within(PERMISSIONS_UNKNOWN, all_permissions(subject, home, stack, &surveys)),
        subject.within(ECS_UNKNOWN, all_of_ecs(subject, &wishes)),
        subject.within(NETWORK_UNKNOWN, all_networks(subject, stack, &wishes)),
        subject.within(QUOTAS_UNKNOWN, all_quotas(subject, stack, &wishes)),
        subject.within(PREFECT_UNKNOWN, all_pokes(subject, home, stack, secrets_known)),
        subject.within(EVENTS_UNKNOWN, events_from_elsewhere(subject, home, stack, &surveys)),
    );
    for more in [of_permissions, of_ecs, of_network, of_quotas, of_pokes, of_events] {
        looked.join(more);
    }
    looked
}

fn of(finding: Finding) -> Looked {
    Looked { well: Vec::new(), findings: vec![finding] }
}

/// What is known where there was no time.
trait Unfinished {
    fn unfinished(finding: Finding) -> Self;
}

impl Unfinished for Looked {
    fn unfinished(finding: Finding) -> Self {
        of(finding)
    }
}

impl<T> Unfinished for (Looked, Vec<T>) {
    fn unfinished(finding: Finding) -> Self {
        (of(finding), Vec::new())
    }
}

impl Examined<'_> {
    /// A group that is not done in time is unknown; the others are shown.
    async fn within<T: Unfinished>(&self, unknown: Code, group: impl Future<Output = T>) -> T {
        tokio::time::timeout_at(self.end, group).await.unwrap_or_else(|_| {
            let mend = "give it more time with --timeout";
            T::unfinished(unknown.found(unknown.group.title(), "there was no time left to look at all of it", mend))
        })
    }

    /// The stack of the root, if one is looked for; it is asked for once.
    async fn deployed(&self) -> Option<&DeployedStack> {
        let root = self.root.filter(|_| !self.pre)?;
        let finding = || async {
            let found = tokio::time::timeout_at(self.end, DeployedStack::find(&self.reads, root)).await;
            found.unwrap_or_else(|_| DeployedStack::Unknown("there was no time left".into()))
        };
        Some(self.stack.get_or_init(finding).await)
    }
}

/// The stack's schedule and its rules.
async fn schedule_and_events(subject: &Examined<'_>) -> Looked {
    let (Some(root), Some(deployed)) = (subject.root, subject.deployed().await) else { return Looked::default() };
    let DeployedStack::Found(stack) = deployed else { return judge_schedule(root, deployed, None, &[]) };
    let (schedule, observed) =
        tokio::join!(stack::schedule(&subject.reads, stack), events::observe(&subject.reads, stack));
    let mut looked = judge_schedule(root, deployed, Some(&schedule), &subject.agents);
    looked.join(events::judge(root, stack, &observed));
    looked
}

/// The API of every agent that is configured well and enabled; what is known of their runs.
async fn all_prefects<'a>(subject: &'a Examined<'_>, home: &Home) -> (Looked, Vec<(&'a AgentConfig, Survey)>) {
    let setting = prefect::ApiSetting { root: subject.root, aws: subject.aws, home, redaction: subject.redaction };
    let looking = polled(&subject.agents).map(|(agent, config, secrets)| async move {
        let observed = Box::pin(prefect::look(setting, agent, (config, secrets))).await;
        let looked = prefect::judge(subject.root, agent, (config, secrets), &observed, SystemClock.now());
        let survey = match observed.seen {
            SeenApi::Surveyed(survey) => Some((config, *survey)),
            SeenApi::NoWay(_) | SeenApi::Trouble(_) => None,
        };
        (looked, survey)
    });
    let (mut looked, mut surveys) = (Looked::default(), Vec::new());
    for (more, survey) in join_all(looking).await {
        looked.join(more);
        surveys.extend(survey);
    }
    (looked, surveys)
}

/// Whether Prefect pokes as it should, with a poke. Without the secrets neither token nor credentials are known.
async fn all_pokes(subject: &Examined<'_>, home: &Home, stack: Option<&Stack>, secrets_known: bool) -> Looked {
    let (Some(root), Some(stack), true) = (subject.root, stack, secrets_known) else { return Looked::default() };
    let api = prefect::ApiSetting { root: Some(root), aws: subject.aws, home, redaction: subject.redaction };
    let (reads, token, end) = (&subject.reads, subject.poke_token.as_ref(), subject.end);
    let setting = pokes::PokeSetting { root, api, reads, stack, token, pokes: subject.pokes, end };
    pokes::look(setting, &subject.agents, SystemClock.now()).await
}

async fn events_from_elsewhere(
    subject: &Examined<'_>,
    home: &Home,
    stack: Option<&Stack>,
    surveys: &[(&AgentConfig, &Survey)],
) -> Looked {
    let Some(stack) = stack else { return Looked::default() };
    let elsewhere = events::Elsewhere::of(home, &subject.agents, surveys);
    let regions = events::observe_regions(&subject.reads, home, &elsewhere).await;
    events::judge_elsewhere(stack, home, &elsewhere, &regions)
}

async fn all_permissions(
    subject: &Examined<'_>,
    home: &Home,
    stack: Option<&Stack>,
    surveys: &[(&AgentConfig, &Survey)],
) -> Looked {
    let (Some(root), Some(stack)) = (subject.root, stack) else { return Looked::default() };
    let surveys: Vec<_> = surveys.iter().map(|(_, survey)| *survey).collect();
    let wanted = permissions::wanted(root, home, stack, &surveys);
    let decisions = permissions::observe(&subject.reads, home, stack, &wanted).await;
    permissions::judge(stack, home, &wanted, &decisions)
}

async fn all_of_ecs(subject: &Examined<'_>, wishes: &Wishes) -> Looked {
    let observed = asking::observe(&subject.reads, wishes).await;
    ecs::judge(wishes, &observed)
}

async fn all_networks(subject: &Examined<'_>, stack: Option<&Stack>, wishes: &Wishes) -> Looked {
    let (mut looked, lists) = (Looked::default(), network::Lists::default());
    let of_functions = stack.and_then(|stack| wishes::of_functions(stack, subject.reads.region()));
    let of_functions = of_functions.as_ref().map(|(network, functions)| (network, functions));
    let looking =
        of_functions.into_iter().chain(wishes.networks.iter().take(MOST_NETWORKS)).map(|(network, askers)| {
            let (reads, lists) = (&subject.reads, &lists);
            async move { network::judge(network, askers, &network::observe(reads, lists, network).await) }
        });
    join_all(looking).await.into_iter().for_each(|more| looked.join(more));
    let count = wishes.networks.len();
    if count > MOST_NETWORKS {
        let sentence = format!("only {MOST_NETWORKS} of {count} are looked at");
        looked.found(NETWORK_UNKNOWN.found("networks", sentence, "look at fewer agents at once, with --agent"));
    }
    looked
}

async fn all_quotas(subject: &Examined<'_>, stack: Option<&Stack>, wishes: &Wishes) -> Looked {
    let observed = quotas::observe(&subject.reads, stack, wishes, SystemClock.now()).await;
    quotas::judge(stack, &subject.agents, wishes, &observed)
}
