//! The parameters below a root, the secrets beside them, and the schedule that polls. Pure but for [`ReadParameters::read`].

use super::codes::{
    CONFIGURATION_INVALID, CONFIGURATION_UNKNOWN, INTERVAL_DIFFERS, NO_AGENT, PARAMETER_UNUSED, PARAMETERS_UNREADABLE,
    SCHEDULE_DISABLED, SCHEDULE_MISSING, SECRET_IN_CLEAR, SECRET_MISSING, SECRETS_UNREADABLE, SILENCE_IMPATIENT,
    STACK_MISSING,
};
use super::schedule::{longest_gap, rate, silence_after};
use super::stack::{DeployedStack, Schedule, Stack};
use super::{Group, Looked, why};
use crate::aws::{AwsClients, AwsError};
use crate::config::{AgentConfig, AgentSecrets, Backend, GenerationConfig, Loaded, LoadedAgent, Parameter, Root};
use crate::transport::without_userinfo;
use std::collections::BTreeSet;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The parameters of a deployment, as far as they could be read.
#[derive(Debug)]
pub struct ReadParameters {
    /// What lies below `{root}/config`.
    pub config: Result<Vec<Parameter>, AwsError>,
    /// What lies below `{root}/secrets`, decrypted.
    pub secrets: Result<Vec<Parameter>, AwsError>,
    /// The same, where decrypting was refused: types and names, whose values say nothing.
    pub locked: Vec<Parameter>,
    /// Names of what lies below `{root}/state`.
    pub state: Result<Vec<String>, AwsError>,
}

impl ReadParameters {
    /// There was no time to read them.
    pub fn unread() -> Self {
        let late = || AwsError::NoAnswer("there was no time left".into());
        Self { config: Err(late()), secrets: Err(late()), locked: Vec::new(), state: Err(late()) }
    }

    /// Reads them.
    pub async fn read(aws: &AwsClients, root: &Root) -> Self {
        let ssm = &aws.ssm;
        let (config, secrets, state) = (root.config(), root.secrets(), root.state());
        let (config, decrypted, state) = tokio::join!(
            ssm.parameters_by_path(&config, true, false),
            ssm.parameters_by_path(&secrets, true, true),
            ssm.parameters_by_path(&state, true, false),
        );
        let locked = match &decrypted {
            Err(AwsError::Answer { .. }) => ssm.parameters_by_path(&secrets, true, false).await.unwrap_or_default(),
            _ => Vec::new(),
        };
        let state = state.map(|state| state.into_iter().map(|parameter| parameter.name).collect());
        Self { config, secrets: decrypted, locked, state }
    }
}

/// What the parameters themselves say.
pub fn judge_parameters(root: &Root, parameters: &ReadParameters) -> Looked {
    let mut looked = Looked::default();
    let list = |path: String| format!("aws ssm get-parameters-by-path --recursive --path {path}");
    if let Err(error) = &parameters.config {
        let sentence = format!("nothing can be looked at: {}", why(error));
        looked.found(PARAMETERS_UNREADABLE.found(root.config(), sentence, list(root.config())));
    }
    match &parameters.secrets {
        Ok(_) => {}
        Err(error) if is_about_key(error) => {
            let command = format!("{} --with-decryption", list(root.secrets()));
            looked.found(SECRETS_UNREADABLE.found(root.secrets(), error.to_string(), command));
        }
        Err(error) if error.is_denied() && !parameters.locked.is_empty() => {
            let sentence = format!("the secrets are there, but {}", why(error));
            looked.found(CONFIGURATION_UNKNOWN.found(root.secrets(), sentence, "allow kms:Decrypt with their key"));
        }
        Err(error) => {
            looked.found(CONFIGURATION_UNKNOWN.found(root.secrets(), why(error), list(root.secrets())));
        }
    }
    // Without the configurations nobody's state can be told from that of agents that are gone anyway.
    if let (Ok(_), Err(error)) = (&parameters.config, &parameters.state) {
        let sentence = format!("whether agents that are gone left something could not be asked: {}", why(error));
        looked.found(CONFIGURATION_UNKNOWN.found(root.state(), sentence, list(root.state())));
    }
    let secrets = parameters.secrets.as_ref().unwrap_or(&parameters.locked);
    for secret in secrets.iter().filter(|secret| !secret.is_secure) {
        let name = &secret.name;
        let sentence = "it is a String: in clear for whoever may read parameters";
        let mend = format!(
            "aws ssm delete-parameter --name {name} && aws ssm put-parameter --type SecureString --name {name} --value …"
        );
        looked.found(SECRET_IN_CLEAR.found(name, sentence, mend));
    }
    if !secrets.is_empty() && secrets.iter().all(|secret| secret.is_secure) {
        let decrypted = if parameters.secrets.is_ok() { ", and can be decrypted" } else { "" };
        let said = format!("{} kept as SecureString{decrypted}", counted(secrets.len(), "secret"));
        looked.is_well(Group::Configuration, said);
    }
    looked
}

