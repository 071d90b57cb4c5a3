//! ECS: requests go out as the JSON they are given, so that every key AWS knows can be used.

use super::AwsError;
use super::answers::Wire;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>,
}

/// What `RunTask` said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunTaskAnswer {
    /// ARNs and states of the started tasks.
    pub tasks: Vec<Task>,
    /// What could not be started: `failures[]`.
    pub failures: Vec<Failure>,
}

/// An entry of `failures[]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// `arn`
    pub arn: Option<String>,
    /// `reason`, e.g. `RESOURCE:MEMORY`.
    pub reason: Option<String>,
    /// `detail`
    pub detail: Option<String>,
}

/// A task as ECS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// `taskArn`
    pub task_arn: String,
    /// `clusterArn`
    pub cluster_arn: Option<String>,
    /// `lastStatus`
    pub last_status: String,
    /// `desiredStatus`
    pub desired_status: String,
    /// `startedBy`
    pub started_by: Option<String>,
    /// `stoppedReason`
    pub stopped_reason: Option<String>,
    /// `stopCode`
    pub stop_code: Option<String>,
    /// `createdAt`
    pub created_at: Option<OffsetDateTime>,
}

/// What `DescribeTasks` says of a task beyond [`Task`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaggedTask {
    /// `version`: counts the task's changes.
    pub version: Option<i64>,
    /// `tags`, by key.
    pub tags: BTreeMap<String, String>,
}

/// What `DescribeTasks` said of the tasks that it was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DescribedTasks {
    /// `tasks`, each verbatim.
    pub tasks: Vec<Value>,
    /// `failures`: what is said instead, e.g. `MISSING` of a task that the cluster does not know, or no more.
    pub failures: Vec<Failure>,
}

/// A task definition as `DescribeTaskDefinition` answers it, in the API's own spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedDefinition {
    /// `taskDefinition`, verbatim.
    pub definition: Map<String, Value>,
    /// `tags`, key and value.
    pub tags: Vec<(String, String)>,
}

/// Sends an operation with this JSON as its body and gives the answer as JSON.
macro_rules! exchange {
    ($operation:expr, $body:expr) => {
        exchange!($operation, $body, aws_sdk_ecs::Config::builder())
    };
    ($operation:expr, $body:expr, $config:expr) => {{
        let wire = Wire::verbatim($body)?;
        let operation = $operation.customize().interceptor(wire.clone()).config_override($config);
        wire.json(operation.send().await)
    }};
}

impl Ecs {
    /// Wraps an SDK client, which is made when it is needed: most polls find nothing to launch.
    pub fn new(client: impl FnOnce() -> Client + Send + 'static) -> Self {
        Self { client: Arc::new(LazyLock::new(Box::new(client))) }
    }

