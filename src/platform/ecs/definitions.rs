//! When two task definitions are the same, and the one that says what is asked for, found or registered: once per
//! content and process, not per flow run.

use super::outcome::{Origin, is_not_found, refusal};
use crate::aws::ecs::{DescribedDefinition, Ecs};
use crate::clock::Clock;
use crate::panics::lock;
use crate::platform::{LaunchOutcome, TransientCause};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Key of the tag that says what content a definition was registered for.
pub const HASH_TAG: &str = "prefect-serverless-agent:definition";

/// ECS's limit for the tags of a definition.
const TAGS_MAX: usize = 50;

/// Tags that say for whom a definition was registered first; they do not make it another one.
const INFORMATIVE_TAGS: [&str; 2] = ["prefect:", "prefect-serverless-agent:"];

/// What AWS says of a definition beyond what was registered.
const ADDED_BY_AWS: [&str; 9] = [
    "compatibilities",
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "tags",
];

/// Hash of what a definition says (64 hexadecimal digits), whatever the order of its keys, variables and secrets.
pub fn definition_hash(body: &Map<String, Value>) -> String {
    let content = json!({"definition": normalised(body), "tags": significant_tags(body)});
    hex::encode(Sha256::digest(canonical(&content).as_bytes()))
}

/// The body to register: with our tag, unless that would be one tag too many.
pub fn tagged(body: &Map<String, Value>, hash: &str) -> Map<String, Value> {
    let mut body = body.clone();
    let mut tags = body.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    if tags.len() < TAGS_MAX {
        tags.push(json!({"key": HASH_TAG, "value": hash}));
        body.insert("tags".into(), Value::Array(tags));
    }
    body
}

/// Whether a described definition can serve as ours.
///
/// It is active and has our tags, and either says exactly the same, or carries our hash and contains all that ours says
/// (AWS writes defaults into what it describes).
pub fn same_definition(ours: &Map<String, Value>, described: &DescribedDefinition) -> bool {
    let is_active = described.definition.get("status").and_then(Value::as_str).is_none_or(|status| status == "ACTIVE");
    let has_tag = |key: &str, value: &str| described.tags.iter().any(|(k, v)| k == key && v == value);
    let has_our_tags = significant_tags(ours).iter().all(|(key, value)| has_tag(key, value));
    if !is_active || !has_our_tags {
        return false;
    }
    let (mine, theirs) = (normalised(ours), normalised(&described.definition));
    mine == theirs || (has_tag(HASH_TAG, &definition_hash(ours)) && contains("", &theirs, &mine))
}

/// Tags of a body that make it another definition, sorted.
fn significant_tags(body: &Map<String, Value>) -> Vec<(String, String)> {
    let tags = body.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |tag: &Value, key: &str| tag.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut tags: Vec<_> = tags
        .map(|tag| (text(tag, "key"), text(tag, "value")))
        .filter(|(key, _)| !INFORMATIVE_TAGS.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    tags.sort();
    tags
}

/// A definition without what AWS adds, without empty values, with defaults written out and lists that are sets sorted.
fn normalised(definition: &Map<String, Value>) -> Value {
    let mut definition = definition.clone();
    for key in ADDED_BY_AWS {
        definition.remove(key);
    }
    if is_empty(definition.get("networkMode").unwrap_or(&Value::Null)) {
        definition.insert("networkMode".into(), json!("bridge"));
    }
    for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        if let Some(size) = definition.get(key).and_then(|value| size(value, unit)) {
            definition.insert(key.into(), json!(size));
        }
    }
    let containers = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        container.entry("essential").or_insert(Value::Bool(true));
        // AWS says it of every container.
        if container.get("cpu").and_then(Value::as_i64) == Some(0) {
            container.shift_remove("cpu");
        }
        sort_by(container, "environment", "name");
        sort_by(container, "secrets", "name");
        sort_by(container, "environmentFiles", "value");
    }
    without_empty(&Value::Object(definition))
}

/// `1 vCPU` → `1024`, `2 GB` → `2048`, as AWS describes them; numbers as text.
fn size(value: &Value, unit: &str) -> Option<String> {
    if value.is_number() {
        return Some(value.to_string());
    }
    let text = value.as_str()?.trim().to_ascii_lowercase();
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    Some(format!("{}", number * 1024.0))
}

fn sort_by(container: &mut Map<String, Value>, list: &str, key: &str) {
    if let Some(list) = container.get_mut(list).and_then(Value::as_array_mut) {
        let text = |entry: &Value| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        list.sort_by_key(text);
    }
}

