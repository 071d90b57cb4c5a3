//! What makes Prefect poke the deployment: the URL, the token, each agent's webhook block and automation, and Prefect's last
//! poke; then a poke that is really made, and the poll that follows it. Looked at where the stack has a poke URL or a token.

use super::codes::{
    CONNECTION_DIFFERS, NO_POLL_FOLLOWS, NOT_CONNECTED, POKE_REFUSED, POKE_URL_MISSING, POKES_FAIL, PREFECT_UNKNOWN,
};
use super::configuration::{again, anew, polled};
use super::prefect::{ApiSetting, PATIENCE, builder};
use super::stack::{FunctionUrl, POKE_FUNCTION, Stack, poke_url};
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::Reads;
use crate::aws::ssm::Ssm;
use crate::config::{AgentConfig, AgentSecrets, GenerationConfig, LoadedAgent, Prefect3Config, Root};
use crate::model::{ApiError, SetupError};
use crate::poke::connection::{self, ConnectionFault};
use crate::poke::{self, Trial};
use crate::prefect3::SeenConnection;
use crate::state::status;
use crate::transport::shape::{at, text_at};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Older pokes of Prefect's say nothing of today.
const RECENT: time::Duration = time::Duration::hours(24);
/// A poll that follows a poke has ended by then, unless it has much to launch.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(500);
/// Kept back of the time that there is, for what is said at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What looking needs.
#[derive(Debug, Clone, Copy)]
pub struct PokeSetting<'a> {
    /// The deployment's root.
    pub root: &'a Root,
    /// For the agents' APIs.
    pub api: ApiSetting<'a>,
    /// For the URL.
    pub reads: &'a Reads,
    /// The stack.
    pub stack: &'a Stack,
    /// What lets somebody poke, if the parameter is there.
    pub token: Option<&'a SecretString>,
    /// A poke is made; without, what there is is only read.
    pub pokes: bool,
    /// Nothing is waited for beyond this.
    pub end: Instant,
}

/// What was observed.
#[derive(Debug)]
pub struct ObservedPokes {
    /// The poke function's URL.
    pub url: Result<Option<FunctionUrl>, AwsError>,
    /// Of each agent that is looked at, what of its connection is there.
    pub agents: Vec<(String, Result<Connection, ApiError>)>,
    /// The poke that was made, if anybody is connected.
    pub tried: Option<Tried>,
}

/// An agent's connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Whether anything of it is there.
    pub is_there: bool,
    /// What is the matter, as far as the URL is known.
    pub faults: Vec<ConnectionFault>,
    /// What Prefect's last poke came to.
    pub last: Result<Option<Value>, ApiError>,
}

/// A poke that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Where.
    pub url: String,
    /// What became of it.
    pub trial: Trial,
    /// Whether a poll followed within that time; `None`: nobody knows.
    pub followed: Option<(bool, Duration)>,
}

/// Looks, pokes, and waits for the poll.
pub async fn look(setting: PokeSetting<'_>, agents: &[LoadedAgent], now: OffsetDateTime) -> Looked {
    if setting.stack.resource(POKE_FUNCTION).is_none() && setting.token.is_none() {
        return Looked::default();
    }
    let observed = observe(setting, agents, now).await;
    judge(setting.root, setting.stack, setting.token.is_some(), &observed)
}

async fn observe(setting: PokeSetting<'_>, agents: &[LoadedAgent], now: OffsetDateTime) -> ObservedPokes {
    let url = poke_url(setting.reads, setting.stack).await;
    let base = url.as_ref().ok().and_then(Option::as_ref).filter(|url| is_open(url)).map(|url| url.url.clone());
    let looking = polled(agents).filter_map(|(agent, config, secrets)| match &config.generation {
        GenerationConfig::One(_) => None,
        GenerationConfig::Three(three) => Some((agent, config, secrets, three)),
    });
    let looking = looking.map(|(agent, config, secrets, three)| {
        let base = base.as_deref();
        async move {
            let seen = connection_of(setting, agent, (config, secrets, three), base, now).await;
            (agent.agent.clone(), seen)
        }
    });
    let agents = join_all(looking).await;
    let is_connected = |(_, seen): &&(String, Result<Connection, ApiError>)| matches!(seen, Ok(seen) if seen.is_there);
    let token = setting.token.filter(|_| setting.pokes);
    let tried = match (base, token, agents.iter().find(is_connected)) {
        (Some(base), Some(token), Some((agent, _))) => tried(setting, &base, agent, token).await,
        _ => None,
    };
    ObservedPokes { url, agents, tried }
}

