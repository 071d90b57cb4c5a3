//! The ECS service that runs the Python worker or agent today → what it was started with. Pure but for the reading.

mod command;

use super::draft::Draft;
use super::findings::{Level, SetupFinding};
use super::reach::SECRETS_3;
use super::stack::shell_word;
use crate::aws::AwsClients;
use crate::cli::CliError;
use crate::cli::args::AgentFlags;
use crate::cli::output::ADVICE_ON_AWS;
use crate::config::{AgentConfig, ConfigSource, Environment, GenerationConfig, read_agent};
use crate::redaction::known::is_secret;
use crate::survey::Home;
use clap::Parser;
use clap::error::ContextKind;
use command::{StartedAs, expanded, start_of, words_of};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Settings of a server: a password may be in them.
const SERVER_SETTINGS: [&str; 2] = ["PREFECT_SERVER_", "PREFECT_API_DATABASE_"];

/// What a service runs.
#[derive(Debug, Default)]
pub(super) struct EcsService {
    /// Whose it is: `3`, `2`, `1`, `0.15`; `None` = its command does not tell.
    pub(super) prefect: Option<&'static str>,
    /// Address of the API.
    pub(super) api: Option<String>,
    /// Secrets that stand in its environment in clear text, by variable.
    pub(super) secrets: BTreeMap<&'static str, SecretString>,
    /// Where secrets lie that its container is given, by variable.
    pub(super) stored: BTreeMap<String, String>,
    /// Work pool.
    pub(super) work_pool: Option<String>,
    /// Name of the worker or agent.
    pub(super) name: Option<String>,
    /// Further keys.
    pub(super) draft: Draft,
    /// Flags of an agent of Prefect 1.
    pub(super) flags: AgentFlags,
    /// What should be known.
    pub(super) findings: Vec<SetupFinding>,
}

/// `prefect worker start`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "these are the worker's switches")]
struct WorkerLine {
    #[arg(long, short)]
    name: Option<String>,
    #[arg(long, short)]
    pool: Option<String>,
    #[arg(long = "work-queue", short = 'q')]
    work_queues: Vec<String>,
    #[arg(long = "type", short = 't')]
    kind: Option<String>,
    #[arg(long)]
    prefetch_seconds: Option<u32>,
    #[arg(long, short)]
    limit: Option<u32>,
    #[arg(long)]
    run_once: bool,
    #[arg(long)]
    with_healthcheck: bool,
    #[arg(long)]
    install_policy: Option<String>,
    #[arg(long)]
    base_job_template: Option<String>,
    #[arg(long)]
    create_pool_if_not_found: bool,
    #[arg(long)]
    no_create_pool_if_not_found: bool,
}

/// `prefect agent ecs start`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct AgentLine {
    #[arg(long, short)]
    key: Option<String>,
    #[arg(long, short)]
    token: Option<String>,
    #[arg(long, short)]
    api: Option<String>,
    #[arg(long, short)]
    name: Option<String>,
    #[command(flatten)]
    flags: AgentFlags,
}

/// Reads the service and its task definition.
pub(super) async fn read(aws: &AwsClients, written: &str) -> Result<EcsService, CliError> {
    let named = written.split_once('/').filter(|(cluster, service)| !cluster.is_empty() && !service.is_empty());
    let (cluster, service) = named.ok_or_else(|| {
        CliError::new(format!("--from-service {written}: no service"), "write CLUSTER/SERVICE, by their names")
    })?;
    let own = aws.for_agent(None, None).await;
    let refused = |operation: &str, error: crate::aws::AwsError| {
        let advice = format!("{ADVICE_ON_AWS}; it needs ecs:{operation}, or give the flags yourself");
        CliError::new(format!("the service {written}: {operation}: {error}"), advice)
    };
    let found = own.ecs.describe_service(cluster, service).await.map_err(|error| refused("DescribeServices", error))?;
    let found = found.ok_or_else(|| {
        let (word, region) = (shell_word(cluster), shell_word(&aws.region));
        let advice = format!("list them: aws ecs list-services --cluster {word} --region {region}");
        CliError::new(format!("there is no service {service:?} in the cluster {cluster:?} of {}", aws.region), advice)
    })?;
    let definition = found.get("taskDefinition").and_then(Value::as_str).unwrap_or_default();
    let described = own.ecs.describe_task_definition(definition).await;
    let described = described.map_err(|error| refused("DescribeTaskDefinition", error))?;
    of_definition(&described.definition).map_err(|why| {
        CliError::new(
            format!("the service {written} ({definition}): {why}"),
            "give the flags yourself, without --from-service",
        )
    })
}

/// What the definition's container was started with, or why that cannot be told.
fn of_definition(definition: &Map<String, Value>) -> Result<EcsService, String> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten();
    let mut others = Vec::new();
    for container in containers {
        let environment = environment_of(container);
        match start_of(&words_of(container)) {
            Some((start, words)) => return of_container(container, start, &words, &environment),
            None => others.push(container.get("name").and_then(Value::as_str).unwrap_or("?").to_owned()),
        }
    }
    Err(format!(
        "no container of it runs `prefect worker start` or `prefect agent ecs start` (containers: {})",
        others.join(", ")
    ))
}