/// Empty: null, `""`, `[]`, `{}`. `false` and 0 say something (`maxSwap: 0`, a `softLimit` of 0).
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Without empty values of objects, from the inside out. Items of lists stay: their place and number mean something.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let full = map.iter().map(|(key, value)| (key.clone(), without_empty(value)));
            Value::Object(full.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_empty).collect()),
        other => other.clone(),
    }
}

/// Whether `whole` says all that `part` says; `key` is where both were found.
fn contains(key: &str, whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| match whole.get(key) {
                Some(other) => contains(key, other, value),
                // What is 0 by default need not be described.
                None => value.as_i64() == Some(0),
            })
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && part
                    .iter()
                    .enumerate()
                    .all(|(target, item)| partner(whole, target, item).is_some_and(|other| contains("", other, item)))
        }
        // A role may be given by its name; AWS describes its ARN.
        (Value::String(arn), Value::String(name)) if key.ends_with("RoleArn") && !name.starts_with("arn:") => {
            arn == name || arn.ends_with(&format!("/{name}"))
        }
        (whole, part) => whole == part,
    }
}

/// The item of a list that answers to `item`: of the same name where items have one, else at the same place.
fn partner<'a>(whole: &'a [Value], target: usize, item: &Value) -> Option<&'a Value> {
    match item.get("name") {
        Some(name) => whole.iter().find(|other| other.get("name") == Some(name)),
        None => whole.get(target),
    }
}

/// JSON text with sorted keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> =
                keys.iter().map(|key| format!("{}:{}", json!(key), canonical(&map[key.as_str()]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod definition_cache_tests;
#[cfg(test)]
mod single_flight_tests;
#[cfg(test)]
mod tests;

// Finds the task definition that says what is asked for, or registers it: once per content and process.

/// Different run configurations of one flow alternate, so a few revisions are looked at, not only the latest.
const REVISIONS: usize = 5;

/// AWS allows one registration per second, and refuses two at once in a family.
const TRIES: u32 = 4;

/// Pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// Task definitions known to this process, for one region and one set of credentials. Nothing is ever deregistered.
#[derive(Debug, Default)]
pub struct DefinitionCache {
    /// Content → ARN.
    by_hash: Keyed<SingleFlight<String>>,
    /// One search and registration at a time per family, which AWS would refuse otherwise.
    families: Keyed<tokio::sync::Mutex<()>>,
    /// Every ARN ever answered, also when forgotten since.
    ours: Mutex<HashSet<String>>,
}

impl DefinitionCache {
    /// ARN of an active definition that says what `body` says: remembered, found among the newest of its family, or
    /// registered; and whether it was registered for whoever asked now. Whoever asks for the same at the same time gets
    /// the same answer.
    pub async fn settle(
        &self,
        ecs: &Ecs,
        clock: &impl Clock,
        body: &Map<String, Value>,
        origin: &Origin<'_>,
    ) -> Result<(String, bool), LaunchOutcome> {
        let hash = definition_hash(body);
        let mut registered = false;
        let search = Search { ecs, clock, body, hash: &hash, origin };
        let family = self.families.get(search.family());
        let arn = self
            .by_hash
            .get(&hash)
            .get(async {
                let _alone = family.lock().await;
                let (arn, is_new) = search.find_or_register().await?;
                registered = is_new;
                Ok(arn)
            })
            .await?;
        self.ours().insert(arn.clone());
        Ok((arn, registered))
    }

    /// Forgets a definition that turned out to be inactive; whether it is one of ours, also when it was forgotten before.
    pub async fn forget(&self, arn: &str) -> bool {
        for flight in self.by_hash.all() {
            flight.forget_if(|known| known == arn).await;
        }
        self.ours().contains(arn)
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.ours)
    }
}

/// Values made on first use.
#[derive(Debug)]
pub(super) struct Keyed<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Keyed<T> {
    pub(super) fn get(&self, key: &str) -> Arc<T> {
        let mut map = lock(&self.0);
        map.entry(key.to_owned()).or_default().clone()
    }

    /// Whoever waits for it still shares it.
    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.0).values().cloned().collect()
    }
}

/// The search for one definition.
struct Search<'a, C> {
    ecs: &'a Ecs,
    clock: &'a C,
    body: &'a Map<String, Value>,
    hash: &'a str,
    origin: &'a Origin<'a>,
}

