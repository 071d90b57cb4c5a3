//! The Prefect API of each agent: whether it can be reached and lets the agent in; the work pool, its queues, its job
//! template and deployments, as the agent itself would render them.

use super::codes::{
    DEPLOYMENT_BROKEN, DOCUMENT_UNREADABLE, OTHER_WORKER, POOL_OF_OTHER_TYPE, POOL_PAUSED, PREFECT_UNKNOWN,
    QUEUE_MISSING, QUEUE_PAUSED, TEMPLATE_BROKEN,
};
use super::configuration::{counted, missing_credential};
use super::connection::{self, Asked, Ear, judge_clock, judge_error};
use super::{Group, Looked};
use crate::aws::AwsClients;
use crate::clock::{Clock, SystemClock};
use crate::config::{
    AgentConfig, AgentSecrets, GenerationConfig, LoadedAgent, Prefect1Config, Prefect3Config, Root,
    apply_backend_settings,
};
use crate::documents::resolve_text;
use crate::http::Http;
use crate::http::network::Options;
use crate::model::{ApiError, RenderError, SetupError};
use crate::orchestrator::Orchestrator;
use crate::platform::ecs;
use crate::prefect1::api::Prefect1;
use crate::prefect3::api::{self, PoolSurvey, Prefect3};
use crate::redaction::Redaction;
use crate::transport::without_userinfo;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Deployments of a pool that are rendered; of more, these are the sample.
const MOST_DEPLOYMENTS: usize = 200;
/// The longest that an agent's API is asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// What asking needs.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The deployment's root; `None`: the agent is a file.
    pub root: Option<&'a Root>,
    /// For documents that the configuration names.
    pub aws: &'a AwsClients,
    /// What must not be shown.
    pub redaction: &'a Redaction,
}

/// How one deployment would be launched, or why not.
#[derive(Debug)]
pub struct Rendered {
    /// `flow/deployment`.
    pub name: String,
    /// Why it would not be.
    pub trouble: Option<RenderError>,
}

/// What became of asking an agent's API.
#[derive(Debug)]
pub enum Seen {
    /// There is no way to it: what the configuration names cannot be read.
    NoWay(SetupError),
    /// It gave no good answer.
    Trouble(ApiError),
    /// Prefect 1 lets the agent in.
    One,
    /// A work pool, with what became of its template and of its deployments.
    Three {
        /// The pool.
        survey: Box<PoolSurvey>,
        /// Of the template with its defaults.
        template: Option<RenderError>,
        /// Of each deployment, or of the sample.
        deployments: Vec<Rendered>,
    },
}

/// Asks the API of an agent; what was heard of the time beside it.
pub async fn look(setting: Setting<'_>, agent: &str, config: &AgentConfig, secrets: &AgentSecrets) -> (Seen, Ear) {
    let ear = Ear::default();
    let http = match network(setting, config).await {
        Ok(http) => ear.before(http),
        Err(trouble) => return (Seen::NoWay(trouble), ear),
    };
    let seen = match &config.generation {
        GenerationConfig::One(one) => look_at_1(setting, agent, config, one, secrets, http).await,
        GenerationConfig::Three(three) => look_at_3(setting, agent, config, three, secrets, http).await,
    };
    (seen.unwrap_or_else(Seen::Trouble), ear)
}

/// As polls reach it.
async fn network(setting: Setting<'_>, config: &AgentConfig) -> Result<Http, SetupError> {
    let options = match &config.generation {
        GenerationConfig::One(_) => Options::PREFECT1,
        GenerationConfig::Three(_) => Options::PREFECT3,
    };
    let ca_pem = match &config.ca_bundle {
        Some(text) => Some(resolve_text(text, setting.aws).await.map_err(|error| error.about("ca_bundle"))?),
        None => None,
    };
    Http::network(options, ca_pem.as_deref()).map_err(|error| SetupError {
        kind: crate::model::ErrorKind::Configuration,
        message: format!("ca_bundle: {error}"),
    })
}

async fn look_at_1(
    setting: Setting<'_>,
    agent: &str,
    config: &AgentConfig,
    one: &Prefect1Config,
    secrets: &AgentSecrets,
    http: Http,
) -> Result<Seen, ApiError> {
    let setup = crate::prefect1::api::Setup {
        config: config.clone().with(one.clone()),
        secrets: secrets.clone(),
        marked_as: format!("check/{agent}"),
        apply_settings: apply_backend_settings,
        redaction: setting.redaction.clone(),
        now: Arc::new(|| SystemClock.now()),
        read_only: true,
    };
    let prefect = Prefect1::new(setup, http)?;
    prefect.set_deadline(Some(Instant::now() + PATIENCE));
    prefect.connect(None).await?;
    // Where the tenant is configured, nothing was asked yet.
    prefect.outstanding_claims(SystemClock.now(), config.orphan_after).await?;
    Ok(Seen::One)
}

async fn look_at_3(
    setting: Setting<'_>,
    agent: &str,
    config: &AgentConfig,
    three: &Prefect3Config,
    secrets: &AgentSecrets,
    http: Http,
) -> Result<Seen, ApiError> {
    let setup = api::Setup {
        config: config.clone().with(three.clone()),
        secrets: secrets.clone(),
        marked_as: format!("check/{agent}"),
        identity: format!("check/{agent}"),
        session: "check".into(),
        region: config.region_name.clone().unwrap_or_else(|| setting.aws.region.clone()),
        pool_type: ecs::platform::WORK_POOL,
        redaction: setting.redaction.clone(),
        now: Arc::new(|| SystemClock.now()),
        read_only: true,
    };
    let prefect = Prefect3::new(setup, http)?;
    prefect.set_deadline(Some(Instant::now() + PATIENCE));
    let survey = prefect.survey(MOST_DEPLOYMENTS).await?;
    let (template, described) = prefect.describe_surveyed(&survey.deployments).await;
    let names = survey.deployments.iter().map(|deployment| deployment.name.clone());
    let deployments = names.zip(described).map(|(name, described)| Rendered { name, trouble: described.err() }).collect();
    Ok(Seen::Three { survey: Box::new(survey), template: template.err(), deployments })
}

