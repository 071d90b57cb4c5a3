//! "ECS Task State Change" as `EventBridge` delivers it, reduced to what matters here.
//!
//! Reading never fails in a way that is worth a second try: an event that lacks what it takes, or is not of the documented
//! shape, is [`Ignored`] with a reason. (What is no such event at all never gets here, see [`events`].)

use crate::clock::that_can_be_shown;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const SOURCE: &str = "aws.ecs";
const DETAIL_TYPE: &str = "ECS Task State Change";
const STOPPED: &str = "STOPPED";

/// Why there is nothing to do about an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Ignored(pub String);

/// A task changed its state. Whatever the event leaves out is `None` or empty, and so is what it says with `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// Id of the event: repeated deliveries have the same one.
    pub id: Option<String>,
    /// When the task changed.
    pub time: Option<OffsetDateTime>,
    /// Region the task runs in.
    pub region: Option<String>,
    /// Account the task runs in.
    pub account: Option<String>,
    /// ARN of the task.
    pub task_arn: String,
    /// `PROVISIONING`, `PENDING`, …, `STOPPED`.
    pub last_status: String,
    /// The task itself.
    pub task: EventTask,
    /// The task's tags, where the event was sent again with them: ECS forgets them an hour after the task's end.
    pub tags: Option<BTreeMap<String, String>>,
    /// Nobody told of it, and ECS has forgotten the task: all that is known is that it has stopped.
    pub is_forgotten: bool,
}

/// The member in which an event carries its task's tags. `EventBridge`'s own events have none of that name.
const TAGS: &str = "task_tags";

/// The task, as the event describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTask {
    /// ARN of its cluster.
    pub cluster_arn: Option<String>,
    /// ARN of its definition.
    pub task_definition_arn: Option<String>,
    /// What ECS works towards: `RUNNING` or `STOPPED`.
    pub desired_status: Option<String>,
    /// Who started it, see [`super::task_owner`].
    pub started_by: Option<String>,
    /// Why it stopped, one of ECS's few codes.
    pub stop_code: Option<String>,
    /// Why it stopped, in ECS's words.
    pub stopped_reason: Option<String>,
    /// Its containers; none when it stopped before there were any.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// What `RunTask` changed of the definition.
    #[serde(deserialize_with = "null_is_default")]
    pub overrides: TaskOverrides,
    /// Counts the task's changes.
    pub version: Option<i64>,
    /// When `RunTask` made it.
    #[serde(deserialize_with = "instant")]
    pub created_at: Option<OffsetDateTime>,
    /// When the pull of its images began: from then on it is billed.
    #[serde(deserialize_with = "instant")]
    pub pull_started_at: Option<OffsetDateTime>,
    /// When its containers had started.
    #[serde(deserialize_with = "instant")]
    pub started_at: Option<OffsetDateTime>,
    /// When it had stopped.
    #[serde(deserialize_with = "instant")]
    pub stopped_at: Option<OffsetDateTime>,
    /// `family:…` or `service:…`.
    pub group: Option<String>,
    /// `FARGATE`, `EC2` or `EXTERNAL`; absent with a capacity provider.
    pub launch_type: Option<String>,
    /// `FARGATE`, `FARGATE_SPOT` or one of the cluster's own.
    pub capacity_provider_name: Option<String>,
    /// CPU units of its definition.
    #[serde(deserialize_with = "odd_is_default")]
    pub cpu: Option<String>,
    /// MiB of its definition.
    #[serde(deserialize_with = "odd_is_default")]
    pub memory: Option<String>,
    /// `Linux`, or a version of Windows.
    #[serde(deserialize_with = "odd_is_default")]
    pub platform_family: Option<String>,
    /// What it runs on, `ecs.cpu-architecture` among them.
    #[serde(deserialize_with = "odd_is_default")]
    pub attributes: Vec<Attribute>,
    /// Its disk on Fargate.
    #[serde(deserialize_with = "odd_is_default")]
    pub ephemeral_storage: EphemeralStorage,
}

/// One attribute of the task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Attribute {
    /// Its name.
    pub name: Option<String>,
    /// Its value.
    pub value: Option<String>,
}

/// The disk of a task on Fargate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct EphemeralStorage {
    /// How large it is.
    #[serde(rename = "sizeInGiB")]
    pub size_in_gib: Option<u32>,
}

/// One container of the task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name in the definition.
    pub name: Option<String>,
    /// ARN of the container.
    pub container_arn: Option<String>,
    /// What its process exited with; `None` = it never ran, or ECS lost sight of it.
    pub exit_code: Option<i64>,
    /// What ECS says about its end, e.g. `OutOfMemoryError: …`.
    pub reason: Option<String>,
    /// State of the container.
    pub last_status: Option<String>,
}

/// What `RunTask` changed of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskOverrides {
    /// One entry per container, also for those of which nothing was changed.
    #[serde(deserialize_with = "null_is_default")]
    pub container_overrides: Vec<ContainerOverride>,
    /// CPU units instead of the definition's.
    #[serde(deserialize_with = "odd_is_default")]
    pub cpu: Option<String>,
    /// MiB instead of the definition's.
    #[serde(deserialize_with = "odd_is_default")]
    pub memory: Option<String>,
}

