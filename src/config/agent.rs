//! One agent's document → its configuration: every key, its fallbacks and its default, once; and what Prefect's backend
//! keeps for it.

use super::reader::{ConfigErrors, Parsed, Problem};
use super::reader::{KeyValue, Reader};
use super::values::{self, path_key};
use super::{
    AgentConfig, ApiKeyDelivery, Backend, Document, DocumentKind, Environment, GenerationConfig, LaunchType,
    Prefect1Config, Prefect3Config, Rules, WorkerRules, documents, environment as env, guardrails, prices, yaml,
};
use crate::ecs_model::UnknownMembers;
use crate::http::hosts::AllowedHosts;
use serde_json::{Map, Value};
use std::time::Duration;

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSource<'a> {
    /// Name of the parameter or path of the file, for messages.
    pub parameter: &'a str,
    /// The agent's name in the deployment, and in Prefect where nothing else says.
    pub agent: &'a str,
    /// Whether documents may be local files.
    pub local_files: bool,
}

/// Keys of Prefect 2 and 3.
const PREFECT_2_AND_3: &[&str] = &[
    "work_pool",
    "work_queues",
    "limit",
    "image",
    "worker_env",
    "cancel_grace_seconds",
    "forward_log_lines",
    "prefect_labels",
];

/// Keys of Prefect 0.15 and 1.
const PREFECT_1: &[&str] = &[
    "backend",
    "tenant_id",
    "labels",
    "agent_config_id",
    "no_cloud_logs",
    "logging_level",
    "cluster",
    "launch_type",
    "task_role_arn",
    "execution_role_arn",
    "task_definition",
    "task_definition_path",
    "run_task_kwargs",
    "run_task_kwargs_path",
];

/// Seconds that a cancelled flow may go on, where nothing else is said.
const CANCEL_GRACE: u64 = 90;
/// Log lines of a dead container, where nothing else is said.
const FORWARD_LOG_LINES: u32 = 50;
/// More lines than this would not be read by anyone.
const MAX_FORWARD_LOG_LINES: u64 = 500;

const BACKENDS: &[(&str, Backend)] = &[("cloud", Backend::Cloud), ("server", Backend::Server)];
const LAUNCH_TYPES: &[(&str, LaunchType)] = &[("FARGATE", LaunchType::Fargate), ("EC2", LaunchType::Ec2)];
const DELIVERIES: &[(&str, ApiKeyDelivery)] =
    &[("auto", ApiKeyDelivery::Auto), ("secret", ApiKeyDelivery::Secret), ("environment", ApiKeyDelivery::Environment)];

const UNKNOWN_MEMBERS: &[(&str, UnknownMembers)] =
    &[("refuse", UnknownMembers::Refuse), ("send", UnknownMembers::Send)];

/// Longest period, look-ahead and patience: a day.
const DAY: u64 = 86_400;
/// EventBridge Scheduler starts a poll anywhere within its minute: one at a minute's beginning may be followed by one at
/// the next one's end.
const WITHIN_A_MINUTE: u64 = 60;

/// Reads an agent's configuration (YAML or JSON). Environment variables are fallbacks of the keys. All that is wrong is
/// in the error at once.
pub fn read_agent(
    text: &str,
    source: &ConfigSource<'_>,
    environment: &Environment,
) -> Result<AgentConfig, ConfigErrors> {
    let parsed = yaml::mapping(text, Some("env_vars")).and_then(|mut document| {
        spell_variables_as_written(&mut document, text);
        let mut reader = Reader::new(&document, environment);
        let config = agent(&mut reader, source);
        let problems = reader.finish();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    });
    parsed.map_err(|problems| ConfigErrors { parameter: source.parameter.to_owned(), problems })
}

/// Numbers and truth values of `env_vars` become the text that stands in the document.
fn spell_variables_as_written(document: &mut Map<String, Value>, text: &str) {
    let Some(Value::Object(variables)) = document.get_mut("env_vars") else { return };
    if !variables.values().any(|value| value.is_number() || value.is_boolean()) {
        return;
    }
    let mut written = documents::written_variables(text);
    for (name, value) in variables.iter_mut().filter(|(_, value)| value.is_number() || value.is_boolean()) {
        if let Some(text) = written.remove(name) {
            *value = Value::String(text);
        }
    }
}

