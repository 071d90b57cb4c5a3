//! The Prefect API of each agent: whether it can be reached and lets the agent in; the work pool, its queues, its job
//! template and deployments, as the agent itself would render them.

use super::codes::{
    DEPLOYMENT_BROKEN, DOCUMENT_UNREADABLE, GUARDRAILS_REFUSE, GUARDRAILS_REPORT, OTHER_WORKER, POOL_OF_OTHER_TYPE,
    POOL_PAUSED, PREFECT_UNKNOWN, QUEUE_MISSING, QUEUE_PAUSED, TEMPLATE_BROKEN,
};
use super::configuration::{counted, missing_credential};
use super::connection::{self, AskedApi, Heard, hear, judge_clock, judge_error};
use super::{Group, Looked, certificate};
use crate::aws::AwsClients;
use crate::clock::{Clock, SystemClock};
use crate::config::{AgentConfig, AgentSecrets, GenerationConfig, LoadedAgent, Prefect1Config, Prefect3Config, Root};
use crate::guardrails::{Mode, judging};
use crate::model::{ApiError, SetupError};
use crate::orchestrator::Orchestrator;
use crate::platform::ecs;
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::prefect3::PoolSurvey;
use crate::redaction::Redaction;
use crate::survey::{self, Home, Survey, SurveyError, SurveyedLaunch, Unrendered};
use crate::transport::without_userinfo;
use futures_util::future::{join, join3};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Deployments of a pool that are rendered; of more, these are the sample.
const MOST_DEPLOYMENTS: usize = 200;
/// The longest that an agent's API is asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What asking needs.
#[derive(Debug, Clone, Copy)]
pub struct ApiSetting<'a> {
    /// The deployment's root; `None`: the agent is a file.
    pub root: Option<&'a Root>,
    /// For documents and task definitions that the agent names.
    pub aws: &'a Arc<AwsClients>,
    /// Where the functions run.
    pub home: &'a Home,
    /// What must not be shown.
    pub redaction: &'a Redaction,
}

/// What became of asking an agent's API.
#[derive(Debug)]
pub enum SeenApi {
    /// There is no way to it: what the configuration names cannot be read.
    NoWay(SetupError),
    /// It gave no good answer.
    Trouble(ApiError),
    /// It lets the agent in; its pool, and how its runs would be launched.
    Surveyed(Box<Survey>),
}

/// What was observed of an agent's API.
#[derive(Debug)]
pub struct ObservedApi {
    /// What became of asking it.
    pub seen: SeenApi,
    /// What it says of the time.
    pub heard: Option<Heard>,
    /// When its certificate ends.
    pub certificate_end: Option<OffsetDateTime>,
}

/// Asks the API of an agent.
pub async fn look(setting: ApiSetting<'_>, agent: &LoadedAgent, made_of: (&AgentConfig, &AgentSecrets)) -> ObservedApi {
    let (config, secrets) = made_of;
    let builder = builder(setting, agent, secrets);
    let no_way = |trouble| ObservedApi { seen: SeenApi::NoWay(trouble), heard: None, certificate_end: None };
    let (http, ca_pem) = match join(builder.network(config), builder.ca_pem(config)).await {
        (Ok(http), Ok(ca_pem)) => (http, ca_pem),
        (Err(trouble), _) | (_, Err(trouble)) => return no_way(trouble),
    };
    let asking = async {
        match &config.generation {
            GenerationConfig::One(one) => look_at_1(setting, &builder, config, one).await,
            GenerationConfig::Three(_) => surveyed(setting, &builder, config).await,
        }
    };
    let hearing = hear(&http, &config.api, PATIENCE, &SystemClock);
    let (seen, heard, certificate_end) = join3(asking, hearing, certificate::end(&config.api, ca_pem)).await;
    ObservedApi { seen: seen.unwrap_or_else(|trouble| trouble), heard, certificate_end }
}

