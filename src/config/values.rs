//! Parsers of single values, addresses too: each says what it found and what it allows.

use super::WorkerRules;
use super::reader::{Parsed, Problem, refuse};
use crate::python_text::tag_slug;
use reqwest::Url;
use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;

/// A longer text is cut in messages.
const SHOWN_CHARACTERS: usize = 60;

/// Most characters of all overrides of a task.
const MOST_OVERRIDES: usize = 8192;
/// Most characters of a tag's value.
const LONGEST_TAG: usize = 256;

/// What a value is, for people.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".to_owned(),
        Value::Bool(truth) => format!("the truth value {truth}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// A text in quotes, its control characters escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// A text that is not empty.
pub(super) fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => refuse(describe(value), "text (put the value in quotes)"),
        _ => refuse(describe(value), "text that is not empty"),
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Parsed<bool> {
    value.as_bool().map_or_else(|| refuse(describe(value), "true or false"), Ok)
}

/// A whole number within a range, which `allowed` describes.
pub(super) fn whole(range: RangeInclusive<u64>, allowed: &'static str) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| match value.as_u64() {
        Some(number) if range.contains(&number) => Ok(number),
        _ => refuse(describe(value), allowed),
    }
}

/// A rate per second: above nothing, and such that the time between two calls is a sensible one.
pub(super) fn rate(value: &Value) -> Parsed<f64> {
    match value.as_f64() {
        Some(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => refuse(describe(value), "a number greater than 0 (0.001 to 100000), or null for no limit"),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(options: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let found = value.as_str().and_then(|text| options.iter().find(|(word, _)| *word == text));
        found.map_or_else(|| refuse(describe(value), one_of(options)), |(_, choice)| Ok(*choice))
    }
}

/// One of a few words, in upper or lower case.
pub(super) fn choice_any_case<T: Copy>(options: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let found = value.as_str().and_then(|text| options.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)));
        found.map_or_else(|| refuse(describe(value), one_of(options)), |(_, choice)| Ok(*choice))
    }
}

fn one_of<T>(options: &[(&str, T)]) -> String {
    let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
    format!("one of {}", words.join(", "))
}

/// A UUID, in its usual spelling. What else was found is not shown: it may be a key that was put in the wrong place.
pub(super) fn uuid(value: &Value) -> Parsed<String> {
    let Value::String(text) = value else { return refuse(describe(value), "a UUID") };
    match uuid::Uuid::parse_str(text.trim()) {
        Ok(uuid) => Ok(uuid.hyphenated().to_string()),
        Err(_) => refuse(format!("a text of {} characters that is no UUID", text.chars().count()), "a UUID"),
    }
}

/// Labels: a list of texts, or one text that is the one label. Duplicates are dropped, the order is kept.
pub(super) fn labels(value: &Value) -> Parsed<Vec<String>> {
    let Value::Array(items) = value else {
        return match value {
            Value::String(_) => text(value).map(|label| vec![label]),
            _ => refuse(describe(value), "a list of texts, or one text, which is the only one"),
        };
    };
    let mut labels = Vec::with_capacity(items.len());
    list_of(items, text)?.into_iter().for_each(|label| push_new(&mut labels, label));
    Ok(labels)
}

/// What each item of a list is, or all that is wrong with them.
pub(super) fn list_of<T>(items: &[Value], parse: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    let (mut all, mut problems) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match parse(item) {
            Ok(item) => all.push(item),
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(&format!("[{index}]")))),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Adds a label unless it is there.
pub(super) fn push_new(labels: &mut Vec<String>, label: String) {
    if !labels.contains(&label) {
        labels.push(label);
    }
}

/// Environment variables: a mapping of names to text; numbers and truth values become the text they are written as.
/// The values are never shown.
pub(super) fn env_vars(value: &Value) -> Parsed<Vec<(String, String)>> {
    let Value::Object(map) = value else {
        return refuse(kind(value), "a mapping of variable names to texts");
    };
    let mut variables = Vec::with_capacity(map.len());
    let mut problems = Vec::new();
    for (name, value) in map {
        if let Err(problem) = variable_name(name) {
            problems.push(problem);
        }
        match value {
            Value::String(text) => variables.push((name.clone(), text.clone())),
            Value::Number(number) => variables.push((name.clone(), number.to_string())),
            Value::Bool(truth) => variables.push((name.clone(), truth.to_string())),
            Value::Null => problems.push(Problem::at(path_key(name), "nothing (null)", "text (\"\" for an empty one)")),
            _ => problems.push(Problem::at(path_key(name), kind(value), "text")),
        }
    }
    let length = json!(variables).to_string().chars().count();
    if problems.is_empty() && length > MOST_OVERRIDES {
        let allowed = format!("at most {MOST_OVERRIDES} characters: ECS takes no more overrides of a task");
        return refuse(format!("variables of {length} characters"), allowed);
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// Settings of Prefect, as environment variables: [`env_vars`] whose names begin with `PREFECT_`.
pub(super) fn prefect_settings(value: &Value) -> Parsed<Vec<(String, String)>> {
    let settings = env_vars(value)?;
    let foreign = settings.iter().filter(|(name, _)| !name.starts_with("PREFECT_"));
    let allowed = "settings of Prefect, PREFECT_…; other variables belong into env_vars";
    let problems: Vec<Problem> =
        foreign.map(|(name, _)| Problem::at(path_key(name), "a variable of this name", allowed)).collect();
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// A text that every task has as a tag of its own by the rules of Prefect 3: ECS refuses one that is too long.
pub(super) fn tag_value(rules: WorkerRules) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let value = text(value)?;
        let length = tag_slug(&value).chars().count();
        if rules == WorkerRules::Three && length > LONGEST_TAG {
            let allowed = format!("at most {LONGEST_TAG} characters: every task has it as a tag");
            return refuse(format!("a text of {length} characters"), allowed);
        }
        Ok(value)
    }
}

/// A worker's name: a part of addresses of Prefect's API.
pub(super) fn worker_name(rules: WorkerRules) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let name = tag_value(rules)(value)?;
        if name.contains(['/', '%']) { refuse(describe(value), "a name without \"/\" and \"%\"") } else { Ok(name) }
    }
}