/// The generation that the key `prefect` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    One(Rules),
    Three(WorkerRules),
}

fn agent(reader: &mut Reader<'_>, source: &ConfigSource<'_>) -> AgentConfig {
    let served = reader.key("prefect", served);
    let is_known = !matches!(served, KeyValue::Wrong);
    let served = served.or(Served::One(Rules::V1));
    let is_prefect_1 = matches!(served, Served::One(_));
    if is_prefect_1 {
        reader.elsewhere(PREFECT_2_AND_3, is_known, "a key of Prefect 2 and 3", "nothing with Prefect 0.15 and 1");
    } else {
        reader.elsewhere(PREFECT_1, true, "a key of Prefect 0.15 and 1", "nothing with Prefect 2 and 3");
    }
    let interval = seconds(reader, "poll_interval_seconds", 1, 60);
    // A launch of Prefect 1 that no poll holds is late by the gap. Prefect 2 and 3 keep time themselves: there it is how
    // early Fargate starts up.
    let look_ahead = if is_prefect_1 { (interval.as_secs() + WITHIN_A_MINUTE).min(DAY) } else { interval.as_secs() };
    let name = match served {
        Served::One(_) => {
            let name = reader.key("name", values::text);
            reader.fallback(name, env::NAME, as_text(values::text))
        }
        Served::Three(rules) => reader.key("name", values::worker_name(rules)),
    };
    reader.only_with("assume_role_external_id", "assume_role_arn");
    let max_polls = "a whole number of at least 0, or null for no limit";
    let fallback_after = "a whole number of at least 1, or null for never";
    let (grace, lines) = if is_prefect_1 { (CANCEL_GRACE, FORWARD_LOG_LINES) } else { after_the_launch(reader) };
    let unknown_members = reader.key("unknown_members", values::choice(UNKNOWN_MEMBERS)).or(UnknownMembers::Refuse);
    let (api, generation) = match served {
        Served::One(rules) => {
            let backend = reader.key("backend", values::choice(BACKENDS));
            let backend = reader.fallback(backend, env::BACKEND, as_text(values::choice(BACKENDS))).or(Backend::Cloud);
            (api(reader, backend), GenerationConfig::One(prefect_1(reader, source, (rules, backend), unknown_members)))
        }
        Served::Three(rules) => (worker_api(reader), GenerationConfig::Three(prefect_3(reader, rules))),
    };
    AgentConfig {
        agent: source.agent.to_owned(),
        enabled: reader.key("enabled", values::flag).or(true),
        api,
        ca_bundle: reader.key("ca_bundle", values::certificate_authority).ok(),
        name: name.or(source.agent),
        poll_interval: interval,
        prefetch: seconds(reader, "prefetch_seconds", 0, look_ahead),
        launch_rate: reader.key("launch_rate", values::rate).nullable(Some(20.0)),
        env_vars: if is_prefect_1 { env_vars(reader) } else { reader.key("env_vars", values::env_vars).or([]) },
        region_name: reader.key("region_name", values::region).ok(),
        assume_role_arn: reader.key("assume_role_arn", values::role_arn).ok(),
        assume_role_external_id: reader.key("assume_role_external_id", values::external_id).ok(),
        api_key_delivery: reader.key("api_key_delivery", values::choice(DELIVERIES)).or(ApiKeyDelivery::Auto),
        unknown_members,
        orphan_after: seconds(reader, "orphan_after_seconds", 1, 120),
        max_launch_attempts: reader.key("max_launch_attempts", small("a whole number of at least 1")).or(5_u32),
        spot_fallback_after: reader.key("spot_fallback_after", small(fallback_after)).nullable(Some(3)),
        max_polls: reader.key("max_polls", values::whole(0..=i64::MAX.unsigned_abs(), max_polls)).nullable(None),
        cancel_grace: Duration::from_secs(grace),
        forward_log_lines: lines,
        prices: reader.key("prices", prices::read).ok(),
        guardrails: reader.key("guardrails", guardrails::read).ok(),
        allowed_hosts: AllowedHosts::new(reader.key("allowed_hosts", guardrails::hosts).ok()),
        generation,
    }
}