/// What an agent's API said.
pub fn judge(
    root: Option<&Root>,
    agent: &LoadedAgent,
    (config, secrets): (&AgentConfig, &AgentSecrets),
    (seen, ear): (&Seen, &Ear),
) -> Looked {
    let api = without_userinfo(&config.api);
    let mut looked = judge_clock(&api, ear.heard());
    let subject = format!("agent {}", agent.agent);
    let has_credential =
        secrets.api_key.is_some() || secrets.auth_token.is_some() || secrets.auth_string.is_some();
    match seen {
        Seen::NoWay(trouble) => {
            let mend = "correct the configuration, or write the document that it names";
            looked.found(DOCUMENT_UNREADABLE.found(&subject, &trouble.message, mend));
        }
        Seen::Trouble(ApiError::Unauthorised(text)) if !text.starts_with("HTTP 403") && !has_credential => {
            looked.found(missing_credential(root, agent, config));
        }
        Seen::Trouble(error) => {
            let credential = place_of_credential(root, &agent.agent, config, secrets);
            let asked = Asked { api: &api, agent: &subject, credential: &credential };
            looked.found(judge_error(asked, error));
        }
        Seen::One => looked.well.push(connection::reached(&api, has_credential)),
        Seen::Three { survey, template, deployments } => {
            looked.well.push(connection::reached(&api, has_credential));
            if let GenerationConfig::Three(three) = &config.generation {
                looked.join(judge_pool(&config.name, three, survey));
                looked.join(judge_rendering(survey, template.as_ref(), deployments));
            }
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
        let mend = format!("prefect work-pool create --type {served} NAME, and name that in `work_pool` and in the deployments");
        looked.found(POOL_OF_OTHER_TYPE.found(&subject, sentence, mend));
    }
    if pool.is_paused {
        let mend = format!("prefect work-pool resume {:?}", pool.name);
        looked.found(POOL_PAUSED.found(&subject, "it is paused: its runs are due, and nobody gets them", mend));
    }
    if pool.kind == served && !pool.is_paused {
        looked.is_well(Group::Prefect, format!("{subject}: of type {served}, and not paused"));
    }
    match &survey.queues {
        Err(error) => {
            let sentence = format!("its queues could not be asked: {error}");
            looked.found(PREFECT_UNKNOWN.found(&subject, sentence, "check again"));
        }
        Ok(queues) => {
            for name in three.work_queues.iter().filter(|name| !queues.iter().any(|queue| queue.name == **name)) {
                let mend = format!("prefect work-queue create {name:?} --pool {:?}, or correct `work_queues`", pool.name);
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

/// What became of the template and of the deployments.
fn judge_rendering(survey: &PoolSurvey, template: Option<&RenderError>, deployments: &[Rendered]) -> Looked {
    let mut looked = Looked::default();
    let pool = &survey.pool.name;
    let of_template = template.map(text);
    let (mut well, mut broken) = (0_usize, 0_usize);
    for Rendered { name, trouble } in deployments {
        match trouble {
            None => well += 1,
            // Said once, of the template.
            Some(trouble) if of_template.as_deref() == Some(&text(trouble)) => broken += 1,
            Some(trouble @ (RenderError::Refused(_) | RenderError::Gone(_))) => {
                broken += 1;
                let sentence = format!("its runs would fail: {}", text(trouble));
                let mend = "correct its job variables (prefect.yaml, or `prefect deployment inspect`), and deploy it again";
                looked.found(DEPLOYMENT_BROKEN.found(format!("deployment {name}"), sentence, mend));
            }
            Some(trouble) => {
                looked.found(PREFECT_UNKNOWN.found(format!("deployment {name}"), text(trouble), "check again"));
            }
        }
    }
    // A template may leave to every deployment what it has no default for.
    let is_completed_by_all = well > 0 && broken == 0;
    match template {
        Some(RenderError::Refused(_) | RenderError::Gone(_)) if is_completed_by_all => {}
        Some(trouble @ (RenderError::Refused(_) | RenderError::Gone(_))) => {
            let sentence = format!("its base job template does not render with its defaults: {}", text(trouble));
            let mend = format!("prefect work-pool update {pool:?} --base-job-template FILE (or edit it in the UI)");
            looked.found(TEMPLATE_BROKEN.found(format!("work pool {pool}"), sentence, mend));
        }
        Some(trouble) => {
            looked.found(PREFECT_UNKNOWN.found(format!("work pool {pool}"), text(trouble), "check again"));
        }
        None => {}
    }
    if broken == 0 && looked.findings.is_empty() {
        let sample = if survey.is_cut { ", a sample of more" } else { "" };
        looked.is_well(
            Group::Prefect,
            format!("work pool {pool}: template and {}{sample} render", counted(well, "deployment")),
        );
    }
    looked
}

fn text(error: &RenderError) -> String {
    match error {
        RenderError::Refused(refusal) => refusal.0.clone(),
        RenderError::Gone(text) | RenderError::NotNow(text) | RenderError::NotUnderstood(text) => text.clone(),
    }
}