pub(super) fn builder(
    setting: ApiSetting<'_>,
    agent: &LoadedAgent,
    secrets: &AgentSecrets,
) -> PrefectBuilder<SystemClock> {
    let (aws, redaction) = (Arc::clone(setting.aws), setting.redaction);
    if let Some(root) = setting.root {
        return PrefectBuilder::of_parameter::<AgentEcs<_>>(aws, SystemClock, root, agent, secrets, redaction);
    }
    // Only claims need to know whose they are, and nothing is claimed: AWS need not be asked for the account.
    let arn = format!("arn:aws:ssm:{}:000000000000:parameter/check", aws.region);
    let agent = LoadedAgent { arn: Some(arn), ..agent.clone() };
    PrefectBuilder::of_parameter::<AgentEcs<_>>(aws, SystemClock, &Root::new(""), &agent, secrets, redaction)
        .with_local_files()
}

/// Prefect 1: whether the credential is known, by a read that the polls make too.
async fn look_at_1(
    setting: ApiSetting<'_>,
    builder: &PrefectBuilder<SystemClock>,
    config: &AgentConfig,
    one: &Prefect1Config,
) -> Result<SeenApi, SeenApi> {
    let prefect = builder.prefect1(config, one).await.map_err(SeenApi::NoWay)?;
    prefect.set_deadline(Some(Instant::now() + PATIENCE));
    prefect.connect(None).await.map_err(SeenApi::Trouble)?;
    let claims = prefect.outstanding_claims(SystemClock.now(), config.orphan_after).await;
    claims.map_err(SeenApi::Trouble)?;
    builder.platform::<AgentEcs<_>>(config).await.map_err(SeenApi::NoWay)?;
    surveyed(setting, builder, config).await
}

async fn surveyed(
    setting: ApiSetting<'_>,
    builder: &PrefectBuilder<SystemClock>,
    config: &AgentConfig,
) -> Result<SeenApi, SeenApi> {
    let deadline = Instant::now() + PATIENCE;
    match survey::survey(builder, config, setting.home.clone(), MOST_DEPLOYMENTS, deadline).await {
        Ok(survey) => Ok(SeenApi::Surveyed(Box::new(survey))),
        Err(SurveyError::Setup(trouble)) => Err(SeenApi::NoWay(trouble)),
        Err(SurveyError::Prefect(trouble)) => Err(SeenApi::Trouble(trouble)),
    }
}

/// What an agent's API said.
pub fn judge(
    root: Option<&Root>,
    agent: &LoadedAgent,
    (config, secrets): (&AgentConfig, &AgentSecrets),
    observed: &ObservedApi,
    now: OffsetDateTime,
) -> Looked {
    let api = without_userinfo(&config.api);
    let mut looked = judge_clock(&api, observed.heard);
    looked.join(certificate::judge(&api, observed.certificate_end, now));
    let subject = format!("agent {}", agent.agent);
    let has_credential = secrets.api_key.is_some() || secrets.auth_token.is_some() || secrets.auth_string.is_some();
    match &observed.seen {
        SeenApi::NoWay(trouble) => {
            let mend = "correct the configuration, or write the document that it names";
            looked.found(DOCUMENT_UNREADABLE.found(&subject, &trouble.message, mend));
        }
        SeenApi::Trouble(ApiError::Unauthorised(text)) if !text.starts_with("HTTP 403") && !has_credential => {
            looked.found(missing_credential(root, agent, config));
        }
        SeenApi::Trouble(error) => {
            let credential = place_of_credential(root, &agent.agent, config, secrets);
            let asked = AskedApi { api: &api, agent: &subject, credential: &credential };
            looked.found(judge_error(asked, error));
        }
        SeenApi::Surveyed(survey) => {
            looked.well.push(connection::reached(&api, has_credential));
            if let (GenerationConfig::Three(three), Some(pool)) = (&config.generation, &survey.pool) {
                looked.join(judge_pool(&config.name, three, pool));
            }
            looked.join(judge_rendering(&subject, survey));
            looked.join(judge_guardrails(config, survey));
        }
    }
    looked
}