/// How long a cancelled flow may go on, and how many of its container's log lines are shown when it dies.
fn after_the_launch(reader: &mut Reader<'_>) -> (u64, u32) {
    let grace = seconds(reader, "cancel_grace_seconds", 0, CANCEL_GRACE).as_secs();
    let allowed = "a whole number from 0 to 500";
    let lines = reader.key("forward_log_lines", values::whole(0..=MAX_FORWARD_LOG_LINES, allowed));
    (grace, lines.ok().and_then(|lines| u32::try_from(lines).ok()).unwrap_or(FORWARD_LOG_LINES))
}

fn prefect_3(reader: &mut Reader<'_>, rules: WorkerRules) -> Prefect3Config {
    let limit = "a whole number of at least 1, or null for no limit";
    Prefect3Config {
        rules,
        work_pool: reader.required("work_pool", values::tag_value(rules), "the name of an ecs work pool"),
        work_queues: reader.key("work_queues", values::labels).or([]),
        limit: reader.key("limit", small(limit)).nullable(None).and_then(|limit| usize::try_from(limit).ok()),
        image: reader.key("image", values::text).or(rules.default_image()),
        worker_env: reader.key("worker_env", values::prefect_settings).or([]),
        prefect_labels: reader.key("prefect_labels", values::flag).or(true),
    }
}

fn prefect_1(
    reader: &mut Reader<'_>,
    source: &ConfigSource<'_>,
    (rules, backend): (Rules, Backend),
    unknown_members: UnknownMembers,
) -> Prefect1Config {
    let tenant_id = reader.key("tenant_id", values::uuid);
    let labels = reader.key("labels", values::labels);
    let silent = reader.key("no_cloud_logs", values::flag);
    let level = reader.key("logging_level", values::level);
    Prefect1Config {
        rules,
        backend,
        tenant_id: reader.fallback(tenant_id, env::TENANT_ID, as_text(values::uuid)).ok(),
        labels: reader.fallback(labels, env::LABELS, env::labels).or([]),
        agent_config_id: reader.key("agent_config_id", values::uuid).ok(),
        no_cloud_logs: reader
            .fallback(silent, env::SEND_FLOW_RUN_LOGS, |text| env::flag(text).map(|send| !send))
            .or(false),
        logging_level: reader.fallback(level, env::LOGGING_LEVEL, as_text(values::level)).or("INFO"),
        cluster: reader.key("cluster", values::text).ok(),
        launch_type: reader.key("launch_type", values::choice_any_case(LAUNCH_TYPES)).ok(),
        task_role_arn: reader.key("task_role_arn", values::text).ok(),
        execution_role_arn: reader.key("execution_role_arn", values::text).ok(),
        task_definition: document(
            reader,
            "task_definition",
            "task_definition_path",
            (DocumentKind::TaskDefinition, unknown_members),
            source.local_files,
        ),
        run_task_kwargs: document(
            reader,
            "run_task_kwargs",
            "run_task_kwargs_path",
            (DocumentKind::RunTaskKwargs, unknown_members),
            source.local_files,
        ),
    }
}

/// Whose rules hold: `"0.15"`, `1`, `2` and `3`, each as text or number.
fn served(value: &Value) -> Parsed<Served> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    match text.as_str() {
        "0.15" => Ok(Served::One(Rules::V0_15)),
        "1" => Ok(Served::One(Rules::V1)),
        "2" => Ok(Served::Three(WorkerRules::Two)),
        "3" => Ok(Served::Three(WorkerRules::Three)),
        _ => super::reader::refuse(values::describe(value), "\"0.15\", 1, 2 or 3"),
    }
}

/// Base URL of the API of Prefect 2 and 3: the key, then Prefect's variable.
fn worker_api(reader: &mut Reader<'_>) -> String {
    let api = reader.key("api", values::api);
    let api = reader.fallback(api, env::API_URL, as_text(values::api));
    reader.demand("api", api, "the address of the Prefect API (https://…/api)")
}