async fn connection_of(
    setting: PokeSetting<'_>,
    agent: &LoadedAgent,
    (config, secrets, three): (&AgentConfig, &AgentSecrets, &Prefect3Config),
    base: Option<&str>,
    now: OffsetDateTime,
) -> Result<Connection, ApiError> {
    let no_way = |error: SetupError| ApiError::Configuration(error.message);
    let prefect = builder(setting.api, agent, secrets).prefect3(config, three).await.map_err(no_way)?;
    prefect.set_deadline(Some(setting.end.min(Instant::now() + PATIENCE)));
    let seen = prefect.poke_connection().await?;
    let SeenConnection { block, automations, .. } = &seen;
    let is_there = block.is_some() || !automations.is_empty();
    let url = base.and_then(|base| connection::poke_url(base, &agent.agent).ok());
    let token = setting.token.cloned().unwrap_or_default();
    let mut faults = url.map(|url| prefect.faults(&seen, &url, &token)).unwrap_or_default();
    if setting.token.is_none() {
        // There is none to compare with, which is said anyway.
        faults.retain(|fault| *fault != ConnectionFault::OtherToken);
    }
    let last = match automations.first() {
        Some(automation) => prefect.last_poke(automation, now.saturating_sub(RECENT)).await,
        None => Ok(None),
    };
    Ok(Connection { is_there, faults, last })
}

/// Pokes for an agent, and waits for its poll.
async fn tried(setting: PokeSetting<'_>, base: &str, agent: &str, token: &SecretString) -> Option<Tried> {
    let url = connection::poke_url(base, agent).ok()?;
    let ssm = &setting.api.aws.ssm;
    let known = status::read(ssm, setting.root.as_str(), agent).await;
    let trial = poke::poke(setting.api.aws.unsigned(), &url, token).await;
    let followed = match (&trial, known) {
        // Of an agent that polls no more there is nothing to wait for.
        (Trial::Answered, Ok(known)) if !known.as_ref().is_some_and(|known| known.stopped) => {
            let last_poked = known.and_then(|known| known.last_poked);
            poll_follows(ssm, setting.root, agent, last_poked, setting.end).await
        }
        _ => None,
    };
    Some(Tried { url, trial, followed })
}

/// Whether a poll ends that a poke has asked for, another than the last such one, and within which time; `None`: it could
/// not be asked. The schedule's polls say nothing.
async fn poll_follows(
    ssm: &Ssm,
    root: &Root,
    agent: &str,
    last_poked: Option<OffsetDateTime>,
    end: Instant,
) -> Option<(bool, Duration)> {
    let began = Instant::now();
    let patience = FOLLOWS_WITHIN.min(end.saturating_duration_since(began).saturating_sub(LAST_WORDS));
    loop {
        let seen = status::read(ssm, root.as_str(), agent).await.ok()?;
        if seen.is_some_and(|seen| seen.last_poked > last_poked) {
            return Some((true, began.elapsed()));
        }
        if began.elapsed() + LOOK > patience {
            return Some((false, patience));
        }
        tokio::time::sleep(LOOK).await;
    }
}

// What it means. Pure.

fn is_open(url: &FunctionUrl) -> bool {
    url.auth_type == "NONE"
}

/// What is well and what is not. `has_token`: the parameter with the token is there.
pub fn judge(root: &Root, stack: &Stack, has_token: bool, observed: &ObservedPokes) -> Looked {
    let mut looked = Looked::default();
    let subject = format!("stack {}", stack.name);
    let connected = observed.agents.iter().filter_map(|(agent, seen)| Some((agent.as_str(), seen.as_ref().ok()?)));
    let connected: Vec<_> = connected.filter(|(_, seen)| seen.is_there).collect();
    let enable = again(stack, "PokeUrl=ENABLED");
    match &observed.url {
        Err(error) => {
            let sentence = format!("its poke URL could not be asked: {}", why(error));
            looked.found(PREFECT_UNKNOWN.found(subject, sentence, "allow lambda:GetFunctionUrlConfig"));
        }
        Ok(Some(url)) if is_open(url) => judge_connections(root, has_token, observed, url, &mut looked),
        Ok(Some(url)) => {
            let sentence = format!("the URL of {} wants {}, and Prefect cannot sign", url.function, url.auth_type);
            looked.found(POKE_URL_MISSING.found(subject, sentence, enable));
        }
        Ok(None) if stack.resource(POKE_FUNCTION).is_some() => {
            let sentence = "the URL of its poke function is gone: nobody can poke";
            looked.found(POKE_URL_MISSING.found(subject, sentence, anew(stack)));
        }
        Ok(None) => {
            for (agent, _) in connected {
                let sentence = format!("Prefect pokes for agent {agent}, and there is no poke URL");
                let mend = format!("{enable}, or prefect-serverless-agent connect --root {} --remove", root.as_str());
                looked.found(POKE_URL_MISSING.found(&subject, sentence, mend));
            }
        }
    }
    looked
}