/// Where an agent's credential is kept, for people.
fn place_of_credential(root: Option<&Root>, agent: &str, config: &AgentConfig, secrets: &AgentSecrets) -> String {
    let is_one = matches!(config.generation, GenerationConfig::One(_));
    let (secret, parameter, variable) = if secrets.auth_string.is_some() {
        (secrets.auth_string.as_ref(), "auth-string", "PREFECT_API_AUTH_STRING")
    } else if secrets.api_key.is_none() && secrets.auth_token.is_some() {
        (secrets.auth_token.as_ref(), "auth-token", "PREFECT__CLOUD__AGENT__AUTH_TOKEN")
    } else if is_one {
        (secrets.api_key.as_ref(), "api-key", "PREFECT__CLOUD__API_KEY")
    } else {
        (secrets.api_key.as_ref(), "api-key", "PREFECT_API_KEY")
    };
    match root.filter(|_| secret.is_none_or(|secret| secret.arn.is_some())) {
        Some(root) => format!(
            "the parameter: aws ssm put-parameter --overwrite --type SecureString --name {}/{agent}/{parameter} --value …",
            root.secrets()
        ),
        None => format!("the environment variable {variable}"),
    }
}

/// The pool itself: its type, whether it and the agent's queues hand anything out, and who else serves it.
fn judge_pool(own_name: &str, three: &Prefect3Config, survey: &PoolSurvey) -> Looked {
    let mut looked = Looked::default();
    let pool = &survey.pool;
    let subject = format!("work pool {}", pool.name);
    let served = ecs::platform::WORK_POOL.name;
    if pool.kind != served {
        let sentence = if pool.kind.ends_with(":push") {
            format!("it is of type {:?}: Prefect Cloud launches its runs itself", pool.kind)
        } else {
            format!("it is of type {:?}, not {served:?}: its template says nothing of ECS", pool.kind)
        };
        let mend = format!(
            "prefect work-pool create --type {served} NAME, and name that in `work_pool` and in the deployments"
        );
        looked.found(POOL_OF_OTHER_TYPE.found(&subject, sentence, mend));
    }
    if pool.is_paused {
        let mend = format!("prefect work-pool resume {:?}", pool.name);
        looked.found(POOL_PAUSED.found(&subject, "it is paused: its runs are due, and nobody gets them", mend));
    }
    if pool.kind == served && !pool.is_paused {
        let in_version =
            survey.version.as_ref().map(|version| format!(", in a server of {version}")).unwrap_or_default();
        looked.is_well(Group::Prefect, format!("{subject}: of type {served}, and not paused{in_version}"));
    }
    match &survey.queues {
        Err(error) => {
            let sentence = format!("its queues could not be asked: {error}");
            looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "check again"));
        }
        Ok(queues) => {
            for name in three.work_queues.iter().filter(|name| !queues.iter().any(|queue| queue.name == **name)) {
                let mend =
                    format!("prefect work-queue create {name:?} --pool {:?}, or correct `work_queues`", pool.name);
                let known = queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>().join(", ");
                let sentence = format!("the pool has no queue of this name; it has {known}");
                looked.found(QUEUE_MISSING.found(format!("work queue {name}"), sentence, mend));
            }
            let is_served = |name: &String| three.work_queues.is_empty() || three.work_queues.contains(name);
            for queue in queues.iter().filter(|queue| queue.is_paused && is_served(&queue.name)) {
                let mend = format!("prefect work-queue resume {:?} --pool {:?}", queue.name, pool.name);
                let sentence = "it is paused: its runs are due, and nobody gets them";
                looked.found(QUEUE_PAUSED.found(format!("work queue {}", queue.name), sentence, mend));
            }
        }
    }
    match &survey.workers {
        Err(error) => {
            let sentence = format!("its workers could not be asked: {error}");
            looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "check again"));
        }
        Ok(workers) => {
            for worker in workers.iter().filter(|worker| worker.is_online && worker.name != own_name) {
                let sentence = format!(
                    "the worker {} is online: both may run at once, each run is launched by one of them. Whoever starts \
                     no runs any more can be stopped",
                    worker.name
                );
                looked.found(OTHER_WORKER.found(&subject, sentence, ""));
            }
        }
    }
    looked
}