/// How the parameter of this region is asked for in which a container's secret lies; `None` = it lies elsewhere. One that
/// another account shares is known by its ARN only: its name would be a parameter of ours.
pub(super) fn parameter_of(value_from: &str, home: &Home) -> Option<String> {
    if !value_from.starts_with("arn:") {
        return Some(value_from.to_owned());
    }
    let rest = value_from.splitn(6, ':').collect::<Vec<_>>();
    match rest.as_slice() {
        [_, _, "ssm", there, account, resource] if *there == home.region => {
            if home.account.as_deref() != Ok(*account) {
                return Some(value_from.to_owned());
            }
            let name = resource.strip_prefix("parameter/")?;
            // Names with slashes begin with one.
            Some(if name.contains('/') { format!("/{name}") } else { name.to_owned() })
        }
        _ => None,
    }
}

fn environment_of(container: &Value) -> Environment {
    let variables = container.get("environment").and_then(Value::as_array).into_iter().flatten();
    let pair =
        |entry: &Value| Some((entry.get("name")?.as_str()?.to_owned(), entry.get("value")?.as_str()?.to_owned()));
    variables.filter_map(pair).collect()
}

/// The value of a variable that is not empty.
fn set_in(environment: &Environment, name: &str) -> Option<String> {
    environment.get(name).filter(|value| !value.is_empty()).cloned()
}

fn of_container(
    container: &Value,
    start: StartedAs,
    words: &[String],
    environment: &Environment,
) -> Result<EcsService, String> {
    let mut service = EcsService::default();
    let secrets = container.get("secrets").and_then(Value::as_array).into_iter().flatten();
    service.stored.extend(secrets.filter_map(|secret| {
        Some((secret.get("name")?.as_str()?.to_owned(), secret.get("valueFrom")?.as_str()?.to_owned()))
    }));
    for file in container.get("environmentFiles").and_then(Value::as_array).into_iter().flatten() {
        let file = file.get("value").and_then(Value::as_str).unwrap_or("?");
        let text = format!("variables in {file} are not read");
        service.findings.push(SetupFinding::new(
            Level::Warning,
            "environmentFiles",
            text,
            "compare them with the configuration",
        ));
    }
    let unknown = |name: String| {
        if service.stored.contains_key(&name) {
            format!("its command takes the secret {name}, which is not read")
        } else {
            format!("its command takes a variable {name}, which its definition does not have")
        }
    };
    let words: Result<Vec<String>, String> = words.iter().map(|word| expanded(word, environment)).collect();
    let words = words.map_err(unknown)?;
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    match start {
        StartedAs::Worker => worker(&mut service, &words, environment, image)?,
        StartedAs::Agent1 => agent_1(&mut service, &words, environment, image)?,
        StartedAs::Agent2 => {
            return Err(
                "it runs `prefect agent start`, an agent of Prefect 2 before work pools had workers: move its \
                        deployments to a work pool of type ecs"
                    .to_owned(),
            );
        }
    }
    Ok(service)
}

/// The flag alone: what follows it may be a key, and so may a word that is no flag.
fn not_understood(command: &str, error: &clap::Error) -> String {
    let kind = error.kind();
    let flag = error.get(ContextKind::InvalidArg).map(ToString::to_string).filter(|flag| flag.starts_with('-'));
    let name = |flag: String| {
        let name = flag.split(['=', ' ']).next().unwrap_or_default().to_owned();
        // The value of a short flag may follow it at once.
        if name.starts_with("--") { name } else { name.chars().take(2).collect() }
    };
    let flag = flag.map(|flag| format!(" ({})", name(flag))).unwrap_or_default();
    format!("its command `{command}` cannot be understood: {kind}{flag}")
}

/// The part of the tag of Prefect's own image that tells its version: `prefecthq/prefect:2.20.4-python3.11` → `2.20.4`. Tags
/// of other images count something else.
fn version_of(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let (path, name) = image.rsplit_once('/').unwrap_or_default();
    match name.split_once(':') {
        Some(("prefect", tag)) if path.rsplit('/').next() == Some("prefecthq") => {
            tag.split('-').next().unwrap_or_default()
        }
        _ => "",
    }
}