/// What `RunTask` changed of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ContainerOverride {
    /// Name in the definition.
    pub name: Option<String>,
    /// Environment variables; their values, which may be secrets, are not kept.
    #[serde(deserialize_with = "null_is_default")]
    pub environment: Vec<Variable>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// Its name.
    pub name: Option<String>,
}

impl TaskEvent {
    /// Reads an event.
    pub fn read(event: &Value) -> Result<Self, Ignored> {
        let text = |key: &str| event.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text("source") != Some(SOURCE) || text("detail-type") != Some(DETAIL_TYPE) {
            return Err(Ignored(format!("not an event \"{DETAIL_TYPE}\" of {SOURCE}")));
        }
        let detail = event.get("detail").ok_or_else(|| Ignored("the event has no detail".into()))?;
        let required = |key: &str| match detail.get(key).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(Ignored(format!("the event's detail has no {key}"))),
        };
        Ok(Self {
            id: text("id").map(ToOwned::to_owned),
            time: text("time").and_then(read_instant),
            region: text("region").map(ToOwned::to_owned),
            account: text("account").map(ToOwned::to_owned),
            task_arn: required("taskArn")?,
            last_status: required("lastStatus")?,
            task: EventTask::deserialize(detail)
                .map_err(|error| Ignored(format!("the event's detail is not of the documented shape: {error}")))?,
            tags: event.get(TAGS).and_then(|tags| BTreeMap::deserialize(tags).ok()),
            is_forgotten: false,
        })
    }

    /// The event with its task's tags in it, as it is sent again.
    pub fn with_tags(event: &Value, tags: &BTreeMap<String, String>) -> Value {
        let mut event = event.clone();
        if let Some(fields) = event.as_object_mut() {
            fields.insert(TAGS.to_owned(), serde_json::json!(tags));
        }
        event
    }

    /// The same of a task as `DescribeTasks` tells of it; `None` = that has no ARN or no state. Times are seconds since
    /// 1970 there, where events have texts.
    pub fn of_description(task: &Value) -> Option<Self> {
        let mut task = task.clone();
        for key in ["createdAt", "pullStartedAt", "startedAt", "stoppedAt"] {
            let instant = instant_of(&task, key).and_then(|instant| instant.format(&Rfc3339).ok());
            if let Some(fields) = task.as_object_mut() {
                fields.insert(key.to_owned(), instant.map_or(Value::Null, Value::String));
            }
        }
        let text = |key: &str| task.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (task_arn, last_status) = (text("taskArn")?.to_owned(), text("lastStatus")?.to_owned());
        Some(Self { last_status, ..Self::about(task_arn, EventTask::deserialize(&task).ok()?) })
    }

    /// Of a task that ECS has forgotten, which it does an hour after a task's end.
    pub fn of_forgotten(task_arn: &str, cluster_arn: &str, started_by: &str) -> Self {
        let task = EventTask {
            cluster_arn: Some(cluster_arn.to_owned()),
            started_by: Some(started_by.to_owned()),
            ..EventTask::default()
        };
        Self { last_status: STOPPED.to_owned(), is_forgotten: true, ..Self::about(task_arn.to_owned(), task) }
    }

    /// About a task, without an event.
    fn about(task_arn: String, task: EventTask) -> Self {
        let part = |number: usize| task_arn.split(':').nth(number).filter(|part| !part.is_empty()).map(str::to_owned);
        let (region, account, last_status) = (part(3), part(4), String::new());
        let (id, time, tags, is_forgotten) = (None, None, None, false);
        Self { id, time, region, account, task_arn, last_status, task, tags, is_forgotten }
    }

    /// Whether the task has come to its end.
    pub fn is_stopped(&self) -> bool {
        self.last_status == STOPPED
    }

    /// Whether the task waits for its start, in the states that a worker's observer reports as such.
    pub fn is_waiting(&self) -> bool {
        matches!(self.last_status.as_str(), "PROVISIONING" | "PENDING")
    }

    /// Last part of the task's ARN: 32 hexadecimal digits.
    pub fn task_id(&self) -> &str {
        self.task_arn.rsplit('/').next().unwrap_or_default()
    }
}

/// A time of a task as `DescribeTasks` tells it.
#[allow(clippy::cast_possible_truncation)] // Saturates, and such a time is none.
pub fn instant_of(task: &Value, key: &str) -> Option<OffsetDateTime> {
    let milliseconds = task.get(key)?.as_f64()? * 1000.0;
    let nanoseconds = i128::from(milliseconds.round() as i64) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok().and_then(that_can_be_shown)
}

/// A time as an event tells it.
fn read_instant(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(that_can_be_shown)
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What only its cost hangs on is no reason to leave an event unread.
fn odd_is_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// A time that cannot be read is none: nothing but the order of things hangs on it.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(read_instant))
}