impl<C: Clock> Search<'_, C> {
    fn family(&self) -> &str {
        self.body.get("family").and_then(Value::as_str).unwrap_or_default()
    }

    /// The ARN, and whether it is a new one.
    async fn find_or_register(&self) -> Result<(String, bool), LaunchOutcome> {
        if let Some(arn) = self.find().await? {
            return Ok((arn, false));
        }
        let body = tagged(self.body, self.hash);
        let mut tries = 1;
        loop {
            let error = match self.ecs.register_task_definition(&body).await {
                Ok(arn) => {
                    tracing::info!(task_definition = arn, family = self.family(), "task definition registered");
                    return Ok((arn, true));
                }
                Err(error) => refusal("RegisterTaskDefinition", error, self.origin),
            };
            let can_pass = matches!(
                error,
                LaunchOutcome::Transient { cause: TransientCause::Throttled | TransientCause::Server, .. }
            );
            if !can_pass || tries == TRIES {
                return Err(error);
            }
            self.clock.sleep_until(self.clock.now() + self.pause(tries)).await;
            tries += 1;
            // Another agent may have been quicker, or an answer was lost. That this look fails says nothing new.
            if let Ok(Some(arn)) = self.find().await {
                return Ok((arn, false));
            }
        }
    }

    /// Pause after so many tries. Agents that compete for a family spread by the content they want to register.
    fn pause(&self, tries: u32) -> Duration {
        let spread = self.hash.get(..2).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        PAUSE * 2_u32.pow(tries - 1) + Duration::from_millis(spread)
    }

    async fn find(&self) -> Result<Option<String>, LaunchOutcome> {
        if self.family().is_empty() {
            return Ok(None);
        }
        let latest = match self.ecs.describe_task_definition(self.family()).await {
            Ok(latest) => latest,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(refusal("DescribeTaskDefinition", error, self.origin)),
        };
        let latest_arn = arn_of(&latest.definition);
        if same_definition(self.body, &latest) {
            return Ok(latest_arn);
        }
        let newest = self.ecs.list_task_definitions(self.family(), REVISIONS).await;
        let newest = newest.map_err(|error| refusal("ListTaskDefinitions", error, self.origin))?;
        let others = newest.iter().filter(|arn| Some(*arn) != latest_arn.as_ref()).take(REVISIONS - 1);
        let described = join_all(others.map(|arn| self.ecs.describe_task_definition(arn))).await;
        for described in described {
            match described {
                Ok(described) if same_definition(self.body, &described) => return Ok(arn_of(&described.definition)),
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(refusal("DescribeTaskDefinition", error, self.origin)),
            }
        }
        Ok(None)
    }
}

fn arn_of(definition: &Map<String, Value>) -> Option<String> {
    definition.get("taskDefinitionArn")?.as_str().map(str::to_owned)
}

// Single flight: many who need the same answer at the same time ask for it once, and share it, good or bad.

/// An answer that is fetched once and remembered.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    /// How many fetches have ended.
    fetches: AtomicU64,
    /// The last one's answer.
    last: tokio::sync::Mutex<Option<Result<T, LaunchOutcome>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { fetches: AtomicU64::new(0), last: tokio::sync::Mutex::new(None) }
    }
}

impl<T: Clone + Send> SingleFlight<T> {
    /// The remembered answer, or `fetch`'s. A failure is shared by those who waited for it and never remembered.
    pub(crate) async fn get<F>(&self, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        self.run(true, fetch).await
    }

    /// As [`Self::get`], but nothing is remembered: only those who wait at the same time share an answer.
    pub(crate) async fn share<F>(&self, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        self.run(false, fetch).await
    }

    async fn run<F>(&self, remember: bool, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        let before = self.fetches.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        let waited = self.fetches.load(Ordering::Acquire) != before;
        match &*last {
            Some(Ok(value)) if remember || waited => return Ok(value.clone()),
            Some(Err(error)) if waited => return Err(error.clone()),
            _ => {}
        }
        let result = fetch.await;
        *last = Some(result.clone());
        self.fetches.fetch_add(1, Ordering::Release);
        result
    }

    /// Forgets the answer if `unwanted` says so of it.
    pub(crate) async fn forget_if(&self, unwanted: impl Fn(&T) -> bool) {
        let mut last = self.last.lock().await;
        if matches!(&*last, Some(Ok(value)) if unwanted(value)) {
            *last = None;
        }
    }
}