/// Base URL of the API: the key, then Prefect's variables, then the backend's default.
fn api(reader: &mut Reader<'_>, backend: Backend) -> String {
    let api = reader.key("api", values::api);
    let api = reader.fallback(api, env::API, as_text(values::api));
    if backend == Backend::Cloud {
        return api.or("https://api.prefect.io");
    }
    let api = reader.fallback(api, env::SERVER_ENDPOINT, as_text(values::api));
    if !api.is_open() {
        return api.or("");
    }
    let host = reader.fallback(KeyValue::Absent, env::SERVER_HOST, as_text(values::api)).or("http://localhost");
    let port = reader.fallback(KeyValue::Absent, env::SERVER_PORT, port).or(4200_u16);
    reader.parsed(env::SERVER_HOST, values::api(&Value::from(format!("{host}:{port}")))).or("")
}

fn port(text: &str) -> Parsed<u16> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => super::reader::refuse(format!("the text {}", values::quoted(text)), "a port from 1 to 65535"),
    }
}

fn env_vars(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let written = reader.key("env_vars", values::env_vars);
    match env::env_vars(reader.environment()).filter(|_| written.is_open()) {
        Some(fallback) => reader.parsed(env::ENV_VARS, fallback).or([]),
        None => written.or([]),
    }
}

/// A time in whole seconds, at most a day.
fn seconds(reader: &mut Reader<'_>, key: &'static str, least: u64, default: u64) -> Duration {
    let allowed = if least == 0 { "a whole number from 0 to 86400" } else { "a whole number from 1 to 86400" };
    Duration::from_secs(reader.key(key, values::whole(least..=DAY, allowed)).or(default))
}

/// A count of at least one.
fn small(allowed: &'static str) -> impl Fn(&Value) -> Parsed<u32> {
    move |value| {
        let number = values::whole(1..=u64::from(u32::MAX), allowed)(value)?;
        u32::try_from(number).map_err(|_| vec![Problem::here(values::describe(value), allowed)])
    }
}

/// A document written in place, or where it lies.
fn document(
    reader: &mut Reader<'_>,
    key: &'static str,
    path_key: &'static str,
    (which, unknown_members): (DocumentKind, UnknownMembers),
    local_files: bool,
) -> Option<Document> {
    reader.not_both(key, path_key);
    let inline = reader.key(key, |value| {
        let document = values::mapping(value)?;
        match documents::problems(which, &document, unknown_members) {
            problems if problems.is_empty() => Ok(document),
            problems => Err(problems),
        }
    });
    let path = reader.key(path_key, values::document(local_files));
    inline.ok().map(Document::Inline).or_else(|| path.ok().map(Document::Path))
}

/// A parser of values as a parser of an environment variable's text.
fn as_text<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&str) -> Parsed<T> {
    move |text| parse(&Value::from(text))
}

// Settings that Prefect's backend keeps for an `agent_config_id`.

/// Replaces the keys that the settings name: `labels`, `env_vars`, `name`, `max_polls`, `no_cloud_logs`. A null leaves
/// the configuration's value. Unknown and wrong settings are not applied; they come back as warnings, for people.
pub fn apply_backend_settings(config: &mut AgentConfig<Prefect1Config>, settings: &Value) -> Vec<String> {
    let Value::Object(settings) = settings else {
        let problem = Problem::here(values::kind(settings), "a mapping");
        return vec![warning(&problem)];
    };
    let mut warnings = Vec::new();
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        if let Err(problems) = apply(config, key, value) {
            warnings.extend(problems.into_iter().map(|problem| warning(&problem.under(&path_key(key)))));
        }
    }
    warnings
}

fn apply(config: &mut AgentConfig<Prefect1Config>, key: &str, value: &Value) -> Parsed<()> {
    let one = &mut config.generation;
    match key {
        "labels" => one.labels = values::labels(value)?,
        "no_cloud_logs" => one.no_cloud_logs = values::flag(value)?,
        "env_vars" => config.env_vars = values::env_vars(value)?,
        "name" => config.name = values::text(value)?,
        "max_polls" => {
            let allowed = "a whole number of at least 0";
            config.max_polls = Some(values::whole(0..=i64::MAX.unsigned_abs(), allowed)(value)?);
        }
        _ => {
            let allowed = "labels, env_vars, name, max_polls, no_cloud_logs";
            return Err(vec![Problem::here("an unknown setting", allowed)]);
        }
    }
    Ok(())
}

fn warning(problem: &Problem) -> String {
    format!("a setting that the backend keeps for the agent's `agent_config_id` is not applied: {problem}")
}