#[cfg(test)]
mod envelope_tests;
#[cfg(test)]
mod tests;

// What the function is given → the events in it. Pure.
//
// `EventBridge` delivers an event bare. One that could not be told waits in the failures' queue and is handed back by a
// person, in whatever came around it: the record of Lambda's failure destination, a message as `aws sqs receive-message`
// prints it, a batch as Lambda reads it from a queue, one inside another. Nothing is silently dropped: what is not
// understood is [`NotAnEvent`], so that it is delivered again and kept.

/// So many envelopes around an event are opened: a record in a message, handed back, failed and handed back again.
const MAX_ENVELOPES: usize = 4;

/// How many characters of what was given instead are shown.
const SHOWN: usize = 60;

/// How many keys of an object are shown.
const SHOWN_KEYS: usize = 8;

/// Something that was given is no event, and no envelope with one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}{found}; what is understood is an event \"{DETAIL_TYPE}\" of {SOURCE}, by itself, as the `requestPayload` of \
     a failure destination's record, or as the body of a queue's messages, one inside another up to {MAX_ENVELOPES} deep"
)]
pub struct NotAnEvent {
    /// Where in what was given; empty = all of it.
    place: String,
    /// What is there.
    found: String,
}

/// The events in what was given, in order; at least one entry.
pub fn events(given: &Value) -> Vec<Result<Value, NotAnEvent>> {
    let mut found = Vec::new();
    open(given, &[], &mut found);
    found
}

/// The events in the body of a queue's message, which is a text of JSON; at least one entry.
pub fn events_in_body(body: &str) -> Vec<Result<Value, NotAnEvent>> {
    events(&serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
}

/// `path`: the envelopes around it.
fn open(given: &Value, path: &[String], found: &mut Vec<Result<Value, NotAnEvent>>) {
    let wrong = |what: String| {
        let place = if path.is_empty() { String::new() } else { format!("{}: ", path.join(", ")) };
        Err(NotAnEvent { place, found: what })
    };
    let Value::Object(fields) = given else { return found.push(wrong(described(given))) };
    if let (Some(source), Some(kind)) = (fields.get("source"), fields.get("detail-type")) {
        return found.push(match (source.as_str(), kind.as_str(), fields.get("detail")) {
            (Some(SOURCE), Some(DETAIL_TYPE), Some(Value::Object(_))) => Ok(given.clone()),
            (Some(SOURCE), Some(DETAIL_TYPE), _) => wrong("the event has no `detail`, or one that is no object".into()),
            _ => wrong(format!("this is an event {} of {}", cut(&kind.to_string()), cut(&source.to_string()))),
        });
    }
    let Some(contents) = contents(fields) else { return found.push(wrong(described(given))) };
    if path.len() >= MAX_ENVELOPES {
        return found.push(wrong("there is yet another envelope".into()));
    }
    if contents.is_empty() {
        return found.push(wrong("there is no message".into()));
    }
    for (name, content) in contents {
        let path = [path, &[name]].concat();
        match content {
            // A message's body is a text; some tools have read it already.
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(content) => open(&content, &path, found),
                Err(_) => open(&Value::String(text.clone()), &path, found),
            },
            content => open(content, &path, found),
        }
    }
}

/// What an envelope holds, with names for people; `None` = it is no envelope.
fn contents<'v>(fields: &'v Map<String, Value>) -> Option<Vec<(String, &'v Value)>> {
    if let Some(payload) = fields.get("requestPayload") {
        return Some(vec![("`requestPayload`".to_owned(), payload)]);
    }
    if let Some(body) = body(fields) {
        return Some(vec![("the message's body".to_owned(), body)]);
    }
    let messages = ["Messages", "Records"].iter().find_map(|key| fields.get(*key)?.as_array())?;
    let content = |(index, message): (usize, &'v Value)| {
        // What has no body is shown as it is.
        let content = message.as_object().and_then(body).unwrap_or(message);
        (format!("message {} of {}", index + 1, messages.len()), content)
    };
    Some(messages.iter().enumerate().map(content).collect())
}

/// As the command line and as Lambda spell it.
fn body(message: &Map<String, Value>) -> Option<&Value> {
    message.get("Body").or_else(|| message.get("body"))
}

fn described(given: &Value) -> String {
    match given {
        Value::Null => "there is nothing (null)".to_owned(),
        Value::Array(items) => format!("this is a list of {} things", items.len()),
        Value::Object(fields) if fields.is_empty() => "this is an empty object".to_owned(),
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().take(SHOWN_KEYS).map(|key| format!("`{}`", cut(key))).collect();
            let more = if fields.len() > SHOWN_KEYS { ", …" } else { "" };
            format!("this is an object with {}{more}", keys.join(", "))
        }
        Value::String(text) => format!("this is the text {:?}, which is no JSON object", cut(text)),
        other => format!("this is {}", cut(&other.to_string())),
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push(crate::redaction::CUT);
    }
    shown
}