/// Whether KMS says that this key decrypts nothing, for nobody. What it says of who asks, or of a moment, is no verdict.
fn is_about_key(error: &AwsError) -> bool {
    // Parameter Store's own word for all of it, and what KMS says where that is passed on.
    const CODES: [&str; 6] = [
        "InvalidKeyId",
        "DisabledException",
        "KMSInvalidStateException",
        "InvalidKeyUsageException",
        "IncorrectKeyException",
        "InvalidCiphertextException",
    ];
    error.code().is_some_and(|code| CODES.contains(&code))
}

/// Agents that are configured well and polled: of others nothing can fail.
pub(super) fn polled(agents: &[LoadedAgent]) -> impl Iterator<Item = (&LoadedAgent, &AgentConfig, &AgentSecrets)> {
    agents.iter().filter_map(|agent| {
        let (config, secrets) = agent.result.as_ref().ok()?;
        config.enabled.then_some((agent, config, secrets))
    })
}

/// What the agents' configurations say.
/// `secrets_known`: their secrets were read.
pub fn judge_agents(root: Option<&Root>, agents: &[LoadedAgent], secrets_known: bool) -> Looked {
    let mut looked = Looked::default();
    if agents.is_empty() {
        let config = root.map(Root::config).unwrap_or_default();
        let mend = match root {
            Some(root) => format!("prefect-serverless-agent push etl.yaml --root {}", root.as_str()),
            None => String::new(),
        };
        looked.found(NO_AGENT.found(&config, "no agent is configured below it, in this region", mend));
    }
    for agent in agents {
        match &agent.result {
            Err(errors) => {
                let mend = match root {
                    Some(root) => {
                        format!(
                            "prefect-serverless-agent push {0}.yaml --agent {0} --root {1}",
                            agent.agent,
                            root.as_str()
                        )
                    }
                    None => format!("correct {}", agent.parameter),
                };
                looked.found(CONFIGURATION_INVALID.found(&agent.parameter, errors.to_string(), mend));
            }
            Ok((config, _)) => {
                let disabled =
                    if config.enabled { "" } else { ", with enabled: false: it is not polled, and not looked at" };
                let said = format!("agent {}: its configuration is valid{disabled}", agent.agent);
                looked.is_well(Group::Configuration, said);
            }
        }
    }
    for (agent, config, secrets) in polled(agents) {
        if secrets_known && needs_credential(config) && has_none(secrets) {
            looked.found(missing_credential(root, agent, config));
        }
    }
    looked
}

/// What lies below the root and is nobody's. `loaded`: all agents, lest those that are not looked at seem to be gone.
pub fn judge_leftovers(root: &Root, loaded: &Loaded, state: &[String]) -> Looked {
    let mut looked = Looked::default();
    for warning in &loaded.warnings {
        let name = warning.split(' ').find(|word| word.starts_with('/')).unwrap_or_default();
        let mend = format!("aws ssm delete-parameter --name {name}");
        looked.found(PARAMETER_UNUSED.found(name, warning, mend));
    }
    for name in unclaimed_state(root, &loaded.agents, state) {
        let sentence = "no agent of this name is configured any more";
        let mend = format!("aws ssm delete-parameter --name {name}");
        looked.found(PARAMETER_UNUSED.found(&name, sentence, mend));
    }
    looked
}

/// Parameters of the state whose agents are gone.
fn unclaimed_state(root: &Root, agents: &[LoadedAgent], state: &[String]) -> Vec<String> {
    let known: BTreeSet<&str> = agents.iter().map(|agent| agent.agent.as_str()).collect();
    let below = root.state() + "/";
    let is_left = |name: &&String| {
        let agent = name.strip_prefix(&below).and_then(|rest| rest.split_once('/')).map(|(agent, _)| agent);
        agent.is_some_and(|agent| !known.contains(agent))
    };
    state.iter().filter(is_left).cloned().collect()
}

/// Whether nobody is let in without a credential: Prefect Cloud. A server of one's own may do without.
fn needs_credential(config: &AgentConfig) -> bool {
    match &config.generation {
        GenerationConfig::One(one) => one.backend == Backend::Cloud,
        GenerationConfig::Three(_) => config.api.contains("/accounts/") && config.api.contains("/workspaces/"),
    }
}

fn has_none(secrets: &AgentSecrets) -> bool {
    secrets.api_key.is_none() && secrets.auth_token.is_none() && secrets.auth_string.is_none()
}