fn worker(service: &mut EcsService, words: &[String], environment: &Environment, image: &str) -> Result<(), String> {
    let line = WorkerLine::try_parse_from(words).map_err(|error| not_understood("prefect worker start", &error))?;
    if let Some(kind) = line.kind.filter(|kind| kind != "ecs") {
        return Err(format!("its worker is of type {kind:?}, and only ecs is served"));
    }
    let version = version_of(image);
    service.prefect = match version.split('.').next() {
        Some("2") => Some("2"),
        Some("3") => Some("3"),
        _ => None,
    };
    let get = |name: &str| set_in(environment, name);
    service.work_pool = line.pool;
    service.name = line.name.or_else(|| get("PREFECT_WORKER_NAME"));
    service.api = get("PREFECT_API_URL");
    for (_, name) in SECRETS_3 {
        service.secrets.extend(get(name).map(|value| (name, SecretString::from(value))));
    }
    if !line.work_queues.is_empty() {
        service.draft.set("work_queues", line.work_queues);
    }
    service.draft.set_some("limit", line.limit);
    let prefetch = line.prefetch_seconds.or_else(|| get("PREFECT_WORKER_PREFETCH_SECONDS")?.parse().ok());
    service.draft.set_some("prefetch_seconds", prefetch);
    let settings = environment
        .iter()
        .filter(|(name, _)| name.starts_with("PREFECT_") && !name.starts_with("PREFECT__"))
        // Those have keys or parameters of their own.
        .filter(|(name, _)| *name != "PREFECT_API_URL" && !SECRETS_3.iter().any(|(_, own)| name == own));
    let is_of_servers = |name: &str| SERVER_SETTINGS.iter().any(|prefix| name.starts_with(prefix));
    let (of_servers, passed): (BTreeMap<&String, &String>, BTreeMap<&String, &String>) =
        settings.partition(|(name, _)| is_of_servers(name));
    if !of_servers.is_empty() {
        let names = of_servers.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let text = format!("settings of a server, which no flow run needs: {names}");
        service.findings.push(SetupFinding::new(Level::Note, "worker_env", text, "they are left out"));
    }
    let (secret, passed): (BTreeMap<&String, &String>, BTreeMap<&String, &String>) =
        passed.into_iter().partition(|(name, value)| is_secret(name, value));
    if !secret.is_empty() {
        let names = secret.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let text = format!("settings that are secrets, which everybody could read in a configuration: {names}");
        let next = "they are left out; give what a flow run needs to its task definition as a container secret";
        service.findings.push(SetupFinding::new(Level::Warning, "worker_env", text, next));
    }
    if !passed.is_empty() {
        service.draft.set("worker_env", json!(passed));
    }
    if line.run_once {
        let next = "nothing has to be done: a schedule decides how often it polls";
        service.findings.push(SetupFinding::new(Level::Note, "--run-once", "the worker polls once and ends", next));
    }
    if let Some(file) = line.base_job_template {
        let text = format!("the worker may have made the pool with the template {file}");
        service.findings.push(SetupFinding::new(
            Level::Note,
            "--base-job-template",
            text,
            "the pool's own template counts",
        ));
    }
    Ok(())
}

fn agent_1(service: &mut EcsService, words: &[String], environment: &Environment, image: &str) -> Result<(), String> {
    let line = AgentLine::try_parse_from(words).map_err(|error| not_understood("prefect agent ecs start", &error))?;
    let is_old = ["0.14", "0.15"].iter().any(|version| version_of(image).starts_with(version));
    service.prefect = Some(if is_old { "0.15" } else { "1" });
    let get = |name: &str| set_in(environment, name);
    let secrets = [
        ("PREFECT__CLOUD__API_KEY", line.key.or_else(|| get("PREFECT__CLOUD__API_KEY"))),
        ("PREFECT__CLOUD__AGENT__AUTH_TOKEN", line.token.or_else(|| get("PREFECT__CLOUD__AGENT__AUTH_TOKEN"))),
    ];
    service.secrets.extend(secrets.into_iter().filter_map(|(name, value)| Some((name, SecretString::from(value?)))));
    service.flags = line.flags;
    of_environment(service, environment)?;
    service.api = line.api.or(service.api.take());
    service.name = line.name.or(service.name.take());
    Ok(())
}

/// What the variables of an agent say, by the rules that read them as fallbacks of keys.
fn of_environment(service: &mut EcsService, environment: &Environment) -> Result<(), String> {
    let source = ConfigSource { parameter: "the environment of the service", agent: "agent", local_files: false };
    let read = |environment: &Environment| -> Result<AgentConfig, String> {
        read_agent("prefect: 1", &source, environment).map_err(|error| error.to_string())
    };
    let (with, without) = (read(environment)?, read(&Environment::default())?);
    let (GenerationConfig::One(one), GenerationConfig::One(usual)) = (&with.generation, &without.generation) else {
        return Ok(());
    };
    service.api = Some(with.api).filter(|api| *api != without.api);
    service.name = Some(with.name).filter(|name| *name != without.name);
    let EcsService { draft, .. } = service;
    if one.backend != usual.backend {
        draft.set("backend", one.backend.as_str());
    }
    draft.set_some("tenant_id", one.tenant_id.clone());
    if !one.labels.is_empty() {
        draft.set("labels", one.labels.clone());
    }
    if !with.env_vars.is_empty() {
        let variables = with.env_vars.iter().map(|(name, value)| (name.clone(), json!(value)));
        draft.set("env_vars", Value::Object(variables.collect()));
    }
    if one.no_cloud_logs {
        draft.set("no_cloud_logs", true);
    }
    if one.logging_level != usual.logging_level {
        draft.set("logging_level", one.logging_level.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