fn judge_connections(root: &Root, has_token: bool, observed: &ObservedPokes, url: &FunctionUrl, looked: &mut Looked) {
    for (agent, seen) in &observed.agents {
        let subject = format!("agent {agent}");
        let connect = format!("prefect-serverless-agent connect --root {} --agent {agent}", root.as_str());
        let seen = match seen {
            Ok(seen) => seen,
            // Prefect 2 has no automations. What else is wrong with a configuration is said elsewhere.
            Err(ApiError::Configuration(_)) => continue,
            Err(error) => {
                let sentence = format!("its webhook block and automation could not be asked: {error}");
                let mend = "check again, with a credential that may read blocks and automations";
                looked.found(PREFECT_UNKNOWN.found(subject, sentence, mend));
                continue;
            }
        };
        if !seen.is_there {
            let sentence = "nothing pokes for it: runs that people start wait for the next minute's poll";
            looked.found(NOT_CONNECTED.found(subject, sentence, connect));
            continue;
        }
        let mut wrong: Vec<String> = seen.faults.iter().map(ConnectionFault::sentence).collect();
        if !has_token {
            wrong.insert(0, format!("the parameter {} is gone: nobody may poke", root.poke_token()));
        }
        if !wrong.is_empty() {
            looked.found(CONNECTION_DIFFERS.found(&subject, wrong.join("; "), &connect));
        }
        match &seen.last {
            Err(error) => {
                let sentence = format!("what Prefect's pokes came to could not be asked: {error}");
                looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "check again"));
            }
            Ok(Some(event)) => match trouble_of(event) {
                Some(trouble) => {
                    let when = text_at(event, &["occurred"]).unwrap_or("a time that is not told");
                    let sentence = format!("Prefect's last poke, at {when}, {trouble}");
                    let mend = "where that was mended since, start a run and check again";
                    looked.found(POKES_FAIL.found(&subject, sentence, mend));
                }
                None => looked.is_well(Group::Prefect, format!("{subject}: Prefect's last poke was answered")),
            },
            Ok(None) => {}
        }
        if wrong.is_empty() {
            let said = format!("{subject}: a webhook block and an automation poke {}", url.function);
            looked.is_well(Group::Prefect, said);
        }
    }
    if let Some(tried) = &observed.tried {
        judge_trial(tried, url, looked);
    }
}

fn judge_trial(tried: &Tried, url: &FunctionUrl, looked: &mut Looked) {
    let subject = format!("function {}", url.function);
    match (&tried.trial, tried.trial.trouble()) {
        (Trial::NotReached(_), Some(trouble)) => {
            let sentence = format!("{} was poked, and {trouble}", tried.url);
            looked.found(PREFECT_UNKNOWN.found(subject, sentence, "check from where the internet is reached"));
        }
        (trial, Some(trouble)) => {
            let mend = match trial {
                Trial::WrongToken => "a function sees a new token within ten seconds: check again; then see its log",
                Trial::NotLetThrough => "deploy the stack again: its permissions for the URL are gone",
                _ => "see the log of the poke function: may it read its token and invoke the poll function?",
            };
            looked.found(POKE_REFUSED.found(subject, format!("{} was poked, and {trouble}", tried.url), mend));
        }
        (_, None) => match tried.followed {
            Some((true, took)) => {
                let said =
                    format!("{subject}: a poke was answered, and a poll ended {:.1} s later", took.as_secs_f64());
                looked.is_well(Group::Prefect, said);
            }
            Some((false, waited)) => {
                let sentence =
                    format!("a poke was answered, and no poll of its agent ended within {} s", waited.as_secs());
                let mend = "see the log of the poll function; one that launches many runs takes longer: check again";
                looked.found(NO_POLL_FOLLOWS.found(subject, sentence, mend));
            }
            None => looked.is_well(Group::Prefect, format!("{subject}: a poke was answered")),
        },
    }
}

/// Why Prefect's poke came to nothing. Whatever answers counts as success there, whatever it says.
fn trouble_of(event: &Value) -> Option<String> {
    if let Some(status) = at(event, &["payload", "status_code"]).and_then(Value::as_u64) {
        return (status != 200).then(|| format!("was answered HTTP {status}"));
    }
    let failed = text_at(event, &["event"]).is_some_and(|name| name.ends_with(".failed"));
    failed.then(|| format!("failed: {}", text_at(event, &["payload", "reason"]).unwrap_or("no reason is told")))
}