/// A name that an environment variable can have.
pub(super) fn variable_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Problem::at(path_key(name), "this name", "a variable name that is not empty and has no \"=\""));
    }
    Ok(())
}

/// What a value is, without the value itself.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null)",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A key as a part of a key path: plain where that is readable, else quoted.
pub(super) fn path_key(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { key.to_owned() } else { format!("[{}]", quoted(key)) }
}

/// A mapping.
pub(super) fn mapping(value: &Value) -> Parsed<Map<String, Value>> {
    value.as_object().cloned().map_or_else(|| refuse(kind(value), "a mapping"), Ok)
}

/// An external id, as STS takes it.
pub(super) fn external_id(value: &Value) -> Parsed<String> {
    let id = text(value)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@:/_-".contains(c);
    if (2..=1224).contains(&id.len()) && id.chars().all(is_allowed) {
        return Ok(id);
    }
    refuse(describe(value), "2 to 1224 letters, digits and +=,.@:/_-")
}

/// ARN of an IAM role.
pub(super) fn role_arn(value: &Value) -> Parsed<String> {
    let role = text(value)?;
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, resource]
            if !partition.is_empty()
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()) =>
        {
            Ok(role)
        }
        _ => refuse(describe(value), "the ARN of an IAM role (arn:aws:iam::123456789012:role/name)"),
    }
}

/// Name of an AWS region.
pub(super) fn region(value: &Value) -> Parsed<String> {
    let region = text(value)?;
    let fits = region.split('-').count() >= 3
        && region.split('-').all(|part| !part.is_empty())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(region) } else { refuse(describe(value), "the name of an AWS region (such as eu-west-1)") }
}

/// Names of log levels in Python.
const LEVELS: &[(&str, &str)] = &[
    ("DEBUG", "DEBUG"),
    ("INFO", "INFO"),
    ("WARNING", "WARNING"),
    ("ERROR", "ERROR"),
    ("CRITICAL", "CRITICAL"),
    ("WARN", "WARN"),
    ("FATAL", "FATAL"),
    ("NOTSET", "NOTSET"),
];

/// A log level of Python, in upper case as Python wants it.
pub(super) fn level(value: &Value) -> Parsed<String> {
    choice_any_case(LEVELS)(value).map(str::to_owned)
}

// Parsers of values that say where something is: the API, documents, certificate authorities.

/// Base URL of a Prefect API, without a trailing slash.
pub(super) fn api(value: &Value) -> Parsed<String> {
    const ALLOWED: &str = "an http:// or https:// address without user, password, query and fragment";
    let written = text(value)?;
    let Ok(url) = Url::parse(written.trim()) else { return refuse(shown(value), ALLOWED) };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("an address with a user or password in it", ALLOWED);
    }
    let fits = matches!(url.scheme(), "http" | "https")
        && written.contains("://")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
        && url.fragment().is_none();
    if fits { Ok(written.trim().trim_end_matches('/').to_owned()) } else { refuse(shown(value), ALLOWED) }
}

/// An address as a message may show it: what can carry credentials is left out.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('@') => "an address that cannot be read".to_owned(),
        Value::String(text) => format!("the text {}", quoted(text.split(['?', '#']).next().unwrap_or_default())),
        _ => describe(value),
    }
}

/// Where a document lies: `s3://bucket/key`, `https://…` (`http://` only on this machine), `ssm://name`; a local file
/// only where `local_files` says so.
pub(super) fn document(local_files: bool) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let path = text(value)?;
        let fits = match path.split_once("://") {
            Some(("s3", rest)) => {
                rest.split_once('/').is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            }
            Some(("ssm", name)) => !name.is_empty(),
            Some(("https", _)) => Url::parse(&path).is_ok(),
            Some(("http", _)) => Url::parse(&path).is_ok_and(|url| is_loopback(&url)),
            Some(("file", rest)) => local_files && !rest.is_empty(),
            Some(_) => false,
            None => local_files,
        };
        if fits {
            Ok(path.strip_prefix("file://").map_or(path.clone(), str::to_owned))
        } else {
            refuse(shown(value), schemes(local_files))
        }
    }
}

fn schemes(local_files: bool) -> &'static str {
    if local_files {
        "a local file, s3://bucket/key, https://… or ssm://name"
    } else {
        "s3://bucket/key, https://… or ssm://name (a local file only on the command line)"
    }
}

/// Whether an address names this very machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A certificate authority: certificates in PEM, or the parameter that holds them. The text is never shown.
pub(super) fn certificate_authority(value: &Value) -> Parsed<String> {
    const ALLOWED: &str = "certificates in PEM, or ssm://name";
    let written = text(value)?;
    if written.contains("PRIVATE KEY-----") {
        return refuse("a private key", ALLOWED);
    }
    let is_parameter = written.strip_prefix("ssm://").is_some_and(|name| !name.is_empty());
    if is_parameter || written.contains("-----BEGIN CERTIFICATE-----") {
        Ok(written)
    } else {
        refuse("a text that is neither", ALLOWED)
    }
}