/// What the agent's guardrails say of what its runs ask for.
fn judge_guardrails(config: &AgentConfig, survey: &Survey) -> Looked {
    let mut looked = Looked::default();
    let Some(guardrails) = &config.guardrails else { return looked };
    let (code, would) = match guardrails.mode {
        Mode::Enforce => (GUARDRAILS_REFUSE, "its runs fail"),
        Mode::Report => (GUARDRAILS_REPORT, "its runs would fail with `mode: enforce`"),
    };
    let mut well = 0;
    for launch in survey.counted_launches() {
        let Some(judgement) = launch.rendered.as_ref().ok().and_then(|rendered| rendered.judgement.as_ref()) else {
            continue;
        };
        if judgement.violations.is_empty() {
            well += 1;
            continue;
        }
        let sentence = format!("{would}: {}", judging::sentence(&judgement.violations));
        let mend = "ask for what is allowed, or change `guardrails` in the agent's configuration";
        looked.found(code.found(format!("agent {}, {}", config.agent, launch.asker), sentence, mend));
    }
    if looked.findings.is_empty() && well > 0 {
        let said = format!("agent {}: its guardrails allow what {} for", config.agent, counted_asks(well));
        looked.is_well(Group::Prefect, said);
    }
    looked
}

fn counted_asks(count: usize) -> String {
    if count == 1 { "1 kind of runs asks".to_owned() } else { format!("{count} kinds of runs ask") }
}

/// What became of the defaults and of the served deployments, with Prefect 1 of the last flow runs. `agent`: for people.
fn judge_rendering(agent: &str, survey: &Survey) -> Looked {
    let (subject, mend, kind, mend_one) = if let Some(pool) = &survey.pool {
        let name = &pool.pool.name;
        let mend = format!("prefect work-pool update {name:?} --base-job-template FILE (or edit it in the UI)");
        let mend_one = "correct its job variables (prefect.yaml, or `prefect deployment inspect`), and deploy it again";
        (format!("work pool {name}"), mend, "deployment", mend_one)
    } else {
        let mend_one = "correct its run config, and register the flow again";
        (agent.to_owned(), "correct the agent's configuration".to_owned(), "flow", mend_one)
    };
    let (defaults, launches) = (survey.defaults.as_ref(), &survey.launches);
    let mut looked = Looked::default();
    let defaults = defaults.and_then(|launch| launch.rendered.as_ref().err());
    let (mut well, mut broken) = (0_usize, 0_usize);
    for SurveyedLaunch { asker, rendered, .. } in launches.iter().filter(|launch| launch.is_served) {
        match rendered {
            Ok(_) => well += 1,
            // Said once, of the template.
            Err(trouble) if Some(trouble) == defaults => broken += 1,
            Err(Unrendered { why, is_certain: true }) => {
                broken += 1;
                let sentence = format!("its runs would fail: {why}");
                looked.found(DEPLOYMENT_BROKEN.found(format!("{kind} {asker}"), sentence, mend_one));
            }
            Err(Unrendered { why, is_certain: false }) => {
                looked.found(PREFECT_UNKNOWN.found(format!("{kind} {asker}"), why, "check again"));
            }
        }
    }
    // A template may leave to every deployment what it has no default for.
    let is_completed_by_all = well > 0 && broken == 0;
    match defaults {
        Some(Unrendered { why, is_certain: true }) if !is_completed_by_all => {
            let sentence = format!("a run of its defaults would fail: {why}");
            looked.found(TEMPLATE_BROKEN.found(&subject, sentence, mend));
        }
        Some(Unrendered { why, is_certain: false }) => {
            looked.found(PREFECT_UNKNOWN.found(&subject, why, "check again"));
        }
        _ => {}
    }
    if let Some(why) = &survey.runs_unread {
        let sentence = format!("its last flow runs could not be asked: {why}");
        looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "check again"));
    }
    if broken == 0 && looked.findings.is_empty() {
        let said = format!("{subject}: the defaults and {} render", counted(well, kind));
        looked.is_well(Group::Prefect, said);
    }
    if survey.pool.as_ref().is_some_and(|pool| pool.is_truncated) {
        let sentence = format!("only the first {MOST_DEPLOYMENTS} of its deployments are looked at, by name");
        looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "prefect deployment ls shows the others"));
    }
    looked
}