    /// `RunTask` with exactly this body. Sent once, never repeated here: whatever comes back speaks for the whole
    /// call. (After a repetition a refusal would only speak for the last attempt, while an earlier one, whose answer
    /// was lost, may have started the task.) Callers repeat it with the same `clientToken`.
    pub async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        let once = aws_sdk_ecs::Config::builder().retry_config(RetryConfig::disabled());
        run_task(&exchange!(self.client.run_task(), body, once)?)
    }

    /// `RegisterTaskDefinition` with exactly this body → ARN. Repeated after throttling and lost answers; at worst a
    /// revision too many.
    pub async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        let answer = exchange!(self.client.register_task_definition(), body)?;
        let arn = answer.get("taskDefinition").and_then(|definition| text(definition, "taskDefinitionArn"));
        arn.ok_or_else(|| AwsError::Malformed("RegisterTaskDefinition answered no taskDefinitionArn".into()))
    }

    /// `DescribeTaskDefinition` with its tags. Name: ARN, family or `family:revision`.
    pub async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        let body = object(json!({"taskDefinition": name, "include": ["TAGS"]}));
        let mut answer = exchange!(self.client.describe_task_definition(), &body)?;
        let Some(Value::Object(definition)) = answer.remove("taskDefinition") else {
            return Err(AwsError::Malformed("DescribeTaskDefinition answered no taskDefinition".into()));
        };
        let tags = array(&answer, "tags")
            .filter_map(|tag| Some((text(tag, "key")?, text(tag, "value").unwrap_or_default())))
            .collect();
        Ok(DescribedDefinition { definition, tags })
    }

    /// The newest active revisions of exactly this family, newest first → ARNs.
    pub async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        // `familyPrefix` is the full name of the family, in spite of its name.
        let body = object(json!({
            "familyPrefix": family, "status": "ACTIVE", "sort": "DESC", "maxResults": limit.clamp(1, MAX_PAGE)
        }));
        let answer = exchange!(self.client.list_task_definitions(), &body)?;
        let arns = arns(&answer, "ListTaskDefinitions", "taskDefinitionArns")?;
        Ok(arns.into_iter().filter(|arn| family_of(arn) == Some(family)).take(limit).collect())
    }

    /// `DescribeServices` of one service, in the API's own spelling; `None` = there is none, or it is deleted.
    pub async fn describe_service(&self, cluster: &str, service: &str) -> Result<Option<Map<String, Value>>, AwsError> {
        let body = in_cluster(Some(cluster), json!({"services": [service]}));
        let answer = exchange!(self.client.describe_services(), &body)?;
        match list(&answer, "DescribeServices", "services")? {
            [] => Ok(None),
            [Value::Object(service), ..] => {
                let is_there = service.get("status").is_none_or(|status| status != "INACTIVE");
                Ok(is_there.then(|| service.clone()))
            }
            _ => Err(AwsError::Malformed("DescribeServices answered a service that is no object".into())),
        }
    }

    /// `DescribeTasks` (at most 100 ARNs). Tasks that ECS no longer knows are missing from the answer.
    pub async fn describe_tasks(&self, cluster: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        if task_arns.is_empty() {
            return Ok(Vec::new());
        }
        let body = in_cluster(cluster, json!({"tasks": task_arns}));
        tasks(&exchange!(self.client.describe_tasks(), &body)?, "DescribeTasks")
    }

    /// `DescribeTasks` of one task with its tags: its `version`, and the tags. `None` = ECS no longer knows it.
    pub async fn describe_tagged_task(
        &self,
        cluster: Option<&str>,
        task_arn: &str,
    ) -> Result<Option<TaggedTask>, AwsError> {
        let body = in_cluster(cluster, json!({"tasks": [task_arn], "include": ["TAGS"]}));
        let answer = exchange!(self.client.describe_tasks(), &body)?;
        let task = match list(&answer, "DescribeTasks", "tasks")? {
            [] => return Ok(None),
            [Value::Object(task), ..] => task,
            _ => return Err(AwsError::Malformed("DescribeTasks answered a task that is no object".into())),
        };
        let tags =
            array(task, "tags").filter_map(|tag| Some((text(tag, "key")?, text(tag, "value").unwrap_or_default())));
        Ok(Some(TaggedTask { version: task.get("version").and_then(Value::as_i64), tags: tags.collect() }))
    }

    /// `DescribeTasks` (at most 100 ARNs), each task verbatim.
    pub async fn describe_tasks_verbatim(
        &self,
        cluster: Option<&str>,
        task_arns: &[String],
    ) -> Result<DescribedTasks, AwsError> {
        if task_arns.is_empty() {
            return Ok(DescribedTasks::default());
        }
        let body = in_cluster(cluster, json!({"tasks": task_arns}));
        let answer = exchange!(self.client.describe_tasks(), &body)?;
        let tasks = list(&answer, "DescribeTasks", "tasks")?.to_vec();
        Ok(DescribedTasks { tasks, failures: failures(&answer, "DescribeTasks")? })
    }

    /// `DeregisterTaskDefinition`.
    pub async fn deregister_task_definition(&self, arn: &str) -> Result<(), AwsError> {
        let body = object(json!({"taskDefinition": arn}));
        exchange!(self.client.deregister_task_definition(), &body).map(drop)
    }

    /// Tasks that run or are to run, by `startedBy` → ARNs.
    pub async fn list_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        // The default `desiredStatus` is RUNNING. One page is 100 tasks; a flow run has one or two.
        let body = in_cluster(cluster, json!({"startedBy": started_by}));
        let answer = exchange!(self.client.list_tasks(), &body)?;
        arns(&answer, "ListTasks", "taskArns")
    }

    /// Tasks that are being stopped, or stopped within the last hour, by `startedBy` → ARNs.
    pub async fn list_stopping_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        let body = in_cluster(cluster, json!({"startedBy": started_by, "desiredStatus": "STOPPED"}));
        let answer = exchange!(self.client.list_tasks(), &body)?;
        arns(&answer, "ListTasks", "taskArns")
    }

    /// `StopTask`.
    pub async fn stop_task(&self, cluster: Option<&str>, task_arn: &str, reason: &str) -> Result<(), AwsError> {
        let body = in_cluster(cluster, json!({"task": task_arn, "reason": reason}));
        exchange!(self.client.stop_task(), &body).map(drop)
    }
}