/// An agent whose API wants a credential, and that has none.
pub fn missing_credential(root: Option<&Root>, agent: &LoadedAgent, config: &AgentConfig) -> super::Finding {
    let mend = match (root, &config.generation) {
        (Some(root), _) => {
            let name = root.api_key_of(&agent.agent);
            format!("aws ssm put-parameter --type SecureString --name {name} --value …")
        }
        (None, GenerationConfig::One(_)) => "export PREFECT__CLOUD__API_KEY=…".to_owned(),
        (None, GenerationConfig::Three(_)) => "export PREFECT_API_KEY=…".to_owned(),
    };
    let sentence =
        format!("it has no credential, and the API at {} lets nobody in without", without_userinfo(&config.api));
    SECRET_MISSING.found(format!("agent {}", agent.agent), sentence, mend)
}

/// Whether there is a stack, and its schedule polls as the agents think.
pub fn judge_schedule(
    root: &Root,
    deployed: &DeployedStack,
    schedule: Option<&Result<Option<Schedule>, AwsError>>,
    agents: &[LoadedAgent],
) -> Looked {
    let mut looked = Looked::default();
    let stack = match deployed {
        DeployedStack::Found(stack) => stack,
        DeployedStack::Missing => {
            let sentence = "no stack of this region has it as its ParameterRoot, so nothing polls";
            let mend = format!(
                "sam deploy --parameter-overrides ParameterRoot={} …, or check --pre before that",
                root.as_str()
            );
            looked.found(STACK_MISSING.found(root.as_str(), sentence, mend));
            return looked;
        }
        DeployedStack::Unknown(why) => {
            let sentence = format!("which stack polls for it could not be asked: {why}");
            looked.found(CONFIGURATION_UNKNOWN.found(root.as_str(), sentence, "allow cloudformation:DescribeStacks"));
            return looked;
        }
    };
    let subject = format!("stack {}", stack.name);
    let again = |parameter: &str| again(stack, parameter);
    match schedule {
        None | Some(Ok(None)) => {
            let sentence = "its schedule is gone, so nothing polls";
            looked.found(SCHEDULE_MISSING.found(subject, sentence, anew(stack)));
        }
        Some(Err(error)) => {
            let sentence = format!("its schedule could not be asked: {}", why(error));
            looked.found(CONFIGURATION_UNKNOWN.found(subject, sentence, "allow scheduler:GetSchedule"));
        }
        Some(Ok(Some(schedule))) => {
            let gap = longest_gap(&schedule.expression);
            if schedule.is_enabled {
                let apart = gap.map(|gap| format!(", {} min apart at most", gap.as_secs() / 60)).unwrap_or_default();
                let said = format!("schedule {}: enabled, {}{apart}", schedule.name, schedule.expression);
                looked.is_well(Group::Configuration, said);
            } else {
                let sentence = format!("its schedule {} is disabled, so nothing polls", schedule.name);
                looked.found(SCHEDULE_DISABLED.found(&subject, sentence, again("ScheduleState=ENABLED")));
            }
            if let Some(gap) = gap.filter(|_| has_alarms(stack)) {
                judge_silence(stack, gap, &mut looked);
            }
            let Some(period) = rate(&schedule.expression) else { return looked };
            for (agent, config, _) in polled(agents) {
                if config.poll_interval != period {
                    let (says, does) = (config.poll_interval.as_secs(), period.as_secs());
                    let sentence = format!(
                        "poll_interval_seconds is {says}, but the schedule polls every {does} s: look-ahead and health \
                         follow the wrong one"
                    );
                    let mend = format!("set poll_interval_seconds: {does}");
                    looked.found(INTERVAL_DIFFERS.found(&agent.parameter, sentence, mend));
                }
            }
        }
    }
    looked
}

/// Whether somebody is told of alarms.
fn has_alarms(stack: &Stack) -> bool {
    ["AlarmTopicArn", "AlarmEmail"].iter().any(|parameter| !stack.parameter(parameter).is_empty())
}

/// Whether the alarm of silence waits for longer than polls are apart. Stacks of before have no such parameter.
fn judge_silence(stack: &Stack, gap: Duration, looked: &mut Looked) {
    let Ok(silence) = stack.parameter("SilenceAfterMinutes").parse::<u64>() else { return };
    let (minutes, wanted) = (gap.as_secs() / 60, silence_after(gap));
    if silence == 0 || (wanted != 0 && silence >= wanted) {
        return;
    }
    let sentence = format!(
        "polls are up to {minutes} minutes apart, and the alarm of silence goes off after {silence} without one: between \
         polls that come as they should"
    );
    let mend = again(stack, &format!("SilenceAfterMinutes={wanted}"));
    looked.found(SILENCE_IMPATIENT.found(format!("stack {}", stack.name), sentence, mend));
}

/// How a parameter of the stack is set.
pub fn again(stack: &Stack, parameter: &str) -> String {
    format!("sam deploy --stack-name {} --parameter-overrides {parameter}", stack.name)
}

/// What brings back what was deleted by hand.
pub fn anew(stack: &Stack) -> String {
    let name = &stack.name;
    format!("sam delete --stack-name {name}, and deploy it again: an update does not miss what was deleted by hand")
}

/// `1 secret`, `2 secrets`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