/// The largest page of ECS's lists.
const MAX_PAGE: usize = 100;

fn in_cluster(cluster: Option<&str>, body: Value) -> Map<String, Value> {
    let mut body = object(body);
    if let Some(cluster) = cluster.filter(|cluster| !cluster.is_empty()) {
        body.insert("cluster".into(), cluster.into());
    }
    body
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `…:task-definition/family:3` → `family`.
fn family_of(arn: &str) -> Option<&str> {
    Some(arn.rsplit_once('/')?.1.rsplit_once(':')?.0)
}

fn array<'a>(answer: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(key).and_then(Value::as_array).into_iter().flatten()
}

// Answers of ECS, read into types. What is missing or of another shape says nothing: such an answer is malformed, for
// "there is no task" must never be read out of an answer that does not say so.

/// What `RunTask` answered. A task counts whatever stands beside it; without one, the answer must say that there is none.
fn run_task(answer: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
    let listed = list(answer, "RunTask", "tasks")?;
    let tasks: Vec<Task> = listed.iter().filter_map(task_of).collect();
    if tasks.is_empty() && !listed.is_empty() {
        return Err(without_arn("RunTask"));
    }
    match failures(answer, "RunTask") {
        Ok(failures) => Ok(RunTaskAnswer { tasks, failures }),
        Err(_) if !tasks.is_empty() => Ok(RunTaskAnswer { tasks, failures: Vec::new() }),
        Err(error) => Err(error),
    }
}

/// `tasks` of an answer: each with its ARN, for a task without one cannot be spoken of.
fn tasks(answer: &Map<String, Value>, operation: &str) -> Result<Vec<Task>, AwsError> {
    let listed = list(answer, operation, "tasks")?;
    listed.iter().map(|task| task_of(task).ok_or_else(|| without_arn(operation))).collect()
}

/// A list of ARNs.
fn arns(answer: &Map<String, Value>, operation: &str, key: &str) -> Result<Vec<String>, AwsError> {
    let arn = |arn: &Value| arn.as_str().filter(|arn| !arn.is_empty()).map(ToOwned::to_owned);
    let listed = list(answer, operation, key)?.iter();
    listed
        .map(|entry| {
            arn(entry)
                .ok_or_else(|| AwsError::Malformed(format!("{operation} answered {key} with an entry that is no ARN")))
        })
        .collect()
}

/// A list that every answer of this kind has.
fn list<'a>(answer: &'a Map<String, Value>, operation: &str, key: &str) -> Result<&'a [Value], AwsError> {
    match answer.get(key) {
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(AwsError::Malformed(format!("{operation} answered {key} that are no list"))),
        None => Err(AwsError::Malformed(format!("{operation} answered without {key}"))),
    }
}

/// `failures[]`; an entry that says nothing is none.
fn failures(answer: &Map<String, Value>, operation: &str) -> Result<Vec<Failure>, AwsError> {
    let listed = match answer.get("failures") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(_) => list(answer, operation, "failures")?,
    };
    let failure = |entry: &Value| {
        let failure = Failure { arn: text(entry, "arn"), reason: text(entry, "reason"), detail: text(entry, "detail") };
        (failure != Failure::default()).then_some(failure)
    };
    listed
        .iter()
        .map(|entry| {
            failure(entry)
                .ok_or_else(|| AwsError::Malformed(format!("{operation} answered a failure that says nothing")))
        })
        .collect()
}

fn without_arn(operation: &str) -> AwsError {
    AwsError::Malformed(format!("{operation} answered a task without taskArn"))
}

fn task_of(task: &Value) -> Option<Task> {
    Some(Task {
        task_arn: text(task, "taskArn").filter(|arn| !arn.is_empty())?,
        cluster_arn: text(task, "clusterArn"),
        last_status: text(task, "lastStatus").unwrap_or_default(),
        desired_status: text(task, "desiredStatus").unwrap_or_default(),
        started_by: text(task, "startedBy"),
        stopped_reason: text(task, "stoppedReason"),
        stop_code: text(task, "stopCode"),
        created_at: task.get("createdAt").and_then(Value::as_f64).and_then(instant),
    })
}

/// Seconds since 1970, as AWS's JSON protocols write a time; whole seconds are enough here.
#[allow(clippy::cast_possible_truncation)] // Saturates, and such a time is none.
fn instant(seconds: f64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds.floor() as i64).ok()
}

/// A member that is a text.
fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(ToOwned::to_owned)
}
